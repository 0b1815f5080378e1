"""The labs of a submission, run again in the sandbox, never believed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.machinery import all_suffixes
from pathlib import Path

import pytest
from made_labs import LAB, QUESTION, ROOT, cell, handed_in
from tree import copy_of_the_kit

from checks.classroom import notebooks
from checks.classroom.sandbox import in_fresh_network

# ---- What the kernels see -------------------------------------------------------------------------------


def test_kernels_see_the_submission_and_labkit_and_nothing_that_grades(tmp_path):
    theirs, away = tmp_path / "theirs", tmp_path / "away"
    away.mkdir()
    for name in ("server.py", "labs/labkit.py", "labs/own.txt", "checks/kit/core.py", "tests/x.py", ".env"):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text("mine")
    (theirs / "models").symlink_to(away)  # what is copied must not go there
    (theirs / "schemas").write_text("a file")
    kit = notebooks.copy_for_kernels(theirs, ROOT, tmp_path / "kit")
    assert (kit / "server.py").read_text() == (kit / "labs" / "own.txt").read_text() == "mine"
    assert (kit / "labs" / "labkit.py").read_bytes() == (ROOT / "labs" / "labkit.py").read_bytes()
    assert (kit / "models" / "classifier.py").is_file() and not os.listdir(away)  # noqa: PTH208
    for hidden in ("checks", "tests", ".env", "deploy/pixelwise.service", "bench"):
        assert not (kit / hidden).exists(), hidden
    assert not (notebooks.copy_for_kernels(away, ROOT, tmp_path / "empty") / "server.py").exists()


def test_no_file_of_a_submission_is_imported_in_the_place_of_labkit(tmp_path):
    theirs = tmp_path / "theirs"
    forged = [f"labs/labkit/__init__{suffix}" for suffix in all_suffixes()]
    forged += [f"labs/labkit{suffix}" for suffix in all_suffixes()]
    forged += [
        "labs/__pycache__/labkit.cpython-311.pyc",
        "labs/requests/__init__.pyc",
        "labs/labkit.py/x.txt",
    ]
    forged += ["labs/hints.toml", "requests/__init__.py", "colorsys.py"]
    for name in forged:
        if name != "labs/labkit.py":
            (theirs / name).parent.mkdir(parents=True, exist_ok=True)
            (theirs / name).write_text("mine")
    kit = notebooks.copy_for_kernels(theirs, ROOT, tmp_path / "kit")
    asks = "import labkit, requests, colorsys\nfor one in (labkit, requests, colorsys): print(one.__file__)"
    done = subprocess.run([sys.executable, "-c", asks], cwd=kit / "labs", capture_output=True, text=True)
    labkit, *installed = map(Path, done.stdout.split())
    assert labkit == kit / "labs" / "labkit.py" and len(installed) == 2
    assert not [one for one in installed if kit in one.parents]
    for name in ("labkit.py", "hints.toml"):
        assert (kit / "labs" / name).read_bytes() == (ROOT / "labs" / name).read_bytes()
    assert [path.name for path in (kit / "labs").rglob("*") if path.suffix in (".pyc", ".so")] == []


# ---- In the sandbox -------------------------------------------------------------------------------------

RUN = """
import json, sys
from pathlib import Path
from checks.classroom import notebooks, rebuild
from checks.classroom.limits import Limits
from checks.classroom.sandbox import Sandbox
def sandbox(folder, readable=(), **limits):
    return Sandbox(folder, Limits(**limits), readable=readable)
root, kit, out, seconds = sys.argv[1:]
print(json.dumps(notebooks.rerun(Path(root), Path(kit), sandbox, Path(out), float(seconds))))
"""
LOOK = """
import os, glob
number, seen = 42, []
for place in ("/work", "/root/.ssh", "/submission/checks", "/submission/tests", "/home"):
    try:
        seen += [place] if os.listdir(place) else []
    except OSError:
        pass
try:
    import checks.grading
    seen.append("checks")
except ImportError:
    pass
seen += glob.glob("/tmp/**/*.ipynb", recursive=True) + glob.glob("/tmp/**/evidence*", recursive=True)
open("../server.py", "a").write("# mine")
print(seen, os.getuid() != 0)
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """The instructor's kit with labs of ours."""
    return copy_of_the_kit(tmp_path_factory.mktemp("kit") / "kit")


