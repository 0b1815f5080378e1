"""The report as one HTML page that loads nothing and runs nothing."""

from collections.abc import Iterable
from pathlib import Path

from checks.kit.core import PASSED, UNCHECKED
from checks.report.model import (
    MARKS,
    STYLES,
    WRONG,
    by_reason,
    counted,
    facts_of,
    first_to_mend,
    has_grade,
    heading_of,
    number_of,
    remarks_on,
    results_of,
    score_of,
    state_of,
    with_status,
)
from checks.report.pieces import Markup, Pieces, join

PIECES = Pieces(Path(__file__).with_name("report.html"))
fill = PIECES.fill


def html(report: dict, remarks: tuple[str, ...] = ()) -> str:
    """The report as one page that loads nothing and runs nothing.
    remarks: sentences at its top."""
    finished = f"finished {report['finished']}" if report["finished"] else "cut off"
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items() if value)
    graded = has_grade(report)
    first = first_to_mend(report["results"])
    return PIECES.page(
        heading_of(report),
        score=f"{report['earned']:g}" if graded else "–",
        below=f"of {report['points']:g}" if graded else "no grade",
        label=heading_of(report).rpartition(": ")[2],
        heading=heading_of(report),
        share=f"{min(100, 100 * report['earned'] / (report['points'] or 1)) if graded else 0:.2f}",
        url=report["url"],
        counts=counted(report["results"]),
        next=join(
            fill("next", number=number_of(one), sentence=one["sentence"]) for one in [first] if one and graded
        ),
        remark=join(fill("remark", text=text) for text in (*remarks_on(report), *remarks)),
        overview=join(_html_milestone("overview", report, milestone) for milestone in report["milestones"]),
        sections=join(_html_milestone("section", report, milestone) for milestone in report["milestones"]),
        about=f"Started {report['started']}, {finished}. Seed {report['seed']}. {versions}.",
    )


def _html_milestone(piece: str, report: dict, milestone: dict) -> Markup:
    results = results_of(report, milestone)
    state = state_of(report, milestone)
    pixels = [fill("pixel", css=STYLES[one["status"]], x=14 * place) for place, one in enumerate(results)]
    return fill(
        piece,
        name=milestone["name"],
        title=milestone["title"],
        state=state,
        css=STYLES[state],
        score=score_of(milestone),
        earned=f"{milestone['earned']:g}",
        worth=milestone["worth"],
        picture=fill("picture", counts=counted(results), width=14 * len(results), pixels=join(pixels)),
        groups=join(_html_groups(results)),
    )


def _html_groups(results: list[dict]) -> Iterable[Markup]:
    """What is to be fixed first, opened; then what could not be checked; then what passed."""
    if wrong := with_status(results, *WRONG):
        yield fill("wrong", count=len(wrong), checks=join(map(_html_wrong, wrong)))
    if unchecked := with_status(results, UNCHECKED):
        yield fill("unchecked", count=len(unchecked))
    for reason, group in by_reason(results).items():
        yield fill("because", reason=reason, checks=join(_html_title("quiet", one) for one in group))
    if passed := with_status(results, PASSED):
        yield fill("passed", count=len(passed), checks=join(_html_title("quiet", one) for one in passed))


def _html_title(piece: str, result: dict, **more) -> Markup:
    status = result["status"]
    title = fill(
        "title",
        mark=MARKS[status],
        number=number_of(result),
        sentence=result["sentence"],
        stretch=join([fill("stretch")] if result["stretch"] else []),
        score=score_of(result),
    )
    return fill(piece, css=STYLES[status], status=status, number=number_of(result), title=title, **more)


def _html_wrong(result: dict) -> Markup:
    facts = facts_of(result)
    sides = [fill("side", name=name, text=facts[name]) for name in ("expected", "received") if name in facts]
    rest = [fill(name, text=facts[name]) for name in ("reason", "try it", "hint") if name in facts]
    evidence = map(_html_exchange, result["evidence"])
    return _html_title("check", result, sides=join(sides), facts=join(rest), evidence=join(evidence))


def _html_exchange(exchange: dict) -> Markup:
    request, answer = exchange["request"], exchange.get("answer")
    sent = _message(f"{request['method']} {request['path']}", request)
    came = _message(str(answer["status"]), answer) if answer else exchange["problem"]
    return fill("exchange", sent=sent, came=came)


def _message(start: str, message: dict) -> str:
    headers = [f"{name}: {value}" for name, value in message["headers"].items()]
    return "\n".join([start, *headers, "", message["body"]]).rstrip()
