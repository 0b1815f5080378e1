"""Whatever a server said, no format of a report is broken by it, or does anything."""

import re
from dataclasses import asdict
from xml.etree import ElementTree

import jsonschema
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_reports import FORMATS, NASTY, SCHEMA, Tags, built, failure, header, request, result, shown
from markdown_it import MarkdownIt

from checks.kit.core import FAILED, PASSED, UNCHECKED, UNSTABLE, Result
from checks.report import journal as journals
from checks.report import junit, markdown, model, terminal
from checks.report.page import html

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


@given(grading=gradings(), finished=st.none() | texts)
@example(grading=everything(), finished=None)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_text_breaks_a_report_or_does_anything(grading, finished, tmp_path_factory):
    """All formats of one grading: to make it up costs more than to write them."""
    around, results = grading
    report = model.build(around, results, finished)
    it_is_valid_and_the_journal_gives_it_back(
        around, results, tmp_path_factory.mktemp("journal") / "results.jsonl"
    )
    no_format_contains_a_control_character(results, report)
    no_text_becomes_an_element_of_the_page(report)
    no_text_becomes_markup_in_markdown(report)
    junit_is_well_formed_and_keeps_the_texts(report)
    the_terminal_shows_text_as_it_is_on_one_line(results, report)


def it_is_valid_and_the_journal_gives_it_back(around, results, path):
    report = model.build(around, results, None)
    jsonschema.validate(report, SCHEMA)
    file = journals.Journal(path, around)
    for one in results:
        file.write(one)
    assert journals.read(path) == report
    file.finish()
    assert journals.read(path) == report | {"finished": journals.read(path)["finished"], "complete": True}


def no_format_contains_a_control_character(results, report):
    written = [write(report) for write in FORMATS.values()]
    for text in [
        *written,
        *(shown(terminal.line(one)) + shown(terminal.explanation(one)) for one in results),
    ]:
        assert text.replace("\n", "").isprintable()
        text.encode()  # no lone surrogate either


def no_text_becomes_an_element_of_the_page(report):
    page, plain = Tags(html(report)), Tags(html(harmless(report)))
    assert page.tags == plain.tags
    text = "".join(page.text)
    for one in report["results"]:
        if one["status"] in (FAILED, UNSTABLE):
            assert all(
                one[name] in text for name in ("sentence", "received", "expected", "curl", "hint", "reason")
            )


def test_an_empty_text_is_code_as_well_and_begins_none_that_a_later_text_ends():
    _, line, _ = MarkdownIt("commonmark").parse(f"{markdown.code('')}, {markdown.words('`http://x.y')}")
    codes = [child.content for child in line.children if child.type == "code_inline"]
    assert codes == [" ", "`http://x.y"]


def no_text_becomes_markup_in_markdown(report):
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


def junit_is_well_formed_and_keeps_the_texts(report):
    cases = list(ElementTree.fromstring(junit.junit(report)).iter("testcase"))
    assert [case.get("name") for case in cases] == [
        f"{one['number']:.2f} {one['sentence']}" for one in report["results"]
    ]
    for case, one in zip(cases, report["results"]):
        tags = {PASSED: [], FAILED: ["failure"], UNSTABLE: ["failure"], UNCHECKED: ["skipped"]}[one["status"]]
        assert [child.tag for child in case] == tags
        if tags == ["failure"]:
            assert one["received"] in (case[0].text or "")


def the_terminal_shows_text_as_it_is_on_one_line(results, report):
    shown(terminal.table(report))  # markup in it would raise or vanish
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
