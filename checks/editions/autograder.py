"""Packs the autograder that Gradescope takes: https://gradescope-autograders.readthedocs.io/en/latest/specs/.

At the top of the zip stand setup.sh and run_autograder, and beside them what they need of this repo: checks/,
schemas/, the packages, and a secret of the class, from which come each submission's digits
and order of checks.
"""

import re
import secrets
import zipfile
from pathlib import Path

from checks.editions.files import files_of
from checks.editions.tables import ReleaseError

SCRIPTS = Path(__file__).with_name("gradescope")
NEEDED = ("checks/", "schemas/", "requirements.txt")
# of requirements-dev.txt: what the checks need, and what servers of students may be made of
PACKAGES = ("pytest", "jsonschema", "rich", "libarchive-c", "flask", "fastapi", "uvicorn", "slowapi")
REQUIREMENTS = "requirements-autograder.txt"


def write_autograder(root: Path, out: Path) -> None:
    """Write the zip, whole or not at all. Raises ReleaseError, OSError."""
    if out.exists():
        raise ReleaseError(f"{out} is there already: name a new file, or remove it first (rm {out})")
    texts = {path.name: path.read_bytes() for path in SCRIPTS.iterdir()}
    texts |= {name: (root / name).read_bytes() for name in files_of(root) if name.startswith(NEEDED)}
    texts |= {REQUIREMENTS: requirements(root).encode(), "seed.txt": f"{secrets.randbits(64)}\n".encode()}
    partial = out.with_name(f".{out.name}.new")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, text in sorted(texts.items()):
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o100755 if text.startswith(b"#!") else 0o100644) << 16
                packed.writestr(entry, text)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def requirements(root: Path) -> str:
    """What the autograder installs: requirements.txt, and PACKAGES as pinned. Raises ReleaseError."""
    pinned = {}
    for line in (root / "requirements-dev.txt").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([\w.-]+)(\[\w+\])?==\S+", line):
            pinned[found[1]] = found[0]
    if missing := set(PACKAGES) - set(pinned):
        raise ReleaseError(
            f"requirements-dev.txt has no {', '.join(sorted(missing))}: see PACKAGES in {__name__}"
        )
    return "\n".join(["-r requirements.txt", *(pinned[name] for name in PACKAGES), ""])
