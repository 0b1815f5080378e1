"""The labs: their form, that they run with the outputs they store, and what of these is masked.

Lab 04 needs a production machine: its run is in test_lab04.py.
"""

import ast
import functools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
import warm

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "labs"
sys.path.insert(0, str(FOLDER))

import minutes  # noqa: E402  (labs/ is no package)
import store  # noqa: E402

NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
NEEDS_PROD = [name for name in NOTEBOOKS if name.startswith("04")]
ON_DEV = [name for name in NOTEBOOKS if name not in NEEDS_PROD]
TAGS = {"exercise", "solution", "reflection", "raises-exception"}
SANITIZE = FOLDER / "sanitize.cfg"
OWN_SETTINGS = ("SECRET_API_KEY", "PORT", "HOST", "DEBUG", "RATE_LIMIT", "PIXELWISE_SERVER", "ECHO_URL")
OWN_SETTINGS += ("PYTEST_ADDOPTS",)


def cells_of(name: str) -> list:
    return nbformat.read(FOLDER / name, as_version=4).cells


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def output_text(cell) -> str:
    """What a cell shows, as text."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


@functools.cache
def progress() -> tempfile.TemporaryDirectory:
    """A folder for what is done in the labs that run here, which is no developer's progress."""
    return tempfile.TemporaryDirectory(prefix="pixelwise-progress-")


# ---- Their form -----------------------------------------------------------------------------------------

each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


@each_notebook
def test_a_lab_opens_at_once_and_is_of_the_format_with_ids(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert len(text.encode()) < 100_000, "a student loads it over a slow net"
    assert notebook.metadata == store.METADATA, "store it with labs/store.py, so that files do not churn"


@each_notebook
def test_its_cells_have_ids_that_mean_something_and_known_tags(name):
    for cell in cells_of(name):
        assert re.fullmatch(r"[a-z]+[a-z0-9]*(-[a-z0-9]+)*", cell.id) and not re.search(r"[0-9]{3}", cell.id)
        assert not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]+)*", cell.id), f"{cell.id} was made by a program"
        assert set(tags(cell)) <= TAGS, f"{cell.id}: no other tags"
        assert cell.metadata.keys() <= {"tags"}, f"{cell.id}: no timestamps"


@each_notebook
def test_a_code_cell_has_at_most_eight_lines_and_shows_at_most_ten(name):
    for cell in cells_of(name):
        if cell.cell_type == "code":
            assert 1 <= len(cell.source.splitlines()) <= 8, cell.id
            assert len(output_text(cell).rstrip("\n").splitlines()) <= 10, f"{cell.id} shows too much"
            assert max(map(len, cell.source.splitlines())) <= 110, cell.id


