"""What a student and an instructor read after a grading: terminal, HTML, Markdown, JSON, JUnit, Gradescope.

Every result goes into a journal (results.jsonl) the moment it is known, so that a crash loses nothing:

    python -m checks.report DIR      # writes the reports of DIR/results.jsonl again, and prints the summary

A report is a dict that schemas/checks/report.json describes. `build` takes out of it what could steer a
terminal or break XML; each format then escapes for itself. No text of a server is believed to be harmless.
"""

import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from string import Template
from xml.etree import ElementTree

import jsonschema
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from checks.kit.core import FAILED, PASSED, UNCHECKED, UNSTABLE, Result

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas" / "checks" / "report.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PAGE = (Path(__file__).parent / "report.html").read_text(encoding="utf-8").split("<!-- piece: ")[1:]
PIECES = {name: Template(text) for name, text in (piece.split(" -->\n", 1) for piece in PAGE)}
TITLES = {
    "m1": "HTTP",
    "m2": "the contract",
    "m3": "keys and limits",
    "m4": "the machine",
    "m5": "the fourth endpoint",
}
MARKS = {PASSED: "✓", FAILED: "✗", UNSTABLE: "~", UNCHECKED: "?"}
COLOURS = {PASSED: "green", FAILED: "red", UNSTABLE: "yellow", UNCHECKED: "cyan"}
STYLES = {status: status for status in MARKS} | {UNCHECKED: "unchecked", "not passed yet": "failed"}
WRONG = (FAILED, UNSTABLE)
CUT_OFF = "the grading was cut off before this check"
LONGEST = 8000  # characters of one text in a report: a curl line with a whole picture fits


# ---- The journal ----------------------------------------------------------------------------------------


class BadJournal(Exception):
    """A journal that no report can be made of. The message is a sentence with the remedy."""


