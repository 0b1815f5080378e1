"""The autograder of Gradescope: the zip, set up and run where everything lies as it does there."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from test_gradebook import CHECKS, SOME, record
from tree import ROOT, copy_of_the_kit

from checks.classroom import autograder
from checks.editions.autograder import PACKAGES, requirements
from checks.release import main as release
from checks.report.gradescope import gradescope

SCHEMA = json.loads(Path(__file__).with_name("gradescope.schema.json").read_text(encoding="utf-8"))
METADATA = {  # as https://gradescope-autograders.readthedocs.io/en/latest/submission_metadata/ shows it
    "id": 123456,
    "created_at": "2026-11-03T14:22:32.365935-07:00",
    "assignment": {
        "due_date": "2026-11-03T14:00:00.000000-07:00",
        "group_size": 4,
        "group_submission": True,
        "id": 25828,
        "course_id": 1234,
        "late_due_date": None,
        "release_date": "2026-10-02T00:00:00.000000-07:00",
        "title": "Block 5",
        "total_points": "94.0",
    },
    "submission_method": "upload",
    "users": [
        {"email": "ada@uni.example", "id": 1, "name": "Ada Ö."},
        {"email": "b@x", "id": 2, "name": "Ben"},
    ],
    "previous_submissions": [],
}
ALL = sum(CHECKS[name].points for name in SOME)


def due(date: str | None) -> dict:
    return METADATA | {"assignment": METADATA["assignment"] | {"due_date": date}}


def valid(results: dict) -> dict:
    jsonschema.validate(results, SCHEMA)
    return results


# ---- What it writes -------------------------------------------------------------------------------------


def test_a_late_submission_keeps_its_points_and_says_how_late_it_is():
    results = valid(autograder.results_of(record(), METADATA))
    assert results["score"] == sum(test["score"] for test in results["tests"]) == ALL
    assert results["output"].startswith("Handed in 23 min after the due date. 3 passed")
    assert results["extra_data"]["late_seconds"] == 22 * 60 + 32


@pytest.mark.parametrize("date", [None, "2026-11-04T00:00:00+02:00", METADATA["created_at"]])
def test_one_in_time_or_without_a_due_date_says_nothing(date):
    results = valid(autograder.results_of(record(), due(date)))
    assert "due date" not in results["output"] and results["extra_data"]["late_seconds"] == 0


def test_what_could_not_be_graded_scores_0_there_and_says_first_why():
    none = record(unchecked=SOME, why="no server was found: add server.py")
    none["report"]["graded"] = False
    with pytest.raises(jsonschema.ValidationError):
        valid(gradescope(none["report"]))
    results = valid(autograder.results_of(none, due(None)))
    assert results["score"] == 0
    start = "Could not be graded, so there are no points yet: no server was found: add server.py."
    assert results["output"].startswith(start)


def test_students_see_everything_but_what_the_grader_printed():
    results = autograder.results_of(record(failed=SOME[:1]), METADATA)
    assert {results["visibility"], *(test["visibility"] for test in results["tests"])} == {"visible"}
    assert results["stdout_visibility"] == "hidden" and "leaderboard" not in results


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "1 min"),
        (60, "1 min"),
        (61, "2 min"),
        (3600, "1 h"),
        (90000, "1 day 1 h"),
        (180060, "2 days 2 h 1 min"),
    ],
)
def test_lateness_is_read_like_a_sentence(seconds, text):
    assert autograder.spoken(timedelta(seconds=seconds)) == text


def test_a_group_is_named_whole():
    assert autograder.name_of(METADATA) == "Ada Ö., Ben"


# ---- The zip --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("zip") / "autograder.zip"
    assert release(["--gradescope", str(out)]) == 0
    return out


def test_the_zip_has_at_its_top_what_gradescope_starts(packed, capsys):
    with zipfile.ZipFile(packed) as opened:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in opened.infolist()}
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert modes["seed.txt"] == modes["checks/classroom/unseen.npz"] == 0o644
    assert not [name for name in modes if name.startswith(("tests/", "labs/", "server.py"))]
    assert release(["--gradescope", str(packed)]) == 1
    assert "is there already: name a new file, or remove it first" in capsys.readouterr().err


def test_it_installs_all_that_it_imports_as_it_is_pinned(packed):
    code = "import sys; from checks.classroom import autograder; print(*sys.modules)"
    run = [sys.executable, "-c", code]
    loaded = set(subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    of = importlib.metadata.packages_distributions()
    used = {of[name][0].lower() for name in loaded if name in of}  # packages, not what is in them
    told = requirements(ROOT) + (ROOT / "requirements.txt").read_text(encoding="utf-8")
    known = set(re.findall(r"(?m)^([\w.-]+)(?:\[\w+\])?==", told)) | {"pip", "setuptools"}
    known |= {
        re.match(r"[\w.-]+", need)[0] for name in PACKAGES for need in importlib.metadata.requires(name) or ()
    }
    assert "numpy" in used
    assert {name.replace("_", "-") for name in used} - {
        name.lower().replace("_", "-") for name in known
    } == set()


# ---- Where it runs --------------------------------------------------------------------------------------

SPY = """
import os, pathlib, subprocess
print("I am", os.getuid(), os.getgid(), os.getgroups())
for path in ("/autograder/source/seed.txt", "/autograder/source/checks/conftest.py"):
    try:
        print("read", pathlib.Path(path).read_text()[:9])
    except PermissionError:
        print("refused", path)
