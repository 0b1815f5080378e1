"""The checks of m4: what is right passes them all, and each fault fails exactly the checks that name it.

The machine is a stand-in (stand_in/ssh), the systemd-analyze is the real one.
"""

import copy
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stand_in.prod_machine import CORRECT, KEY, Machine

from checks import test_m4_machine, test_m4_unit
from checks.kit import machine, unit
from checks.kit.client import Api
from checks.kit.core import FAILED, PASSED, UNCHECKED, Session, checks_of
from checks.kit.machine import NoSsh, Prod
from checks.kit.unit import Unit, parse, time_span

HERE = Path(__file__).parent
CHECKS = checks_of(test_m4_machine, test_m4_unit)
ONLINE = [check for check in CHECKS if "prod" in check.function.__code__.co_varnames[:2]]
OFFLINE = [check for check in CHECKS if "unit" in check.function.__code__.co_varnames[:1]]
SSH = [sys.executable, "-I", "-S", str(HERE / "stand_in" / "ssh")]


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


def grade(checks, gone="", **arguments) -> dict:
    session = Session(checks, arguments, seed=1, publish=lambda result: None)
    session.gone = gone
    for check in checks:
        session.run(check.name)
    return {name.removeprefix("m4."): result for name, result in session.results.items()}


def names(results: dict, status: str) -> set[str]:
    return {name for name, result in results.items() if result.status == status}


def unasked(results: dict) -> set[str]:
    """The checks that could not be checked for a reason of their own, not for want of another check."""
    return {name for name in names(results, UNCHECKED) if not results[name].reason.startswith('it needs "')}


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


# ---- Running a command ----------------------------------------------------------------------------------


def through(tmp_path: Path, program: str, **options) -> Prod:
    """A Prod whose ssh is this Python program."""
    (tmp_path / "ssh.py").write_text(program)
    return Prod("ssh://u@h:2222", ssh=[sys.executable, "-I", "-S", str(tmp_path / "ssh.py")], **options)


def test_a_command_is_run_with_options_that_ask_nobody_anything(tmp_path):
    done = through(
        tmp_path, "import sys; print(sys.argv[1:]); print('oh', file=sys.stderr); sys.exit(3)"
    ).run("a 'b'")
    words = eval(done.out)
    assert (done.status, done.err, words[-2:]) == (3, "oh\n", ["u@h", "a 'b'"])
    assert {"BatchMode=yes", "StrictHostKeyChecking=accept-new", "ControlPath=none"} <= set(words)
    assert words[words.index("-p") + 1] == "2222"


