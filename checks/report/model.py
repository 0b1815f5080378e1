"""One result model: a report is a dict as schemas/checks/report.json describes it, and what is asked of it.

`build` takes out of it what could steer a terminal or break XML; each format then escapes for itself. No text
of a server is believed to be harmless.
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

from checks.kit.core import FAILED, PASSED, UNCHECKED, UNSTABLE, Result

TITLES = {
    "m1": "HTTP",
    "m2": "the contract",
    "m3": "keys and limits",
    "m4": "the machine",
    "m5": "the fourth endpoint",
}
LABS = {  # their points have a total of their own
    "lab00": "catching up",
    "lab01": "HTTP, REST and curl",
    "lab02": "the contract and the server",
    "lab03": "keys and limits, in the lab",
    "lab04": "from dev to production",
    "lab05": "answering for it",
    "lab06": "a fourth endpoint, in the lab",
}
BONUS = {"m5"}  # its points come on top: who tries it never stands below who does not
MARKS = {PASSED: "✓", FAILED: "✗", UNSTABLE: "~", UNCHECKED: "?"}
COLOURS = {PASSED: "green", FAILED: "red", UNSTABLE: "yellow", UNCHECKED: "cyan"}
STYLES = {status: status for status in MARKS} | {UNCHECKED: "unchecked", "not passed yet": "failed"}
WRONG = (FAILED, UNSTABLE)
CUT_OFF = "the grading was cut off before this check"
LONGEST = 8000  # characters of one text in a report: a curl line with a whole picture fits


def now() -> str:
    """The time as a report shows it: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def build(header: dict, results: Iterable[Result], finished: str | None) -> dict:
    """The report of results that are in memory; a planned check without a result could not be checked.

    header: as Journal takes it, and "student" and "graded" (False: there is no grade, whatever was found
    out); finished: ISO 8601, or None where the grading was cut off.
    """
    told = {result.name: result for result in results}
    planned = [plan for plan in header["planned"] if plan["name"] not in told]
    lost = [Result(**plan, status=UNCHECKED, earned=0, seconds=0.0, reason=CUT_OFF) for plan in planned]
    every = sorted(map(plain, [*told.values(), *lost]), key=_place)
    labs = [one for one in every if is_lab(one["milestone"])]
    counted = [one for one in every if not is_lab(one["milestone"])]
    return {
        "version": 1,
        "student": clean(header.get("student", "")),
        "graded": header.get("graded", True),
        "url": clean(header["url"]),
        "seed": header["seed"],
        "started": clean(header["started"]),
        "finished": finished and clean(finished),
        "versions": _cleaned(header["versions"]),
        "milestones": [
            _milestone(name, list(results)) for name, results in groupby(every, itemgetter("milestone"))
        ],
        "results": every,
        "earned": total(counted, "earned"),
        "points": total([one for one in counted if one["milestone"] not in BONUS] or counted, "points"),
        "labs": {name: total(labs, name) for name in ("earned", "points")},
        "complete": finished is not None and not lost,
    }


def is_lab(milestone: str) -> bool:
    """Whether its points are those of a lab, which are no part of the total."""
    return milestone.startswith("lab")


def _place(result: dict) -> tuple[str, float]:
    """Where a result stands: m1 to m5, then the labs, then what was read."""
    return result["milestone"].replace("lab", "n"), result["number"]


def _milestone(name: str, results: list[dict]) -> dict:
    points = total(results, "points")
    stretch = total([result for result in results if result["stretch"]], "points")
    return {
        "name": name,
        "title": (TITLES | LABS).get(name, name),
        "earned": total(results, "earned"),
        "points": points,
        "passed": all(result["status"] == PASSED for result in _required(results)),
        "counts": {status: len(with_status(results, status)) for status in MARKS},
        "worth": f"{points:g} points"
        + (f", {stretch:g} of them for stretch checks" if stretch else "")
        + (", on top of all others" if name in BONUS else "")
        + (", in a total of the labs" if is_lab(name) else ""),
    }


def _required(results: list[dict]) -> list[dict]:
    """What must pass for the milestone: all but the stretch checks, or all where there is nothing else."""
    return [result for result in results if not result["stretch"]] or results


def total(results: list[dict], field: str) -> float:
    """The sum of a field, without the noise of floats."""
    return round(math.fsum(result[field] for result in results), 6)


def clean(text: str) -> str:
    """The text on one line, with nothing invisible in it: no control, no escape, no change of direction.

    What is taken out stays readable (\\x1b, \\u202e). This also leaves nothing that XML 1.0 forbids.
    """
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if cut.isprintable():  # nearly always, and it costs a hundredth
        return cut
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)


def _cleaned(value):
    if isinstance(value, dict):
        return {clean(name): _cleaned(content) for name, content in value.items()}
    if isinstance(value, list):
        return [_cleaned(content) for content in value]
    return clean(value) if isinstance(value, str) else value


