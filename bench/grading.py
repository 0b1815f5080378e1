"""Grades a fake class, whose grades are known beforehand, and says how long it took: python bench/grading.py

Every submission is a server of tests/faulty/ with its one fault: what the checks must find is written there.
Printed: whether every grade is right; the time of the whole against the sum of the submissions' own times,
divided by the number under way at once and by the cores; and whether a Dask cluster of two workers on this
machine gives the same bytes.

    --count 100      submissions            --limit 30/minute   the servers' rate limit
    --jobs N         under way at once      --no-dask           leave the cluster out
    --labs               every submission is the kit's server with all labs solved, which cost processor time
    --download moodle    in the shape of an LMS's download (or flat, canvas), every second one packed oddly
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "classroom")]

import lms  # noqa: E402
from faulty.faults import FAULTS  # noqa: E402
from tree import copy_to  # noqa: E402

from checks import grade  # noqa: E402
from checks.classroom import records, turns  # noqa: E402
from checks.editions.walk import fill  # noqa: E402
from checks.kit import core, grading  # noqa: E402

CORRECT = "correct"
# These take longest, and come first, for they would be the tail of the class. In a real one nobody knows them
# beforehand.
SLOW = ("one budget for all clients", "a client that was refused stays refused", "one client at a time")
LIES = "m2.openapi tells the truth"
# What the table of faults does not say, as it grades each fault in one mode only, with DEBUG=true or without:
# a server whose answers are wrong contradicts its own documentation as well.
ALSO = dict.fromkeys(
    [
        *("results is missing", "results is not implemented", "chunked garbage", "the answer ends too early"),
        *("results is text", "health is not ok", "the version is a number", "health tells too much"),
        *("results without its note", "results has grown", "the prediction is a number", "scores is a list"),
        *("scores are strings", "the scores are logarithms", "the confidence is a string"),
        *("the confidence is always one", "the confidence is in percent", "an extra field leaks"),
    ],
    {LIES},
) | {
    "json without its media type": {"m2.openapi describes the three routes"},
    "200 with an error in the body": {
        "m2.openapi describes the three routes",
        "m2.the documentation pages are there",
    },
    "docs is JSON": {"m2.the documentation is hidden"},
}
SERVER = '''"""A service of tests/faulty, as a submission: the fault is FAULT."""

import os
import re
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "tests")]

from faulty.faults import FAULTS
from faulty.service import Handler, Server, Service


class OnItsPort(Server):
    def __init__(self, service):
        ThreadingHTTPServer.__init__(self, (os.environ["HOST"], int(os.environ["PORT"])), Handler)
        self.service = service


FAULT = {fault!r}
requests, seconds = re.fullmatch(r"(\\d+)/([\\w.]+)", os.environ["RATE_LIMIT"]).groups()
seconds = {{"second": 1, "minute": 60, "hour": 3600}}.get(seconds) or float(seconds)
kind = FAULTS[FAULT].kind if FAULT in FAULTS else Service
debug = os.environ["DEBUG"] == "true"
OnItsPort(kind(os.environ["SECRET_API_KEY"], (int(requests), seconds), debug)).serve_forever()
'''


def make_submission(folder: Path, fault: str) -> Path:
    """A folder that a student could have handed in: the service with this fault, or the correct one."""
    (folder / "models").mkdir(parents=True)
    (folder / "server.py").write_text(SERVER.format(fault=fault), encoding="utf-8")
    without = shutil.ignore_patterns("__pycache__", "checks")
    shutil.copytree(ROOT / "tests" / "faulty", folder / "tests" / "faulty", ignore=without)
    shutil.copytree(ROOT / "schemas", folder / "schemas", ignore=without)
    digest = (ROOT / "models" / "SHA256SUMS").read_text().split()[0]
    for name in ("classifier.py", "digit_classifier_v1.pkl", "SHA256SUMS", "samples.npz"):
        shutil.copy(ROOT / "models" / name, folder / "models")
    (folder / "checks" / "kit").mkdir(parents=True)  # of the student edition, what one fault knows by heart
    shutil.copy(ROOT / "checks" / "kit" / "digits.npz", folder / "checks" / "kit")
    prepared = list((ROOT / "models" / ".prepared").glob(f"{digest}.npz"))
    if prepared:  # spares every start the unpickling
        (folder / "models" / ".prepared").mkdir()
        shutil.copy(prepared[0], folder / "models" / ".prepared")
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "pixelwise.service", folder / "deploy")
    return folder


def make_class(folder: Path, faults: list[str]) -> dict[str, str]:
    """A class with these faults; returns {student: fault}."""
    students = {f"{number:03} {fault}".replace("/", " ")[:60]: fault for number, fault in enumerate(faults)}
    for student, fault in students.items():
        make_submission(folder / student, fault)
    return students


def make_solved_class(folder: Path, count: int) -> dict[str, str]:
    """A class in which everybody has the kit's server, and all labs solved; returns {student: CORRECT}."""
    students = {f"{number:03} solved": CORRECT for number in range(count)}
    for student in students:
        copy_to(folder / student, without=("tests/", "bench/", "checks/"))
        for lab in (folder / student / "labs").glob("*.ipynb"):
            fill(lab, ROOT / "labs" / lab.name)
    return students


