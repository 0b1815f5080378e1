"""What is in an archive, an entry at a time: zips by Python, tars, 7z and rar by libarchive.

What a file is, its first bytes say, whatever it is called. Nothing is written here, and nothing is read
before it is asked for; what may be written, intake.py decides.
"""

import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from checks.classroom.limits import size, visible

MAX_BYTES = 100 << 20  # of all files together: less than the sandbox's half of a disk
MAX_FILES = 5000
MAX_PATH = 1000  # bytes, from the top of the submission
MAX_RATIO = 100  # what is more than 10 MiB unpacked may not be packed tighter
MAX_ARCHIVE = 50 << 20  # bytes of the archive itself
MAX_LOOKED_AT = 10 * MAX_ARCHIVE  # a zip that is too large is still asked what is in it
SUFFIX = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst)|7z|rar)$", re.IGNORECASE)
AGAIN = "zip the folder again with your system's own tool, and hand it in"
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
# First bytes, and libarchive's names of the format and of the filter around it. Never all that it knows: one
# of its formats (mtree) reads other files of this machine, and some filters start programs.
KINDS = {
    b"7z\xbc\xaf\x27\x1c": ("7zip", "none"),
    b"Rar!\x1a\x07\x00": ("rar", "none"),
    b"Rar!\x1a\x07\x01\x00": ("rar5", "none"),
    b"\x1f\x8b": ("tar", "gzip"),
    b"BZh": ("tar", "bzip2"),
    b"\xfd7zXZ\x00": ("tar", "xz"),
    b"\x28\xb5\x2f\xfd": ("tar", "zstd"),
}


class SubmissionError(Exception):
    """Nothing could be taken in; says what is wrong and what the student can do. again: it may be otherwise
    the next time, for the cause lies with this machine."""

    again = False


@dataclass
class Entry:
    """One thing in a submission. name: as it came, "/" between folders; kind: "file", "folder", "link",
    "other"; target: of a link; open: of a file."""

    name: str
    kind: str
    executable: bool = False
    target: str = ""
    open: Callable[[], BinaryIO] | None = None


def is_archive(name: str) -> bool:
    """Whether a file of this name is meant to be unpacked."""
    return SUFFIX.search(name) is not None


def stem_of(name: str) -> str:
    """The name without what says that it is an archive: "ada.tar.gz" → "ada"."""
    return SUFFIX.sub("", name)


@contextmanager
def opened_archive(file: Path) -> Iterator[Iterator[Entry]]:
    """The entries of an archive. An entry's file can be read until the next one is asked for.
    Raises SubmissionError, also while it is read."""
    with file.open("rb") as opened:
        start = opened.read(262 + 3)
    kinds = [kind for magic, kind in KINDS.items() if start.startswith(magic)]
    if start[257:262] == b"ustar":
        kinds = [("tar", "none")]
    try:
        if kinds:
            with _unpacked_by_libarchive(file, *kinds[0]) as entries:
                yield entries
        else:
            with closing(_open_zip(file)) as opened:
                yield _entries_of_zip(opened)
    except BROKEN as problem:
        raise SubmissionError(f"the archive is broken ({visible(str(problem))[:200]}): {AGAIN}") from None


def _refuse_a_size(file: Path) -> None:
    if file.stat().st_size > MAX_ARCHIVE:
        raise SubmissionError(
            f"a zip of more than {size(MAX_ARCHIVE)}{_most_of(file)}: hand in your own work only, without "
            "data and packages"
        )


def _most_of(file: Path) -> str:
    """Where most bytes of a zip are, if that can be said: ", most of it in venv/"."""
    try:
        if file.stat().st_size > MAX_LOOKED_AT:
            return ""
        with zipfile.ZipFile(file) as opened:
            folders = Counter()
            for info in opened.infolist():
                folders[heaviest(info.filename)] += info.compress_size
    except (*BROKEN, OSError, ValueError, OverflowError):
        return ""
    return mostly(folders)


def heaviest(name: str) -> str:
    """The folder that is named where there is too much: the first two of a path."""
    return "/".join(name.replace("\\", "/").split("/")[:-1][:2])


def mostly(folders: Counter) -> str:
    """ ", most of it in a/b/", if it is most of it."""
    ((name, count),) = folders.most_common(1) or [("", 0)]
    shown = visible(repr(name)[1:-1])[:100]
    return f", most of it in {shown}/" if name and count > folders.total() / 2 else ""


