"""Whose submission is whose: found by name or ID whatever a file is called, and never guessed."""

import pytest

from checks.course.roster import FILE, Roster, Student, roster_of, students_of
from checks.course.tables import Unclear, text_of

ADA = Student("s2001", "Ada Lovelace", "ada.lovelace@uni.example", "", ("101",))
BEN = Student("s2002", "Jörg Müller-Lüdenscheidt", "", "team 7", ("102",))
CY = Student("s2003", "Cy Young", "", "team 7", ("103",))
KIM = Student("s2004", "Kim Lee", "", "", ("104",))
KIM2 = Student("s2005", "Lee, Kim", "", "", ("105",))
CHER = Student("s2006", "Cher")
ROSTER = Roster([ADA, BEN, CY, KIM, KIM2, CHER], {"odd name": "s2003"})


@pytest.mark.parametrize(
    ("submission", "student"),
    [
        ("Ada Lovelace_4711", ADA),  # Moodle
        ("Ada Lovelace_99", ADA),  # Moodle, in another assignment
        ("Lovelace Ada_4711", ADA),
        ("team 7-Cy Young_4711", CY),  # Moodle, in groups
        ("lovelaceada_101", ADA),  # Canvas
        ("lovelaceada_LATE_101", ADA),
        ("leekim_104", KIM),  # of two of that name, the number says which
        ("leekim_105", KIM2),
        ("müllerlüdenscheidtjörg_102", BEN),
        ("Ada Lovelace", ADA),
        ("cher_4711", CHER),
        ("ada.lovelace@uni.example", ADA),
        ("ada-lovelace", ADA),
        ("block5_ada_lovelace_v2 final", ADA),
        ("s2001", ADA),
        ("S2001-resubmission", ADA),
        ("block5-s2002", BEN),
        ("MULLER-LUDENSCHEIDT Jorg", BEN),
        ("odd name", CY),  # as known_as.csv says
    ],
)
def test_a_submission_finds_its_student_whatever_it_is_called(submission, student):
    assert ROSTER.whose(submission) == (student,)


@pytest.mark.parametrize("submission", ["team 7", "team-7 again", "Team 7_4711", "team7_102", "team7_4711"])
def test_a_submission_of_a_group_is_that_of_its_members(submission):
    assert ROSTER.whose(submission) == (BEN, CY)


@pytest.mark.parametrize(
    ("submission", "why"),
    [
        ("Kim Lee_104", r"fits Kim Lee \(s2004\) and Lee, Kim \(s2005\)"),  # Moodle's number is no ID
        ("s2001 and s2002", "fits Ada"),
        ("Ada Lovelace s2002", "fits Ada"),  # one by name, another by ID
        ("Ada Lovelace s2001 s2002", "fits Ada"),
        ("team 7 Ada Lovelace", "fits Ada Lovelace .* and the group team 7"),
        ("Ada", "fits nobody"),
        ("block 101", "fits nobody"),  # a short number may be anything
        ("ada_4711", "fits nobody"),
        ("", "fits nobody"),
        ("\x1b[2J", "fits nobody"),
    ],
)
def test_nobody_is_guessed_and_the_remedy_is_named(submission, why):
    with pytest.raises(Unclear, match=f"{why}.*: write whose it is into known_as.csv") as told:
        ROSTER.whose(submission)
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    ("students", "known", "why"),
    [
        ([ADA, ADA], {}, "the ID s2001 stands there 2 times: keep one"),
        ([Student("", "Ada")], {}, "'Ada' has no ID: add it"),
        ([Student("s1", "")], {}, "'s1' has no name: add it"),
        ([Student("1,23E+05", "Ada")], {}, "was cut by a spreadsheet: format that column as text"),
        ([ADA], {"x": "s9"}, "known_as.csv: 's9', whose 'x' is to be, is no ID and no group of roster.csv"),
    ],
)
def test_a_roster_that_is_not_plain_is_refused(students, known, why):
    with pytest.raises(Unclear) as told:
        Roster(students, known)
    assert why in str(told.value)


