"""deploy/box/drills on a real prod machine: every drill goes as it should, and a broken unit is noticed.

They need root and the packages that `box` names; without them they fail.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from lent import keep_venv, with_venv
from test_box_m4 import Machine
from tree import copy_to

ROOT = Path(__file__).resolve().parent.parent
NAME = f"drills-{os.getpid()}"


def titles(*words: str) -> list[str]:
    command = [ROOT / "deploy/box/drills", "--list", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


TITLES = titles()


def drills(root: Path, *words: str, **environ) -> tuple[dict[str, dict], str]:
    """Run the drills of this copy of the repo; their rows by title, and all that was printed."""
    assert os.geteuid() == 0, "the drills boot a machine: run them as root"
    # not in the repo, where another test takes it for a file of the kit, and copies it
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "figures.json")
        command = [root / "deploy/box/drills", "--json", figures, *words]
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 900}
        done = subprocess.run(command, env=os.environ | environ, **options)
        said = done.stdout + done.stderr
        assert figures.exists(), said
        rows = {row["drill"]: row for row in json.loads(figures.read_text())}
        assert done.returncode == (0 if all(row["ok"] for row in rows.values()) else 1), said
        return rows, said


@pytest.fixture(scope="module")
def rows():
    try:
        found, said = drills(ROOT, "--keep", "--name", NAME)
        print(said)
        keep_venv(NAME)
        yield found
    finally:
        Machine(NAME).box("destroy")


@pytest.mark.parametrize("title", TITLES)
def test_drill(rows, title):
    assert title in rows, f"it was not run: {rows}"
    assert rows[title]["ok"], rows[title]["figure"]


def test_a_unit_that_does_not_hold_what_it_should_is_noticed(tmp_path):
    copy_to(tmp_path)
    unit = tmp_path / "deploy/pixelwise.service"
    text = unit.read_text()
    for line, instead in {
        "Restart=always": "Restart=on-success",  # not after kill -9
        "RestartPreventExitStatus=78": "RestartForceExitStatus=78",  # a bad setting loops
        "WatchdogSec=10": "WatchdogSec=0",
    }.items():
        assert text.count(f"\n{line}\n") == 1
        text = text.replace(f"\n{line}\n", f"\n{instead}\n")
    unit.write_text(text)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    machine = Machine(f"{NAME}-unit")
    try:
        words = ("kill -9", "SIGSTOP", "bad setting", "exit 0")
        rows, said = drills(tmp_path, "--name", machine.name, *words, **with_venv())
    finally:
        machine.box("destroy")
    went_well = {title for title, row in rows.items() if row["ok"]}
    assert went_well == {TITLES[0], "exit 0"}, said
