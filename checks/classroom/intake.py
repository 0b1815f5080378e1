"""Takes a submission in: a folder, an archive or a git URL becomes a folder of plain files.

What arrives holds folders and regular files only: no links, no devices, no names that fool a terminal or
another system, nothing outside of it. What cannot be taken in is left out with a note; what can hardly be an
accident (a zip bomb), or leaves nothing to grade, is refused. Notes and errors speak to the student: what is
wrong, and what to do.
"""

import contextlib
import os
import re
import shutil
import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from checks.classroom.archives import (
    MAX_BYTES,
    MAX_FILES,
    MAX_PATH,
    Entry,
    SubmissionError,
    heaviest,
    is_archive,
    mostly,
    opened_archive,
    stem_of,
)
from checks.classroom.clone import clone, is_url
from checks.classroom.found import root_of, servers_in
from checks.classroom.limits import size, visible

MAX_DEPTH = 20  # folders in folders
MAX_NAME = 120  # characters
MAX_NOTES = 20
DEEPER = 2  # times that archives in archives are unpacked, where there is no server without
# Never a part of the work, and often a hundred times as large.
CLUTTER = {"__MACOSX", ".DS_Store", "Thumbs.db", ".git", "__pycache__", ".ipynb_checkpoints", ".pytest_cache"}
ENVIRONMENTS = {".venv", "venv", "env", "node_modules", "site-packages"}
PACKAGES = "packages are not a part of the work: leave the folder out"
REFUSED = re.compile(r'[\n\t<>:"|?*\\]')  # characters that some systems have in no name


@dataclass(frozen=True)
class Submission:
    """name: of its source, fit for a file name; root: the folder where server.py would be; notes: what was
    left out, and why, in plain text without control characters."""

    name: str
    root: Path
    notes: tuple[str, ...] = ()


Source = str | Path | Sequence[tuple[str, str | Path]]


def fetch(source: Source, into: Path, *, protocols: str = "https:ssh") -> Submission:
    """Copy a submission into a new folder.

    source: a folder, an archive or the URL of a git repository; or several, (name inside, path) each. An
    archive in it is unpacked where there is no server without. into: does not exist yet, or is empty; after
    an error it is as it was. protocols: those that git may speak. Raises SubmissionError.
    """
    into = Path(into)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise FileExistsError(f"{into} is not empty")
    parts = [("", source)] if isinstance(source, str | Path) else list(source)
    intake = Intake(into)
    try:
        for name, part in parts:
            intake.below = PurePosixPath(name)
            intake.take_all_of(part, protocols)
        intake.finish()
    except BaseException as problem:
        shutil.rmtree(into, ignore_errors=True)
        if isinstance(problem, OSError):
            raise SubmissionError(f"it cannot be read: {visible(str(problem))[:200]}") from None
        raise
    return Submission(
        name_of(parts[0][1]), root_of(into), tuple(intake.notes[:MAX_NOTES]) + _more(intake.notes)
    )


def name_of(source: str | Path) -> str:
    """A name for the submission, fit for a file name, a table and a page: "/in/Ada L..zip" → "Ada-L"."""
    last = re.split(r"[/:\\]", str(source).rstrip("/"))[-1]
    last = stem_of(re.sub(r"\.git$", "", last, flags=re.IGNORECASE))
    last = unicodedata.normalize("NFC", last.encode("utf-8", "replace").decode())
    return re.sub(r"[^\w@+=.-]+", "-", last).strip("-.")[:80] or "submission"


# ---- What comes in ----------------------------------------------------------------------------------------