class Journal:
    """The results of a grading that runs, one JSON line each, on disk before the next check begins.

    header: {"url": …, "seed": …, "started": ISO 8601, "versions": {…}, "planned": [{"name", "number",
    "milestone", "sentence", "points", "stretch"}, …]}. Opening it makes an earlier journal empty.
    """

    def __init__(self, path: Path, header: dict):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w", encoding="ascii", newline="\n")
        self._append({"pixelwise_report": 1, **header})

    def write(self, result: Result) -> None:
        self._append(asdict(result))

    def finish(self) -> None:
        """Say that the grading came to its end; nothing can be written after that."""
        self._append({"finished": now()})
        self.file.close()

    def _append(self, entry: dict) -> None:
        # ASCII, so that a line torn anywhere is still text and a lone surrogate is no problem
        self.file.write(json.dumps(entry, ensure_ascii=True) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def now() -> str:
    """The time as a report shows it: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(path: Path) -> dict:
    """The report of a journal, also of one that a crash cut off. Raises BadJournal, or OSError."""
    entries = _entries(path)
    header = entries[0] if entries else None
    if not isinstance(header, dict) or header.get("pixelwise_report") != 1:
        raise BadJournal(f"{path} does not begin like a journal of the checks: grade again")
    try:
        finished = [entry["finished"] for entry in entries[1:] if "finished" in entry]
        results = [Result(**entry) for entry in entries[1:] if "finished" not in entry]
        report = build(header, results, finished[-1] if finished else None)
        VALIDATOR.validate(report)
    except (TypeError, KeyError, AttributeError, ValueError, jsonschema.ValidationError) as error:
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        raise BadJournal(f"{path} is damaged ({clean(message)[:200]}): grade again") from None
    return report


def _entries(path: Path) -> list:
    if not path.exists():
        raise BadJournal(f"{path} is missing: name the folder of a grading")
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    entries = []
    for place, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            if place < len(lines):
                raise BadJournal(f"{path} is damaged in line {place}: grade again") from None
    return entries  # without the last line, if a crash tore it


# ---- The report -----------------------------------------------------------------------------------------


def build(header: dict, results: Iterable[Result], finished: str | None) -> dict:
    """The report of results that are in memory; a planned check without a result could not be checked.

    header: as Journal takes it; finished: ISO 8601, or None where the grading was cut off.
    """
    told = {result.name: result for result in results}
    planned = [plan for plan in header["planned"] if plan["name"] not in told]
    lost = [Result(**plan, status=UNCHECKED, earned=0, seconds=0.0, reason=CUT_OFF) for plan in planned]
    plain = sorted(map(_plain, [*told.values(), *lost]), key=itemgetter("milestone", "number"))
    return {
        "version": 1,
        "url": clean(header["url"]),
        "seed": header["seed"],
        "started": clean(header["started"]),
        "finished": finished and clean(finished),
        "versions": _cleaned(header["versions"]),
        "milestones": [
            _milestone(name, list(results)) for name, results in groupby(plain, itemgetter("milestone"))
        ],
        "results": plain,
        "earned": _sum(plain, "earned"),
        "points": _sum(plain, "points"),
        "complete": finished is not None and not lost,
    }


def _milestone(name: str, results: list[dict]) -> dict:
    points = _sum(results, "points")
    stretch = _sum([result for result in results if result["stretch"]], "points")
    return {
        "name": name,
        "title": TITLES.get(name, name),
        "earned": _sum(results, "earned"),
        "points": points,
        "passed": all(result["status"] == PASSED for result in _required(results)),
        "counts": {status: len(_with(results, status)) for status in MARKS},
        "worth": f"{points:g} points" + (f", {stretch:g} of them for stretch checks" if stretch else ""),
    }


def _required(results: list[dict]) -> list[dict]:
    """What must pass for the milestone: all but the stretch checks, or all where there is nothing else."""
    return [result for result in results if not result["stretch"]] or results


def _sum(results: list[dict], field: str) -> float:
    return round(math.fsum(result[field] for result in results), 6)


def clean(text: str) -> str:
    """The text on one line, with nothing invisible in it: no control, no escape, no change of direction.

    What is taken out stays readable (\\x1b, \\u202e). This also leaves nothing that XML 1.0 forbids.
    """
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)


def _cleaned(value):
    if isinstance(value, dict):
        return {clean(name): _cleaned(content) for name, content in value.items()}
    if isinstance(value, list):
        return [_cleaned(content) for content in value]
    return clean(value) if isinstance(value, str) else value


def _plain(result: Result) -> dict:
    told = asdict(result)
    for name in ("name", "sentence", "reason", "hint"):  # our own words: a line break is only a space there
        told[name] = " ".join(told[name].split())
    return _cleaned(told)


def _score(thing: dict) -> str:
    return f"{thing['earned']:g}/{thing['points']:g}"


def _facts(result: dict) -> dict[str, str]:
    """What there is to say about a check that did not pass, in the order in which it is read."""
    facts = {name: result[name] for name in ("received", "expected", "reason")}
    facts |= {"try it": result["curl"], "hint": result["hint"]}
    return {name: text for name, text in facts.items() if text}


def _of(report: dict, milestone: dict) -> list[dict]:
    return [result for result in report["results"] if result["milestone"] == milestone["name"]]


def _with(results: list[dict], *statuses: str) -> list[dict]:
    return [result for result in results if result["status"] in statuses]


def _state(report: dict, milestone: dict) -> str:
    if milestone["passed"]:
        return "passed"
    return "not passed yet" if _with(_required(_of(report, milestone)), *WRONG) else UNCHECKED


def _missing(report: dict, milestone: dict) -> str:
    """The required checks that have not passed: "failed: 2.03, 2.07; could not be checked: 2.09"."""
    required = _required(_of(report, milestone))
    if len(_with(required, UNCHECKED)) == len(required):
        return UNCHECKED
    numbers = {
        status: ", ".join(map(_number, _with(required, status))) for status in MARKS if status != PASSED
    }
    return "; ".join(f"{status}: {found}" for status, found in numbers.items() if found) or "passed"


def _by_reason(results: list[dict]) -> dict[str, list[dict]]:
    """What could not be checked. On a dead server every check has the same reason: it is said once."""
    reasons: dict[str, list[dict]] = {}
    for result in _with(results, UNCHECKED):
        reasons.setdefault(result["reason"], []).append(result)
    return reasons


def _counts(results: list[dict]) -> str:
    counts = {status: len(_with(results, status)) for status in MARKS}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def _remarks(report: dict) -> list[str]:
    """What a reader must know before believing the total."""
    cut = "The grading was cut off. What came after that point could not be checked: grade again."
    return [] if report["complete"] else [cut]


def _number(result: dict) -> str:
    return f"{result['number']:.2f}"


# ---- The terminal ---------------------------------------------------------------------------------------


def line(result: Result) -> Text:
    """One line for a check: "✗ 2.07   0/2  a picture with a pixel of 256 gets 422 (stretch)"."""
    told = _plain(result)
    style = COLOURS[result.status]
    text = Text.assemble((f"{MARKS[result.status]} {result.number:.2f}", style), f" {_score(told):>7}  ")
    return text.append(told["sentence"]).append(" (stretch)" if result.stretch else "", "dim")


def explanation(result: Result) -> Text:
    """Why a check did not pass, a line per fact. Print it with soft_wrap=True, so that curl stays whole."""
    facts = [Text.assemble((f"{name:>14}  ", "dim"), text) for name, text in _facts(_plain(result)).items()]
    return Text("\n").join(facts)


def table(report: dict) -> Table:
    """The summary: a line per milestone with its points and what is missing, then the total."""
    summary = Table("milestone", Column("points", justify="right"), "required checks", caption_justify="left")
    summary.caption = Text("".join(_remarks(report)), "bold red")
    for milestone in report["milestones"]:
        verdict = Text(_missing(report, milestone), COLOURS[PASSED] if milestone["passed"] else "")
        summary.add_row(Text(f"{milestone['name']} {milestone['title']}"), Text(_score(milestone)), verdict)
    summary.add_section()
    summary.add_row(Text("total", "bold"), Text(_score(report), "bold"), Text(_counts(report["results"])))
    return summary


# ---- Markdown -------------------------------------------------------------------------------------------


def markdown(report: dict, remarks: tuple[str, ...] = ()) -> str:
    """The report as GitHub's Markdown; no text of a server is markup in it. remarks: sentences above it."""
    rows = [
        f"| {milestone['name']} {milestone['title']} | {_score(milestone)} | {_missing(report, milestone)} |"
        for milestone in report["milestones"]
    ]
    blocks = [
        f"# PixelWise: {report['earned']:g} of {report['points']:g} points",
        f"{_code(report['url'])}, started {_words(report['started'])}: {_counts(report['results'])}.",
        *(f"**{text}**" for text in _remarks(report)),
        *(f"**{_words(text)}**" for text in remarks),
        "\n".join(["| milestone | points | required checks |", "|---|---:|---|", *rows]),
    ]
    for milestone in report["milestones"]:
        blocks.append(f"## {milestone['name']} {milestone['title']}: {_state(report, milestone)}")
        blocks += _markdown_blocks(_of(report, milestone))
    return "\n\n".join(blocks) + "\n"


def _markdown_blocks(results: list[dict]) -> Iterable[str]:
    for result in _with(results, *WRONG):
        facts = _facts(result)
        curl = facts.pop("try it", "")
        facts |= {name: _words(facts[name]) for name in ("reason", "hint") if name in facts}
        facts |= {name: _code(facts[name]) for name in ("received", "expected") if name in facts}
        yield f"### {MARKS[result['status']]} {result['status']}: {_markdown_title(result)}"
        yield "\n".join(f"- {name}: {text}" for name, text in facts.items())
        if curl:
            yield _fenced(curl)
    for reason, group in _by_reason(results).items():
        yield f"Could not be checked, because {_words(reason)}:"
        yield "\n".join(f"- ? {_markdown_title(result)}" for result in group)
    if passed := _with(results, PASSED):
        yield "Passed:"
        yield "\n".join(f"- ✓ {_markdown_title(result)}" for result in passed)


def _markdown_title(result: dict) -> str:
    stretch = ", stretch" if result["stretch"] else ""
    return f"{_number(result)} {_words(result['sentence'])} ({_score(result)}{stretch})"


def _words(text: str) -> str:
    """Prose that is no markup; what GitHub would make a link or a mention of becomes code."""
    links = re.compile(r"@|://|www\.", re.IGNORECASE)
    special = re.compile(r"([\\`*_{}\[\]<>&|~#$!])")
    words = text.split(" ")
    return " ".join(_code(word) if links.search(word) else special.sub(r"\\\1", word) for word in words)


def _code(text: str) -> str:
    """A code span: between more backticks than the text has in a row (CommonMark 6.1)."""
    fence = "`" * (1 + _longest_run(text))
    space = " " if re.search(r"^[` ]|[` ]$", text) else ""
    return f"{fence}{space}{text}{space}{fence}"


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}sh\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


