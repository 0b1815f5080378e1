"""A class of 120 is taken in from Moodle's and Canvas's downloads, exactly as known beforehand."""

from pathlib import Path

import lms
import pytest

from bench import grading as bench
from checks import grade
from checks.classroom import handed_in, intake, records
from checks.classroom.archives import SubmissionError
from checks.classroom.found import CannotGrade, find_server


def outcome(one: handed_in.HandedIn, into: Path) -> str:
    """Why it cannot be graded; "", if its server is found."""
    if one.why:
        return one.why
    try:
        find_server(intake.fetch(one.parts, into).root)
    except (SubmissionError, CannotGrade) as problem:
        return str(problem)
    return lms.FOUND


@pytest.mark.parametrize("shape", ["moodle", "flat", "canvas"])
def test_of_a_class_of_120_everybody_is_taken_in_or_named_as_known(tmp_path, shape, monkeypatch):
    monkeypatch.setattr(intake, "MAX_FILES", lms.MAX_FILES)
    known = lms.make_class(tmp_path / "class", 120, shape)
    assert handed_in.is_class(tmp_path / "class")
    found = handed_in.find_submissions(tmp_path / "class")
    assert sorted(found) == sorted(known) and len(known) == 124
    wrong = {}
    for number, (name, one) in enumerate(found.items()):
        assert one.digest()
        told = outcome(one, tmp_path / f"into{number}")
        if (known[name] == lms.FOUND) != (told == lms.FOUND) or not told.startswith(known[name]):
            wrong[name] = (told, known[name])
    assert not wrong
    assert sum(why == lms.FOUND for why in known.values()) == 60 + 3 * 11


@pytest.mark.parametrize("shape", ["moodle", "canvas"])
def test_submissions_in_the_shape_of_a_download_get_the_grades_that_are_known(tmp_path, shape):
    folder, out = tmp_path / "class", tmp_path / "grades"
    made = bench.make_class(tmp_path / "made", [bench.CORRECT, "404 for 405", "no HEAD", "health is 500"])
    names = lms.as_download(folder, {student: tmp_path / "made" / student for student in made}, shape)
    (folder / "stray.py").write_text("x = 1\n")
    (folder / "Dee_4_assignsubmission_file_").mkdir()
    assert grade.main([str(folder), "--out", str(out), "--limit", "12/5", "--milestone", "m1"]) == 1
    for who, student in names.items():
        told = records.grade_of(records.load(out / who))
        failed = {name for name, one in told["checks"].items() if one["status"] == "failed"}
        expected = {name for name in bench.expected(made[student])[0] if name.startswith("m1.")}
        assert (told["status"], failed) == (records.GRADED, expected), who
    assert records.load(out / "Dee_4")["why"].startswith("there are no files in it")
    assert records.load(out / "stray.py")["why"].startswith("it is neither a folder nor an archive")
