"""Moodle's offline grading worksheet, filled; and feedback files as the one zip that Moodle takes back.

An assignment with the feedback types "Offline grading worksheet" and "Feedback files" has, among its grading
actions, "Download grading worksheet", "Upload grading worksheet" and "Upload multiple feedback files in a
zip": https://docs.moodle.org/en/Using_Assignment. What stands in them is as Moodle itself reads and writes it
(https://github.com/moodle/moodle, in mod/assign):

- The columns, gradingtable.php: Identifier ("Participant 4711"), Full name, what identifies a user on that
  site (Email address, ID number …), Status, Grade, Maximum grade, Grade can be changed, Last modified
  (submission), Last modified (grade), Feedback comments; some of them, with more between them, and all in
  the language of who downloads. Where the grades are words of a scale, Scale stands for Maximum grade.
- Who uploads it (feedback/offline/importgradeslib.php) needs Identifier, Grade and Last modified (grade)
  under the same headers. Moodle passes over what has another date, is locked or is over the maximum, and says
  nothing (locallib.php there): so a file that is filled says it before.
- A comment is HTML (feedback/comments/locallib.php): written as such it is read back letter for letter, and
  no spreadsheet takes "&#61;" for the beginning of a formula.
- Of a feedback file the folder says whose it is: NAME_4711_assignsubmission_file_ (importziplib.php in
  feedback/file).
"""

import html
import io
import re
import zipfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from checks.exchange.pairs import Grade, Person, grouped, with_grades
from checks.exchange.table import Refused, Table, number, written

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
HELP = "download it with «Download grading worksheet» of the assignment, in English if need be"
LOCKED = "no"  # in "Grade can be changed"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # so that the same files are the same zip


class Worksheet:
    """A worksheet. grade, comment and may: its columns, None where there is none; maximum: the points that
    the assignment is worth; people: a Person each. Raises Refused."""

    def __init__(self, data: bytes, name: str):
        self.table = table = Table(data, name)
        table.refuse_uneven(range(len(table.rows)))
        header, rows = [cell.strip().casefold() for cell in table.rows[0]], table.rows[1:]
        identifiers = [re.fullmatch(r"(\D+)(\d+)", row[0].strip(), re.ASCII) for row in rows]
        if not rows or None in identifiers or len({found[1] for found in identifiers}) > 1:
            raise Refused(
                f"{name} is no grading worksheet of Moodle, whose first column is Identifier: {HELP}"
            )
        if "scale" in header and "maximum grade" not in header:
            raise Refused(
                f"{name} is of an assignment that grades with the words of a scale: set its grade type to "
                "Point, and download it again"
            )
        self.grade = _column_of_grades(table, header)
        self.maximum = number(rows[0][self.grade + 1])
        self.like = rows[0][self.grade + 1]
        self.comment = _column_of_comments(table, header, self.grade)
        self.may = header.index("grade can be changed") if "grade can be changed" in header else None
        self.people = [
            Person(place, found[2], row[1] if self.grade > 1 else row[0], tuple(row[1 : self.grade]))
            for place, (found, row) in enumerate(zip(identifiers, rows), 1)
        ]

    def fill(self, grades: Mapping[str, Grade], replace: bool = False) -> tuple[list[str], list[str]]:
        """Write what the students have; returns what was not written, each a sentence with the remedy, and
        the names of those who are not in the class. replace: also where something else stands already."""
        table = self.table
        matched, told, others = with_grades(grades, self.people, table.name)
        kept = []
        for person, grade in matched:
            if self.may is not None and table.rows[person.row][self.may].strip().casefold() == LOCKED:
                locked = f"the grade is locked in Moodle: unlock it there, and download {table.name} again"
                kept.append((person.name, locked))
                continue
            if grade.points is not None and grade.points > self.maximum:
                over = (
                    f"over the {self.maximum:f} points of {table.name}, so that Moodle would pass it over: "
                    "raise the maximum grade there, and download it again"
                )
                kept.append((f"{person.name} ({grade.points:f})", over))
                continue
            cells = {self.grade: "" if grade.points is None else written(grade.points, self.like)}
            if self.comment is not None:
                cells[self.comment] = as_html(grade.comment)
            for column, text in cells.items():
                if other := table.offer(person.row, column, text, replace):
                    kept.append((f"{person.name} ({other})", table.kept(column)))
        if self.comment is None and any(grade.comment for _, grade in matched):
            told.append(
                f"{table.name} has no column of comments, and they are not in it: switch on «Feedback "
                "comments» in the settings of the assignment, and download it again"
            )
        return [*told, *grouped(kept)], others


def as_html(comment: str) -> str:
    """A comment as HTML on one line, that no spreadsheet takes for a formula."""
    lines = [html.escape(line, quote=False) for line in comment.replace("\r\n", "\n").split("\n")]
    text = "<br>".join(lines)
    if found := FORMULA.match(text):
        sign = found.end() - 1
        text = f"{text[:sign]}&#{ord(text[sign])};{text[sign + 1 :]}"
    return text


def _column_of_grades(table: Table, header: list[str]) -> int:
    """The column before the maximum grade: by its header in English, else by what stands in both. Raises
    Refused."""
    if "maximum grade" in header and header.index("maximum grade") > 1:
        found = [header.index("maximum grade")]
    else:
        found = [column for column in range(2, len(header)) if _is_maximum(table.rows[1:], column)]
    if len(found) != 1 or not _is_maximum(table.rows[1:], found[0]):
        raise Refused(
            f"{table.name} does not show which column is Grade, with Maximum grade after it: {HELP}"
        )
    return found[0] - 1


def _is_maximum(rows: list[list[str]], column: int) -> bool:
    """Whether all have the same number there, and a grade up to it, or none, in the column before."""
    most = number(rows[0][column])
    grades = [Decimal(0) if not row[column - 1].strip() else number(row[column - 1]) for row in rows]
    same = all(row[column] == rows[0][column] for row in rows)
    return bool(most) and same and all(grade is not None and grade <= most for grade in grades)


def _column_of_comments(table: Table, header: list[str], grade: int) -> int | None:
    """By its header in English; else the last one, where it comes after times alone, and has none."""
    if "feedback comments" in header:
        return header.index("feedback comments")
    last = len(header) - 1
    if last - 1 <= grade + 1 or "last modified (grade)" in header:
        return None
    times = [all(_is_time(row[column]) for row in table.rows[1:]) for column in (last - 1, last)]
    return last if times == [True, False] else None


def _is_time(cell: str) -> bool:
    return cell.strip() == "-" or bool(re.search(r"\d.*\d[:.]\d\d", cell))


def feedback_zip(files: Mapping[str, Path]) -> bytes:
    """The zip to upload, {folder as Moodle names it: file in it}; the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for folder, path in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{folder}/{path.name}", LONG_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def folder_of(person: Person) -> str:
    """The folder of somebody's feedback files. Moodle splits it at "_", and reads the number alone."""
    name = re.sub(r'[_/\\:*?"<>|\x00-\x1f]+', " ", person.name).strip() or "Participant"
    return f"{name}_{person.number}_assignsubmission_file_"
