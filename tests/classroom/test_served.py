"""A server of a submission is started again where it would take minutes to wait for its windows."""

import json
import shutil

import pytest

from bench import grading as bench
from checks import grade
from checks.classroom import limits, server
from checks.classroom.found import CannotGrade
from checks.classroom.server import Served
from checks.kit.core import Gone

ENV = {"SECRET_API_KEY": "the-key"}


class Box:
    """In the place of a sandbox: every start of a command is one of these, which says what it was given."""

    def __init__(self):
        self.started, self.ended, self.output = [], None, "my key is the-key"

    def start(self, command, env):
        self.started.append((command, env))
        self.ended = None
        return self

    def stop(self):
        self.ended = "stopped"


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setattr(server, "wait_for", lambda running: None)
    made = Served(Box(), ["python", "server.py"], ENV)
    made.start()
    return made


def test_a_server_is_started_again_as_it_was_and_its_log_has_both_starts_and_no_key(served):
    served.start_again()
    served.stop()
    served.stop()
    assert served.box.started == [(["python", "server.py"], ENV)] * 2
    assert served.log == "my key is $SECRET_API_KEY\n---- stopped\n" * 2


def test_a_server_that_has_ended_is_not_brought_back_to_life(served):
    served.box.ended = "exited 1"
    served.start_again()
    assert len(served.box.started) == 1
    served.stop()
    assert served.log.endswith("---- exited 1\n")


def test_a_server_that_does_not_listen_when_it_is_started_again_is_gone(served, monkeypatch):
    def never(running):
        raise CannotGrade("the server does not start: exited 1", "no port")

    monkeypatch.setattr(server, "wait_for", never)
    with pytest.raises(Gone, match="started again, for new windows of the rate limit, the server does not"):
        served.start_again()


@pytest.mark.skipif(
    not all(map(shutil.which, ("bwrap", "unshare", "setpriv", "ip"))), reason=f"needs {limits.APT}"
)
def test_one_budget_for_all_clients_costs_its_point_and_no_minutes(tmp_path):
    """Only the window whose length is checked is waited for."""
    bench.make_submission(tmp_path / "ada", "one budget for all clients")
    out = tmp_path / "grade"
    line = ["--out", str(out), "--limit", "30/20", "--seed", "1", "--milestone", "m3"]
    assert grade.main([str(tmp_path / "ada"), *line]) == 0
    results = json.loads((out / "record.json").read_text())["report"]["results"]
    lost = [one["name"] for one in results if one["status"] != "passed" and one["milestone"] == "m3"]
    assert lost == ["m3.every client has a budget of its own"]
    assert (out / "server.log").read_text().count("---- stopped") > 4
    waited = [one["name"] for one in results if one["seconds"] > 20]
    assert waited == ["m3.a window lasts as long as the limit says"]
