"""The class on one page: who has no grade and why, a histogram, points lost a check, who fails alike."""

import statistics
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from urllib.parse import quote

from checks.classroom.exercises import EXERCISES
from checks.classroom.records import GRADED, NOT_YET
from checks.kit.core import PASSED, UNCHECKED
from checks.kit.grading import all_checks, in_order
from checks.report.model import MARKS, WRONG
from checks.report.pieces import Markup, Pieces, join

BINS = 10  # of the histogram
SHOWN = 15  # checks that lost points, before the reader has to ask for more
PIECES = Pieces(Path(__file__).with_name("class.html"))
fill = PIECES.fill_cleaned


def class_page(grades: list[dict], details: dict[str, str] = {}, changes: dict[str, list] = {}) -> Markup:  # noqa: B006
    """The page of a class; loads nothing and runs nothing. grades: as `grade_of`; details: {student: what
    was seen where it could not be graded}; changes: {student: `differences`}."""
    grades = sorted(grades, key=lambda grade: grade["name"])
    graded = [grade for grade in grades if grade["status"] == GRADED]
    others = [grade for grade in grades if grade["status"] != GRADED]
    earned = [grade["earned"] for grade in graded]
    full = sum(grade["earned"] >= grade["points"] for grade in graded)
    facts = {"submissions": len(grades), "graded": len(graded)}
    facts |= dict(Counter(grade["status"] for grade in others))
    if graded:
        facts |= {"median": f"{statistics.median(earned):g}", "mean": f"{statistics.fmean(earned):.1f}"}
        facts |= {"full marks": full}
    return PIECES.page(
        f"PixelWise: a class of {len(grades)}",
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
    """A link to the report of a student."""
    address = quote(f"{name}/report.html", errors="surrogateescape")
    return Markup(fill("link", href=address, name=name).strip())


def links(names: Iterable[str]) -> Markup:
    """Links to the reports of these students, in order."""
    return Markup(", ".join(map(link, sorted(names))))


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
    return PIECES.section("problems", items, count=len(items))


def _bin(grade: dict) -> int:
    return min(int(BINS * _share(grade)), BINS - 1)


def _share(grade: dict) -> float:
    """The part of the points that was earned; with a bonus it may be all and more, and is 1 all the same."""
    return min(1.0, grade["earned"] / (grade["points"] or 1))


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
    bars, told, labels = [], [], []
    for number in range(BINS):
        count, x = counts[number], step * number
        tall = height * count / top
        if count:
            shape = {"x": f"{x + 3:g}", "y": f"{height - tall + 24:.1f}", "width": f"{step - 6:g}"}
            text = {"middle": f"{x + step / 2:g}", "above": f"{height - tall + 18:.1f}"}
            title = f"{count} with {_bin_name(number)} of the points"
            bars.append(fill("bar", number=number, title=title, height=f"{tall:.1f}", **shape))
            told.append(fill("count", count=count, **text))  # above the line of the median
        labels.append(fill("tick", x=f"{x:g}", text=f"{100 * number // BINS}"))
    median = f"{width * statistics.median(map(_share, graded)):.1f}"
    return fill("histogram", bars=join(bars), counts=join(told), ticks=join(labels), median=median)


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


@cache
def _sentences() -> dict[str, tuple[str, str]]:
    """{check: (number, sentence)}."""
    checks = all_checks()
    told = {check.name: (f"{check.number:.2f}", " ".join(check.sentence.split())) for check in checks}
    return told | {one.full_name: (f"{one.number:.2f}", one.title) for one in EXERCISES}


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
    return PIECES.section("lost", items[:SHOWN], rest=rest)


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
    return PIECES.section("clusters", items)


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
    return PIECES.section("extremes", parts)


def _changes(changes: dict[str, list]) -> Markup:
    items = [
        fill("change", student=link(name), what=what, old=old, new=new)
        for name, differing in sorted(changes.items())
        for what, old, new in differing
    ]
    return PIECES.section("changes", items)


def _students(grades: list[dict]) -> Markup:
    """Everybody, the best first, those without a grade last."""
    rows, bins = [], set()
    for grade in sorted(grades, key=_by_points):
        graded = grade["status"] == GRADED
        number = _bin(grade) if graded else None
        anchor = f"share-{number}" if graded and number not in bins else ""
        bins.add(number)
        counts = Counter(check["status"] for check in grade["checks"].values())
        told = ", ".join(f"{counts[status]} {status}" for status in MARKS if counts[status])
        rows.append(
            fill(
                "student",
                anchor=Markup(f' id="{anchor}"') if anchor else Markup(""),
                student=link(grade["name"]) if grade["status"] != NOT_YET else grade["name"],
                status=grade["status"],
                css=PASSED if graded else "could",
                points=_points(grade),
                share=f"{100 * _share(grade) if graded else 0:.1f}",
                counts=told if graded else "",
            )
        )
    return join(rows)


def _points(grade: dict) -> str:
    """The points of a student: "73 of 94, labs 20 of 34"."""
    totals = [("", grade)] if grade["status"] == GRADED else []
    totals += [("labs ", grade["labs"])] if "labs" in grade else []
    return ", ".join(f"{what}{one['earned']:g} of {one['points']:g}" for what, one in totals)


def _by_points(grade: dict):
    graded = grade["status"] == GRADED
    return (not graded, -grade["earned"] / (grade["points"] or 1) if graded else 0, grade["name"])