@dataclass
class Intake:
    """Writes entries into a folder, as long as they are harmless and within the limits."""

    into: Path
    below: PurePosixPath = PurePosixPath()  # where in it
    notes: list[str] = field(default_factory=list)
    files: set[PurePosixPath] = field(default_factory=set)  # written so far
    bytes: int = 0
    links: list[tuple[PurePosixPath, str]] = field(default_factory=list)
    seen: dict[str, PurePosixPath] = field(default_factory=dict)
    folders: Counter = field(default_factory=Counter)  # how many entries are in which

    def take_all_of(self, source: str | Path, protocols: str) -> None:
        """Take a folder, an archive, a file or a repository. Raises SubmissionError, OSError."""
        text, source = str(source), Path(source)
        with ExitStack() as opened:
            if is_url(text):
                folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="pixelwise-clone-")))
                self.notes.append(clone(text, folder / "clone", protocols))
                entries = _entries_of_folder(folder / "clone")
            elif source.is_dir():
                entries = _entries_of_folder(source)
            elif source.is_file() and self.below == PurePosixPath():
                entries = opened.enter_context(opened_archive(source))
            elif source.is_file():
                self.below, name = self.below.parent, self.below.name
                entries = _entry_of_file(name, source)
            else:
                raise SubmissionError(
                    f"there is no {visible(text)}: name a folder, a zip, or a git URL that begins with https://"
                )
            for entry in opened.enter_context(closing(entries)):
                self.take(entry)

    def take(self, entry: Entry) -> None:
        """Write the entry, or note why not. Raises SubmissionError over a limit."""
        shown = visible(repr(entry.name)[1:-1])[:MAX_NAME]
        parts = entry.name.split("/")
        if entry.name.startswith("/") or re.match(r"[A-Za-z]:", entry.name) or ".." in parts:
            return self._leave_out(
                shown, "its name leads out of the folder: pack the files from inside of it"
            )
        parts = [part for part in parts if part not in ("", ".")]
        if not parts or any(part in CLUTTER or part.startswith("._") for part in parts):
            return None
        for part in parts:
            if part in ENVIRONMENTS:
                return self._leave_out(part, PACKAGES)
        self.folders[heaviest(entry.name)] += 1
        if self.folders.total() > MAX_FILES:
            raise SubmissionError(
                f"more than {MAX_FILES} files and folders{mostly(self.folders)}: hand in your own work only, "
                "without packages"
            )
        if len(parts) > MAX_DEPTH or len(entry.name.encode("utf-8", "surrogatepass")) > MAX_PATH:
            return self._leave_out(shown, f"more than {MAX_DEPTH} folders deep, or too long a path")
        parts = [
            *map(self._tidied, parts[:-1]),
            self._tidied(parts[-1]) if entry.kind == "folder" else parts[-1],
        ]
        for part in parts:
            if len(part) > MAX_NAME or len(part.encode("utf-8", "surrogatepass")) > 250:
                return self._leave_out(shown, f"a name of more than {MAX_NAME} characters: shorten it")
            if part != visible(part) or REFUSED.search(part) or part != part.strip():
                return self._leave_out(
                    shown,
                    "a name with characters that some systems refuse: use letters, digits, '_', '-', '.'",
                )
        path = self.below / PurePosixPath(*parts)
        if entry.kind == "other":
            return self._leave_out(shown, "neither a file nor a folder")
        if any(parent in self.files for parent in path.parents) or (
            entry.kind != "folder" and self._exists(path)
        ):
            return self._leave_out(shown, "a second one with this name: keep one of them")
        if entry.kind == "folder" and path in self.files:
            return self._leave_out(shown, "a second one with this name: keep one of them")
        self._note_a_clash(path)
        if entry.kind == "link":
            self.links.append((path, entry.target))
        elif entry.kind == "folder":
            self._folder(self.into / path)
        else:
            self._write(path, entry)
        return None

    def finish(self) -> None:
        """Put copies in the places of links, now that all files are there, and unpack the archives among them
        where there is no server without. Raises SubmissionError, also where there are no files."""
        self._copy_links()
        self._unpack_what_is_packed()
        if not self.files:
            raise SubmissionError("there are no files in it: pack the folder with server.py in it")

    def _unpack_what_is_packed(self) -> None:
        """Unpack the archives among the files, each into a folder of its name, until there is a server.
        Raises SubmissionError where one cannot be unpacked, and there is none."""
        problem = None
        for _ in range(DEEPER):
            packed = sorted(path for path in self.files if is_archive(path.name))
            if not packed or servers_in(self.into):
                break
            for path in packed:
                try:
                    self._unpack(path)
                except SubmissionError as refused:
                    told = f"{visible(path.name)[:MAX_NAME]}: {refused}"
                    self.notes.append(f"left out {told}")
                    problem = problem or (told, refused.again)
        if problem and not servers_in(self.into):
            refused = SubmissionError(problem[0])
            refused.again = problem[1]
            raise refused

    def _unpack(self, path: PurePosixPath) -> None:
        before = set(self.files)
        with tempfile.TemporaryDirectory(prefix="pixelwise-unpacked-") as scratch:
            file = Path(shutil.move(self.into / path, Path(scratch, "archive")))
            self.files.discard(path)
            self.bytes -= file.stat().st_size
            self.below = path.with_name(_tidy(stem_of(path.name)) or "unpacked")
            try:
                with opened_archive(file) as entries:
                    for entry in entries:
                        self.take(entry)
                self._copy_links()
            except BaseException:
                for one in self.files - before:
                    with contextlib.suppress(FileNotFoundError):
                        self.bytes -= (self.into / one).stat().st_size
                        (self.into / one).unlink()
                self.files &= before
                self.links.clear()
                raise

    def _copy_links(self) -> None:
        for path, target in self.links:
            shown = visible(f"{path} → {target}")[:MAX_NAME]
            wanted = PurePosixPath(os.path.normpath(path.parent / target))
            if wanted not in self.files:
                self._leave_out(
                    shown, "a link to something that is not a file of the submission: put the file there"
                )
            elif not self._exists(path) and not any(parent in self.files for parent in path.parents):
                file = self.into / wanted
                executable = bool(file.stat().st_mode & 0o100)
                self._write(path, Entry(str(path), "file", executable, open=lambda f=file: f.open("rb")))
        self.links.clear()

    def _tidied(self, folder: str) -> str:
        """The name of a folder as every system takes it: what is in it need not be lost for its name."""
        tidy = _tidy(folder)
        if tidy != folder and tidy:
            shown = visible(repr(folder)[1:-1])[:MAX_NAME]
            note = f"the folder {shown!r} is {tidy[:MAX_NAME]!r} here: some systems refuse its name"
            if note not in self.notes:
                self.notes.append(note)
        return tidy or folder

    def _exists(self, path: PurePosixPath) -> bool:
        return path in self.files or (self.into / path).exists()

    def _leave_out(self, shown: str, why: str) -> None:
        note = f"left out {shown}: {why}"
        if note not in self.notes:
            self.notes.append(note)

    def _note_a_clash(self, path: PurePosixPath) -> None:
        key = unicodedata.normalize("NFC", str(path)).casefold()
        other = self.seen.setdefault(key, path)
        if other != path:
            self.notes.append(f"{path} and {other} are one file on other systems: rename one of them")

    def _folder(self, folder: Path) -> None:
        if folder.exists():  # for nearly every file, however deep it lies
            return
        for one in reversed([folder, *folder.parents]):
            if not one.exists():
                one.mkdir()
                one.chmod(0o755)

    def _write(self, path: PurePosixPath, entry: Entry) -> None:
        file = self.into / path
        self._folder(file.parent)
        self.files.add(path)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as writing, entry.open() as reading:
            while data := reading.read(1 << 16):
                self.bytes += len(data)
                if self.bytes > MAX_BYTES:
                    raise SubmissionError(
                        f"more than {size(MAX_BYTES)} unpacked: hand in your own work only, without packages"
                    )
                writing.write(data)
            os.fchmod(writing.fileno(), 0o755 if entry.executable else 0o644)


