"""Points of a term: what a student's attempts are worth under the rules. Exact, and in any order the same.

Of a milestone the best attempt counts, or the last, less what its lateness costs. Grace days are spent where
they save a student the most points; where that is all the same, few of them, and on what is due first.
Nothing is rounded before it is written.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from checks.term.rules import Milestone, Rules, moment

LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)
NOTHING = Fraction(0)


@dataclass(frozen=True)
class Mark:
    """What a check earned, of how many points; None: it could not be checked."""

    earned: Fraction | None
    points: Fraction


@dataclass(frozen=True)
class Attempt:
    """received: None where nobody knows; checks: {milestone: {check: Mark}}; source: what tells it from
    others of that time; place: the order in which those came of whose time nobody knows."""

    received: datetime | None
    source: str
    checks: dict[str, dict[str, Mark]]
    place: int = 0

    @property
    def order(self) -> tuple:
        """Where it stands among others."""
        return (self.received or LONG_AGO, self.place, self.source)


@dataclass(frozen=True)
class Part:
    """What a milestone gave a student: points (None: nothing is known of it), out of `of`; full: before
    lateness; attempt: the one that counts; late: days; grace: how many of them cost nothing; by_hand: points
    that somebody set."""

    points: Fraction | None = None
    of: Fraction = NOTHING
    full: Fraction = NOTHING
    attempt: Attempt | None = None
    late: int = 0
    grace: int = 0
    by_hand: bool = False


def share(marks: dict[str, Mark], rule: Milestone) -> tuple[Fraction, Fraction]:
    """(earned, points) of the checks that count. The lowest are dropped so that the share is the largest, and
    what is left is then brought to all of the points."""
    told = [
        (one.earned or NOTHING, one.points) for name, one in sorted(marks.items()) if name not in rule.drop
    ]
    told = [one for one in told if one[1]]
    earned, points = (sum((one[place] for one in told), NOTHING) for place in (0, 1))
    kept = len(told) - rule.drop_lowest
    if not rule.drop_lowest or not points:
        return earned, points
    if kept <= 0:
        return max((part / of for part, of in told), default=NOTHING) * points, points
    best = NOTHING  # Dinkelbach: the share that no choice of checks exceeds
    while True:
        chosen = sorted(told, key=lambda one: one[0] - best * one[1], reverse=True)[:kept]
        found = sum(part for part, _ in chosen) / Fraction(sum(of for _, of in chosen))
        if found <= best:
            return best * points, points
        best = found


def is_known(marks: dict[str, Mark]) -> bool:
    """Whether anything of a milestone could be checked."""
    return any(one.earned is not None for one in marks.values())


def worth_of(milestone: str, rules: Rules, attempts: Iterable[Attempt]) -> Fraction:
    """What there is to earn with a milestone: as the rules say, else the most that anybody's checks have."""
    rule = rules.of(milestone) or Milestone()
    if rule.worth is not None:
        return rule.worth
    return max((share(one.checks.get(milestone, {}), rule)[1] for one in attempts), default=NOTHING)


def parts_of(
    attempts: Iterable[Attempt],
    rules: Rules,
    worth: dict[str, Fraction],
    who: Iterable[str] = (),
    by_hand: dict[str, Fraction] | None = None,
) -> dict[str, Part]:
    """What each milestone gave a student. worth: of the milestones that count, in their order; who: what the
    student and the group are called; by_hand: {milestone: points} that somebody set, whatever came in."""
    attempts, who = sorted(attempts, key=lambda one: one.order), list(who)
    dues = {name: rules.due(name, who) for name in worth}
    choices: dict[str, list[Part]] = {}
    for name in worth:
        if by_hand and name in by_hand:
            choices[name] = [Part(by_hand[name], worth[name], by_hand[name], by_hand=True)]
        else:
            choices[name] = _choices(name, attempts, rules, worth[name], dues[name])
    order = sorted(worth, key=lambda one: (moment(dues[one], rules.zone) if dues[one] else LONG_AGO, one))
    chosen = _spent(choices, order, rules.late.grace)
    return {name: chosen[name] for name in worth}


def _choices(name: str, attempts: list[Attempt], rules: Rules, worth: Fraction, due) -> list[Part]:
    """The part of a milestone with no grace day, with one, with two …, as far as they are needed."""
    known = [one for one in attempts if is_known(one.checks.get(name, {}))]
    counting = [(one, rules.days_late(one.received, due)) for one in known]
    if rules.late.days is not None:
        counting = [(one, days) for one, days in counting if days <= rules.late.days]
    if not counting:
        return [Part(of=worth)]
    if rules.last:
        counting = counting[-1:]
    rule, a_day = rules.of(name), rules.late.points + rules.late.percent / 100 * worth
    fulls = [(attempt, days, _full(attempt.checks[name], rule, worth)) for attempt, days in counting]
    choices = []
    for grace in range(min(rules.late.grace, max(days for _, days in counting)) + 1):
        told = []
        for attempt, days, full in fulls:
            free = min(grace, days)
            points = max(NOTHING, full - (days - free) * a_day)
            told.append(Part(points, worth, full, attempt, days, free))
        choices.append(max(told, key=lambda one: (one.points, -one.late)))
    return choices


def _full(marks: dict[str, Mark], rule: Milestone, worth: Fraction) -> Fraction:
    """What an attempt is worth before lateness."""
    earned, points = share(marks, rule)
    if rule.worth is None:
        return earned
    return earned / points * worth if points else NOTHING


def _spent(choices: dict[str, list[Part]], order: list[str], grace: int) -> dict[str, Part]:
    """Of each milestone the choice, so that all together have the most points with so many grace days."""
    best: dict[int, tuple[Fraction, tuple[int, ...]]] = {0: (NOTHING, ())}  # {days spent: points, on what}
    for name in order:
        after: dict[int, tuple[Fraction, tuple[int, ...]]] = {}
        for spent, (points, days) in best.items():
            for more, part in enumerate(choices[name][: grace - spent + 1]):
                found = (points + (part.points or NOTHING), (*days, more))
                after[spent + more] = max(found, after.get(spent + more, found))
        best = after
    _, days = max(best.items(), key=lambda one: (one[1][0], -one[0]))[1]
    return {name: choices[name][more] for name, more in zip(order, days)}


def rounded(points: Fraction | None, decimals: int) -> str:
    """Points as they are written, without zeros at the end: half is rounded up. "" for none."""
    if points is None:
        return ""
    whole = (2 * points.numerator * 10**decimals + points.denominator) // (2 * points.denominator)
    text = f"{Decimal(whole).scaleb(-decimals):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
