"""deploy/serving.py: any WSGI application served and drained in this process; real processes are in
test_process.py, and what hostile clients try in test_hostile_clients.py."""

import errno
import json
import re
import socket
import struct
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from waitress import wasyncore

from deploy import serving, systemd

# ---- Applications and servers ---------------------------------------------------------------------------


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def echo(environ, start_response):
    """Says what it was sent: the path, the length that it was told, and the bytes that it got."""
    got = len(environ["wsgi.input"].read())
    said = f"{environ['PATH_INFO']} {environ.get('CONTENT_LENGTH') or 0} {got}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
    return [said]


@contextmanager
def serving_of(app, host="127.0.0.1", **options):
    """A running server; it must end within ten seconds of `stop`."""
    running = serving.Server(app, systemd.listen(host, 0), **options)
    address = running.socket.getsockname()[:2]
    running.url = f"http://[{host}]:{address[1]}" if ":" in host else f"http://{host}:{address[1]}"
    running.address = address
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running
    finally:
        began = time.monotonic()
        running.stop()
        thread.join(timeout=15)
    assert not thread.is_alive()
    assert time.monotonic() - began < 10
    running.stop()  # a second signal, after the close, is no error


def eventually(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(url: str, timeout: float = 10) -> bytes:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def exchange(address, data: bytes) -> bytes:
    """All that the server says to these bytes until it closes the connection."""
    received = b""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(data)
        while piece := client.recv(65536):
            received += piece
    return received


# ---- Serving --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_serves_and_drains_in_this_process(host, at_once):
    with serving_of(hello, host, at_once=at_once) as running:
        assert ask(running.url) == b"hello"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_body_reaches_the_application_and_one_that_is_too_large_only_its_length(at_once):
    with serving_of(echo, at_once=at_once, max_body=1000) as running:
        for size, got in ((0, 0), (1000, 1000), (1001, 0), (15_999, 0), (16_000, 0), (5_000_000, 0)):
            told = urllib.request.Request(f"{running.url}/x", b"x" * size)
            assert ask(told) == f"/x {size} {got}".encode()
        chunks = b"3e8\r\n" + b"x" * 1000 + b"\r\n"  # of which nobody says beforehand how many there will be
        sent = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks * 20 + b"0\r\n\r\n"
        assert exchange(running.address, sent).endswith(b"/x 1001 0")


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_no_request_reaches_the_application_for_broken_ones(at_once):
    seen = []

    def broken(environ, start_response):
        seen.append((environ["serving.error"], environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        return serving.answer_broken(environ, start_response)

    app = Mock(side_effect=hello)
    with serving_of(app, at_once=at_once, broken=broken) as running:
        for data, status in ((b"nonsense\r\n\r\n", b"400"), (b"GET http://[::1/x HTTP/1.1\r\n\r\n", b"400")):
            answer = exchange(running.address, data)
            assert re.match(rb"HTTP/1.[01] " + status, answer)
            assert b"\r\nConnection: close\r\n" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"detail": serving.SENTENCES[int(status)]}
    assert [error for error, *_ in seen] == ["400 Bad Request"] * 2
    assert not app.called


@pytest.mark.parametrize("code", [*serving.SENTENCES, 599])
def test_the_default_answer_to_a_broken_request_says_what_to_do(code):
    environ, start_response = {"serving.error": f"{code} Reason"}, Mock()
    [body] = serving.answer_broken(environ, start_response)
    sentence = serving.SENTENCES.get(code, "Reason")
    assert (json.loads(body), environ["serving.why"]) == ({"detail": sentence}, sentence)
    assert start_response.call_args.args[0] == f"{code} Reason"


def test_a_fault_of_the_application_is_a_500_and_the_next_request_is_answered():
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/broken":
            raise ZeroDivisionError
        return hello(environ, start_response)

    for at_once in (True, False):
        with serving_of(app, at_once=at_once) as running:
            answer = exchange(running.address, b"GET /broken HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert ask(running.url) == b"hello"


# ---- Who is stuck, and who is not -----------------------------------------------------------------------


def test_a_request_that_is_stuck_does_not_keep_others_from_being_answered():
    """One worker thread, and others once it is stuck for a second."""
    stuck, release = threading.Event(), threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/stuck":
            stuck.set()
            assert release.wait(30)
        return hello(environ, start_response)

    answers = []
    with serving_of(app) as running:
        client = threading.Thread(target=lambda: answers.append(ask(f"{running.url}/stuck", timeout=30)))
        client.start()
        try:
            assert stuck.wait(10)
            assert ask(running.url) == b"hello"
            assert not answers
        finally:
            release.set()
            client.join(10)
    assert answers == [b"hello"]


def test_answers_that_nobody_reads_hold_up_nobody_else():
    """A hundred requests for a long page in one packet; the server keeps one answer of it, and serves on."""

    def app(environ, start_response):
        if environ["PATH_INFO"] != "/long":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Length", "1000000")])
        return [b"x" * 1_000_000]

    with (
        serving_of(app, at_once=True) as running,
        socket.create_connection(running.address, timeout=10) as deaf,
    ):
        deaf.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        for _ in range(200):  # by then the system's own buffers for this connection are full
            assert ask(running.url) == b"hello"
        channel = max(running.active_channels.values(), key=lambda one: one.total_outbufs_len)
        assert len(channel.requests) + channel.rest.count(b"GET") >= 90
        assert 0 < channel.total_outbufs_len < 4_000_000


@contextmanager
def by_hand(app=hello):
    """A server whose event loop goes round when a test calls `turn`."""
    running = serving.Server(app, systemd.listen("127.0.0.1", 0), at_once=True)
    try:
        yield running
    finally:
        wasyncore.close_all(running._map)


def turns_until(running, condition) -> None:
    for _ in range(100):
        if condition():
            return
        running.turn(0.02)
    raise AssertionError("it never came")


def test_all_who_wait_are_accepted_in_one_round():
    with by_hand() as running, ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.create_connection(running.socket.getsockname(), 5))
        running.turn(1)
        assert len(running.active_channels) == 50


def test_what_happened_to_a_connection_does_not_happen_to_the_next_one_with_its_number(monkeypatch):
    """One client makes room for another of its line; in that round the first one had sent something."""
    monkeypatch.setattr(serving, "PLACES", 4)
    with by_hand() as running, ExitStack() as stack:

        def client():
            return stack.enter_context(socket.create_connection(running.socket.getsockname(), 5))

        first = client()
        turns_until(running, lambda: len(running.active_channels) == 1)
        first.sendall(b"\r\n")  # an empty line: it stays idle
        client()
        last = client()
        running.turn(1)
        running.turn(0)
        last.sendall(b"GET / HTTP/1.1\r\n\r\n")
        turns_until(running, lambda: running.finished)
        assert last.recv(1000).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_client_that_resets_before_its_last_answer_ends_its_connection_and_no_other(at_once, caplog):
    asked, gone = threading.Event(), threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            asked.set()
            assert gone.wait(10)
        return hello(environ, start_response)

    with serving_of(app, at_once=at_once) as running:
        for ending in (b"Connection: close\r\n\r\n", b"\r\n", b"\r\nGET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(running.address, timeout=5) as client:
                client.sendall(b"GET /slow HTTP/1.1\r\n" + ending)
                assert asked.wait(10)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.set()
            assert ask(running.url) == b"hello"
            asked.clear()
            gone.clear()
    assert "rror" not in caplog.text and "exception" not in caplog.text


def test_a_client_whose_network_fails_leaves_no_traceback_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(serving.Channel, "recv", Mock(side_effect=TimeoutError(errno.ETIMEDOUT, "timed out")))
    with serving_of(hello, at_once=True) as running, suppress(ConnectionResetError):
        assert exchange(running.address, b"GET / HTTP/1.1\r\n\r\n") == b""
    assert caplog.text == ""


def test_urgent_data_ends_its_connection(caplog):
    """HTTP knows none; waitress would warn of it in every round of the event loop, thousands a second."""
    with serving_of(hello, at_once=True) as running:
        with socket.create_connection(running.address, timeout=5) as client, suppress(ConnectionResetError):
            client.send(b"!", socket.MSG_OOB)
            assert client.recv(1) == b""
        assert ask(running.url) == b"hello"
    assert caplog.text == ""


def test_a_fault_in_one_connection_ends_no_other(monkeypatch, caplog):
    answer = serving.Channel.answer
    faults = [ZeroDivisionError("a fault of this test")]
    monkeypatch.setattr(
        serving.Channel, "answer", lambda channel: answer(channel) if not faults else _raise(faults.pop())
    )
    with serving_of(hello, at_once=True) as running:
        with suppress(ConnectionResetError):
            assert exchange(running.address, b"GET / HTTP/1.1\r\n\r\n") == b""
        assert ask(running.url) == b"hello"
    assert "a fault of this test" in caplog.text


def _raise(error: Exception):
    raise error


@pytest.mark.parametrize("at_once", [True, False])
def test_who_stops_sending_is_still_answered_all_that_was_sent(at_once):
    with serving_of(hello, at_once=at_once) as running:
        for _ in range(20):
            with socket.create_connection(running.address, timeout=10) as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
                client.shutdown(socket.SHUT_WR)
                assert client.makefile("rb").read().count(b"HTTP/1.1 200 OK") == 10


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_sent_behind_the_last_request_is_never_read(at_once):
    app = Mock(side_effect=hello)
    with serving_of(app, at_once=at_once) as running:
        for _ in range(20):
            last = b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"
            assert exchange(running.address, last + b"GET /more HTTP/1.1\r\n\r\n").count(b"HTTP/1.1") == 1
    assert {call.args[0]["PATH_INFO"] for call in app.call_args_list} == {"/last"}


def test_a_connection_that_is_closed_reads_no_more():
    with by_hand() as running:
        with socket.create_connection(running.socket.getsockname(), 5):
            turns_until(running, lambda: running.active_channels)
            [channel] = running.active_channels.values()
            channel.handle_close()
        channel.rest = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        channel.go_on()
        assert channel.request is None


# ---- The watchdog ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_the_watchdog_is_fed_where_the_requests_are_answered(at_once, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    threads, alive = set(), Mock(side_effect=lambda: threads.add(threading.current_thread().name))
    with serving_of(hello, at_once=at_once, alive=alive):
        eventually(lambda: alive.called)
    assert [name.startswith("waitress") for name in threads] == [not at_once]


def test_nobody_is_asked_whether_he_lives_without_a_watchdog(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    alive = Mock()
    running = serving.Server(hello, systemd.listen("127.0.0.1", 0), alive=alive, at_once=True)
    running.look(0)
    running.close()
    assert not alive.called


def test_a_beat_feeds_the_watchdog_only_when_the_application_lives(monkeypatch):
    sent = []
    monkeypatch.setattr(serving, "notify", sent.append)
    serving.Beat(lambda: True).service()
    assert sent == ["WATCHDOG=1"]
    serving.Beat(lambda: False).service()
    serving.Beat(lambda: True).cancel()
    assert sent == ["WATCHDOG=1"]


# ---- The stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_closing_listener_completes_the_handshakes_it_has_and_begins_no_other(host):
    with systemd.listen(host, 0) as listener:
        address = listener.getsockname()[:2]
        with socket.create_connection(address, timeout=5) as early:
            serving.lowest_ttl(listener, 255)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.5)
            connection, _ = listener.accept()
            early.sendall(b"accepted")
            assert connection.recv(8) == b"accepted"
            connection.close()


def test_a_request_that_is_half_sent_gets_as_long_as_when_places_are_scarce():
    with serving_of(hello, at_once=True) as running, socket.create_connection(running.address, 10) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        eventually(lambda: any(channel.request for channel in running.active_channels.values()))
        [channel] = running.active_channels.values()
        channel.since -= 5  # as if it had begun so many seconds ago
        began = time.monotonic()
        running.stop()
        assert slow.makefile("rb").read().startswith(b"HTTP/1.1 408 ")
        assert serving.SCARCE_REQUEST <= time.monotonic() - began < serving.SCARCE_REQUEST + 3


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_connects_as_the_server_drains_is_heard(host):
    """A connection that inherited the listener's lowest TTL can be read again once the server accepted it."""
    listener = systemd.listen(host, 0)
    running = serving.Server(hello, listener)
    with listener, socket.create_connection(listener.getsockname()[:2], timeout=5) as client:
        connection, _ = listener.accept()
        serving.lowest_ttl(connection, 255)  # as if its handshake had ended after the listener was closed
        running.draining.set()
        running.set_socket_options(connection)
        client.sendall(b"heard")
        connection.settimeout(5)
        assert connection.recv(5) == b"heard"
        connection.close()
    running.close()


# ---- Who may have how many places -----------------------------------------------------------------------


@pytest.mark.parametrize(("taken", "allowed"), [(0, 64), (100, 64), (192, 64), (193, 63), (255, 1), (300, 1)])
def test_a_line_may_have_a_quarter_of_the_places_and_no_more_than_are_free(taken, allowed):
    full = SimpleNamespace(active_channels=range(taken))
    assert serving.Server.allowed(full) == allowed
