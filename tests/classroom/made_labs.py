"""A lab for tests, and what students make of it."""

import json
from pathlib import Path

from checks.classroom import rebuild, records
from checks.classroom.cells import matched, tags
from checks.kit import core
from checks.report.model import build

ROOT = Path(__file__).resolve().parents[2]
WORTH = {"lab00": 6, "lab01": 6, "lab02": 4, "lab03": 8, "lab04": 3, "lab05": 2, "lab06": 5}  # 34 in all


def cell(name: str, source: str, *tags: str, kind: str = "code", shown: str = "") -> dict:
    made = {"id": name, "cell_type": kind, "source": source, "metadata": {"tags": list(tags)} if tags else {}}
    if kind == "code":
        outputs = [{"output_type": "stream", "name": "stdout", "text": shown}] if shown else []
        made |= {"outputs": outputs, "execution_count": 1}
    return made


def notebook(*cells: dict) -> dict:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}


QUESTION = "**1.** Why?\n\n*Your answer:*"
RIGHT = "✓ it is 42: that is the answer"
LAB = notebook(
    cell("intro", "# A lab", kind="markdown"),
    cell("kit", "from labkit import *\nserver = Server()", shown="server.py is listening on $URL\n"),
    cell("sum", "print(1 + 1)", shown="2\n"),
    cell("number", "number = None  # yours", "exercise"),
    cell("number-solution", "number = 42", "solution"),
    cell("number-check", "print(expect(number, equals=42, because='that is the answer').data['text/plain'])"),
    cell("other", "other = None", "exercise"),
    cell("other-solution", "other = 1", "solution"),
    cell("other-check", "print(check('m1.health answers').data['text/plain'])"),
    cell("end", "print('the end')", shown="the end\n"),
    cell("why", QUESTION, "reflection", kind="markdown"),
)
LAB["cells"][5]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": RIGHT + "\n"}]
HEALTH = "✓ GET /health answers 200, and says ok"


def handed_in(*changed: dict, first: tuple = (), last: tuple = ()) -> dict:
    """The student's notebook: the lab without solutions, with cells changed, before it and after it."""
    new = {one["id"]: one for one in changed}
    kept = [new.get(one["id"], one) for one in LAB["cells"] if "solution" not in tags(one)]
    return notebook(*first, *kept, *last)


def read(tmp_path: Path, content) -> tuple[dict, list[str]]:
    file, notes = tmp_path / "x.ipynb", []
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return matched(LAB, rebuild.read(file, notes), notes), notes


def recorded(name: str, results: list[core.Result], graded: bool = True) -> dict:
    """The record of a submission with these results of its labs, and 2 of 2 points for its server."""
    server = core.Result("m1.health answers", 1.01, "m1", "health answers", 2, False, core.PASSED, 2, 0.1)
    header = {"url": "http://127.0.0.1:8000", "seed": 1, "started": "2026-01-01T00:00:00+00:00"}
    header |= {"student": name, "graded": graded, "versions": {}, "planned": []}
    return {
        **{"version": records.VERSION, "name": name, "why": "", "detail": "", "seed": 1, "submission": "0"},
        **{"grader": {"all": "0"}, "notes": [], "log": "", "seconds": {}, "doubtful": False, "labs": None},
        "status": records.GRADED if graded else records.NOT_GRADED,
        "report": build(header, [server, *results], "2026-01-01T00:01:00+00:00"),
    }
