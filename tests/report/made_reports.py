"""Results, reports and journals for tests, and texts that try to break them."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

from rich.console import Console

from checks.kit.core import FAILED, PASSED, Result
from checks.report import gradescope, junit, markdown, model
from checks.report import journal as journals
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


def shown(renderable, width=100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable, soft_wrap=True)
    return console.file.getvalue()


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
