"""The labs of a submission, run again in the sandbox: what leaves their kernels is judged, and never
believed."""

import contextlib
import csv
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
from made_labs import ROOT, WORTH, cell, notebook, recorded
from tree import copy_of_the_kit

from bench import grading as bench
from checks import grade
from checks.classroom import gradebook, notebooks, records
from checks.classroom.cells import tags
from checks.classroom.kernel import NO_DEBUGGER
from checks.classroom.needs import only_shows, to_run
from checks.classroom.sandbox import in_fresh_network
from checks.editions.walk import fill
from checks.kit import core

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
    prepared = [path.name for path in (ROOT / "models" / ".prepared").glob("*.npz")]
    assert sorted(prepared) == sorted(
        path.name for path in (kit / "models").rglob("*.npz") if path.parent.name == ".prepared"
    )
    assert not list((kit / "labs").glob("*.ipynb")) and not (kit / "labs" / "answers.json").exists()
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
    done = subprocess.run(
        [sys.executable, "-B", "-c", asks], cwd=kit / "labs", capture_output=True, text=True
    )
    labkit, *installed = map(Path, done.stdout.split())
    assert labkit == kit / "labs" / "labkit.py" and len(installed) == 2
    assert not [one for one in installed if kit in one.parents]
    for name in ("labkit.py", "hints.toml"):
        assert (kit / "labs" / name).read_bytes() == (ROOT / "labs" / name).read_bytes()
    assert [path.name for path in (kit / "labs").rglob("*") if path.suffix in (".pyc", ".so")] == []


def test_what_only_shows_something_is_not_run_again_nor_what_comes_after_the_last_exercise():
    made = notebook(
        cell("kit", "from labkit import *\nserver = Server()"),
        cell("look", "show_answer(client.get(server.url))"),
        cell("shell", "%%dev\ncurl $URL"),
        cell("log", "server.log(1)"),
        cell("value-above-1", "half = 21"),
        cell("value", "value = 2 * half"),
        cell("value-check", "expect(value, equals=42)"),
        cell("end", "more = 1"),
    )
    for one in made["cells"]:
        one["metadata"] = {"of": "value"} if one["id"] in ("value", "value-above-1") else {}
    told = [(one["id"], one["of"], one["first"], one["last"]) for one in to_run(made)]
    assert told == [
        ("kit", "", True, True),
        ("value-above-1", "value", True, False),
        ("value", "value", False, True),
    ]
    assert only_shows("print(x)\nchart(y)") and not only_shows("%%practice\ngit reset --hard")
    assert not only_shows("x = check('m1.health')") and not only_shows("server.restart()")


# ---- In the sandbox -------------------------------------------------------------------------------------

RUN = """
import dataclasses, json, sys
from pathlib import Path
from checks.classroom import notebooks
from checks.classroom.limits import Limits
root, kit, out = map(Path, sys.argv[1:])
told = notebooks.rerun(root, kit, Limits(), out)
told["results"] = [dataclasses.asdict(one) for one in told["results"]]
print(json.dumps(told))
"""
LOOK = """
import os, glob
survivors = [os.getuid() != 0]
for place in ("/work", "/root/.ssh", "/submission/checks", "/submission/tests", "/home"):
    try:
        survivors += [place] if os.listdir(place) else []
    except OSError:
        pass
try:
    import checks.grading
    survivors.append("checks")
except ImportError:
    pass
survivors += glob.glob("/submission/labs/answers.json") + glob.glob("/tmp/**/found*", recursive=True)
survivors += [name for name in os.environ if "GRADER" in name]
open("../server.py", "a").write("# mine")
"""


def start(root: Path, tmp_path: Path) -> subprocess.Popen:
    """A process that runs the labs of a submission again, in a network of its own; they go to out."""
    command = in_fresh_network([sys.executable, "-c", RUN, root, ROOT, tmp_path / "out"])
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = os.environ | {"PYTHONPATH": str(ROOT), "SECRET_OF_THE_GRADER": "x", "TMPDIR": str(temporary)}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rerun(root: Path, tmp_path: Path) -> dict:
    """What comes of the labs; `of` has {exercise: its result}."""
    grader = start(root, tmp_path)
    printed, errors = grader.communicate()
    assert grader.returncode == 0, errors[-3000:]
    told = json.loads(printed)
    return told | {"of": {one["name"]: one for one in told["results"]}}


def submission(root: Path, labs: dict[str, dict[str, str] | None]) -> Path:
    """A kit with the solutions in these labs alone, {number: {exercise: what stands there instead}}; None:
    the lab is as a student gets it."""
    copy_of_the_kit(root)
    for path in (root / "labs").glob("*.ipynb"):
        if path.name[:2] not in labs:
            path.unlink()
        else:
            solve(path, labs[path.name[:2]])
    return root


