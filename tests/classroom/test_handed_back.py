"""checks.gradebook: from a graded class to the files that its platform takes."""

import csv
import io
import zipfile
from decimal import Decimal

import pytest
from test_gradebook import CHECKS, SOME, record

from checks.classroom import records
from checks.classroom.gradebook import write_class
from checks.classroom.handed_back import grades_of
from checks.exchange.pairs import Grade
from checks.gradebook import main

HEADER = "Identifier,Full name,Email address,Grade,Maximum grade,Last modified (grade),Feedback comments"

ALL = sum(CHECKS[name].points for name in SOME)


@pytest.fixture
def graded(tmp_path):
    """Ada has all points, and Jörg could not be graded."""
    out = tmp_path / "grades"
    none = record("Jörg Müller_4002", unchecked=SOME, why="no server was found: add <server.py>")
    for one in (record("Ada Ö. Lovelace_4001"), none):
        records.save(out / one["name"], one)
    write_class(out, ["Ada Ö. Lovelace_4001", "Jörg Müller_4002"])
    return out


def sheet(folder, most=f"{ALL}.00"):
    rows = (f"Participant {number},{name},x@y,,{most},-," for number, name in PEOPLE.items())
    file = folder / "Grades-Block 5-1234.csv"
    file.write_text("\n".join((HEADER, *rows, "")), encoding="utf-8-sig")
    return file


PEOPLE = {4003: "Ben", 4002: "Jörg Müller", 4001: "Ada Ö. Lovelace"}


def test_a_class_goes_back_to_moodle_in_one_line(graded, tmp_path, capsys):
    file, out = sheet(tmp_path), tmp_path / "upload"
    assert main([str(graded), "--moodle", str(file), "--out", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO((out / file.name).read_text("utf-8-sig"))))
    assert [(row["Grade"], row["Feedback comments"]) for row in rows] == [
        ("", ""),
        ("", "Could not be graded: no server was found: add &lt;server.py&gt;."),
        (f"{ALL}", ""),
    ]
    with zipfile.ZipFile(out / "feedback.zip") as packed:
        names = [f"{PEOPLE[number]}_{number}_assignsubmission_file_/report.html" for number in (4001, 4002)]
        assert packed.namelist() == names
        assert packed.read(names[0]) == (graded / "Ada Ö. Lovelace_4001" / "report.html").read_bytes()
    assert "not in the class, and unchanged: Ben" in capsys.readouterr().out


def test_the_same_grades_are_the_same_bytes_and_nothing_is_written_over(graded, tmp_path, capsys):
    file = sheet(tmp_path)
    for name in ("one", "two"):
        assert main([str(graded), "--moodle", str(file), "--out", str(tmp_path / name)]) == 0
    for name in (file.name, "feedback.zip"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    again = [str(graded), "--moodle", str(file), "--out", str(tmp_path / "one")]
    (tmp_path / "one" / "feedback.zip").unlink()  # as a crash between the two leaves it
    assert main(again) == 0 and (tmp_path / "one" / "feedback.zip").exists()
    (tmp_path / "one" / file.name).write_text("of somebody else")
    assert main(again) == 2
    assert f"{file.name} is there already: move it away, or name another folder" in capsys.readouterr().err


def test_another_maximum_is_not_taken_for_the_same(graded, tmp_path, capsys):
    file, out = sheet(tmp_path, "100.00"), tmp_path / "upload"
    call = [str(graded), "--moodle", str(file), "--out", str(out)]
    assert main(call) == 2 and not out.exists()
    assert f"has 100.00 points to earn, and the class {ALL}: add --points scale" in capsys.readouterr().err
    assert main([*call, "--points", "scale"]) == 0
    assert ",100,100.00,-" in (out / file.name).read_text("utf-8-sig")
    assert main([*call[:-1], str(tmp_path / "kept"), "--points", "keep"]) == 0
    assert f",{ALL},100.00,-" in (tmp_path / "kept" / file.name).read_text("utf-8-sig")


def test_what_was_not_written_is_told_and_the_rest_is_written(graded, tmp_path, capsys):
    file, out = sheet(tmp_path), tmp_path / "upload"
    file.write_text(file.read_text("utf-8-sig").replace("Participant 4002", "Participant 4009"), "utf-8")
    assert main([str(graded), "--moodle", str(file), "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert "Jörg Müller_4002: not in Grades-Block 5-1234.csv: download that of the assignment" in told.err
    assert f",{ALL},{ALL}.00,-" in (out / file.name).read_text("utf-8")


def test_a_class_goes_back_to_canvas_in_one_line(graded, tmp_path, capsys):
    file, out = tmp_path / "g.csv", tmp_path / "upload"
    lines = ["Student,ID,SIS Login ID,Section,Block 5 (77)", f"    Points Possible,,,,{ALL}.00"]
    lines += ['"Lovelace, Ada",4001,ada,One,', '"Müller, Jörg",4002,jm,One,', '"Student, Test",9,,One,']
    file.write_text("\r\n".join([*lines, ""]), encoding="utf-8", newline="")
    call = [str(graded), "--canvas", str(file), "--assignment", "Block 5", "--out", str(out)]
    assert main(call) == 0
    expected = [*lines[:2], f"{lines[2]}{ALL}", *lines[3:], ""]
    assert (out / "g.csv").read_bytes() == "\r\n".join(expected).encode()
    assert "not in the class, and unchanged: Student, Test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--canvas", "w.csv", "--out", "x"], "a gradebook has many assignments: --assignment NAME"),
        (["--out", "x"], "--out is for --moodle or --canvas: name the file to fill"),
        (["--moodle", "w.csv"], "the files to upload need a folder: --out UPLOAD"),
        (["--moodle", "missing.csv", "--out", "x"], "missing.csv: No such file or directory"),
    ],
)
def test_a_wrong_call_says_what_to_do(graded, tmp_path, monkeypatch, capsys, more, why):
    monkeypatch.chdir(tmp_path)
    assert main([str(graded), *more]) == 2
    assert why in capsys.readouterr().err


def test_a_class_has_points_of_the_gradebook(graded):
    grades, most = grades_of(graded, ["Ada Ö. Lovelace_4001", "Jörg Müller_4002", "nobody"])
    assert most == ALL
    assert grades == {
        "Ada Ö. Lovelace_4001": Grade(Decimal(ALL)),
        "Jörg Müller_4002": Grade(None, "Could not be graded: no server was found: add <server.py>."),
    }
