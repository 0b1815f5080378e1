"""deploy/serving.py: who may have how many of the places, and who gets in when they are scarce."""

import re
import select
import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from in_process import HALF, by_hand, channels, stand_still, turns_until

from deploy import connections, serving


@pytest.fixture
def clock(monkeypatch):
    return stand_still(monkeypatch)


@pytest.fixture
def eight_places(monkeypatch, clock):
    """Of which a line may have two; a function that connects from 127.0.0.`number`, and is accepted."""
    monkeypatch.setattr(serving, "PLACES", 8)
    with ExitStack() as stack:

        def connect(running, number: int, data: bytes = b"") -> socket.socket:
            address, source = running.socket.getsockname(), (f"127.0.0.{number}", 0)
            one = stack.enter_context(socket.create_connection(address, 5, source))
            one.sendall(data)
            running.turn(1)
            running.turn(0.01)
            return one

        yield connect


def test_a_line_that_has_its_places_makes_room_among_its_own_idle_ones(eight_places):
    with by_hand() as running:
        oldest, *_, newest = [eight_places(running, 2) for _ in range(3)]
        assert oldest.recv(1) == b""
        newest.sendall(HALF + b"\r\n")
        turns_until(running, lambda: running.finished)
        assert newest.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_line_whose_places_are_busy_gets_a_503_and_another_line_gets_in(eight_places):
    with by_hand() as running:
        eight_places(running, 2, HALF), eight_places(running, 2, HALF)
        refused = eight_places(running, 2)
        assert re.match(rb"HTTP/1.[01] 503 .*\r\nConnection: close\r\n", refused.recv(1000), re.S)
        other = eight_places(running, 3, HALF + b"\r\n")
        turns_until(running, lambda: running.finished == 2)
        assert other.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_lines_that_take_many_places_leave_one_for_a_new_line(eight_places):
    """As a line may have no more than are free: 2, 2, 2 and 1 of eight. Who is refused holds none either."""
    with by_hand() as running:
        for number in (2, 3, 4, 5):
            for _ in range(3):
                eight_places(running, number, HALF)
        assert running.lingering == 5
        new = eight_places(running, 6, HALF + b"\r\n")
        turns_until(running, lambda: select.select([new], [], [], 0)[0])
        assert new.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_line_that_has_all_its_places_has_as_little_time_as_when_places_are_scarce(eight_places, clock):
    with by_hand() as running:
        greedy = [eight_places(running, 2, HALF) for _ in range(2)]
        modest = eight_places(running, 3, HALF)
        clock[0] += connections.SCARCE_REQUEST + 1
        turns_until(running, lambda: running.finished == 2)
        assert all(re.match(rb"HTTP/1.[01] 408 ", client.recv(100)) for client in greedy)
        modest.sendall(b"\r\n")
        turns_until(running, lambda: running.finished == 3)
        assert modest.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_of_those_who_are_refused_the_first_make_room_for_more(eight_places):
    with by_hand() as running:
        crowd = [eight_places(running, 2, HALF) for _ in range(20)]
        assert (running.lingering, len(running.active_channels)) == (8, 10)
        for client in crowd[2:]:
            assert re.match(rb"HTTP/1.[01] 503 ", client.recv(100))
        for channel in sorted(channels(running), key=lambda one: one.lingers):
            assert running.lingering == 8 or channel.lingers
            channel.handle_close()
            channel.handle_close()  # as the event loop may
        assert running.lingering == 0


def test_a_trusted_proxy_may_have_any_number_of_places(eight_places):
    with by_hand(trusted="127.0.0.2") as running:
        clients = [eight_places(running, 2, HALF) for _ in range(7)]
        for client in clients:
            client.sendall(b"\r\n")
        turns_until(running, lambda: running.finished == 7)
        assert all(client.recv(100).startswith(b"HTTP/1.1 200 OK") for client in clients)


@pytest.mark.parametrize(("taken", "allowed"), [(0, 64), (100, 64), (192, 64), (193, 63), (255, 1), (300, 1)])
def test_a_line_may_have_a_quarter_of_the_places_and_no_more_than_are_free(taken, allowed):
    full = SimpleNamespace(taken=lambda: taken)
    assert serving.Server.allowed(full) == allowed


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
