"""Canvas's gradebook, with the column of one assignment filled.

It comes from Grades, Export, and goes back with Import there:
https://community.canvaslms.com/t5/Instructor-Guide/How-do-I-import-grades-in-the-Gradebook/ta-p/807. What
stands in it is as Canvas itself writes and reads it (https://github.com/instructure/canvas-lms,
lib/gradebook_exporter.rb and lib/gradebook_importer.rb):

- The header, always in English: Student (or LastName, FirstName), ID, perhaps SIS User ID, SIS Login ID,
  perhaps Integration ID and Root Account, Section; columns of the course's own; "Block 5 (12345)" for each
  assignment with its ID; then those that Canvas calculates: "… Current Score", "… Final Grade" and more.
- Perhaps a row of what is posted by hand; then the row "Points Possible", with "(read only)" where nothing
  may be changed; then a row a student. "EX" is excused; "N/A" is not assigned to that student.
- Who imports it finds a student by ID, and an assignment by the ID in its header; another header would be a
  new assignment. An empty cell takes a grade away, so what we have no grade for keeps what it has.

Canvas has no comments in this file.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from checks.exchange.pairs import Grade, Person, grouped, named, with_grades
from checks.exchange.table import Refused, Table, number, written
from checks.report.model import clean

KNOWN = ("SIS User ID", "SIS Login ID", "Integration ID")
CALCULATED = re.compile("(Current|Final) (Score|Points|Grade)|Override (Score|Grade|Status)")
NOT_ASSIGNED = "N/A"
HELP = "export it in Canvas with Grades, Export, Export Entire Gradebook"


class Gradebook:
    """A gradebook, and the column of an assignment that is called by its name or by its ID.

    maximum: its points possible; people: a Person each. Raises Refused.
    """

    def __init__(self, data: bytes, name: str, assignment: str):
        self.table = table = Table(data, name)
        header = [cell.strip() for cell in table.rows[0]]
        names = 2 if header[:2] == ["LastName", "FirstName"] else 1
        if (
            header[names : names + 1] != ["ID"]
            or "Section" not in header
            or (names == 1 and header[0] != "Student")
        ):
            raise Refused(
                f"{name} is no gradebook of Canvas, which begins with Student, ID and Section: {HELP}"
            )
        possible = [row for row, cells in enumerate(table.rows) if "Points Possible" in cells[0]]
        if not possible:
            raise Refused(f"{name} has no row «Points Possible»: {HELP}")
        students = [
            row for row in range(possible[0] + 1, len(table.rows)) if any(map(str.strip, table.rows[row]))
        ]
        table.refuse_uneven([possible[0], *students])
        section = header.index("Section")
        self.possible = table.rows[possible[0]]
        self.column = self._find(header, section, assignment.strip())
        self.maximum = number(self.possible[self.column]) or Decimal(0)
        known = [header.index(one) for one in KNOWN if one in header]
        self.people = []
        for row in students:
            cells = table.rows[row]
            ids = tuple(cells[column] for column in known)
            self.people.append(Person(row, cells[names].strip(), ", ".join(filter(None, cells[:names])), ids))

    def fill(self, grades: Mapping[str, Grade], replace: bool = False) -> tuple[list[str], list[str]]:
        """As Worksheet.fill of moodle.py."""
        table, kept = self.table, []
        matched, told, others = with_grades(grades, self.people, table.name)
        for person, grade in matched:
            if grade.points is None:
                continue
            if table.rows[person.row][self.column].strip() == NOT_ASSIGNED:
                without = (
                    "the assignment is not theirs (N/A), so that Canvas would pass the grade over: assign it "
                    f"there, and export {table.name} again"
                )
                kept.append((person.name, without))
                continue
            text = written(grade.points, self.possible[self.column])
            if other := table.offer(person.row, self.column, text, replace):
                kept.append((f"{person.name} ({other})", table.kept(self.column)))
        return [*told, *grouped(kept)], others

    def _find(self, header: list[str], section: int, wanted: str) -> int:
        columns = [
            column
            for column in range(section + 1, len(header))
            if number(self.possible[column]) is not None and not CALCULATED.search(header[column])
        ]
        titles = {column: re.fullmatch(r"(.*?)\s*\((\d+)\)", header[column], re.DOTALL) for column in columns}
        exact = [column for column in columns if wanted == header[column]]
        by_id = [column for column, title in titles.items() if title and wanted.strip("()") == title[2]]
        by_name = [
            column for column, title in titles.items() if title and wanted.casefold() == title[1].casefold()
        ]
        found = exact or by_id or by_name
        if len(found) == 1:
            return found[0]
        there = named(header[column] for column in found or columns) or "none"
        if found:
            raise Refused(
                f"{self.table.name} has {len(found)} assignments «{clean(wanted)}»: name one by its ID with "
                f"--assignment, of {there}"
            )
        raise Refused(
            f"{self.table.name} has no assignment «{clean(wanted)}» that can be filled: name one with "
            f"--assignment, of {there}"
        )