def test_the_last_command_can_be_typed(tmp_path):
    prod = through(tmp_path, "")
    prod.run("systemctl is-enabled pixelwise")
    assert prod.last == "ssh -p 2222 u@h systemctl is-enabled pixelwise"
    prod.run("ss 'sport = :80'")
    assert prod.last == """ssh -p 2222 u@h 'ss '"'"'sport = :80'"'"''"""
    prod.begin()
    assert prod.last == ""


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pid"
    program = f"""
import os, time
if os.fork() == 0:
    open({str(pids)!r}, "w").write(str(os.getpid()))
    time.sleep(600)
print("never ends", flush=True); time.sleep(600)
"""
    prod, began = through(tmp_path, program), time.monotonic()
    with pytest.raises(NoSsh, match="no end within 1 s"):
        prod.run("sleep 600", seconds=1)
    assert time.monotonic() - began < 5
    for _ in range(500):  # until init, or whoever takes orphans here, has buried it
        with suppress(OSError, IndexError):
            state = Path(f"/proc/{pids.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                time.sleep(0.01)
                continue
        return
    raise AssertionError("the child lives on")


def test_a_flood_is_cut_and_yet_searched(tmp_path):
    program = """
import sys
for _ in range(60):
    sys.stdout.write("x" * 65536)
sys.stdout.write("swordfish" + "y" * 100000)
"""
    done = through(tmp_path, program).run("yes", secret="swordfish")
    assert len(done.out) == machine.MAX_OUTPUT and done.leaked
    assert not through(tmp_path, program).run("yes", secret="swordfisk").leaked


def test_a_secret_in_two_pieces_is_found(tmp_path):
    program = (
        "import os, time; os.write(1, b'…swo'.replace(b'.', b'')); time.sleep(0.2); os.write(1, b'rdfish')"
    )
    assert through(tmp_path, program.replace("…", "a")).run("x", secret="swordfish").leaked


def test_an_output_cannot_steer_the_terminal(tmp_path):
    done = through(tmp_path, r"import os; os.write(1, b'a\x1b[2Jb\nc\xff\n')").run("x")
    assert done.out == "a\\x1b[2Jb\nc\ufffd\n" and done.line == "c\ufffd"


def test_a_missing_ssh_is_named():
    with pytest.raises(NoSsh, match="openssh-client"):
        Prod("ssh://u@h", ssh=["/no/such/ssh"]).run("true")


def test_the_real_ssh_understands_the_options():
    """Whether this ssh knows every option: it reads them, then prints what it would do."""
    prod = Prod("ssh://u@127.0.0.1:1")
    command = ["ssh", "-G", *prod._options(), prod.destination]
    told = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert told.returncode == 0 and "batchmode yes" in told.stdout and "port 1\n" in told.stdout, told
    with pytest.raises(NoSsh, match="nothing listens for ssh there"):
        prod.run("true")


@pytest.mark.parametrize(
    "url",
    ["produser@192.168.56.11", "http://x", "ssh://", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://h/path"]
    + ["ssh://u@h:port", "ssh://u@h:0", "ssh://u@h;reboot", "ssh://u u@h", "", "ssh://[::1"],
)
def test_what_is_no_machine_is_refused(url):
    with pytest.raises(ValueError, match="ssh://produser@"):
        Prod(url)


@pytest.mark.parametrize(
    "url", ["ssh://produser@192.168.56.11", "ssh://h", "ssh://a_b@host.name:22", "ssh://u@[::1]:2"]
)
def test_what_is_a_machine_is_taken(url):
    assert Prod(url).host


# ---- The unit file --------------------------------------------------------------------------------------

COURSE_UNIT = r"""# deploy/pixelwise.service
[Unit]
Description=PixelWise API
After=network.target

[Service]
User=produser
WorkingDirectory=/opt/pixelwise
EnvironmentFile=/opt/pixelwise/.env
ExecStart=/opt/pixelwise/.venv/bin/uvicorn \
    app.main:app --host 0.0.0.0 --port 8000
Restart=always
RestartSec=3

[Install]
WantedBy=multi-user.target
"""
HARDENING = """NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectProc=invisible
RestrictNamespaces=yes
CapabilityBoundingSet=
SystemCallFilter=@system-service
SystemCallArchitectures=native
"""
HARDENED = COURSE_UNIT.replace("RestartSec=3\n", "RestartSec=3\n" + HARDENING)
ALL = {check.name[3:] for check in OFFLINE}


def the(name: str) -> str:
    return f"the unit file {name}"


VERIFY = the("passes systemd analyze verify")


def graded(tmp_path: Path, content: str | bytes) -> dict:
    file = tmp_path / "pixelwise.service"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return grade(OFFLINE, unit=Unit(file))


@pytest.mark.parametrize(
    "change",
    [
        ("", ""),
        ("\n", "\r\n"),
        ("RestartSec=3", "RestartSec = 3s"),
        ("RestartSec=3", "RestartSec=1min\nRestartSec=2500ms"),
        ("User=produser", "User=root\nUser=produser"),
        ("network.target", "network-online.target\nWants=network-online.target"),
        ("User=", "# SECRET_API_KEY lives in .env; SECRET_API_KEY=… here is wrong\nUser="),
        ("/opt/pixelwise\n", "/opt/pixelwise/\n"),
        ("=/opt/pixelwise/.env", "=-/opt/pixelwise/.env"),
        ("=/opt/pixelwise/.env", "=/etc/default/pixelwise\nEnvironmentFile=/opt/pixelwise/.env"),
        ("RestartSec=3", "RestartSec=3\nStandardOutput=journal\nStandardError=inherit"),
        ("RestartSec=3", "RestartSec=3\nEnvironment=HOST=0.0.0.0 'A=b c'"),
        ("ExecStart=/", "ExecStart=/bin/false\nExecStart=\nExecStart=/"),
        ("ExecStart=/", "ExecStart=-/"),
        ("After=", "StartLimitIntervalSec=60\nStartLimitBurst=5\nAfter="),
        ("[Install]", "[X-Course]\nblock = 5\n[Install]"),
        ("multi-user.target", "multi-user.target graphical.target"),
        ("/.venv/bin/uvicorn", "/.venv/bin/python /opt/pixelwise/server.py"),
        ("Description=", "Requires=no-such-database.service\nDescription="),
        ("Description=", "Requires=pixelwise.socket\nDescription="),
        ("Description=", "# SECRET_API_KEY=changeme\nDescription="),
    ],
)
def test_a_right_unit_file_passes_all_but_the_stretch(tmp_path, change):
    results = graded(tmp_path, COURSE_UNIT.replace(*change))
    assert names(results, FAILED) == {the("is hardened")}, results
    assert names(results, PASSED) == ALL - {the("is hardened")}
    assert results[the("is hardened")].stretch


def test_a_hardened_unit_file_passes_all(tmp_path):
    assert names(graded(tmp_path, HARDENED), PASSED) == ALL


UNIT_FAULTS = {  # what is replaced, by what, and which checks fail
    "a line in front": ("# deploy", "deploy", ["can be read"]),
    "a line without =": ("Restart=always", "Restart always", ["can be read"]),
    "a line without a key": ("Restart=always", "=always", ["can be read"]),
    "a section without ]": ("[Service]", "[Service", ["can be read"]),
    "a lost backslash": (" \\\n", "\n", ["can be read"]),
    "no [Install]": ("[Install]\nWantedBy=multi-user.target\n", "", ["has three sections"]),
    "a misspelt section": ("[Install]", "[Instal]", ["has three sections"]),
    "no user": ("User=produser\n", "", ["runs it as produser"]),
    "User=root": ("User=produser", "User=root", ["runs it as produser"]),
    "a user with a comment": ("User=produser", "User=produser # not root", ["runs it as produser"]),
    "a + before the program": ("ExecStart=", "ExecStart=+", ["runs it as produser"]),
    "a ! before the program": ("ExecStart=", "ExecStart=!", ["runs it as produser"]),
    "no working directory": ("WorkingDirectory=/opt/pixelwise\n", "", ["works in opt pixelwise"]),
    "another working directory": (
        "WorkingDirectory=/opt/pixelwise",
        "WorkingDirectory=/home/student",
        ["works in opt pixelwise"],
    ),
    "no environment file": ("EnvironmentFile=/opt/pixelwise/.env\n", "", ["reads the env file"]),
    "an environment file that is forgotten": (
        "EnvironmentFile=/opt/pixelwise/.env\n",
        "EnvironmentFile=/opt/pixelwise/.env\nEnvironmentFile=\n",
        ["reads the env file"],
    ),
    "the key in the unit": (
        "Restart=always",
        "Restart=always\nEnvironment=DEBUG=false 'SECRET_API_KEY=abc'",
        ["holds no key"],
    ),
    "the key on a continued line": (
        "Restart=always",
        "Restart=always\nEnvironment=DEBUG=false \\\n  SECRET_API_KEY=abc",
        ["holds no key"],
    ),
    "the key in a comment": ("# deploy", "# SECRET_API_KEY=Zf4Yb0kq8Wm2Xr7v", ["holds no key"]),
    "the system's uvicorn": ("/opt/pixelwise/.venv/bin/uvicorn", "/usr/bin/uvicorn", ["starts the venv"]),
    "a uvicorn without a path": ("/opt/pixelwise/.venv/bin/uvicorn", "uvicorn", ["starts the venv"]),
    "a way out of the venv": (".venv/bin/uvicorn", ".venv/../bin/uvicorn", ["starts the venv"]),
    "no restart": ("Restart=always\n", "", ["restarts it always"]),
    "Restart=on-failure": ("Restart=always", "Restart=on-failure", ["restarts it always"]),
    "no pause": ("RestartSec=3\n", "", ["pauses before a restart"]),
    "a pause of a minute": ("RestartSec=3", "RestartSec=1min", ["pauses before a restart"]),
    "a pause of a moment": ("RestartSec=3", "RestartSec=100ms", ["pauses before a restart"]),
    "a pause that is no time": (
        "RestartSec=3",
        "RestartSec=3x",
        ["pauses before a restart", "passes systemd analyze verify"],
    ),
    "another target": ("multi-user.target", "mulit-user.target", ["starts at boot"]),
    "no After": ("After=network.target\n", "", ["waits for the network"]),
    "a misspelt After": ("network.target", "netwrok.target", ["waits for the network"]),
    "a log file": (
        "RestartSec=3",
        "RestartSec=3\nStandardOutput=append:/opt/pixelwise/log",
        ["leaves the log to the journal"],
    ),
    "errors thrown away": (
        "RestartSec=3",
        "RestartSec=3\nStandardError=null",
        ["leaves the log to the journal"],
    ),
    "a start limit that is ignored": (
        "RestartSec=3",
        "RestartSec=3\nStartLimitIntervalSec=60",
        ["limits starts where it counts", "passes systemd analyze verify"],
    ),
    "uvicorn on loopback": ("0.0.0.0", "127.0.0.1", ["listens for other machines"]),
    "uvicorn's default": (" --host 0.0.0.0", "", ["listens for other machines"]),
    "HOST on loopback": (
        "uvicorn \\\n    app.main:app --host 0.0.0.0 --port 8000",
        "python server.py\nEnvironment=HOST=localhost",
        ["listens for other machines"],
    ),
    "a key that systemd does not know": (
        "[Service]",
        "[Service]\nRestrat=1",
        ["passes systemd analyze verify"],
    ),
    "a misspelt Restart": (
        "Restart=always",
        "Restrat=always",
        ["restarts it always", "passes systemd analyze verify"],
    ),
    "a wrong value": (
        "Restart=always",
        "Restart=alwys",
        ["restarts it always", "passes systemd analyze verify"],
    ),
    "a restart that its type forbids": (
        "Restart=always",
        "Restart=always\nType=oneshot",
        ["passes systemd analyze verify"],
    ),
    "no program": (
        "ExecStart=/opt/pixelwise/.venv/bin/uvicorn \\\n    app.main:app --host 0.0.0.0 --port 8000\n",
        "",
        ["starts the venv", "passes systemd analyze verify"],
    ),
    "two programs": (
        "Restart=always",
        "Restart=always\nExecStart=/opt/pixelwise/.venv/bin/uvicorn --host 0.0.0.0",
        ["starts the venv", "passes systemd analyze verify"],
    ),
    "no hardening": (HARDENING, "", ["is hardened"]),
}


@pytest.mark.parametrize("fault", UNIT_FAULTS)
def test_a_fault_of_the_unit_file_fails_its_checks_and_no_other(tmp_path, fault):
    old, new, expected = UNIT_FAULTS[fault]
    assert HARDENED.count(old) >= 1
    results = graded(tmp_path, HARDENED.replace(old, new, 1))
    assert names(results, FAILED) == set(map(the, expected)), results
    assert unasked(results) == set()
    for name in map(the, expected):
        assert results[name].received and results[name].expected and results[name].hint


@pytest.mark.parametrize(
    "content",
    ["", "garbage", "[", "[]", "\\", "[Unit]\n\\", b"\xff\xfe[Unit]\n", b"\0" * 9, "[Unit]\n" * 50000],
)
def test_what_is_no_unit_file_fails_with_a_sentence(tmp_path, content):
    results = graded(tmp_path, content)
    failed = names(results, FAILED)
    assert failed and unasked(results) == set()
    assert all(results[name].received and results[name].expected for name in failed)


def test_a_missing_unit_file_is_no_fault_of_its_author(tmp_path):
    for path in (tmp_path / "none", tmp_path, tmp_path / "x\0y"):
        with pytest.raises(ValueError, match="cannot be read"):
            Unit(path)


def test_without_systemd_analyze_two_checks_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    results = graded(tmp_path, HARDENED)
    assert unasked(results) == {VERIFY} and "apt-get install systemd" in results[VERIFY].reason
    assert names(results, UNCHECKED) == {VERIFY, the("is hardened")}


def test_an_old_or_stuck_systemd_analyze_finds_out_nothing(tmp_path, monkeypatch):
    program = tmp_path / "systemd-analyze"
    program.write_text(
        "#!/bin/sh\necho \"systemd-analyze: unrecognized option '--offline=true'\" >&2; exit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    results = graded(tmp_path, HARDENED)
    assert unasked(results) == {VERIFY} and "too old" in results[VERIFY].reason


def test_systemd_analyze_is_new_enough_for_these_tests():
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=20).stdout
    assert int(re.match(r"systemd (\d+)", said)[1]) >= 250


# ---- Reading it -----------------------------------------------------------------------------------------


def test_the_syntax_is_systemds():
    text = """\ufeff; a comment
[Service]
  A = 1
A=\t2
B=one \\
  # a comment within
  ; another
  two\\\\
B=\\
[X-Y]
A==3
[Service]
C="quo\\"ted" word
"""
    sections, problems = parse(text)
    assert problems == []
    assert sections == {
        "Service": [
            ("A", "1"),
            ("A", "2"),
            ("B", "one  two\\\\"),
            ("B", "[X-Y]"),
            ("A", "=3"),
            ("C", '"quo\\"ted" word'),
        ]
    }


def test_lines_end_as_they_do_for_systemd():
    assert parse("[S]\r\nA=1\0B=2\rC=3\n\rD=4") == (
        {"S": [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4")]},
        [],
    )


def test_after_a_broken_section_nothing_more_is_read():
    assert parse("[A]\nB=1\n[C\nD\nE=2") == (
        {"A": [("B", "1")]},
        ["line 3 starts a section but does not end with ]"],
    )


def test_values_are_looked_up_as_systemd_does(tmp_path):
    file = tmp_path / "u"
    file.write_text("[Service]\nA=1\nA=\nA=2 'x y'\nA=3\nB=1\nB=\n[Unit]\nAfter=a\nAfter=\nAfter=b\n")
    unit = Unit(file)
    assert unit.all("Service", "A") == ["2 'x y'", "3"] and unit.words("Service", "A") == ["2", "x y", "3"]
    assert unit.get("Service", "A") == "3" and unit.get("Service", "B") is None is unit.get("No", "C")
    assert unit.words("Unit", "After") == ["a", "b"], "a dependency is never forgotten"


NAME = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\\\0\r\n"), max_size=20).map(
    lambda v: v.strip(" \t")
)
SPACE = st.sampled_from(["", " ", "\t", "  "])
NOISE = st.sampled_from(["", "\n", "# note\n", "  ; [x]\n", "\r\n"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_was_written_is_read(data):
    wanted = data.draw(st.dictionaries(NAME, st.lists(st.tuples(NAME, VALUE), max_size=4), max_size=4))
    text = ""
    for section, lines in wanted.items():
        text += data.draw(NOISE) + f"[{section}]\n"
        for key, value in lines:
            a, b = data.draw(SPACE), data.draw(SPACE)
            continued = value.replace(" ", "\\\n", 1) if data.draw(st.booleans()) else value
            if not re.search(r"\\\n[ \t#;]", continued):  # what starts a line there is lost, or a comment
                value_as_written = continued
            else:
                value_as_written = value
            text += data.draw(NOISE) + f"{a}{key}{b}={a}{value_as_written}{b}\n"
    assert parse(text) == (wanted, [])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text("[]=\\#;\n\r\0 aU'\"", max_size=200).map(str.encode)))
@example(b"[Service]\nRestartSec=" + b"1" * 400)
@example(b"[Service]\nExecStart='")
def test_no_content_breaks_the_reader_or_a_check(tmp_path, content):
    file = tmp_path / "u"
    quick = [check for check in OFFLINE if check.name[3:] not in (VERIFY, the("is hardened"))]
    for whole in (content, b"[Unit]\n[Install]\n[Service]\nExecStart=" + content):
        file.write_bytes(whole)
        unit = Unit(file)
        for check in quick:  # not in a Session: it would tame an exception
            with suppress(machine.CannotCheck, test_m4_machine.Failed):
                check.function(unit)


@pytest.mark.parametrize(
    "text", ["garbage\n[Unit]", "[Unit\n", "[Service]\nRestart always", "[Service]\n=x", b"[Unit]\nA=\xff\n"]
)
def test_what_the_reader_objects_to_systemd_objects_to(tmp_path, text):
    file = tmp_path / "pixelwise.service"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert Unit(file).problems
    told = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=20
    ).stderr
    words = "outside of section|Invalid section header|Missing '='|Missing key name|UTF-8"
    assert re.search(words, told), told


def test_the_time_limit_of_reading_is_short(tmp_path):
    for piece in (b"\n", b" ", b"1", b"\\\n", b"#\n", b"'a ", b"a=" * 2):
        file = tmp_path / "pixelwise.service"
        file.write_bytes((b"[Service]\nRestartSec=" + piece * unit.MAX_UNIT)[: unit.MAX_UNIT])
        began = time.monotonic()
        grade(OFFLINE[:-2], unit=Unit(file))
        assert time.monotonic() - began < 5, piece


SPANS = [
    "3",
    "3s",
    "500ms",
    "1min 2s",
    "5 3",
    "2.5s",
    "5s500ms",
    "3 sec",
    "1 h",
    "1M",
    "1m",
    "0",
    ".5",
    "+3",
    " 7 us",
]
SPANS += ["1y 2w 3d", "4 µs", "4μs", "infinity", "2minutes 1 hr", "0.000001s"]
NO_SPANS = ["3x", "", " ", "1.5.5", "3 s s", "3,5", "3.", "s", "always", "3 # three", "1S", "٣"]


def test_time_spans_are_systemds():
    told = subprocess.run(
        ["systemd-analyze", "timespan", *SPANS], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    microseconds = [int(number) for number in re.findall(r"[μu]s: (\d+)", told)]
    assert len(microseconds) == len(SPANS)
    for text, number in zip(SPANS, microseconds):
        wanted = float("inf") if text == "infinity" else number / 1e6
        assert time_span(text) == pytest.approx(wanted), text


@pytest.mark.parametrize("text", NO_SPANS)
def test_what_is_no_time_span_for_systemd_is_none_here(text):
    command = ["systemd-analyze", "timespan", text]
    assert subprocess.run(command, capture_output=True, timeout=20).returncode != 0
    assert time_span(text) is None


def test_the_checks_have_what_a_report_needs():
    assert {check.name for check in CHECKS} == {check.name for check in ONLINE + OFFLINE}
    for check in CHECKS:
        assert check.hint and check.sentence and "\n" not in check.sentence and check.points in (1, 2)
        assert all(any(other.name == name for other in CHECKS) for name in check.needs)
