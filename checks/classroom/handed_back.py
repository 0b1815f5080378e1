"""What a class earned, as its platform takes it back: the files that it lets one download, filled."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from checks.classroom.marks import marked
from checks.classroom.records import GRADED, grade_of, load, write
from checks.exchange.canvas import Gradebook
from checks.exchange.moodle import Worksheet, feedback_zip, folder_of
from checks.exchange.pairs import Grade, pairs
from checks.exchange.table import Refused
from checks.report.files import prepare

FEEDBACK = "feedback.zip"
REPORT = "report.html"


@dataclass(frozen=True)
class HandedBack:
    """files: to upload; told: what was not written, each a sentence with the remedy; others: the names of
    those in the platform's file who are not in the class: nothing of theirs changed."""

    files: tuple[Path, ...]
    told: tuple[str, ...]
    others: tuple[str, ...]


def grades_of(out: Path, names: Iterable[str]) -> tuple[dict[str, Grade], Decimal]:
    """{student: points and comment} of a graded class, and how many points there are without a bonus. Who
    could not be graded has no points, and a comment that says why."""
    grades, most = {}, Decimal(0)
    for name in names:
        if not (record := load(out / name)):
            continue
        grade = grade_of(marked(record, out))
        graded = grade["status"] == GRADED
        why = grade["why"] and f"{'Not all was graded' if graded else 'Could not be graded'}: {grade['why']}."
        comment = "\n".join(filter(None, (why, grade.get("comments", ""))))
        grades[name] = Grade(_points(grade["earned"]) if graded else None, comment)
        most = max(most, _points(grade["points"])) if graded else most
    return grades, most


def to_moodle(
    reports: dict[str, Path],
    grades: dict[str, Grade],
    most: Decimal,
    sheet: Path,
    into: Path,
    how: str,
    replace: bool,
) -> HandedBack:
    """Fill Moodle's grading worksheet, and pack the reports of students, into a folder. how: see
    `brought_to`. Raises Refused, and OSError where nothing can be read or written."""
    worksheet = Worksheet(sheet.read_bytes(), sheet.name)
    grades = brought_to(worksheet.maximum, grades, most, how, sheet.name)
    told, others = worksheet.fill(grades, replace)
    found, _ = pairs(grades, worksheet.people, sheet.name)
    packed = {folder_of(person): reports[one] for one, person in found.items() if one in reports}
    files = {
        into / sheet.name: worksheet.table.bytes(),
        into / FEEDBACK: feedback_zip({name: path for name, path in packed.items() if path.exists()}),
    }
    return HandedBack(_written(files), tuple(told), tuple(others))


def to_canvas(
    grades: dict[str, Grade], most: Decimal, book: Path, assignment: str, into: Path, how: str, replace: bool
) -> HandedBack:
    """Fill the column of an assignment in Canvas's gradebook, into a folder. Raises as `to_moodle`."""
    gradebook = Gradebook(book.read_bytes(), book.name, assignment)
    grades = brought_to(gradebook.maximum, grades, most, how, book.name)
    told, others = gradebook.fill(grades, replace)
    return HandedBack(_written({into / book.name: gradebook.table.bytes()}), tuple(told), tuple(others))


def brought_to(
    maximum: Decimal, grades: dict[str, Grade], most: Decimal, how: str, name: str
) -> dict[str, Grade]:
    """The grades as points out of maximum, where the class has them out of `most`. how: "scale" for the same
    share, "keep" for the same points; "" where both are the same. Raises Refused."""
    if how == "scale" and maximum and most:
        return {student: grade.scaled(maximum / most) for student, grade in grades.items()}
    if how != "keep" and most and maximum != most:
        raise Refused(
            f"{name} has {maximum:f} points to earn, and the class {most:f}: add --points scale for the same "
            "share of them, or --points keep for the same points"
        )
    return grades


def _points(earned: float) -> Decimal:
    return Decimal(str(round(earned, 6))).normalize()


def _written(files: dict[Path, bytes]) -> tuple[Path, ...]:
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:  # the same is what a crash left
            raise Refused(f"{path} is there already: move it away, or name another folder with --out")
    for path, content in files.items():
        prepare(path.parent)
        write(path, content)
    return tuple(files)
