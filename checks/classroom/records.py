"""What was found out about a submission, on disk: a folder a student.

GRADES/<student>/ holds record.json (all that was found out, written last, and whole or not at all),
grade.json, report.html, report.md, report.json, junit.xml, results.json (Gradescope), server.log, and
answers.md where there were labs. Times, addresses and the exchanges with a server differ from run to run.
grade.json does not: it is the same, byte by byte, whatever the order, the jobs or the machines.
"""

import base64
import json
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from checks.classroom.marks import marked
from checks.classroom.server import URL
from checks.kit import core
from checks.report.files import write_all
from checks.report.markdown import longest_run, words
from checks.report.model import build, clean, labs_of, now

VERSION = 1
GRADED, NOT_GRADED, NOT_YET = "graded", "could not be graded", "not graded yet"
# What may be the fault of a machine that is busy with others: it is graded again when it is not
DOUBT = "no whole answer within|took longer than the window|time for this check was used up"
DOUBT += "|the labs took longer than|its cell took longer than|time for this exercise was used up"
DOUBT = re.compile(DOUBT)


def record_of(
    task: dict,
    why: str,
    detail: str = "",
    *,
    results=(),
    times: tuple[str, ...] = (),
    notes=(),
    log="",
    labs=None,
    seconds=None,
    again=False,
    graded=False,
) -> dict:
    """The record of a submission: all that its pages are made of. why: why it could not be graded; or, if
    graded all the same, why no more was found out. again: it says nothing about the submission, so that the
    next run grades it again."""
    times = times or (now(),)
    doubtful = (graded and why) or any(
        one.status == core.UNSTABLE or DOUBT.search(one.received + one.reason) for one in results
    )
    header = {
        "student": task["name"],
        "graded": graded,
        "url": URL,
        "seed": task["seed"],
        "started": times[0],
        "versions": {"python": platform.python_version(), "platform": platform.platform()},
        "planned": [],
    }
    return {
        "version": VERSION,
        "name": task["name"],
        "status": GRADED if graded else NOT_GRADED,
        "why": why,
        "detail": clean(detail),
        "seed": task["seed"],
        "submission": task["submission"],
        "grader": task["grader"],
        "report": build(header, results, times[-1]),
        "notes": list(notes),
        "log": log,
        "labs": labs,
        "seconds": seconds or {},
        "again": again,
        "doubtful": bool(doubtful) and not task["alone"],
        "limit": task["seconds"],
    }


def write(path: Path, content: str | bytes) -> None:
    """Write a file so that after a crash or a power cut it is there whole, or as it was before."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(folder: Path) -> dict | None:
    """The record of a student; None where there is none that this version can read."""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return record if record["version"] == VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(folder: Path, record: dict) -> list[tuple[str, str, str]]:
    """Write all files of a student; returns what differs from the grade before (see `differences`)."""
    folder.mkdir(parents=True, exist_ok=True)
    last, before = load(folder), folder / "before.json"
    old = grade_of(last) if last else None
    if (
        last and last["doubtful"]
    ):  # never told to anybody: what counts is the grade before it, if there was one
        old = json.loads(before.read_text(encoding="utf-8")) if before.exists() else None
    changed = differences(old, grade_of(record)) if old else []
    if changed or (old and record["doubtful"]):
        write(before, to_json(old))
    else:
        before.unlink(missing_ok=True)
    write_pages(folder, record)
    write(folder / "record.json", to_json(record))  # last: it says that the rest is there
    return changed


def is_graded(record: dict) -> bool:
    """Whether there is a grade: points, be they 0."""
    return record["status"] == GRADED


def write_pages(folder: Path, record: dict) -> None:
    """Write all that is made of the record, and of the marks of who read its answers."""
    record = marked(record, folder.parent)
    remarks = []
    if record["why"]:
        remarks = [
            f"{'Not all was graded' if is_graded(record) else 'Could not be graded'}: {record['why']}."
        ]
    remarks += [f"{record['detail']}"] if record["detail"] else []
    remarks += record["notes"]
    for path in write_all(record["report"], folder, tuple(map(clean, remarks))):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    write(folder / "server.log", visible(record["log"]))
    if record["labs"]:
        write(folder / "answers.md", answers(record))
        for name, content in record["labs"].get("files", {}).items():
            file = folder / "labs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, base64.b64decode(content))
    write(folder / "grade.json", to_json(grade_of(record)))


def grade_of(record: dict) -> dict:
    """The part of a record that is the same in every run: what was earned, and why no more."""
    results = record["report"]["results"]
    shown = ("status", "earned", "points")
    return {name: record[name] for name in ("name", "status", "why", "seed", "submission")} | {
        "earned": record["report"]["earned"],
        "points": record["report"]["points"],
        "checks": {result["name"]: {name: result[name] for name in shown} for result in results},
        **({"labs": labs_of(record["report"])} if labs_of(record["report"])["points"] else {}),
        # of who read the answers, and of who decided otherwise
        **{name: record[name] for name in ("comments", "overrides") if name in record},
    }


def differences(old: dict, new: dict) -> list[tuple[str, str, str]]:
    """(what, old, new) for the status, every check and the points that differ between two grades."""
    told = [("status", old["status"], new["status"])]
    for name in sorted({*old["checks"], *new["checks"]}):
        told.append((name, *(_mark(grade["checks"].get(name)) for grade in (old, new))))
    told.append(("points", *(f"{grade['earned']:g} of {grade['points']:g}" for grade in (old, new))))
    labs = [grade.get("labs", {"earned": 0, "points": 0}) for grade in (old, new)]
    told.append(("labs", *(f"{one['earned']:g} of {one['points']:g}" for one in labs)))
    return [one for one in told if one[1] != one[2]]


def _mark(check: dict | None) -> str:
    if check is None:
        return "not asked"
    return f"{check['earned']:g} of {check['points']:g}, {check['status']}"


def to_json(value) -> str:
    """The same bytes for the same value."""
    return json.dumps(value, ensure_ascii=True, indent=1, sort_keys=True) + "\n"


def visible(text: str) -> str:
    """Lines in which nothing steers a terminal."""
    return "".join(f"{clean(line)}\n" for line in text.split("\n")).removesuffix("\n")


def answers(record: dict) -> str:
    """The reflection answers as Markdown, for reading by hand; no word of a student is markup there."""
    blocks = [f"# Answers of {words(clean(record['name']))}"]
    told = record["labs"].get("answers", [])
    for lab in record["labs"].get("labs", []):
        blocks.append(f"## {words(clean(lab['lab']))}")
        blocks.append("\n".join(f"- {words(clean(fact))}" for fact in _facts_of(lab)))
        blocks += map(_answer, (one for one in told if one["lab"] == lab["lab"]))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _facts_of(lab: dict) -> Iterator[str]:
    """What is known of a lab, in sentences."""
    if lab["why"]:
        yield f"not run: {lab['why']}"
    if lab["exercises"]:
        done = f"{lab['done']} of {lab['exercises']} done"
        yield f"exercises: {done}, {lab['right']} right when they were run again"
    yield from lab["notes"]


def _answer(answer: dict) -> str:
    text = visible(answer["answer"]).strip()
    title = f"**{words(clean(answer['question']))}**"
    if not text:
        return f"{title}\n\n> (no answer)"
    if answer["question"].startswith("exercise "):  # code keeps its lines and spaces
        fence = "`" * max(3, 1 + longest_run(text))
        return f"{title}\n\n{fence}python\n{text}\n{fence}"
    return title + "\n\n" + "\n".join(f"> {words(line)}".rstrip() for line in text.split("\n"))
