"""What an instructor reads after the grading of a class: gradebook.csv, a class page, a page a student.

    python -m checks.gradebook GRADES      # writes all of it again, from the records that are there

GRADES/<student>/ holds record.json (all that was found out, written last, and whole or not at all),
grade.json, report.html, report.md, report.json, junit.xml, results.json (Gradescope), server.log, and
answers.md where there were labs. Times, addresses and the exchanges with a server differ from run to run.
grade.json and gradebook.csv do not: they are the same, byte by byte, whatever the order, the jobs or the
machines.
"""

import base64
import csv
import io
import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from checks.kit.core import FAILED, PASSED, UNCHECKED, UNSTABLE
from checks.report import model as report
from checks.report.model import Markup, clean

VERSION = 1
GRADED, NOT_GRADED, NOT_YET = "graded", "could not be graded", "not graded yet"
TAKEN = {"gradebook.csv", "index.html", "changes.csv"}  # what stands beside the students' folders
BINS = 10  # of the histogram
SHOWN = 15  # checks that lost points, before the reader has to ask for more
WRONG = (FAILED, UNSTABLE)
PAGE = (Path(__file__).parent / "class.html").read_text(encoding="utf-8").split("<!-- piece: ")[1:]
PIECES = {name: Template(text) for name, text in (piece.split(" -->\n", 1) for piece in PAGE)}


# ---- On disk --------------------------------------------------------------------------------------------


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


def write_pages(folder: Path, record: dict) -> None:
    """Write all that is made of the record."""
    remarks = [f"Could not be graded: {record['why']}."] if record["why"] else []
    remarks += [f"{record['detail']}"] if record["detail"] else []
    remarks += record["notes"]
    for path in report.write_all(record["report"], folder, tuple(map(clean, remarks))):
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
    }


def differences(old: dict, new: dict) -> list[tuple[str, str, str]]:
    """(what, old, new) for the status, every check and the points that differ between two grades."""
    told = [("status", old["status"], new["status"])]
    for name in sorted({*old["checks"], *new["checks"]}):
        told.append((name, *(_mark(grade["checks"].get(name)) for grade in (old, new))))
    told.append(("points", *(f"{grade['earned']:g} of {grade['points']:g}" for grade in (old, new))))
    return [one for one in told if one[1] != one[2]]


def _mark(check: dict | None) -> str:
    if check is None:
        return "not asked"
    return f"{check['earned']:g} of {check['points']:g}, {check['status']}"


def to_json(value) -> str:
    return json.dumps(value, ensure_ascii=True, indent=1, sort_keys=True) + "\n"


def visible(text: str) -> str:
    """Lines in which nothing steers a terminal."""
    return "".join(f"{clean(line)}\n" for line in text.split("\n")).removesuffix("\n")


def answers(record: dict) -> str:
    """The reflection answers as Markdown, for reading by hand; no word of a student is markup there."""
    blocks = [f"# Answers of {clean(record['name'])}"]
    for lab in record["labs"].get("labs", []):
        facts = ", ".join(f"{name}: {value}" for name, value in lab.items() if isinstance(value, int | str))
        blocks.append(f"- {report._words(clean(facts))}")
    for answer in record["labs"].get("answers", []):
        blocks.append(f"## {report._words(clean(answer['lab']))}: {report._words(clean(answer['question']))}")
        text = visible(answer["answer"])
        fence = "`" * max(3, 1 + report._longest_run(text))
        blocks.append(f"{fence}text\n{text}\n{fence}")
    return "\n\n".join(blocks) + "\n"


# ---- gradebook.csv --------------------------------------------------------------------------------------


