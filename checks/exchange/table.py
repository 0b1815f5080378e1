"""A CSV file in which only the cells that are set change: every other byte stays as it was downloaded.

RFC 4180 with the liberties that platforms take: a BOM, semicolons or tabs instead of commas, any line end.
"""

import re
import unicodedata
from decimal import Decimal

from checks.report.model import clean

BOM = b"\xef\xbb\xbf"
DELIMITERS = ",;\t"
AGAIN = "download it again, and do not save it with a spreadsheet before"


class Refused(Exception):
    """A file that cannot be taken as it is. The message: why, and the remedy."""


class Table:
    """rows[0] is the header; a row is a list of texts. Blank lines are no rows. Raises Refused."""

    def __init__(self, data: bytes, name: str):
        self.name, self.bom = name, data.startswith(BOM)
        try:
            text = data.removeprefix(BOM).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"{name} is not UTF-8: {AGAIN}") from None
        first = text.lstrip("\r\n").split("\n")[0]
        self.delimiter = max(DELIMITERS, key=first.count)
        self._pieces = _pieces(text, self.delimiter, name)  # rows of [cell as it is written, what follows it]
        self._filled = [row for row in self._pieces if len(row) > 1 or row[0][0].strip()]
        self.rows = [[_read(cell) for cell, _ in row] for row in self._filled]
        if not self.rows:
            raise Refused(f"{name} is empty: {AGAIN}")

    def line(self, row: int) -> int:
        """The number of the line on which a row begins, as an editor counts."""
        before = self._pieces[: next(n for n, one in enumerate(self._pieces) if one is self._filled[row])]
        return 1 + len(re.findall("\r\n|\r|\n", "".join(cell + end for one in before for cell, end in one)))

    def refuse_uneven(self, rows) -> None:
        """Raises Refused where one of these rows has more or fewer cells than the header."""
        for row in rows:
            if len(self.rows[row]) != len(self.rows[0]):
                raise Refused(
                    f"line {self.line(row)} of {self.name} has {len(self.rows[row])} cells, and the header "
                    f"{len(self.rows[0])}: {AGAIN}"
                )

    def set(self, row: int, column: int, text: str) -> None:
        """Write a cell; in quotes where it needs them, or had them."""
        piece = self._filled[row][column]
        quoted = piece[0].startswith('"') or re.search(rf'["\r\n{self.delimiter}]|^\s|\s$', text)
        doubled = text.replace('"', '""')
        piece[0] = f'"{doubled}"' if quoted else text
        self.rows[row][column] = text

    def offer(self, row: int, column: int, text: str, replace: bool) -> str:
        """Write a cell where nothing else stands, or with replace; returns what stands there and what would,
        if it did not, or "". A number is the same with more zeros, and no text takes away what is there."""
        there = self.rows[row][column]
        same = there == text or (number(text) is not None and number(there) == number(text))
        if not text or same:
            return ""
        if there.strip() and not replace:
            return " → ".join(repr(clean(one)[:40]) for one in (there, text))
        self.set(row, column, text)
        return ""

    def kept(self, column: int) -> str:
        """Why `offer` did not write in this column, and the remedy."""
        return (
            f"{clean(self.rows[0][column])} in {self.name} is another one already: --replace writes over it"
        )

    def bytes(self) -> bytes:
        """The file."""
        text = "".join(cell + end for row in self._pieces for cell, end in row)
        return (BOM if self.bom else b"") + text.encode()


def _pieces(text: str, delimiter: str, name: str) -> list[list[list[str]]]:
    cell = re.compile(
        rf'("[^"]*(?:""[^"]*)*"|[^"{delimiter}\r\n][^{delimiter}\r\n]*|)({delimiter}|\r\n|\r|\n|\Z)'
    )
    rows, row, at = [], [], 0
    while at < len(text) or row:
        found = cell.match(text, at)
        if not found:
            line = 1 + text.count("\n", 0, at)
            raise Refused(f"line {line} of {name} has a quote that is out of place: {AGAIN}")
        row.append([*found.groups()])
        at = found.end()
        if found[2] != delimiter:
            rows.append(row)
            row = []
    return rows


def _read(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


# ---- What stands in the cells ----------------------------------------------------------------------------


def number(text: str) -> Decimal | None:
    """A number of points as a platform writes it, "85.00" or "85,00"; None for anything else."""
    found = re.fullmatch(r"\s*(\d+)(?:[.,](\d+))?\s*", text, re.ASCII)
    return Decimal(f"{found[1]}.{found[2] or 0}") if found else None


def written(points: Decimal, like: str) -> str:
    """Points without zeros at the end, with a comma where `like` has one."""
    text = f"{points:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(".", ",") if "," in like else text


def folded(text: str) -> str:
    """The same for "Lovelace, Ada" and "ada-lovelace": the words of a name, in one order."""
    words = re.split(r"[\W_]+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(sorted(filter(None, words)))