# ---- HTML -----------------------------------------------------------------------------------------------


class Markup(str):
    """Text that is HTML already; every other text is escaped on its way into the page."""


def html(report: dict, remarks: tuple[str, ...] = ()) -> str:
    """The report as one page that loads nothing and runs nothing; checks/report.html holds its pieces.
    remarks: sentences at its top."""
    wrong = _with(report["results"], *WRONG)
    finished = f"finished {report['finished']}" if report["finished"] else "cut off"
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items() if value)
    return _fill(
        "page",
        score=f"{report['earned']:g}",
        points=f"{report['points']:g}",
        share=f"{100 * report['earned'] / (report['points'] or 1):.2f}",
        url=report["url"],
        counts=_counts(report["results"]),
        next=_join(_fill("next", number=_number(one), sentence=one["sentence"]) for one in wrong[:1]),
        remark=_join(_fill("remark", text=text) for text in (*_remarks(report), *remarks)),
        overview=_join(_html_milestone("overview", report, milestone) for milestone in report["milestones"]),
        sections=_join(_html_milestone("section", report, milestone) for milestone in report["milestones"]),
        about=f"Started {report['started']}, {finished}. Seed {report['seed']}. {versions}.",
    )


def _fill(piece: str, **values) -> Markup:
    escaped = {name: text if isinstance(text, Markup) else escape(str(text)) for name, text in values.items()}
    return Markup(PIECES[piece].substitute(escaped))


