"""The marks of readers: nothing is lost, points follow the rubric, and they reach gradebook and report."""

import csv
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_class import QUESTIONS, SAME, STUDENTS, make, record

from checks.classroom import gradebook, records
from checks.classroom.marks import BadMark, Mark, Marks, digest, holding, points_for, questions
from checks.gradebook import main as gradebook_command

ROOT = Path(__file__).resolve().parents[2]
QUESTION = QUESTIONS[0]
WRITE = """
import sys
from pathlib import Path
from checks.classroom.marks import Marks
marks = Marks(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    row = {"kind": "mark", "question": sys.argv[4], "item": 1, "has": True, "answer": "a"}
    marks.add(sys.argv[2], [row | {"student": f"{sys.argv[2]} {number}"}])
    print(number, flush=True)
"""


@pytest.fixture
def marks(tmp_path):
    made = Marks(tmp_path)
    made.begin(questions())
    yield made
    made.close()


def mark(student, item, has=True, answer=SAME, question=QUESTION):
    return {
        **{"kind": "mark", "question": question, "student": student},
        **{"item": item, "has": has, "answer": digest(answer)},
    }


def comment(student, words, answer=SAME):
    row = {"kind": "comment", "question": QUESTION, "student": student, "words": words}
    return row | {"answer": digest(answer)}


def rubric(marks, question=QUESTION) -> list[int]:
    return [item for item, row in holding(marks.rows())[0].items() if row["question"] == question]


def row_of(grades: Path, name: str) -> dict:
    gradebook.write_class(grades, [path.parent.name for path in grades.glob("*/record.json")])
    with (grades / "gradebook.csv").open(encoding="utf-8-sig", newline="") as file:
        return next(row for row in csv.DictReader(file) if row["name"] == name)


# ---- The log -------------------------------------------------------------------------------------------


def test_each_question_has_a_name_a_rubric_that_can_earn_all_and_a_model_paragraph():
    assert len(questions()) == 6
    for told in questions().values():
        assert sum(points for points, _ in told["rubric"]) == told["points"]
        assert [points for points, _ in told["rubric"]][-1] == 0  # who earns nothing has been read, too
        assert 40 < len(told["model"].split()) < 120
    assert len({told["name"] for told in questions().values()}) == 6


def test_a_rubric_is_begun_once(marks, tmp_path):
    before = marks.rows()
    again = Marks(tmp_path)
    again.begin(questions())
    assert again.rows() == before
    again.close()


def test_a_mark_is_a_row_of_its_own_with_reader_and_time(marks):
    item = rubric(marks)[0]
    last = marks.rows()[-1]["row"]
    marks.add("ann", [mark("ada", item)])
    marks.add("ben", [mark("ada", item, has=False)])
    first, second = marks.rows(last)
    assert (first["reader"], second["reader"], first["has"], second["has"]) == ("ann", "ben", 1, 0)
    assert first["at"] <= second["at"]


def test_of_two_marks_of_an_item_the_later_holds_and_other_items_are_left_alone(marks):
    one, other, *_ = rubric(marks)
    marks.add("ann", [mark("ada", one), mark("ada", other)])
    marks.add("ben", [mark("ada", one, has=False)])
    assert holding(marks.rows())[1][QUESTION, "ada"].items == {other}


def test_each_reader_has_one_comment(marks):
    marks.add("ann", [comment("ada", "good")])
    marks.add("ben", [comment("ada", "short")])
    marks.add("ann", [comment("ada", "very good")])
    assert holding(marks.rows())[1][QUESTION, "ada"].comments == {"ann": "very good", "ben": "short"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"kind": "mark", "question": QUESTION, "student": "ada", "item": 999, "has": True}, "no such item"),
        ({"kind": "mark", "question": QUESTIONS[1], "student": "ada", "item": 1, "has": 1}, "no such item"),
        ({"kind": "mark", "question": QUESTION, "item": 1, "has": True}, "about a student"),
        ({"kind": "comment", "question": QUESTION, "student": "ada", "words": 7}, "words are a text"),
        ({"kind": "comment", "question": QUESTION, "student": "ada", "words": "x" * 5001}, "words are"),
        ({"kind": "item", "question": QUESTION, "words": "x", "points": float("nan")}, "points are a number"),
        ({"kind": "item", "question": QUESTION, "words": "x", "points": 101}, "points are a number"),
        ({"kind": "item", "question": QUESTION, "words": "x", "points": True}, "points are a number"),
        ({"kind": "item", "question": QUESTION, "words": " ", "points": 1}, "has words"),
        ({"kind": "drop", "question": QUESTION}, "a mark is"),
        ([], "a mark is"),
    ],
)
def test_what_is_no_mark_is_refused_with_all_that_came_with_it(marks, row, words):
    before = marks.rows()
    with pytest.raises(BadMark, match=words):
        marks.add("ann", [mark("ada", rubric(marks)[0]), row])
    assert marks.rows() == before


