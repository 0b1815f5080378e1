"""What becomes of a graded class: its pages, written again, or the files that its platform takes back.

    python -m checks.gradebook GRADES                                        the pages, from the records
    python -m checks.gradebook GRADES --moodle WORKSHEET.csv --out UPLOAD    and its worksheet and feedback
    python -m checks.gradebook GRADES --canvas GRADEBOOK.csv --assignment NAME --out UPLOAD

Exit status: 0 done; 1 done, but for what is told; 2 a wrong call, or a file that cannot be taken: there is
nothing to upload.
"""

import argparse
import sys
from pathlib import Path

from checks.classroom.gradebook import students_of, write_class
from checks.classroom.handed_back import REPORT, HandedBack, grades_of, to_canvas, to_moodle
from checks.classroom.records import load, write_pages
from checks.course.tables import Unclear
from checks.exchange.canvas import Gradebook
from checks.exchange.moodle import Worksheet
from checks.exchange.pairs import named
from checks.exchange.table import Refused
from checks.report.files import cannot_write
from checks.report.terminal import for_any_terminal, in_utf8
from checks.term.hand_back import grades_in, term_in


def main(arguments: list[str]) -> int:
    """Write the pages again, and what is asked for; the exit status stands above."""
    for_any_terminal()
    asked = parser().parse_args(arguments)
    names = students_of(asked.grades)
    try:
        if not names:
            raise Refused(
                f"{asked.grades} holds no grades: name the folder of a graded class (--out of checks.grade)"
            )
        if asked.out and not (asked.moodle or asked.canvas):
            raise Refused("--out is for --moodle or --canvas: name the file to fill")
        if (asked.moodle or asked.canvas) and not asked.out:
            raise Refused("the files to upload need a folder: --out UPLOAD")
        if asked.canvas and not asked.assignment:
            raise Refused("a gradebook has many assignments: --assignment NAME, or the ID in its header")
        # also those of another download: a term has them all
        for path in sorted(asked.grades.glob("*/record.json")):
            if record := load(path.parent):
                write_pages(path.parent, record)
        write_class(asked.grades, names)
        print(asked.grades / "index.html")
        return tell(hand_back(asked, names)) if asked.out else 0
    except (Refused, Unclear) as problem:
        print(f"{problem}", file=sys.stderr)
    except OSError as problem:
        print(cannot_write(problem, asked.out or asked.grades), file=sys.stderr)
    return 2


def parser() -> argparse.ArgumentParser:
    """The options, as README.md explains them."""
    made = argparse.ArgumentParser(prog="python -m checks.gradebook", description="The grades of a class.")
    made.add_argument(
        "grades", type=Path, nargs="?", default=Path(), metavar="GRADES", help="the folder of a graded class"
    )
    platform = made.add_mutually_exclusive_group()
    platform.add_argument(
        "--moodle", type=Path, metavar="WORKSHEET.csv", help="fill Moodle's grading worksheet"
    )
    platform.add_argument("--canvas", type=Path, metavar="GRADEBOOK.csv", help="fill Canvas's gradebook")
    made.add_argument("--assignment", default="", metavar="NAME", help="whose column of it: its name or ID")
    made.add_argument("--out", type=Path, metavar="UPLOAD", help="the folder of the files to upload")
    made.add_argument(
        "--points", choices=["keep", "scale"], default="", help="where the platform has another maximum"
    )
    made.add_argument(
        "--term", action="store_true", help="the points of the term (checks.term), not those of the grading"
    )
    made.add_argument("--replace", action="store_true", help="write over what the platform has already")
    return made


def hand_back(asked, names: list[str]) -> HandedBack:
    """Write the files to upload. Raises Refused, Unclear, OSError."""
    if asked.term:
        file = asked.canvas or asked.moodle
        sheet = Gradebook if asked.canvas else Worksheet
        people = sheet(file.read_bytes(), file.name, *([asked.assignment] if asked.canvas else [])).people
        grades, most, reports = grades_in(term_in(asked.grades), asked.grades, people, file.name)
    else:
        grades, most = grades_of(asked.grades, names)
        reports = {name: asked.grades / name / REPORT for name in grades}
    how = asked.out, asked.points, asked.replace
    if asked.canvas:
        return to_canvas(grades, most, asked.canvas, asked.assignment, *how)
    return to_moodle(reports, grades, most, asked.moodle, *how)


def tell(handed: HandedBack) -> int:
    """Say what was written, and what was not; returns the exit status."""
    for path in handed.files:
        print(path)
    if handed.others:
        print(f"not in the class, and unchanged: {named(handed.others)}")
    for sentence in handed.told:
        print(sentence, file=sys.stderr)
    return 1 if handed.told else 0


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
