"""Every attempt of a student, with its time and what it earned: attempts.jsonl beside the record.

The file is only ever added to. A line is a grading of an attempt: what the checks found, without what people
say of it; the last line about a submission holds, so that an attempt that is graded again keeps its time. A
line that a crash cut off is none.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from checks.course.roster import words
from checks.course.tables import Unclear, need, table_of
from checks.report.model import clean

FILE = "attempts.jsonl"
GIVEN, COMMIT, MTIME = "given", "commit", "file"  # where a time is from: the first is believed most
SUBMITTED = "last modified (submission)"  # a column of Moodle's
LONGEST = 1 << 20  # bytes that are read of a file of a repository
SECONDS = 20  # for git to read one commit


@dataclass(frozen=True)
class Received:
    """When something was handed in, to the second, in UTC; source: GIVEN, COMMIT or MTIME."""

    at: datetime
    source: str


def received(paths: list[Path], given: datetime | None = None, dated: bool = True) -> Received | None:
    """When these files and folders were handed in: as it is given; else the time of the last commit, which
    the student's clock made; else, where they are dated, of the newest file. None where nobody knows."""
    if given:
        return Received(given.astimezone(UTC).replace(microsecond=0), GIVEN)
    try:
        if len(paths) == 1 and (at := committed(paths[0])):
            return Received(at, COMMIT)
        times = [_changed(path) for path in paths if dated]
        return Received(datetime.fromtimestamp(int(max(times)), UTC), MTIME) if times else None
    except (OSError, ValueError, OverflowError):
        return None


def given(text: str, zone: ZoneInfo | None = None) -> Callable[[str], datetime | None]:
    """When a submission of some name was handed in, as somebody says: one time for all; or a file with the
    columns submission and received; or Moodle's grading worksheet in English, whose times are those of the
    zone. Raises Unclear."""
    try:
        at = _time(text)
        return lambda name: at
    except ValueError:
        file = Path(text)
    if not file.exists():
        raise Unclear(
            f"{clean(text)} is no time with its offset (2026-11-03T23:59+01:00), and no file: give one "
            "of them"
        )
    rows, times = table_of(file), {}
    if rows and {"identifier", SUBMITTED} <= set(rows[0]):
        return _of_moodle(rows, zone, file)
    need(rows, ("submission", "received"), file)
    for row in rows:
        try:
            times[row["submission"]] = _time(row["received"])
        except ValueError:
            raise Unclear(
                f"{file}: {clean(row['submission'])!r} was received {clean(row['received'])!r}: write a time "
                "with its offset, 2026-11-03T23:59+01:00"
            ) from None
    return times.get


def _of_moodle(rows: list[dict[str, str]], zone: ZoneInfo | None, file: Path) -> Callable:
    """Moodle calls a submission by a name and the number of its Identifier (mod/assign/gradingtable.php), or
    by a group and the number of that, which may be somebody's Identifier as well."""
    if zone is None:
        raise Unclear(f'{file} does not say whose clock it shows: add zone = "Europe/Berlin" to course.toml')
    times, groups = {}, {}
    for row in rows:
        if row[SUBMITTED].strip("-"):  # else nothing came in
            try:
                shown = datetime.strptime(row[SUBMITTED], "%A, %d %B %Y, %I:%M %p")
            except ValueError:
                raise Unclear(
                    f"{file}: {clean(row[SUBMITTED])!r} is no time in English: download it with Moodle in "
                    "English, and do not save it with a spreadsheet before"
                ) from None
            at, group = shown.replace(tzinfo=zone), _joined(row.get("group", ""))
            times[re.sub(r"\D+", "", row["identifier"])] = (_joined(row.get("full name", "")), at)
            groups |= {group: at} if group else {}

    def when(submission: str) -> datetime | None:
        name, _, number = submission.rpartition("_")
        known = number in times and times[number][0] in _joined(name)
        return times[number][1] if known else groups.get(_joined(name))

    return when


