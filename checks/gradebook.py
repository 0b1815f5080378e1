"""Writes the pages of a graded class again, from its records: `python -m checks.gradebook GRADES`."""

import sys
from pathlib import Path

from checks.classroom.gradebook import write_class
from checks.classroom.records import load, write_pages


def main(arguments: list[str]) -> int:
    """Write the pages of a folder of grades again. 0: done; 2: there are none."""
    out = Path(arguments[0]) if len(arguments) == 1 else None
    names = sorted(path.parent.name for path in out.glob("*/record.json")) if out else []
    if not names:
        print("usage: python -m checks.gradebook GRADES (the folder of a graded class)", file=sys.stderr)
        return 2
    for name in names:
        if record := load(out / name):
            write_pages(out / name, record)
    write_class(out, names)
    print(out / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
