"""deploy/systemd.py: the socket, the notices and the file of settings that a service shares with systemd."""

import errno
import os
import socket
import threading
from contextlib import suppress
from unittest.mock import Mock

import pytest

from deploy import systemd

# ---- The socket -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_socket_listens_where_the_setting_says(host):
    with systemd.listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2], 5):
        assert listener.getsockname()[0] in (host, "127.0.0.1", "::1")


def test_a_port_that_is_taken_is_named_and_may_be_free_later():
    with systemd.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(systemd.CannotListen, match=f"^PORT: {port} is taken; stop the other") as refused:
            systemd.listen("127.0.0.1", port)
    assert refused.value.for_now
    systemd.listen("127.0.0.1", port).close()


def test_an_address_that_this_machine_does_not_have_may_come_later(monkeypatch):
    with pytest.raises(systemd.CannotListen, match="^HOST: .* no address '203.0.113.7' yet; wait") as refused:
        systemd.listen("203.0.113.7", 0)
    assert refused.value.for_now
    not_now = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    monkeypatch.setattr(systemd.socket, "getaddrinfo", Mock(side_effect=not_now))
    with pytest.raises(systemd.CannotListen, match="^HOST: .* no address 'box.test' yet; wait") as refused:
        systemd.listen("box.test", 0)
    assert refused.value.for_now


def test_a_name_that_nobody_knows_is_a_bad_setting(monkeypatch):
    monkeypatch.setattr(systemd.socket, "getaddrinfo", Mock(side_effect=socket.gaierror(-2, "unknown")))
    with pytest.raises(systemd.CannotListen, match="^HOST: .* 'no.such.host'; write an address") as refused:
        systemd.listen("no.such.host", 0)
    assert not refused.value.for_now


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "b\u00fccher..x"])
def test_a_name_that_cannot_be_is_a_bad_setting(host):
    with pytest.raises(systemd.CannotListen, match="^HOST: cannot listen on ") as refused:
        systemd.listen(host, 0)
    assert not refused.value.for_now


def test_a_port_that_needs_root_is_named(monkeypatch):
    refusal = PermissionError(errno.EACCES, "no")
    monkeypatch.setattr(systemd.socket, "create_server", Mock(side_effect=refusal))
    with pytest.raises(systemd.CannotListen, match="^PORT: cannot listen on 80; choose a port from 1024 on"):
        systemd.listen("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("pid", "number", "passed"),
    [("{0}", "1", True), ("{0}", "2", True), ("{0}", "0", False), ("1", "1", False), ("", "", False)],
)
def test_a_passed_socket_is_known_by_the_process_that_it_is_for(monkeypatch, pid, number, passed):
    monkeypatch.setenv("LISTEN_PID", pid.format(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", number)
    assert systemd.passed_by_systemd() == passed


# ---- The notices ----------------------------------------------------------------------------------------


def test_notices_reach_abstract_sockets_paths_and_nobody(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.notify("READY=1")
    monkeypatch.chdir(tmp_path)  # the path of a socket is at most 108 bytes long
    for address, name in ((f"\0pixelwise-test-{os.getpid()}", f"@pixelwise-test-{os.getpid()}"), ("n", "n")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.settimeout(5)
            unix.bind(address)
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            systemd.notify("READY=1")
            assert unix.recv(100) == b"READY=1"


def test_a_systemd_that_does_not_read_holds_up_nobody(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(f"\0pixelwise-deaf-{os.getpid()}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix, suppress(BlockingIOError):
            unix.setblocking(False)
            while True:
                unix.sendto(b"WATCHDOG=1", deaf.getsockname())
        monkeypatch.setenv("NOTIFY_SOCKET", f"@pixelwise-deaf-{os.getpid()}")
        notice = threading.Thread(target=systemd.notify, args=["WATCHDOG=1"], daemon=True)
        notice.start()
        notice.join(5)
        assert not notice.is_alive()


def test_the_watchdog_wants_food_where_its_interval_is_told(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert not systemd.watched()
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    assert systemd.watched()


# ---- The file of settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "export PORT=1",
        "PORT = 1",
        "PORT=1 # so",
        "PORT=$X",
        'PORT="1',
        "PORT=a'b",
        "PORT=a\\nb",
        "PORT",
        "a b=1",
        "PORT=1\\",
        "# a comment goes on \\",
        "PORT=`date`",
        "PORT=1\x0bDEBUG=true",
        "PORT=1\u2028DEBUG=true",
    ],
)
def test_a_line_that_systemd_would_read_differently_is_refused(line, tmp_path):
    file = tmp_path / ".env"
    file.write_text(f"DEBUG=true\n{line}\n")
    with pytest.raises(ValueError, match=r"\.env line 2: write KEY=value"):
        systemd.read_environment_file(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_read_whatever_an_editor_made_of_their_ends(encoding, end, tmp_path):
    lines = ["PORT=1", "# mine", "", "HOST='::1'", 'RATE_LIMIT="9/hour"', "EMPTY=", "PORT=2", ""]
    (tmp_path / ".env").write_bytes(end.join(lines).encode(encoding))
    found = systemd.read_environment_file(tmp_path / ".env")
    assert found == {"PORT": "2", "HOST": "::1", "RATE_LIMIT": "9/hour", "EMPTY": ""}


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    for path in (tmp_path / ".env", tmp_path):
        with pytest.raises(ValueError, match="make it a text file"):
            systemd.read_environment_file(path)


def test_a_file_that_is_not_there_is_for_the_caller_to_judge(tmp_path):
    with pytest.raises(FileNotFoundError):
        systemd.read_environment_file(tmp_path / "none")
