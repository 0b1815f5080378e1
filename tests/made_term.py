"""A folder of grades that is made up: attempts through the real result model, and no server behind them."""

from datetime import datetime
from pathlib import Path

from checks.classroom import records
from checks.course import attempts
from checks.kit.core import FAILED, PASSED, UNCHECKED, Result
from checks.report.model import build

CHECKS = {  # check: its points
    **{"m1.one": 6, "m1.two": 4},
    **{"m2.one": 10, "m2.two": 5, "m2.three": 5},
    "m5.one": 5,
    **{"lab02.first": 4, "lab02.second": 6},
}


def record(name: str, passed, submission="a", unchecked=(), answers=(), why="") -> dict:
    """The record of a submission that passed these checks of CHECKS and failed the others."""
    results = []
    for place, (check, points) in enumerate(CHECKS.items(), 1):
        status = PASSED if check in passed else UNCHECKED if check in unchecked or why else FAILED
        milestone, _, sentence = check.partition(".")
        told = {"milestone": milestone, "sentence": sentence, "points": points, "stretch": False}
        earned = points if status == PASSED else 0
        results.append(Result(check, place, **told, status=status, earned=earned, seconds=0.1))
    header = {"student": name, "graded": not why, "url": "http://127.0.0.1:8000", "seed": 1, "versions": {}}
    header |= {"started": "2026-10-01T00:00:00+00:00", "planned": []}
    labs = [{"lab": "05_x", "id": one[3:], "question": one, "answer": text} for one, text in answers]
    return {
        **{"version": records.VERSION, "name": name, "why": why, "detail": "", "seed": 1},
        **{"status": records.NOT_GRADED if why else records.GRADED, "submission": submission},
        **{"grader": {"all": "0"}, "notes": [], "log": "", "seconds": {}, "doubtful": False, "again": False},
        "labs": {"labs": [], "answers": labs} if answers else None,
        "report": build(header, results, "2026-10-01T00:01:00+00:00"),
    }


def hand_in(grades: Path, name: str, at: str, passed, submission="a", **more) -> None:
    """Have a submission of this name come in and be graded, as checks.grade keeps it; at: ISO 8601, or ""."""
    made = record(name, passed, submission, **more)
    records.save(grades / name, made)
    when = attempts.Received(datetime.fromisoformat(at), attempts.GIVEN) if at else None
    attempts.keep(grades / name, records.grade_of(made), when)
