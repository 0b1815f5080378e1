"""Reads a unit file as systemd reads it."""

import re
import shlex
from pathlib import Path

MAX_UNIT = 256 * 1024  # bytes of a unit file


class Unit:
    """A unit file, read as systemd reads it: see systemd.syntax(7).

    sections: {"Service": [("Restart", "always"), …], …}. problems: a sentence for every line that systemd
    would refuse or ignore. Raises ValueError where there is no file to read, and nothing else whatever stands
    in it.
    """

    def __init__(self, path):
        self.path = Path(path)
        try:
            content = self.path.open("rb").read(MAX_UNIT + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise ValueError(f"the unit file {path} cannot be read ({reason})") from None
        self.text = content[:MAX_UNIT].decode("utf-8", "surrogateescape")
        self.sections, self.problems = parse(self.text)
        if len(content) > MAX_UNIT:
            self.problems.append(f"it is longer than {MAX_UNIT // 1024} KiB")

    def begin(self, check=None) -> None:
        """A file has no state."""

    def all(self, section: str, key: str) -> list[str]:
        """The values of a key that may be repeated; an empty assignment forgets those before it."""
        values: list[str] = []
        for name, value in self.sections.get(section, []):
            if name == key and value:
                values.append(value)
            elif name == key and section != "Unit":  # dependencies are never forgotten
                values.clear()
        return values

    def get(self, section: str, key: str) -> str | None:
        """The value of a key, the last one where there are several; None where it is missing or empty."""
        values = [value for name, value in self.sections.get(section, []) if name == key]
        return values[-1] or None if values else None

    def words(self, section: str, key: str) -> list[str]:
        """The words of a key whose value is a list of words, without their quotes."""
        return [word for value in self.all(section, key) for word in split(value)]


def parse(text: str) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """The sections of a unit file and the problems in it; step by step as systemd's config_parse."""
    sections: dict[str, list[tuple[str, str]]] = {}
    problems: list[str] = []
    section = None
    for number, line in _logical_lines(text):
        if re.search("[\udc80-\udcff]", line):
            problems.append(f"line {number} is not UTF-8")
        elif line.startswith("["):
            if not line.endswith("]") or len(line) < 3:
                problems.append(f"line {number} starts a section but does not end with ]")
                break  # systemd, too, reads no further
            section = line[1:-1]
            sections.setdefault(section, [])
        elif section is None:
            problems.append(f"line {number} stands before the first section")
        else:
            key, equals, value = line.partition("=")
            if not equals:
                problems.append(f"line {number} has no = sign")
            elif not key.strip(BLANK):
                problems.append(f"line {number} has nothing before its = sign")
            else:
                sections[section].append((key.strip(BLANK), value.strip(BLANK)))
    return sections, problems


BLANK = " \t\n\r"


def _logical_lines(text: str):
    """(number, line) for every line that says something: without comments, with its continuations."""
    begun, first = [], 0
    for number, raw in enumerate(re.split(r"\r\n|\n\r|[\n\r\0]", text.removeprefix("\ufeff")), 1):
        piece = raw.lstrip(BLANK)
        if piece.startswith(("#", ";")):  # also in the middle of a continued line
            continue
        first = first if begun else number
        backslashes = len(piece) - len(piece.rstrip("\\"))
        if backslashes % 2:
            begun.append(piece[:-1] + " ")
            continue
        line, begun = "".join([*begun, piece]).strip(BLANK), []
        if line:
            yield first, line
    line = "".join(begun).strip(BLANK)
    if line:
        yield first, line


def split(value: str) -> list[str]:
    """The words of a value, without their quotes. Where a quote is not closed, the words as they stand."""
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


UNITS = {  # systemd.time(7)
    1e-6: ("usec", "us", "µs", "μs"),
    1e-3: ("msec", "ms"),
    1.0: ("seconds", "second", "sec", "s", ""),
    60.0: ("minutes", "minute", "min", "m"),
    3600.0: ("hours", "hour", "hr", "h"),
    86400.0: ("days", "day", "d"),
    7 * 86400.0: ("weeks", "week", "w"),
    2629800.0: ("months", "month", "M"),
    31557600.0: ("years", "year", "y"),
}
FACTORS = {name: factor for factor, names in UNITS.items() for name in names}
SPAN = re.compile(r"[ \t]*\+?(\d+\.\d+|\d+|\.\d+)(?![.\d])[ \t]*([a-zA-Zµμ]*)[ \t]*", re.A)


def time_span(text: str) -> float | None:
    """ "3", "3s", "500ms", "1min 2s" or "infinity" in seconds; None where systemd would not understand it."""
    if text.strip(BLANK) == "infinity":
        return float("inf")
    seconds, place = 0.0, 0
    while place < len(text) or not place:
        part = SPAN.match(text, place)
        if not part or part[2] not in FACTORS:
            return None
        seconds, place = seconds + float(part[1]) * FACTORS[part[2]], part.end()
    return seconds