ROWS = [["id", "Name", "group"], ["0012", "Jörg Müller, B.", "a;b"], ["", "", ""], ["0013", 'The "Cat"', ""]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_roster_is_read_as_a_spreadsheet_writes_it(tmp_path, encoding, comma, end):
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in ROWS]
    text = end.join([f"sep={comma}" if comma == ";" else "", *map(comma.join, quoted)]).lstrip("\r\n")
    (tmp_path / FILE).write_bytes(text.encode(encoding))
    found = students_of(tmp_path / FILE)
    assert found == [Student("0012", "Jörg Müller, B.", "", "a;b"), Student("0013", 'The "Cat"')]


def test_a_file_that_is_missing_or_empty_or_lacks_a_column_is_named(tmp_path):
    with pytest.raises(Unclear, match="roster.csv: No such file or directory: put it there"):
        students_of(tmp_path / FILE)
    (tmp_path / FILE).write_text("\n\n")
    with pytest.raises(Unclear, match="roster.csv is empty"):
        students_of(tmp_path / FILE)
    (tmp_path / FILE).write_text("number,name\n1,Ada\n")
    with pytest.raises(Unclear, match=r"no column id: name it in the first row \(found: number, name\)"):
        students_of(tmp_path / FILE)


MOODLE = """\
"First name","Last name","ID number","Email address",Groups
Ada,Lovelace,s2001,ada@uni.example,"team 7"
Jörg,Müller,,joerg@uni.example,
"""
GROUPS = """\
name,canvas_user_id,user_id,login_id,sections,group_name,canvas_group_id,group_id
Ada Lovelace,101,s2001,ada@uni.example,A,B,7,
Cher,102,,cher,A,,,
"""
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Block 5 (12345),Final Score
Points Possible,,,,,94,(read only)
"Lovelace, Ada",101,s2001,ada@uni.example,A,90,
Cher,102,,cher,A,,
"""


WORKSHEET = """\
Identifier,Full name,Email address,Status,Group,Grade,Maximum grade,Last modified (grade),Feedback comments
Participant 4711,Ada Lovelace,ada@uni.example,Submitted for grading,team 7,,94.00,-,"two
lines, and more"
Participant 4712,Cher,,No submission,,,94.00,-,
"""


def test_the_rosters_of_moodle_and_canvas_are_read_as_they_are(tmp_path):
    (tmp_path / FILE).write_text(MOODLE, "utf-8-sig")
    assert students_of(tmp_path / FILE) == [
        Student("s2001", "Ada Lovelace", "ada@uni.example", "team 7"),
        Student("joerg@uni.example", "Jörg Müller", "joerg@uni.example"),
    ]
    (tmp_path / FILE).write_text(WORKSHEET)
    assert students_of(tmp_path / FILE) == [
        Student("ada@uni.example", "Ada Lovelace", "ada@uni.example", "team 7"),
        Student("Participant 4712", "Cher"),
    ]
    (tmp_path / FILE).write_text(CANVAS)
    assert students_of(tmp_path / FILE) == [
        Student("s2001", "Ada Lovelace", "ada@uni.example", "", ("101", "ada@uni.example")),
        Student("102", "Cher", "", "", ("102", "cher")),
    ]
    assert roster_of(tmp_path).whose("cher_102") == (students_of(tmp_path / FILE)[1],)
    (tmp_path / FILE).write_text(GROUPS)
    assert students_of(tmp_path / FILE) == [
        Student("s2001", "Ada Lovelace", "ada@uni.example", "B", ("101", "ada@uni.example")),
        Student("102", "Cher", "", "", ("102", "cher")),
    ]
    named, told = roster_of(tmp_path), students_of(tmp_path / FILE)
    assert (
        [*named.whose("b_101")] == [*named.whose("B_9")] == told[:1]
    )  # a group, as Canvas and Moodle call it


def test_known_as_csv_settles_whose_a_submission_is(tmp_path):
    (tmp_path / FILE).write_text("id,name,group\ns1,Ada Lovelace,\ns2,Cy Young,team 7\n")
    (tmp_path / "known_as.csv").write_text("Submission;Student\nx (1);s1\nours;team 7\n")
    roster = roster_of(tmp_path)
    assert [one.id for one in (*roster.whose("x (1)"), *roster.whose("ours"))] == ["s1", "s2"]
    assert roster.team_of(roster.students[0]) == roster.students[:1]


def test_bytes_of_no_encoding_are_still_text():
    assert text_of(b"\x81\xff") and text_of(b"\xff\xfe\x00")
