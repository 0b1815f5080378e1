"""checks/classroom/checker.py: what labs in a sandbox may ask."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from checks.classroom.checker import Checker
from checks.classroom.limits import APT
from checks.classroom.sandbox import in_fresh_network

ROOT = Path(__file__).resolve().parents[2]


def ask(url: str, asked) -> object:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
        return json.load(answer)


def test_the_checker_runs_a_check_on_a_server_of_this_machine(server):
    with Checker() as checker:
        options = {
            "seeds": [1, 2, 3],
            "unit": "/etc/passwd",
            "prod": "ssh://root@localhost",
            "limit": "30/minute",
        }
        about = {"url": server.url, "key": server.key}
        names = ["m1.health answers", "m9.nothing", "m4.the unit file can be read"]
        good, unknown, unit = ask(checker.url, {**about, "names": names, "options": options})
        assert (good["name"], good["status"]) == ("m1.health answers", "passed")
        assert unknown.startswith("'m9.nothing' is no check")
        assert unit["status"] == "could not be checked", "no file may be named from inside"
        assert "m3.a wrong key is refused" in ask(checker.url, {**about, "milestone": "m3"})


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:80", "http://127.0.0.1:80@evil", "file:///etc/passwd", 7, None]
)
def test_the_checker_asks_no_other_machine_and_survives_junk(url):
    with Checker() as checker:
        told = ask(
            checker.url, {"url": url, "key": "k", "names": ["m1.health answers"], "options": {"seeds": [1]}}
        )
        assert told.startswith("the checker does not understand this")
        for junk in (b"", b"[", b"[]", b'{"url": 1}', b"\xff", b"[" * 50_000):
            assert ask(checker.url, junk).startswith("the checker does not understand this")


@pytest.mark.parametrize("length", ["-1", "100001", "9" * 30, "x"])
def test_a_question_that_is_too_long_or_has_no_length_is_not_read(length):
    with (
        Checker() as checker,
        socket.create_connection(("127.0.0.1", checker.server.server_port), 10) as sent,
    ):
        sent.sendall(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
        answer = b""
        while data := sent.recv(4096):  # it answers although nothing of the body has come
            answer += data
    assert b"the checker does not understand this" in answer


def test_no_more_than_some_are_answered_at_once():
    with Checker() as checker:
        address = ("127.0.0.1", checker.server.server_port)
        checker.server.RequestHandlerClass.timeout = 60  # none is closed for being idle
        idle = [socket.create_connection(address, 10) for _ in range(80)]
        idle[-1].settimeout(20)
        assert idle[-1].recv(1) == b"", "it is closed, and no thread waits for it"
        for one in idle:
            one.close()


IN_A_SANDBOX = """
import json, os, sys, urllib.request
from pathlib import Path
from checks.classroom import checker
from checks.classroom.limits import Limits
from checks.classroom.sandbox import Sandbox
def sandbox(folder, readable=(), **limits):
    return Sandbox(folder, Limits(**limits), readable=readable)
with checker.checking(sandbox, Path(sys.argv[1])) as url:
    asked = {"milestone": "m3", "url": "http://127.0.0.1:1", "key": "k"}
    names = json.load(urllib.request.urlopen(url, json.dumps(asked).encode()))
    users = []
    for status in Path("/proc").glob("[0-9]*/status"):
        command = (status.parent / "cmdline").read_text().split("\\0")
        if command[:3] == [sys.executable, "-m", "checks.classroom.checker"]:  # and not bwrap around it
            users.append(status.read_text().partition("Uid:")[2].split()[1])
    print(json.dumps([names, users]))
"""


@pytest.mark.skipif(not all(map(shutil.which, ("bwrap", "unshare", "setpriv", "ip"))), reason=f"needs {APT}")
def test_the_checker_of_labs_runs_in_a_sandbox_and_is_no_root():
    done = subprocess.run(
        in_fresh_network([sys.executable, "-c", IN_A_SANDBOX, ROOT]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names, users = json.loads(done.stdout or "[[], []]")
    assert "m3.a wrong key is refused" in names, done.stderr
    assert users and ("0" not in users or os.geteuid()), "whoever talks to a kernel is no root"
