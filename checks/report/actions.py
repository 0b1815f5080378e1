"""The points of a report for GitHub: `python -m checks.report.actions DIR`, in a workflow.

Two notices say them, as GitHub Classroom reads them from its own reporter
(https://github.com/classroom-resources/autograding-grading-reporter), and the report goes into the summary of
the run (https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands).
"""

import json
import os
import sys
from pathlib import Path


def notices(report: dict) -> str:
    """The points as workflow commands, one a line."""
    points = {"totalPoints": report["earned"], "maxPoints": report["points"]}
    return (
        f"::notice title=Autograding complete::Points {report['earned']:g}/{report['points']:g}\n"
        f"::notice title=Autograding report::{json.dumps(points)}\n"
    )


def main(arguments: list[str]) -> int:
    """0: told, whatever the grade; 1: there is no report."""
    folder = Path(*arguments[:1])
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        text = (folder / "report.md").read_text(encoding="utf-8")
    except FileNotFoundError as problem:
        print(
            f"{problem.filename} is missing: the grading did not begin, read the step before", file=sys.stderr
        )
        return 1
    print(notices(report), end="")
    with Path(os.environ.get("GITHUB_STEP_SUMMARY", os.devnull)).open("a", encoding="utf-8") as summary:
        summary.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