try:
    pathlib.Path("/autograder/results/results.json").write_text("{}")
except PermissionError:
    print("refused results")
pathlib.Path("mine").write_text("written")
subprocess.Popen(["setsid", "sleep", "12345"])
raise SystemExit(3)
"""


class Platform:
    """A machine like Gradescope's: /autograder as it is there, root, no network, nothing of this machine."""

    def __init__(self, home: Path, packed: Path):
        self.home, self.tools = home, home.parent / "tools"
        for name in ("source", "results", "submission"):
            (home / name).mkdir(parents=True)
        with zipfile.ZipFile(packed) as opened:
            opened.extractall(home / "source")
        shutil.copyfile(home / "source" / "run_autograder", home / "run_autograder")
        (home / "run_autograder").chmod(0o755)
        self.tools.mkdir()
        self.tool("apt-get", 'echo "apt-get $*"')
        # the packages are those that are installed here: pip finds all of them there
        self.tool("python3.13", 'echo "python $*" >&2')

    def tool(self, name: str, script: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess:
        binds = [
            "--ro-bind",
            "/usr",
            "/usr",
            "--ro-bind",
            "/etc",
            "/etc",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--dir",
            "/run",
        ]
        for name in ("bin", "sbin", "lib", "lib64"):
            binds += ["--symlink", f"usr/{name}", f"/{name}"]
        binds += ["--perms", "1777", "--tmpfs", "/tmp", "--bind", self.home, "/autograder"]
        for place, source in {
            ROOT / ".venv": "",
            "/autograder/venv": ROOT / ".venv",
            sys.base_prefix: "",
        }.items():
            for parent in reversed(Path(place).parents[:-1]):
                binds += ["--perms", "0755", "--dir", parent] if "autograder" not in str(parent) else []
            binds += ["--ro-bind", source or place, place]
        binds += ["--ro-bind", self.tools, "/tools", "--chdir", "/autograder"]
        command = ["bwrap", "--unshare-net", "--unshare-pid", "--cap-add", "ALL", "--die-with-parent", *binds]
        env = {"PATH": "/tools:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        command += ["bash", "-c", script]
        return subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=600)

    def grade(self, metadata: dict = METADATA) -> subprocess.CompletedProcess:
        (self.home / "submission_metadata.json").write_text(json.dumps(metadata))
        (self.home / "results" / "results.json").unlink(missing_ok=True)
        return self.run("./run_autograder; status=$?; grep -lx sleep /proc/[0-9]*/comm; exit $status")

    def results(self) -> dict:
        return valid(json.loads((self.home / "results" / "results.json").read_text()))


@pytest.fixture(scope="module")
def platform(packed, tmp_path_factory) -> Platform:
    """Set up by setup.sh; of the checks, only m1 is asked for: that is enough, and takes seconds."""
    assert os.geteuid() == 0, "root is another user for each submission: run this test with sudo"
    made = Platform(tmp_path_factory.mktemp("gradescope") / "autograder", packed)
    done = made.run("bash source/setup.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "apt-get install -y --no-install-recommends libarchive13 systemd util-linux" in done.stdout
    assert "python -m venv /autograder/venv" in done.stderr
    assert "already satisfied: rich==" in done.stdout and "Collecting" not in done.stdout
    file = made.home / "source/checks/classroom/autograder.py"
    file.write_text(file.read_text().replace('"milestone": ""', '"milestone": "m1"'))
    return made


def test_our_own_server_gets_all_points_though_late(platform):
    copy_of_the_kit(platform.home / "submission")
    done = platform.grade()
    assert done.returncode == 0, done.stdout + done.stderr
    results = platform.results()
    points = sum(check.points for check in CHECKS.values() if check.milestone == "m1")
    assert results["score"] == points, results["output"]
    assert "Handed in 23 min after the due date." in results["output"]
    assert "listening on http://127.0.0.1:8000" in done.stdout  # for the instructor


def test_a_broken_server_reaches_neither_checks_nor_results_and_leaves_nothing(platform):
    shutil.rmtree(platform.home / "submission")
    (platform.home / "submission").mkdir()
    (platform.home / "submission" / "server.py").write_text(SPY)
    done = platform.grade(due(None))
    assert done.returncode == 0, done.stdout + done.stderr
    results = platform.results()
    assert (
        results["score"] == 0
        and "the server does not start: exited 3 before it listened" in results["output"]
    )
    assert (
        "I am 61000 61000 []" in done.stdout
        and done.stdout.count("refused") == 3
        and "read" not in done.stdout
    )
    assert "comm" not in done.stdout  # its sleep is gone
    assert [path.name for path in (platform.home / "submission").iterdir()] == ["server.py"]


def test_an_empty_submission_scores_0_and_says_what_to_hand_in(platform):
    shutil.rmtree(platform.home / "submission")
    (platform.home / "submission").mkdir()
    assert platform.grade(due(None)).returncode == 0
    results = platform.results()
    assert results["score"] == 0
    assert "there are no files in it: pack the folder with server.py in it" in results["output"]


def test_where_the_grader_is_at_fault_there_are_no_results(platform):
    (platform.home / "source" / "seed.txt").rename(platform.home / "kept.txt")
    try:
        done = platform.grade()
    finally:
        (platform.home / "kept.txt").rename(platform.home / "source" / "seed.txt")
    assert done.returncode == 1 and "seed.txt" in done.stderr
    assert not (platform.home / "results" / "results.json").exists()
