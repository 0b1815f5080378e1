"""What people say of answers that only they can read: reading.db beside the grades, and its way into records.

reading.db is a log that is only ever added to: a row for each mark, comment and change of the rubric, with
its reader and its time. So two readers cannot lose each other's work. What holds is in the order of the rows:

- an answer has an item of the rubric if the last row about the two says so, whoever wrote it;
- an item has the words and the points of its last row, for everybody who has the item;
- every reader has one comment for an answer, their last one. All readers' comments reach the student.
"""

import errno
import hashlib
import math
import sqlite3
import threading
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path

from checks.course.overrides import decided
from checks.kit.core import FAILED, PASSED, UNCHECKED, Result
from checks.report.model import build, clean

FILE = "reading.db"
RUBRIC = Path(__file__).resolve().parents[2] / "labs" / "reflections.toml"
MILESTONE, TITLE, PLACE = "read", "reflections, read by a person", 90
LONGEST = 5_000  # characters of a comment or an item
SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
  row INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, reader TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('item', 'mark', 'comment')), question TEXT NOT NULL,
  student TEXT, item INTEGER, has INTEGER, words TEXT, points REAL, answer TEXT
) STRICT
"""
COLUMNS = ("row", "at", "reader", "kind", "question", "student", "item", "has", "words", "points", "answer")


class BadMark(Exception):
    """What was sent is no mark; the message says what is wrong with it."""


@cache
def questions() -> dict[str, dict]:
    """What is read by hand: {"05.reflection-1": {"name", "points", "rubric": [[points, words]], "model"}}."""
    return tomllib.loads(RUBRIC.read_text(encoding="utf-8"))


def answers_of(record: dict) -> dict[str, dict]:
    """The collected answers of a record, {"question", "answer"}, by the names that `questions` gives them."""
    told = (record["labs"] or {}).get("answers", [])
    return {f"{answer['lab'][:2]}.{answer['id']}": answer for answer in told if "id" in answer}


def digest(answer: str) -> str:
    """The same for answers that differ in nothing but spaces and line ends."""
    return hashlib.sha256(" ".join(answer.split()).encode("utf-8", "backslashreplace")).hexdigest()[:16]


class Marks:
    """The file of a folder of grades. When `add` returns, its rows are on the disk, and outlive kill -9 and a
    power cut. Several threads may use it, and several processes at once."""

    def __init__(self, grades: Path):
        self.lock = threading.Lock()
        self.file = sqlite3.connect(grades / FILE, timeout=30, isolation_level=None, check_same_thread=False)
        self.file.execute("PRAGMA journal_mode=WAL")
        self.file.execute("PRAGMA synchronous=FULL")
        self.file.execute(SCHEMA)

    def close(self) -> None:
        self.file.close()

    def begin(self, asked: dict[str, dict]) -> None:
        """Give each question that has no rubric yet the one of `questions`."""
        with self.writing():
            known = {row["question"] for row in self._rows(0) if row["kind"] == "item"}
            for question, told in asked.items():
                for points, words in told["rubric"] if question not in known else ():
                    self._insert("", {"kind": "item", "question": question, "words": words, "points": points})

    def add(self, reader: str, rows: Iterable[dict]) -> None:
        """Add rows, all of them or none: {"kind": "mark", "question", "student", "item", "has", "answer"},
        {"kind": "comment", "question", "student", "words", "answer"} or {"kind": "item", "question", "item"
        (None: a new one), "words", "points"}. answer: its digest. Raises BadMark."""
        if not isinstance(reader, str) or not reader.strip():
            raise BadMark("who reads? Write your name at the top of the page")
        with self.writing():
            items = {row["item"]: row["question"] for row in self._rows(0) if row["kind"] == "item"}
            for row in rows:
                self._insert(clean(reader.strip())[:100], checked(row, items))

    def rows(self, after: int = 0) -> list[dict]:
        """The rows after this one, in their order."""
        with self.lock:
            return self._rows(after)

    def writing(self):
        """One whole change: nothing of it is there if an exception ends it."""
        return _Writing(self)

    def _insert(self, reader: str, row: dict) -> None:
        row = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "reader": reader} | row
        marks = ", ".join(f":{name}" for name in row)
        done = self.file.execute(f"INSERT INTO log ({', '.join(row)}) VALUES ({marks})", row)
        if row["kind"] == "item" and row.get("item") is None:  # a new item is named after its first row
            self.file.execute("UPDATE log SET item = row WHERE row = ?", (done.lastrowid,))

    def _rows(self, after: int) -> list[dict]:
        found = self.file.execute(
            f"SELECT {', '.join(COLUMNS)} FROM log WHERE row > ? ORDER BY row", (after,)
        )
        return [dict(zip(COLUMNS, row)) for row in found]


class _Writing:
    def __init__(self, marks: Marks):
        self.marks = marks

    def __enter__(self):
        self.marks.lock.acquire()
        try:
            self.marks.file.execute("BEGIN IMMEDIATE")  # another process waits here, and then sees our rows
        except BaseException:
            self.marks.lock.release()
            raise

    def __exit__(self, problem, *_):
        try:
            self.marks.file.execute("ROLLBACK" if problem else "COMMIT")
        finally:
            self.marks.lock.release()


def checked(row: dict, items: dict[int, str]) -> dict:
    """The row with nothing in it but what its kind has. items: {item: its question}. Raises BadMark."""
    try:
        kind, question = row["kind"], row["question"]
        own = {
            "item": {"item": row.get("item"), "words": row.get("words"), "points": row.get("points")},
            "mark": {"student": row.get("student"), "item": row.get("item"), "has": row.get("has")},
            "comment": {"student": row.get("student"), "words": row.get("words")},
        }[kind]
    except (KeyError, TypeError, AttributeError):
        raise BadMark("a mark is an item of the rubric, a mark or a comment") from None
    if "words" in own and not (isinstance(own["words"], str) and len(own["words"]) <= LONGEST):
        raise BadMark(f"words are a text of at most {LONGEST} characters")
    if kind == "item":
        points = own["points"]
        if isinstance(points, bool) or not isinstance(points, int | float) or not abs(points) <= 100:
            raise BadMark("points are a number from -100 to 100")
        if not own["words"].strip():
            raise BadMark("an item of the rubric has words")
    elif not isinstance(own["student"], str):
        raise BadMark("a mark is about a student")
    if (kind == "mark" or own.get("item") is not None) and items.get(own["item"]) != question:
        raise BadMark("there is no such item in the rubric of this question")
    if kind == "mark":
        own["has"] = int(bool(own["has"]))
    return {"kind": kind, "question": question, "answer": row.get("answer"), **own}


# ---- What holds ----------------------------------------------------------------------------------------


@dataclass
class Mark:
    """What holds for one answer of one student."""

    items: set[int] = field(default_factory=set)
    comments: dict[str, str] = field(default_factory=dict)  # by their readers
    answer: str = ""  # the digest of what was last marked


def holding(rows: Iterable[dict]) -> tuple[dict[int, dict], dict[tuple[str, str], Mark]]:
    """What these rows lead to: items, {item: its last row}, and marks, {(question, student): Mark}."""
    items: dict[int, dict] = {}
    marks: dict[tuple[str, str], Mark] = {}
    for row in rows:
        if row["kind"] == "item":
            items[row["item"]] = row
            continue
        mark = marks.setdefault((row["question"], row["student"]), Mark())
        mark.answer = row["answer"]
        if row["kind"] == "comment":
            mark.comments[row["reader"]] = row["words"].strip()
        else:
            (mark.items.add if row["has"] else mark.items.discard)(row["item"])
    return items, marks


def points_for(mark: Mark, items: dict[int, dict], worth: float) -> float | None:
    """The points of an answer: its items together, not under 0, and not over its worth. None: no items."""
    if not mark.items:
        return None
    return min(worth, max(0.0, math.fsum(items[item]["points"] for item in mark.items)))


@lru_cache(maxsize=2)
def _held(file: Path, inode: int, last: int):
    marks = Marks(file.parent)
    try:
        return holding(marks.rows())
    finally:
        marks.close()


def held(grades: Path):
    """`holding` for a folder of grades; None where nobody has read there. Raises OSError."""
    file = grades / FILE
    if not file.exists():
        return None
    try:
        marks = Marks(grades)
        try:
            last = marks.file.execute("SELECT max(row) FROM log").fetchone()[0]
        finally:
            marks.close()
        return _held(file.resolve(), file.stat().st_ino, last or 0)
    except sqlite3.Error as problem:  # whoever writes grades knows what to do when a file fails them
        raise OSError(errno.EIO, f"the marks cannot be read ({problem})", str(file)) from None


def marked(record: dict, grades: Path) -> dict:
    """The record with what people gave it: readers a result for each question, in a milestone of their own,
    and "comments", in one text; and `decided`. It stays as it is where nobody did. Raises Unclear."""
    return decided(read(record, grades), grades)


def read(record: dict, grades: Path) -> dict:
    """`marked`, without what was decided."""
    holds = held(grades)
    if holds is None or not holds[1]:  # who only opened the page has read nothing
        return record
    answers, report = answers_of(record), record["report"]
    results, comments, notes = [], [], []
    for place, (question, told) in enumerate(questions().items(), 1):
        mark = holds[1].get((question, clean(record["name"])), Mark())
        answer = answers.get(question, {}).get("answer", "")
        words = " / ".join(text for _, text in sorted(mark.comments.items()) if text)
        points = points_for(mark, holds[0], told["points"])
        rubric = [row for row in holds[0].values() if row["question"] == question]
        given = "; ".join(f"{row['points']:+g} {row['words']}" for row in rubric if row["item"] in mark.items)
        missing = "; ".join(
            row["words"] for row in rubric if row["item"] not in mark.items and row["points"] > 0
        )
        sentence = f"Reflection: {told['name']}"
        if words:
            comments.append(f"{told['name']}: {words}")
            sentence += f" (comment: {words})"
        if (mark.items or words) and mark.answer != digest(answer):
            notes.append(
                f"The answer «{told['name']}» was changed after it was read: its mark is of the old one."
            )
        status = UNCHECKED if points is None else PASSED if points >= told["points"] else FAILED
        results.append(
            Result(
                **{"name": f"{MILESTONE}.{told['name']}", "number": PLACE + place / 100},
                **{"milestone": MILESTONE, "sentence": sentence, "points": told["points"], "stretch": False},
                **{"status": status, "earned": points or 0, "seconds": 0.0},
                received=answer if status == FAILED else "",
                expected=missing if status == FAILED else "",
                reason="nobody has read it yet" if status == UNCHECKED else "",
                hint=f"Its points: {given}." if status == FAILED else "",
            )
        )
    kept = [Result(**one) for one in report["results"]]
    report = report | build(report | {"planned": []}, [*kept, *results], report["finished"])
    for milestone in report["milestones"]:
        if milestone["name"] == MILESTONE:
            milestone["title"] = TITLE
    return record | {
        "report": report,
        "notes": [*record["notes"], *notes],
        "comments": clean("; ".join(comments)),
    }
