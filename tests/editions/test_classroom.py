"""The workflow of the student edition: what GitHub would run, run here, and the points that it reports."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from tree import ROOT

from checks.editions import write
from checks.report import actions


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A student's folder, with the packages that are here already."""
    out = tmp_path_factory.mktemp("editions")
    write.write_editions(ROOT, out)
    kit = out / "student"
    (kit / ".venv").symlink_to(sys.prefix)
    script = (kit / "setup-server.sh").read_text(encoding="utf-8")
    called = ("install_packages", "install_python_packages")
    script = script.replace('\nmain "$@"', "".join(f"\n{name}() {{ :; }}" for name in called) + '\nmain "$@"')
    (kit / "setup-server.sh").write_text(script, encoding="utf-8")
    return kit


@pytest.fixture(scope="module")
def workflow(kit) -> dict:
    return yaml.safe_load((kit / ".github" / "workflows" / "classroom.yml").read_text(encoding="utf-8"))


def test_it_has_the_names_by_which_github_classroom_finds_the_points(workflow):
    assert workflow["name"] == "Autograding Tests"
    assert list(workflow["jobs"]) == ["run-autograding-tests"]


def test_it_runs_after_a_push_and_may_only_read(workflow):
    assert "push" in workflow[True]  # YAML 1.1 reads "on" so
    assert workflow["permissions"] == {"contents": "read"}


def test_what_others_wrote_is_pinned_to_a_commit(workflow):
    steps = workflow["jobs"]["run-autograding-tests"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert [name.partition("@")[0] for name in used] == ["actions/checkout", "actions/setup-python"]
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) for name in used)


def test_what_it_runs_grades_the_own_server_and_reports_the_points(kit, workflow, tmp_path):
    """As GitHub runs them: `bash -e`; after a failure only what says always(). Of the checks, m4 alone."""
    summary, printed, failed = tmp_path / "summary.md", "", False
    env = os.environ | {"GITHUB_STEP_SUMMARY": str(summary), "PYTEST_ADDOPTS": "--milestone m4"}
    for step in workflow["jobs"]["run-autograding-tests"]["steps"]:
        if "run" in step and (not failed or step.get("if") == "always()"):
            command = ["bash", "-e", "-c", step["run"]]
            done = subprocess.run(command, cwd=kit, env=env, capture_output=True, text=True, timeout=300)
            failed, printed = failed or done.returncode != 0, printed + done.stdout + done.stderr
    assert failed, printed  # points were lost, and the run shows it
    report = json.loads((kit / "grade" / "report.json").read_text(encoding="utf-8"))
    assert 0 < report["earned"] < report["points"]
    assert (
        f"::notice title=Autograding complete::Points {report['earned']:g}/{report['points']:g}\n" in printed
    )
    told = re.search("::notice title=Autograding report::(.*)", printed)[1]
    assert json.loads(told) == {"totalPoints": report["earned"], "maxPoints": report["points"]}
    assert summary.read_text(encoding="utf-8") == (kit / "grade" / "report.md").read_text(encoding="utf-8")


def test_without_a_report_it_says_where_to_look(tmp_path, capsys):
    assert actions.main([str(tmp_path)]) == 1
    assert (
        "report.json is missing: the grading did not begin, read the step before" in capsys.readouterr().err
    )
