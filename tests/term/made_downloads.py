"""A term of 40 that is made up, from the downloads of Moodle or Canvas to the files that go back there.

An instructor's files are laid out as these platforms write them, and the commands of README.md run over them.
Only what grades a server is made up: it earns the checks that stand in its server.py.
"""

import os
import random
import shlex
import tempfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import made_term
import pytest

from checks import grade, gradebook
from checks.classroom import one, the_class
from checks.classroom.found import servers_in
from checks.classroom.marks import Marks, digest, questions
from checks.kit.core import FAILED, PASSED, Result
from checks.term import __main__ as term

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHAPES = ("moodle", "canvas")
NOW = datetime(2026, 12, 3, tzinfo=UTC)
PACKED = ((2026, 10, 21, 9, 0, 0), (2026, 12, 2, 9, 0, 0))  # when the zips were downloaded: all times in them

RULES = """\
title = "A made-up term"
zone = "Europe/Berlin"

[late]
grace-days = 1
percent = 10
days = 3

[milestone.m1]
due = 2026-10-20T23:59:00
worth = 10
[milestone.m2]
due = 2026-10-26T12:00:00        # on Sunday before, clocks go back
worth = 40
[milestone.lab02]
due = 2026-11-03
worth = 26
[milestone.read]
worth = 24
[milestone.m5]
worth = 5

[[extension]]
who = "s039"
milestone = ["m2"]
until = 2026-10-28T12:00:00
reason = "ill"
"""
FIRST_RULES = RULES.replace("percent = 10", "percent = 5")  # the first to hold; then they change
OVERRIDES = """\
student;what;points;reason;by;when
s034;m1.two;4;the check was wrong;Ann;2026-10-29
s034;m2;30;too little;Ben;2026-10-29
s034;m2;35;shown at the desk;Ann;2026-10-30
s040;m5;3,335;a try on paper;Ben;2026-11-01
"""
NAMES = ("Ada", "Ben", "Cyd", "Dee", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon")
SURNAMES = ("Ames", "Böhm", "Cole", "Diaz")
STRANGER = 99  # handed in, and is not in the course

M1, M2, EVERY = ["m1.one", "m1.two"], ["m2.one", "m2.two", "m2.three"], list(made_term.CHECKS)
NOON = "2026-10-20T12:00"
HANDED_IN = {  # when, on the clock of the course, and what it earns
    **dict.fromkeys(range(1, 11), [("2026-10-20T23:59", EVERY)]),
    **dict.fromkeys(
        range(11, 21), [("2026-10-20T14:00", M1), ("2026-10-27T12:00", [*M1, *M2, "lab02.first"])]
    ),
    **dict.fromkeys(range(21, 29), [("2026-10-23T00:30", [*M1, "m2.one"])]),
    29: [(NOON, EVERY)],  # for 30 as well
    34: [(NOON, ["m1.one", "m5.one"])],
    **dict.fromkeys((35, 36, 37), [(NOON, M1)]),
    38: [("2026-12-01T11:00", EVERY)],
    39: [("2026-10-28T12:00", EVERY)],
    40: [(NOON, ["m2.two", "lab02.first"])],
    STRANGER: [(NOON, EVERY)],
}
UNDATED = 37  # nobody knows when
READ = 35  # whose answers are read
BY_MAIL = "block5-s036-final"  # a second attempt of 36


def name_of(number: int) -> str:
    return "Zoe Quit" if number == STRANGER else f"{NAMES[number % 10]} {SURNAMES[number // 10 % 4]}"


def folder_of(number: int, shape: str) -> str:
    """What the grades of a student's submission are called."""
    if shape == "moodle":
        return f"{name_of(number)}_{4000 + number}"
    first, last = name_of(number).lower().split()
    return f"{'duo' if number == 29 else last + first}_{20000 + number}"


# ---- As the platforms write it ---------------------------------------------------------------------------


def download(file: Path, shape: str, at: tuple, order) -> None:
    """The zip with everybody's submissions at this time, every entry of it with that time."""
    now, entries = "{:04}-{:02}-{:02}T{:02}:{:02}".format(*at), {}
    for number, attempts in HANDED_IN.items():
        for count, (when, checks) in enumerate(told for told in attempts if told[0] < now):
            again = f"-{count}" if count else ""
            if shape == "moodle":
                name = f"{folder_of(number, shape)}_assignsubmission_file_/block5{again}.zip"
            else:
                who, _, id_ = folder_of(number, shape).rpartition("_")
                late = "_LATE" if when > "2026-10-20T23:59" else ""
                name = f"{who}{late}_{id_}_{90000 + 100 * count + number}_block5{again}.zip"
            entries[number] = name, checks
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, checks in order(list(entries.values())):
            with tempfile.TemporaryFile() as inner:
                with zipfile.ZipFile(inner, "w") as own:
                    info = zipfile.ZipInfo("block5/server.py", (2026, 10, 1, 0, 0, 0))
                    own.writestr(info, source(checks, "Fay Diaz" in name or "diazfay" in name))
                inner.seek(0)
                packed.writestr(zipfile.ZipInfo(name, at), inner.read())


def source(checks: list[str], answers: bool = False) -> str:
    return f"# {' '.join(checks)}\n# {'answers' if answers else ''}\n"


SHEET = (
    "Identifier,Full name,ID number,Email address,Status,Grade,Maximum grade,Grade can be changed,"
    "Last modified (submission),Last modified (grade),Feedback comments\r\n"
)


def sheet_row(number: int, now: str = "9") -> str:
    """A row of Moodle's grading worksheet at this time, in English."""
    times = [when for when, _ in HANDED_IN.get(number, ()) if when < now and number != UNDATED]
    shown = f'"{datetime.fromisoformat(times[-1]):%A, %-d %B %Y, %-I:%M %p}"' if times else "-"
    state = "Submitted for grading" if number in HANDED_IN else "No submission"
    known = f"s{number:03},s{number:03}@uni.example"
    return f"Participant {4000 + number},{name_of(number)},{known},{state},,100.00,Yes,{shown},-,\r\n"


BOOK = "Student,ID,SIS User ID,SIS Login ID,Section,Block 5 (12345),Final Score\r\n"
BOOK += "    Points Possible,,,,,100.00,(read only)\r\n"


def book_row(number: int, points: str = "") -> str:
    """A row of Canvas's gradebook."""
    first, last = name_of(number).split()
    return f'"{last}, {first}",{20000 + number},s{number:03},s{number:03}@uni.example,A,{points},\r\n'


def lay_out(folder: Path, shape: str, seed: int = 0) -> Path:
    """The files of an instructor, those that are in any order in one of their own; returns the folder."""
    shuffle = random.Random(seed)

    def order(lines: list) -> list:
        return shuffle.sample(lines, len(lines)) if seed else lines

    grades, students = folder / "GRADES", range(1, 41)
    grades.mkdir(parents=True)
    for week, at in enumerate(PACKED, 1):
        download(folder / f"SUBMISSIONS{week}.zip", shape, at, order)
        now = "{:04}-{:02}-{:02}T{:02}:{:02}".format(*at)
        if shape == "moodle":
            rows = order([sheet_row(number, now) for number in (*students, STRANGER)])
            (folder / f"WORKSHEET{week}.csv").write_text(SHEET + "".join(rows), "utf-8", newline="")
        else:  # Canvas has no table of times: they come from elsewhere
            times = {
                folder_of(number, shape): max(when for when, _ in attempts if when < now)
                for number, attempts in HANDED_IN.items()
                if number != UNDATED and attempts[0][0] < now
            }
            rows = order([f"{who},{when}{offset(when)}\n" for who, when in times.items()])
            (folder / f"WORKSHEET{week}.csv").write_text("submission,received\n" + "".join(rows), "utf-8")
    if shape == "moodle":
        head = '"First name","Last name","ID number","Email address",Groups\n'
        rows = [
            "{},{},s{:03},s{:03}@uni.example,{}\n".format(*name_of(n).split(), n, n, team(n))
            for n in students
        ]
    else:
        head = "name,canvas_user_id,user_id,login_id,sections,group_name,canvas_group_id,group_id\n"
        rows = [
            f"{name_of(n)},{20000 + n},s{n:03},s{n:03}@uni.example,A,{team(n)},{7 if team(n) else ''},\n"
            for n in students
        ]
        book = BOOK + "".join(map(book_row, students))
        (folder / "GRADEBOOK.csv").write_text(book, "utf-8", newline="")
    (folder / "PARTICIPANTS.csv").write_text(head + "".join(order(rows)), "utf-8-sig")
    first, *rows = OVERRIDES.splitlines()
    (grades / "overrides.csv").write_text("\n".join([first, *order(rows)]))
    (folder / "mail" / BY_MAIL).mkdir(parents=True)
    (folder / "mail" / BY_MAIL / "server.py").write_text(source(M2))
    return folder


def team(number: int) -> str:
    return "duo" if number in (29, 30) else ""


def offset(when: str) -> str:
    return "+02:00" if when < "2026-10-25" else "+01:00"


# ---- What an instructor does with it ---------------------------------------------------------------------


class MadeUp(one.Grading):
    """A grading that finds a submission as any does, and believes what its server says of itself."""

    def grade_unit(self, root: Path) -> None:
        """Of no interest here."""

    def grade_server(self, root: Path) -> None:
        """The checks that server.py names have passed."""
        earns, self.said, *_ = (root / servers_in(root)[0]).read_text().split("\n")
        for place, (check, points) in enumerate(made_term.CHECKS.items(), 1):
            milestone, _, sentence = check.partition(".")
            earned = points if check in earns.split() else 0
            status = PASSED if earned else FAILED
            told = {"status": status, "earned": earned, "points": points, "seconds": 0.1}
            self.results[check] = Result(check, place, milestone, sentence, stretch=False, **told)

    def rerun_notebooks(self, root: Path) -> dict | None:
        """The same answer to every question."""
        told = [
            {"lab": "05_x", "id": question[3:], "question": question, "answer": "why"}
            for question in questions()
        ]
        return {"labs": [], "answers": told} if "answers" in self.said else None


def graded(task: dict) -> dict:
    """In the place of `worker.grade`."""
    with tempfile.TemporaryDirectory() as scratch:
        return MadeUp(task, Path(scratch), lambda told: None).run()


def commands() -> dict[str, list[str]]:
    """{command: its arguments} of the page for a term in README.md."""
    page = README.partition("### A term, from")[2].partition("```\n")[2].partition("```")[0]
    lines = [shlex.split(line, comments=True) for line in page.splitlines()]
    return {line[2]: line[3:] for line in lines if line[:2] == [".venv/bin/python", "-m"]}


def go_through(folder: Path, shape: str, *more: str) -> list[int]:
    """Go through the term with the commands of README.md, as far as it is not done; more: to checks.grade.
    Returns their exit statuses."""
    found, grades = commands(), folder / "GRADES"

    def call(command: str, week: int = 2, **others: str) -> list[str]:
        told = {"SUBMISSIONS.zip": f"SUBMISSIONS{week}.zip", "WORKSHEET.csv": f"WORKSHEET{week}.csv"} | others
        files = {"SUBMISSIONS.zip", "WORKSHEET.csv", "GRADES", "UPLOAD", *others.values()}
        words = [told.get(word, word) for word in found[command]]
        return [str(folder / word) if word in {*files, *told.values()} else word for word in words]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(the_class, "grade", graded)
        patch.setattr(one, "now", lambda: "2026-12-03T00:00:00+00:00")
        patch.setattr(the_class, "compile_what_servers_import", lambda: None)
        (grades / "roster.csv").write_bytes((folder / "PARTICIPANTS.csv").read_bytes())
        if not (grades / "course.toml").exists():
            (grades / "course.toml").write_text(FIRST_RULES)
        more = ("--seed", "1", "--jobs", "4", *more)
        mail = [str(folder / "mail"), "--as", "class", "--received", "2026-10-25T11:00+01:00"]
        told = [
            grade.main([*call("checks.grade", 1), *more]),
            grade.main([*mail, "--out", str(grades), *more]),
            grade.main([*call("checks.grade", 2), *more]),
        ]
        read_by_two(grades, folder_of(READ, shape))
        told.append(term.main(call("checks.term"), NOW))
        (grades / "course.toml").write_text(RULES)
        told.append(term.main([*call("checks.term"), "--apply"], NOW))
        back = call("checks.gradebook")
        if shape == "canvas":
            back = [
                str(grades),
                "--term",
                "--canvas",
                str(folder / "GRADEBOOK.csv"),
                "--assignment",
                "Block 5",
            ]
            back += ["--out", str(folder / "UPLOAD")]
        told.append(gradebook.main(back))
    return told


def read_by_two(grades: Path, student: str) -> None:
    """Ann and Ben each give a point of the first question, once."""
    marks, question = Marks(grades), next(iter(questions()))
    marks.begin(questions())
    items = [row["item"] for row in marks.rows() if row["kind"] == "item" and row["question"] == question]
    for reader, item in zip(("Ann", "Ben"), items):
        if not any(row["kind"] == "mark" and row["reader"] == reader for row in marks.rows()):
            row = {"kind": "mark", "question": question, "student": student, "item": item, "has": True}
            marks.add(reader, [row | {"answer": digest("why")}])
    marks.close()


def killed(folder: Path, shape: str, name: str, count: int) -> int:
    """How a process ends that goes through the term, killed as a file of this name is in its place for the
    count-th time."""
    left, replace = iter(range(count - 1)), os.replace

    def replaced(path, to):
        replace(path, to)
        if Path(to).name == name and next(left, None) is None:
            os.kill(os.getpid(), 9)

    return in_a_fork(replaced, lambda: go_through(folder, shape))


def in_a_fork(replaced: Callable, do: Callable) -> int:
    """How a process ends that does this without a word, with its own way to put a file in its place."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        Path.replace = replaced
        do()
    finally:
        os._exit(0)
