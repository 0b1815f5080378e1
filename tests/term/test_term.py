"""python -m checks.term: a table of everybody, as the rules say."""

import csv
import io

import made_term
import pytest

from checks.term import __main__ as term

ROSTER = "id,name,group\ns1,Ada Lovelace,\ns2,Ben Bitdiddle,team 7\ns3,Cy Young,team 7\ns4,Dee Absent,\n"
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


@pytest.fixture
def grades(tmp_path):
    """Three students, one of whom comes a day late; two of them are a group, one hands in nothing."""
    (tmp_path / "roster.csv").write_text(ROSTER)
    (tmp_path / "course.toml").write_text(RULES)
    made_term.hand_in(tmp_path, "Ada Lovelace_4711", "2026-10-20T21:59:00+00:00", ["m1.one", "m2.one"])
    made_term.hand_in(tmp_path, "team 7-Cy Young_4712", "2026-10-20T22:00:00+00:00", made_term.CHECKS)
    return tmp_path


def rows(grades) -> dict[str, dict]:
    text = (grades / "term.csv").read_bytes().decode("utf-8-sig")
    return {row["id"]: row for row in csv.DictReader(io.StringIO(text))}


def test_from_a_roster_and_attempts_to_a_table(grades, capsys):
    assert term.main([str(grades)]) == 0
    told = capsys.readouterr().out
    assert "handed in nothing (1): Dee Absent" in told
    found = rows(grades)
    assert (found["(maximum)"]["points"], found["(maximum)"]["m1"], found["(maximum)"]["m2"]) == (
        "40",
        "20",
        "20",
    )
    assert (found["s1"]["m1"], found["s1"]["m2"], found["s1"]["points"]) == ("12", "10", "22")
    assert found["s1"]["m1 received"] == "2026-10-20T23:59:00+02:00" and found["s1"]["m1 late"] == ""
    for member in ("s2", "s3"):  # a minute late is a day late: 10 percent of 20 points
        assert (found[member]["m1"], found[member]["m2"], found[member]["points"]) == ("18", "20", "38")
        assert found[member]["m1 late"] == "1"
    assert (found["s4"]["m1"], found["s4"]["points"], found["s4"]["attempts"]) == ("", "0", "0")


def test_what_was_graded_before_attempts_were_kept_counts_and_is_not_late(grades):
    (grades / "Ada Lovelace_4711" / "attempts.jsonl").unlink()
    assert term.main([str(grades)]) == 0
    found = rows(grades)["s1"]
    assert (found["m1"], found["attempts"], found["m1 received"]) == ("12", "1", "at an unknown time")


def test_a_second_attempt_that_is_worse_takes_nothing_and_both_are_kept(grades):
    made_term.hand_in(grades, "Ada Lovelace_4711", "2026-10-20T21:59:30+00:00", ["m1.one"], "b")
    assert term.main([str(grades)]) == 0
    assert (rows(grades)["s1"]["points"], rows(grades)["s1"]["attempts"]) == ("22", "2")


def test_of_attempts_whose_time_nobody_knows_the_last_is_the_one_that_came_last(grades):
    for submission, passed in (("c", []), ("b", made_term.CHECKS), ("a", ["m2.one"])):
        made_term.hand_in(grades, "Dee Absent_4713", "", passed, submission)
    (grades / "course.toml").write_text(RULES.replace("[late]", 'attempt = "last"\n[late]\ndays = 7'))
    assert term.main([str(grades)]) == 0
    assert (rows(grades)["s4"]["points"], rows(grades)["s4"]["attempts"]) == ("10", "3")


def test_without_rules_all_but_labs_counts_with_its_own_points(grades):
    (grades / "course.toml").unlink()
    assert term.main([str(grades)]) == 0
    most, found = rows(grades)["(maximum)"], rows(grades)["s2"]
    assert (most["points"], found["points"], "lab02" in found) == ("30", "35", False)  # m5 is on top
    assert not (grades / "rules").exists()
