"""A term as grades for a platform's file: everybody's points, and how they come about as the comment."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from checks.classroom.handed_back import REPORT, grades_of
from checks.course.roster import Student
from checks.course.tables import Unclear
from checks.exchange.pairs import Grade, Person, pairs
from checks.term.book import Standing, Term, allowed, book_of, term_of
from checks.term.change import holding, rules_in, wanted
from checks.term.rules import FILE, parsed
from checks.term.table import decided, why_none


def term_in(grades: Path) -> Term:
    """The term under the rules that hold in a folder of grades. Raises Unclear, also where course.toml has
    other ones that nobody has applied."""
    book, old, new = book_of(grades), holding(grades), wanted(grades, None)
    if new is not None and (old is None or parsed(old) != parsed(new)):
        raise Unclear(
            f"{grades / FILE} was changed: `python -m checks.term {grades}` shows whom that moves, and "
            "applies it with --apply"
        )
    return allowed(term_of(book, rules_in(old, book)))


def grades_in(
    term: Term, grades: Path, people: list[Person], file: str
) -> tuple[dict[str, Grade], Decimal, dict[str, Path]]:
    """What everybody gets, by what the platform's file calls each; how many points there are; and the report
    of the last attempt of each. A comment has what readers and graders said as well. Who handed in nothing
    has no points, unless somebody set some."""
    found, reports = {}, {}
    keys = called(term.book.roster.students, people, file)
    for one in term.standings:
        key = keys[one.student.id]
        known = any(part.points is not None for part in one.parts.values())
        points = Decimal(term.shown(one.points)) if known else None
        said, _ = grades_of(grades, term.book.folders[one.student.id])
        told = [comment_of(term, one), *(grade.comment for _, grade in sorted(said.items()) if grade.comment)]
        found[key] = Grade(points, "\n".join(told))
        attempts = sorted(term.book.attempts[one.student.id], key=lambda told: told.order)
        if attempts:
            reports[key] = grades / attempts[-1].source.rpartition(" ")[0] / REPORT
    return found, Decimal(term.shown(term.of)), reports


def called(students: Iterable[Student], people: list[Person], file: str) -> dict[str, str]:
    """{ID: what a platform's file knows the student by}: an address, the ID, another name of the LMS's, or
    the name, whichever is only one person's there. Who is not found keeps the ID."""
    students, found = list(students), {}
    for keys_of in (
        lambda one: [one.email],
        lambda one: [one.id],
        lambda one: [*one.also, *(f"{one.name}_{number}" for number in one.also if number.isdecimal())],
        lambda one: [one.name],
    ):
        keys = [(key, one.id) for one in students if one.id not in found for key in keys_of(one) if key]
        once = {key for key, count in Counter(key for key, _ in keys).items() if count == 1}
        left = {key: id_ for key, id_ in keys if key in once}
        found |= {left[key]: key for key in pairs(left, people, file)[0]}
    return {one.id: found.get(one.id, one.id) for one in students}


def comment_of(term: Term, one: Standing) -> str:
    """How the points of a student come about, a line a milestone."""
    lines = []
    for name, part in one.parts.items():
        late = f", {part.late} days late" if part.late > 1 else ", a day late" if part.late else ""
        late += f" ({part.grace} at no cost)" if part.grace else ""
        if part.points is None:
            lines.append(f"{name}: {why_none(term, one, name)}")
        else:
            lines.append(f"{name}: {term.shown(part.points)} of {term.shown(part.of)}{late}")
    return "\n".join([*lines, *(f"{what}: {told}" for what, told in decided(term, one))])
