"""The reports of checks/: true to the results, whole after a crash, and harmless whatever a server said."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from checks.kit.core import FAILED, PASSED, UNCHECKED, UNSTABLE, Result
from checks.report import gradescope, junit, markdown, model, terminal
from checks.report import journal as journals
from checks.report.__main__ import main
from checks.report.files import write_all
from checks.report.page import html

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas" / "checks" / "report.json").read_text(encoding="utf-8"))
FORMATS = {
    "report.json": lambda report: json.dumps(report, ensure_ascii=False),
    "report.md": markdown.markdown,
    "report.html": html,
    "junit.xml": junit.junit,
    "results.json": lambda report: json.dumps(gradescope.gradescope(report), ensure_ascii=False),
}
NASTY = [
    *("<script>alert(1)</script>", "</pre></details></section>", "</title>", "<!--", "-->", "]]>"),
    *("<![CDATA[", "&lt;", "&", '"', "'", '" onload="x', "`", "```", "~~~", "*a*", "_a_", "|", "\\", "\\`"),
    *("[a](http://x.y)", "![a](x)", "<http://x.y>", "http://x.y", "www.x.y", "a@b.c", "$url", "${x}", "$$"),
    *("%s", "{0}", "[red]", "[/]", "# a", "- a", "1. a", "> a", "\n", "\r\n\n# a", "\n```\n", "\n\n<b>"),
    *(" ", "   ", "\t", "\x00", "\x1b[31m", "\x9b1m", "\x7f", "\ud800", "\u202e", "\u2028", "\ufeff"),
    *("~~a~~", "\ufffe", "\U0010ffff", "数", "🎉"),
]  # fmt: skip


def result(number=1.01, status=PASSED, points=2, **fields) -> Result:
    milestone = f"m{int(number)}"
    fields = {
        "name": f"{milestone}.check {number}",
        "sentence": f"sentence {number}",
        "stretch": False,
        "earned": points if status == PASSED else 0,
        "seconds": 0.25,
    } | fields
    return Result(number=number, milestone=milestone, status=status, points=points, **fields)


def failure(number=1.01, **fields) -> Result:
    evidence = [{"request": request(), "answer": {"status": 500, "headers": {"Server": "x"}, "body": "oops"}}]
    told = {"received": "500 with oops", "expected": "200", "hint": "look there", "curl": "curl -i http://h/"}
    return result(number, FAILED, **(told | {"evidence": evidence} | fields))


def request(**fields) -> dict:
    return {"method": "GET", "path": "/health", "headers": {"Accept": "*/*"}, "body": ""} | fields


def header(planned=()) -> dict:
    names = ("name", "number", "milestone", "sentence", "points", "stretch")
    return {
        "url": "http://127.0.0.1:8000",
        "seed": 7,
        "started": "2026-11-23T09:00:00+00:00",
        "versions": {"python": "3.11.2", "checks": None},
        "planned": [{name: getattr(plan, name) for name in names} for plan in planned],
    }


def built(*results: Result, planned=(), finished="2026-11-23T09:01:00+00:00") -> dict:
    return model.build(header(planned or results), results, finished)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def journal(path: Path, results, planned=(), finish=True) -> Path:
    file = journals.Journal(path / "results.jsonl", header(planned or results))
    for one in results:
        file.write(one)
    if finish:
        file.finish()
    return path / "results.jsonl"


# ---- What a report says ---------------------------------------------------------------------------------


def test_the_points_are_summed_by_milestone_and_in_all():
    report = built(result(1.01, points=0.5), failure(1.02, points=1.5), result(2.01, points=0.5))
    first, second = report["milestones"]
    assert (first["name"], first["title"], first["earned"], first["points"]) == ("m1", "HTTP", 0.5, 2)
    assert (second["title"], second["earned"], second["points"]) == ("the contract", 0.5, 0.5)
    assert (report["earned"], report["points"]) == (1, 2.5)


def test_many_small_points_sum_to_what_a_student_expects():
    report = built(*(result(1 + place / 100, points=0.1) for place in range(1, 31)))
    assert report["earned"] == report["points"] == report["milestones"][0]["points"] == 3


def test_a_stretch_check_is_not_needed_to_pass_the_milestone_but_counts_points():
    report = built(result(1.01), failure(1.02, stretch=True, points=1))
    milestone = report["milestones"][0]
    assert milestone["passed"] and milestone["earned"] == 2
    assert milestone["worth"] == "3 points, 1 of them for stretch checks"


@pytest.mark.parametrize("status", [FAILED, UNSTABLE, UNCHECKED])
def test_a_required_check_that_did_not_pass_keeps_the_milestone_from_passing(status):
    milestone = built(result(1.01), result(1.02, status))["milestones"][0]
    assert not milestone["passed"]
    assert milestone["counts"] == dict.fromkeys(model.MARKS, 0) | {PASSED: 1, status: 1}


def test_a_milestone_of_stretch_checks_alone_is_passed_only_when_they_pass():
    assert built(result(5.01, stretch=True))["milestones"][0]["passed"]
    assert not built(result(5.01, UNCHECKED, stretch=True))["milestones"][0]["passed"]


def test_results_stand_in_the_order_of_their_numbers_whatever_the_order_in_which_they_ran():
    report = built(result(2.1), result(1.02), result(2.02), result(1.01))
    assert [one["number"] for one in report["results"]] == [1.01, 1.02, 2.02, 2.1]
    assert [milestone["name"] for milestone in report["milestones"]] == ["m1", "m2"]
    assert "2.10" in markdown.markdown(report)


def test_on_a_dead_server_nothing_is_called_failed_in_any_format():
    gone = [result(number, UNCHECKED, reason="the server is gone") for number in (1.01, 1.02, 2.01)]
    report = built(*gone)
    for name, write in FORMATS.items():
        text = write(report).replace('"failed": 0', "").replace('failures="0"', "")
        text = re.sub(r"<style>.*</style>", "", text, flags=re.S)
        assert "fail" not in text.lower(), name
        assert "the server is gone" in text, name
    assert markdown.markdown(report).count("the server is gone") == 2, "the reason is said once a milestone"


# ---- The journal ----------------------------------------------------------------------------------------


def test_each_result_is_on_disk_as_soon_as_it_is_written(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((tmp_path / "results.jsonl").read_bytes()))
    journal(tmp_path, [result(1.01), failure(1.02)])
    assert [content.count(b"\n") for content in synced] == [1, 2, 3, 4]


def test_a_new_journal_makes_an_earlier_one_empty(tmp_path):
    journal(tmp_path, [result(1.01), result(1.02)])
    report = journals.read(journal(tmp_path, [result(2.01)]))
    assert [one["number"] for one in report["results"]] == [2.01]


def test_the_journal_makes_its_folder(tmp_path):
    assert journal(tmp_path / "a" / "b", [result()]).exists()


def test_a_line_torn_anywhere_costs_no_result_but_its_own(tmp_path):
    path = journal(tmp_path, [result(1.01), failure(1.02, received="é\x1b")])
    whole = path.read_bytes()
    second = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for length in range(second, len(whole) + 1):
        path.write_bytes(whole[:length])
        report = journals.read(path)
        statuses = [one["status"] for one in report["results"]]
        written = whole[:length].count(b"\n") + (whole[length : length + 1] == b"\n")
        assert statuses == [PASSED, FAILED if written >= 3 else UNCHECKED]
        assert report["complete"] is (written == 4)


def test_blocks_of_zeros_after_a_power_cut_are_a_torn_line(tmp_path):
    path = journal(tmp_path, [result(1.01)], finish=False)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert journals.read(path)["results"][0]["status"] == PASSED


def test_a_run_that_was_cut_off_says_so_everywhere_and_blames_no_check(tmp_path):
    planned = [result(1.01), result(1.02), result(2.01)]
    report = journals.read(journal(tmp_path, planned[:1], planned, finish=False))
    assert report["finished"] is None and report["complete"] is False
    assert [one["status"] for one in report["results"]] == [PASSED, UNCHECKED, UNCHECKED]
    assert report["results"][1]["reason"] == "the grading was cut off before this check"
    assert report["points"] == 6 and report["earned"] == 2
    for name, write in FORMATS.items():
        assert "cut off" in write(report), name
    assert "cut off" in shown(terminal.table(report))


def test_a_whole_run_is_not_called_cut_off():
    report = built(result(1.01), failure(1.02))
    assert report["complete"] is True
    assert all("cut off" not in write(report) for write in FORMATS.values())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "does not begin like a journal"),
        ("[]\n", "does not begin like a journal"),
        ('{"pixelwise_report": 2}\n', "does not begin like a journal"),
        ('{"pixelwise_report": 1}\n', "is damaged"),
        ("HEADER\n{torn\n{}\n", "is damaged in line 2"),
        ("HEADER\n{}\n", "is damaged"),
        ("HEADER\n3\n", "is damaged"),
        ('HEADER\n{"finished": 3}\n', "is damaged"),
        ('HEADER\n{"name": "\\u001b[31m"}\n', "is damaged"),
        ("HEADER\nRESULT, \"status\": \"wonderful\"}\n", "is damaged"),
        ("HEADER\nRESULT, \"evidence\": [3]}\n", "is damaged"),
        ("HEADER\nRESULT, \"points\": \"two\"}\n", "is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_journal_is_refused_in_one_line_with_the_remedy(tmp_path, capsys, content, says):
    content = content.replace("HEADER", json.dumps({"pixelwise_report": 1, **header()}))
    (tmp_path / "results.jsonl").write_text(content.replace("RESULT", json.dumps(asdict(result()))[:-1]))
    problem = refused(capsys, tmp_path)
    assert says in problem and problem.endswith(": grade again\n") and problem.count("\n") == 1
    assert problem.replace("\n", "").isprintable()
    assert names_in(tmp_path) == ["results.jsonl"]


# ---- Files and the command ------------------------------------------------------------------------------


def refused(capsys, *arguments) -> str:
    """What `python -m checks.report` says when it exits with 2."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def rebuild(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "checks.report", str(folder)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=60)