def plain(result: Result) -> dict:
    """A result as the dict that stands in a report."""
    told = dict(vars(result))
    for name in ("name", "sentence", "reason", "hint"):  # our own words: a line break is only a space there
        told[name] = " ".join(told[name].split())
    return _cleaned(told)


# ---- What its readers ask ------------------------------------------------------------------------------


def score_of(thing: dict) -> str:
    """Earned and possible points of a result, a milestone or a report: "2/3"."""
    return f"{thing['earned']:g}/{thing['points']:g}"


def heading_of(report: dict) -> str:
    """What the report is about, in a line: "Ada: 73 of 94 points, and 20 of 32 in the labs". Without a grade
    there are no points, and not 0."""
    who = report.get("student") or "PixelWise"
    told = f"{report['earned']:g} of {report['points']:g} points" if has_grade(report) else "no grade"
    return f"{who}: {told}{and_labs(report)}"


def and_labs(report: dict) -> str:
    """What stands behind a total: ", and 20 of 32 in the labs", or nothing where no lab was graded."""
    labs = labs_of(report)
    return f", and {labs['earned']:g} of {labs['points']:g} in the labs" if labs["points"] else ""


def labs_of(report: dict) -> dict:
    """Earned and possible points of the labs; 0 of 0 where none was graded."""
    return report.get("labs", {"earned": 0, "points": 0})


def has_grade(report: dict) -> bool:
    """Whether there is one: else it could not be graded, and the remarks say why."""
    return report.get("graded", True)


def first_to_mend(results: list[dict]) -> dict | None:
    """Of what failed, the check that most points wait for, its own included; the first of several."""
    wrong = {result["sentence"]: result for result in with_status(results, *WRONG)}
    needed = {one["sentence"]: _needed_by(one) for one in with_status(results, UNCHECKED)}
    waiting = {sentence: result["points"] for sentence, result in wrong.items()}
    for result in with_status(results, UNCHECKED):
        sentence = _needed_by(result)
        for _ in needed:  # what it waits for may wait as well
            sentence = needed.get(sentence, sentence)
        if sentence in waiting:
            waiting[sentence] += result["points"]
    return wrong[max(waiting, key=waiting.get)] if waiting else None


def _needed_by(result: dict) -> str:
    """The sentence of the check that this one waits for (`Session.run` says so), or ""."""
    found = re.match(r'it needs "(.*)", which ', result["reason"])
    return found[1] if found else ""


def facts_of(result: dict) -> dict[str, str]:
    """What there is to say about a check that did not pass, in the order in which it is read."""
    facts = {name: result[name] for name in ("received", "expected", "reason")}
    facts |= {"try it": result["curl"], "hint": result["hint"]}
    return {name: text for name, text in facts.items() if text}


def results_of(report: dict, milestone: dict) -> list[dict]:
    """The results of one milestone."""
    return [result for result in report["results"] if result["milestone"] == milestone["name"]]


def with_status(results: list[dict], *statuses: str) -> list[dict]:
    """The results that have one of these statuses."""
    return [result for result in results if result["status"] in statuses]


def state_of(report: dict, milestone: dict) -> str:
    """Of a milestone: "passed", "not passed yet", or that it could not be checked."""
    if milestone["passed"]:
        return "passed"
    return "not passed yet" if with_status(_required(results_of(report, milestone)), *WRONG) else UNCHECKED


def missing_in(report: dict, milestone: dict) -> str:
    """The required checks that have not passed: "failed: 2.03, 2.07; could not be checked: 2.09"."""
    required = _required(results_of(report, milestone))
    if len(with_status(required, UNCHECKED)) == len(required):
        return UNCHECKED
    numbers = {
        status: ", ".join(map(number_of, with_status(required, status)))
        for status in MARKS
        if status != PASSED
    }
    return "; ".join(f"{status}: {found}" for status, found in numbers.items() if found) or "passed"


def by_reason(results: list[dict]) -> dict[str, list[dict]]:
    """What could not be checked. On a dead server every check has the same reason: it is said once."""
    reasons: dict[str, list[dict]] = {}
    for result in with_status(results, UNCHECKED):
        reasons.setdefault(result["reason"], []).append(result)
    return reasons


def counted(results: list[dict]) -> str:
    """How many have which status: "3 passed, 1 failed"."""
    counts = {status: len(with_status(results, status)) for status in MARKS}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def remarks_on(report: dict) -> list[str]:
    """What a reader must know before believing the total."""
    cut = "The grading was cut off. What came after that point could not be checked: grade again."
    return [] if report["complete"] else [cut]


def number_of(result: dict) -> str:
    """The number of a check as it is read: "2.10"."""
    return f"{result['number']:.2f}"


def lines_of(result: dict) -> str:
    """The facts of a result as text, one a line."""
    return "\n".join(f"{name}: {text}" for name, text in facts_of(result).items())
