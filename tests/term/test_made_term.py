"""A made-up term of 40 students: each number in what is written is known beforehand, and typed here by hand.

Four milestones of 100 points (m1 10, m2 40, lab02 26, read 24), and m5 of 5 on top. A day late costs 10
percent, one of them is free, and after three nothing counts.
"""

import csv
import io
import os
import random
import zipfile
from datetime import UTC, datetime

import made_term
import pytest

from checks import gradebook
from checks.classroom.marks import Marks, digest, questions
from checks.term import __main__ as command
from checks.term.progress import behind, curve_of, stops

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
OVERRIDES = """\
student;what;points;reason;by;when
s034;m1.two;4;the check was wrong;Ann;2026-10-29
s034;m2;30;too little;Ben;2026-10-29
s034;m2;35;shown at the desk;Ann;2026-10-30
s040;m5;3,335;a try on paper;Ben;2026-11-01
"""
NAMES = ("Ada", "Ben", "Cyd", "Dee", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon")
SURNAMES = ("Ames", "Böhm", "Cole", "Diaz")
NOW = datetime(2026, 11, 30, tzinfo=UTC)

# of everybody: attempts, points, lab02, m1, m2, m5, read, days late, grace days
EXPECTED = {
    **dict.fromkeys(range(1, 11), ("1", "81", "26", "10", "40", "5", "", "", "")),  # all on time
    **dict.fromkeys(range(11, 21), ("2", "60.4", "10.4", "10", "40", "0", "", "m2 1", "1")),  # two attempts
    **dict.fromkeys(range(21, 29), ("1", "28", "0", "8", "20", "0", "", "m1 3", "1")),  # three days late
    **dict.fromkeys((29, 30), ("1", "81", "26", "10", "40", "5", "", "", "")),  # a group
    **dict.fromkeys((31, 32, 33), ("0", "0", "", "", "", "", "", "", "")),  # nothing came
    34: ("1", "50", "0", "10", "35", "5", "", "", ""),  # two overrides
    35: ("1", "12", "0", "10", "0", "0", "2", "", ""),  # read by two
    36: ("2", "50", "0", "10", "40", "0", "", "", ""),  # again, under another name
    37: ("1", "10", "0", "10", "0", "0", "", "", ""),  # nobody knows when
    38: ("1", "5", "", "", "", "5", "", "", ""),  # four weeks late
    39: ("1", "71", "26", "", "40", "5", "", "", ""),  # with an extension
    40: ("1", "23.74", "10.4", "0", "10", "3.34", "", "", ""),  # 10.4 + 10 + 3.335
}
DECIDED = {
    34: "m1.two: 4 points by Ann, 2026-10-29: the check was wrong; "
    "m2: 35 points by Ann, 2026-10-30: shown at the desk",
    40: "m5: 3.335 points by Ben, 2026-11-01: a try on paper",
}


def name_of(number: int) -> str:
    return f"{NAMES[number % 10]} {SURNAMES[number // 10 % 4]}"


def roster() -> list[str]:
    return [
        f"s{number:03};{name_of(number)};{'duo' if number in (29, 30) else ''}" for number in range(1, 41)
    ]


def hand_in_all(grades, order) -> None:
    """Have everything come in, in this order."""
    first = ["m1.one", "m1.two"]
    m2, every = ["m2.one", "m2.two", "m2.three"], list(made_term.CHECKS)
    came: list[tuple] = []
    for number in range(1, 11):
        came.append((f"{name_of(number)}_{4000 + number}", "2026-10-20T21:59:00+00:00", every, "a"))
    for number in range(11, 21):
        folder = f"{name_of(number)}_{4000 + number}"
        came.append((folder, "2026-10-20T12:00:00+00:00", first, "a"))
        came.append((folder, "2026-10-27T11:00:00+00:00", [*first, *m2, "lab02.first"], "b"))
    for number in range(21, 29):
        came.append(
            (f"{name_of(number)}_{4000 + number}", "2026-10-22T22:30:00+00:00", [*first, "m2.one"], "a")
        )
    came.append((f"duo-{name_of(29)}_4029", "2026-10-20T10:00:00+00:00", every, "a"))
    came.append((f"{name_of(34)}_4034", "2026-10-20T10:00:00+00:00", ["m1.one", "m5.one"], "a"))
    came.append((f"{name_of(35)}_4035", "2026-10-20T10:00:00+00:00", first, "a"))
    came.append((f"{name_of(36)}_4036", "2026-10-20T10:00:00+00:00", first, "a"))
    came.append(("block5-s036-final", "2026-10-25T10:00:00+00:00", m2, "b"))
    came.append((f"{name_of(37)}_4037", "", first, "a"))
    came.append((f"{name_of(38)}_4038", "2026-12-01T10:00:00+00:00", every, "a"))
    came.append((f"{name_of(39)}_4039", "2026-10-28T11:00:00+00:00", every, "a"))
    came.append((f"{name_of(40)}_4040", "2026-10-20T10:00:00+00:00", ["m2.two", "lab02.first"], "a"))
    came.append(("nobody we know", "2026-10-20T10:00:00+00:00", every, "a"))
    questions_ = [(question, "why") for question in questions()]
    for folder, at, passed, submission in sorted(came, key=lambda one: (order(one[0]), one[1])):
        answers = questions_ if folder.endswith("_4035") else ()
        made_term.hand_in(grades, folder, at, passed, submission, answers=answers)


def read_by_two(grades) -> None:
    """Ann and Ben each give a point of the first question to s035."""
    marks, question = Marks(grades), next(iter(questions()))
    marks.begin(questions())
    items = [row["item"] for row in marks.rows() if row["question"] == question]
    for reader, item in zip(("Ann", "Ben"), items):
        row = {
            "kind": "mark",
            "question": question,
            "student": f"{name_of(35)}_4035",
            "item": item,
            "has": True,
        }
        marks.add(reader, [row | {"answer": digest("why")}])
    marks.close()


def make(grades, seed=0):
    """The folder of grades of the term, with everything in an order of its own."""
    grades.mkdir()
    shuffle = random.Random(seed)
    students, overrides = roster(), OVERRIDES.splitlines()
    rows = overrides[1:]
    if seed:
        shuffle.shuffle(students)
        shuffle.shuffle(rows)
    (grades / "roster.csv").write_text("\r\n".join(["id;name;group", *students]), encoding="cp1252")
    (grades / "overrides.csv").write_text("\n".join([overrides[0], *rows]))
    (grades / "course.toml").write_text(RULES)
    orders: dict[str, float] = {}
    hand_in_all(grades, lambda name: orders.setdefault(name, shuffle.random() if seed else 0))
    read_by_two(grades)
    return grades


def run(grades, *options) -> int:
    return command.main([str(grades), *options], NOW)


def written(grades) -> dict[str, bytes]:
    files = [grades / "term.csv", grades / "term.html", *sorted((grades / "rules").glob("0*"))]
    return {file.relative_to(grades).as_posix(): file.read_bytes() for file in files}


def table(grades) -> dict[str, dict[str, str]]:
    text = (grades / "term.csv").read_bytes().decode("utf-8-sig")
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text))}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    grades = make(tmp_path_factory.mktemp("term") / "grades")
    assert run(grades) == 1  # a submission fits nobody
    return grades