def test_a_mark_has_a_reader(marks):
    with pytest.raises(BadMark, match="who reads"):
        marks.add("  ", [])


rows = st.lists(
    st.tuples(st.sampled_from(["ada", "bob"]), st.integers(0, 4), st.booleans()),
    max_size=30,
)


@settings(deadline=None, max_examples=25)
@given(rows, st.floats(-100, 100), st.integers(0, 4))
def test_points_are_those_of_the_items_and_a_change_moves_exactly_who_has_it(
    tmp_path_factory, made, points, n
):
    marks = Marks(tmp_path_factory.mktemp("grades"))
    marks.begin(questions())
    items = rubric(marks)
    expected = {}
    for student, item, has in made:
        expected[student, item] = has
    marks.add("ann", [mark(student, items[item], has) for student, item, has in made])
    before = holding(marks.rows())
    own = {
        student: {items[item] for (who, item), has in expected.items() if who == student and has}
        for student in ("ada", "bob")
    }
    for student, having in own.items():
        assert before[1].get((QUESTION, student), Mark()).items == having
    marks.add(
        "ann", [{"kind": "item", "question": QUESTION, "item": items[n], "words": "w", "points": points}]
    )
    after = holding(marks.rows())
    for student, having in own.items():
        old, new = (
            points_for(one[1].get((QUESTION, student), Mark()), one[0], 1000) for one in (before, after)
        )
        worth = [points if item == items[n] else before[0][item]["points"] for item in having]
        assert new == (pytest.approx(max(0.0, sum(worth))) if having else None)
        assert items[n] in having or new == old
    marks.close()


def test_points_stay_between_nothing_and_the_worth_of_the_question():
    items = {1: {"points": 3}, 2: {"points": 3}, 3: {"points": -9}}
    assert points_for(Mark({1, 2}), items, 4) == 4
    assert points_for(Mark({1, 3}), items, 4) == 0
    assert points_for(Mark(), items, 4) is None


def test_threads_and_processes_lose_no_mark_of_each_other(marks, tmp_path):
    command = [sys.executable, "-c", WRITE, tmp_path]
    others = [
        subprocess.Popen([*command, name, "30", QUESTION], cwd=ROOT, stdout=subprocess.DEVNULL)
        for name in ("ann", "ben")
    ]
    threads = [
        threading.Thread(target=lambda n=n: [marks.add("t", [mark(f"{n} {i}", 1)]) for i in range(30)])
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(120) for other in others] == [0, 0]
    assert len(holding(marks.rows())[1]) == 4 * 30


def test_a_mark_that_was_confirmed_outlives_kill_9(marks, tmp_path):
    command = [sys.executable, "-c", WRITE, tmp_path, "ann", "100000", QUESTION]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(20):
            writer.stdout.readline()
    finally:
        writer.kill()
    confirmed = 20 + len(writer.stdout.read().split())
    writer.wait()
    kept = {student for _, student in holding(marks.rows())[1]}
    assert {f"ann {number}" for number in range(confirmed)} <= kept
    assert marks.file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_rows_are_on_the_disk_before_they_are_confirmed(marks):
    assert marks.file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert marks.file.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


# ---- Gradebook and report ------------------------------------------------------------------------------


@pytest.fixture
def grades(tmp_path):
    return make(tmp_path / "grades", STUDENTS[:12])


@pytest.fixture
def read(grades):
    """The grades, and their marks: student 01 has two points and a comment, student 03 none of four."""
    made = Marks(grades)
    made.begin(questions())
    items = rubric(made)
    made.add("ann", [mark(STUDENTS[1], items[0]), mark(STUDENTS[1], items[1]), mark(STUDENTS[3], items[-1])])
    made.add("ann", [comment(STUDENTS[1], "name a <line>\nof the log")])
    yield grades, made, items
    made.close()