def _tidy(name: str) -> str:
    return REFUSED.sub("_", name).strip()


def _more(notes: list[str]) -> tuple[str, ...]:
    return (f"and {len(notes) - MAX_NOTES} notes more",) if len(notes) > MAX_NOTES else ()


# ---- Where it comes from ----------------------------------------------------------------------------------


def _entries_of_folder(folder: Path) -> Iterator[Entry]:
    """Everything in a folder. No link is followed, also not one that is put there meanwhile."""
    for where, folders, files, handle in os.fwalk(folder, follow_symlinks=False):
        inside = Path(where).relative_to(folder)
        folders.sort()
        for name in [*folders, *sorted(files)]:
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            shown = (inside / name).as_posix()
            executable = bool(found.st_mode & 0o100)
            if stat.S_ISLNK(found.st_mode):
                yield Entry(shown, "link", target=os.readlink(name, dir_fd=handle))
            elif stat.S_ISREG(found.st_mode):
                yield Entry(shown, "file", executable, open=lambda n=name, h=handle: _open_plain(n, h))
            else:
                yield Entry(shown, "folder" if stat.S_ISDIR(found.st_mode) else "other")
        deeper = len(inside.parts) < MAX_DEPTH  # what is deeper is left out anyway
        folders[:] = [name for name in folders if deeper and name not in CLUTTER | ENVIRONMENTS]


def _entry_of_file(name: str, file: Path) -> Iterator[Entry]:
    yield Entry(name, "file", open=lambda: file.open("rb"))


def _open_plain(name: str, folder: int) -> BinaryIO:
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise SubmissionError(f"{visible(name)} is no longer a file")
    return os.fdopen(opened, "rb")
