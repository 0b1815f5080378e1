"""term.csv: what everybody has, and where it is from. The same bytes in every run."""

import csv
import io

from checks.classroom.gradebook import BOM, MAXIMUM, defused
from checks.classroom.marks import MILESTONE
from checks.course.overrides import Override
from checks.report.model import clean
from checks.term.book import Standing, Term
from checks.term.points import is_known

UNKNOWN = "at an unknown time"


def term_csv(term: Term) -> str:
    """The term as CSV, a row a student; before them, a row of what there is to earn.

    Of each milestone: its points (empty: nothing of it is known, which is no 0), when the attempt that counts
    came in, the days that it was late, and how many of them were grace days. `points` are all together,
    rounded once.
    """
    table = [["id", "name", "group", "attempts", "points", "of", *_columns(term), "grace days", "overrides"]]
    worth = [cell for name in term.worth for cell in (term.shown(term.worth[name]), "", "", "")]
    table.append([MAXIMUM, "", "", "", term.shown(term.of), term.shown(term.of), *worth, "", ""])
    table += [_row(term, one) for one in term.standings]
    out = io.StringIO()
    csv.writer(out).writerows([[defused(cell) for cell in row] for row in table])
    return BOM + out.getvalue()


def _columns(term: Term) -> list[str]:
    return [
        column
        for name in term.worth
        for column in (name, f"{name} received", f"{name} late", f"{name} grace")
    ]


def _row(term: Term, one: Standing) -> list[str]:
    student, cells = one.student, []
    for part in one.parts.values():
        cells += [term.shown(part.points), "" if part.attempt is None else when(term, part.attempt.received)]
        cells += [str(part.late or ""), str(part.grace or "")]
    attempts = len(term.book.attempts[student.id])
    told = "; ".join(f"{what}: {override}" for what, override in decided(term, one))
    start = [student.id, student.name, student.group, str(attempts)]
    return [*start, term.shown(one.points), term.shown(term.of), *cells, str(one.grace or ""), told]


def when(term: Term, received) -> str:
    """A time on the clock of the course, with its offset."""
    if received is None:
        return UNKNOWN
    return received.astimezone(term.rules.zone).isoformat(timespec="seconds")


def decided(term: Term, one: Standing) -> list[tuple[str, Override]]:
    """(milestone or check, override) of a student, in order."""
    whats = sorted({what for _, what in term.book.overrides})
    found = ((clean(what), term.book.decided(one.student, what)) for what in whats)
    return [(what, override) for what, override in found if override]


def why_none(term: Term, one: Standing, name: str) -> str:
    """Why a student has no points of a milestone."""
    attempts = term.book.attempts[one.student.id]
    marks = [told.checks[name] for told in attempts if told.checks.get(name)]
    if any(map(is_known, marks)):
        return "came too late to count"
    if attempts and name == MILESTONE:
        return "not read yet"
    return "could not be checked" if marks else "nothing came in"
