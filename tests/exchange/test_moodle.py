"""Moodle's worksheet, filled: grades and comments arrive, and every other byte is the one that came."""

import csv
import html
import io
import zipfile
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worksheets import ENGLISH, GERMAN, english, german, worksheet

from checks.exchange.moodle import Worksheet, as_html, feedback_zip, folder_of
from checks.exchange.pairs import Grade, Person
from checks.exchange.table import BOM, Refused

SPOKEN = 'Gut! "Sehr", sagt Jörg;\n=1+1 ist < 3 & nicht > 3'


def grade(points: str, comment: str = "") -> Grade:
    return Grade(Decimal(points), comment)


def read(data: bytes) -> list[dict]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def as_moodle_shows(cell: str) -> str:
    return html.unescape(cell.replace("<br>", "\n"))


@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_grade_and_the_comment_change(bom, end):
    rows = [
        english(4001, '"Lovelace, Ada ""Ö."""'),
        english(4002, "Jörg Müller"),
        english(4003, "=cmd|' /C calc'!A0"),
    ]
    data = worksheet(*rows, bom=bom, end=end)
    sheet = Worksheet(data, "w.csv")
    told, others = sheet.fill({"Lovelace Ada Ö_4001": grade("85.5", "fine"), "x_4003": grade("0")})
    assert not told and others == ["Jörg Müller"]
    expected = data.replace(
        rows[0].encode(),
        english(4001, '"Lovelace, Ada ""Ö."""', "85.5", "fine")
        .replace('"Tuesday, 3 November 2026, 8:00 AM"', "-")
        .encode(),
    )
    expected = expected.replace(
        b"=cmd|' /C calc'!A0,s4003@uni.example,Submitted for grading,,",
        b"=cmd|' /C calc'!A0,s4003@uni.example,Submitted for grading,0,",
    )
    assert sheet.table.bytes() == expected


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
    | st.just(SPOKEN)
)
def test_a_comment_is_read_back_letter_for_letter_and_is_no_formula(comment):
    sheet = Worksheet(worksheet(english(4001, "Ada")), "w.csv")
    sheet.fill({"Ada_4001": grade("1", comment)})
    (row,) = read(sheet.table.bytes())
    assert as_moodle_shows(row["Feedback comments"]) == comment
    assert not row["Feedback comments"].lstrip().startswith(tuple("=+-@＝＋－＠"))


