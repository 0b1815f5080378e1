"""The report as results.json, for an autograder of Gradescope."""

from checks.kit.core import PASSED, UNCHECKED
from checks.report.model import (
    and_labs,
    counted,
    has_grade,
    is_lab,
    lines_of,
    number_of,
    remarks_on,
    total,
)


def gradescope(report: dict, remarks: tuple[str, ...] = ()) -> dict:
    """results.json for an autograder (https://gradescope-autograders.readthedocs.io/en/latest/specs/).
    remarks: sentences that come first in its output. Without a grade there is no score, and not 0."""
    graded = has_grade(report)
    return ({"score": report["earned"]} if graded else {}) | {
        "execution_time": round(total(report["results"], "seconds")),
        "output": " ".join(
            [*remarks, f"{counted(report['results'])}{and_labs(report)}.", *remarks_on(report)]
        ),
        "output_format": "text",
        # at once: the student edition asks the same, and the output says what to mend
        "visibility": "visible",
        "stdout_visibility": "hidden",  # what else the autograder's script prints is the instructor's
        "extra_data": {name: report[name] for name in ("url", "seed", "started", "finished", "complete")},
        "tests": [
            _gradescope_test(result, graded or is_lab(result["milestone"])) for result in report["results"]
        ],
    }


def _gradescope_test(result: dict, graded: bool) -> dict:
    # A check that could not be checked earned nothing, but nobody found it wrong: it has no "status", and its
    # output says why. (Gradescope then colours it by its score.) An unstable one did fail.
    status = {PASSED: {"status": "passed"}, UNCHECKED: {}}.get(result["status"], {"status": "failed"})
    return {
        **({"score": result["earned"], "max_score": result["points"]} if graded else {}),
        **status,
        "name": result["sentence"] + (" (stretch)" if result["stretch"] else ""),
        "name_format": "text",
        "number": number_of(result),
        "output": "passed"
        if result["status"] == PASSED
        else f"{result['status']}\n{lines_of(result)}".strip(),
        "output_format": "text",
        "visibility": "visible",
        "extra_data": {name: result[name] for name in ("name", "milestone", "stretch", "status", "seconds")},
    }
