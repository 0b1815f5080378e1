"""A change of the rules: whom it moves is shown before it holds, and all rules that ever held are kept.

GRADES/course.toml is for people to write. What holds is the last file in GRADES/rules/, a copy of it:
0001.toml and so on, each with the table of those whom it moved, 0001.csv.
"""

import csv
import io
from pathlib import Path

from checks.classroom.gradebook import BOM, defused
from checks.classroom.records import write
from checks.course.tables import read
from checks.term.book import Book, Term, allowed, term_of
from checks.term.rules import FILE, Rules, fitted, parsed

FOLDER = "rules"
HEADER = ("id", "name", "before", "after")


def holding(grades: Path) -> str | None:
    """The text of the rules that hold; None where none ever did."""
    kept = sorted((grades / FOLDER).glob("[0-9][0-9][0-9][0-9].toml"))
    return kept[-1].read_text("utf-8") if kept else None


def wanted(grades: Path, file: Path | None) -> str | None:
    """The text of the rules that are asked for: of a file, else of course.toml; None where there is none.
    Raises Unclear."""
    file = file or (grades / FILE if (grades / FILE).exists() else None)
    return read(file) if file else None


def rules_in(text: str | None, book: Book, name: str = FILE) -> Rules:
    """The rules in a text, with all that they name there. Raises Unclear."""
    return Rules() if text is None else fitted(parsed(text, name), book.roster, book.checks, name)


def moved(before: Term, after: Term) -> list[tuple[str, str, str, str]]:
    """(ID, name, before, after) of each student whose points are not the same, in the order of the roster."""
    found = []
    for old, new in zip(before.standings, after.standings, strict=True):
        told = (_shown(before, old.points), _shown(after, new.points))
        if told[0] != told[1]:
            found.append((old.student.id, old.student.name, *told))
    return found


def _shown(term: Term, points) -> str:
    return f"{term.shown(points)} of {term.shown(term.of)}"


def compare(book: Book, old: str | None, new: str | None, name: str) -> tuple[Term, list]:
    """The term under the new rules, and whom they move. Raises Unclear where the new ones do not fit; the old
    ones may name who has left."""
    after = allowed(term_of(book, rules_in(new, book, name)))
    if old == new:
        return after, []
    return after, moved(term_of(book, Rules() if old is None else parsed(old)), after)


def apply(grades: Path, text: str, changes: list[tuple[str, str, str, str]]) -> None:
    """Have these rules hold from now on. After a crash the same call does the rest. Raises OSError."""
    if (grades / FILE).exists() is False or read(grades / FILE) != text:
        write(grades / FILE, text)
    folder = grades / FOLDER
    folder.mkdir(exist_ok=True)
    number = 1 + max((int(one.stem) for one in folder.glob("[0-9][0-9][0-9][0-9].toml")), default=0)
    lines = io.StringIO()
    csv.writer(lines).writerows([[defused(cell) for cell in row] for row in (HEADER, *changes)])
    write(folder / f"{number:04}.csv", BOM + lines.getvalue())
    write(folder / f"{number:04}.toml", text)  # last: from here on they hold