def faults_for(count: int) -> list[str]:
    """So many faults of the table, spread over it, and the correct server; the slowest first."""
    names = [CORRECT, *FAULTS]
    chosen = [names[place * len(names) // count % len(names)] for place in range(count)]
    return sorted(chosen, key=lambda name: SLOW.index(name) if name in SLOW else len(SLOW))


def expected(fault: str) -> tuple[set[str], set[str]]:
    """(checks that must fail, checks that need one of these): the rest must pass, if the server lives."""
    failed = set(FAULTS[fault].caught_by) | ALSO.get(fault, set()) if fault in FAULTS else set()
    blocked: set[str] = set()
    checks = grading.all_checks()
    while True:
        more = {check.name for check in checks if set(check.needs) & (failed | blocked)} - failed - blocked
        if not more:
            return failed, blocked
        blocked |= more


def wrong_grades(out: Path, students: dict[str, str]) -> list[str]:
    """A sentence for every student whose grade is not the one that is known beforehand."""
    problems = []
    for student, fault in students.items():
        grade_ = records.grade_of(records.load(out / student))
        failed, blocked = expected(fault)
        labs = grade_.get("labs", {"earned": 0, "points": 0})
        with_status = {
            status: {name for name, one in grade_["checks"].items() if one["status"] == status}
            for status in (core.PASSED, core.FAILED, core.UNSTABLE, core.UNCHECKED)
        }
        found = with_status[core.FAILED] | with_status[core.UNSTABLE]
        found = {name for name in found if not name.startswith("lab")}
        if grade_["status"] != records.GRADED:
            problems.append(f"{student}: {grade_['why']}")
        elif labs["earned"] != labs["points"]:
            problems.append(f"{student}: {labs['earned']:g} of {labs['points']:g} in the labs")
        elif found != failed:
            problems.append(f"{student}: failed {sorted(found)} instead of {sorted(failed)}")
        elif with_status[core.UNCHECKED] - blocked and "m3.the server is still there" not in failed:
            problems.append(f"{student}: unchecked {sorted(with_status[core.UNCHECKED] - blocked)}")
    return problems


def processor_time() -> float:
    """Seconds of all processors since the machine started: what else runs on it counts as well."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--labs", action="store_true")
    parser.add_argument("--limit", default="30/minute")
    parser.add_argument("--jobs", type=int, default=turns.default_jobs())
    parser.add_argument("--download", choices=["moodle", "flat", "canvas"])
    parser.add_argument("--no-dask", action="store_true")
    parser.add_argument("--keep", type=Path, help="keep the class and its grades in this folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        if asked.labs:
            students = make_solved_class(folder / "class", asked.count)
        else:
            students = make_class(folder / "class", faults_for(asked.count))
        if asked.download:
            made = folder / "class"
            handed_in = {student: made / student for student in students}
            names = lms.as_download(folder / "download", handed_in, asked.download)
            students = {name: students[student] for name, student in names.items()}
        line = [
            str(folder / ("download" if asked.download else "class")),
            "--limit",
            asked.limit,
            "--seed",
            "1",
            "--fresh",
            "--out",
        ]
        began, used = time.monotonic(), processor_time()
        grade.main([*line, str(folder / "grades"), "--jobs", str(asked.jobs)])
        took = time.monotonic() - began
        problems = wrong_grades(folder / "grades", students)
        print(f"{asked.count - len(problems)} of {asked.count} grades are right")
        print("".join(f"  {problem}\n" for problem in problems), end="")
        found = [records.load(folder / "grades" / student) for student in students]
        own = sum(record["seconds"]["total"] for record in found)
        cores = len(os.sched_getaffinity(0))
        longest = max(record["seconds"]["total"] for record in found)
        print(f"{took:.0f} s in all; own times: {own:.0f} s, the longest {longest:.0f} s")
        if asked.labs:
            in_labs = sum(record["seconds"]["labs"] for record in found)
            print(f"  {in_labs:.0f} s in the labs; {processor_time() - used:.0f} s of processor time in all")
        print(f"  {took / (own / asked.jobs):.2f} times the own times divided by the {asked.jobs} under way")
        print(f"  {took / (own / cores):.2f} times the own times divided by the {cores} cores")
        same = True
        if not asked.no_dask:
            from distributed import LocalCluster

            each = max(1, asked.jobs // 2)
            with LocalCluster(
                2, threads_per_worker=each, dashboard_address="127.0.0.1:0", host="127.0.0.1"
            ) as cluster:
                began = time.monotonic()
                grade.main([*line, str(folder / "dask"), "--dask", cluster.scheduler_address])
            print(f"{time.monotonic() - began:.0f} s with two Dask workers of {each} threads")
            same = same_grades(folder / "grades", folder / "dask")
            print("the same bytes" if same else "OTHER BYTES")
    return 0 if same and not problems else 1


def same_grades(one: Path, other: Path) -> bool:
    """Whether the grades in two folders are the same, byte by byte."""
    one_by_one = [
        {path.parent.name: path.read_bytes() for path in folder.glob("*/grade.json")}
        for folder in (one, other)
    ]
    books = [(folder / "gradebook.csv").read_bytes() for folder in (one, other)]
    return one_by_one[0] == one_by_one[1] and books[0] == books[1] and len(one_by_one[0]) > 0


if __name__ == "__main__":
    sys.exit(main())
