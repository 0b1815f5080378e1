"""Which files the kit has, and which of them are for students."""

import fnmatch
import functools
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from checks.editions.tables import NEVER, STUDENTS


def files_of(root: Path) -> list[str]:
    """The files of the kit, relative to root: those in git, else all that .gitignore does not name."""
    listed = [name for name in _git(root, "ls-files", "-z").split("\0") if name]
    names = [name for name in listed if (root / name).is_file()] or _walk(root, root, _ignored(root))
    return sorted({name for name in names if not any(map(_is_never_copied, name.split("/")))})


def left_out(root: Path) -> list[str]:
    """The files that git neither knows nor ignores; nothing where there is no git."""
    return [
        name for name in _git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0") if name
    ]


def _git(root: Path, *arguments: str) -> str:
    """What git prints; where it is missing or refuses, nothing."""
    if not (root / ".git").exists() or not shutil.which("git"):
        return ""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout


def _ignored(root: Path) -> list[str]:
    try:
        lines = (root / ".gitignore").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        lines = []
    return [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]


def _walk(root: Path, folder: Path, ignored: list[str]) -> Iterable[str]:
    for path in sorted(folder.iterdir()):
        name = path.relative_to(root).as_posix()
        if _matches(path.name, (*ignored, *NEVER)) or _matches(name, ignored):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(root, path, ignored)
        elif path.is_file():
            yield name


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


@functools.cache  # the same few hundred names are asked again and again
def _is_never_copied(part: str) -> bool:
    return _matches(part, NEVER)


@functools.cache
def is_for_students(name: str) -> bool:
    """Whether STUDENTS names the file."""
    return any(
        name.startswith(pattern)
        if pattern.endswith("/")
        else _matches(name, [pattern]) and "/" not in name[len(pattern) :]
        for pattern in STUDENTS
    )