def gradebook(grades: Iterable[dict]) -> str:
    """The gradebook as CSV (RFC 4180), a row a student, a column a check.

    A cell holds what a check earned; it is empty where a check could not be checked or was not asked: that is
    no 0. A submission that could not be graded has a status and a reason, and no points.
    """
    grades = sorted(grades, key=lambda grade: grade["name"])
    names = in_order({name: None for grade in grades for name in grade["checks"]})
    table = [["name", "status", "points", "of", *names, "why"]]
    for grade in grades:
        points = [f"{grade['earned']:g}", f"{grade['points']:g}"] if grade["status"] == GRADED else ["", ""]
        cells = [_cell(grade["checks"].get(name)) for name in names]
        table.append([grade["name"], grade["status"], *points, *cells, grade["why"]])
    out = io.StringIO()
    csv.writer(out).writerows([[defused(cell) for cell in row] for row in table])
    return out.getvalue()


def _cell(check: dict | None) -> str:
    return "" if check is None or check["status"] == UNCHECKED else f"{check['earned']:g}"


def defused(cell: str) -> str:
    """The cell on one line; what a spreadsheet would take for a formula begins with an apostrophe."""
    cell = clean(cell)
    return f"'{cell}" if cell.lstrip().startswith(tuple("=+-@＝＋－＠")) else cell


def in_order(names: Iterable[str]) -> list[str]:
    """Names of checks in the order of the report; those that are not known any more come last."""
    from checks.kit import grading

    place = {check.name: number for number, check in enumerate(grading.all_checks())}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


# ---- The class page -------------------------------------------------------------------------------------


def fill(piece: str, **values) -> Markup:
    told = {
        name: text if isinstance(text, Markup) else escape(clean(str(text))) for name, text in values.items()
    }
    return Markup(PIECES[piece].substitute(told))


def join(pieces: Iterable[str]) -> Markup:
    return Markup("".join(pieces))


def class_page(grades: list[dict], details: dict[str, str] = {}, changes: dict[str, list] = {}) -> Markup:  # noqa: B006
    """The page of a class; loads nothing and runs nothing. grades: as `grade_of`; details: {student: what
    was seen where it could not be graded}; changes: {student: `differences`}."""
    grades = sorted(grades, key=lambda grade: grade["name"])
    graded = [grade for grade in grades if grade["status"] == GRADED]
    others = [grade for grade in grades if grade["status"] != GRADED]
    earned = [grade["earned"] for grade in graded]
    full = sum(grade["earned"] == grade["points"] for grade in graded)
    facts = {"submissions": len(grades), "graded": len(graded)}
    facts |= dict(Counter(grade["status"] for grade in others))
    if graded:
        facts |= {"median": f"{statistics.median(earned):g}", "mean": f"{statistics.fmean(earned):.1f}"}
        facts |= {"full marks": full}
    return fill(
        "page",
        count=len(grades),
        facts=join(fill("fact", name=name, value=value) for name, value in facts.items()),
        problems=_problems(others, details),
        histogram=_histogram(graded),
        lost=_lost(graded),
        clusters=_clusters(graded),
        extremes=_extremes(graded),
        changes=_changes(changes),
        students=_students(grades),
    )


def link(name: str) -> Markup:
    address = quote(f"{name}/report.html", errors="surrogateescape")
    return Markup(fill("link", href=address, name=name).strip())


def links(names: Iterable[str]) -> Markup:
    return Markup(", ".join(map(link, sorted(names))))


def _section(piece: str, items: Iterable[str], **values) -> Markup:
    items = join(items)
    return fill(piece, items=items, **values) if items else Markup("")


def _problems(grades: list[dict], details: dict[str, str]) -> Markup:
    items = [
        fill(
            "problem",
            student=link(grade["name"]) if grade["status"] != NOT_YET else grade["name"],
            why=grade["why"] or grade["status"],
            detail=join([fill("detail", text=text)] if (text := details.get(grade["name"])) else []),
        )
        for grade in grades
    ]
    return _section("problems", items, count=len(items))


def _bin(grade: dict) -> int:
    return min(int(BINS * grade["earned"] / (grade["points"] or 1)), BINS - 1)


def _bin_name(number: int) -> str:
    low, high = 100 * number // BINS, 100 * (number + 1) // BINS
    return f"{low} to {high} %" if number == BINS - 1 else f"{low} to {high - 1} %"