@pytest.fixture
def untouched(made):
    """`made`, and as it was when the test is over."""
    before = written(made) | {"course.toml": (made / "course.toml").read_bytes()}
    yield made
    for path in (made / "rules").iterdir():
        path.unlink()
    for name, data in before.items():
        (made / name).write_bytes(data)


MILESTONES = ("lab02", "m1", "m2", "m5", "read")


def test_each_number_is_the_one_that_was_known(made):
    rows = table(made)
    most = rows.pop("(maximum)")
    assert [most[name] for name in ("points", *MILESTONES)] == ["100", "26", "10", "40", "5", "24"]
    assert list(rows) == [f"s{number:03}" for number in range(1, 41)]
    for number, expected in EXPECTED.items():
        row = rows[f"s{number:03}"]
        late = " ".join(f"{name} {row[f'{name} late']}" for name in MILESTONES if row[f"{name} late"])
        told = (row["attempts"], row["points"], *(row[name] for name in MILESTONES), late, row["grace days"])
        assert told == expected, number
        assert (row["name"], row["of"]) == (name_of(number), "100")
        assert row["overrides"] == DECIDED.get(number, "")


def test_the_times_are_those_of_the_attempts_that_count_on_the_clock_of_the_course(made):
    rows = table(made)
    assert rows["s001"]["m1 received"] == "2026-10-20T23:59:00+02:00"
    assert rows["s011"]["m1 received"] == "2026-10-20T14:00:00+02:00"
    assert rows["s011"]["m2 received"] == "2026-10-27T12:00:00+01:00"
    assert rows["s037"]["m1 received"] == "at an unknown time"
    assert rows["s034"]["m2 received"] == rows["s031"]["m1 received"] == ""


def test_who_handed_in_nothing_and_what_fits_nobody_is_named(made, capsys):
    assert run(made) == 1
    told = capsys.readouterr()
    assert f"handed in nothing (3): {name_of(31)}, {name_of(32)}, {name_of(33)}" in told.out
    assert "'nobody we know' fits nobody of the roster: write whose it is into known_as.csv" in told.err


