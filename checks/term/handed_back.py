"""What everybody has in a term, as the platform takes it back."""

from decimal import Decimal
from pathlib import Path

from checks.classroom import handed_back
from checks.exchange.pairs import Grade
from checks.term.book import book_of, term_of
from checks.term.change import holding, rules_in


def grades_of(grades: Path) -> tuple[dict[str, Grade], Decimal]:
    """{ID: points as the rules that hold round them, and what people said}, and how many points there are
    without a bonus. Of whom nothing is known, there are no points: that is no 0. Raises Unclear, OSError."""
    book = book_of(grades)
    term = term_of(book, rules_in(holding(grades), book))
    found = {}
    for one in term.standings:
        student, folders = one.student, book.folders[one.student.id]
        own, _ = handed_back.grades_of(grades, folders)
        known = any(part.points is not None for part in one.parts.values())
        found[student.id] = Grade(
            Decimal(term.shown(one.points)) if known else None,
            "\n".join(filter(None, (own[name].comment for name in folders if name in own))),
            own[folders[-1]].report if folders and folders[-1] in own else None,
            # a number of the platform's first, and a name last
            (*(name for name in folders if book.roster.whose(name) == (student,)), student.email)
            + (*student.also, student.name),
        )
    return found, Decimal(term.shown(term.of))
