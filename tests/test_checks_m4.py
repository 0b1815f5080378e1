"""The checks of m4: what is right passes them all, and each fault fails exactly the checks that name it.

The machine is a stand-in: stand_in/ssh.
"""

import copy
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from grading_m4 import CHECKS, OFFLINE, ONLINE, SSH, grade, names, unasked
from stand_in.prod_machine import CORRECT, KEY, Machine

from checks.kit.client import Api
from checks.kit.core import FAILED, PASSED, UNCHECKED, Session
from checks.kit.machine import Prod


def changed(base: dict, changes: dict) -> dict:
    """A copy of a nested dict with some values changed; a key "a.b" leads into a nested dict."""
    made = copy.deepcopy(base)
    for place, value in changes.items():
        *path, last = place.split(".")
        target = made
        for name in path:
            target = target[name]
        assert last in target, f"the machine has no {place}"
        target[last] = value
    return made


class Direct(Prod):
    """A Prod that asks the stand-in machine without a process for every command: as thorough, and quicker."""

    def _spawn(self, command, seconds, secret):
        status, out, err = Machine(os.environ["STAND_IN"]).ssh(self.user, self.host, command)
        return status, out.encode(), err.encode(), bool(secret) and secret in (out + err).encode()


class Box:
    """A stand-in machine, its web server, and the Prod and Api that look at it. Waiting moves its clock."""

    def __init__(self, path: Path):
        self.path, self.machine = path, Machine(str(path))
        box = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status = box.machine.http(self.path, self.headers.get("X-API-Key"))
                if status:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(b"{}")

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reset(self, changes: dict | None = None) -> None:
        self.path.write_text(json.dumps(changed(CORRECT, changes or {})))

    def state(self) -> dict:
        return json.loads(self.path.read_text())

    def wait(self, seconds: float) -> None:
        with self.machine as state:
            state["now"] += max(seconds, 1)

    def clock(self) -> float:
        return self.state()["now"]

    def prod(self, kind=Direct, user: str = "produser", **options) -> Prod:
        return kind(f"ssh://{user}@192.168.56.11", ssh=SSH, wait=self.wait, clock=self.clock, **options)

    def grade(self, prod: Prod | None = None, key: str = KEY, gone: str = "") -> dict:
        """The results by name, of all checks that take a machine."""
        return grade(ONLINE, gone, prod=prod or self.prod(), api=Api(self.url, key, wait=self.wait))


@pytest.fixture(scope="module")
def running_box(tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("machine") / "machine.json")
    yield box
    box.server.shutdown()
    box.server.server_close()


@pytest.fixture
def box(running_box, monkeypatch):
    monkeypatch.setenv("STAND_IN", str(running_box.path))
    running_box.reset()
    return running_box


# ---- The machine ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Direct, Prod])
def test_a_right_machine_gets_all_points(box, kind):
    results = box.grade(box.prod(kind))
    assert names(results, PASSED) == {check.name[3:] for check in ONLINE}, results
    assert sum(result.earned for result in results.values()) == sum(check.points for check in ONLINE)
    assert box.state()["unknown"] == [], "the stand-in does not know a command"
    assert box.state()["pid"], "the drills leave the service running"


