"""The rules of a course, as course.toml beside the grades says them; what is not plain is refused by name.

Times without an offset are those of the course's zone. Of an hour that the clock shows twice the later one
counts, and a time that it leaves out lies after the gap: nobody is late because of it. Numbers are exact.
"""

import tomllib
import zoneinfo
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path

from checks.course.roster import Roster
from checks.course.tables import Unclear, read
from checks.report.model import BONUS, clean, is_lab

FILE = "course.toml"


@dataclass(frozen=True)
class Milestone:
    """due: None where nothing is late; worth: points for all of it, None: those of its checks; bonus: on top
    of what there is to earn; drop: names of checks that do not count; drop_lowest: how many do not of those
    that cost a student most."""

    due: date | None = None
    worth: Fraction | None = None
    bonus: bool = False
    drop: tuple[str, ...] = ()
    drop_lowest: int = 0


@dataclass(frozen=True)
class Late:
    """grace: days a student may be late at no cost, over the whole term; points, percent: what a day costs,
    in points or in percent of the milestone's worth; days: later than this counts nothing, None: no end."""

    grace: int = 0
    points: Fraction = Fraction(0)
    percent: Fraction = Fraction(0)
    days: int | None = None


@dataclass(frozen=True)
class Extension:
    """Until when a student or a group may hand in milestones, () for all."""

    who: str
    until: date
    milestones: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Rules:
    """milestones: those that count, by name; None: all that were graded but labs, with their own
    points."""

    title: str = ""
    zone: zoneinfo.ZoneInfo | None = None
    last: bool = False  # the last attempt counts, else the best
    decimals: int = 2
    late: Late = Late()
    milestones: dict[str, Milestone] | None = None
    extensions: tuple[Extension, ...] = ()

    def of(self, milestone: str) -> Milestone | None:
        """What holds for a milestone; None where it does not count."""
        if self.milestones is None:
            return None if is_lab(milestone) else Milestone(bonus=milestone in BONUS)
        return self.milestones.get(milestone)

    def due(self, milestone: str, who: Iterable[str] = ()) -> date | None:
        """When a milestone is due for who is called one of these; of several extensions the latest holds."""
        rule, names = self.of(milestone), set(who)
        if rule is None or rule.due is None:
            return None
        told = [one.until for one in self.extensions if one.who in names and covers(one, milestone)]
        return max([rule.due, *told], key=lambda one: moment(one, self.zone))

    def days_late(self, received: datetime | None, due: date | None) -> int:
        """How many days after a due date, each begun one whole; a day lasts until the clock shows the same
        again. Of an unknown time nobody says that it is late."""
        if received is None or due is None or received <= moment(due, self.zone):
            return 0
        start = wall(due, self.zone)
        days = max(1, (received.astimezone(self.zone).replace(tzinfo=None) - start).days)
        while received > moment(start + timedelta(days), self.zone):
            days += 1
        return days


def covers(extension: Extension, milestone: str) -> bool:
    """Whether an extension is for this milestone."""
    return not extension.milestones or milestone in extension.milestones


def wall(due: date, zone: zoneinfo.ZoneInfo | None) -> datetime:
    """The time that a clock on the wall shows; a date ends with its day."""
    if not isinstance(due, datetime):
        return datetime.combine(due + timedelta(1), time())
    return due.astimezone(zone).replace(tzinfo=None) if due.tzinfo else due


