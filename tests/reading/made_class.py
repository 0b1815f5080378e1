"""A graded class that is made up: 50 students, 300 answers to six questions, and who wrote what is known."""

from pathlib import Path

from checks.classroom import marks, records
from checks.kit import core
from checks.report.model import build

STUDENTS = [f"student {number:02}" for number in range(50)]
QUESTIONS = list(marks.questions())
SAME = "It stops with the terminal; systemd starts it again."  # the first ten wrote this
ALIKE = (
    "When the process dies at night, systemd starts it again after {} seconds, and nobody has to be awake."
)
OTHER = ("The journal keeps {} lines.", "I read {} in the log.", "A client sent {} requests, and got 429.")


def answer_of(number: int, question: int) -> str:
    """What a student wrote: ten times the same, ten times nothing, twenty alike, ten of their own."""
    if number < 10:
        return SAME if number % 2 else SAME.replace("; ", ";\n  ")
    if number < 20:
        return ""
    if number < 40:
        return ALIKE.format(number)
    return (
        f"{OTHER[number % 3].format(number)} That is question {question}, as {'xyzuv'[number % 5] * 9} said."
    )


def record(name: str, answers: dict[str, str]) -> dict:
    """The record of a student with these answers, {question: answer}, and one check that passed."""
    result = core.Result("m1.health answers", 1.01, "m1", "health answers", 2, False, core.PASSED, 2, 0.1)
    header = {"url": "http://127.0.0.1:8000", "seed": 1, "started": "2026-01-01T00:00:00+00:00"}
    header |= {"student": name, "graded": True, "versions": {}, "planned": []}
    told = [
        {"lab": "05_reflect_and_extend", "id": question[3:], "question": f"Why {question}?", "answer": answer}
        for question, answer in answers.items()
    ]
    return {
        **{"version": records.VERSION, "name": name, "status": records.GRADED, "why": "", "detail": ""},
        **{"seed": 1, "submission": "0", "grader": {"all": "0"}, "notes": [], "log": "", "seconds": {}},
        **{"labs": {"labs": [], "answers": told}, "doubtful": False},
        "report": build(header, [result], "2026-01-01T00:01:00+00:00"),
    }


def make(grades: Path, students=STUDENTS) -> Path:
    """The folder of grades of these students."""
    for name in students:
        number = STUDENTS.index(name)
        answers = {question: answer_of(number, place) for place, question in enumerate(QUESTIONS, 1)}
        records.save(grades / name, record(name, answers))
    return grades
