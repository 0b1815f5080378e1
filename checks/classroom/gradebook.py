"""gradebook.csv, and all that an instructor reads of a class: the same, byte by byte, in every run."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

from checks.classroom.class_page import class_page
from checks.classroom.marks import FILE, marked
from checks.classroom.records import GRADED, NOT_YET, differences, grade_of, load, to_json, write
from checks.kit.core import UNCHECKED
from checks.kit.grading import in_order
from checks.report.model import clean

MAXIMUM = "(maximum)"  # the first row: what there is to earn
BOM = "\ufeff"  # without it Excel takes UTF-8 for the code page of its country
# what stands beside the students' folders
TAKEN = {"gradebook.csv", "index.html", "changes.csv", "class.json", "seed.txt"}
TAKEN |= {FILE, f"{FILE}-wal", f"{FILE}-shm"}
TAKEN |= {
    "roster.csv",
    "known_as.csv",
    "overrides.csv",
    "course.toml",
    "rules",
    "term.csv",
    "term.html",
    "likeness.html",
}
BY_HAND = ("comments", "overrides")  # columns, where somebody wrote any


def write_class(out: Path, names: Iterable[str]) -> list[dict]:
    """Write gradebook.csv, changes.csv, index.html and class.json (who is in the class) for these students
    from their records; returns their grades, in the order of the names."""
    names = sorted(names)
    grades, details, changes = [], {}, {}
    for name in names:
        record = load(out / name)
        if record is None:
            empty = {"earned": 0, "points": 0, "checks": {}, "why": ""}
            grades.append({"name": name, "status": NOT_YET} | empty)
            continue
        grades.append(grade_of(marked(record, out)))
        details[name] = record["detail"] if record["why"] else ""
        before = out / name / "before.json"
        if before.exists():
            old = json.loads(before.read_text(encoding="utf-8"))
            changes[name] = differences(old, grade_of(record))  # of the grading alone, without marks
    write(out / "class.json", to_json({"students": names}))
    write(out / "gradebook.csv", BOM + gradebook(grades))
    write(out / "index.html", class_page(grades, details, changes))
    table = [["name", "what", "old", "new"]]
    table += [[name, *one] for name, differing in sorted(changes.items()) for one in differing]
    lines = io.StringIO()
    csv.writer(lines).writerows([[defused(cell) for cell in row] for row in table])
    write(out / "changes.csv", BOM + lines.getvalue())
    return grades


def students_of(out: Path) -> list[str]:
    """Who was in the class when it was graded last; where nobody has written that, who has a record. Who is
    gone keeps a folder, and is in no gradebook."""
    try:
        names = json.loads((out / "class.json").read_text(encoding="utf-8"))["students"]
        return [name for name in names if isinstance(name, str) and "/" not in name]
    except (OSError, ValueError, LookupError, TypeError):
        return sorted(path.parent.name for path in out.glob("*/record.json"))


def gradebook(grades: Iterable[dict]) -> str:
    """The gradebook as CSV (RFC 4180), a row a student, a column a check; before them, a row of what there
    is to earn.

    `labs` and `labs of` are the points of the labs, which are no part of `points`. A cell holds what a check
    earned; it is empty where a check could not be checked or was not asked: that is no 0. A submission that
    could not be graded has a status and a reason, and no points. `comments`, where somebody has read the
    answers, are what the readers said; `overrides`, what people decided, and why.
    """
    grades = sorted(grades, key=lambda grade: grade["name"])
    names = in_order({name: None for grade in grades for name in grade["checks"]})
    checks = {name: check for grade in grades for name, check in grade["checks"].items()}
    most = max((grade["points"] for grade in grades if grade["status"] == GRADED), default=0)
    told = [column for column in BY_HAND if any(column in grade for grade in grades)]
    labs = [grade["labs"]["points"] for grade in grades if "labs" in grade]
    of_labs, most_labs = (["labs", "labs of"], [f"{max(labs):g}"] * 2) if labs else ([], [])
    table = [["name", "status", "points", "of", *of_labs, *names, *told, "why"]]
    worth = (f"{checks[name]['points']:g}" for name in names)
    table.append([MAXIMUM, "", f"{most:g}", f"{most:g}", *most_labs, *worth, *("" for _ in told), ""])
    for grade in grades:
        points = [f"{grade['earned']:g}", f"{grade['points']:g}"] if grade["status"] == GRADED else ["", ""]
        if of_labs:
            points += [f"{grade['labs'][name]:g}" if "labs" in grade else "" for name in ("earned", "points")]
        cells = [_cell(grade["checks"].get(name)) for name in names]
        cells += [grade.get(column, "") for column in told]
        table.append([grade["name"], grade["status"], *points, *cells, grade["why"]])
    out = io.StringIO()
    csv.writer(out).writerows([[defused(cell) for cell in row] for row in table])
    return out.getvalue()


def _cell(check: dict | None) -> str:
    return "" if check is None or check["status"] == UNCHECKED else f"{check['earned']:g}"


def defused(cell: str) -> str:
    """The cell on one line; what a spreadsheet would take for a formula begins with an apostrophe."""
    cell = clean(cell)
    return f"'{cell}" if cell.lstrip().startswith(tuple("=+-@＝＋－＠")) else cell
