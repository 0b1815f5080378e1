"""deploy/serving.py: any WSGI application served and drained in this process. Its connections and its places
have files of their own, real processes are in test_process.py, and hostile clients in test_hostile_*.py."""

import json
import re
import socket
import struct
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest
import wire
from in_process import ask, by_hand, channels, exchange, hello, serving_of, stand_still, turns_until
from waitress import wasyncore

from deploy import connections, serving, systemd


@pytest.fixture
def clock(monkeypatch):
    return stand_still(monkeypatch)


def echo(environ, start_response):
    """Says what it was sent: the path, the length that it was told, and the bytes that it got."""
    got = len(environ["wsgi.input"].read())
    said = f"{environ['PATH_INFO']} {environ.get('CONTENT_LENGTH') or 0} {got}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
    return [said]


def eventually(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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


def test_the_collector_looks_neither_at_what_was_loaded_nor_at_what_a_request_makes(start_server):
    server = start_server(Path(__file__).with_name("echo.py"), AT_ONCE="true", PYTHONPATH=str(wire.ROOT))
    with server.connect() as connection:
        frozen, threshold = connection.send(wire.request_bytes()).read_answer().json()["collector"]
    assert (frozen > 5_000, threshold) == (True, 10_000)


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
        eventually(lambda: any(channel.request for channel in channels(running)))
        [channel] = channels(running)
        channel.since -= 5  # as if it had begun so many seconds ago
        began = time.monotonic()
        running.stop()
        assert slow.makefile("rb").read().startswith(b"HTTP/1.1 408 ")
        assert connections.SCARCE_REQUEST <= time.monotonic() - began < connections.SCARCE_REQUEST + 3


def test_a_thread_that_is_stuck_does_not_hold_up_the_stop_however_the_clock_steps(monkeypatch):
    stuck, release, hour = threading.Event(), threading.Event(), iter(range(10**9, 0, -3600))
    monkeypatch.setattr("waitress.task.time.time", lambda: next(hour))

    def app(environ, start_response):
        stuck.set()
        assert release.wait(30)
        return hello(environ, start_response)

    try:
        with serving_of(app) as running, socket.create_connection(running.address, 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert stuck.wait(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        release.set()


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


def test_worker_threads_are_left_alone_while_many_requests_wait(monkeypatch):
    """By the event loop, each round of which takes the interpreter from them."""
    rounds = Mock(wraps=wasyncore.loop)
    monkeypatch.setattr(wasyncore, "loop", rounds)
    with serving_of(hello) as running, ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(running.address, 10)) for _ in range(40)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            assert client.makefile("rb").read().count(b"HTTP/1.1 200 OK") == 20
    assert rounds.call_count < 400  # for 800 answers


def test_many_slow_answers_do_not_keep_the_event_loop_from_looking_round(clock):
    """Each takes a hundredth of a second less than a slice has, so two are given in a round."""

    def app(environ, start_response):
        clock[0] += serving.SLICE_SECONDS - 0.01
        return hello(environ, start_response)

    with by_hand(app) as running, ExitStack() as stack:
        address = running.socket.getsockname()
        for _ in range(5):
            client = stack.enter_context(socket.create_connection(address, 5))
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        turns_until(running, lambda: len(running.active_channels) == 5)
        finished = [running.finished]
        while running.finished < 5:
            running.turn(1)
            finished.append(running.finished)
        assert finished[-1] == 5
        assert max(after - before for before, after in zip(finished, finished[1:])) == 2
