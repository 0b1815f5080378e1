"""What is known of a term: the roster, every attempt, what people decided, and what the rules make of it."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from checks.classroom.marks import read
from checks.classroom.records import grade_of, load
from checks.course.attempts import kept
from checks.course.overrides import FILE as OVERRIDES
from checks.course.overrides import Override, course_of
from checks.course.roster import FILE as ROSTER
from checks.course.roster import Roster, Student
from checks.course.tables import Unclear
from checks.kit.core import UNCHECKED
from checks.kit.grading import in_order
from checks.report.model import LABS, TITLES, clean
from checks.term.points import Attempt, Mark, Part, parts_of, rounded, worth_of
from checks.term.rules import Rules, nearest


@dataclass
class Book:
    """What stands in a folder of grades, before any rules. attempts: {ID: [Attempt]}, with those of a group
    for each of its members; folders: {ID: names of folders}; told: what fits nobody, a sentence each."""

    roster: Roster
    attempts: dict[str, list[Attempt]]
    folders: dict[str, list[str]]
    overrides: dict[tuple[str, str], Override]
    told: list[str] = field(default_factory=list)

    @cached_property
    def every(self) -> list[Attempt]:
        """All attempts, each once."""
        found = {(one.order, id(one)): one for told in self.attempts.values() for one in told}
        return [found[key] for key in sorted(found)]

    @cached_property
    def checks(self) -> dict[str, list[str]]:
        """{milestone: its checks}, in the order of a report."""
        names = in_order({name for one in self.every for marks in one.checks.values() for name in marks})
        found: dict[str, list[str]] = {name: [] for name in TITLES | LABS}
        for name in names:
            found.setdefault(name.partition(".")[0], []).append(name)
        return dict(sorted(found.items(), key=lambda one: one[0].replace("lab", "n")))  # m1 to m5, labs, read

    def decided(self, student: Student, what: str) -> Override | None:
        """What was decided for a student, else for the group."""
        found = [self.overrides.get((who, what)) for who in (student.id, student.group) if who]
        return next(filter(None, found), None)


def book_of(grades: Path) -> Book:
    """All that a folder of grades knows of a term. Raises Unclear where a file of it is not plain."""
    roster, overrides = course_of(grades)
    if roster is None:
        raise Unclear(
            f"{grades} has no {ROSTER}: put there who is in the course, with the columns id, name and "
            "group, or the list of participants of Moodle, or the gradebook of Canvas"
        )
    attempts: dict[str, list[Attempt]] = {one.id: [] for one in roster.students}
    folders: dict[str, list[str]] = {one.id: [] for one in roster.students}
    told = []
    for folder in sorted(path.parent for path in grades.glob("*/record.json")):
        try:
            students = roster.whose(folder.name)
        except Unclear as problem:
            told.append(f"{problem}")
            continue
        found = attempts_in(folder)
        for id_ in sorted({one.id for student in students for one in roster.team_of(student)}):
            attempts[id_] += found
            folders[id_].append(folder.name)
    book = Book(roster, attempts, folders, overrides, told)
    for one in roster.students:
        attempts[one.id] = [_with(book, one, attempt) for attempt in attempts[one.id]]
    _refuse_what_nobody_has(book, grades)
    return book


def attempts_in(folder: Path) -> list[Attempt]:
    """The attempts of a folder; the one of its record with the marks of who read its answers."""
    record, found = load(folder), kept(folder)
    grade = grade_of(read(record, folder.parent)) if record else None
    if grade and grade["submission"] not in {one["grade"]["submission"] for one in found}:
        found.append({"at": "", "source": "", "grade": grade})  # graded before attempts were kept
    return [
        Attempt(
            datetime.fromisoformat(one["at"]) if one["at"] else None,
            f"{folder.name} {one['grade']['submission']}",
            _marks(grade if grade and grade["submission"] == one["grade"]["submission"] else one["grade"]),
            0 if one["at"] else place,
        )
        for place, one in enumerate(found)
    ]


def exact(points: float) -> Fraction:
    """Points as they are written: 0.1 is a tenth."""
    return Fraction(str(points))


def _marks(grade: dict) -> dict[str, dict[str, Mark]]:
    found: dict[str, dict[str, Mark]] = {}
    for name, one in grade["checks"].items():
        earned = None if one["status"] == UNCHECKED else exact(one["earned"])
        found.setdefault(name.partition(".")[0], {})[name] = Mark(earned, exact(one["points"]))
    return found


def _with(book: Book, student: Student, attempt: Attempt) -> Attempt:
    """The attempt with the points of checks that somebody decided on."""
    decided = {
        name: one.points
        for marks in attempt.checks.values()
        for name in marks
        if (one := book.decided(student, name))
    }
    if not decided:
        return attempt
    checks = {
        milestone: {name: Mark(decided.get(name, mark.earned), mark.points) for name, mark in marks.items()}
        for milestone, marks in attempt.checks.items()
    }
    return replace(attempt, checks=checks)


def _refuse_what_nobody_has(book: Book, grades: Path) -> None:
    file, points = grades / OVERRIDES, {}
    for one in book.every:
        points |= {name: mark.points for marks in one.checks.values() for name, mark in marks.items()}
    for (who, what), one in sorted(book.overrides.items()):
        if not book.roster.called(who):
            raise Unclear(f"{file}: {clean(who)!r} is no ID and no group of {ROSTER}: write one of these")
        if what in points:
            if one.points > points[what]:
                raise Unclear(
                    f"{file}: {clean(who)} has {rounded(one.points, 6)} points for {what}, which is worth "
                    f"{rounded(points[what], 6)}: write no more than that"
                )
        elif what not in book.checks:
            raise Unclear(
                f"{file}: {clean(what)!r} is no milestone and no check: "
                f"{nearest(what, {*book.checks, *points})}"
            )


# ---- With rules ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """A student under the rules: {milestone: Part}, and all points together."""

    student: Student
    parts: dict[str, Part]

    @property
    def points(self) -> Fraction:
        """All points."""
        return sum((one.points or Fraction(0) for one in self.parts.values()), Fraction(0))

    @property
    def grace(self) -> int:
        """How many grace days are spent."""
        return sum(one.grace for one in self.parts.values())


@dataclass(frozen=True)
class Term:
    """worth: {milestone that counts: points there are}; standings: in the order of the roster."""

    book: Book
    rules: Rules
    worth: dict[str, Fraction]
    standings: tuple[Standing, ...]

    @property
    def of(self) -> Fraction:
        """The points there are, without a bonus."""
        return sum((of for name, of in self.worth.items() if not self.rules.of(name).bonus), Fraction(0))

    def shown(self, points: Fraction | None) -> str:
        """Points as the rules round them."""
        return rounded(points, self.rules.decimals)


def term_of(book: Book, rules: Rules) -> Term:
    """The term under these rules."""
    names = [name for name in book.checks if rules.of(name) and (book.checks[name] or rules.milestones)]
    names += sorted(set(rules.milestones or ()) - set(names))
    worth = {name: worth_of(name, rules, book.every) for name in names}
    standings = []
    for student in book.roster.students:
        by_hand = {name: one.points for name in names if (one := book.decided(student, name))}
        called = filter(None, (student.id, student.group))
        parts = parts_of(book.attempts[student.id], rules, worth, called, by_hand)
        standings.append(Standing(student, parts))
    return Term(book, rules, worth, tuple(standings))


def allowed(term: Term) -> Term:
    """The term, where nobody decided on more points than a milestone is worth. Raises Unclear."""
    for one in term.standings:
        for name, part in one.parts.items():
            if part.by_hand and part.points > part.of:
                raise Unclear(
                    f"{OVERRIDES}: {one.student.id} has {rounded(part.points, 6)} points for {name}, "
                    f"which is worth {rounded(part.of, 6)}: write no more than that"
                )
    return term