def moment(due: date, zone: zoneinfo.ZoneInfo | None) -> datetime:
    """The moment in UTC; of two the later one."""
    if isinstance(due, datetime) and due.tzinfo:
        return due.astimezone(UTC)
    shown = wall(due, zone).replace(tzinfo=zone or UTC)
    return max(shown.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


# ---- Reading ---------------------------------------------------------------------------------------------


class Wrong(Exception):
    """A value that is none of its key; the message says what would be one."""


def rules_of(file: Path) -> Rules:
    """The rules in a file. Raises Unclear."""
    return parsed(read(file), file.name)


def zone_in(grades: Path) -> zoneinfo.ZoneInfo | None:
    """The zone of the course whose grades these are; None where no rules say it. Raises Unclear."""
    return rules_of(grades / FILE).zone if (grades / FILE).exists() else None


def parsed(text: str, name: str = FILE) -> Rules:
    """The rules that stand in a text. Raises Unclear; name: of its file."""
    try:
        told = tomllib.loads(text.replace("\r\n", "\n"), parse_float=Decimal)
    except tomllib.TOMLDecodeError as problem:
        raise Unclear(f"{name}: {problem}: it is written as key = value, as checks/README.md shows") from None
    values = _table(told, KEYS, name, "")
    values["late"] = Late(**_table(values.get("late", {}), LATE, name, "[late]"))
    if values["late"].points and values["late"].percent:
        raise Unclear(f"{name}: [late] has both points and percent: keep one of them")
    if "milestones" in values:
        values["milestones"] = {
            key: Milestone(**{"bonus": key in BONUS} | _table(one, MILESTONE, name, f"[milestone.{key}]"))
            for key, one in sorted(values["milestones"].items())
        }
    values["extensions"] = tuple(_extension(one, name) for one in values.get("extensions", ()))
    rules = Rules(**values)
    _refuse_what_does_not_fit(rules, name)
    return rules


def _table(told: object, keys: dict[str, tuple[str, Callable]], name: str, where: str) -> dict:
    if not isinstance(told, dict):
        raise Unclear(
            f"{name}: {where or 'it'} is a table: write {where or 'key = value'}, and its keys below it"
        )
    found = {}
    for key, value in told.items():
        if key not in keys:
            raise Unclear(f"{name}: {where and where + ' '}{clean(key)!r} is no rule: {nearest(key, keys)}")
        field_, check = keys[key]
        try:
            found[field_] = check(value)
        except Wrong as problem:
            raise Unclear(
                f"{name}: {where and where + ' '}{key} is {problem}, not {clean(str(value))!r}"
            ) from None
    return found


def nearest(said: str, known: Iterable[str]) -> str:
    """The remedy for a name that is none: the nearest one, and all there are."""
    known = sorted(known)
    close = get_close_matches(said, known, 1)
    meant = f"write {close[0]!r} if you meant that; " if close else ""
    return f"{meant}there are {', '.join(known) or 'none'}"


def _extension(told: object, name: str) -> Extension:
    found = _table(told, EXTENSION, name, "[[extension]]")
    for key in ("who", "until"):
        if key not in found:
            raise Unclear(f"{name}: an [[extension]] has no {key}: add it")
    return Extension(**found)


def _refuse_what_does_not_fit(rules: Rules, name: str) -> None:
    times = [one.due for one in (rules.milestones or {}).values() if one.due]
    if (times or rules.extensions) and rules.zone is None:
        raise Unclear(f'{name}: due dates need the zone of their clock: add zone = "Europe/Berlin", or yours')
    if rules.last and times and rules.late.days is None:
        raise Unclear(
            f'{name}: with attempt = "last", [late] days says how late one still counts: without it, what '
            "comes in for a later milestone would be late for all before; add it, be it days = 0"
        )
    for one in rules.extensions:
        for milestone in one.milestones or (rules.milestones or {}):
            rule = rules.of(milestone)
            if rule is None or rule.due is None:
                if one.milestones:
                    raise Unclear(
                        f"{name}: the extension of {one.who} is for {milestone}, which has no due date"
                    )
            elif one.milestones and moment(one.until, rules.zone) < moment(rule.due, rules.zone):
                raise Unclear(
                    f"{name}: the extension of {one.who} ends before {milestone} is due: write a later time"
                )


def fitted(rules: Rules, roster: Roster, checks: dict[str, Iterable[str]], name: str = FILE) -> Rules:
    """The rules, where all that they name is there. checks: {milestone: names of its checks}. Raises
    Unclear."""
    for one in rules.extensions:
        if not roster.called(one.who):
            known = [*(student.id for student in roster.students), *roster.groups]
            close = get_close_matches(one.who, known, 1)
            raise Unclear(
                f"{name}: an extension is for {clean(one.who)!r}, which is no ID and no group of the roster"
                + (f": write {clean(close[0])!r} if you meant that" if close else ": write one of these")
            )
    for milestone, rule in (rules.milestones or {}).items():
        if milestone not in checks:
            raise Unclear(
                f"{name}: [milestone.{clean(milestone)}] is none that is graded: {nearest(milestone, checks)}"
            )
        for check in rule.drop:
            if checks[milestone] and check not in checks[milestone]:
                raise Unclear(
                    f"{name}: [milestone.{milestone}] drops {clean(check)!r}, which is no check of it: "
                    f"{nearest(check, checks[milestone])}"
                )
    return rules


# ---- Values ----------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Wrong("a text in quotes")
    return value.strip()


def _zone(value: object) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(_text(value))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        close = get_close_matches(str(value), zoneinfo.available_timezones(), 1)
        raise Wrong(f"a time zone such as {close[0] if close else 'Europe/Berlin'!r}") from None


def _last(value: object) -> bool:
    if value not in ("best", "last"):
        raise Wrong('"best" or "last"')
    return value == "last"


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
        raise Wrong("a whole number from 0 to 1000")
    return value


def _number(value: object) -> Fraction:
    number = isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite()
    if not number or not 0 <= value <= 100_000:
        raise Wrong("a number from 0 on")
    return Fraction(value)


def _decimals(value: object) -> int:
    if _whole(value) > 6:
        raise Wrong("a whole number from 0 to 6")
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false")
    return value


def _when(value: object) -> date:
    if not isinstance(value, date) or not 2000 <= value.year <= 2100:
        raise Wrong(
            "a time without quotes, 2026-11-03T23:59:00, or a date, 2026-11-03, which ends at midnight"
        )
    return value


def _names(value: object) -> tuple[str, ...]:
    told = [value] if isinstance(value, str) else value
    if not isinstance(told, list) or not told or not all(isinstance(one, str) for one in told):
        raise Wrong('a name, or several: ["one", "two"]')
    return tuple(sorted(told))


def _dict(value: object) -> dict:
    if not isinstance(value, dict):
        raise Wrong("a table, with its name in brackets: [late], [milestone.m1]")
    return value


def _list(value: object) -> list:
    if not isinstance(value, list):
        raise Wrong("a table in two brackets, one for each: [[extension]]")
    return value


KEYS = {
    "title": ("title", _text),
    "zone": ("zone", _zone),
    "attempt": ("last", _last),
    "decimals": ("decimals", _decimals),
    "late": ("late", _dict),
    "milestone": ("milestones", _dict),
    "extension": ("extensions", _list),
}
LATE = {
    "grace-days": ("grace", _whole),
    "points": ("points", _number),
    "percent": ("percent", _number),
    "days": ("days", _whole),
}
MILESTONE = {
    "due": ("due", _when),
    "worth": ("worth", _number),
    "bonus": ("bonus", _bool),
    "drop": ("drop", _names),
    "drop-lowest": ("drop_lowest", _whole),
}
EXTENSION = {
    "who": ("who", _text),
    "milestone": ("milestones", _names),
    "until": ("until", _when),
    "reason": ("reason", _text),
}
