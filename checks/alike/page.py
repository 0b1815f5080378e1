"""The pairs on one page that loads nothing: side by side, the names out of sight until somebody asks."""

import hashlib
from pathlib import Path

from checks.alike.pairs import Alike, Place, lines_of, places
from checks.alike.tokens import CODE, WORDS
from checks.alike.work import Work
from checks.report.pieces import Markup, Pieces, join, running

PLACES = 12  # of a pair, the largest; and lines of one of them
LINES = 60
TITLES = {CODE: "Servers and exercises", WORDS: "Answers"}
PIECES = Pieces(Path(__file__).with_name("alike.html"))


def fill(piece: str, **values) -> Markup:
    """A piece of alike.html; all that is no markup is cleaned, and escaped."""
    return Markup(PIECES.fill_cleaned(piece, **values).removesuffix("\n"))


def likeness_page(
    works: dict[str, dict[str, Work]], found: list[Alike], problems: dict[str, str], compared: int
) -> Markup:
    """The page of these pairs, the most alike first. problems: {student: why there is nothing to compare};
    compared: how many pairs there are. It runs its own few lines, for the keys, and nothing else."""
    numbers = numbered([*works, *problems])
    told = f"{len(works)} students, {compared:,} pairs; the {len(found)} most alike are shown."
    script = Markup(PIECES.fill("script"))
    html = PIECES.page(
        "Who worked alike?",
        told=told if found else f"{len(works)} students, {compared:,} pairs.",
        pairs=join(_pair(rank, one, works, numbers) for rank, one in enumerate(found, 1)) or fill("nobody"),
        problems=_problems(problems, numbers),
        script=script,
    )
    return running(html, script)


def numbered(students: list[str]) -> dict[str, int]:
    """{student: number}, in an order that says nothing of the names, and is the same in every run."""
    digests = {name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest() for name in students}
    return {name: number for number, name in enumerate(sorted(students, key=digests.get), 1)}


def _who(name: str, numbers: dict[str, int]) -> Markup:
    return fill("who", number=numbers[name], name=name)


def _problems(problems: dict[str, str], numbers: dict[str, int]) -> Markup:
    items = [
        fill("problem", who=_who(name, numbers), why=why)
        for name, why in sorted(problems.items(), key=lambda pair: numbers[pair[0]])
    ]
    return fill("problems", items=join(items)) if items else Markup("")


def _pair(rank: int, one: Alike, works: dict[str, dict[str, Work]], numbers: dict[str, int]) -> Markup:
    left, right = (works[name] for name in one.students)
    whos = [_who(name, numbers) for name in one.students]
    share, other = (f"{min(100, 100 * share):.0f}" for share in one.shares)
    kinds, lines = [], 0
    for kind, title in TITLES.items():
        found = places(left[kind], right[kind], kind)
        lines += lines_of(found)
        if found:
            kinds.append(_kind(title, found, (left[kind], right[kind]), whos))
    return fill(
        "pair",
        rank=rank,
        left=whos[0],
        right=whos[1],
        lines=_lines(lines),
        share=share,
        other=other,
        kinds=join(kinds),
    )


def _kind(title: str, found: list, works: tuple[Work, Work], whos: list[Markup]) -> Markup:
    largest = sorted(found, key=lambda pair: -len(pair[0].marked))[:PLACES]
    shown = [pair for pair in found if any(pair is one for one in largest)]
    told = [
        fill("place", left=_side(one, works[0], whos[0]), right=_side(other, works[1], whos[1]))
        for one, other in shown
    ]
    left_out = len(found) - len(shown)
    more = fill("more", count=left_out) if left_out else Markup("")
    return fill("kind", title=title, places=join(told), more=more)


def _side(place: Place, work: Work, who: Markup) -> Markup:
    piece = work.pieces[place.piece]
    last = min(place.last, place.first + LINES - 1)
    lines = piece.text.split("\n")[place.first - 1 : last]
    text = [
        fill("marked" if number in place.marked else "line", number=number, text=line.expandtabs(4).rstrip())
        for number, line in enumerate(lines, place.first)
    ]
    if place.last > last:
        text.append(fill("cut", count=place.last - last))
    where = f"lines {place.first} to {place.last}" if place.last > place.first else f"line {place.first}"
    return fill("side", who=who, name=piece.name, lines=where, text=join(text))


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
