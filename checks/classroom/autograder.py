"""The autograder of Gradescope: grades /autograder/submission, and writes /autograder/results/results.json.

What is where, and what stands in these files: https://gradescope-autograders.readthedocs.io/en/latest/specs/
and …/submission_metadata/ there. run_autograder starts this, as root, in a container that lives for one
submission.

What a submission lacks has 0 points there, and the output says first what is wrong: the platform takes no
results without a score. Where the grader itself is at fault there are no results, so that Gradescope tells
the instructor, and nobody gets 0 points for it. A late submission is told, and keeps its points: what that
costs is a setting of the assignment.
"""

import json
import signal
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from checks.classroom.bare import Bare
from checks.classroom.handed_in import HandedIn
from checks.classroom.one import Grading, bounded
from checks.classroom.outdated import SEED
from checks.classroom.records import to_json, write
from checks.classroom.worker import task_for
from checks.report.gradescope import gradescope
from checks.report.model import clean

HOME = Path("/autograder")
SECONDS = 540  # Gradescope's own limit is ten minutes, unless the assignment says otherwise
OPTIONS = {"limit": "30/minute", "milestone": ""}
ROOT = Path(__file__).resolve().parents[2]


class OnThePlatform(Grading):
    """Grades where the machine is the sandbox; the labs are not judged there."""

    sandbox = Bare

    def rerun_notebooks(self, root: Path) -> None:
        return None


def main(home: Path = HOME) -> int:
    """0: there are results; 1: the grader is at fault, and says why on stderr."""
    bounded()
    metadata = json.loads((home / "submission_metadata.json").read_text(encoding="utf-8"))
    record = graded(home / "submission", name_of(metadata))
    if record["again"]:
        print(f"not graded: {record['why']} {record['detail']}", file=sys.stderr)
        return 1
    print(record["log"])  # for the instructor: stdout is hidden from students
    (home / "results").mkdir(exist_ok=True)
    write(home / "results" / "results.json", to_json(results_of(record, metadata)))
    return 0


def graded(submission: Path, name: str) -> dict:
    """The record of a submission."""
    handed_in = HandedIn((("", submission),))
    options = OPTIONS | {"seed": int((ROOT / SEED).read_text(encoding="ascii"))}
    told = handed_in.digest()
    task = task_for(name, handed_in, told, None, options, {}, SECONDS) | {"alone": True}
    with tempfile.TemporaryDirectory(prefix="pixelwise-grade-") as scratch:
        grading = OnThePlatform(task, Path(scratch), lambda progress: None)
        signal.signal(signal.SIGALRM, grading.late)
        signal.alarm(SECONDS)
        try:
            return grading.run()
        finally:
            signal.alarm(0)


def results_of(record: dict, metadata: dict) -> dict:
    """results.json of a record. Valid in every case: a submission that could not be graded scores 0."""
    late = lateness(metadata)
    remarks = [f"Could not be graded, so there are no points yet: {record['why']}."] if record["why"] else []
    if record["why"] and record["report"]["graded"]:
        remarks = [f"Not all was graded: {record['why']}."]
    remarks += [record["detail"], *record["notes"]]
    if late:
        remarks.append(f"Handed in {spoken(late)} after the due date.")
    results = gradescope(record["report"], tuple(map(clean, filter(None, remarks))))
    results["extra_data"] |= {"late_seconds": int(late.total_seconds())}
    return {"score": 0} | results


def name_of(metadata: dict) -> str:
    """Who handed it in: everybody of a group."""
    return clean(", ".join(str(user.get("name") or user.get("id")) for user in metadata.get("users", [])))


def lateness(metadata: dict) -> timedelta:
    """How long after the due date it was handed in; nothing where it was not, or where there is none."""
    due = (metadata.get("assignment") or {}).get("due_date")
    if not due:
        return timedelta(0)
    return max(timedelta(0), datetime.fromisoformat(metadata["created_at"]) - datetime.fromisoformat(due))


def spoken(late: timedelta) -> str:
    """A duration as it is read: "1 day 2 h 5 min"; a begun minute counts."""
    minutes = -(-int(late.total_seconds()) // 60) or 1
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    told = [f"{days} day{'s' if days > 1 else ''}" * bool(days), f"{hours} h" * bool(hours)]
    return " ".join(filter(None, [*told, f"{minutes} min" * bool(minutes)]))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
