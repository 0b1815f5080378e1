"""Who is who: the students of a class, and the people in a platform's file."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from checks.exchange.table import AGAIN, folded
from checks.report.model import clean

CALL = "call the folder of the submission by the e-mail address or the ID"


class Grade(NamedTuple):
    """What a student gets. points: None where there are none, which is no 0; comment: plain text."""

    points: Decimal | None
    comment: str = ""

    def scaled(self, factor: Decimal) -> "Grade":
        """The same share of another maximum, to the hundredth."""
        if self.points is None:
            return self
        return self._replace(points=(self.points * factor).quantize(Decimal("0.01"), ROUND_HALF_UP))


@dataclass(frozen=True)
class Person:
    """Somebody in a platform's file. row: in its table; number: the one in the names of the files that the
    platform lets one download; name: as it is read; known: names, addresses and IDs that are theirs."""

    row: int
    number: str
    name: str
    known: tuple[str, ...] = ()


def pairs(
    students: Iterable[str], people: Iterable[Person], file: str
) -> tuple[dict[str, Person], list[str]]:
    """{student: person}, and what is to be told of those without, each a sentence with the remedy.

    A student is called "Ada Lovelace_4711" after what the platform let one download: then the number decides,
    and nothing else, as no two people of a platform have the same; but that of a group of Moodle's may be
    somebody's who is not in it. Whoever is called otherwise is found by a name, a login, an e-mail address or
    an ID, if it is only one person's. Nobody is guessed.
    """
    students, people = sorted(students), list(people)
    of: dict[str, list[Person]] = {}
    for person in people:
        for key in {f"_{person.number}", *map(folded, _keys(person))} - {""}:
            of.setdefault(key, []).append(person)
    groups: dict[str, list[Person]] = {}  # what stands there beside a name: a group, or what is one person's
    for person in people:
        for key in set(map(folded, person.known)) - {"", folded(person.name)}:
            groups.setdefault(key, []).append(person)
    found: dict[str, Person] = {}
    told: list[tuple[str, str]] = []
    for student in students:
        number = re.search(r"_\d+$", student, re.ASCII)
        meant = of.get(number[0] if number else folded(student), [])
        called = folded(student[: number.start()]) if number else ""
        members = groups.get(called, [])
        if members and not any(person in members for person in meant):
            told.append((student, f"a group in {file}: --term gives all of its members their points"))
        elif len(meant) == 1:
            found[student] = meant[0]
        elif meant and number:
            told.append((student, f"more than once in {file}: {AGAIN}"))
        elif meant:
            told.append(
                (student, f"may be several people in {file}: {CALL} of the right one, and grade again")
            )
        elif number:
            told.append(
                (student, f"not in {file}: download that of the assignment whose submissions were graded")
            )
        else:
            told.append((student, f"not in {file}: {CALL} that stands there, and grade again"))
    twice = Counter(person.row for person in found.values())
    for row in sorted(row for row, count in twice.items() if count > 1):
        same = [student for student, person in found.items() if person.row == row]
        told.append((named(same), f"one person in {file}: keep the submission that counts, and grade again"))
        for student in same:
            del found[student]
    return found, grouped(told)


def _keys(person: Person) -> Iterable[str]:
    for text in (person.name, *person.known):
        yield text
        if "@" in text:
            yield text.partition("@")[0]


def with_grades(
    grades: Mapping[str, Grade], people: list[Person], file: str
) -> tuple[list[tuple[Person, Grade]], list[str], list[str]]:
    """`pairs` with the grades, in the order of the file; and, third, the names of those in the file who are
    not in the class."""
    found, told = pairs(grades, people, file)
    rows = {person.row for person in found.values()}
    matched = sorted(
        ((person, grades[student]) for student, person in found.items()), key=lambda one: one[0].row
    )
    return matched, told, [person.name for person in people if person.row not in rows]


def named(names: Iterable[str]) -> str:
    """These names, for a sentence: everybody's, for each may need a remedy."""
    return ", ".join(map(clean, names))


def grouped(told: Iterable[tuple[str, str]]) -> list[str]:
    """(who, what) as sentences: where the same holds for many, it is said once."""
    who_of: dict[str, list[str]] = {}
    for who, what in told:
        who_of.setdefault(what, []).append(who)
    return [f"{named(who)}: {what}" for what, who in who_of.items()]