def solve(path: Path, changed: dict[str, str] | None) -> None:
    """Write the solutions into a lab, and in these exercises something else instead; None: no solutions."""
    if changed is not None:
        fill(path, ROOT / "labs" / path.name)
    lab = json.loads(path.read_text(encoding="utf-8"))
    lab["cells"] = [one for one in lab["cells"] if "solution" not in tags(one)]
    for one in lab["cells"]:
        one["source"] = (changed or {}).get(one["id"], one["source"])
    path.write_text(json.dumps(lab), encoding="utf-8")


CHANGED = {  # lab: {exercise: what stands there in the place of its solution}; the others are solved
    "00": {
        "survivors": LOOK,
        "one-file": "import os; os._exit(0)",
        "repair-code": "repair_1 = None  # still",
        "repair-artefact": "repair_2 = 'true'\nrepaired_2 = dev_machine.works = lambda: True",
    },
    "01": {
        "own-header": "seen = client.get(echo.url + '/headers')",
        "whose-turn": "class Any(str):\n    __eq__ = lambda *_: True\nwhose_turn = lambda status: Any('you')",
        "translate": "translated = None  # is for later",
    },
    "02": {
        "too-dark": "too_dark = {'pixels': blank}",
        "refused": "import types; refused = types.SimpleNamespace(status_code=422)",
        "own-digit": "mine = None",
    },
    "03": {
        "wrong-key": "import types; wrong_key = types.SimpleNamespace(status_code=401)",
        "lacking": "lacking = None",
        "guess": "guess = sttauses_by_heart(3)",
        "loop": "%%dev\necho '     30 200'; echo '     10 429'",
        "polite": "served = [200] * 8",
    },
    "04": {
        "again": "again = None  # a text with two lines",
        "harden": "harden = 'ProtectHome=yes'\nimport labkit\nlabkit.check = check = lambda *_, **__: True",
    },
    "05": {
        "proxy": "class Mine:\n    raw_log, settings = 1, {'MODEL_PATH': '/tmp/mine'}\nbehind = Mine()",
        "rotate": "new_key = 'the same for everybody'",
    },
    "06": {"route": "route = '    import os; os._exit(0)\\n'"},
}
EARNED = {"lab00": 2, "lab01": 3, "lab02": 1, "lab03": 1, "lab04": 1, "lab05": 0, "lab06": 2}  # 10 of 34


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, dict]:
    """What comes of the labs of three students: all solved, some of each lab, nothing."""
    made = {"solved": dict.fromkeys(CHANGED, {}), "some": CHANGED, "nothing": dict.fromkeys(CHANGED)}
    told = {}
    for name, labs in made.items():
        folder = tmp_path_factory.mktemp(name)
        told[name] = rerun(submission(folder / "root", labs), folder) | {"out": folder / "out"}
    return told


def test_every_exercise_of_every_lab_earns_its_points_when_it_is_solved(told):
    told = told["solved"]
    assert {name: one["received"] for name, one in told["of"].items() if one["status"] != "passed"} == {}
    assert sum(one["earned"] for one in told["results"]) == 34
    assert [(lab["done"], lab["right"]) for lab in told["labs"]] == [
        *((6, 6), (6, 6), (4, 4), (6, 6), (6, 3), (2, 2), (2, 2))
    ]
    for_humans = [one["id"] for one in told["answers"] if one["lab"].startswith("04")]
    assert for_humans == ["polite", "reason", "repair"]
    assert len(list(told["out"].glob("*.ipynb"))) == 7


def test_wrong_forged_and_left_alone_earn_nothing_and_take_no_point_from_the_others(told):
    told = told["some"]["of"]
    wrong = {f"lab{lab}.{name}" for lab, changed in CHANGED.items() for name in changed}
    assert {name for name, one in told.items() if one["status"] == "failed"} == wrong
    assert {name for name, one in told.items() if one["status"] == "passed"} == set(told) - wrong
    assert told["lab00.survivors"]["received"] == "[True]", "what its kernel sees, and that it is not root"
    assert told["lab00.one-file"]["received"] == "it ends the kernel"
    alone = ("lab00.repair-code", "lab01.translate", "lab02.own-digit", "lab03.lacking", "lab04.again")
    assert {told[name]["received"] for name in alone} == {"nothing: the cell is as it was"}


def test_who_needs_what_is_not_above_is_told_what_their_cell_said_and_what_to_do(told):
    told = told["some"]["of"]["lab03.guess"]
    assert told["received"] == "NameError: name 'sttauses_by_heart' is not defined"
    assert "Restart Kernel and Run All Cells" in told["reason"]
    assert told["reason"].endswith("what it uses has to stand above it")


