"""What was handed in: who is who in the folder of a class, looked at, and packed for another machine."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from checks.classroom.archives import MAX_ARCHIVE, MAX_BYTES, MAX_PATH, is_archive, stem_of
from checks.classroom.found import KIT, LOOKED_FOR, servers_in
from checks.classroom.gradebook import TAKEN

HASHED_WHOLE = 64 * 1024 * 1024  # bytes of a file; of a larger one, its size and time of change count
# What systems leave behind, and nobody has handed in.
CLUTTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}
# "Ada Lovelace_4711_assignsubmission_file_block5.zip", or a folder without the file's name: Moodle.
# Who is in no group hands in as "Default group", which has no number.
MOODLE = re.compile(r"(?P<who>.+?)_assignsubmission_(?P<what>file|onlinetext)_?(?P<file>.*)")
# "lovelaceada_LATE_123_456_block5-1.zip", with the numbers of the student and of the submission: Canvas.
CANVAS = re.compile(r"(?P<who>[^_]+)(?:_LATE)?(?P<number>_\d+)_\d+_(?P<file>.+)")


class Usage(Exception):
    """A wrong call. The message is a sentence with the remedy."""


@dataclass(frozen=True)
class HandedIn:
    """What a student handed in. parts: (name inside, path) each; the name is "" where one folder or archive
    is all of it. why: why it cannot be graded, where that is plain before anything is read. dated: whether
    the times of its files say when it was handed in; what an LMS packs has the time of the download."""

    parts: tuple[tuple[str, Path], ...]
    why: str = ""
    dated: bool = True

    def digest(self) -> str:
        """SHA-256, in hex, of all that it holds. Raises OSError where something cannot be read."""
        if self.why:
            return hashlib.sha256(self.why.encode("utf-8", "surrogateescape")).hexdigest()
        if len(self.parts) == 1 and not self.parts[0][0]:
            return digest_of(self.parts[0][1])
        told = "\n".join(f"{name!r} {digest_of(path)}" for name, path in self.parts)
        return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


# ---- Finding it ----------------------------------------------------------------------------------------


def is_class(path: Path) -> bool:
    """Whether a folder is a class, and no submission: what an LMS wrote, or folders and archives, and
    neither a server of its own nor a repository. A stray file makes no submission of a class of many.
    Raises Usage where it is neither."""
    if not path.is_dir():
        return False
    inside = [found for found in path.iterdir() if not is_clutter(found.name)]
    if any(MOODLE.fullmatch(found.name) for found in inside) or _of_canvas(inside):
        return True
    students = [found for found in inside if _may_be_a_students(found)]
    own = [found for found in inside if found.suffix in (".py", ".ipynb") and found.is_file()]
    a_server = any((path / name).is_file() for name in LOOKED_FOR) or (path / ".git").exists()
    if own or a_server:
        known = {found.name for found in inside} & KIT
        handed_in = [found for found in students if is_archive(found.name) or _holds_a_server(found)]
        # a submission may have folders with servers as well: an old copy, an example
        return not known and len(handed_in) > (max(2, len(inside) // 2) if a_server else 1)
    if students:
        return True
    raise Usage(
        f"{path} is neither a submission (no server.py, no app/main.py) nor a class (no folders, no "
        "archives): name the folder that holds one of these"
    )


def is_clutter(name: str) -> bool:
    """Whether nobody has handed this in: a system put it there."""
    return name in CLUTTER or name.startswith(".")


def _may_be_a_students(path: Path) -> bool:
    return not path.is_symlink() and (path.is_dir() or (path.is_file() and is_archive(path.name)))


def _holds_a_server(path: Path) -> bool:
    try:
        return path.is_dir() and bool(servers_in(path) or any(is_archive(one.name) for one in path.iterdir()))
    except OSError:
        return False


def _of_canvas(inside: list[Path]) -> dict[Path, re.Match]:
    """{file: what its name says}, where Canvas wrote these names: each student has a number."""
    found = {path: CANVAS.fullmatch(path.name) for path in inside if not path.is_dir()}
    found = {path: match for path, match in found.items() if match}
    students = {match["who"] + match["number"] for match in found.values()}
    # "block5_2026_1_ada.zip" and "…_ben.zip" are not two files of a student called block5
    return found if len(students) > 1 or len(found) == 1 else {}


def find_submissions(folder: Path) -> dict[str, HandedIn]:
    """{student: what was handed in} of a class, sorted by name; nothing in it is passed over but clutter.

    Files that an LMS named after the same student are one submission. Where two things are the same student,
    or where it is neither a folder nor an archive, it says so.
    """
    inside = sorted(path for path in folder.iterdir() if not is_clutter(path.name))
    canvas = _of_canvas(inside)
    told = [(*_who_and_what(path, canvas.get(path)), path) for path in inside]
    found: dict[str, HandedIn] = {}
    for who, group in groupby(sorted(told, key=itemgetter(0)), key=itemgetter(0)):
        parts = tuple((name, path) for _, name, path in group)
        dated = not any(path in canvas or MOODLE.fullmatch(path.name) for _, path in parts)
        if len(parts) == 1 and is_archive(parts[0][1].name):
            parts = (("", parts[0][1]),)  # it is all of it, and need not be called anything
        who = f"{who} (handed in)" if who in TAKEN or who.strip() in ("", ".", "..") else who
        try:
            found[who] = HandedIn(parts, _why_not(parts), dated)
        except OSError as problem:
            found[who] = HandedIn(parts, unreadable(problem), dated)
    return dict(sorted(found.items()))


def unreadable(problem: OSError) -> str:
    """Why something that cannot be read has no grade."""
    return f"it cannot be read ({problem.strerror or problem}): make it readable for the grader"


def _who_and_what(path: Path, canvas: re.Match | None) -> tuple[str, str]:
    """The student of an entry, and what it is called in the submission ("": it is all of it)."""
    if moodle := MOODLE.fullmatch(path.name):
        text = "onlinetext" if moodle["what"] == "onlinetext" and path.is_dir() else ""
        return moodle["who"], moodle["file"] or text
    if canvas:
        return canvas["who"] + canvas["number"], canvas["file"]
    if path.is_dir() or not is_archive(path.name):
        return path.name, ""
    # "ada (1).zip" is what a browser makes of a second ada.zip
    return re.sub(r" ?\(\d+\)$", "", stem_of(path.name)) or path.name, ""


def _why_not(parts: tuple[tuple[str, Path], ...]) -> str:
    names = [path.name for _, path in parts]
    if any(path.is_symlink() for _, path in parts):
        return f"{names[0]} is a link: put what it points to in its place"
    whole = [name for name, _ in parts if not name]
    if len(whole) > 1:
        return f"{' and '.join(names)} are the same student: keep the one that counts"
    kinds = [stat.S_IFMT(path.lstat().st_mode) for _, path in parts]
    if any(kind not in (stat.S_IFREG, stat.S_IFDIR) for kind in kinds):
        return f"{names[0]} is neither a file nor a folder: take it out of here"
    if whole and len(parts) == 1 and not _may_be_a_students(parts[0][1]):
        return (
            "it is neither a folder nor an archive (zip, tar.gz, 7z, rar): put what a student handed in into "
            "a folder with their name, and take out what nobody did"
        )
    return ""


# ---- All that it holds ---------------------------------------------------------------------------------


def entries(path: Path) -> Iterator[tuple[str, str, int, Path]]:
    """(relative path, "file", "folder", "link" or "other", mode, path) of all in a folder, in a fixed order;
    nothing is followed or opened. Not looked at is what intake leaves out for its
    long path: where paths are over 4,096 bytes, nothing can be asked about them."""
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted([*names, *files]):
            found = Path(folder, name)
            if len(os.fsencode(found.relative_to(path))) > MAX_PATH:
                names[:] = [one for one in names if one != name]
                continue
            mode = found.lstat().st_mode
            kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
            yield (
                found.relative_to(path).as_posix(),
                kinds.get(stat.S_IFMT(mode), "other"),
                mode & 0o777,
                found,
            )


def digest_of(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes or of all that a folder holds: names, modes and contents."""
    if path.is_file():
        return _digest_of_file(path)
    whole = hashlib.sha256()
    for name, kind, mode, found in entries(path):
        whole.update(f"{name!r} {kind} {mode:o} ".encode("utf-8", "surrogateescape"))
        if kind == "link":
            whole.update(os.fsencode(found.readlink()))
        elif kind == "file":
            told = _digest_of_file(found)
            whole.update(bytes.fromhex(told) if len(told) == 64 else told.encode())
    return whole.hexdigest()


def _digest_of_file(path: Path) -> str:
    found = path.lstat()
    if found.st_size > HASHED_WHOLE:
        return f"{found.st_size} {found.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


Packed = list[tuple[str, str, int, bytes]]


def pack(path: Path) -> Packed:
    """A file or a folder as values: (relative path, kind, mode, content or the link's target). Of a file over
    the limits there is just so much that it is over them there, too."""
    if path.is_file():
        return [(path.name, "file", 0o600, _start_of(path, MAX_ARCHIVE + 1))]
    packed = []
    for name, kind, mode, found in entries(path):
        content = {
            "file": lambda file=found: _start_of(file, MAX_BYTES + 1),
            "link": lambda link=found: os.fsencode(link.readlink()),
        }
        packed.append((f"{path.name}/{name}", kind, mode, content.get(kind, bytes)()))
    return [(path.name, "folder", 0o700, b""), *packed]


def _start_of(path: Path, most: int) -> bytes:
    with path.open("rb") as opened:
        return opened.read(most)


def unpack(packed: Packed, into: Path) -> Path:
    """Write it again; returns the file or folder. Links come last, so that nothing is written through one."""
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