def test_in_any_order_the_same_bytes_are_written(made, tmp_path):
    other = make(tmp_path / "grades", seed=7)
    run(other)
    assert written(other) == written(made)


def test_kill_9_at_any_step_leaves_whole_files_and_the_same_line_goes_on(made, tmp_path):
    known, fresh = written(made), make(tmp_path / "grades")
    for step in range(5):
        status = killed_before_write(step, fresh)
        there = {name: (fresh / name).read_bytes() for name in known if (fresh / name).exists()}
        assert there == {name: known[name] for name in there}
        assert os.WIFSIGNALED(status) == (step < 4)  # two of the rules, the table and the page
        assert len(there) == min(step, 4)
        run(fresh)
        assert written(fresh) == known
        for name in known:
            (fresh / name).unlink()


def killed_before_write(step: int, grades) -> int:
    """How a process ends that writes the term, killed when so many of its files are in their place."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        left, replace = iter(range(step)), os.replace
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "pathlib.Path.replace",
                lambda path, to: os.kill(os.getpid(), 9) if next(left, None) is None else replace(path, to),
            )
            run(grades)
    finally:
        os._exit(0)


def test_a_change_of_a_rule_shows_whom_it_moves_before_it_holds(untouched, tmp_path, capsys):
    new = tmp_path / "new.toml"
    new.write_text(RULES.replace("percent = 10", "percent = 20"))
    before = written(untouched)
    assert run(untouched, "--rules", str(new)) == 1
    told = capsys.readouterr()
    assert "8 students would have other points" in told.out and "--apply" in told.err
    moved = [line for line in told.out.splitlines() if "→" in line]
    assert len(moved) == 8
    for number, line in zip(range(21, 29), moved):
        assert f"{name_of(number)} (s{number:03})" in line and "28 of 100" in line and "26 of 100" in line
    assert written(untouched) == before
    assert run(untouched, "--rules", str(new), "--apply") == 1
    assert table(untouched)["s021"]["points"] == "26" and table(untouched)["s011"]["points"] == "60.4"
    assert (untouched / "course.toml").read_text() == new.read_text()
    kept = (untouched / "rules/0002.csv").read_text("utf-8-sig")
    assert kept.startswith("id,name,before,after") and kept.count("28 of 100,26 of 100") == 8
    assert (untouched / "rules/0001.toml").read_text() == RULES


def test_rules_that_were_edited_in_place_hold_only_when_they_are_applied(untouched, capsys):
    file = untouched / "course.toml"
    file.write_text(RULES.replace("worth = 26", "worth = 52"))
    before = written(untouched)
    assert run(untouched) == 1 and "--apply" in capsys.readouterr().err
    assert written(untouched) == before
    file.write_text(RULES + "# a word more\n")  # moves nobody, and need not be asked
    assert run(untouched) == 1 and "--apply" not in capsys.readouterr().err
    assert written(untouched)["term.csv"] == before["term.csv"]
    assert written(untouched)["rules/0002.toml"].endswith(b"# a word more\n")


def test_what_is_wrong_in_a_file_of_the_course_stops_before_anything_is_written(untouched, capsys):
    before = written(untouched)
    for name, text, why in (
        ("course.toml", RULES.replace("worth = 10", "wroth = 10"), "[milestone.m1] 'wroth' is no rule"),
        (
            "overrides.csv",
            OVERRIDES + "s099;m1;1;x;Ann;2026-11-01\n",
            "'s099' is no ID and no group of roster.csv",
        ),
        (
            "overrides.csv",
            OVERRIDES + "s001;m1.one;7;x;Ann;2026-11-01\n",
            "7 points for m1.one, which is worth 6",
        ),
        ("overrides.csv", OVERRIDES + "s001;m1;11;x;Ann;2026-11-01\n", "11 points for m1, which is worth 10"),
        ("overrides.csv", OVERRIDES + "s001;m1.oen;1;x;Ann;2026-11-01\n", "write 'm1.one' if you meant that"),
    ):
        kept = (untouched / name).read_bytes()
        (untouched / name).write_text(text)
        assert run(untouched) == 2 and why in capsys.readouterr().err
        (untouched / name).write_bytes(kept)
        assert written(untouched) == before


def test_a_folder_without_a_roster_says_what_to_put_there(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "has no roster.csv: put there who is in the course" in capsys.readouterr().err


# ---- To the platform -------------------------------------------------------------------------------------

SHEET = "Identifier,Full name,ID number,Grade,Maximum grade,Last modified (grade),Feedback comments\r\n"
BOOK = "Student,ID,SIS User ID,Section,Block 5 (12345),Final Score\r\nPoints Possible,,,,100,(read only)\r\n"
COMMENT = (
    "m1: 10 of 10<br>m2: 35 of 40<br>m5: 5 of 5<br>lab02: 0 of 26<br>read: nothing came in"
    "<br>m1.two: 4 points by Ann, 2026-10-29: the check was wrong"
    "<br>m2: 35 points by Ann, 2026-10-30: shown at the desk"
)


def points_of(number: int) -> str:
    points = EXPECTED[number][1]
    return "" if number in (31, 32, 33) else points  # nothing came in: that is no 0


def test_the_points_of_the_term_go_back_to_moodle(made, tmp_path):
    rows = [f"Participant {900 + n},{name_of(n)},s{n:03},{{}},100.00,-,{{}}\r\n" for n in range(1, 41)]
    (tmp_path / "sheet.csv").write_bytes((SHEET + "".join(one.format("", "") for one in rows)).encode())
    arguments = [str(made), "--term", "--moodle", str(tmp_path / "sheet.csv"), "--out", str(tmp_path / "up")]
    assert gradebook.main(arguments) == 0
    filled = list(csv.DictReader(io.StringIO((tmp_path / "up/sheet.csv").read_bytes().decode())))
    assert {row["ID number"]: row["Grade"] for row in filled} == {
        f"s{n:03}": points_of(n) for n in range(1, 41)
    }
    assert filled[33]["Feedback comments"] == COMMENT
    late = "m1: 8 of 10, 3 days late (1 at no cost)"
    assert late in filled[20]["Feedback comments"]
    names = zipfile.ZipFile(tmp_path / "up/feedback.zip").namelist()
    assert len(names) == 37 and f"{name_of(36)}_936_assignsubmission_file_/report.html" in names


def test_the_points_of_the_term_go_back_to_canvas(made, tmp_path):
    rows = [
        '"{1}, {0}",{2},s{3:03},A,{{}},\r\n'.format(*name_of(n).split(), 700 + n, n) for n in range(1, 41)
    ]
    (tmp_path / "book.csv").write_bytes((BOOK + "".join(one.format("") for one in rows)).encode())
    arguments = [str(made), "--term", "--canvas", str(tmp_path / "book.csv"), "--assignment", "Block 5"]
    assert gradebook.main([*arguments, "--out", str(tmp_path / "up")]) == 0
    known = BOOK + "".join(one.format(points_of(n)) for n, one in enumerate(rows, 1))
    assert (tmp_path / "up/book.csv").read_bytes().decode() == known


def test_rules_that_nobody_applied_go_to_no_platform(untouched, tmp_path, capsys):
    (untouched / "course.toml").write_text(RULES.replace("worth = 26", "worth = 52"))
    (tmp_path / "book.csv").write_text(BOOK + "a,1,s001,A,,\r\n")
    arguments = [str(untouched), "--term", "--canvas", str(tmp_path / "book.csv"), "--assignment", "Block 5"]
    assert gradebook.main([*arguments, "--out", str(tmp_path / "up")]) == 2
    assert "shows whom that moves, and applies it with --apply" in capsys.readouterr().err
    assert not (tmp_path / "up").exists()


# ---- How it goes -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def term(made):
    book = command.book_of(made)
    return command.compare(book, RULES, RULES, "course.toml")[0]


def test_the_curve_of_a_milestone_rises_to_what_the_class_has(term):
    curve = curve_of(term, "m1")
    # at its due date: 10 + 10 + 2 + 1 + 1 + 1 + 1 of 40 have all of it (one came at an unknown time)
    assert (float(curve.at_due), curve.nothing) == (26 / 40, 4)
    # then 8 who were late, and two who were too late; s040 has none of it
    assert float(curve.now) == 36 / 40
    levels = [part for _, part in curve.steps]
    assert levels == sorted(levels) and float(curve.first) == 1 / 40


def test_who_fell_behind_is_named_with_the_milestones(term):
    found = {one.student.id: [name for name, _ in missing] for one, missing in behind(term, NOW)}
    assert found["s031"] == ["m1", "m2", "lab02"] and found["s040"] == ["m1", "m2", "lab02"]
    assert found["s011"] == ["lab02"] and found["s034"] == ["lab02"] and found["s039"] == ["m1"]
    assert not {"s001", "s030"} & set(found)
    early = datetime(2026, 10, 27, tzinfo=UTC)  # lab02 is not due yet, nor m2 for s039
    assert {one.student.id: [name for name, _ in told] for one, told in behind(term, early)}["s039"] == ["m1"]
    assert "s011" not in {one.student.id for one, _ in behind(term, early)}


def test_what_stops_most_comes_first(term):
    name, count, asked = stops(term)[0]
    # of 36 with something of lab02: all but s001 to s010, the group of two, and s039
    assert (name, count, asked) == ("lab02.second", 23, 36)
    assert ("m1.two", 1, 35) in stops(term)
