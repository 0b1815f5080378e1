"""Grades one submission, or a class of them: each on a port 8000 of its own, in a sandbox, side by side.

    python -m checks.grade PATH [--out DIR]             one: a folder, a zip or a git URL
    python -m checks.grade SUBMISSIONS --out GRADES     a class: a folder whose entries are submissions, or
                                                        the zip that Moodle or Canvas made of them

A record is on disk, whole, the moment a submission is finished; the same line again goes on where the last
one stopped, and grades again only what a changed submission or check affects.

Exit status: 0 all were graded; 1 some could not be; 2 a wrong call; 130 interrupted.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from checks.classroom.archives import SubmissionError, stem_of
from checks.classroom.clone import is_url
from checks.classroom.download import is_download, unpacked
from checks.classroom.handed_in import Usage, is_class
from checks.classroom.intake import fetch
from checks.classroom.janitor import hire_a_janitor
from checks.classroom.limits import APT
from checks.classroom.the_class import Unwritten, command_class, command_one
from checks.classroom.worker import STOP
from checks.course.attempts import given
from checks.course.tables import Unclear
from checks.kit.grading import parse_limit
from checks.report.model import TITLES
from checks.report.terminal import for_any_terminal, in_utf8
from checks.term.rules import zone_in


def main(arguments: list[str]) -> int:
    """Grade, and write the grades; the exit status stands above."""
    for_any_terminal()
    asked = parser().parse_args(arguments)
    try:
        return command(asked)
    except Usage as problem:
        print(f"{problem}", file=sys.stderr)
        return 2
    except Unwritten as problem:
        print(f"{problem}; what was finished is kept, and the same line goes on from there", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The options, as README.md explains them."""
    made = argparse.ArgumentParser(
        prog="python -m checks.grade", description="Grade one submission, or a class of them."
    )
    made.add_argument(
        "path",
        help="a folder, a zip or a git URL; or a folder whose entries are these; or the zip that Moodle or "
        "Canvas made of a class",
    )
    made.add_argument("--out", type=Path, help="the folder of the grades (a class needs one)")
    made.add_argument(
        "--jobs", type=int, help="how many are under way at once (default: as many as there is memory for)"
    )
    made.add_argument("--dask", default="", metavar="tcp://HOST:PORT", help="grade on this Dask cluster")
    made.add_argument("--resume", action="store_true", help="keep what still holds (this is the default)")
    made.add_argument("--fresh", action="store_true", help="grade everything anew")
    made.add_argument("--limit", default="30/minute", help="RATE_LIMIT of the servers (default: 30/minute)")
    made.add_argument(
        "--seconds", type=float, default=600, help="the time limit of a submission (default: 600)"
    )
    made.add_argument("--milestone", default="", help="only these: m1,m3 (default: all)")
    made.add_argument(
        "--box", action="store_true", help="m4 on a fresh production machine: root, one at a time"
    )
    made.add_argument(
        "--seed", type=int, help="the secret of the class (default: that of --out, else a new one)"
    )
    made.add_argument(
        "--received",
        metavar="WHEN",
        help="when all was handed in, 2026-11-03T23:59+01:00; or a CSV file: submission,received, or "
        "Moodle's grading worksheet",
    )
    made.add_argument(
        "--as", dest="kind", choices=["one", "class"], help="what PATH is, where that is not plain"
    )
    return made


def command(asked) -> int:
    """Find what is to be graded, and grade it; returns the exit status. Raises Usage."""
    options = {"limit": asked.limit, "milestone": asked.milestone}
    if asked.received:
        try:
            asked.received = given(asked.received, zone_in(asked.out) if asked.out else None)
        except Unclear as problem:
            raise Usage(f"--received: {problem}") from None
    if asked.box:
        options["box"] = True
        if asked.dask or os.geteuid():
            raise Usage("--box needs root, and a machine of its own: run it with sudo, and without --dask")
        asked.jobs = 1
    try:
        parse_limit(asked.limit)
    except ValueError as problem:
        raise Usage(f"--limit: {problem}") from None
    if not set(filter(None, asked.milestone.split(","))) <= set(TITLES):
        raise Usage(f"--milestone {asked.milestone}: write some of {','.join(TITLES)}")
    if asked.jobs is not None and asked.jobs < 1 or asked.seconds <= 0:
        raise Usage("--jobs and --seconds are above 0")
    if missing := [
        tool for tool in ("bwrap", "unshare", "ip", "prlimit", "setpriv") if not shutil.which(tool)
    ]:
        raise Usage(f"{', '.join(missing)} missing: {APT}")
    STOP.clear()
    with stopping(), contextlib.ExitStack() as using:

        def scratch() -> Path:
            made = Path(tempfile.mkdtemp(prefix="pixelwise-grades-"))
            using.callback(hire_a_janitor(made))  # who removes it also when this process is killed
            return made

        if is_url(asked.path):
            path, name = clone(asked.path, scratch())
        else:
            path, name = Path(asked.path), ""
            if not path.exists():
                raise Usage(f"{path} is missing: name a folder, a zip or a git URL")
            if asked.kind != "one" and is_download(path):
                path = unpacked(path, scratch())
        if asked.kind == "class" or (asked.kind is None and is_class(path)):
            return command_class(path, asked, options)
        name = name or stem_of(path.resolve().name)
        return command_one(path, name, asked, options, asked.out or scratch() / "grade")


def clone(url: str, scratch: Path) -> tuple[Path, str]:
    """Fetch a repository while there is a network; returns its folder and a name."""
    try:
        fetched = fetch(url, scratch / "clone")
    except SubmissionError as problem:
        raise Usage(f"{problem}") from None
    return fetched.root, re.split(r"[/:]", url.rstrip("/").removesuffix(".git"))[-1]


@contextlib.contextmanager
def stopping():
    """Ctrl-C and SIGTERM end the graders under way; a second one does not wait for them."""

    def stop(number, frame):
        if STOP.is_set():
            raise KeyboardInterrupt
        STOP.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
