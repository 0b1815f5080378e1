"""term.html: how the term goes, on one page that loads nothing and runs nothing."""

import statistics
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

from checks.classroom.marks import MILESTONE, TITLE
from checks.kit.grading import all_checks
from checks.report.model import LABS, TITLES, clean
from checks.report.pieces import Markup, Pieces, join
from checks.term.book import Standing, Term
from checks.term.points import Part
from checks.term.progress import Curve, behind, curve_of, stops
from checks.term.rules import moment
from checks.term.table import decided, why_none

PIECES = Pieces(Path(__file__).with_name("term.html"))
SHOWN = 15  # checks and exercises that stop most
WIDTH, HEIGHT, TOP = 576, 120, 16  # of a curve, in the units of its picture
fill = PIECES.fill_cleaned


def term_page(term: Term, now: datetime) -> Markup:
    """The page of a term. now: what was due before it counts for who fell behind."""
    standings, book = term.standings, term.book
    absent = [one for one in standings if not book.attempts[one.student.id]]
    points = [one.points for one in standings if book.attempts[one.student.id]]
    facts = {"students": len(standings), "handed in": len(standings) - len(absent)}
    facts |= {"attempts": len({one.source for told in book.attempts.values() for one in told})}
    facts |= {"median": f"{term.shown(statistics.median(points))} of {term.shown(term.of)}"} if points else {}
    title = term.rules.title or "The term"
    return PIECES.page(
        clean(title),
        heading=clean(title),
        zone=clean(f"Times are those of {term.rules.zone or 'UTC'}."),
        facts=join(fill("fact", name=name, value=value) for name, value in facts.items()),
        told=PIECES.section("told", (fill("sentence", text=one) for one in book.told), count=len(book.told)),
        curves=PIECES.section("curves", [_curve(term, curve_of(term, name)) for name in term.worth]),
        behind=_behind(term, now),
        absent=PIECES.section(
            "absent", (fill("absentee", name=one.student.name) for one in absent), count=len(absent)
        ),
        stops=_stops(term),
        students=join(_student(term, one) for one in sorted(standings, key=_by_points)),
    )


# ---- Curves ----------------------------------------------------------------------------------------------


def percent(part: Fraction) -> str:
    """A share in whole percent."""
    return f"{int(100 * part + Fraction(1, 2))} %"


def day(term: Term, at: datetime) -> str:
    """A day on the calendar of the course: "3 Nov"."""
    shown = at.astimezone(term.rules.zone)
    return f"{shown.day} {shown:%b}"


def told_of(term: Term, curve: Curve) -> str:
    """A curve in words."""
    count = len(term.standings)
    parts = []
    if curve.due is not None:
        when = f"{curve.due.day} {curve.due:%b %Y}"
        when += f"{curve.due:, %H:%M}" if isinstance(curve.due, datetime) else ", at the end of the day"
        parts.append(f"When it was due, {when}, the class had {percent(curve.at_due)} of it")
    last = f"the class has {percent(curve.now)} of it"
    parts.append(f"with all that came in, {last}" if parts else last.capitalize())
    return f"{'; '.join(parts)}. {curve.nothing} of {count} have nothing of it."


def _curve(term: Term, curve: Curve) -> Markup:
    times = [at for at, _ in curve.steps]
    due = moment(curve.due, term.rules.zone) if curve.due is not None else None
    every = [*times, *([due] if due else [])]
    start, end = (min(every), max(every)) if every else (None, None)
    span = (end - start).total_seconds() or 1 if every else 1

    def across(at: datetime) -> float:
        return WIDTH * (at - start).total_seconds() / span

    def down(part: Fraction) -> float:
        return TOP + HEIGHT * (1 - min(1.0, float(part)))

    path = f"M0 {down(curve.first):.1f}"
    for at, part in curve.steps:
        path += f"H{across(at):.1f}V{down(part):.1f}"
    path += f"H{WIDTH}"
    titles = TITLES | LABS | {MILESTONE: TITLE}
    title = f"{curve.milestone} {titles.get(curve.milestone, '')}".strip()
    words = told_of(term, curve)
    line = fill("due", x=f"{across(due):.1f}") if due else Markup("")
    ends = (day(term, start), day(term, end)) if every else ("", "")
    return fill(
        "curve",
        title=title,
        worth=f"{term.shown(term.worth[curve.milestone])} points"
        + (", on top" if term.rules.of(curve.milestone).bonus else ""),
        words=words,
        path=path,
        due=line,
        first=ends[0] if ends[0] != ends[1] else "",
        last=ends[1],
    )


# ---- Lists -----------------------------------------------------------------------------------------------


def _link(term: Term, one: Standing) -> Markup:
    """The name of a student, with a link to each report that is theirs."""
    folders = term.book.folders[one.student.id]
    links = [
        fill("link", href=quote(f"{folder}/report.html", errors="surrogateescape"), name=folder)
        for folder in folders
    ]
    return fill("name", name=one.student.name, links=join(links))


def _of(term: Term, one: Standing, name: str, part: Part) -> str:
    if part.points is None:
        return f"{name}: {why_none(term, one, name)}"
    return f"{name}: {term.shown(part.points)} of {term.shown(part.of)}"


def _behind(term: Term, now: datetime) -> Markup:
    found = behind(term, now)
    items = [
        fill(
            "straggler",
            name=_link(term, one),
            missing=", ".join(_of(term, one, name, part) for name, part in missing),
        )
        for one, missing in found
        if term.book.attempts[one.student.id]  # who has nothing at all is listed apart
    ]
    return PIECES.section("behind", items, count=len(items))


def _stops(term: Term) -> Markup:
    sentences = {one.name: " ".join(one.sentence.split()) for one in all_checks()}
    items = [
        fill(
            "stop",
            name=name,
            sentence=sentences.get(name, ""),
            count=count,
            asked=asked,
            share=f"{100 * count / asked:.1f}",
        )
        for name, count, asked in stops(term)[:SHOWN]
    ]
    return PIECES.section("stops", items)


def _student(term: Term, one: Standing) -> Markup:
    told = [fill("decided", text=f"{what}: {override}") for what, override in decided(term, one)]
    share = one.points / term.of if term.of else Fraction(0)
    return fill(
        "student",
        name=_link(term, one),
        group=one.student.group,
        points=term.shown(one.points),
        share=f"{min(100.0, float(100 * share)):.1f}",
        parts=", ".join(_of(term, one, name, part) for name, part in one.parts.items()),
        decided=join(told),
    )


def _by_points(one: Standing):
    return (-one.points, one.student.id)
