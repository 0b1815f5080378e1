"""What is compared: the code and the words that a student wrote, and those that the kit gave to everybody."""

import json
import sys
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from checks.alike.tokens import CODE, PASSAGE, WORDS, Token, tokens
from checks.classroom.archives import SubmissionError
from checks.classroom.cells import matched, source_of, tags
from checks.classroom.handed_in import HandedIn
from checks.classroom.intake import fetch
from checks.classroom.rebuild import BadNotebook, collected, find, read, regular_files, same_code
from checks.editions.files import files_of, is_for_students
from checks.editions.strip import strip
from checks.editions.tables import STUBS, open_gate

LARGEST = 256 * 1024  # characters of a file that are compared; the kit's server.py has 22,000
MOST = 8 * LARGEST  # and of all that somebody handed in
FEW = 10  # students may have the same in a small class; in a larger one, what over half of it has is common
TEXTS = (".py", ".md", ".toml", ".service", ".sh")  # of the kit, with what a student may take from there


@dataclass(frozen=True)
class Piece:
    """A file, an exercise or an answer: what it is called and holds."""

    kind: str
    name: str
    text: str


@dataclass
class Work:
    """All of one kind that a student wrote. passages[n]: what begins at the nth token of all pieces; None
    where the kit gave it, and at the end of a piece. piece[n]: the number of its piece; line[n]: its line."""

    pieces: list[Piece] = field(default_factory=list)
    passages: list[str | None] = field(default_factory=list)
    piece: array = field(default_factory=lambda: array("I"))
    line: array = field(default_factory=lambda: array("I"))

    def add(self, piece: Piece, given: set[str]) -> None:
        """Add a piece, without what is given."""
        found = tokens(piece.kind, piece.text)
        own = [None if one in given else sys.intern(one) for one in passages(piece.kind, found)]
        if any(own):
            self.piece.extend([len(self.pieces)] * len(found))
            self.line.extend(line for _, line in found)
            self.passages += own + [None] * (len(found) - len(own))
            self.pieces.append(piece)

    def leave_out(self, common: set[str]) -> None:
        """Count these passages as given."""
        self.passages = [None if one in common else one for one in self.passages]


def passages(kind: str, found: list[Token]) -> list[str]:
    """So many tokens in a row as count, from each token on."""
    words, many = [word for word, _ in found], PASSAGE[kind]
    return [" ".join(words[start : start + many]) for start in range(len(words) - many + 1)]


# ---- What the kit gave ---------------------------------------------------------------------------------


class Given:
    """What students get of the kit in this folder, as instructors have it: with the model answers, which a
    student is shown after the ✓, the hints, and the bodies of functions that are theirs to write.

    passages: {kind: passages}; texts: whole files; labs: {name: the instructor's notebook}.
    """

    def __init__(self, kit: Path):
        self.labs = {
            path.name: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((kit / "labs").glob("*.ipynb"))
        }
        self.texts = set(_texts_of(kit))
        for lab in self.labs.values():
            self.texts |= set(map(source_of, lab["cells"]))
        self.passages = {
            kind: {passage for text in self.texts for passage in passages(kind, tokens(kind, text))}
            for kind in (CODE, WORDS)
        }


def _texts_of(kit: Path) -> Iterator[str]:
    for name in filter(is_for_students, files_of(kit)):
        if name.endswith(TEXTS):
            yield (kit / name).read_text(encoding="utf-8")
    gates = {name: open_gate(name, *gate) for name, gate in STUBS.items()}
    yield strip((kit / "server.py").read_bytes(), gates).decode()


# ---- What was handed in --------------------------------------------------------------------------------


def written_by(handed_in: HandedIn, given: Given) -> list[Piece]:
    """The Python files, done exercises and answers of what a student handed in. Raises SubmissionError."""
    if handed_in.why:
        raise SubmissionError(handed_in.why)
    with tempfile.TemporaryDirectory(prefix="pixelwise-alike-") as scratch:
        root = fetch(list(handed_in.parts), Path(scratch, "work")).root
        found, room = [], MOST
        for piece in (*_files(root), *_cells(root, given.labs)):
            text = piece.text[: min(LARGEST, room)]
            if text.strip() and text not in given.texts:
                found.append(Piece(piece.kind, piece.name, text))
                room -= len(text)
        return found


def _files(root: Path) -> Iterator[Piece]:
    for path in regular_files(root):
        if path.suffix.lower() == ".py":
            with path.open("rb") as file:
                text = file.read(4 * LARGEST).decode("utf-8", "replace")
            yield Piece(CODE, path.relative_to(root).as_posix(), text)


def _cells(root: Path, labs: dict[str, dict]) -> Iterator[Piece]:
    """The exercises that are not the stub any more, and the answers to reflection questions."""
    for name, original in sorted(labs.items()):
        try:
            theirs = matched(original, read(find(root, name, []), []), [])
        except BadNotebook:
            continue
        lab = name.removesuffix(".ipynb")
        for cell in original["cells"]:
            source = theirs.get(cell["id"], {}).get("source", "")
            if "exercise" in tags(cell) and not same_code(source, source_of(cell)):
                yield Piece(CODE, f"{lab}: {cell['id']}", source)
        for answer in collected(original, theirs, lab, {}):
            yield Piece(WORDS, f"{lab}: {answer['id']}", answer["answer"])


def works_of(
    submissions: dict[str, HandedIn], given: Given
) -> tuple[dict[str, dict[str, Work]], dict[str, str]]:
    """{student: {kind: what they wrote}} of a class, and {student: why there is nothing to compare}."""
    works, problems = {}, {}
    for student, handed_in in submissions.items():
        try:
            written = written_by(handed_in, given)
        except SubmissionError as problem:
            problems[student] = str(problem)
            continue
        work = {kind: Work() for kind in (CODE, WORDS)}
        for piece in written:
            work[piece.kind].add(piece, given.passages[piece.kind])
        if work[CODE].pieces or work[WORDS].pieces:
            works[student] = work
        else:
            problems[student] = "there is nothing in it that the kit did not bring"
    for kind in (CODE, WORDS):
        having = Counter(one for work in works.values() for one in set(work[kind].passages))
        common = {one for one, count in having.items() if count > max(FEW, len(works) / 2)}
        for work in works.values():
            work[kind].leave_out(common)
    return works, problems