def _join(pieces: Iterable[Markup]) -> Markup:
    return Markup("".join(pieces))


def _html_milestone(piece: str, report: dict, milestone: dict) -> Markup:
    results = _of(report, milestone)
    state = _state(report, milestone)
    pixels = [_fill("pixel", css=STYLES[one["status"]], x=14 * place) for place, one in enumerate(results)]
    return _fill(
        piece,
        name=milestone["name"],
        title=milestone["title"],
        state=state,
        css=STYLES[state],
        score=_score(milestone),
        earned=f"{milestone['earned']:g}",
        worth=milestone["worth"],
        picture=_fill("picture", counts=_counts(results), width=14 * len(results), pixels=_join(pixels)),
        groups=_join(_html_groups(results)),
    )


def _html_groups(results: list[dict]) -> Iterable[Markup]:
    """What is to be fixed first, opened; then what could not be checked; then what passed."""
    if wrong := _with(results, *WRONG):
        yield _fill("wrong", count=len(wrong), checks=_join(map(_html_wrong, wrong)))
    if unchecked := _with(results, UNCHECKED):
        yield _fill("unchecked", count=len(unchecked))
    for reason, group in _by_reason(results).items():
        yield _fill("because", reason=reason, checks=_join(_html_title("quiet", one) for one in group))
    if passed := _with(results, PASSED):
        yield _fill("passed", count=len(passed), checks=_join(_html_title("quiet", one) for one in passed))


def _html_title(piece: str, result: dict, **more) -> Markup:
    status = result["status"]
    title = _fill(
        "title",
        mark=MARKS[status],
        number=_number(result),
        sentence=result["sentence"],
        stretch=_join([_fill("stretch")] if result["stretch"] else []),
        score=_score(result),
    )
    return _fill(piece, css=STYLES[status], status=status, number=_number(result), title=title, **more)


def _html_wrong(result: dict) -> Markup:
    facts = _facts(result)
    sides = [_fill("side", name=name, text=facts[name]) for name in ("expected", "received") if name in facts]
    rest = [_fill(name, text=facts[name]) for name in ("reason", "try it", "hint") if name in facts]
    evidence = map(_html_exchange, result["evidence"])
    return _html_title("check", result, sides=_join(sides), facts=_join(rest), evidence=_join(evidence))


def _html_exchange(exchange: dict) -> Markup:
    request, answer = exchange["request"], exchange.get("answer")
    sent = _message(f"{request['method']} {request['path']}", request)
    came = _message(str(answer["status"]), answer) if answer else exchange["problem"]
    return _fill("exchange", sent=sent, came=came)


