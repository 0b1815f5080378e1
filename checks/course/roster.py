"""Who is in the course: roster.csv beside the grades, and whose submission is whose.

A roster is a table with the columns id, name, group and email; or a list of participants or grades of
Moodle's, or its grading worksheet, or a gradebook or a list of groups of Canvas's, as it is. Nobody is
guessed: what fits no student, or two, is said, and a row `submission,student` in known_as.csv settles it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from checks.course.tables import Unclear, need, table_of
from checks.report.model import clean

FILE, KNOWN_AS = "roster.csv", "known_as.csv"
SHORTEST = 4  # characters of an ID or a group that says something in the middle of a longer name


@dataclass(frozen=True)
class Student:
    """id: the one of the roster, of which there is one; group: whose members share a grade, or "";
    also: other names that the LMS has for the same student (its own number, a login)."""

    id: str
    name: str
    email: str = ""
    group: str = ""
    also: tuple[str, ...] = ()


# ---- Rosters ---------------------------------------------------------------------------------------------


def roster_of(grades: Path) -> "Roster":
    """The roster beside the grades. Raises Unclear where there is none, or not a plain one."""
    file, known = grades / FILE, {}
    students = students_of(file)
    if (grades / KNOWN_AS).exists():
        rows = table_of(grades / KNOWN_AS)
        need(rows, ("submission", "student"), grades / KNOWN_AS)
        known = {row["submission"]: row["student"] for row in rows}
    return Roster(students, known, file)


def students_of(file: Path) -> list[Student]:
    """The students of a table: our own, Moodle's or Canvas's, by their columns. Raises Unclear."""
    rows = table_of(file)
    columns = set(rows[0]) if rows else set()
    if {"first name", "email address"} <= columns:
        return [_of_moodle(row) for row in rows]
    if {"identifier", "full name"} <= columns:
        return [_of_worksheet(row) for row in rows]
    if {"student", "id", "section"} <= columns:
        return [_of_canvas(row) for row in rows if row["id"]]  # other rows are "Points Possible" and the like
    if {"name", "canvas_user_id", "group_name"} <= columns:
        return [_of_canvas_groups(row) for row in rows]
    need(rows, ("id", "name"), file)
    return [Student(row["id"], row["name"], row.get("email", ""), row.get("group", "")) for row in rows]


def _of_moodle(row: dict[str, str]) -> Student:
    """A row of Participants, "Download table data as", or of Grades, Export, Plain text file
    (https://docs.moodle.org/en/Grade_export); the address is the ID where there is no ID number."""
    name = f"{row['first name']} {row.get('last name') or row.get('surname', '')}".strip()
    email = row["email address"]
    return Student(row.get("id number") or email, name, email, row.get("groups") or row.get("group", ""))


def _of_worksheet(row: dict[str, str]) -> Student:
    """A row of an assignment's "Download grading worksheet" (https://docs.moodle.org/en/Using_Assignment).
    Its Identifier is another one in each assignment, and counts where there is nothing else."""
    email = row.get("email address", "")
    id_ = row.get("id number") or email or row["identifier"]
    return Student(id_, row["full name"], email, row.get("group", ""))


def _of_canvas(row: dict[str, str]) -> Student:
    """A row of Grades, Export (https://github.com/instructure/canvas-lms, lib/gradebook_exporter.rb). Its
    files are named by Canvas's own ID."""
    last, _, first = row["student"].partition(",")
    email = login if "@" in (login := row.get("sis login id", "")) else ""
    also = tuple(filter(None, (row["id"], login)))
    name = f"{first.strip()} {last.strip()}".strip()
    return Student(row.get("sis user id") or row["id"], name, email, row.get("group name", ""), also)


def _of_canvas_groups(row: dict[str, str]) -> Student:
    """A row of People, a group set, "Download group category roster CSV"
    (https://developerdocs.instructure.com/services/canvas/group-categories/file.group_category_csv)."""
    told = {"student": row["name"], "id": row["canvas_user_id"], "group name": row["group_name"]}
    return _of_canvas(told | {"sis user id": row.get("user_id", ""), "sis login id": row.get("login_id", "")})


# ---- Whose is it -----------------------------------------------------------------------------------------


def words(text: str) -> tuple[str, ...]:
    """The words of a name, without accents and case: "Müller-Rau, Jörg" → muller, rau, jorg."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(one for one in plain if not unicodedata.combining(one)).casefold()
    return tuple(re.findall(r"[^\W_]+", plain))


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    """Whether these words stand in a row among the others."""
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def _turns(name: tuple[str, ...]) -> set[tuple[str, ...]]:
    """A name with its last words first, however many they are: ada lovelace, lovelace ada."""
    return {name[place:] + name[:place] for place in range(len(name))}


def _is_group(group: tuple[str, ...], said: tuple[str, ...], alone: tuple[str, ...]) -> bool:
    """Whether a submission is a group's: alone is its name without a number, in which Canvas joins words."""
    joined = "".join(group)
    return group in (said, alone) or (joined,) == alone or (len(joined) >= SHORTEST and _within(group, said))


class _Names:
    """What a student is called."""

    def __init__(self, student: Student):
        told = {student.id, student.email, student.email.partition("@")[0], *student.also}
        self.ids = set(filter(None, map(words, told)))
        self.names = _turns(words(student.name))
        self.joined = {"".join(name) for name in self.names}

    def is_named(self, said: tuple[str, ...]) -> bool:
        """Whether this is the name, and nothing else: "Ada Lovelace", or "lovelaceada" as Canvas has it."""
        return bool(said) and (said in self.names or (len(said) == 1 and said[0] in self.joined))

    def is_within(self, said: tuple[str, ...]) -> bool:
        """Whether the whole name stands somewhere in it; one word alone may be anything."""
        return any(len(name) > 1 and (_within(name, said) or "".join(name) in said) for name in self.names)

    def has_id(self, said: tuple[str, ...], shortest: int) -> bool:
        """Whether an ID stands in it, and is long enough to be no chance."""
        return any(len("".join(one)) >= shortest and _within(one, said) for one in self.ids)


class Roster:
    """The students of a course. known: {name of a submission: ID of its student, or its group}."""

    def __init__(
        self, students: Iterable[Student], known: dict[str, str] | None = None, file: Path = Path(FILE)
    ):
        self.students = tuple(sorted(students, key=lambda one: one.id))
        self.known = known or {}
        for one in self.students:
            if not one.id or not one.name:
                raise Unclear(
                    f"{file}: {clean(one.name or one.id)!r} has no {'name' if one.id else 'ID'}: add it"
                )
            if re.fullmatch(r"\d[.,]\d+E\+\d+", one.id):
                raise Unclear(
                    f"{file}: the ID {one.id} was cut by a spreadsheet: format that column as text, and "
                    "paste it again"
                )
        for id_, count in Counter(one.id for one in self.students).items():
            if count > 1:
                raise Unclear(
                    f"{file}: the ID {clean(id_)} stands there {count} times: keep one row a student"
                )
        for submission, who in self.known.items():
            if not self.called(who):
                raise Unclear(
                    f"{KNOWN_AS}: {clean(who)!r}, whose {clean(submission)!r} is to be, is no ID and no "
                    f"group of {file.name}"
                )

    @cached_property
    def groups(self) -> dict[str, tuple[Student, ...]]:
        """{group: its members}."""
        found: dict[str, tuple[Student, ...]] = {}
        for one in self.students:
            if one.group:
                found[one.group] = (*found.get(one.group, ()), one)
        return found

    @cached_property
    def _names(self) -> list[tuple[Student, _Names]]:
        return [(one, _Names(one)) for one in self.students]

    def called(self, who: str) -> tuple[Student, ...]:
        """The student with this ID, or the members of the group; () where there is neither."""
        return tuple(one for one in self.students if one.id == who) or self.groups.get(who, ())

    def team_of(self, student: Student) -> tuple[Student, ...]:
        """The student, and who shares the grade."""
        return self.groups[student.group] if student.group else (student,)

    def whose(self, submission: str) -> tuple[Student, ...]:
        """The student of a submission with this name, or the members of its group. Raises Unclear."""
        if submission not in self._whose:  # asked a few times for each, and each compares it with everybody
            self._whose[submission] = self._search(submission)
        return self._whose[submission]

    @cached_property
    def _whose(self) -> dict[str, tuple[Student, ...]]:
        return {}

    def _search(self, submission: str) -> tuple[Student, ...]:
        if submission in self.known:
            return self.called(self.known[submission])
        # the number behind a name of several words is Moodle's, and another one in each assignment
        said = words(re.sub(r"(?<=\s)(\S+)_\d+$", r"\1", submission))
        named = [one for one, names in self._names if names.is_named(said) or names.is_named(said[:-1])]
        named = named or [one for one, names in self._names if names.is_within(said)]
        by_id = [one for one, names in self._names if said in names.ids or names.has_id(said, SHORTEST)]
        if len(named) > 1:  # of two of that name, even a short ID says which
            by_id = [one for one, names in self._names if one in named and names.has_id(said, 1)] or by_id
        both = [one for one in named if one in by_id]
        found = both if len(by_id) == 1 and both else sorted({*named, *by_id}, key=lambda one: one.id)
        if len(found) > 1:
            raise self._unclear(submission, f"fits {' and '.join(_shown(one) for one in found)}")
        alone = words(re.sub(r"_\d+$", "", submission))  # Moodle and Canvas give groups a number as well
        groups = [group for group in self.groups if _is_group(words(group), said, alone)]
        if found:
            if groups and found[0].group not in groups:
                raise self._unclear(submission, f"fits {_shown(found[0])} and the group {clean(groups[0])}")
            return tuple(found)
        if len(groups) > 1:
            raise self._unclear(submission, f"fits the groups {clean(' and '.join(sorted(groups)))}")
        if not groups:
            raise self._unclear(submission, "fits nobody of the roster")
        return self.groups[groups[0]]

    @staticmethod
    def _unclear(submission: str, what: str) -> Unclear:
        shown = clean(submission)
        return Unclear(f"{shown!r} {what}: write whose it is into {KNOWN_AS}, a row `submission,student`")


def _shown(student: Student) -> str:
    return clean(f"{student.name} ({student.id})")
