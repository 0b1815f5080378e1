"""Grading worksheets as Moodle writes them (mod/assign/gradingtable.php), in two languages."""

ENGLISH = (
    "Identifier,Full name,Email address,Status,Grade,Maximum grade,Grade can be changed,"
    "Last modified (submission),Last modified (grade),Feedback comments"
)
GERMAN = (
    "ID,Vollständiger Name,E-Mail-Adresse,Status,Bewertung,Bestwertung,Bewertung kann geändert werden,"
    "Zuletzt geändert (Abgabe),Zuletzt geändert (Bewertung),Feedback als Kommentar"
)


def worksheet(*rows: str, header: str = ENGLISH, bom: bytes = b"", end: str = "\n") -> bytes:
    """A worksheet of these rows."""
    return bom + "".join(f"{row}{end}" for row in (header, *rows)).encode()


def english(number: int, name: str, grade="", comment="", may="Yes", most="94.00") -> str:
    """A row, of somebody who handed in and has that grade."""
    told = f'"Monday, 2 November 2026, 11:5{number % 10} PM"'
    graded = '"Tuesday, 3 November 2026, 8:00 AM"' if grade else "-"
    mail = f"s{number}@uni.example"
    cells = (
        f"Participant {number}",
        name,
        mail,
        "Submitted for grading",
        grade,
        most,
        may,
        told,
        graded,
        comment,
    )
    return ",".join(cells)


def german(number: int, name: str, grade="", comment="") -> str:
    """The same, as it is downloaded in German."""
    told, graded = (
        '"Montag, 2. November 2026, 23:51"',
        '"Dienstag, 3. November 2026, 08:00"' if grade else "-",
    )
    mail = f"s{number}@uni.example"
    state = "Zur Bewertung abgegeben"
    cells = (f"Teilnehmer/in{number}", name, mail, state, grade, '"94,00"', "Ja", told, graded, comment)
    return ",".join(cells)
