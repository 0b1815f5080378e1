"""A CSV file in which only what is set changes: all else stays byte by byte, and csv reads it alike."""

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.exchange.table import BOM, Refused, Table, folded, number, written

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
) | st.sampled_from(
    ["", "a,b", 'say "ä"', "two\nlines", "two\r\nlines", "=1+1", " spaces ", '"', "a;b", "\ta"]
)
TABLES = st.integers(2, 4).flatmap(
    lambda wide: st.lists(st.lists(TEXTS, min_size=wide, max_size=wide), min_size=1, max_size=4)
)
HEADER = ["Identifier", "Full name"]


def as_csv(rows: list[list[str]], **how) -> str:
    out = io.StringIO()
    csv.writer(out, **how).writerows(rows)
    return out.getvalue()


def read(data: bytes, **how) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), **how))


@settings(deadline=None)
@given(
    TABLES,
    # with "\n", csv of Python 3.11 puts no quotes around "\r"
    st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)]),
    st.booleans(),
    st.sampled_from(",;"),
)
def test_it_reads_what_csv_reads_and_writes_the_same_bytes(rows, how, bom, delimiter):
    names = [f"column {place}" for place, _ in enumerate(rows[0])]
    text = as_csv([names, *rows], lineterminator=how[0], quoting=how[1], delimiter=delimiter)
    data = (BOM if bom else b"") + text.encode()
    table = Table(data, "x.csv")
    assert table.rows == [names, *rows] and table.bytes() == data


@settings(deadline=None)
@given(TABLES, st.data())
def test_a_cell_that_is_set_is_read_back_and_no_other_changes(rows, data):
    names = [f"column {place}" for place, _ in enumerate(rows[0])]
    table = Table(as_csv([names, *rows]).encode(), "x.csv")
    row = data.draw(st.integers(1, len(rows)))
    column = data.draw(st.integers(0, len(names) - 1))
    text = data.draw(TEXTS)
    expected = [[*one] for one in [names, *rows]]
    expected[row][column] = text
    table.set(row, column, text)
    assert table.rows == expected and read(table.bytes()) == expected


def test_what_is_set_to_the_same_keeps_its_bytes():
    data = b'a,b\r\n"1",2\r\n'
    table = Table(data, "x.csv")
    table.set(1, 0, "1")
    assert table.bytes() == data
    table.set(1, 0, "3")
    assert table.bytes() == b'a,b\r\n"3",2\r\n'


def test_blank_lines_are_no_rows_and_stay():
    data = b"a\tb\n\n1\t2\n\n"
    table = Table(data, "x.csv")
    assert table.rows == [["a", "b"], ["1", "2"]] and table.bytes() == data
    assert table.line(1) == 3


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "x.csv is empty: download it again"),
        ("Müller,1\n".encode("cp1252"), "x.csv is not UTF-8: download it again"),
        (b'a,b\n"1" 2,3\n', "line 2 of x.csv has a quote that is out of place"),
        (b'a,b\n1,"2\n', "line 2 of x.csv has a quote that is out of place"),
    ],
)
def test_what_is_no_csv_file_is_refused_with_the_remedy(data, why):
    with pytest.raises(Refused, match=why):
        Table(data, "x.csv")


def test_a_row_of_another_length_is_named_by_its_line():
    table = Table(b'a,b\n"two\nlines",2\n3\n', "x.csv")
    with pytest.raises(Refused, match="line 4 of x.csv has 1 cells, and the header 2: download it again"):
        table.refuse_uneven([1, 2])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("85.50", "85.5"),
        ("85,50", "85.5"),
        ("7", "7"),
        ("", None),
        ("-", None),
        ("EX", None),
        ("1.000,5", None),
    ],
)
def test_a_number_is_read_in_both_spellings(text, value):
    assert number(text) == (value and Decimal(value))


def test_points_are_written_as_the_platform_writes_them():
    assert [written(Decimal(points), "100.00") for points in ("85.50", "1E+2", "0.00", "10")] == [
        "85.5",
        "100",
        "0",
        "10",
    ]
    assert written(Decimal("85.5"), "100,00") == "85,5"


def test_a_name_is_the_same_in_any_order_and_spelling():
    assert folded("Lovelace, Ada") == folded("ada-LOVELACE") == folded("Ada_Lovelace")
    assert folded("Jörg Müller") == folded("Jo\u0308rg Mu\u0308ller") != folded("Jorg Muller")
