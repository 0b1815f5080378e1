"""What people decided about points: overrides.csv beside the grades, and its way into records.

A row is student (an ID, or a group), what (a milestone or a check), points, reason, by, when. Each has a
reason and a name, and survives every grading, for nothing of it is in a record. Of two rows about the same
the one with the later `when` holds. Points of a check are what it earned; points of a milestone are what
counts in the term.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from checks.course import roster
from checks.course.roster import Roster, roster_of
from checks.course.tables import Unclear, need, table_of
from checks.kit.core import FAILED, PASSED, Result
from checks.report.model import build, clean

FILE = "overrides.csv"
COLUMNS = ("student", "what", "points", "reason", "by", "when")


@dataclass(frozen=True, order=True)
class Override:
    """when: ISO 8601, as it was written; what: "m2", or "m2.a digit is classified"."""

    when: str
    student: str
    what: str
    points: Fraction
    reason: str
    by: str

    def __str__(self) -> str:
        return clean(f"{shown(self.points)} points by {self.by}, {self.when}: {self.reason}")


def shown(points: Fraction) -> str:
    """Points as they were written, without zeros at the end."""
    return f"{float(points):g}"


def overrides_of(grades: Path) -> dict[tuple[str, str], Override]:
    """{(student, what): what holds}. Raises Unclear."""
    file = grades / FILE
    if not file.exists():
        return {}
    rows = table_of(file)
    need(rows, COLUMNS, file)
    found: dict[tuple[str, str], Override] = {}
    for one in sorted(_override(row, file) for row in rows):
        before = found.get((one.student, one.what))
        if before and before.when == one.when and before != one:
            raise Unclear(
                f"{file}: {clean(one.student)} has two for {clean(one.what)} of {one.when}: keep one, or "
                "give the one that holds a later time (2026-11-02T14:30)"
            )
        found[one.student, one.what] = one
    return found


def _override(row: dict[str, str], file: Path) -> Override:
    about = (
        f"{file}: the row of {clean(row['student'] or 'nobody')!r} for {clean(row['what'] or 'nothing')!r}"
    )
    for column in COLUMNS:
        if not row[column]:
            raise Unclear(f"{about} has no {column}: every override has a student, a reason and a name")
    points = re.fullmatch(r"(\d{1,6})(?:[.,](\d{1,6}))?", row["points"], re.ASCII)
    if not points:
        raise Unclear(f"{about} has {clean(row['points'])!r} points: write a number from 0 on, such as 2.5")
    try:
        datetime.fromisoformat(row["when"])
    except ValueError:
        raise Unclear(
            f"{about} is of {clean(row['when'])!r}: write the day as 2026-11-02, or with a time: "
            "2026-11-02T14:30"
        ) from None
    texts = (clean(row[name]) for name in ("student", "what"))
    return Override(
        row["when"],
        *texts,
        Fraction(f"{points[1]}.{points[2] or 0}"),
        clean(row["reason"]),
        clean(row["by"]),
    )


# ---- Whose records they are about -----------------------------------------------------------------------


@lru_cache(maxsize=4)
def _course(grades: Path, state: tuple) -> tuple[Roster | None, dict[tuple[str, str], Override]]:
    return (roster_of(grades) if (grades / roster.FILE).exists() else None), overrides_of(grades)


def course_of(grades: Path) -> tuple[Roster | None, dict[tuple[str, str], Override]]:
    """The roster, where there is one, and the overrides, read again when a file of theirs changes. Raises
    Unclear."""
    files = [grades / name for name in (roster.FILE, roster.KNOWN_AS, FILE)]
    told = [(one.stat().st_mtime_ns, one.stat().st_size, one.stat().st_ino) for one in files if one.exists()]
    return _course(grades.resolve(), tuple(told))


def about(submission: str, grades: Path) -> dict[str, Override]:
    """{milestone or check: its override} for a submission of this name. Where several share it, only what
    was decided for all of them. Raises Unclear."""
    known, overrides = course_of(grades)
    if not overrides:
        return {}
    names = [submission]
    if known:
        try:
            students = known.whose(submission)
        except Unclear:  # the term says so; here nobody is guessed either
            return {}
        groups = {one.group for one in students}
        names = [*groups, *(students[0].id for _ in students[:1] if len(students) == 1)]
    return {what: one for name in names for (who, what), one in overrides.items() if who == name}


def decided(record: dict, grades: Path) -> dict:
    """The record with what people decided: each check has the points that it was given, and says why; what is
    about a whole milestone is a note, for it counts in the term. It stays as it is where nothing was. Raises
    Unclear."""
    found = about(record["name"], grades)
    if not found:
        return record
    report = record["report"]
    results = [_decided(Result(**told), found.get(told["name"])) for told in report["results"]]
    told = {one.name for one in results}
    notes = [f"{what}: {one}" for what, one in sorted(found.items()) if what not in told]
    titles = {one["name"]: one["title"] for one in report["milestones"]}
    report = report | build(report | {"planned": []}, results, report["finished"])
    for milestone in report["milestones"]:
        milestone["title"] = titles[milestone["name"]]
    return record | {
        "report": report,
        "notes": [*record["notes"], *notes],
        "overrides": "; ".join(f"{what}: {one}" for what, one in sorted(found.items())),
    }


def _decided(result: Result, one: Override | None) -> Result:
    if one is None:
        return result
    points = float(one.points)
    return Result(
        **vars(result)
        | {
            "earned": int(points) if points.is_integer() else points,
            "status": PASSED if points >= result.points else FAILED,
            "sentence": f"{result.sentence} ({one})",
            "reason": f"{one}" if points < result.points else "",
        }
    )