def start(kit: Path, root: Path, tmp_path: Path, labs: dict[str, dict], seconds: float = 100):
    """A process that runs {name: what the student handed in} again, in a network of its own."""
    for old in (kit / "labs").glob("*.ipynb"):
        old.unlink()
    shutil.copytree(kit, root, ignore=shutil.ignore_patterns("checks", "tests"))
    for name, theirs in labs.items():
        (kit / "labs" / name).write_text(json.dumps(LAB))
        if theirs:
            (root / "labs" / name).write_text(json.dumps(theirs))
    command = in_fresh_network([sys.executable, "-c", RUN, root, kit, tmp_path / "out", str(seconds)])
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    environ = os.environ | {"PYTHONPATH": str(ROOT), "SECRET_OF_THE_GRADER": "x", "TMPDIR": str(temporary)}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rerun(kit: Path, root: Path, tmp_path: Path, labs: dict[str, dict], seconds: float = 100) -> dict:
    """What comes of the labs."""
    grader = start(kit, root, tmp_path, labs, seconds)
    told, errors = grader.communicate()
    assert grader.returncode == 0, errors[-3000:]
    return json.loads(told)


def test_labs_run_again_in_the_sandbox(kit, tmp_path):
    theirs = handed_in(
        cell("number", f"# NBVAL_SKIP{LOOK}", "exercise", "nbval-skip"),
        cell("sum", "print('✓ everything is right')"),
        cell("why", f"{QUESTION} Because.", kind="markdown"),
    )
    told = rerun(
        kit,
        tmp_path / "root",
        tmp_path,
        {"02_lab.ipynb": theirs, "03_lab.ipynb": None, "04_lab.ipynb": theirs},
    )
    lab, missing, on_prod = told["labs"]
    shown = {
        one["id"]: one.get("outputs")
        for one in json.loads((tmp_path / "out/02_lab.ipynb").read_text())["cells"]
    }
    assert lab == {
        "lab": "02_lab",
        "why": "",
        "notes": [],
        "exercises": 2,
        "done": 1,
        "right": 1,
        "reproduce": 4,  # kit, sum, number-check, end
        "differ": 1,
        "fail": 0,
        "cells": {
            "other-check": {"became": "differs"},  # the lab has stored no output of it
            "number": {"done": True, "right": True},
            "other": {"done": False, "right": False},
        },
    }, shown
    assert shown["number"][0]["text"] == "[] True", (
        "what the kernel sees of the grader, and whether it is root"
    )
    assert shown["other-check"][0]["text"].startswith("✓ GET /health"), "labkit has asked the checker"
    assert missing["why"] == "03_lab.ipynb was not handed in"
    assert on_prod["why"] == "it needs a production machine, and was not run again"
    assert (on_prod["done"], on_prod["reproduce"]) == (1, 0)
    assert [(one["lab"], one["answer"][:12]) for one in told["answers"]] == [
        ("02_lab", "Because."),
        ("03_lab", ""),
        ("04_lab", "#\nimport os,"),
        ("04_lab", "Because."),
    ]


def test_a_lab_that_kills_its_kernel_or_never_ends_costs_no_more_than_its_time(kit, tmp_path):
    killing = {"01_lab.ipynb": handed_in(cell("number", "import os; os._exit(0)", "exercise"))}
    (dead,) = rerun(kit, tmp_path / "dead", tmp_path, killing)["labs"]
    assert (dead["reproduce"], dead["right"]) == (2, 0), dead
    assert dead["cells"]["end"] == {"became": "not run"}
    looping = {"02_lab.ipynb": handed_in(cell("number", "while True: pass", "exercise"))}
    (endless,) = rerun(kit, tmp_path / "endless", tmp_path, looping, seconds=12)["labs"]
    assert (endless["why"], endless["right"]) == ("it took longer than 12 s", 0)


def test_a_killed_grader_leaves_no_kernel_no_pytest_and_no_checker(kit, tmp_path):
    looping = {"02_lab.ipynb": handed_in(cell("number", "while True: pass", "exercise"))}
    grader = start(kit, tmp_path / "root", tmp_path, looping)
    while not any("ipykernel_launcher" in command for command in inside(tmp_path).values()):
        assert grader.poll() is None, grader.stderr.read()
        time.sleep(0.1)
    (pytest_,) = [process for process, command in inside(tmp_path).items() if "--nbval" in command]
    os.kill(pytest_, signal.SIGSTOP)  # it cannot end by itself
    grader.kill()
    grader.communicate()
    deadline = time.monotonic() + 60
    while inside(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert inside(tmp_path) == {}


def inside(folder: Path) -> dict[int, str]:
    """{process: command line} of those that were started with $TMPDIR in this folder, or that see it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            seen = (process / "environ").read_bytes() + (process / "mountinfo").read_bytes()
            if str(folder).encode() in seen:
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found
