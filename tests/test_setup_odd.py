"""setup-server.sh on a user's own odd machine: what it makes of the kit, and what is said of it."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from test_setup import run
from tree import copy_to

# what requirements.txt names is lent to these copies, for pip would take half a minute each time
LENT = {"PYTHONPATH": sysconfig.get_path("purelib")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the repo on which `bash setup-server.sh` ran once."""
    folder = copy_to(tmp_path_factory.mktemp("odd") / "pixelwise")
    ran = run(folder, **LENT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


# ---- How the folder came there --------------------------------------------------------------------------


def test_a_checkout_by_git_for_windows_has_the_same_bytes(tmp_path):
    repository = copy_to(tmp_path / "repository")
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    git(tmp_path, *("-c", "core.autocrlf=true", "-c", "core.eol=crlf"), "clone", "-q", "repository", "clone")
    for name in git(repository, "ls-files", "-z").split("\0")[:-1]:
        assert (tmp_path / "clone" / name).read_bytes() == (repository / name).read_bytes(), name


def test_a_folder_that_was_moved_or_copied_gets_programs_of_its_own(clone, tmp_path):
    folder = shutil.copytree(clone, tmp_path / "another place", symlinks=True)
    ran = run(folder, **LENT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = subprocess.run([folder / ".venv/bin/pip", "--version"], capture_output=True, text=True, check=True)
    assert f"from {folder}/.venv/" in said.stdout
    assert "already there" in run(folder, **LENT).stdout