MACHINE_FAULTS = {
    "no unit is installed": ({"show.LoadState": "not-found"}, "the unit is installed"),
    "the unit lies in /run": (
        {"show.FragmentPath": "/run/systemd/system/pixelwise.service"},
        "the unit is installed",
    ),
    "it is not enabled": ({"show.UnitFileState": "disabled"}, "the service is enabled"),
    "it is enabled until the reboot": ({"show.UnitFileState": "enabled-runtime"}, "the service is enabled"),
    "it is stopped": ({"pid": 0}, "the service is running"),
    "it crashes at once, over and over": ({"crashes": "quickly"}, "the service is running"),
    "it crashes every three seconds": ({"crashes": "slowly"}, "the service is running"),
    "it runs as root": ({"owner": "root"}, "the service runs as produser"),
    "it works in a home folder": (
        {"show.WorkingDirectory": "/home/produser"},
        "the service works in opt pixelwise",
    ),
    "it has no working directory": ({"show.WorkingDirectory": ""}, "the service works in opt pixelwise"),
    "it takes the system's Python": (
        {"show.ExecStart": "{ path=/usr/bin/python3 ; }", "command": ["/usr/bin/python3", "server.py"]},
        "the service uses its venv",
    ),
    "it listens on loopback alone": ({"address": "127.0.0.1"}, "other machines get an answer"),
    "it says 503": ({"health": 503}, "other machines get an answer"),
    "Restart=no": ({"show.Restart": "no"}, "a crash leads to a restart"),
    "Restart=on-failure": ({"show.Restart": "on-failure"}, "a crash leads to a restart"),
    "RestartSec=60": ({"show.RestartUSec": "1min"}, "a crash leads to a restart"),
    "it logs to a file": ({"logs": []}, "the log is in the journal"),
    ".env is readable for all": ({"env.mode": "644"}, "the env file is private"),
    ".env is readable for the group": ({"env.mode": "640"}, "the env file is private"),
    "there is no .env": ({"env.mode": ""}, "the env file is private"),
    ".env is in git": ({"git.tracked": ".env\n"}, "the env file is not in git"),
    ".env was in git": ({"git.history": "39eab9b\n"}, "the env file is not in git"),
    "the key is in the unit": (
        {"unit": f'[Service]\nEnvironment="SECRET_API_KEY={KEY}"\n'},
        "the key is not in the unit",
    ),
    "an old key is in the unit": (
        {"unit": "[Service]\nEnvironment=SECRET_API_KEY=secret\n"},
        "the key is not in the unit",
    ),
    "the key is in the program's arguments": (
        {"unit": f"[Service]\nExecStart=/x --key {KEY}\n"},
        "the key is not in the unit",
    ),
    "it logs the key": ({"logs_key": True}, "the key is not in the journal"),
    "it logged the key long ago": ({"journal": [f"key={KEY}"]}, "the key is not in the journal"),
    "it stays down after a kill": ({"returns.kill": False}, "the service is back after kill 9"),
    "it comes back sick after a kill": ({"health_after_kill": 503}, "the service is back after kill 9"),
    "another server answers after a stop": ({"impostor": True}, "a stop stays a stop"),
    "it rises after a stop": ({"returns.stop": True}, "a stop stays a stop"),
    "it rises when it is asked after a stop": ({"woken": True}, "a stop stays a stop"),
    "it stays down after a reboot": ({"returns.boot": False}, "the service is back after a reboot"),
}


@pytest.mark.parametrize("fault", MACHINE_FAULTS)
def test_a_fault_of_the_machine_fails_its_check_and_no_other(box, fault):
    changes, expected = MACHINE_FAULTS[fault]
    box.reset(changes)
    results = box.grade()
    assert names(results, FAILED) == {expected}, results
    assert unasked(results) == set()
    failed = results[expected]
    assert failed.received and failed.expected and failed.hint and failed.curl
    assert "systemctl start" not in failed.curl, "that would mend it, not show it"
    assert "seq" not in failed.curl, "one request shows it, not all that were asked while it waited"
    assert KEY not in repr(results)
    assert not any(KEY in command for command in box.state()["commands"]), "the key was on a command line"
    assert box.state()["unknown"] == []