@pytest.mark.parametrize("comment", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", " ＝1"])
def test_what_a_spreadsheet_would_run_is_written_so_that_it_does_not(comment):
    cell = as_html(comment)
    assert "&#" in cell and as_moodle_shows(cell) == comment


def test_a_worksheet_in_another_language_is_told_by_what_stands_in_it():
    data = worksheet(german(4001, "Ada"), german(4002, "Ben", '"80,50"', "gut"), header=GERMAN)
    sheet = Worksheet(data, "w.csv")
    assert sheet.maximum == 94
    told, _ = sheet.fill({"Ada_4001": grade("85.5", "Ä"), "Ben_4002": grade("80.5", "gut")})
    assert not told
    assert sheet.table.bytes() == worksheet(
        german(4001, "Ada").replace("abgegeben,,", 'abgegeben,"85,5",') + "Ä",
        german(4002, "Ben", '"80,50"', "gut"),
        header=GERMAN,
    )


def test_a_worksheet_without_names_or_comments_is_filled():
    header = "Identifier,Status,Grade,Maximum grade,Grade can be changed,Last modified (grade)"
    sheet = Worksheet(worksheet("Participant 7,No submission,,10.00,Yes,-", header=header), "w.csv")
    told, _ = sheet.fill({"Participant_7": grade("9", "not lost in silence")})
    assert told == [
        "w.csv has no column of comments, and they are not in it: switch on «Feedback comments» in the "
        "settings of the assignment, and download it again"
    ]
    assert sheet.fill({"Participant_7": grade("9")}) == ([], [])
    assert sheet.table.bytes().endswith(b"Participant 7,No submission,9,10.00,Yes,-\n")


def test_nothing_is_written_over_unasked():
    data = worksheet(english(4001, "Ada", "80.00", "good"), english(4002, "Ben", "70.00", "well"))
    sheet = Worksheet(data, "w.csv")
    told, _ = sheet.fill({"Ada_4001": grade("85.5", "better"), "Ben_4002": grade("70", "well")})
    assert sheet.table.bytes() == data
    assert told == [
        "Ada ('80.00' → '85.5'): Grade in w.csv is another one already: --replace writes over it",
        "Ada ('good' → 'better'): Feedback comments in w.csv is another one already: --replace "
        "writes over it",
    ]
    assert sheet.fill({"Ada_4001": grade("85.5", "better")}, replace=True) == ([], ["Ben"])
    assert [row["Grade"] for row in read(sheet.table.bytes())] == ["85.5", "70.00"]


def test_no_grade_and_no_comment_take_nothing_away():
    data = worksheet(english(4001, "Ada", "80.00", "good"))
    sheet = Worksheet(data, "w.csv")
    assert sheet.fill({"Ada_4001": Grade(None)}, replace=True) == ([], [])
    assert sheet.table.bytes() == data


def test_what_moodle_would_pass_over_in_silence_is_told():
    data = worksheet(english(4001, "Ada", may="No"), english(4002, "Ben"), english(4003, "Cy"))
    sheet = Worksheet(data, "w.csv")
    told, _ = sheet.fill({"Ada_4001": grade("1"), "Ben_4002": grade("94.5"), "Cy_4003": grade("99")})
    assert told == [
        "Ada: the grade is locked in Moodle: unlock it there, and download w.csv again",
        "Ben (94.5), Cy (99): over the 94.00 points of w.csv, so that Moodle would pass it over: raise the "
        "maximum grade there, and download it again",
    ]
    assert sheet.table.bytes() == data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            b"name,points\nAda,3\n",
            "w.csv is no grading worksheet of Moodle, whose first column is Identifier",
        ),
        (worksheet(), "w.csv is no grading worksheet of Moodle"),
        (worksheet(english(1, "Ada"), "Ben 2" + english(2, "Ben")[13:]), "w.csv is no grading worksheet"),
        (worksheet(english(1, "Ada") + ",more"), "line 2 of w.csv has 11 cells, and the header 10"),
        (
            worksheet(
                "Participant 1,Ada,,poor good,-",
                header="Identifier,Full name,Grade,Scale,Last modified (grade)",
            ),
            "grades with the words of a scale: set its grade type to Point",
        ),
        (
            worksheet("ID1,Ada,5,5,5,Ja", header="ID,Name,a,b,c,d"),
            "w.csv does not show which column is Grade, with Maximum grade after it: download it with",
        ),
        (worksheet(english(1, "Ada", "good")), "w.csv does not show which column is Grade"),
    ],
)
def test_what_is_no_worksheet_is_refused_with_the_remedy(data, why):
    with pytest.raises(Refused, match=why.replace("(", r"\(")):
        Worksheet(data, "w.csv")


def moodle_takes(entry: str) -> tuple[str, str, str, str]:
    """How Moodle reads the name of a file (feedback/file/importziplib.php): number, type, plugin, file."""
    first, _, rest = entry.partition("/")
    name, number, kind, plugin, more = first.split("_", 4)
    return number, kind, plugin, f"{more}/{rest}".lstrip("/")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
@example("Ada_9_assignsubmission_file_")
def test_moodle_finds_whose_feedback_it_is_whatever_the_name(name):
    assert moodle_takes(f"{folder_of(Person(1, '4001', name))}/report.html") == (
        "4001",
        "assignsubmission",
        "file",
        "report.html",
    )


def test_the_feedback_of_all_is_one_zip_and_always_the_same(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").write_text(f"Über {name}")
    files = {f"{name}_1_assignsubmission_file_": tmp_path / name / "report.html" for name in ("b", "a")}
    packed = feedback_zip(files)
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {name: opened.read(name).decode() for name in opened.namelist()} == {
            "a_1_assignsubmission_file_/report.html": "Über a",
            "b_1_assignsubmission_file_/report.html": "Über b",
        }
    assert feedback_zip(dict(reversed(files.items()))) == packed


def test_the_header_in_english_is_the_documented_one():
    assert ENGLISH.split(",")[:2] == ["Identifier", "Full name"] and ENGLISH.endswith("Feedback comments")