def _message(start: str, message: dict) -> str:
    headers = [f"{name}: {value}" for name, value in message["headers"].items()]
    return "\n".join([start, *headers, "", message["body"]]).rstrip()


# ---- For machines ---------------------------------------------------------------------------------------


def junit(report: dict) -> str:
    """JUnit XML, a test suite per milestone. What could not be checked is skipped: it is not wrong."""
    suites = ElementTree.Element("testsuites", name="pixelwise")
    for milestone in report["milestones"]:
        results, counts = _of(report, milestone), milestone["counts"]
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=f"{milestone['name']} {milestone['title']}",
            tests=str(len(results)),
            failures=str(counts[FAILED] + counts[UNSTABLE]),
            errors="0",
            skipped=str(counts[UNCHECKED]),
            time=f"{_sum(results, 'seconds'):.3f}",
            timestamp=report["started"],
        )
        for result in results:
            _junit_case(suite, result)
    ElementTree.indent(suites)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _junit_case(suite: ElementTree.Element, result: dict) -> None:
    name = f"{_number(result)} {result['sentence']}"
    time = f"{result['seconds']:.3f}"
    case = ElementTree.SubElement(suite, "testcase", classname=result["milestone"], name=name, time=time)
    if result["status"] == UNCHECKED:
        ElementTree.SubElement(case, "skipped", message=result["reason"])
    elif result["status"] != PASSED:
        message = ", ".join(f"{name} {text}" for name, text in list(_facts(result).items())[:2])
        failure = ElementTree.SubElement(case, "failure", type=result["status"], message=message)
        failure.text = _lines(result)


def gradescope(report: dict, remarks: tuple[str, ...] = ()) -> dict:
    """results.json for an autograder (https://gradescope-autograders.readthedocs.io/en/latest/specs/).
    remarks: sentences that come first in its output."""
    return {
        "score": report["earned"],
        "execution_time": round(_sum(report["results"], "seconds")),
        "output": " ".join([*remarks, f"{_counts(report['results'])}.", *_remarks(report)]),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",  # what else the autograder's script prints is the instructor's
        "extra_data": {name: report[name] for name in ("url", "seed", "started", "finished", "complete")},
        "tests": [_gradescope_test(result) for result in report["results"]],
    }


def _gradescope_test(result: dict) -> dict:
    # A check that could not be checked earned nothing, but nobody found it wrong: it has no "status", and its
    # output says why. (Gradescope then colours it by its score.) An unstable one did fail.
    status = {PASSED: {"status": "passed"}, UNCHECKED: {}}.get(result["status"], {"status": "failed"})
    return {
        "score": result["earned"],
        "max_score": result["points"],
        **status,
        "name": result["sentence"] + (" (stretch)" if result["stretch"] else ""),
        "name_format": "text",
        "number": _number(result),
        "output": "passed" if result["status"] == PASSED else f"{result['status']}\n{_lines(result)}".strip(),
        "output_format": "text",
        "visibility": "visible",
        "extra_data": {name: result[name] for name in ("name", "milestone", "stretch", "status", "seconds")},
    }


def _lines(result: dict) -> str:
    return "\n".join(f"{name}: {text}" for name, text in _facts(result).items())


def write_all(report: dict, folder: Path, remarks: tuple[str, ...] = ()) -> list[Path]:
    """Write the report in all formats; returns the files, each whole or not there. Raises OSError.
    remarks: sentences that a reader must know first, on one line each (`clean`)."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.json": _json(report),
        "report.md": markdown(report, remarks),
        "report.html": html(report, remarks),
        "junit.xml": junit(report),
        "results.json": _json(gradescope(report, remarks)),
    }
    return [_write(folder / name, text) for name, text in texts.items()]


def _json(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    return path


def main(arguments: list[str]) -> int:
    """Rebuild the reports of a folder. 0: done, whatever the grade; 2: nothing could be done."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m checks.report DIR (the folder with results.jsonl)", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    try:
        report = read(folder / "results.jsonl")
        files = write_all(report, folder)
    except BadJournal as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{error.filename}: {error.strerror}: name a folder that you may read and write", file=sys.stderr
        )
        return 2
    sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ shows a ? instead of a traceback
    console = Console()
    console.print(table(report))
    for file in files:
        console.print(Text(str(file)), soft_wrap=True)
    return 0
