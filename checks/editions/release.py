"""Writes the editions, proves them, and only then puts them in place."""

import os
import shutil
from pathlib import Path

from checks.editions.files import files_of, is_for_students, left_out
from checks.editions.proof import prove
from checks.editions.tables import ReleaseError
from checks.editions.write import write_editions


def release(root: Path, out: Path, tell) -> None:
    """Write, prove, and only then put in place. Raises ReleaseError, and leaves nothing behind."""
    out = out.absolute()
    if out.is_symlink() or out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ReleaseError(f"{out} is not empty: name a new folder, or remove it first (rm -r {out})")
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in out.parent.glob(f".{out.name}.release-*"):
        if not _is_process(old.name.rpartition("-")[2]):
            shutil.rmtree(old)  # of a run that was killed
    partial = out.parent / f".{out.name}.release-{os.getpid()}"
    try:
        partial.mkdir()
        write_editions(root, partial)
        if new := left_out(root):
            tell(f"not in git, and so in no edition: {', '.join(new)}")
        tell(f"wrote both editions: {sum(map(is_for_students, files_of(root)))} files for students")
        prove(partial, tell)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_process(number: str) -> bool:
    return number.isdecimal() and Path("/proc", number).exists()