COLUMN = f"read.{questions()[QUESTION]['name']}"


def test_nothing_changes_where_nobody_has_read(grades):
    row = row_of(grades, STUDENTS[0])
    assert (row["points"], row["of"]) == ("2", "2")
    assert "comments" not in row and COLUMN not in row


def test_nothing_changes_where_somebody_opened_the_page_and_read_nothing(grades):
    before = row_of(grades, STUDENTS[0])
    opened = Marks(grades)
    opened.begin(questions())
    opened.close()
    assert row_of(grades, STUDENTS[0]) == before


def test_points_and_comments_reach_the_gradebook(read):
    grades, *_ = read
    row = row_of(grades, STUDENTS[1])
    assert (row["points"], row["of"], row[COLUMN]) == ("4", "26", "2")
    assert "name a <line>" in row["comments"]
    assert row_of(grades, STUDENTS[3])[COLUMN] == "0"
    assert row_of(grades, STUDENTS[4])[COLUMN] == ""  # nobody has read it: that is no 0


def test_points_and_comments_reach_each_report(read):
    grades, *_ = read
    assert gradebook_command([str(grades)]) == 0
    folder = grades / STUDENTS[1]
    report = json.loads((folder / "report.json").read_text())
    assert (report["earned"], report["points"]) == (4, 26)
    for name in ("report.html", "report.md", "results.json", "junit.xml"):
        assert "of the log" in (folder / name).read_text(), name
    result = next(one for one in report["results"] if one["name"] == COLUMN)
    rubric_words = [words for _, words in questions()[QUESTION]["rubric"]]
    assert result["expected"] == "; ".join(rubric_words[2:4])
    assert result["hint"] == f"Its points: +1 {rubric_words[0]}; +1 {rubric_words[1]}."
    assert (result["received"].split(), result["reason"]) == (SAME.split(), "")
    assert "<line>" not in (folder / "report.html").read_text()
    assert "reflections, read by a person" in (folder / "report.html").read_text()
    assert json.loads((folder / "grade.json").read_text())["earned"] == 4


def test_marks_outlive_another_grading(read):
    grades, *_ = read
    name = STUDENTS[1]
    records.save(grades / name, records.load(grades / name))
    assert row_of(grades, name)[COLUMN] == "2"
    report = json.loads((grades / name / "report.json").read_text())
    assert report["earned"] == 4
    assert len(records.load(grades / name)["report"]["results"]) == 1  # the record is as it was


def test_a_mark_of_an_answer_that_changed_is_kept_and_flagged_until_it_is_read_again(read):
    grades, made, items = read
    name = STUDENTS[1]
    answers = dict.fromkeys(QUESTIONS, "now another")
    records.save(grades / name, record(name, answers))
    assert row_of(grades, name)[COLUMN] == "2"
    report = grades / name / "report.md"
    assert "was changed after it was read" in report.read_text()
    made.add("ben", [mark(name, items[0], answer="now  another")])
    records.save(grades / name, record(name, answers))
    assert "was changed after it was read" not in report.read_text()


def test_a_file_of_marks_that_is_broken_is_named(grades, capsys):
    (grades / "reading.db").write_bytes(b"no database" * 1000)
    assert gradebook_command([str(grades)]) == 2
    told = capsys.readouterr().err
    assert "reading.db: the marks cannot be read" in told and "Traceback" not in told


def test_no_student_is_named_like_the_file_of_the_marks():
    assert {"reading.db", "reading.db-wal", "reading.db-shm"} <= gradebook.TAKEN


def test_new_points_of_an_item_move_the_grades_of_those_who_have_it(read):
    grades, made, items = read
    before = {name: row_of(grades, name)["points"] for name in STUDENTS[:12]}
    made.add("ben", [{"kind": "item", "question": QUESTION, "item": items[1], "words": "w", "points": 2.5}])
    after = {name: row_of(grades, name)["points"] for name in STUDENTS[:12]}
    assert {name for name in after if after[name] != before[name]} == {STUDENTS[1]}
    assert after[STUDENTS[1]] == "5.5"