def _histogram(graded: list[dict]) -> Markup:
    """How many students earned which share of the points; a bar is a link to them."""
    if not graded:
        return Markup("")
    counts = Counter(map(_bin, graded))
    top, width, height = max(counts.values()), 640, 130
    step = width / BINS
    bars, labels = [], []
    for number in range(BINS):
        count, x = counts[number], step * number
        tall = height * count / top
        if count:
            shape = {"x": f"{x + 3:g}", "y": f"{height - tall + 24:.1f}", "width": f"{step - 6:g}"}
            text = {"middle": f"{x + step / 2:g}", "above": f"{height - tall + 18:.1f}"}
            title = f"{count} with {_bin_name(number)} of the points"
            bars.append(
                fill("bar", number=number, count=count, title=title, height=f"{tall:.1f}", **shape, **text)
            )
        labels.append(fill("tick", x=f"{x:g}", text=f"{100 * number // BINS}"))
    shares = [grade["earned"] / (grade["points"] or 1) for grade in graded]
    median = f"{width * statistics.median(shares):.1f}"
    return fill("histogram", bars=join(bars), ticks=join(labels), median=median)


def _tally(graded: list[dict]) -> dict[str, dict]:
    """{check: {"points", "asked", "passed", "failed", "unchecked"}}, the last four of them lists."""
    tally: dict[str, dict] = {}
    for grade in graded:
        for name, check in grade["checks"].items():
            one = tally.setdefault(
                name, {"points": check["points"], "asked": [], "passed": [], "failed": [], "unchecked": []}
            )
            one["asked"].append(grade["name"])
            kind = {PASSED: "passed", UNCHECKED: "unchecked"}.get(check["status"], "failed")
            one[kind].append(grade["name"])
    return {name: tally[name] for name in in_order(tally)}


def _sentences() -> dict[str, tuple[str, str]]:
    """{check: (number, sentence)}."""
    from checks.kit import grading

    checks = grading.all_checks()
    return {check.name: (f"{check.number:.2f}", " ".join(check.sentence.split())) for check in checks}


def _told(name: str) -> dict[str, str]:
    number, sentence = _sentences().get(name, ("", name))
    return {"number": number, "sentence": sentence}


def _lost(graded: list[dict]) -> Markup:
    """Points lost a check, the most first: by failing, and because it could not be checked."""
    rows = []
    for name, one in _tally(graded).items():
        failed, unchecked = (one["points"] * len(one[kind]) for kind in ("failed", "unchecked"))
        if failed + unchecked:
            rows.append((failed, unchecked, name, one))
    rows.sort(key=lambda row: (-row[0], -row[1]))
    widest = max((row[0] + row[1] for row in rows), default=1)
    items = []
    for failed, unchecked, name, one in rows:
        bars = {"failed": f"{100 * failed / widest:.2f}", "unchecked": f"{100 * unchecked / widest:.2f}"}
        who = [
            fill("who", what=what, count=len(names), students=links(names))
            for what, names in (("failed", one["failed"]), (UNCHECKED, one["unchecked"]))
            if names
        ]
        items.append(
            fill("loss", **_told(name), **bars, lost=f"{failed:g}", more=f"{unchecked:g}", who=join(who))
        )
    rest = fill("rest", items=join(items[SHOWN:]), count=len(items) - SHOWN) if items[SHOWN:] else Markup("")
    return _section("lost", items[:SHOWN], rest=rest)


def clusters(graded: list[dict]) -> list[tuple[tuple[str, ...], list[str]]]:
    """(failed checks, students) for every set of failed checks that somebody has, the largest first."""
    found: dict[tuple[str, ...], list[str]] = {}
    for grade in graded:
        failed = tuple(in_order(name for name, one in grade["checks"].items() if one["status"] in WRONG))
        if failed:
            found.setdefault(failed, []).append(grade["name"])
    return sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))


def _clusters(graded: list[dict]) -> Markup:
    several = [(failed, names) for failed, names in clusters(graded) if len(names) > 1]
    alone = [names[0] for _, names in clusters(graded) if len(names) == 1]
    items = [
        fill(
            "cluster",
            count=len(names),
            students=links(names),
            checks=join(fill("check", **_told(name)) for name in failed),
        )
        for failed, names in several
    ]
    if alone:
        items.append(fill("alone", count=len(alone), students=links(alone)))
    return _section("clusters", items)