TROUBLES = {  # what ssh says, and a word of the diagnosis
    "ssh: connect to host 192.168.56.11 port 22: Connection refused\n": "openssh-server",
    "ssh: connect to host 192.168.56.11 port 22: Connection timed out\n": "Is it on",
    "ssh: connect to host 192.168.56.11 port 22: No route to host\n": "Is it on",
    "produser@192.168.56.11: Permission denied (publickey,password).\n": "ssh-copy-id produser@192.168.56.11",
    "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@\nHost key verification failed.\n": "-R",
    "ssh: Could not resolve hostname 192.168.56.11: Name or service not known\n": "spelling",
    "Connection closed by 192.168.56.11 port 22\n": "hung up",
    "something \033[31mnew\n": "something \\x1b[31mnew",
    "": "it said nothing",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_ssh_nothing_is_graded_as_wrong(box, trouble):
    box.reset({"ssh": trouble})
    results = box.grade(box.prod(Prod))
    assert names(results, UNCHECKED) == set(results)
    assert unasked(results) == {"the unit is installed"}, "one check asks, and the others do not ask again"
    assert TROUBLES[trouble] in results["the unit is installed"].reason
    assert len(box.state()["commands"]) == 1


def test_a_machine_without_systemd_cannot_be_checked(box):
    box.reset({"systemd": False})
    results = box.grade()
    assert names(results, UNCHECKED) == set(results)
    assert "not been booted with systemd" in results["the unit is installed"].reason


def test_without_sudo_only_the_checks_that_need_it_are_left_out(box):
    box.reset({"sudo": False})
    results = box.grade()
    assert unasked(results) == {"a stop stays a stop", "the service is back after a reboot"}
    assert names(results, UNCHECKED) == unasked(results) and not names(results, FAILED)
    assert all("NOPASSWD" in results[name].reason for name in unasked(results))
    assert box.state()["pid"], "it still runs"


def test_a_user_who_sees_only_a_part_of_the_journal_uses_sudo(box):
    box.reset({"group": False})
    assert len(names(box.grade(), PASSED)) == len(ONLINE)
    box.reset({"group": False, "sudo": False, "journal": [f"key={KEY}"]})
    assert {"the log is in the journal", "the key is not in the journal"} <= unasked(box.grade())


def test_root_needs_no_sudo(box):
    box.reset({"sudo": False, "owner": "produser"})
    assert len(names(box.grade(box.prod(user="root")), PASSED)) == len(ONLINE)


def test_an_env_file_of_root_is_read_with_sudo(box):
    box.reset({"env.readable": False})
    assert len(names(box.grade(), PASSED)) == len(ONLINE)
    box.reset({"env.readable": False, "sudo": False})
    results = box.grade()
    assert not names(results, FAILED)
    assert "the key is not in the unit" in unasked(results)
    assert results["the key is not in the journal"].status == PASSED, "the grader knows the key anyway"


def test_without_a_key_or_with_a_tiny_one_nothing_is_looked_for(box):
    for text, word in {"DEBUG=true\n": "no SECRET_API_KEY", "SECRET_API_KEY='abc'\n": "too short"}.items():
        box.reset({"env.text": text})
        results = box.grade(key="")
        assert unasked(results) == {"the key is not in the unit", "the key is not in the journal"}
        assert all(word in results[name].reason for name in unasked(results))


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_the_key_is_known_without_its_quotes(box, quote):
    box.reset({"env.text": f"SECRET_API_KEY={quote}{KEY}{quote}\n", "unit": f"ExecStart=/x --key {KEY}"})
    assert names(box.grade(key=""), FAILED) == {"the key is not in the unit"}


def test_a_folder_that_is_no_repository_holds_nothing_in_git(box):
    box.reset({"git.there": False})
    assert len(names(box.grade(), PASSED)) == len(ONLINE)
    box.reset({"git.broken": "fatal: bad config line 1\n"})
    assert unasked(box.grade()) == {"the env file is not in git"}


def test_a_wrapper_may_start_the_venv(box):
    box.reset({"show.ExecStart": "{ path=/opt/pixelwise/run.sh ; }"})
    assert len(names(box.grade(), PASSED)) == len(ONLINE)


@pytest.mark.parametrize("path", ["/health", "/no-such-page"])
def test_a_log_may_leave_out_what_is_routine(box, path):
    box.reset({"logs": [path]})
    assert len(names(box.grade(), PASSED)) == len(ONLINE)


@pytest.mark.parametrize(
    "drill, changes",
    [
        ("the service is back after kill 9", {"returns.kill": False}),
        ("a stop stays a stop", {"returns.stop": True}),
        ("a stop stays a stop", {}),
        ("the service is back after a reboot", {"returns.boot": False}),
    ],
)
def test_every_drill_leaves_the_service_running(box, drill, changes):
    box.reset(changes)
    given = {"prod": box.prod(), "api": Api(box.url, KEY, wait=box.wait)}
    result = Session(ONLINE, given, seed=1, publish=lambda result: None).run(f"m4.{drill}")
    assert result.status == (FAILED if changes else PASSED)
    assert box.state()["pid"]


def test_another_server_that_answers_after_a_kill_does_not_hide_it(box):
    box.reset({"returns.kill": False, "impostor": True})
    assert "the service is back after kill 9" in names(box.grade(), FAILED)


def test_a_systemctl_that_refuses_finds_out_nothing(box):
    box.reset({"obeys": False})
    results = box.grade()
    assert not names(results, FAILED)
    assert unasked(results) == {"a stop stays a stop", "the service is back after a reboot"}
    assert all("Operation refused" in results[name].reason for name in unasked(results))


def test_the_reboot_can_be_left_out(box):
    results = box.grade(box.prod(reboot=False))
    assert unasked(results) == {"the service is back after a reboot"}
    assert "--no-reboot" in results["the service is back after a reboot"].reason
    assert box.state()["boots"] == 1


def test_a_service_that_systemctl_start_does_not_bring_back_fails_the_stop(box):
    box.reset({"returns.start": False})
    assert names(box.grade(), FAILED) == {"a stop stays a stop"}


def test_a_server_that_cannot_be_reached_from_here_is_still_graded(box):
    box.reset({"address": "127.0.0.1"})
    results = box.grade(gone="nothing can be asked at …")
    told = results["other machines get an answer"]
    assert told.status == FAILED and f"127.0.0.1:{box.server.server_port} listens" in told.received


def test_the_checks_have_what_a_report_needs():
    assert {check.name for check in CHECKS} == {check.name for check in ONLINE + OFFLINE}
    for check in CHECKS:
        assert check.hint and check.sentence and "\n" not in check.sentence and check.points in (1, 2)
        assert all(any(other.name == name for other in CHECKS) for name in check.needs)