# ---- Zips -------------------------------------------------------------------------------------------------


def _open_zip(file: Path) -> zipfile.ZipFile:
    """The zip, after all that can be said about it without unpacking. Raises SubmissionError."""
    _refuse_a_size(file)
    if file.read_bytes().count(b"PK\1\2") > 10 * MAX_FILES:  # before a list of them fills the memory
        raise SubmissionError(f"more than {MAX_FILES} files and folders: hand in your own work only")
    try:
        opened = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, OverflowError) as problem:
        raise SubmissionError(
            f"it is not a zip, or a broken one ({visible(str(problem))}): {AGAIN}"
        ) from None
    infos = opened.infolist()
    unpacked, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    problem = ""
    if any(info.flag_bits & 1 for info in infos):
        problem = f"the zip has a password: {AGAIN}, without one"
    elif any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        problem = f"the zip is packed in a way that not every system reads: {AGAIN}"
    elif is_bomb(unpacked, min(packed, file.stat().st_size)):
        problem = (
            f"the zip is a bomb: {size(unpacked)} in {size(file.stat().st_size)}. Hand in your work only"
        )
    if problem:
        opened.close()
        raise SubmissionError(problem)
    return opened


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether so many bytes in so few can hardly be an accident."""
    return unpacked > 10 << 20 and unpacked > MAX_RATIO * packed


def _entries_of_zip(opened: zipfile.ZipFile) -> Iterator[Entry]:
    for info in opened.infolist():
        name = info.filename.replace("\\", "/")  # some tools on Windows write these
        mode = info.external_attr >> 16
        kind = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}.get(
            stat.S_IFMT(mode), "other"
        )
        if kind != "link" and name.endswith("/"):
            kind = "folder"
        target = ""
        if kind == "link" and info.file_size < 4096:
            target = opened.open(info).read(4096).decode("utf-8", "replace")
        yield Entry(name, kind, bool(mode & 0o100), target, lambda i=info: opened.open(i))


# ---- Everything else --------------------------------------------------------------------------------------


class _Blocks:
    """The blocks of libarchive's entry as a file to read from."""

    def __init__(self, entry):
        self.blocks = entry.get_blocks(1 << 16)

    def read(self, most: int) -> bytes:
        return next(self.blocks, b"")  # no block is larger than those of our reader

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.blocks.close()


@contextmanager
def _unpacked_by_libarchive(file: Path, kind: str, around: str) -> Iterator[Iterator[Entry]]:
    """The entries of a tar, 7z or rar. Raises SubmissionError."""
    _refuse_a_size(file)
    try:
        import libarchive  # a library of the system, which may not be there: zips need none
    except (OSError, AttributeError, ImportError, TypeError):
        problem = SubmissionError(
            "this machine cannot unpack it (it is no zip): apt-get install libarchive13, or unpack it by hand"
        )
        problem.again = True
        raise problem from None
    try:
        with libarchive.file_reader(str(file), kind, around) as archive:
            yield _entries_of_libarchive(archive, file.stat().st_size)
    except libarchive.ArchiveError as problem:
        told = visible(str(problem.msg or "it ends too early"))[:200]
        if "ncrypt" in told or "passphrase" in told.lower():
            raise SubmissionError(f"the archive has a password: {AGAIN}, without one") from None
        raise SubmissionError(f"the archive is broken ({told}): {AGAIN}") from None


def _entries_of_libarchive(archive, packed: int) -> Iterator[Entry]:
    unpacked = 0
    for entry in archive:
        unpacked += entry.size or 0  # what nobody reads has to be unpacked as well
        if is_bomb(unpacked, packed):
            raise SubmissionError(
                f"the archive is a bomb: {size(unpacked)} in {size(packed)}. Hand in your work only"
            )
        name = entry.pathname or ""
        name = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
        mode, target = entry.mode, entry.linkpath or ""
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}.get(
            stat.S_IFMT(mode), "other"
        )
        if entry.islnk:  # a second name of a file before it, from the archive's top
            kind, target = "link", "../" * (len(Path(name).parts) - 1) + str(target)
        yield Entry(
            name.replace("\\", "/"), kind, bool(mode & 0o100), str(target), lambda one=entry: _Blocks(one)
        )
