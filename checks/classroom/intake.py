"""Takes a submission in: a folder, a zip or a git URL becomes a folder of plain files.

What arrives holds folders and regular files only: no links, no devices, no names that fool a terminal or
another system, nothing outside of it. What cannot be taken in is left out with a note; what can hardly be an
accident (a zip bomb), or leaves nothing to grade, is refused. Notes and errors speak to the student: what is
wrong, and what to do.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from checks.classroom.limits import size, visible

MAX_BYTES = 100 << 20  # of all files together: less than the sandbox's half of a disk
MAX_FILES = 5000
MAX_DEPTH = 20  # folders in folders
MAX_NAME = 120  # characters
MAX_RATIO = 100  # a zip of more than 10 MiB may not be packed tighter
MAX_ARCHIVE = 50 << 20  # bytes of the zip itself
MAX_NOTES = 20
GIT_SECONDS = 120
# Never a part of the work, and often a hundred times as large.
CLUTTER = {"__MACOSX", ".DS_Store", "Thumbs.db", ".git", "__pycache__", ".ipynb_checkpoints", ".pytest_cache"}
ENVIRONMENTS = {".venv", "venv", "env", "node_modules", "site-packages"}
KEPT = {"app", "labs", "deploy", "models", "notebooks"}  # a single top folder with such a name is no wrapping


AGAIN = "zip the folder again with your system's own tool, and hand it in"
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class SubmissionError(Exception):
    """Nothing could be taken in; says what is wrong and what the student can do."""


@dataclass(frozen=True)
class Submission:
    """name: of its source, fit for a file name; root: the folder where server.py would be; notes: what was
    left out, and why, in plain text without control characters."""

    name: str
    root: Path
    notes: tuple[str, ...] = ()


def fetch(source: str | Path, into: Path, *, protocols: str = "https:ssh") -> Submission:
    """Copy a submission into a new folder.

    source: a folder, a zip or the URL of a git repository. into: does not exist yet, or is empty; after an
    error it is as it was. protocols: those that git may speak. Raises SubmissionError.
    """
    into, text = Path(into), str(source)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise FileExistsError(f"{into} is not empty")
    name = name_of(source)
    intake = Intake(into)
    try:
        with ExitStack() as opened:
            if _is_url(text):
                folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="pixelwise-clone-")))
                intake.notes.append(_clone(text, folder / "clone", protocols))
                entries = _entries_of_folder(folder / "clone")
            elif Path(source).is_dir():
                entries = _entries_of_folder(Path(source))
            elif Path(source).is_file():
                entries = _entries_of_zip(opened.enter_context(_open_zip(Path(source))))
            else:
                raise SubmissionError(
                    f"there is no {visible(text)}: name a folder, a zip, or a git URL that begins with https://"
                )
            entries = opened.enter_context(closing(entries))
            for entry in entries:
                intake.take(entry)
            intake.finish()
    except BaseException as problem:
        shutil.rmtree(into, ignore_errors=True)
        if isinstance(problem, BROKEN):
            raise SubmissionError(f"the zip is broken ({visible(str(problem))[:200]}): {AGAIN}") from None
        if isinstance(problem, OSError):
            raise SubmissionError(f"it cannot be read: {visible(str(problem))[:200]}") from None
        raise
    return Submission(name, _unwrapped(into), tuple(intake.notes[:MAX_NOTES]) + _more(intake.notes))


def name_of(source: str | Path) -> str:
    """A name for the submission, fit for a file name, a table and a page: "/in/Ada L..zip" → "Ada-L"."""
    last = re.split(r"[/:\\]", str(source).rstrip("/"))[-1]
    last = re.sub(r"\.(zip|git)$", "", last, flags=re.IGNORECASE)
    last = unicodedata.normalize("NFC", last.encode("utf-8", "replace").decode())
    return re.sub(r"[^\w@+=.-]+", "-", last).strip("-.")[:80] or "submission"


# ---- What comes in ----------------------------------------------------------------------------------------


@dataclass
class Entry:
    """One thing in a submission. name: as it came, "/" between folders; kind: "file", "folder", "link",
    "other"; target: of a link; open: of a file."""

    name: str
    kind: str
    executable: bool = False
    target: str = ""
    open: Callable[[], BinaryIO] | None = None


@dataclass
class Intake:
    """Writes entries into a folder, as long as they are harmless and within the limits."""

    into: Path
    notes: list[str] = field(default_factory=list)
    files: set[PurePosixPath] = field(default_factory=set)  # written so far
    bytes: int = 0
    links: list[tuple[PurePosixPath, str]] = field(default_factory=list)
    seen: dict[str, PurePosixPath] = field(default_factory=dict)
    entries: int = 0

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
                return self._leave_out(part, "packages are not a part of the work: leave the folder out")
        self.entries += 1
        if self.entries > MAX_FILES:
            raise SubmissionError(f"more than {MAX_FILES} files and folders: hand in your own work only")
        if len(parts) > MAX_DEPTH or len(entry.name.encode("utf-8", "surrogatepass")) > 1000:
            return self._leave_out(shown, f"more than {MAX_DEPTH} folders deep, or too long a path")
        for part in parts:
            if len(part) > MAX_NAME or len(part.encode("utf-8", "surrogatepass")) > 250:
                return self._leave_out(shown, f"a name of more than {MAX_NAME} characters: shorten it")
            if part != visible(part) or re.search(r'[\n\t<>:"|?*\\]', part) or part != part.strip():
                return self._leave_out(
                    shown,
                    "a name with characters that some systems refuse: use letters, digits, '_', '-', '.'",
                )
        path = PurePosixPath(*parts)
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
        """Put copies in the places of links, now that all files are there. SubmissionError, if none is."""
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
        if not self.files:
            raise SubmissionError("there are no files in it: pack the folder with server.py in it")

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


def _more(notes: list[str]) -> tuple[str, ...]:
    return (f"and {len(notes) - MAX_NOTES} notes more",) if len(notes) > MAX_NOTES else ()


def _unwrapped(root: Path) -> Path:
    """The folder with the work in it: whoever packs a folder packs it with its name."""
    while True:
        inside = list(root.iterdir())
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name in KEPT:
            return root
        root = inside[0]


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


def _open_plain(name: str, folder: int) -> BinaryIO:
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise SubmissionError(f"{visible(name)} is no longer a file")
    return os.fdopen(opened, "rb")


def _open_zip(file: Path) -> zipfile.ZipFile:
    """The zip, after all that can be said about it without unpacking. Raises SubmissionError."""
    if file.stat().st_size > MAX_ARCHIVE:
        raise SubmissionError(
            f"a zip of more than {size(MAX_ARCHIVE)}: hand in your own work only, without data"
        )
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
    elif unpacked > 10 << 20 and unpacked > MAX_RATIO * min(packed, file.stat().st_size):
        problem = (
            f"the zip is a bomb: {size(unpacked)} in {size(file.stat().st_size)}. Hand in your work only"
        )
    if problem:
        opened.close()
        raise SubmissionError(problem)
    return opened


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


def _is_url(text: str) -> bool:
    return bool(re.match(r"[a-z][a-z0-9+.-]*:(//|:)|[\w.-]+@[\w.-]+:", text, re.IGNORECASE))


def _clone(url: str, folder: Path, protocols: str) -> str:
    """Clone the last commit only, and say which it is. Raises SubmissionError.

    Hooks, submodules, filters, templates and the instructor's own configuration stay out; nobody is asked for
    a password.
    """
    shown = visible(re.sub(r"//[^/@]*@", "//", url))[:200]  # without a token
    scheme = (urlsplit(url).scheme if "://" in url else "ssh" if "::" not in url else "").lower()
    if scheme not in protocols.split(":") or url.startswith("-"):
        raise SubmissionError(
            f"{shown} cannot be cloned: give an address that begins with https:// or ssh://"
        )
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "SSH_AUTH_SOCK") if name in os.environ}
    variables |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }
    git = [
        "git",
        "-c",
        f"core.hooksPath={os.devnull}",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.askPass=true",
    ]
    clone = [
        "clone",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-recurse-submodules",
        "--template=",
        "--",
        url,
    ]
    limited = ["prlimit", f"--fsize={4 * MAX_BYTES}"]
    process = subprocess.Popen(
        [*limited, *git, *clone, str(folder)],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=GIT_SECONDS)
    except BaseException as problem:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(problem, subprocess.TimeoutExpired):
            raise SubmissionError(
                f"{shown} was not cloned within {GIT_SECONDS} s: is it very large?"
            ) from None
        raise
    if process.returncode:
        reason = visible(re.sub(r"//[^/@\s]*@", "//", errors.decode("utf-8", "replace"))).strip().splitlines()
        fatal = (
            [line for line in reason if line.startswith("fatal:")] + reason + [f"status {process.returncode}"]
        )
        reason = fatal[0][:200]
        raise SubmissionError(f"{shown} cannot be cloned ({reason}): is it public, and spelled right?")
    head = subprocess.run(
        [*git, "-C", str(folder), "rev-parse", "HEAD"], env=variables, capture_output=True, text=True
    )
    return f"commit {head.stdout.strip()[:40] or 'unknown'} of {shown}"
