"""The report as a student reads it on a terminal: a line a check, why it did not pass, and the summary."""

import codecs
import os
import sys

from rich.table import Column, Table
from rich.text import Text

from checks.kit.core import PASSED, Result
from checks.report.model import (
    COLOURS,
    MARKS,
    counted,
    facts_of,
    has_grade,
    labs_of,
    missing_in,
    plain,
    remarks_on,
    score_of,
)

SPELLED = {"✓": "ok", "✗": "no", "…": "...", "→": "->", "·": "-", "–": "-", "—": "-", "×": "x", "’": "'"}


def spell(problem: UnicodeEncodeError) -> tuple[str, int]:
    """A handler of codec errors: a character that the terminal does not have becomes one that it has."""
    letters = problem.object[problem.start : problem.end]
    told = (SPELLED.get(one) or one.encode("ascii", "backslashreplace").decode() for one in letters)
    return "".join(told), problem.end


def for_any_terminal() -> None:
    """From now on nothing that is printed raises UnicodeEncodeError: not ✓ in Latin-1, no name in ASCII."""
    codecs.register_error("spell", spell)
    for stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="spell")


def in_utf8() -> None:
    """Start this command again in Python's UTF-8 mode where the locale is another: whatever the terminal can
    show, the names of students' folders and the texts of their files are UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        told = {"PYTHONUTF8": "1", "PYTHONIOENCODING": sys.stdout.encoding}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | told)


def line(result: Result) -> Text:
    """One line for a check: "✗ 2.07   0/2  a picture with a pixel of 256 gets 422 (stretch)"."""
    told = plain(result)
    style = COLOURS[result.status]
    text = Text.assemble((f"{MARKS[result.status]} {result.number:.2f}", style), f" {score_of(told):>7}  ")
    return text.append(told["sentence"]).append(" (stretch)" if result.stretch else "", "dim")


def explanation(result: Result) -> Text:
    """Why a check did not pass, a line per fact. Print it with soft_wrap=True, so that curl stays whole."""
    facts = [Text.assemble((f"{name:>14}  ", "dim"), text) for name, text in facts_of(plain(result)).items()]
    return Text("\n").join(facts)


def table(report: dict) -> Table:
    """The summary: a line per milestone with its points and what is missing, then the total."""
    summary = Table("milestone", Column("points", justify="right"), "required checks", caption_justify="left")
    summary.caption = Text("".join(remarks_on(report)), "bold red")
    for milestone in report["milestones"]:
        verdict = Text(missing_in(report, milestone), COLOURS[PASSED] if milestone["passed"] else "")
        summary.add_row(Text(f"{milestone['name']} {milestone['title']}"), Text(score_of(milestone)), verdict)
    summary.add_section()
    summary.add_row(
        Text("total", "bold"),
        Text(score_of(report) if has_grade(report) else "no grade", "bold"),
        Text(counted(report["results"])),
    )
    if (labs := labs_of(report))["points"]:
        summary.add_row(Text("labs", "bold"), Text(score_of(labs), "bold"), Text("a total of their own"))
    return summary
