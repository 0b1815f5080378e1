"""Points of a term: exact, the same in any order, and never better for coming later."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from checks.term.points import Attempt, Mark, parts_of, rounded, share, worth_of
from checks.term.rules import Late, Milestone, Rules

DUE = datetime(2026, 11, 3, tzinfo=UTC)
DAY = timedelta(1)


def attempt(days, source="a", **earned) -> Attempt:
    """An attempt so many days after DUE: m1=4 is 4 of 10 points, None could not be checked."""
    told = {name: {f"{name}.x": Mark(_exact(value), Fraction(10))} for name, value in earned.items()}
    return Attempt(None if days is None else DUE + days * DAY, source, told)


def _exact(value):
    return None if value is None else Fraction(value)


AT_NO_COST = Late()


def rules(*names, worth=None, late=AT_NO_COST, last=False) -> Rules:
    return Rules(late=late, last=last, milestones={name: Milestone(DUE, worth) for name in names})


def parts(attempts, told: Rules, by_hand=None):
    names = told.milestones
    return parts_of(attempts, told, {one: worth_of(one, told, attempts) for one in names}, ["s1"], by_hand)


def test_of_two_attempts_the_best_counts_or_the_last():
    both = [attempt(-2, m1=8), attempt(-1, m1=5)]
    assert parts(both, rules("m1"))["m1"].points == 8
    assert parts(both, rules("m1", last=True, late=Late(days=0)))["m1"].points == 5


def test_the_last_one_that_is_too_late_counts_nothing_and_takes_nothing():
    told = rules("m1", last=True, late=Late(days=1))
    found = parts([attempt(-2, m1=8), attempt(2, m1=10)], told)["m1"]
    assert (found.points, found.late) == (8, 0)


def test_what_could_not_be_checked_is_no_attempt_and_no_zero():
    assert parts([attempt(-2, m1=8), attempt(-1, m1=None)], rules("m1", last=True))["m1"].points == 8
    assert parts([attempt(-1, m1=None)], rules("m1"))["m1"].points is None
    assert parts([attempt(-1, m1=0)], rules("m1"))["m1"].points == 0


def test_a_day_costs_points_or_percent_of_the_worth_and_never_more_than_there_are():
    one = [attempt(2, m1=9)]
    assert parts(one, rules("m1", worth=Fraction(20), late=Late(points=Fraction(3))))["m1"].points == 12
    assert parts(one, rules("m1", worth=Fraction(20), late=Late(percent=Fraction(10))))["m1"].points == 14
    assert parts(one, rules("m1", late=Late(percent=Fraction(90))))["m1"].points == 0


def test_grace_days_go_where_they_save_the_most_and_to_what_is_due_first_where_that_is_the_same():
    told = rules("m1", "m2", late=Late(grace=1, percent=Fraction(10)))
    told.milestones["m2"] = Milestone(DUE, Fraction(50))
    found = parts([attempt(1, m1=10, m2=10)], told)
    assert [(one.points, one.grace) for one in found.values()] == [(9, 0), (50, 1)]
    even = replace(told, milestones={"m1": Milestone(DUE), "m2": Milestone(DUE - DAY / 2)})
    assert [one.grace for one in parts([attempt(0.6, m1=10, m2=10)], even).values()] == [0, 1]


def test_a_grace_day_that_saves_nothing_is_not_spent():
    told = rules("m1", late=Late(grace=3, percent=Fraction(10)))
    assert parts([attempt(-1, m1=8), attempt(1, m1=8)], told)["m1"].grace == 0
    assert parts([attempt(2, m1=0)], told)["m1"].grace == 0


def test_what_somebody_decided_holds_whatever_came_in():
    found = parts([attempt(9, m1=1)], rules("m1", late=Late(percent=Fraction(50))), {"m1": Fraction(7)})["m1"]
    assert (found.points, found.by_hand) == (7, True)
    assert parts([], rules("m1", worth=Fraction(9)), {"m1": Fraction(7)})["m1"].points == 7


def test_points_are_rounded_once_and_half_goes_up():
    told = {
        "1/8": "0.13",
        "1/3": "0.33",
        "2/3": "0.67",
        "7/2": "3.5",
        "0": "0",
        "100": "100",
        "1249/1000": "1.25",
    }
    assert {text: rounded(Fraction(text), 2) for text in told} == told
    assert (rounded(Fraction(1, 2), 0), rounded(Fraction(3, 2), 0), rounded(None, 2)) == ("1", "2", "")


def test_dropped_checks_count_neither_as_earned_nor_as_missing():
    marks = {
        "a": Mark(Fraction(0), Fraction(2)),
        "b": Mark(Fraction(6), Fraction(8)),
        "c": Mark(None, Fraction(5)),
    }
    assert share(marks, Milestone()) == (6, 15)
    assert share(marks, Milestone(drop=("c",))) == (6, 10)
    assert share(marks, Milestone(drop_lowest=1)) == (9, 15)  # without c it is 6 of 10, brought to 15
    assert share(marks, Milestone(drop_lowest=9)) == (Fraction(3, 4) * 15, 15)


enough = settings(deadline=None, max_examples=60)
marks = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.integers(0, 6), st.integers(1, 6)).map(
        lambda one: Mark(Fraction(min(one)), Fraction(one[1]))
    ),
    min_size=1,
)


@enough
@given(marks, st.integers(1, 5))
def test_the_lowest_are_those_without_which_the_share_is_the_largest(told, drop):
    kept = max(1, len(told) - drop)
    chosen = combinations(told.values(), kept)
    best = max(sum(one.earned for one in some) / sum(one.points for one in some) for some in chosen)
    earned, points = share(told, Milestone(drop_lowest=drop))
    assert earned / points == best >= Fraction(*share(told, Milestone()))


days = st.integers(-40, 120).map(lambda hours: hours / 12)
earned = st.none() | st.integers(0, 10)
tries = st.lists(st.tuples(days, earned, earned, earned), max_size=4)
lateness = st.builds(
    Late,
    grace=st.integers(0, 3),
    percent=st.sampled_from([Fraction(0), Fraction(10), Fraction(100, 3)]),
    days=st.none() | st.integers(0, 4),
)
NAMES = ("m1", "m2", "m5")


def made(told) -> list[Attempt]:
    return [attempt(at, str(place), m1=a, m2=b, m5=c) for place, (at, a, b, c) in enumerate(told)]


def ruled(late, last=False) -> Rules:
    milestones = {"m1": Milestone(DUE), "m2": Milestone(DUE + 3 * DAY, Fraction(40))}
    return Rules(late=late, last=last, milestones=milestones | {"m5": Milestone(bonus=True)})


def total(attempts, told: Rules) -> Fraction:
    worth = dict(zip(NAMES, map(Fraction, (10, 40, 10))))
    return sum(one.points or 0 for one in parts_of(attempts, told, worth).values())


@enough
@given(tries, lateness, st.booleans())
def test_points_are_never_below_nothing_nor_above_all_there_are_and_the_grace_days_suffice(told, late, last):
    rule = ruled(late, last)
    worth = dict(zip(NAMES, map(Fraction, (10, 40, 10))))
    found = parts_of(made(told), rule, worth)
    for name, one in found.items():
        assert one.points is None or 0 <= one.points <= one.full <= worth[name]
        assert 0 <= one.grace <= one.late
    assert sum(one.grace for one in found.values()) <= late.grace


@enough
@given(tries, lateness, st.booleans(), st.randoms())
def test_the_order_of_attempts_is_nothing(told, late, last, random):
    attempts, rule = made(told), ruled(late, last)
    before = parts_of(attempts, rule, dict.fromkeys(NAMES, Fraction(10)))
    random.shuffle(attempts)
    assert parts_of(attempts, rule, dict.fromkeys(NAMES, Fraction(10))) == before


@enough
@given(tries.filter(bool), lateness, st.data())
def test_later_is_never_better_by_lateness_alone(told, late, data):
    which = data.draw(st.integers(0, len(told) - 1))
    attempts, rule = made(told), ruled(late)
    later = [*attempts]
    moved = later[which].received + data.draw(st.integers(0, 100)) / 10 * DAY
    later[which] = replace(later[which], received=moved)
    assert total(later, rule) <= total(attempts, rule)


@enough
@given(tries, lateness, st.tuples(days, earned, earned, earned))
def test_another_attempt_takes_nothing_where_the_best_counts(told, late, more):
    assert total(made([*told, more]), ruled(late)) >= total(made(told), ruled(late))


@enough
@given(tries, lateness)
def test_one_more_grace_day_takes_nothing(told, late):
    assert total(made(told), ruled(replace(late, grace=late.grace + 1))) >= total(made(told), ruled(late))
