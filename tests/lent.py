"""What boxes are lent where making it is not the point, as a layer of their disks: it costs no box anything.

A .venv that setup-server.sh made on a box before takes the place of ten seconds of processor time. All the
drills on Debian 12 and the newcomer on Debian 13 make theirs from nothing, so each run tests that on both.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOX = ROOT / "deploy" / "box" / "box"
CACHE = Path(os.environ.get("PIXELWISE_BOX_DIR", "/var/lib/pixelwise-box"))
PINNED = (ROOT / "requirements.txt").read_bytes()


def place(kind: str, suite: str, *made_of: str) -> Path:
    """Where a layer lies that these words and requirements.txt make."""
    key = hashlib.sha256(" ".join(made_of).encode() + PINNED).hexdigest()[:12]
    return CACHE / f"lent-{kind}-{suite}-{key}"


def make(layer: Path, fill) -> None:
    """Have it in place: `fill` makes the folder that it is given. Those of before go, but for a box's own."""
    if layer.is_dir():
        return
    part = layer.with_name(f"{layer.name}-{os.getpid()}.part")
    fill(part)
    with contextlib.suppress(OSError):  # another one was faster
        part.rename(layer)
    shutil.rmtree(part, ignore_errors=True)
    used = [file.read_text() for file in CACHE.glob("boxes/*/layer")]
    for old in CACHE.glob(layer.name[:-12] + "[0-9a-f]" * 12):
        if old != layer and f"{old}:" not in used:
            shutil.rmtree(old, ignore_errors=True)


def with_venv(suite: str = "bookworm") -> dict[str, str]:
    """The environment of a `box up` that makes a Debian of this suite with a .venv, if one is kept."""
    layer = place("venv", suite)
    return {"SUITE": suite} | ({"PIXELWISE_BOX_LAYER": str(layer)} if layer.is_dir() else {})


def keep_venv(name: str, suite: str = "bookworm") -> None:
    """Keep the one of this running box, unless one is kept already."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        copy = ["cp", "-a", "--parents", "opt/pixelwise/.venv", folder]
        subprocess.run(copy, cwd=root_of(name), check=True)

    make(place("venv", suite), fill)


def root_of(name: str) -> Path:
    """The root of a running box, as this machine sees it."""
    told = subprocess.run([BOX, "--name", name, "status"], capture_output=True, text=True, check=True).stdout
    return Path("/proc", re.search(r"PID 1 is (\d+)", told)[1], "root")
