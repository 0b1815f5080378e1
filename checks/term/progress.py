"""How a term goes: each milestone's curve, who fell behind, and what stops most."""

from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction

from checks.course.roster import Student
from checks.term.book import Standing, Term
from checks.term.points import Attempt, Part, share
from checks.term.rules import Milestone, moment

BEHIND = Fraction(1, 2)  # who has less than this of a milestone that was due


@dataclass(frozen=True)
class Curve:
    """A milestone over time. first: the share of all its points, 0 to 1, that the class had at the start;
    steps: (moment, share from then on); at_due: the share when it was due, None where it never is; nothing:
    how many have none of it."""

    milestone: str
    due: date | None
    first: Fraction
    steps: tuple[tuple[datetime, Fraction], ...]
    at_due: Fraction | None
    now: Fraction
    nothing: int


def curve_of(term: Term, milestone: str) -> Curve:
    """The curve of a milestone: of each student the best attempt until then, before lateness; who has none
    counts as nothing. An attempt of an unknown time was always there."""
    rule = term.rules.of(milestone) or Milestone()
    gains: list[tuple[datetime, Fraction]] = []
    first, nothing, count = Fraction(0), 0, max(1, len(term.standings))
    for one in term.standings:
        best = Fraction(0)
        for attempt in sorted(term.book.attempts[one.student.id], key=lambda told: told.order):
            part = share_of(attempt, milestone, rule)
            if part > best:
                if attempt.received is None:
                    first += (part - best) / count
                else:
                    gains.append((attempt.received, (part - best) / count))
                best = part
        nothing += best == 0
    steps, level = [], first
    for at, gain in sorted(gains):
        level += gain
        steps = [*steps[: -1 if steps and steps[-1][0] == at else None], (at, level)]
    due = term.rules.due(milestone)
    at_due = None
    if due is not None:
        end = moment(due, term.rules.zone)
        at_due = next((part for at, part in reversed(steps) if at <= end), first)
    return Curve(milestone, due, first, tuple(steps), at_due, level, nothing)


def share_of(attempt: Attempt, milestone: str, rule: Milestone) -> Fraction:
    """The share of a milestone's points that an attempt earned, before lateness."""
    earned, points = share(attempt.checks.get(milestone, {}), rule)
    return earned / points if points else Fraction(0)


def behind(term: Term, now: datetime) -> list[tuple[Standing, list[tuple[str, Part]]]]:
    """Who has less than half of a milestone that was due, and of which; the most milestones first."""
    found = []
    for one in term.standings:
        missing = [
            (name, part)
            for name, part in one.parts.items()
            if is_due(term, name, one.student, now) and part.of and (part.points or 0) < BEHIND * part.of
        ]
        if missing:
            found.append((one, missing))
    return sorted(found, key=lambda told: (-len(told[1]), told[0].points, told[0].student.id))


def is_due(term: Term, milestone: str, student: Student, now: datetime) -> bool:
    """Whether a milestone was due for this student, and is no bonus."""
    due = term.rules.due(milestone, filter(None, (student.id, student.group)))
    return due is not None and not term.rules.of(milestone).bonus and moment(due, term.rules.zone) < now


def stops(term: Term) -> list[tuple[str, int, int]]:
    """(check or exercise, how many it stops, of how many who were asked) in the attempts that count, the
    most first; what stops nobody is left out."""
    stopped: dict[str, int] = {}
    asked: dict[str, int] = {}
    for one in term.standings:
        for milestone, part in one.parts.items():
            marks = part.attempt.checks.get(milestone, {}) if part.attempt else {}
            for name, mark in marks.items():
                if mark.earned is not None and name not in (term.rules.of(milestone) or Milestone()).drop:
                    asked[name] = asked.get(name, 0) + 1
                    stopped[name] = stopped.get(name, 0) + (mark.earned < mark.points)
    found = [(name, count, asked[name]) for name, count in stopped.items() if count]
    return sorted(found, key=lambda told: (-told[1], told[2], told[0]))
