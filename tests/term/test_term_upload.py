"""checks.gradebook --term: what everybody has in the term, in the files that a platform takes."""

import zipfile

import made_term
import pytest

from checks.gradebook import main
from checks.term.__main__ import main as term

ROSTER = (
    "id,name,email,group\ns1,Ada Lovelace,ada@x,\ns2,Ben Bitdiddle,ben@x,team 7\ns3,Cy Young,cy@x,team 7\n"
    "s4,Dee Absent,dee@x,\n"
)
RULES = """\
zone = "Europe/Berlin"
[late]
percent = 10
[milestone.m1]
due = 2026-10-20T23:59:00
worth = 20
[milestone.m2]
due = 2026-11-03
"""
HEADER = "Identifier,Full name,Email address,Grade,Maximum grade,Last modified (grade),Feedback comments\n"


@pytest.fixture
def grades(tmp_path):
    """Ada has 22 of 40 points; Ben and Cy are a group, a day late, and have 38; Dee handed in nothing."""
    folder = tmp_path / "grades"
    folder.mkdir()
    (folder / "roster.csv").write_text(ROSTER)
    (folder / "course.toml").write_text(RULES)
    made_term.hand_in(folder, "Ada Lovelace_4711", "2026-10-20T21:59:00+00:00", ["m1.one", "m2.one"])
    made_term.hand_in(folder, "team 7-Cy Young_4712", "2026-10-20T22:00:00+00:00", made_term.CHECKS)
    assert term([str(folder)]) == 0
    return folder


def test_a_term_goes_to_moodle_with_the_report_of_the_group_for_each_member(grades, tmp_path):
    people = {4713: "ben@x", 4714: "dee@x", 4711: "someone@else", 4712: "cy@x"}
    rows = (f"Participant {number},N.N.,{mail},,40.00,-,\n" for number, mail in people.items())
    sheet, out = tmp_path / "w.csv", tmp_path / "upload"
    sheet.write_text("".join((HEADER, *rows)))
    assert main([str(grades), "--moodle", str(sheet), "--out", str(out), "--term"]) == 0
    told = [line.split(",")[2:4] for line in (out / "w.csv").read_text().splitlines()[1:]]
    # Ada is found by the number of her folder, the others by their addresses; no attempt is no 0
    assert told == [["ben@x", "38"], ["dee@x", ""], ["someone@else", "22"], ["cy@x", "38"]]
    with zipfile.ZipFile(out / "feedback.zip") as packed:
        assert [name.split("_")[1] for name in packed.namelist()] == ["4711", "4712", "4713"]
        team = (grades / "team 7-Cy Young_4712" / "report.html").read_bytes()
        assert packed.read("N.N._4713_assignsubmission_file_/report.html") == team


def test_a_term_goes_to_canvas_as_the_rules_that_hold_have_it(grades, tmp_path, capsys):
    (grades / "course.toml").write_text(RULES.replace("percent = 10", "percent = 50"))  # does not hold yet
    book, out = tmp_path / "g.csv", tmp_path / "upload"
    book.write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section,Term (9)\n    Points Possible,,,,,40\n"
        '"Lovelace, Ada",1,s1,ada,One,\n"Bitdiddle, Ben",2,,ben@x,One,\n"Young, Cy",3,,,One,\n'
    )
    call = [str(grades), "--canvas", str(book), "--assignment", "Term", "--out", str(out), "--term"]
    assert main(call) == 1
    assert [line[-2:] for line in (out / "g.csv").read_text().splitlines()[2:]] == ["22", "38", "38"]
    assert "s4 is not in g.csv: call the folder of the submission" in capsys.readouterr().err


def test_a_term_without_a_roster_says_what_it_needs(grades, tmp_path, capsys):
    (grades / "roster.csv").unlink()
    (tmp_path / "w.csv").write_text(HEADER)
    assert (
        main([str(grades), "--moodle", str(tmp_path / "w.csv"), "--out", str(tmp_path / "u"), "--term"]) == 2
    )
    assert "has no roster.csv: put there who is in the course" in capsys.readouterr().err
