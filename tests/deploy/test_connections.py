"""deploy/connections.py: what a connection does with a client that reads slowly, resets, or is at its end."""

import errno
import itertools
import select
import socket
import struct
import threading
from contextlib import suppress
from unittest.mock import Mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from in_process import ask, by_hand, channels, exchange, hello, serving_of, stand_still, turns_until
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.task import WSGITask

from deploy import connections
from deploy.framing import Parser


@pytest.fixture
def clock(monkeypatch):
    return stand_still(monkeypatch)


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
        channel = max(channels(running), key=lambda one: one.total_outbufs_len)
        assert len(channel.requests) + channel.rest.count(b"GET") >= 90
        assert 0 < channel.total_outbufs_len < 4_000_000


def test_an_answer_that_waits_in_the_systems_own_buffers_is_not_read_yet(clock):
    """Else a connection that takes nothing would count as idle, and its answers would stay in memory."""

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "20000")])
        return [b"x" * 20_000]

    with by_hand(app) as running, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.connect(running.socket.getsockname())
        deaf.sendall(b"GET / HTTP/1.1\r\n\r\n")
        turns_until(running, lambda: running.finished)
        [channel] = channels(running)
        turns_until(running, lambda: not channel.total_outbufs_len)
        assert not select.select([], [], [deaf], 0)[2] and channel.unread() > 10_000
        for _ in range(2):  # the first look sees the answer, and the second that nothing was taken
            assert channel.connected
            clock[0] += connections.READ_SECONDS + 1
            running.look(clock[0])
        assert not channel.connected
        deaf.settimeout(5)
        with pytest.raises(ConnectionResetError):
            while deaf.recv(65536):
                pass


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
    monkeypatch.setattr(
        connections.Channel, "recv", Mock(side_effect=TimeoutError(errno.ETIMEDOUT, "timed out"))
    )
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
    answer = connections.Channel.answer
    faults = [ZeroDivisionError("a fault of this test")]
    monkeypatch.setattr(
        connections.Channel, "answer", lambda channel: answer(channel) if not faults else _raise(faults.pop())
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
            [channel] = channels(running)
            channel.handle_close()
        channel.rest = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        channel.go_on()
        assert channel.request is None


NAMES = st.sampled_from(
    ["content-length", "Content-Type", "date", "Server", "X-Request-ID", "x-request-id", "Set-Cookie"]
)


@given(
    st.lists(st.tuples(NAMES, st.sampled_from(["2", "a b"])), max_size=6),
    st.sampled_from(["200 OK", "422 Unprocessable Content", "204 No Content", "304 Not Modified"]),
    st.sampled_from(["1.0", "1.1"]),
    st.sampled_from(["", "close", "keep-alive"]),
    st.booleans(),
)
@example([("X-b", "1"), ("x-A", "2"), ("Content-Length", "2")], "200 OK", "1.1", "", False)
@example([("X-b", "2"), ("x-B", "1"), ("Content-Length", "2")], "200 OK", "1.1", "", False)
@example([("date", "1"), ("Content-Length", "2")], "200 OK", "1.1", "", False)
@example([("server", "1"), ("Content-Length", "2")], "200 OK", "1.1", "", False)
@example([("Content-Length", "2")], "204 No Content", "1.1", "", False)
def test_the_head_of_an_answer_has_the_bytes_that_waitress_gives_it(headers, status, version, wish, closing):
    def head(task_class):
        channel, request = Mock(), Parser(Adjustments())
        request.received(f"GET / HTTP/{version}\r\nConnection: {wish}\r\n\r\n".encode())
        channel.server.adj.ident, channel.server.draining.is_set.return_value = None, closing
        task = task_class(channel, request)
        task.start()
        if closing:
            task.set_close_on_finish()
        task.start_time, task.status, task.content_length = 1_000_000_000.9, status, 2
        task.response_headers += headers
        return task.build_response_header()

    assert head(connections.Task) == head(WSGITask)


def test_what_the_system_does_not_take_of_an_answer_at_once_follows_in_order(monkeypatch):
    send, room = HTTPChannel.send, itertools.cycle([9, 0])  # bytes

    def send_some(self, data, *more):
        return send(self, data[:size], *more) if (size := next(room)) else 0

    monkeypatch.setattr(HTTPChannel, "send", send_some)

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "16")])
        return [b"in two ", b"pieces", b"..."] if environ["PATH_INFO"] == "/pieces" else [b"in a single one!"]

    with serving_of(app, at_once=True) as running:
        for path, body in (("/", b"in a single one!"), ("/pieces", b"in two pieces...")):
            assert ask(running.url + path) == body