def test_the_command_writes_the_reports_again_after_a_crash(tmp_path):
    planned = [result(1.01), failure(1.02), result(2.01)]
    folder = tmp_path / "Übung"  # which an ASCII terminal cannot show
    path = journal(folder, planned[:2], planned, finish=False)
    path.write_bytes(path.read_bytes() + b'{"name": "m2.che')
    ran = rebuild(folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "2/6" in ran.stdout and "failed: 1.02" in ran.stdout and "cut off" in ran.stdout
    assert names_in(folder) == sorted([*FORMATS, "results.jsonl"])
    assert json.loads((folder / "report.json").read_text()) == journals.read(path)


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("--help",)])
def test_a_wrong_call_shows_the_usage(arguments, capsys):
    assert refused(capsys, *arguments).startswith("usage: python -m checks.report DIR")


def test_a_folder_without_a_grading_is_named(tmp_path, capsys):
    problem = refused(capsys, tmp_path / "nowhere")
    assert problem.endswith("/nowhere/results.jsonl is missing: name the folder of a grading\n")


def test_a_folder_that_cannot_be_written_is_named_and_left_clean(tmp_path, capsys):
    journal(tmp_path, [result()])
    (tmp_path / "report.md").mkdir()
    problem = refused(capsys, tmp_path)
    assert problem.count("\n") == 1 and "Is a directory: name a folder" in problem
    assert names_in(tmp_path) == ["report.json", "report.md", "results.jsonl"]


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    before = built(result())
    files = write_all(before, tmp_path)
    assert [file.name for file in files] == list(FORMATS)
    contents = {file: file.read_bytes() for file in files}

    def full(path, text, **options):
        with path.open("w") as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_all(built(failure()), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == contents


# ---- The formats ----------------------------------------------------------------------------------------


def shown(renderable, width=100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable, soft_wrap=True)
    return console.file.getvalue()


def test_a_line_in_the_terminal_has_mark_number_points_and_sentence():
    assert shown(terminal.line(result(2.07))) == "✓ 2.07     2/2  sentence 2.07\n"
    assert shown(terminal.line(failure(2.1))) == "✗ 2.10     0/2  sentence 2.1\n"
    assert (
        shown(terminal.line(result(points=0.5, stretch=True))) == "✓ 1.01 0.5/0.5  sentence 1.01 (stretch)\n"
    )
    assert shown(terminal.line(result(status=UNSTABLE))).startswith("~")
    assert shown(terminal.line(result(status=UNCHECKED))).startswith("?")


def test_an_explanation_has_a_line_per_fact_and_leaves_the_curl_line_whole():
    curl = "curl -i -d " + "x" * 300
    lines = shown(terminal.explanation(failure(curl=curl))).splitlines()
    assert [one.split()[0] for one in lines] == ["received", "expected", "try", "hint"]
    assert lines[2].endswith(curl)
    assert shown(terminal.explanation(result(status=UNCHECKED, reason="no key"))).split() == [
        "reason",
        "no",
        "key",
    ]


def test_the_table_says_which_required_checks_are_missing():
    unchecked = [result(2.02, UNCHECKED), result(3.01, UNCHECKED)]
    report = built(result(1.01), failure(2.01), failure(2.03, stretch=True), *unchecked)
    text = shown(terminal.table(report))
    rows = [re.split(r"\s*[│┃]\s*", line)[1:4] for line in text.splitlines() if "│" in line]
    assert rows == [
        ["m1 HTTP", "2/2", "passed"],
        ["m2 the contract", "0/6", "failed: 2.01; could not be checked: 2.02"],
        ["m3 keys and limits", "0/2", "could not be checked"],
        ["total", "2/10", "1 passed, 2 failed, 2 could not be checked"],
    ]


def test_gradescope_gets_scores_that_sum_to_the_total_and_stable_numbers():
    graded = [
        result(1.1, points=0.5),
        failure(1.02),
        result(1.03, UNSTABLE),
        result(2.01, UNCHECKED, reason="why"),
    ]
    told = gradescope.gradescope(built(*graded))
    assert told["score"] == sum(test["score"] for test in told["tests"]) == 0.5
    assert [test["number"] for test in told["tests"]] == ["1.02", "1.03", "1.10", "2.01"]
    assert [test.get("status") for test in told["tests"]] == ["failed", "failed", "passed", None]
    assert {test["visibility"] for test in told["tests"]} == {"visible"}
    assert {test["output_format"] for test in told["tests"]} == {"text"}, (
        "HTML or Markdown would be injection"
    )
    assert told["tests"][3]["output"] == "could not be checked\nreason: why"
    assert "1 could not be checked" in told["output"]


def test_junit_has_a_suite_per_milestone_and_skips_what_could_not_be_checked():
    suites = ElementTree.fromstring(
        junit.junit(
            built(result(1.01), failure(1.02), result(1.03, UNSTABLE), result(2.01, UNCHECKED, reason="why"))
        )
    )
    assert [suite.get("name") for suite in suites] == ["m1 HTTP", "m2 the contract"]
    counts = [[suite.get(name) for name in ("tests", "failures", "errors", "skipped")] for suite in suites]
    assert counts == [["3", "2", "0", "0"], ["1", "0", "0", "1"]]
    assert [failure.get("type") for failure in suites.iter("failure")] == [FAILED, UNSTABLE]
    assert suites.find(".//failure").get("message") == "received 500 with oops, expected 200"
    assert [skipped.get("message") for skipped in suites.iter("skipped")] == ["why"]


class Tags(HTMLParser):
    """The elements of a page with their attributes, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        self.tags.append(("comment", {}))


def test_the_page_opens_what_failed_above_what_passed():
    page = Tags(html(built(result(1.01), failure(1.02), result(1.03, UNCHECKED, reason="why"))))
    text = "".join(page.text)
    assert text.index("To fix (1)") < text.index("Could not be checked (1)") < text.index("Passed (1)")
    opened = [attributes for tag, attributes in page.tags if tag == "details" and "open" in attributes]
    assert [attributes["id"] for attributes in opened] == ["check-1.02"]
    for part in (
        "500 with oops",
        "look there",
        "curl -i http://h/",
        "GET /health\nAccept: */*",
        "500\nServer: x",
    ):
        assert part in text


def test_the_page_loads_nothing_and_runs_nothing():
    page = Tags(html(built(failure(1.01), failure(2.01))))
    policy = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policy and policy[0].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert links and all(link[1:] in ids for link in links), "a link leads to a place on the page"
    assert len(ids) == len(set(ids))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "url(" not in html(built(result())) and "@import" not in html(built(result()))


def test_the_page_can_be_read_without_colours_and_pictures():
    page = Tags(html(built(result(1.01), failure(1.02), result(2.01, UNSTABLE))))
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert [picture["aria-label"] for picture in pictures] == [
        "2 of 6 points",
        "1 passed, 1 failed",
        "1 unstable",
    ]
    assert all(picture["role"] == "img" for picture in pictures)
    assert ("html", {"lang": "en"}) in page.tags
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
    for colours in re.findall(r"--page: (#\w+).*?--ink: (#\w+).*?--soft: (#\w+)", html(built()), re.S):
        paper, *inks = map(luminance, colours)
        for ink in inks:
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, "WCAG 2.2, 1.4.3"


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def test_the_schema_describes_every_field():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def objects(schema):
        if isinstance(schema, dict):
            yield schema
            for value in schema.values():
                yield from objects(value)

    for schema in objects(SCHEMA):
        if "properties" in schema:
            assert schema["additionalProperties"] is False
            assert sorted(schema["required"]) == sorted(schema["properties"]) or "oneOf" in schema
    fields = SCHEMA["properties"]["results"]["items"]["properties"]
    assert list(fields) == list(asdict(result()))
    assert all("description" in field for field in [*SCHEMA["properties"].values(), *fields.values()])


@pytest.mark.parametrize("extra", [{"surprise": 1}, {"version": 2}, {"seed": "7"}, {"results": [{}]}])
def test_the_schema_refuses_what_is_no_report(extra):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(built(failure()) | extra, SCHEMA)


# ---- Whatever the server said ---------------------------------------------------------------------------

texts = st.lists(st.sampled_from(NASTY) | st.text(st.characters(), max_size=8), max_size=5).map("".join)
headers = st.dictionaries(texts, texts, max_size=2)
messages = {"headers": headers, "body": texts}
requests = st.fixed_dictionaries({"method": texts, "path": texts, **messages})
answers = st.fixed_dictionaries({"status": st.integers(-1, 999), **messages})
exchanges = st.fixed_dictionaries({"request": requests, "answer": answers}) | st.fixed_dictionaries(
    {"request": requests, "problem": texts}
)


@st.composite
def gradings(draw) -> tuple[dict, list[Result]]:
    """(header, results) with any text wherever text can stand."""
    names = ("sentence", "received", "expected", "reason", "hint", "curl")
    results = [
        result(
            draw(st.integers(1, 5)) + place / 100,
            draw(st.sampled_from(list(model.MARKS))),
            draw(st.sampled_from([0, 0.5, 1, 2.5])),
            name=f"{place} {draw(texts)}",
            stretch=draw(st.booleans()),
            evidence=draw(st.lists(exchanges, max_size=2)),
            **{name: draw(texts) for name in names},
        )
        for place in range(1, draw(st.integers(0, 4)) + 1)
    ]
    around = {
        "url": draw(texts),
        "started": draw(texts),
        "versions": draw(st.dictionaries(texts, texts, max_size=2)),
    }
    return header(results) | around, results


def everything() -> tuple[dict, list[Result]]:
    """Each nasty text in every place, alone, in a failed check and in one that could not be checked."""
    results = []
    for place, text in enumerate(NASTY, 1):
        message = {"headers": {text: text}, "body": text}
        sent = {"method": text, "path": text, **message}
        told = dict.fromkeys(("sentence", "received", "expected", "reason", "hint", "curl"), text)
        told["evidence"] = [
            {"request": sent, "answer": {"status": 200, **message}},
            {"request": sent, "problem": text},
        ]
        results.append(failure(1 + place / 100, name=f"{place} {text}", **told))
        results.append(result(2 + place / 100, UNCHECKED, name=f"{place} {text} again", **told))
    around = {"url": text, "started": text, "versions": {text: text for text in NASTY}}
    return header(results) | around, results


def any_grading(function):
    function = example(grading=everything(), finished=None)(function)
    function = given(grading=gradings(), finished=st.none() | texts)(function)
    return settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))(function)


def harmless(value, known=None):
    """The same report with a short word in place of each text that may come from outside."""
    known = {} if known is None else known
    if isinstance(value, dict):
        kept = ("milestone", "status", "milestones", "complete", "version")
        return {
            name if name in NAMES else harmless(name, known): content
            if name in kept
            else harmless(content, known)
            for name, content in value.items()
        }
    if isinstance(value, list):
        return [harmless(content, known) for content in value]
    return known.setdefault(value, f"x{len(known)}") if isinstance(value, str) and value else value


NAMES = {
    *SCHEMA["properties"],
    *asdict(result()),
    "request",
    "answer",
    "problem",
    "method",
    "path",
    "headers",
    "body",
}


@any_grading
def test_a_report_is_valid_and_the_journal_gives_it_back(grading, finished, tmp_path_factory):
    around, results = grading
    report = model.build(around, results, None)
    jsonschema.validate(report, SCHEMA)
    path = tmp_path_factory.mktemp("journal") / "results.jsonl"
    file = journals.Journal(path, around)
    for one in results:
        file.write(one)
    assert journals.read(path) == report
    file.finish()
    assert journals.read(path) == report | {"finished": journals.read(path)["finished"], "complete": True}


@any_grading
def test_no_format_contains_a_control_character(grading, finished):
    around, results = grading
    report = model.build(around, results, finished)
    written = [write(report) for write in FORMATS.values()]
    for text in [
        *written,
        *(shown(terminal.line(one)) + shown(terminal.explanation(one)) for one in results),
    ]:
        assert text.replace("\n", "").isprintable()
        text.encode()  # no lone surrogate either


@any_grading
def test_no_text_becomes_an_element_of_the_page(grading, finished):
    around, results = grading
    report = model.build(around, results, finished)
    page, plain = Tags(html(report)), Tags(html(harmless(report)))
    assert page.tags == plain.tags
    text = "".join(page.text)
    for one in report["results"]:
        if one["status"] in (FAILED, UNSTABLE):
            assert all(
                one[name] in text for name in ("sentence", "received", "expected", "curl", "hint", "reason")
            )


@any_grading
def test_no_text_becomes_markup_in_markdown(grading, finished):
    around, results = grading
    report = model.build(around, results, finished)
    parse = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse

    def structure(tokens):
        return [(token.type, token.tag) for token in tokens if token.type != "inline"]

    tokens = parse(markdown.markdown(report))
    assert structure(tokens) == structure(parse(markdown.markdown(harmless(report))))
    assert not any(token.type == "html_block" for token in tokens)
    children = [child for token in tokens for child in token.children or []]
    assert {child.type for child in children} <= {
        "text", "text_special", "code_inline", "softbreak", "strong_open", "strong_close"
    }  # fmt: skip
    assert sum(child.type == "strong_open" for child in children) == (not report["complete"]), (
        "our own remark"
    )
    for child in children:
        if child.type == "text":
            assert not re.search("://|www\\.|@", child.content, re.IGNORECASE), "GitHub makes links of these"
    codes = [child.content.strip() for child in children if child.type == "code_inline"]
    fences = [token.content.rstrip("\n") for token in tokens if token.type == "fence"]
    for one in report["results"]:
        if one["status"] in (FAILED, UNSTABLE):
            assert not one["received"] or one["received"].strip() in codes
            assert not one["curl"] or one["curl"] in fences


@any_grading
def test_junit_is_well_formed_and_keeps_the_texts(grading, finished):
    around, results = grading
    report = model.build(around, results, finished)
    cases = list(ElementTree.fromstring(junit.junit(report)).iter("testcase"))
    assert [case.get("name") for case in cases] == [
        f"{one['number']:.2f} {one['sentence']}" for one in report["results"]
    ]
    for case, one in zip(cases, report["results"]):
        tags = {PASSED: [], FAILED: ["failure"], UNSTABLE: ["failure"], UNCHECKED: ["skipped"]}[one["status"]]
        assert [child.tag for child in case] == tags
        if tags == ["failure"]:
            assert one["received"] in (case[0].text or "")


@any_grading
def test_the_terminal_shows_text_as_it_is_on_one_line(grading, finished):
    around, results = grading
    shown(terminal.table(model.build(around, results, finished)))  # markup in it would raise or vanish
    for one in results:
        sentence = model.clean(" ".join(one.sentence.split()))
        assert shown(terminal.line(one)).count("\n") == 1
        assert sentence in shown(terminal.line(one))
        if one.received:
            assert model.clean(one.received) in shown(terminal.explanation(one))


def test_a_text_without_end_is_cut():
    report = built(
        failure(received="x" * 1_000_000, evidence=[{"request": request(), "problem": "y" * 1_000_000}])
    )
    assert all(len(write(report)) < 70_000 for write in FORMATS.values())
