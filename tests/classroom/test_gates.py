"""The gates are the same for everybody, always; a server finds the settings wherever it looks for them."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from submissions import CHEATS, DOTENV, ODD, odd

from checks import grade
from checks.classroom import gates, limits, server
from checks.kit import core, grading
from checks.kit.core import PASSED, UNCHECKED

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bwrap", "unshare", "setpriv", "ip"))), reason=f"needs {limits.APT}"
)
OTHER_KEY = "it has a key of its own"


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Path:
    """All of ODD, graded side by side; gives the folder of the grades."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ODD:
        odd(folder / "class", name)
    line = ["--limit", "12/5", "--milestone", "m2,m3", "--seed", "4"]
    assert grade.main([str(folder / "class"), "--out", str(folder / "grades"), *line]) == 0
    return folder / "grades"


def lost(graded: Path, name: str) -> dict[str, dict]:
    """{check: result} of what did not pass and could be checked."""
    results = json.loads((graded / name / "record.json").read_text())["report"]["results"]
    return {one["name"]: one for one in results if one["status"] not in (PASSED, UNCHECKED)}


@pytest.mark.parametrize("name", [name for name in ODD if name not in CHEATS and name != OTHER_KEY])
def test_a_server_that_reads_its_env_file_gets_full_marks(graded, name):
    grades = json.loads((graded / name / "grade.json").read_text())
    assert (grades["earned"], grades["points"]) == (65, 65), lost(graded, name)


def test_a_server_that_takes_another_key_is_told_so(graded):
    refused = lost(graded, OTHER_KEY)["m2.a digit is classified"]
    assert re.search(r"checks\.digits [\w=-]{100,}\)", refused["curl"]), "a digit that students do not have"
    assert refused["received"].startswith("401") and "SECRET_API_KEY" in refused["expected"]
    assert gates.OTHER_KEY in (graded / OTHER_KEY / "report.md").read_text().replace("\\", "")
    assert gates.OTHER_KEY not in (graded / ODD[0] / "report.md").read_text().replace("\\", "")


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        ("it opens its gates when it is started again", gates.GATES[1:]),
        ("it judges no body when it is started again", gates.GATES[:1]),
    ],
)
def test_gates_that_are_open_when_the_server_is_started_again_are_found_and_said(graded, name, checks):
    failed = lost(graded, name)
    assert set(failed) == set(checks)
    for result in failed.values():
        assert "with DEBUG=true; it was right before" in result["received"]
        assert result["earned"] == 0 and result["curl"]


def test_a_server_that_waits_for_the_order_of_the_checks_is_found(graded):
    failed = lost(graded, "it wants a key when the bodies have been judged")
    assert {"m3.a missing key is refused", "m3.a wrong key is refused"} & set(failed)


def test_the_gates_are_asked_first_and_the_others_in_the_order_that_they_had():
    checks = core.in_any_order(grading.all_checks(), 1)
    order = gates.gates_first(checks)
    assert {check.name for check in order[:3]} == set(gates.GATES[:3])
    assert order[3:] == [check for check in checks if check.name not in gates.GATES[:3]]


# ---- The settings in .env -------------------------------------------------------------------------------


def test_the_graders_settings_take_the_place_of_the_students_and_leave_the_rest(tmp_path):
    (tmp_path / "app").mkdir()
    for name in (".env", "app/.env"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + DOTENV.replace("\n", "\r\n").encode())
    settings = {"SECRET_API_KEY": "ours", "PORT": "8000", "DEBUG": "false", "RATE_LIMIT": "30/minute"}
    for _ in range(2):  # the server is started twice
        server.write_settings(tmp_path, settings)
    ours = [f"{name}={value}" for name, value in settings.items()]
    for name in (".env", "app/.env"):
        assert (tmp_path / name).read_text().splitlines() == ["MODEL_REPO=mine", *ours]
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


def test_there_is_an_env_file_beside_a_server_that_is_started_in_its_own_folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "server.py").touch()
    server.write_settings(tmp_path, {"PORT": "8000"})
    assert (tmp_path / "src" / ".env").read_text() == (tmp_path / ".env").read_text() == "PORT=8000\n"


def test_there_is_an_env_file_where_the_submission_has_none_or_calls_its_environment_so(tmp_path):
    server.write_settings(tmp_path, {"PORT": "8000"})
    assert (tmp_path / ".env").read_text() == "PORT=8000\n"
    (tmp_path / "other" / ".env" / "bin").mkdir(parents=True)
    server.write_settings(tmp_path / "other", {"PORT": "8000"})
    assert os.listdir(tmp_path / "other" / ".env") == ["bin"]  # noqa: PTH208
