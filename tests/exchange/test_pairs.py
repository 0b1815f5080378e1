"""Who is who: by the number of a download, else by what is only one person's; nobody is guessed."""

from decimal import Decimal

from checks.exchange.pairs import Grade, Person, grouped, pairs

PEOPLE = [
    Person(1, "4001", "Ada Ö. Lovelace", ("ada@uni.example", "s1001")),
    Person(2, "4002", "Jörg Müller", ("jm@uni.example", "s1002")),
    Person(3, "4003", "Jörg Müller", ("joerg@uni.example", "s1003")),
]


def rows(*students: str) -> dict[str, int]:
    return {student: person.row for student, person in pairs(students, PEOPLE, "w.csv")[0].items()}


def test_the_number_of_a_download_decides():
    assert rows("Ada Ö. Lovelace_4001", "Jörg Müller_4003") == {
        "Ada Ö. Lovelace_4001": 1,
        "Jörg Müller_4003": 3,
    }
    assert rows("Ada Ö. Lovelace_9999") == {}


def test_the_number_of_a_group_is_nobodys():
    people = [Person(one.row, one.number, one.name, (*one.known, "team 7")) for one in PEOPLE[1:]]
    for number in (4001, 9):  # somebody else's, nobody's
        found, told = pairs([f"team 7_{number}"], [PEOPLE[0], *people], "w.csv")
        assert not found
        assert told == [f"team 7_{number}: a group in w.csv: --term gives all of its members their points"]


def test_else_a_name_an_address_a_login_or_an_id_does():
    for student in ("Lovelace-Ada-Ö", "ada@uni.example", "ada", "s1001", "S1001"):
        assert rows(student) == {student: 1}


def test_whoever_may_be_two_people_is_told_and_not_guessed():
    found, told = pairs(["Jörg Müller"], PEOPLE, "w.csv")
    assert not found
    assert told == [
        "Jörg Müller: may be several people in w.csv: call the folder of the submission by the e-mail "
        "address or the ID of the right one, and grade again"
    ]


def test_whoever_stands_in_the_file_twice_is_told_and_gets_nothing():
    found, told = pairs(["Ada_4001", "jm"], [*PEOPLE, Person(4, "4001", "Ada", ())], "w.csv")
    assert list(found) == ["jm"]
    assert told == [
        "Ada_4001: more than once in w.csv: download it again, and do not save it with a spreadsheet before"
    ]


def test_two_submissions_of_one_person_are_told_and_neither_counts():
    found, told = pairs(["ada", "s1001", "jm"], PEOPLE, "w.csv")
    assert list(found) == ["jm"]
    assert told == ["ada, s1001: one person in w.csv: keep the submission that counts, and grade again"]


def test_whoever_is_not_there_is_told_with_the_remedy():
    found, told = pairs(["Ada_9", "Ben", "Cy_8"], PEOPLE, "w.csv")
    assert not found
    assert told == [
        "Ada_9, Cy_8: not in w.csv: download that of the assignment whose submissions were graded",
        "Ben: not in w.csv: call the folder of the submission by the e-mail address or the ID that stands "
        "there, and grade again",
    ]


def test_a_share_of_another_maximum_is_rounded_to_the_hundredth():
    assert Grade(Decimal("80"), "x").scaled(Decimal(100) / Decimal(94)) == Grade(Decimal("85.11"), "x")
    assert Grade(Decimal("0.005")).scaled(Decimal(1)).points == Decimal("0.01")
    assert Grade(None).scaled(Decimal(2)) == Grade(None)


def test_what_holds_for_many_is_said_once_and_names_everybody():
    told = grouped([("Ada", "x"), ("Ben\x1b[2J", "y"), *((f"n{number}", "x") for number in range(300))])
    assert len(told) == 2 and told[0].endswith(", n299: x") and told[0].startswith("Ada, n0, n1, ")
    assert told[1] == "Ben\\x1b[2J: y"
