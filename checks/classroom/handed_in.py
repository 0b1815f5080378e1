"""What was handed in: found in the folder of a class, looked at, and packed for another machine."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from checks.classroom.gradebook import TAKEN

HASHED_WHOLE = 64 * 1024 * 1024  # bytes of a file; of a larger one, its size and time of change count


class Usage(Exception):
    """A wrong call. The message is a sentence with the remedy."""


# ---- Finding it ----------------------------------------------------------------------------------------


def is_url(path: str) -> bool:
    """Whether it is an address that git may know, rather than a path."""
    return "://" in path or re.match(r"[\w.-]+@[\w.-]+:", path) is not None


def is_class(path: Path) -> bool:
    """Whether a folder is a class: nothing in it looks like a submission's own files, and it holds folders
    or zips. Raises Usage where it is neither."""
    if not path.is_dir():
        return False
    inside = [found for found in path.iterdir() if not found.name.startswith(".")]
    own = [found for found in inside if found.suffix in (".py", ".ipynb") and found.is_file()]
    if own or (path / ".git").exists() or (path / "app" / "main.py").is_file():
        return False
    if any(map(_is_submission, inside)):
        return True
    raise Usage(
        f"{path} is neither a submission (no server.py, no app/main.py) nor a class (no folders, no .zip "
        "files): name the folder that holds one of these"
    )


def _is_submission(path: Path) -> bool:
    return not path.is_symlink() and (path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"))


def find_submissions(folder: Path) -> dict[str, Path]:
    """{student: folder or zip} of a class, sorted by name. Raises Usage where two have the same name, or one
    has a name that the grades cannot have."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not _is_submission(path):
            continue
        name = path.name if path.is_dir() else path.name[:-4]
        if name in found:
            raise Usage(f"{found[name].name} and {path.name} are the same student: remove or rename one")
        if name in TAKEN or name.strip() in ("", ".", ".."):
            raise Usage(f"a submission cannot be called {name!r}: rename it")
        found[name] = path
    return found


# ---- All that it holds ---------------------------------------------------------------------------------


def entries(path: Path) -> Iterator[tuple[str, str, int, Path]]:
    """(relative path, "file", "folder", "link" or "other", mode, path) of all in a folder, in a fixed order;
    nothing is followed or opened."""
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted([*names, *files]):
            found = Path(folder, name)
            mode = found.lstat().st_mode
            kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
            yield (
                found.relative_to(path).as_posix(),
                kinds.get(stat.S_IFMT(mode), "other"),
                mode & 0o777,
                found,
            )


def digest_of(path: Path) -> str:
    """SHA-256, in hex, of a zip's bytes or of all that a folder holds: names, modes and contents."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for name, kind, mode, found in entries(path):
        whole.update(f"{name!r} {kind} {mode:o} ".encode("utf-8", "surrogateescape"))
        if kind == "link":
            whole.update(os.fsencode(found.readlink()))
        elif kind == "file":
            size = found.lstat().st_size
            if size <= HASHED_WHOLE:
                whole.update(hashlib.sha256(found.read_bytes()).digest())
            else:
                whole.update(f"{size} {found.lstat().st_mtime_ns}".encode())
    return whole.hexdigest()


def pack(path: Path) -> list[tuple[str, str, int, bytes]]:
    """A zip or a folder as values: (relative path, kind, mode, content or the link's target)."""
    if path.is_file():
        return [(path.name, "file", 0o600, path.read_bytes())]
    packed = []
    for name, kind, mode, found in entries(path):
        content = {"file": found.read_bytes, "link": lambda link=found: os.fsencode(link.readlink())}
        packed.append((f"{path.name}/{name}", kind, mode, content.get(kind, bytes)()))
    return [(path.name, "folder", 0o700, b""), *packed]


def unpack(packed: list[tuple[str, str, int, bytes]], into: Path) -> Path:
    """Write it again; returns the zip or folder. Links come last, so that nothing is written through one."""
    for name, kind, mode, content in sorted(packed, key=lambda entry: entry[1] == "link"):
        target = into / name
        if kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
        elif kind == "link":
            target.symlink_to(os.fsdecode(content))
        elif kind == "file":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode | 0o400)
    return into / packed[0][0]
