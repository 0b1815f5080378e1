"""The labs worked in order: the proof fails where a lab asks too early, never says ✓, or gives ✓ away."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from checks.editions import job, tables, walk, write

ROOT = Path(__file__).resolve().parents[2]
LABS = {path.name[:2]: path for path in sorted((ROOT / "labs").glob("*.ipynb"))}

# ---- A kit with two small labs --------------------------------------------------------------------------

BEGIN = """from pathlib import Path
def check(right): print("✓ it is" if right else "✗ it is not")
server = Path("../server.py").read_text"""
FIRST = {
    "begin": BEGIN,
    "one": "one = None",
    "one-solution": "one = 1",
    "one-check": 'check(one == 1)  # exercise="02.one"',
    "yours-answer-restart": "open('../.progress.json', 'w').write('{\"exercises\": [\"02.one\"]}')",
    "yours-answer-check": "check('return 42' in server())",
    "broken": "check(False)",
}
SECOND = {"begin": BEGIN, "there": "check('return 42' in server())"}
GATE, WHOLE = (f"class A:\n    def answer(self):\n        return {one}\n\n\nx = 1\n" for one in (0, 42))


def notebook(cells: dict[str, str], without: str = "") -> str:
    made = []
    for name, source in cells.items():
        tags = ["exercise"] if f"{name}-solution" in cells else ["solution"] * name.endswith("-solution")
        if without not in tags:
            made.append({"id": name, "cell_type": "code", "source": source, "metadata": {"tags": tags}})
            made[-1] |= {"outputs": [], "execution_count": None}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


@pytest.fixture
def forked(warm_python, monkeypatch):
    """Who runs a lab, its kernel and the servers are forked."""
    monkeypatch.setenv("JUPYTER_PATH", str(warm_python.kernels))
    monkeypatch.setattr(sys, "executable", str(warm_python.program))


@pytest.fixture
def kit(tmp_path, monkeypatch, forked):
    """A factory of a kit with two labs; changes are new sources of cells of the first."""
    monkeypatch.setattr(walk, "MOMENTS", {"A.answer": ("02", "yours-answer-restart")})
    monkeypatch.setattr(walk, "ON_PURPOSE", {"02.broken": "on purpose"})

    def make(**changes: str) -> Path:
        first = FIRST | {name.replace("_", "-"): source for name, source in changes.items()}
        for edition, server in (("student", GATE), ("instructor", WHOLE)):
            (tmp_path / edition / "labs").mkdir(parents=True)
            (tmp_path / edition / "server.py").write_text(server, encoding="utf-8")
            for name, cells in (("02_first", first), ("03_second", SECOND)):
                made = notebook(cells, without="solution" if edition == "student" else "-")
                (tmp_path / edition / "labs" / f"{name}.ipynb").write_text(made, encoding="utf-8")
        return tmp_path

    return make


def worked(folder: Path) -> tuple[list[str], list[str]]:
    """What is wrong, and which labs were run to their end."""
    problems, told = [], []
    job.side_by_side([walk.work(folder / "student", folder / "instructor", problems)], told.append, 600)
    return problems, told


def test_each_lab_is_worked_when_what_it_asks_for_is_written(kit):
    folder = kit()
    assert worked(folder) == ([], ["worked labs/02_first.ipynb", "worked labs/03_second.ipynb"])
    assert (folder / "student" / "server.py").read_text(encoding="utf-8") == WHOLE
    assert walk.unsolved(folder / "student") == []


def test_a_lab_that_asks_for_what_is_written_later_fails_with_its_name_its_cell_and_what_it_printed(
    kit, monkeypatch
):
    monkeypatch.setattr(walk, "MOMENTS", {"A.answer": ("03", "there")})
    problems, told = worked(kit())
    assert problems == [
        "labs/02_first.ipynb, cell yours-answer-check: does not end with ✓. It printed:\n    ✗ it is not"
    ]
    assert told == ["worked labs/02_first.ipynb"], "the labs behind it wait"


def test_a_solution_that_uses_what_is_not_there_yet_is_an_error_cell(kit):
    (problem,) = worked(kit(one_solution="one = numpy.ones(1)"))[0]
    assert problem.startswith("labs/02_first.ipynb, cell one: is an error cell")
    assert "NameError: name 'numpy' is not defined" in problem


# ---- What is judged -------------------------------------------------------------------------------------


def told(stopped: str = "", **cells: str) -> str:
    return json.dumps(
        {"cells": {name.replace("_", "-"): text for name, text in cells.items()}} | {"stopped": stopped}
    )


@pytest.fixture
def lab(kit) -> Path:
    return kit() / "student" / "labs" / "02_first.ipynb"


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ({"one_check": "✗ wanted: 1"}, "one-check: does not end with ✓. It printed:\n    ✗ wanted: 1"),
        ({"one_check": "✓ it is\n✗ and it is not"}, "one-check: does not end with ✓"),
        ({"one_check": "? the server is not running"}, "one-check: does not end with ✓"),
        ({"one_check": ""}, "one-check: does not end with ✓. It printed:\n    (nothing)"),
        ({"broken": "✓ it is"}, "broken: has to fail: see ON_PURPOSE"),
        ({"begin": "✗ server.py did not start"}, "begin: goes wrong"),
        ({"stopped": "Timeout", "begin": ""}, "begin: is an error cell. It printed:\n    Timeout"),
    ],
)
def test_an_exercise_whose_check_never_turns_right_fails_the_proof(lab, cells, wanted):
    (problem,) = walk.stuck(lab, told(**cells))
    assert f"labs/02_first.ipynb, cell {wanted}" in problem


def test_all_that_is_right_is_no_problem(lab):
    right = {"one_check": "✓ it is", "broken": "✓ half\n✗ of it", "begin": "server.py is listening"}
    assert walk.stuck(lab, told(**right)) == []


def test_a_check_that_needs_a_machine_is_passed_with_one_and_only_with_one(lab, monkeypatch):
    monkeypatch.setattr(walk, "NEEDS_PROD", ("02.one-check",))
    without, reached = (
        told(one_check="? prod is out of reach", begin="✗ prod is out of reach"),
        told(one_check="✓ it is"),
    )
    assert walk.stuck(lab, without) == walk.stuck(lab, reached, machine=True) == []
    assert len(walk.stuck(lab, without, machine=True)) == 2
    assert "one-check: cannot be passed without a machine" in walk.stuck(lab, reached)[0]


def test_a_point_that_is_earned_before_anything_was_written_fails_the_proof(lab):
    assert walk.given_away(lab, told(begin="✓ no exercise", one_check="✗ wanted: 1")) == []
    for cell in ("one_check", "yours_answer_check"):
        (problem,) = walk.given_away(lab, told(**{cell: "✓ it is"}))
        assert f"cell {cell.replace('_', '-')}: says ✓ with nothing written" in problem
    assert "cell begin: is an error cell" in walk.given_away(lab, told("NameError: x", begin=""))[0]
    assert "could not be run:\nTraceback: no nbclient" in walk.given_away(lab, "Traceback: no nbclient")[0]


def test_an_exercise_that_progress_does_not_count_is_named(lab):
    assert walk.unsolved(lab.parents[1]) == ["02.one"]


@pytest.mark.parametrize("missing", ["cell", "solution", "text"])
def test_what_the_tables_name_and_a_lab_does_not_have_is_named(lab, missing, monkeypatch):
    folder = lab.parents[2]
    ours = folder / "instructor" / "labs" / lab.name
    if missing == "cell":
        monkeypatch.setattr(walk, "MOMENTS", {"A.answer": ("02", "gone")})
    elif missing == "solution":
        shutil.copy(lab, ours)
    else:
        monkeypatch.setattr(walk, "ASKED", {"02.begin": ("really=False", "really=True")})
    with pytest.raises(tables.ReleaseError, match="gone|no solution of its exercise one|really=False"):
        next(walk.work(folder / "student", folder / "instructor", []))


# ---- The tables, and a real lab -------------------------------------------------------------------------


def test_every_function_that_students_write_has_its_moment_in_its_lab():
    assert {name: lab[:2] for name, (lab, *_) in tables.STUBS.items()} == {
        name: lab for name, (lab, _) in tables.MOMENTS.items()
    }
    for lab, cell in tables.MOMENTS.values():
        ids = [one["id"] for one in walk.cells_of(LABS[lab])]
        check = cell.replace("-restart", "-check")
        assert ids.index(check) == ids.index(cell) + 1, "written, started, and checked"


def test_the_tables_name_cells_that_are_there():
    places = {f"{lab}.{cell['id']}" for lab, path in LABS.items() for cell in walk.cells_of(path)}
    assert {*tables.ASKED, *tables.ON_PURPOSE, *tables.NEEDS_PROD} <= places


def test_lab_02_without_the_function_that_it_asks_for_is_stuck_there(tmp_path, monkeypatch, forked):
    write.write_editions(ROOT, tmp_path)
    for path in (tmp_path / "student" / "labs").glob("*.ipynb"):
        if not path.name.startswith("02"):
            path.unlink()
    later = tables.MOMENTS | {"accepted_pixels": ("03", "yours-hit-restart")}
    monkeypatch.setattr(walk, "MOMENTS", later)
    problems, _ = worked(tmp_path)
    cells = re.findall(r"cell (\S+):", "\n".join(problems))
    assert cells[0] == "yours-accepted-check" and "refused-check" in cells, problems
    assert "\n    ✗ " in problems[0]
    assert "yours-answer-check" not in cells
