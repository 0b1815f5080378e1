"""The server gives the stored answers on the other Pythons of this machine; 3.13 has test_debian13.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import wire
from test_goldens import STORED, all_answers


def other_pythons() -> dict[str, Path]:
    """One of each version, of those on PATH and of pyenv's."""
    found = {}
    for version in {"3.11", "3.12"} - {f"3.{sys.version_info.minor}"}:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        for path in [shutil.which(f"python{version}") or "false", *pyenv]:
            asked = [path, "-c", "import pip, sys; print(f'3.{sys.version_info.minor}')"]
            if subprocess.run(asked, capture_output=True, text=True).stdout.strip() == version:
                found[version] = Path(path)
    return found


def test_the_server_gives_the_stored_answers_on_the_other_pythons_of_this_machine(tmp_path):
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    environ = os.environ | {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    for version, python in other_pythons().items():
        install = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--target", tmp_path / version]
        subprocess.run([*install, "-r", wire.ROOT / "requirements.txt"], env=environ, check=True)
        lent = {"PYTHONPATH": str(tmp_path / version), "PYTHONDONTWRITEBYTECODE": None}
        subprocess.run([python, wire.SERVER, "--check"], env=wire.environment(lent), check=True)
        found = all_answers(command=[python], **lent)
        assert {name: lines for name, lines in found.items() if lines != stored.get(name)} == {}, version
        assert found.keys() == stored.keys()
