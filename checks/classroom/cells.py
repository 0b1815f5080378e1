"""Which cell of a student's notebook is which of the instructor's: by its ID, else by its text and its place.

VS Code and older editors save a notebook without IDs, or with new ones; a converter makes a new file. Most
cells are as they were all the same, and between two of them the exercise is found where it stood.
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

ANSWER = "*Your answer:*"
MOST_BESIDE = 5  # cells of a student's own on each side of an exercise
WORDS = ("markdown", "raw")  # types of cells in which an answer may stand


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


def source_of(cell: dict) -> str:
    """The source of a cell, which may be a list of lines."""
    return "".join(cell["source"])


def matched(original: dict, cells: list[dict], notes: list[str]) -> dict[str, dict]:
    """{ID of the instructor's cell: the student's cell}; notes get what was not found by its ID.

    cells: the student's, in their order, {"id" or None, "source", "type"}. An exercise has "above" and
    "below" as well: the sources of the student's own cells of code beside it, for whoever writes one in two
    cells; and "before": those of all their cells of code before it.
    """
    wanted = [cell for cell in original["cells"] if "solution" not in tags(cell)]
    place = _by_id(wanted, cells)
    missing = [cell["id"] for cell in wanted if cell["id"] not in place]
    if missing:
        _by_text_and_place(wanted, cells, place)
    theirs = {"exercise", "reflection"}
    found = [
        cell for cell in wanted if cell["id"] in missing and cell["id"] in place and theirs & set(tags(cell))
    ]
    if found:
        notes.append(
            f"{len(found)} of its exercises and answers were found by their text and place, not by an ID"
        )
    told = {name: dict(cells[number]) for name, number in place.items()}
    for cell in wanted:
        if "exercise" in tags(cell) and cell["id"] in place:
            told[cell["id"]] |= _beside(place[cell["id"]], cells, set(place.values()))
            before = cells[: place[cell["id"]]]
            told[cell["id"]]["before"] = [one["source"] for one in before if one["type"] == "code"]
        if "reflection" in tags(cell) and cell["id"] in place:
            below = _answer_below(cell, cells, place)
            told[cell["id"]]["source"] += f"\n\n{below}" if below else ""
    return told


def _by_id(wanted: list[dict], cells: list[dict]) -> dict[str, int]:
    """Of two with the same ID the first counts, unless nobody has written anything in it."""
    ours = {cell["id"]: source_of(cell) for cell in wanted}
    place: dict[str, int] = {}
    for number, cell in enumerate(cells):
        name = cell["id"]
        if name in ours and (name not in place or _words(cells[place[name]]["source"]) == _words(ours[name])):
            place[name] = number
    return place


def _by_text_and_place(wanted: list[dict], cells: list[dict], place: dict[str, int]) -> None:
    names = {number: name for name, number in place.items()}
    ours = [cell["id"] if cell["id"] in place else _words(source_of(cell)) for cell in wanted]
    theirs = [names.get(number) or _words(cell["source"]) for number, cell in enumerate(cells)]
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    if sum(block.size for block in blocks) < len(wanted) / 4:
        return  # another notebook, or one of which nothing is left
    start = begin = 0
    for block in blocks:
        gap = [number for number in range(begin, block.b) if number not in names]
        for cell in wanted[start : block.a]:
            if cell["id"] not in place and (number := _in_gap(cell, cells, gap)) is not None:
                place[cell["id"]] = number
                gap = [other for other in gap if other > number]
        for step in range(block.size):
            place.setdefault(wanted[block.a + step]["id"], block.b + step)
        start, begin = block.a + block.size, block.b + block.size


def _in_gap(cell: dict, cells: list[dict], gap: list[int]) -> int | None:
    """The student's cell for this one, among those that stand where it stood."""
    ours = _words(source_of(cell))
    if "reflection" in tags(cell):
        question = _question(source_of(cell))[:40]
        return next((number for number in gap if _words(cells[number]["source"]).startswith(question)), None)
    if "exercise" not in tags(cell):
        return None
    code = [number for number in gap if cells[number]["type"] == "code"]
    name = re.match(r"(?:def|class) \w+|\w+ =|%%\w+", ours)  # what the stub begins with
    like = [number for number in code if name and name[0] in _words(cells[number]["source"])]
    return next(iter(like or code), None)


def _answer_below(cell: dict, cells: list[dict], place: dict[str, int]) -> str:
    """The words in the cells after a question, where none stand in it."""
    number, taken = place[cell["id"]], set(place.values())
    if _question(cells[number]["source"]) != _question(source_of(cell)):
        return ""

    def below() -> Iterator[str]:
        for after in range(number + 1, len(cells)):
            if after in taken or cells[after]["type"] not in WORDS:
                return
            yield cells[after]["source"]

    return "\n\n".join(below())


def _beside(number: int, cells: list[dict], taken: set[int]) -> dict[str, list[str]]:
    """The student's own cells of code that stand directly above and below a cell."""

    def own(numbers: range) -> Iterator[str]:
        for other in numbers:
            if other in taken:
                return
            if cells[other]["type"] == "code" and cells[other]["source"].strip():
                yield cells[other]["source"]

    above = list(own(range(number - 1, -1, -1)))[:MOST_BESIDE]
    return {"above": above[::-1], "below": list(own(range(number + 1, len(cells))))[:MOST_BESIDE]}


def _question(text: str) -> str:
    return _words(text).removesuffix(_words(ANSWER)).strip()


def _words(text: str) -> str:
    """The text without what editors change: spaces and line ends."""
    return " ".join(text.split())
