"""labs/practice.py: the machine of lab 00 is apart from yours, can be broken and repaired, and goes away."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import labkit  # noqa: E402  (labs/ is no package)
import practice  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
REPAIRS = (
    "git restore models/classifier.py",
    "cp ~/digit-models/digit_classifier_v1.pkl models/",
    "sed -i 's/^PORT=.*/PORT=8000/' .env",
)


@pytest.fixture(scope="module")
def machine():
    return practice.Practice()


def printed_by(machine, lines, capsys) -> str:
    capsys.readouterr()
    machine.run(lines)
    return capsys.readouterr().out


def test_git_in_it_finds_its_own_repository_and_no_other(machine, capsys):
    assert printed_by(machine, "git rev-parse --show-toplevel; git remote", capsys) == "~/pixelwise\norigin\n"
    assert "not a git repository" in printed_by(machine, "cd ~ && git status", capsys)
    assert "not a git repository" in printed_by(machine, "cd ~/.. && git reset --hard", capsys)


def test_neither_your_repository_nor_your_settings_nor_your_home_have_a_say(machine, capsys, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "SECRET_API_KEY", "MODEL_PATH", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(labkit.ROOT))
    lines = 'git rev-parse --show-toplevel; echo "$HOME [$SECRET_API_KEY$MODEL_PATH$GIT_DIR$GIT_WORK_TREE]"'
    assert printed_by(machine, lines, capsys) == "~/pixelwise\n~ []\n"


def test_the_kit_itself_stays_as_it_is(machine, capsys):
    files = [labkit.SERVER, labkit.REPO / ".gitignore", labkit.REPO / "models" / "digit_classifier_v1.pkl"]
    before = [file.read_bytes() for file in files]
    machine.run("git fetch -q origin --tags; git reset --hard v0.3; rm -rf server.py models .git* .env")
    assert [file.read_bytes() for file in files] == before
    practice.Practice.__init__(machine)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_incident_is_noticed_until_it_is_repaired(machine, number, capsys):
    machine.incident(number)
    assert "(exit status" in capsys.readouterr().out or number == 1
    assert not machine.works()
    machine.run(REPAIRS[number - 1])
    assert machine.works()


def test_what_differs_from_run_to_run_has_a_name(machine, capsys):
    machine.run("git reset --hard v0.3; pwd; git remote -v; PORT=x python server.py --check")
    machine.run("$(which python) nothing.py")
    shown = capsys.readouterr().out
    assert "HEAD is now at <commit> the end of block 4\n~/pixelwise\norigin\t$ORIGIN (fetch)" in shown
    assert "<time> ERROR PORT" in shown and str(machine.home) not in shown
    assert "\npython: can't open file '~/pixelwise/nothing.py'" in shown


def test_no_command_and_no_machine_are_said(machine, capsys):
    machine.run(None)
    assert capsys.readouterr().out == "there is nothing to run yet\n"
    practice.Practice.current = None
    practice.practice("", "git reset --hard")
    assert "run the cell with Practice() first" in capsys.readouterr().out


def test_a_missing_git_is_explained(capsys, monkeypatch, tmp_path):
    for name in ("bash", "cp", "mkdir", "mv"):
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = practice.Practice()
    machine.run("git status")
    machine.incident(1)
    shown = capsys.readouterr().out
    assert "✗ the dev machine for practice is not ready. Is git there?" in shown
    assert shown.endswith("there is nothing to run yet\n" * 2) and not machine.works()


def test_it_goes_with_its_kernel(tmp_path):
    line = "import practice; practice.Practice()"
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", line], cwd=LABS, env=environ, capture_output=True, check=True)
    assert list(tmp_path.iterdir()) == []
