"""The formats of a report: what each of them says, to whom."""

import re
from dataclasses import asdict
from xml.etree import ElementTree

import jsonschema
import pytest
from made_reports import SCHEMA, Tags, built, failure, header, result, shown

from checks.kit.core import FAILED, UNCHECKED, UNSTABLE
from checks.report import gradescope, junit, markdown, model, terminal
from checks.report.page import html


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


def of(student="", graded=True, *results):
    about = header(results) | {"student": student, "graded": graded}
    return model.build(about, results, "2026-11-23T09:01:00+00:00")


def test_the_report_names_the_student():
    report = of("Ada <b>", True, result(1.01), failure(1.02))
    assert markdown.markdown(report).startswith("# Ada \\<b\\>: 2 of 4 points\n")
    page = html(report)
    assert (
        "<title>Ada &lt;b&gt;: 2 of 4 points</title>" in page
        and "<h1>Ada &lt;b&gt;: 2 of 4 points</h1>" in page
    )
    jsonschema.validate(report, SCHEMA)
    assert markdown.markdown(of("", True, result(1.01))).startswith("# PixelWise: 2 of 2 points\n")


def test_without_a_grade_there_are_no_points_and_not_0():
    report = of("Ada", False, result(4.01), failure(4.02), result(1.01, UNCHECKED, reason="no server"))
    page = Tags(html(report, ("Could not be graded: no server.",)))
    text = " ".join("".join(page.text).split())
    assert "Ada: no grade" in text and "of 6" not in text
    assert page.tags[[tag for tag, _ in page.tags].index("svg")][1]["aria-label"] == "no grade"
    assert markdown.markdown(report).startswith("# Ada: no grade\n")
    told = gradescope.gradescope(report, ("Could not be graded: no server.",))
    assert "score" not in told and not [one for one in told["tests"] if "score" in one]
    assert told["output"].startswith("Could not be graded: no server.")
    assert "no grade" in shown(terminal.table(report))
    assert gradescope.gradescope(of("Ada", True, failure(1.01)))["score"] == 0
    jsonschema.validate(report, SCHEMA)
