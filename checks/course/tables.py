"""Tables as spreadsheets write them: what an instructor keeps beside the grades."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from checks.report.model import clean


class Unclear(Exception):
    """A file of the course does not say what it has to. The message names the file and the remedy."""


def text_of(data: bytes) -> str:
    """The text of a file that a spreadsheet wrote: UTF-8 or UTF-16, with or without a BOM, else cp1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def read(file: Path) -> str:
    """`text_of` a file. Raises Unclear where it cannot be read."""
    try:
        return text_of(file.read_bytes())
    except OSError as problem:
        raise Unclear(f"{file}: {problem.strerror or problem}: put it there, or make it readable") from None


def table_of(file: Path) -> list[dict[str, str]]:
    """The rows of a table by the names in its first row, in lower case; without spaces around the cells, and
    without empty rows. Commas, semicolons and tabs are told apart. Raises Unclear."""
    lines = read(file).splitlines(keepends=True)
    if lines and re.fullmatch(r"sep=.\s*", lines[0]):  # a word from Excel to itself
        lines = lines[1:]
    lines = io.StringIO("".join(lines), newline="").readlines()
    comma = max(",;\t", key=lambda one: len(next(csv.reader(lines, delimiter=one), [])))
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=comma)]
    except csv.Error as problem:
        raise Unclear(f"{file} is no table ({problem}): save it as CSV again") from None
    rows = [row for row in rows if any(row)]
    if not rows:
        raise Unclear(f"{file} is empty: its first row names its columns")
    header = [name.casefold() for name in rows[0]]
    return [dict(zip(header, [*row, *[""] * len(header)])) for row in rows[1:]]


def need(rows: list[dict[str, str]], columns: Iterable[str], file: Path) -> None:
    """Raises Unclear where a table lacks one of these columns."""
    if missing := [name for name in columns if rows and name not in rows[0]]:
        found = clean(", ".join(filter(None, rows[0])))
        raise Unclear(f"{file} has no column {', '.join(missing)}: name it in the first row (found: {found})")
