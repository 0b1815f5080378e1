"""course.toml: what is not plain is refused by name with the remedy, and clocks are right."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.course.roster import Roster, Student
from checks.course.tables import Unclear
from checks.term.rules import EXTENSION, KEYS, LATE, MILESTONE, Late, Milestone, fitted, moment, parsed

ZONE = 'zone = "Europe/Berlin"\n'
ROSTER = Roster([Student("s1", "Ada Lovelace"), Student("s2", "Ben Bitdiddle", "", "team 7")])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_file_of_rules_is_read_exactly():
    rules = parsed(
        ZONE + 'title = "Block 5"\nattempt = "best"\ndecimals = 1\n'
        "[late]\ngrace-days = 2\npercent = 0.1\ndays = 7\n"
        '[milestone.m1]\ndue = 2026-11-03T23:59:00\nworth = 12.5\ndrop = "m1.x"\ndrop-lowest = 1\n'
        "[milestone.m5]\n"
        '[[extension]]\nwho = "s1"\nmilestone = "m1"\nuntil = 2026-11-05\nreason = "ill"\n'
    )
    told = (rules.title, rules.zone, rules.last, rules.decimals)
    assert told == (
        "Block 5",
        ZoneInfo("Europe/Berlin"),
        False,
        1,
    )
    assert rules.late == Late(2, Fraction(0), Fraction(1, 10), 7)
    due = datetime(2026, 11, 3, 23, 59)
    assert rules.of("m1") == Milestone(due, Fraction(25, 2), False, ("m1.x",), 1)
    assert rules.of("m5").bonus and rules.of("m2") is None
    assert rules.due("m1") == due and rules.due("m1", ["s1"]).isoformat() == "2026-11-05"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "[late]\npercnt = 1\n",
            "[late] 'percnt' is no rule: write 'percent' if you meant that; there are days, ",
        ),
        ("[milestone.m1]\nweight = 1\n", "[milestone.m1] 'weight' is no rule: there are bonus, drop"),
        ("late_days = 1\n", "'late_days' is no rule: "),
        ('[[extension]]\nwo = "s1"\n', "[[extension]] 'wo' is no rule: write 'who' if you meant that"),
        ('zone = "../etc"\n', "zone is a time zone such as"),
        ("zone = 3\n", "zone is a text in quotes"),
        ("title = \n", "Invalid value (at line 1, column 9): it is written as key = value"),
        ('zone = "Berlin"\n', "zone is a time zone such as 'Europe/Berlin', not 'Berlin'"),
        ('attempt = "first"\n', 'attempt is "best" or "last", not \'first\''),
        ("[late]\npoints = -1\n", "points is a number from 0 on, not '-1'"),
        ("[late]\npoints = nan\n", "points is a number from 0 on"),
        ("[late]\npercent = true\n", "percent is a number from 0 on"),
        ("[late]\ngrace-days = 1.5\n", "grace-days is a whole number"),
        ("[late]\npoints = 1\npercent = 1\n", "has both points and percent: keep one"),
        ("late = 3\n", "late is a table, with its name in brackets"),
        ("[milestone]\nm1 = 3\n", "[milestone.m1] is a table"),
        ("[extension]\n", "extension is a table in two brackets"),
        ('[milestone.m1]\ndue = "2026-11-03"\n', "due is a time without quotes, 2026-11-03T23:59:00"),
        ("[milestone.m1]\ndue = 9999-12-31\n", "due is a time without quotes"),
        ("[milestone.m1]\nbonus = 1\n", "bonus is true or false"),
        ("[milestone.m1]\ndrop = []\n", "drop is a name, or several"),
        (
            "[milestone.m1]\ndue = 2026-11-03\n",
            'due dates need the zone of their clock: add zone = "Europe/Berlin"',
        ),
        (ZONE + '[[extension]]\nwho = "s1"\n', "an [[extension]] has no until: add it"),
        (
            ZONE + '[milestone.m1]\n[[extension]]\nwho = "s1"\nmilestone = "m1"\nuntil = 2026-11-03\n',
            "the extension of s1 is for m1, which has no due date",
        ),
        (
            ZONE
            + "[milestone.m1]\ndue = 2026-11-03\n"
            + '[[extension]]\nwho = "s1"\nmilestone = "m1"\nuntil = 2026-11-02\n',
            "the extension of s1 ends before m1 is due: write a later time",
        ),
        (
            ZONE + 'attempt = "last"\n[milestone.m1]\ndue = 2026-11-03\n',
            'with attempt = "last", [late] days says how late one still counts',
        ),
    ],
)
def test_what_is_not_plain_is_refused_with_the_remedy(text, why):
    with pytest.raises(Unclear) as told:
        parsed(text)
    assert f"{told.value}".startswith("course.toml: ") and why in f"{told.value}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "[milestone.m11]\n",
            "[milestone.m11] is none that is graded: write 'm1' if you meant that; there are m1",
        ),
        ('[milestone.m1]\ndrop = "m1.oen"\n', "drops 'm1.oen', which is no check of it: write 'm1.one'"),
        (
            ZONE + '[[extension]]\nwho = "team 8"\nuntil = 2026-11-03\n',
            "'team 8', which is no ID and no group",
        ),
    ],
)
def test_what_names_nobody_and_nothing_is_refused(text, why):
    with pytest.raises(Unclear) as told:
        fitted(parsed(text), ROSTER, {"m1": ["m1.one"], "m2": []})
    assert why in f"{told.value}"


# The clocks of Berlin show 02:00 to 03:00 twice on 25 October 2026, and never on 28 March 2027.
@pytest.mark.parametrize(
    ("due", "ends"),
    [
        ("2026-10-24T12:00:00", "2026-10-24T12:00:00+02:00"),
        ("2026-10-26T12:00:00", "2026-10-26T12:00:00+01:00"),
        ("2026-10-25T02:30:00", "2026-10-25T02:30:00+01:00"),  # the later of the two
        ("2027-03-28T02:30:00", "2027-03-28T03:30:00+02:00"),  # after the gap
        ("2026-10-25", "2026-10-26T00:00:00+01:00"),  # the whole day, which has 25 hours
        ("2026-10-24T12:00:00-04:00", "2026-10-24T18:00:00+02:00"),
    ],
)
def test_a_due_date_ends_when_the_clock_on_the_wall_says(due, ends):
    rules = parsed(f"{ZONE}[milestone.m1]\ndue = {due}\n")
    end = at(ends).astimezone(UTC)
    assert moment(rules.due("m1"), rules.zone) == end
    assert rules.days_late(end, rules.due("m1")) == 0
    assert rules.days_late(end + timedelta(seconds=1), rules.due("m1")) == 1


@pytest.mark.parametrize(
    ("received", "days"),
    [
        ("2026-10-25T11:59:59+01:00", 1),  # 24 hours and 59 minutes later, and the same day late
        ("2026-10-25T12:00:01+01:00", 2),
        ("2026-10-26T12:00:00+01:00", 2),
        ("2026-10-24T12:00:00+02:00", 0),
    ],
)
def test_a_day_lasts_until_the_clock_shows_the_same_again(received, days):
    rules = parsed(f"{ZONE}[milestone.m1]\ndue = 2026-10-24T12:00:00\n")
    assert rules.days_late(at(received), rules.due("m1")) == days


def test_an_unknown_time_is_not_late():
    rules = parsed(f"{ZONE}[milestone.m1]\ndue = 2026-10-24\n")
    assert rules.days_late(None, rules.due("m1")) == 0


def test_the_rules_in_the_readme_are_rules():
    text = (Path(__file__).resolve().parents[2] / "checks" / "README.md").read_text("utf-8")
    rules = parsed(text.partition("```toml\n")[2].partition("```")[0])
    told = {name for table in (KEYS, LATE, MILESTONE, EXTENSION) for name in table}
    assert all(f"{name} = " in text or f"[{name}" in text for name in told)
    checks = {"m1": [], "m2": rules.of("m2").drop, "m5": []}
    assert fitted(rules, Roster([Student("s1042", "Ada Lovelace")]), checks) == rules


moments = st.datetimes(datetime(2026, 10, 1), datetime(2027, 4, 30), timezones=st.just(UTC))


@settings(deadline=None, max_examples=50)
@given(moments, moments, st.datetimes(datetime(2026, 10, 20), datetime(2027, 4, 1)))
def test_who_comes_later_is_never_less_late(one, other, due):
    rules = parsed(f"{ZONE}[milestone.m1]\ndue = {due.replace(microsecond=0).isoformat()}\n")
    early, late = sorted((one, other))
    told = [rules.days_late(received, rules.due("m1")) for received in (early, late)]
    assert told[0] <= told[1]
    assert (told[0] == 0) == (early <= moment(rules.due("m1"), rules.zone))
