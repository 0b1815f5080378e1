"""A Debian 13 as prod: the deployment (its .venv is lent: see lent.py), the drills' short list, and all of
m4, on one box.

That needs root and the packages that `box` names; without them these tests fail, and say which.
"""

import os

import pytest
from lent import keep_venv, with_venv
from test_box_m4 import CHECKS, Machine
from test_drills import ROOT, drills, titles

from checks.kit.core import PASSED

NAME = f"debian13-prod-{os.getpid()}"


@pytest.fixture(scope="module")
def rows():
    try:
        found, said = drills(ROOT, "--short", "--keep", "--name", NAME, **with_venv("trixie"))
        print(said)
        keep_venv(NAME, "trixie")
        yield found
    finally:
        Machine(NAME).box("destroy")


@pytest.mark.parametrize("title", titles("--short"))
def test_drill_on_debian_13(rows, title):
    assert title in rows, f"it was not run: {rows}"
    assert rows[title]["ok"], rows[title]["figure"]


def test_our_deployment_gets_full_marks_on_debian_13(rows, tmp_path):
    told = Machine(NAME).box("ssh", "--", ". /etc/os-release; echo Debian $VERSION_ID; python3 --version")
    assert told.startswith("Debian 13\nPython 3.13.")
    results = Machine(NAME).full_marks(tmp_path)["results"]
    assert [result for result in results if result["status"] != PASSED] == []
    assert {result["name"] for result in results} == {f"m4.{name}" for name in CHECKS}
