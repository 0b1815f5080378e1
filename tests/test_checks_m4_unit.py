"""The checks of the unit file: each fault fails just the checks that name it. The systemd-analyze is real."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from grading_m4 import OFFLINE, VERIFY, grade, names, the, unasked

from checks.kit.core import FAILED, PASSED, UNCHECKED
from checks.kit.unit import Unit

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
    said = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, timeout=600
    ).stdout
    assert int(re.match(r"systemd (\d+)", said)[1]) >= 250
