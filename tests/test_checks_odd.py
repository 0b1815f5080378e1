"""The commands of checks/ where the terminal, the folder of the reports or the disk is not what one hopes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Forks

ROOT = Path(__file__).resolve().parent.parent
FORKS = Forks("pytest", "rich.console", "rich.table", "numpy", "http.client")
UNIT = ["-m", "pytest", "checks", "--unit", "deploy/pixelwise.service", "-p", "no:cacheprovider"]
PLACES = {
    "a file": lambda folder: folder / "file",
    "where nobody writes": lambda _: Path("/proc/grades"),
}


def run(*arguments, prefix=(), **environ) -> subprocess.CompletedProcess:
    """A command of the kit; what it printed is bytes. Of pytest's plugins the checks use none."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    whole = inherited | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environ
    if not prefix and environ.keys() <= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD"}:
        return FORKS.run(*arguments, cwd=ROOT, env=whole, timeout=300)
    command = [*prefix, sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, timeout=300)


# ---- A terminal of another encoding ---------------------------------------------------------------------

TERMINALS = {
    "Latin-1": ({"PYTHONIOENCODING": "latin-1"}, "latin-1", "Zoë"),
    "ASCII": ({"PYTHONIOENCODING": "ascii"}, "ascii", r"Zo\xeb"),
    "a C locale": ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "ascii", r"Zo\xeb"),
}
each_terminal = pytest.mark.parametrize("terminal", TERMINALS)


@each_terminal
def test_the_checks_can_be_read_on_any_terminal(terminal):
    environ, encoding, _ = TERMINALS[terminal]
    done = run(*UNIT, **environ)
    shown = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (0, b""), shown
    assert "ok 4." in shown and "total" in shown


@each_terminal
def test_a_class_with_any_names_is_graded_told_and_written_again_on_any_terminal(terminal, tmp_path):
    environ, encoding, name = TERMINALS[terminal]
    for student in ("Zoë", "Łukasz ✓", "李"):
        (tmp_path / "class" / student).mkdir(parents=True)
    grades = tmp_path / "grades"
    done = run("-m", "checks.grade", tmp_path / "class", "--out", grades, "--as", "class", **environ)
    shown = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (1, b""), shown  # 1: none of them could be graded
    assert f"{name}: could not be graded" in shown
    done = run("-m", "checks.gradebook", grades, **environ)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Łukasz ✓" in (grades / "gradebook.csv").read_text(encoding="utf-8")


# ---- Where reports and grades cannot be written ---------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", ["pytest checks --report", "checks.grade --out", "checks.release"])
def test_a_folder_that_cannot_be_is_one_sentence_before_any_work(command, place, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "class" / "one").mkdir(parents=True)
    out = PLACES[place](tmp_path)
    arguments = {
        "pytest checks --report": [*UNIT, "--report", out],
        "checks.grade --out": ["-m", "checks.grade", tmp_path / "class", "--as", "class", "--out", out],
        "checks.release": ["-m", "checks.release", out],
    }[command]
    done = run(*arguments)
    told = done.stderr.decode()
    assert done.returncode in (1, 2, 4) and "Traceback" not in told + done.stdout.decode()
    [line] = [line for line in told.splitlines() if str(tmp_path) in line or "/proc/" in line]
    assert "name a" in line
    assert "✓" not in done.stdout.decode(), "nothing was checked in vain"
    assert (tmp_path / "file").read_text() == "mine"


FULL = ("prlimit", "--fsize=4096")  # no file may grow beyond it: a disk that is full in the middle


def test_a_full_disk_ends_the_reports_and_not_the_checks(tmp_path):
    whole = run(*UNIT).stdout.decode()
    done = run(*UNIT, "--report", tmp_path / "report", prefix=FULL)
    shown = done.stdout.decode()
    marks = [line[:6] for line in shown.splitlines() if line.startswith("✓ 4.")]
    assert marks == [line[:6] for line in whole.splitlines() if line.startswith("✓ 4.")] and marks
    assert "there are no reports: " in shown and "make room there" in shown
    assert done.returncode not in (0, 1) and "Traceback" not in shown + done.stderr.decode()


def test_a_full_disk_stops_the_grading_of_a_class_and_says_so(tmp_path):
    (tmp_path / "class" / "one").mkdir(parents=True)
    command = ["-m", "checks.grade", tmp_path / "class", "--as", "class", "--out", tmp_path / "grades"]
    done = run(*command, prefix=FULL)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert "make room there" in done.stderr.decode()
    assert "the same line goes on from there" in done.stderr.decode()
    done = run(*command)  # there is room now
    assert done.returncode == 1 and done.stderr == b""
    record = json.loads((tmp_path / "grades" / "one" / "record.json").read_text(encoding="utf-8"))
    assert record["status"] == "could not be graded"


# ---- Side by side ---------------------------------------------------------------------------------------


def test_workers_are_refused_in_a_sentence():
    installed = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}  # as everywhere else: pytest-xdist among them
    done = run(*UNIT, "-n", "2", **installed)
    assert done.returncode == 4 and b"Traceback" not in done.stdout + done.stderr
    assert "run them without -n" in done.stderr.decode()
    assert run(*UNIT, "-n", "0", **installed).returncode == 0