def test_the_points_of_each_lab_are_in_gradebook_report_class_page_and_gradescope(told, tmp_path):
    earned = {"solved": WORTH, "some": EARNED, "nothing": dict.fromkeys(WORTH, 0)}
    for name in told:
        results = [core.Result(**one) for one in told[name]["results"]]
        records.save(tmp_path / name, recorded(name, results))
    gradebook.write_class(tmp_path, told)
    rows = {
        row["name"]: row for row in csv.DictReader((tmp_path / "gradebook.csv").open(encoding="utf-8-sig"))
    }
    page = (tmp_path / "index.html").read_text()
    for name, points in earned.items():
        of = {lab: sum(float(rows[name][one]) for one in rows[name] if one.startswith(lab)) for lab in points}
        assert of == points and rows[name]["labs"] == f"{sum(points.values())}"
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert {one["name"]: one["earned"] for one in report["milestones"]} == points | {"m1": 2}
        assert f"{sum(points.values())} of 34 in the labs" in (tmp_path / name / "report.html").read_text()
        tests = json.loads((tmp_path / name / "results.json").read_text())["tests"]
        scores = [(one["extra_data"]["milestone"], one["score"]) for one in tests]
        assert points == {lab: sum(score for of, score in scores if of == lab) for lab in points}
        assert f"labs {sum(points.values())} of 34" in page


def test_a_class_with_labs_has_the_same_grades_on_a_cluster(tmp_path):
    """The labs alone: that servers get the same grades there, tests/classroom/test_grade.py knows."""
    from distributed import LocalCluster

    lab = next((ROOT / "labs").glob("04*.ipynb"))
    for name, changed in {"ada": {}, "ben": {"harden": "harden = ''"}}.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        solve(Path(shutil.copy(lab, tmp_path / "class" / name)), changed)
    line = [str(tmp_path / "class"), "--seed", "1", "--out"]
    assert grade.main([*line, str(tmp_path / "here")]) == 1  # nobody has a server
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        assert grade.main([*line, str(tmp_path / "there"), "--dask", cluster.scheduler_address]) == 1
    told = {name: records.load(tmp_path / "there" / name)["report"]["labs"] for name in ("ada", "ben")}
    assert told == {"ada": {"earned": 3, "points": 34}, "ben": {"earned": 2, "points": 34}}
    assert bench.same_grades(tmp_path / "here", tmp_path / "there")


def test_a_killed_grader_leaves_no_kernel_and_nobody_who_talks_to_it(tmp_path):
    waiting = {"00": {"survivors": "import time; time.sleep(10_000)"}}
    grader = start(submission(tmp_path / "root", waiting), tmp_path)
    while not any("ipykernel_launcher" in command for command in inside(tmp_path).values()):
        assert grader.poll() is None, grader.stderr.read()
        time.sleep(0.1)
    talks = [process for process, command in inside(tmp_path).items() if "classroom import labs" in command]
    os.kill(talks[0], signal.SIGSTOP)  # it cannot end by itself
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


def test_what_every_kernel_imports_is_compiled_before_and_once(tmp_path, monkeypatch):
    package = tmp_path / "imported_by_kernels"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "more.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(notebooks, "IMPORTED", ("imported_by_kernels.more", "nowhere_installed"))
    notebooks.compile_once()
    made = sorted(path.name.partition(".")[0] for path in package.glob("__pycache__/*.pyc"))
    assert made == ["__init__", "more"]
    monkeypatch.setattr(notebooks.sys, "executable", tmp_path / "no python")
    notebooks.compile_once()


STARTS = """
known = set(sys.modules)
from ipykernel.kernelapp import IPKernelApp
IPKernelApp.instance().initialize(["-f", sys.argv[1]])
known -= {name for name in known if name.startswith("debugpy.")}
more = [sys.modules[name].__spec__ for name in set(sys.modules) - known]
print("more:", *(spec.name for spec in more if spec and spec.cached), file=sys.__stdout__, flush=True)
__import__("os")._exit(0)
"""


def test_a_kernel_imports_nothing_that_was_not_compiled_before_and_no_debugger(tmp_path):
    program = f"{NO_DEBUGGER}; import {', '.join(notebooks.IMPORTED)}\n{STARTS}"
    command = [sys.executable, "-c", program, tmp_path / "kernel.json"]
    started = subprocess.run(command, env=os.environ | {"IPYTHONDIR": str(tmp_path)}, capture_output=True)
    assert started.stdout.splitlines()[-1] == b"more:", started.stderr
