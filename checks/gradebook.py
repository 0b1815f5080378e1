"""Writes the pages of a graded class again, from its records: `python -m checks.gradebook GRADES`."""

import sys
from pathlib import Path

from checks.classroom.gradebook import students_of, write_class
from checks.classroom.records import load, write_pages
from checks.report.files import cannot_write
from checks.report.terminal import for_any_terminal, in_utf8


def main(arguments: list[str]) -> int:
    """Write the pages of a folder of grades again. 0: done; 2: there are none."""
    for_any_terminal()
    out = Path(arguments[0]) if len(arguments) == 1 else None
    names = students_of(out) if out else []
    if not names:
        print("usage: python -m checks.gradebook GRADES (the folder of a graded class)", file=sys.stderr)
        return 2
    try:
        for name in names:
            if record := load(out / name):
                write_pages(out / name, record)
        write_class(out, names)
    except OSError as problem:
        print(cannot_write(problem, out), file=sys.stderr)
        return 2
    print(out / "index.html")
    return 0


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
