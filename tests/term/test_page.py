"""term.html: it says in words what its pictures show, and no text of anybody becomes a part of the page."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from html.parser import HTMLParser

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from checks.course.overrides import Override
from checks.course.roster import Roster, Student
from checks.term.book import Book, Term, term_of
from checks.term.page import term_page
from checks.term.points import Attempt, Mark
from checks.term.rules import parsed
from checks.term.table import term_csv

DUE = datetime(2026, 11, 3, 11, tzinfo=UTC)
RULES = 'zone = "Europe/Berlin"\n[milestone.m1]\ndue = 2026-11-03T12:00:00\n[milestone.m5]\nworth = 5\n'
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=y>',
    "</svg><b>",
    "${x}",
    "&lt;",
    "\x1b[2J",
    "\u202e",
)


class Tags(HTMLParser):
    """The elements of a page with their attributes' names, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))

    def handle_data(self, data):
        self.text += data


def term(texts=("Ada", "Ben", "team", "m1.one", "why", "title"), rules=RULES) -> Term:
    """A term of two students, in which these texts stand wherever somebody can write one."""
    ada, ben, team, check, why, title = texts
    students = [Student("s1", ada, "", team), Student("s2", ben, "", ""), Student("s3", "Cy")]
    marks = {"m1": {f"m1.{check}": Mark(Fraction(1), Fraction(4)), "m1.x": Mark(Fraction(4), Fraction(4))}}
    tries = {
        "s1": [Attempt(DUE - timedelta(days=2), f"{ada} a", marks)],
        "s2": [
            Attempt(DUE + timedelta(days=2), f"{ben} a", {"m1": {f"m1.{check}": Mark(None, Fraction(4))}})
        ],
        "s3": [],
    }
    overrides = {("s1", f"m1.{check}"): Override("2026-11-01", "s1", f"m1.{check}", Fraction(1), why, why)}
    folders = {"s1": [ada], "s2": [ben], "s3": []}
    book = Book(Roster(students), tries, folders, overrides, [f"{why} fits nobody"])
    made = parsed(rules)
    return term_of(book, made.__class__(**vars(made) | {"title": title}))


def test_the_page_says_in_words_what_its_curves_show():
    page = term_page(term(), DUE + timedelta(days=9))
    words = (
        "When it was due, 3 Nov 2026, 12:00, the class had 21 % of it; with all that came in, the class has "
    )
    words += "21 % of it. 2 of 3 have nothing of it."
    assert page.count(words) == 2  # beside the picture, and in its place for who cannot see it
    assert 'role="img" aria-label="m1 HTTP: When it was due' in page


def test_the_page_names_who_is_behind_who_is_absent_and_what_stops():
    page = Tags(term_page(term(), DUE + timedelta(days=9)))
    for words in (
        "Behind (1)",
        "m1: could not be checked",
        "Handed in nothing (1)",
        "What stops most",
        "1 of 1",
        "why fits nobody",
    ):
        assert words in page.text, words
    assert "Behind" not in Tags(term_page(term(), DUE - timedelta(days=1))).text


def test_a_term_of_nobody_and_one_without_rules_have_a_page():
    empty = Book(Roster([]), {}, {}, {})
    assert "Everybody" in term_page(term_of(empty, parsed("")), DUE)
    assert term_csv(term_of(empty, parsed(""))).count("\n") == 2
    assert "m1 HTTP" in term_page(term(rules=""), DUE)


texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=5), max_size=3).map(lambda one: "a" + "".join(one))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@example(["".join(NASTY)] * 6)
@given(st.lists(texts, min_size=6, max_size=6))
def test_no_text_becomes_a_part_of_the_page(told):
    page = term_page(term(told), DUE + timedelta(days=9))
    plain = term_page(term(), DUE + timedelta(days=9))
    assert Tags(page).tags == Tags(plain).tags
    assert page.replace("\n", "").isprintable() and page.encode()


@settings(max_examples=30, deadline=None)
@given(st.lists(texts, min_size=6, max_size=6))
def test_no_text_becomes_a_formula_or_a_row(told):
    lines = term_csv(term([f"={one}" for one in told])).split("\r\n")
    assert len(lines) == 6 and not any(cell.startswith("=") for line in lines for cell in line.split(","))