def _extremes(graded: list[dict]) -> Markup:
    tally = _tally(graded)
    nobody = [name for name, one in tally.items() if one["failed"] and not one["passed"]]
    everybody = [name for name, one in tally.items() if len(one["passed"]) == len(one["asked"])]
    parts = [
        fill(
            "extreme",
            title=title,
            count=len(names),
            open=Markup(" open" if opened else ""),
            checks=join(fill("check", **_told(name)) for name in names),
        )
        for title, names, opened in (
            ("Nobody passes", nobody, True),
            ("Everybody passes", everybody, False),
        )
        if names
    ]
    return _section("extremes", parts)


def _changes(changes: dict[str, list]) -> Markup:
    items = [
        fill("change", student=link(name), what=what, old=old, new=new)
        for name, differing in sorted(changes.items())
        for what, old, new in differing
    ]
    return _section("changes", items)


def _students(grades: list[dict]) -> Markup:
    """Everybody, the best first, those without a grade last."""
    rows, bins = [], set()
    for grade in sorted(grades, key=_by_points):
        graded = grade["status"] == GRADED
        number = _bin(grade) if graded else None
        anchor = f"share-{number}" if graded and number not in bins else ""
        bins.add(number)
        counts = Counter(check["status"] for check in grade["checks"].values())
        told = ", ".join(f"{counts[status]} {status}" for status in report.MARKS if counts[status])
        rows.append(
            fill(
                "student",
                anchor=Markup(f' id="{anchor}"') if anchor else Markup(""),
                student=link(grade["name"]) if grade["status"] != NOT_YET else grade["name"],
                status=grade["status"],
                css=PASSED if graded else "could",
                points=f"{grade['earned']:g} of {grade['points']:g}" if graded else "",
                share=f"{100 * grade['earned'] / (grade['points'] or 1) if graded else 0:.1f}",
                counts=told if graded else "",
            )
        )
    return join(rows)


def _by_points(grade: dict):
    graded = grade["status"] == GRADED
    return (not graded, -grade["earned"] / (grade["points"] or 1) if graded else 0, grade["name"])


# ---- A class --------------------------------------------------------------------------------------------


def write_class(out: Path, names: Iterable[str]) -> list[dict]:
    """Write gradebook.csv, changes.csv and index.html for these students from their records; returns their
    grades, in the order of the names."""
    grades, details, changes = [], {}, {}
    for name in sorted(names):
        record = load(out / name)
        if record is None:
            empty = {"earned": 0, "points": 0, "checks": {}, "why": ""}
            grades.append({"name": name, "status": NOT_YET} | empty)
            continue
        grades.append(grade_of(record))
        details[name] = record["detail"] if record["why"] else ""
        before = out / name / "before.json"
        if before.exists():
            changes[name] = differences(json.loads(before.read_text(encoding="utf-8")), grades[-1])
    write(out / "gradebook.csv", gradebook(grades))
    write(out / "index.html", class_page(grades, details, changes))
    table = [["name", "what", "old", "new"]]
    table += [[name, *one] for name, differing in sorted(changes.items()) for one in differing]
    lines = io.StringIO()
    csv.writer(lines).writerows([[defused(cell) for cell in row] for row in table])
    write(out / "changes.csv", lines.getvalue())
    return grades


def main(arguments: list[str]) -> int:
    """Write the pages of a folder of grades again. 0: done; 2: there are none."""
    out = Path(arguments[0]) if len(arguments) == 1 else None
    names = sorted(path.parent.name for path in out.glob("*/record.json")) if out else []
    if not names:
        print("usage: python -m checks.gradebook GRADES (the folder of a graded class)", file=sys.stderr)
        return 2
    for name in names:
        if record := load(out / name):
            write_pages(out / name, record)
    write_class(out, names)
    print(out / "index.html")
    return 0