@each_notebook
def test_every_code_cell_was_run_in_order_and_none_failed(name):
    code = [cell for cell in cells_of(name) if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        if "raises-exception" not in tags(cell):
            assert not [output for output in cell.outputs if output.output_type == "error"], cell.id


@each_notebook
def test_no_cell_is_spared_the_comparison(name):
    cells = cells_of(name)
    for before, cell in zip([None, *cells], cells):
        assert not re.search(r"(?i)nbval[-_]", cell.source + " ".join(tags(cell))), cell.id
        if "raises-exception" in tags(cell):
            assert before.cell_type == "markdown" and "exception" in before.source, f"{cell.id}: say why"
        assert "PYTEST_VALIDATE_IGNORE_OUTPUT" not in cell.source, cell.id


@each_notebook
def test_an_exercise_is_followed_by_its_solution_and_its_check(name):
    cells = cells_of(name)
    ids = [cell.id for cell in cells]
    for place, cell in enumerate(cells):
        if "exercise" in tags(cell):
            assert cells[place + 1].id == f"{cell.id}-solution" and "solution" in tags(cells[place + 1])
            check = ids.index(f"{cell.id}-check")
            assert 0 < check - place <= 4, f"{cell.id}: its check stands too far away"
            assert re.match(r"(expect|check)\(", cells[check].source), f"{cells[check].id} is no self-check"
        if "solution" in tags(cell):
            assert "exercise" in tags(cells[place - 1]), f"{cell.id} solves no exercise"
        if "reflection" in tags(cell):
            assert cell.cell_type == "markdown" and cell.source.endswith("*Your answer:*"), cell.id


@each_notebook
def test_a_self_check_is_the_last_thing_in_its_cell(name):
    for cell in cells_of(name):
        if cell.cell_type == "code" and re.search(r"(?m)^(expect|check)\(", cell.source):
            assert isinstance(last := ast.parse(cell.source).body[-1], ast.Expr), cell.id
            assert last.value.func.id in ("expect", "check"), f"{cell.id}: it would show nothing"
            assert cell.source.count("expect(") + cell.source.count("check(") == 1, cell.id


@each_notebook
def test_its_head_and_foot_come_from_the_table_and_it_closes_with_questions_and_words(name):
    cells = cells_of(name)
    number = store.place_of(name)
    takes = minutes.minutes(name[:2], cells[1:])
    assert cells[0].source == store.title(number, takes) and cells[0].id == "title"
    assert cells[-1].source == store.footer(number) and cells[-1].id == "footer"
    assert [cell.id for cell in cells[-5:-1]] == ["progress", "recall", "words", "next"]
    assert cells[-5].source == f'progress("{name[:2]}")'


@each_notebook
def test_no_lab_takes_more_than_ninety_minutes(name):
    made = minutes.parts(name[:2], cells_of(name)[1:])
    assert minutes.minutes(name[:2], cells_of(name)[1:]) <= 90, made


def test_the_minutes_count_what_is_read_run_written_and_waited_for():
    def cell(name, source="x = 1", kind="code", tag=""):
        return {"id": name, "source": source, "cell_type": kind, "metadata": {"tags": [tag] if tag else []}}

    lab = [cell("text", "word " * 300, "markdown"), cell("look"), cell("do", tag="exercise")]
    lab += [cell("do-solution", tag="solution"), cell("do-check"), cell("yours-hit-check")]
    lab += [cell("why", "*Your answer:*", "markdown", "reflection"), cell("recall", "<summary>", "markdown")]
    made = minutes.parts("04", lab)
    assert made.pop("reading") == pytest.approx(303 / 150)
    wanted = {"cells": 2, "exercises": 4, "functions": 12, "reflections": 5, "questions": 0.5, "waiting": 4}
    assert made == wanted
    assert (
        minutes.minutes("04", lab) == 30
        and minutes.parts("06", [cell("route", tag="exercise")])["exercises"] == 15
    )


def test_the_minutes_know_no_lab_and_no_exercise_that_is_not_there():
    exercises = {
        f"{name[:2]}.{cell.id}" for name in NOTEBOOKS for cell in cells_of(name) if "exercise" in tags(cell)
    }
    assert minutes.LONGER.keys() <= exercises and minutes.WAITING.keys() <= {name[:2] for name in NOTEBOOKS}


def test_verbs_that_are_no_dict_are_wrong_and_stop_no_lab():
    [cell] = [cell for cell in cells_of("01_http_rest_and_curl.ipynb") if cell.id == "pick-verb-try"]
    for verbs in (["POST", "GET"], "POST", {"POST"}):
        names = {"verbs": verbs}
        exec(cell.source, names)
        assert names["fitting"] == []


def test_the_overview_comes_from_the_table():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == store.readme()


@pytest.mark.parametrize(("step", "lab", "cells"), store.COURSE)
def test_the_table_of_the_course_names_cells_that_are_there(step, lab, cells):
    [name] = [name for name in NOTEBOOKS if name.startswith(lab)]
    assert set(cells.split()) <= {cell.id for cell in cells_of(name)}, step


def test_a_text_makes_the_notebook_that_makes_it():
    for name in NOTEBOOKS:
        made, notebook = store.from_text(store.to_text(FOLDER / name))
        cells = cells_of(name)
        assert made == name
        assert [(one.id, one.cell_type, tags(one)) for one in notebook.cells] == [
            (one.id, one.cell_type, tags(one)) for one in cells
        ]
        assert [one.source for one in notebook.cells[1:-1]] == [one.source for one in cells[1:-1]]


# ---- That they run --------------------------------------------------------------------------------------


def environment(**more) -> dict:
    kept = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS}
    return kept | {"PIXELWISE_PROGRESS": f"{progress().name}/progress.json"} | more


