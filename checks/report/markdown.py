"""The report as GitHub's Markdown; no text of a server is markup in it."""

import re
from collections.abc import Iterable

from checks.kit.core import PASSED
from checks.report.model import (
    MARKS,
    WRONG,
    by_reason,
    counted,
    facts_of,
    heading_of,
    missing_in,
    number_of,
    remarks_on,
    results_of,
    score_of,
    state_of,
    with_status,
)


def markdown(report: dict, remarks: tuple[str, ...] = ()) -> str:
    """The report as GitHub's Markdown; no text of a server is markup in it. remarks: sentences above it."""
    rows = [
        f"| {one['name']} {one['title']} | {score_of(one)} | {missing_in(report, one)} |"
        for one in report["milestones"]
    ]
    blocks = [
        f"# {words(heading_of(report))}",
        f"{code(report['url'])}, started {words(report['started'])}: {counted(report['results'])}.",
        *(f"**{text}**" for text in remarks_on(report)),
        *(f"**{words(text)}**" for text in remarks),
        "\n".join(["| milestone | points | required checks |", "|---|---:|---|", *rows]),
    ]
    for milestone in report["milestones"]:
        blocks.append(f"## {milestone['name']} {milestone['title']}: {state_of(report, milestone)}")
        blocks += _markdown_blocks(results_of(report, milestone))
    return "\n\n".join(blocks) + "\n"


def _markdown_blocks(results: list[dict]) -> Iterable[str]:
    for result in with_status(results, *WRONG):
        facts = facts_of(result)
        curl = facts.pop("try it", "")
        facts |= {name: words(facts[name]) for name in ("reason", "hint") if name in facts}
        facts |= {name: code(facts[name]) for name in ("received", "expected") if name in facts}
        yield f"### {MARKS[result['status']]} {result['status']}: {_markdown_title(result)}"
        yield "\n".join(f"- {name}: {text}" for name, text in facts.items())
        if curl:
            yield fenced(curl)
    for reason, group in by_reason(results).items():
        yield f"Could not be checked, because {words(reason)}:"
        yield "\n".join(f"- ? {_markdown_title(result)}" for result in group)
    if passed := with_status(results, PASSED):
        yield "Passed:"
        yield "\n".join(f"- ✓ {_markdown_title(result)}" for result in passed)


def _markdown_title(result: dict) -> str:
    stretch = ", stretch" if result["stretch"] else ""
    return f"{number_of(result)} {words(result['sentence'])} ({score_of(result)}{stretch})"


def words(text: str) -> str:
    """Prose that is no markup; what GitHub would make a link or a mention of becomes code."""
    links = re.compile(r"@|://|www\.", re.IGNORECASE)
    special = re.compile(r"([\\`*_{}\[\]<>&|~#$!])")
    words = text.split(" ")
    return " ".join(code(word) if links.search(word) else special.sub(r"\\\1", word) for word in words)


def code(text: str) -> str:
    """A code span: between more backticks than the text has in a row (CommonMark 6.1). None can be empty:
    where there is no text, it holds a space."""
    fence = "`" * (1 + longest_run(text))
    space = " " if re.search(r"^[` ]|[` ]$", text) else ""
    return f"{fence}{space}{text or ' '}{space}{fence}"


def fenced(text: str) -> str:
    """A block of shell code, whatever backticks are in it."""
    fence = "`" * max(3, 1 + longest_run(text))
    return f"{fence}sh\n{text}\n{fence}"


def longest_run(text: str) -> int:
    """The most backticks in a row."""
    return max(map(len, re.findall("`+", text)), default=0)
