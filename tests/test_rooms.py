"""The rooms of checks/, as .importlinter draws them: imports point down only."""

import subprocess
import sys
from pathlib import Path

import pytest
from tree import copy_to

ROOT = Path(__file__).resolve().parent.parent


def lint(folder: Path) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def test_imports_point_down_and_never_in_a_circle():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        (
            "kit/core.py",
            "from checks import test_m5_fourth_endpoint",
            "imports only from those below it BROKEN",
        ),
        ("kit/core.py", "import checks.report.model", "imports only from those below it BROKEN"),
        (
            "editions/write.py",
            "from checks.classroom import intake",
            "imports only from those below it BROKEN",
        ),
        ("kit/exchange.py", "from checks.kit import client", "import each other BROKEN"),
        ("classroom/cgroups.py", "from checks.classroom.sandbox import LOCK", "import each other BROKEN"),
        ("kit/digits.py", "import models.classifier", "nothing of the server that they grade BROKEN"),
    ],
)
def test_an_import_that_points_up_or_in_a_circle_is_found(tmp_path, file, line, broken):
    module = copy_to(tmp_path) / "checks" / file
    module.write_text(f"{module.read_text()}\n\ndef late():\n    {line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert broken in " ".join(done.stdout.split())