def start_nbval(
    python: warm.Python, names: list[str], root: Path = ROOT, *options: str, **environ: str
) -> subprocess.Popen:
    """`pytest --nbval` on these labs of the kit in `root`, as AUTHORING.md has it."""
    command = [python.program, "-m", "pytest", "-q", "-rf", "-p", "nbval.plugin", "--nbval"]
    command += [*[f"labs/{name}" for name in names], "-p", "no:cacheprovider", *options]
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "JUPYTER_PATH": str(python.kernels)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment(**environ), **pipes)


def failing_cells(output: str, folder: Path) -> list[str]:
    """The IDs of the cells that nbval says failed."""
    failed = re.findall(r"(?m)^FAILED labs/(\S+)::Cell (\d+)", output)
    return [code_cells(folder / name)[int(number)].id for name, number in failed]


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def assert_passed(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, (failing_cells(output, FOLDER), output[-6000:])


def test_the_labs_pass_twice_in_any_order_and_side_by_side_also_as_on_another_processor(warm_python):
    """Prescott is a BLAS kernel that each x86-64 can run, and that none of today chooses."""
    other = {"OPENBLAS_CORETYPE": "Prescott"}
    with warm.Python(**other) as other_python:
        both = [start_nbval(warm_python, ON_DEV), start_nbval(other_python, ON_DEV[::-1], **other)]
        for process in both:
            assert_passed(process)


# ---- What is masked -------------------------------------------------------------------------------------

SHOWN = """
from labkit import *
server = Server()
import labkit
labkit.dev("", "curl -si -d 1 $URL/classify; curl -sv $URL/health 2>&1 | grep curl")
labkit.dev("", "systemd-analyze security --offline=true --no-pager deploy/pixelwise.service | tail -n 1")
print(server.url)
show_code("authenticate")
server.log()
import prodkit, time
print(prodkit.timeline([(-1, time.time() % 9, "up")], 10))
remember([f"00.{time.time()}"], {f"m{time.time()}": 1})
print(progress("00").data["text/html"])
from predictions import answered
remember(predictions={"02.which-gate": ["401", "422"][int(time.time() % 2)]})
print(answered("02.which-gate").data["text/html"])
"""
STABLE = """HTTP/1.1 429 Too Many Requests
Retry-After: 60
RateLimit-Policy: "default";q=30;w=60
{"status":"ok","model_version":"v1"}
<time> INFO 127.0.0.1 GET /health 200 <ms> <id>
{"prediction":"7","confidence":0.9999654146243999}
a share of 1.2, at most 5.0
28 rows of 28 integers from 0 to 255"""


@pytest.fixture(scope="module")
def real_outputs() -> list[str]:
    """What two runs of the same lines print."""
    outputs = []
    for _ in range(2):
        command = [sys.executable, "-c", SHOWN]
        done = subprocess.run(
            command, cwd=FOLDER, env=environment(), capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
        time.sleep(1.1)  # the Date header has whole seconds
    return outputs


def sanitize_rules() -> dict[str, tuple[str, str]]:
    text = SANITIZE.read_text(encoding="utf-8")
    return {
        title: (old, new) for title, old, new in re.findall(r"\[(.+)\]\nregex: (.*)\nreplace: (.*)", text)
    }


@pytest.mark.parametrize("title", sanitize_rules())
def test_each_rule_of_the_sanitize_file_masks_something_real_and_nothing_stable(title, real_outputs):
    regex, replacement = sanitize_rules()[title]
    for output in real_outputs:
        assert re.search(regex, output), f"[{title}] matches nothing in\n{output}"
    assert re.sub(regex, replacement, STABLE) == STABLE


def test_what_the_rules_mask_is_all_that_differs(real_outputs):
    assert real_outputs[0] != real_outputs[1]
    for regex, replacement in sanitize_rules().values():
        real_outputs = [re.sub(regex, replacement, output) for output in real_outputs]
    assert real_outputs[0] == real_outputs[1]
