"""Canvas's gradebook, filled: one column changes, and every other byte is the one that came."""

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.exchange.canvas import Gradebook
from checks.exchange.pairs import Grade
from checks.exchange.table import BOM, Refused

HEADER = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Notes,Block 5 (12345),Lab (7),Lab (8),"
    "Assignments Current Score,Final Grade"
)
POSTED = ",,,,,,Manual Posting,,,,"
POSSIBLE = "    Points Possible,,,,,,94.00,10.00,10.00,(read only),(read only)"


def row(number: int, name: str, grade: str = "", notes: str = "") -> str:
    return f"{name},{number},s{number},login{number},Group 1,{notes},{grade},9.50,N/A,77.70,B"


ADA = row(123, '"Lovelace, Ada ""Ö."""', notes='"two\nlines, ""quoted"""')
ROWS = (HEADER, POSTED, POSSIBLE, ADA, row(124, '"Müller, Jörg"', "80.00"), row(125, '"=cmd, x"', "EX"))


def exported(*rows: str, end: str = "\n", bom: bytes = b"") -> bytes:
    return bom + "".join(f"{one}{end}" for one in rows or ROWS).encode()


def grade(points: str) -> Grade:
    return Grade(Decimal(points), "no comment has a place there")


def canvas_takes(data: bytes, assignment: int) -> dict[int, str]:
    """{ID: grade} as the importer reads them: by the IDs alone, students below Points Possible."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    column = next(place for place, title in enumerate(rows[0]) if title.endswith(f"({assignment})"))
    below = next(place for place, one in enumerate(rows) if "Points Possible" in one[0])
    return {int(one[1]): one[column] for one in rows[below + 1 :]}


@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_column_of_the_assignment_changes(bom, end):
    data = exported(end=end, bom=bom)
    book = Gradebook(data, "g.csv", "Block 5")
    assert book.maximum == 94
    told, others = book.fill({"lovelaceada_123": grade("85.5")})
    assert not told and others == ["Müller, Jörg", "=cmd, x"]
    filled = ADA.replace(',"two\nlines, ""quoted""",,', ',"two\nlines, ""quoted""",85.5,')
    assert filled != ADA
    assert book.table.bytes() == data.replace(ADA.encode(), filled.encode())
    assert canvas_takes(book.table.bytes(), 12345) == {123: "85.5", 124: "80.00", 125: "EX"}


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(",;"))
def test_whatever_the_names_are_canvas_gets_each_grade_where_it_belongs(names, delimiter):
    out = io.StringIO()
    rows = [HEADER.split(","), POSSIBLE.split(",")]
    rows += [[name, str(place), "", "", "", "", "", "", "", "", ""] for place, name in enumerate(names, 500)]
    csv.writer(out, delimiter=delimiter).writerows(rows)
    book = Gradebook(out.getvalue().encode(), "g.csv", "12345")
    assert book.fill({f"x_{place}": grade(str(place)) for place, _ in enumerate(names, 500)}) == ([], [])
    for place, one in enumerate(rows[2:], 500):
        one[6] = str(place)
    read = csv.reader(io.StringIO(book.table.bytes().decode(), newline=""), delimiter=delimiter)
    assert list(read) == rows


@pytest.mark.parametrize("called", ["Block 5", "block 5", "Block 5 (12345)", "12345", "(12345)"])
def test_an_assignment_is_called_by_its_name_or_its_id(called):
    assert Gradebook(exported(), "g.csv", called).column == 6


@pytest.mark.parametrize(
    ("called", "why"),
    [
        (
            "Lab",
            r"g.csv has 2 assignments «Lab»: name one by its ID with --assignment, of Lab \(7\), Lab \(8\)",
        ),
        (
            "Essay",
            r"no assignment «Essay» that can be filled: .*, of Block 5 \(12345\), Lab \(7\), Lab \(8\)",
        ),
        (
            "Assignments Current Score",
            "g.csv has no assignment «Assignments Current Score» that can be filled",
        ),
        ("Notes", "g.csv has no assignment «Notes» that can be filled"),
        ("ID", "g.csv has no assignment «ID» that can be filled"),
    ],
)
def test_another_column_is_refused_with_the_remedy(called, why):
    with pytest.raises(Refused, match=why):
        Gradebook(exported(), "g.csv", called)


def test_what_is_not_ours_to_change_is_told_and_stays():
    book = Gradebook(exported(), "g.csv", "Block 5")
    told, _ = book.fill(
        {"x_124": grade("70"), "x_125": grade("60"), "x_999": grade("1"), "x_123": Grade(None)}
    )
    assert book.table.bytes() == exported()
    assert told == [
        "x_999: not in g.csv: download that of the assignment whose submissions were graded",
        "Müller, Jörg ('80.00' → '70'), =cmd, x ('EX' → '60'): Block 5 (12345) in g.csv is another one "
        "already: --replace writes over it",
    ]
    assert len(book.fill({"x_124": grade("70")}, replace=True)[0]) == 0
    assert canvas_takes(book.table.bytes(), 12345)[124] == "70"


def test_whom_it_is_not_assigned_to_is_told():
    book = Gradebook(exported(), "g.csv", "8")
    told, _ = book.fill({"x_123": grade("7")}, replace=True)
    assert told[0].startswith(
        'Lovelace, Ada "Ö.": the assignment is not theirs (N/A), so that Canvas would pass'
    )
    assert book.table.bytes() == exported()


def test_a_login_an_id_or_a_name_find_a_student_too():
    for student in ("login123", "s123", 'Ada "Ö." Lovelace'):
        book = Gradebook(exported(), "g.csv", "Block 5")
        assert book.fill({student: grade("1")})[0] == []
        assert canvas_takes(book.table.bytes(), 12345)[123] == "1"


def test_numbers_with_commas_and_names_in_two_columns_are_taken():
    data = exported(
        "LastName;FirstName;ID;SIS Login ID;Section;Block 5 (12345)",
        "    Points Possible;;;;;94,00",
        "Lovelace;Ada;123;ada;Group 1;",
        ";;;;;",
    )
    book = Gradebook(data, "g.csv", "Block 5")
    assert [person.name for person in book.people] == ["Lovelace, Ada"]
    assert book.fill({"ada": grade("85.5")}) == ([], [])
    assert book.table.bytes() == data.replace(b"Group 1;\n", b"Group 1;85,5\n")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            b"name,points\nAda,3\n",
            "g.csv is no gradebook of Canvas, which begins with Student, ID and Section",
        ),
        (exported(HEADER, ADA), "g.csv has no row «Points Possible»: export it in Canvas"),
        (exported(HEADER, POSSIBLE, "Ada,1"), "line 3 of g.csv has 2 cells, and the header 11"),
    ],
)
def test_what_is_no_gradebook_is_refused_with_the_remedy(data, why):
    with pytest.raises(Refused, match=why):
        Gradebook(data, "g.csv", "Block 5")