def _joined(name: str) -> str:
    return "".join(words(name))


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    return at


def _changed(path: Path) -> float:
    """The time of change of a file, or of the newest one in a folder; no link is followed."""
    newest = [] if path.is_dir() and not path.is_symlink() else [path.lstat().st_mtime]
    for folder, _, files in os.walk(path):
        newest += [Path(folder, name).lstat().st_mtime for name in files]
    return max(newest, default=path.lstat().st_mtime)


def committed(folder: Path) -> datetime | None:
    """When the last commit of a repository was made. Only its objects are read: what a repository configures
    could be a program to run."""
    git = folder / ".git"
    if git.is_symlink() or not git.is_dir():
        return None
    try:
        head = _start(git / "HEAD")
        name = head.removeprefix("ref: ")
        if name != head:
            head = _pointed_at(git, name)
    except OSError:
        return None
    if len(head) not in (40, 64) or set(head) - set("0123456789abcdef"):
        return None
    with tempfile.TemporaryDirectory(prefix="pixelwise-git-") as empty:
        environment = {"PATH": os.environ.get("PATH", ""), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "HOME": empty}

        def run(*arguments: str, **more: str) -> subprocess.CompletedProcess:
            return subprocess.run(
                ["git", f"--git-dir={empty}/git", *arguments],
                env=environment | more,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )

        try:
            run("init", "--quiet", "--bare", "--template=", f"{empty}/git")
            told = run(
                "log", "-1", "--format=%ct", head, GIT_OBJECT_DIRECTORY=str((git / "objects").absolute())
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    text = told.stdout.decode("ascii", "replace").strip()
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else None


def _pointed_at(git: Path, name: str) -> str:
    """The commit of a branch, in a file of its own or in the list of them."""
    lines = _start(git / "packed-refs").split("\n")
    return _start(git / name) or next((one.split(" ")[0] for one in lines if one.endswith(f" {name}")), "")


def _start(file: Path) -> str:
    """The start of a file, which may be as long as it likes; "" of what is none, and might never end."""
    if not file.is_file():
        return ""
    with file.open("rb") as opened:
        return opened.read(LONGEST).decode("ascii", "replace").strip()


# ---- What is kept ----------------------------------------------------------------------------------------


def kept(folder: Path) -> list[dict]:
    """The attempts of a student, the earliest first: {"at", "source", "grade"} each; at: ISO 8601 in UTC, or
    "" where nobody knows it: these come first, in the order in which they came; grade: as
    `records.grade_of`."""
    try:
        lines = (folder / FILE).read_text("utf-8").split("\n")
    except (OSError, ValueError):
        return []
    found: dict[str, dict] = {}
    for line in lines:
        try:
            told = json.loads(line)
            found[told["grade"]["submission"]] = told
        except (ValueError, LookupError, TypeError):
            continue
    return sorted(found.values(), key=lambda one: (one["at"], one["at"] and one["grade"]["submission"]))


def keep(folder: Path, grade: dict, when: Received | None) -> None:
    """Add what a grading found, if it says anything new. Of several times of one submission the one from the
    better source holds; of one source the earlier: the same files may have been downloaded twice."""
    told = {"at": when.at.isoformat() if when else "", "source": when.source if when else "", "grade": grade}
    before = next((one for one in kept(folder) if one["grade"]["submission"] == grade["submission"]), None)
    if before:
        order = (GIVEN, COMMIT, MTIME, "")
        times = sorted((before, told), key=lambda one: (order.index(one["source"]), one["at"]))
        if when is None or when.source != GIVEN:  # who gives another time means it
            told |= {name: times[0][name] for name in ("at", "source")}
        if told == before:
            return
    line = json.dumps(told, ensure_ascii=True, sort_keys=True)
    file = folder / FILE
    torn = file.exists() and not file.read_bytes().endswith(b"\n")
    with file.open("a", encoding="ascii") as adding:
        adding.write("\n" * torn + line + "\n")
        adding.flush()
        os.fsync(adding.fileno())
