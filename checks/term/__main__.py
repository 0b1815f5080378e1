"""A term: what everybody has under the rules of the course.

    python -m checks.term GRADES                       writes term.csv and term.html there
    python -m checks.term GRADES --rules NEW.toml      shows whom other rules would move, and changes nothing
    python -m checks.term GRADES [--rules …] --apply   has them hold, and writes the term

Exit status: 0 written; 1 written, but for what is told, or shown and not applied; 2 a wrong call, or a file
of the course that is not plain: nothing is written.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from checks.classroom.records import write
from checks.course.tables import Unclear
from checks.report.files import cannot_write
from checks.report.model import clean
from checks.report.terminal import for_any_terminal, in_utf8
from checks.term.book import book_of
from checks.term.change import apply, compare, holding, wanted
from checks.term.page import term_page
from checks.term.rules import FILE, parsed
from checks.term.table import term_csv

TABLE, PAGE = "term.csv", "term.html"


def main(arguments: list[str], now: datetime | None = None) -> int:
    """Write the term, or show whom a change moves; the exit status stands above. now: for who is behind."""
    for_any_terminal()
    parser = argparse.ArgumentParser("python -m checks.term", description="What everybody has in a term.")
    parser.add_argument("grades", type=Path, metavar="GRADES", help="the folder of a graded class")
    parser.add_argument("--rules", type=Path, metavar="NEW.toml", help="other rules than course.toml there")
    parser.add_argument("--apply", action="store_true", help="have changed rules hold from now on")
    asked = parser.parse_args(arguments)
    try:
        return command(asked, now or datetime.now(UTC))
    except Unclear as problem:
        print(problem, file=sys.stderr)
    except OSError as problem:
        print(cannot_write(problem, asked.grades), file=sys.stderr)
    return 2


def command(asked, now: datetime) -> int:
    """What `main` does. Raises Unclear, OSError."""
    grades, console = asked.grades, Console(highlight=False)
    book = book_of(grades)
    old, new = holding(grades), wanted(grades, asked.rules)
    term, changes = compare(book, old, new, (asked.rules or Path(FILE)).name)
    changed = new is not None and new != old
    if changed and old is not None and parsed(old) != term.rules:
        console.print(table_of(changes))
        if not asked.apply:
            print("nothing is changed yet: the same line with --apply has these rules hold", file=sys.stderr)
            return 1
    elif asked.rules and changed and not asked.apply:
        print("nothing is changed yet: the same line with --apply has these rules hold", file=sys.stderr)
        return 1
    if changed:
        apply(grades, new, changes if old is not None else [])
    write(grades / TABLE, term_csv(term))
    write(grades / PAGE, term_page(term, now))
    for sentence in book.told:
        print(sentence, file=sys.stderr)
    absent = [clean(one.student.name) for one in term.standings if not book.attempts[one.student.id]]
    if absent:
        print(f"handed in nothing ({len(absent)}): {', '.join(absent)}")
    print(f"{grades / PAGE} and {grades / TABLE}")
    return 1 if book.told else 0


def table_of(changes: list[tuple[str, str, str, str]]) -> Table:
    """Whom a change of the rules moves."""
    table = Table("name", Column("before", justify="right"), "", Column("after", justify="right"))
    table.title = f"{len(changes)} students would have other points" if changes else "nobody's points change"
    for id_, name, before, after in changes:
        table.add_row(Text(clean(f"{name} ({id_})")), Text(before), Text("→"), Text(after))
    return table


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
