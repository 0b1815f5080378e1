"""setup-server.sh on a user's own odd machine: what it makes of the kit, and what is said of it."""

import subprocess
from pathlib import Path

from tree import copy_to


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
