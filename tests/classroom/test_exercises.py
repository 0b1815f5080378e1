"""What the exercises of the labs are worth, and where an instructor and a student see it."""

import csv
import json

import pytest
from made_labs import ROOT, WORTH, recorded

from checks.classroom import exercises, gradebook, records
from checks.classroom.cells import tags
from checks.classroom.notebooks import result_of
from checks.kit import core
from checks.report.gradescope import gradescope
from checks.report.model import LABS

CELLS = {
    path.name[:2]: {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}
    for path in (ROOT / "labs").glob("*.ipynb")
}
JUDGED = [one for one in exercises.EXERCISES if not one.human]


def test_the_table_has_every_exercise_of_the_labs_in_order():
    found = [
        f"lab{lab}.{name}"
        for lab, cells in sorted(CELLS.items())
        for name, cell in cells.items()
        if "exercise" in tags(cell)
    ]
    assert [one.full_name for one in exercises.EXERCISES] == found
    assert len(found) == 32 and len(JUDGED) == 29
    assert {f"lab{lab}" for lab in CELLS} == set(WORTH) == set(LABS)


@pytest.mark.parametrize("lab", sorted(CELLS))
def test_every_cell_that_the_table_names_is_in_its_lab(lab):
    judged = [one for one in JUDGED if one.lab == lab]
    assert sum(one.points for one in judged) == WORTH[f"lab{lab}"]
    names = {name for one in judged for name in one.judged_by} | set(exercises.LEFT_OUT[lab])
    assert names - set(CELLS[lab]) == set()
    for one in judged:
        assert "check" in one.judged_by[-1] and one.name in one.judged_by[-1]
        assert any(one.value in "".join(CELLS[lab][name]["source"]) for name in one.judged_by) or one.way in (
            "shell",
            "wire",
        )
    for name in (*exercises.STANDS_ON[lab], *(one.before for one in judged if one.before)):
        assert name in CELLS[lab] or "=" in name, "a cell, or code of ours"


def test_the_table_for_instructors_says_what_each_lab_is_worth():
    told = (ROOT / "checks" / "README.md").read_text(encoding="utf-8")
    rows = told.split("<!-- labs -->")[1].split("<!-- /labs -->")[0].strip().splitlines()[2:]
    for lab, row in zip(WORTH, rows, strict=True):
        of = [one for one in exercises.EXERCISES if one.milestone == lab]
        humans = sum(bool(one.human) for one in of)
        more = f", and {humans} for a human" if humans else ""
        assert row == f"| {lab} {LABS[lab]} | {WORTH[lab]} | {len(of) - humans}{more} |"


# ---- Where the points are seen --------------------------------------------------------------------------

RIGHT, WRONG = {"right": True}, {"right": False, "received": "<b>'7'", "expected": "another value"}
ALONE = {"right": False, "received": "nothing: the cell is as it was"}
STUDENTS = {  # what became of their exercises
    "ada": lambda one: RIGHT,
    "bob": lambda one: WRONG if one.lab in ("00", "03") else RIGHT,
    "eve": lambda one: WRONG,  # forged: what comes of that is that it is wrong
    "kim": lambda one: ALONE if one.lab != "01" else RIGHT,
    "zoe": lambda one: None,  # handed in no lab that can be read
}
EARNED = {"ada": 34, "bob": 20, "eve": 0, "kim": 6, "zoe": 0}


def record(name: str) -> dict:
    results = [result_of(one, STUDENTS[name](one), "it is not JSON") for one in JUDGED]
    return recorded(name, results, graded=name != "zoe")


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    out = tmp_path_factory.mktemp("grades")
    for name in STUDENTS:
        records.save(out / name, record(name))
    gradebook.write_class(out, STUDENTS)
    return out


def test_the_gradebook_has_a_column_an_exercise_and_a_total_of_the_labs_beside_that_of_the_server(grades):
    rows = list(csv.DictReader((grades / "gradebook.csv").open(encoding="utf-8-sig")))
    assert [(row["points"], row["of"], row["labs"], row["labs of"]) for row in rows] == [
        ("2", "2", "34", "34"),
        *(("2", "2", str(EARNED[name]), "34") for name in ("ada", "bob", "eve", "kim")),
        ("", "", "0", "34"),
    ]
    of = {row["name"]: row for row in rows}
    assert [of[name]["lab03.loop"] for name in ("(maximum)", *STUDENTS)] == ["2", "2", "0", "0", "0", ""]
    assert {one.full_name for one in JUDGED} < set(of["ada"])


def test_the_report_names_each_exercise_and_a_milestone_a_lab(grades):
    page, text = ((grades / "bob" / name).read_text() for name in ("report.html", "report.md"))
    assert "bob: 2 of 2 points, and 20 of 34 in the labs" in page and "20 of 34 in the labs" in text
    told = json.loads((grades / "bob" / "report.json").read_text())
    assert {one["name"]: one["earned"] for one in told["milestones"]} == WORTH | {
        **{"m1": 2, "lab00": 0, "lab03": 0}
    }
    assert "Exercise old-key: reads the old key" in page and "&lt;b&gt;&#x27;7&#x27;" in page
    assert (told["earned"], told["points"], told["labs"]) == (2, 2, {"earned": 20, "points": 34})
    assert [one["name"] for one in told["milestones"]][:2] == ["m1", "lab00"], "the server comes first"


def test_gradescope_and_the_class_page_show_them_too(grades):
    told = json.loads((grades / "kim" / "results.json").read_text())
    assert told == gradescope(json.loads((grades / "kim" / "report.json").read_text()))
    assert told["score"] == 2 and "6 of 34 in the labs" in told["output"]
    labs = [one for one in told["tests"] if one["extra_data"]["milestone"].startswith("lab")]
    assert sum(one["score"] for one in labs) == 6 and sum(one["max_score"] for one in labs) == 34
    page = (grades / "index.html").read_text()
    assert "Exercise loop: asks forty times" in page and "labs 6 of 34" in page


def test_labs_that_could_not_be_read_are_no_0_and_points_of_labs_stand_without_a_server(grades):
    told = json.loads((grades / "zoe" / "report.json").read_text())
    assert {one["status"] for one in told["results"] if one["milestone"] == "lab00"} == {core.UNCHECKED}
    assert {one["reason"] for one in told["results"] if one["milestone"] == "lab00"} == {"it is not JSON"}
    assert "zoe: no grade, and 0 of 34 in the labs" in (grades / "zoe" / "report.html").read_text()
