"""What people decided about points survives every grading, and shows with its reason and its name."""

import csv
import io
import json

import made_term
import pytest

from checks.classroom import gradebook, records
from checks.course.overrides import FILE, about, overrides_of
from checks.course.tables import Unclear
from checks.gradebook import main

HEADER = "student,what,points,reason,by,when\n"
MINE = HEADER + "s1,m1.two,4,the check was wrong,Ann,2026-11-02\n"


@pytest.fixture
def grades(tmp_path):
    (tmp_path / "roster.csv").write_text(
        "id,name,group\ns1,Ada Lovelace,\ns2,Ben Bitdiddle,team 7\ns3,Cy Young,team 7\n"
    )
    return tmp_path


def write(grades, text=MINE):
    (grades / FILE).write_text(text, encoding="utf-8")


def test_it_shows_in_report_and_gradebook_with_reason_and_name_and_survives_a_regrading(grades):
    folder = grades / "Ada Lovelace_4711"
    records.save(folder, made_term.record(folder.name, ["m1.one"]))
    write(grades, MINE + "s1,m2,12,ill in the week of it,Ben,2026-11-03T10:00\n")
    for _ in range(2):
        assert main([str(grades)]) == 0
        told = "4 points by Ann, 2026-11-02: the check was wrong"
        assert json.loads((folder / "report.json").read_text())["earned"] == 10
        for name in ("report.html", "report.md", "results.json", "junit.xml"):
            assert told in (folder / name).read_text(), name
        assert (
            "m2: 12 points by Ben, 2026-11-03T10:00: ill in the week of it"
            in (folder / "report.md").read_text()
        )
        row = list(csv.DictReader(io.StringIO((grades / "gradebook.csv").read_text("utf-8-sig"))))[1]
        assert (row["m1.two"], row["points"]) == ("4", "10") and told in row["overrides"]
        records.save(folder, made_term.record(folder.name, ["m1.one"], "b"))
    assert records.load(folder)["report"]["earned"] == 6  # the record is as it was


def test_less_than_a_check_is_worth_is_no_pass(grades):
    records.save(grades / "s1", made_term.record("s1", ["m1.one"]))
    write(grades, MINE.replace(",4,", ",1.5,"))
    records.write_pages(grades / "s1", records.load(grades / "s1"))
    told = {one["name"]: one for one in json.loads((grades / "s1/report.json").read_text())["results"]}
    assert (told["m1.two"]["earned"], told["m1.two"]["status"]) == (1.5, "failed")


def test_what_was_decided_for_one_of_a_group_is_nothing_of_the_others(grades):
    write(grades, HEADER + "s2,m1.one,1,a,Ann,2026-11-02\nteam 7,m1.two,2,b,Ann,2026-11-02\n")
    assert set(about("team 7", grades)) == {"m1.two"}
    assert set(about("Ben Bitdiddle_1", grades)) == {"m1.one", "m1.two"}
    assert about("nobody known", grades) == {}


def test_without_a_roster_a_student_is_called_as_in_the_gradebook(tmp_path):
    write(tmp_path, MINE.replace("s1", "ada"))
    assert set(about("ada", tmp_path)) == {"m1.two"} and about("s1", tmp_path) == {}


def test_of_two_the_later_holds_whatever_their_order(grades):
    rows = ["s1,m1.two,4,a,Ann,2026-11-02", "s1,m1.two,3,b,Ben,2026-11-03"]
    for order in (rows, rows[::-1]):
        write(grades, HEADER + "\n".join(order))
        assert overrides_of(grades)["s1", "m1.two"].by == "Ben"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("s1,m1,1,,Ann,2026-11-02", "has no reason: every override has a student, a reason and a name"),
        ("s1,m1,1,x,,2026-11-02", "has no by"),
        ("s1,m1,1,x,Ann,", "has no when"),
        ("s1,m1,-1,x,Ann,2026-11-02", "has '-1' points: write a number from 0 on"),
        ("s1,m1,much,x,Ann,2026-11-02", "has 'much' points"),
        ("s1,m1,1,x,Ann,2.11.2026", "is of '2.11.2026': write the day as 2026-11-02"),
        ("s1,m1,1,x,Ann,2026-11-02\ns1,m1,2,x,Ann,2026-11-02", "s1 has two for m1 of 2026-11-02: keep one"),
    ],
)
def test_what_is_not_plain_is_refused_and_nothing_is_written(grades, capsys, row, why):
    records.save(grades / "s1", made_term.record("s1", []))
    write(grades, HEADER + row)
    with pytest.raises(Unclear) as told:
        overrides_of(grades)
    assert why in f"{told.value}"
    assert main([str(grades)]) == 2 and why in capsys.readouterr().err


def test_no_student_is_named_like_a_file_of_the_course():
    names = {"roster.csv", "known_as.csv", "overrides.csv", "course.toml", "rules", "term.csv", "term.html"}
    assert names <= gradebook.TAKEN
