"""Crowds that hold places and floods that take turns, of both of which a good client notices little.

Each attack comes over hundreds of connections from eight addresses, against a server process. Single requests
are in test_hostile_requests.py, the log and the clock in test_hostile_surroundings.py.
"""

import socket
from contextlib import suppress

import pytest
import wire
from siege import ATTACKERS, Siege, drip, hung_up

pytestmark = pytest.mark.alone
GET = wire.request_bytes("GET", "/nowhere")
HALF = wire.classify_bytes()[:-700]
EXPECTING = wire.classify_bytes(headers=[("Expect", "100-continue")]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
ENDLESS = wire.request_bytes(
    "POST", "/classify", [("X-API-Key", wire.KEY), ("Content-Length", "1" + "0" * 12)]
)


@pytest.fixture(params=["at once", "in threads"])
def besiege(request, start_server):
    """A factory of sieges: of the model that ships, and of one that is answered by worker threads."""
    server = wire.SERVER
    if request.param == "in threads":
        server = request.getfixturevalue("odd_model") / "server.py"
    return lambda name: Siege(start_server, f"{name}, {request.param}", server)


def test_clients_that_pipeline_and_hardly_read(besiege):
    """260 of them once had all places for ever."""
    with besiege("slow readers") as siege:
        readers = siege.crowd(150, GET * 200, reads=1024)
        sippers = siege.crowd(150, GET * 200, reads=1024)

        def sip():
            for one in sippers:
                with suppress(OSError):
                    one.recv(1)

        siege.hold(3, sip)
        siege.leaves_room(readers + sippers, sip)
        siege.end()


def test_clients_that_send_requests_drop_by_drop(besiege):
    drops = {b"GET /": b"a", GET[:-2]: b"A: b\r\n", HALF: b" ", EXPECTING: b""}
    with besiege("drops") as siege:
        crowds = [(siege.crowd(75, beginning), drop) for beginning, drop in drops.items()]

        def drip_all():
            for crowd, drop in crowds:
                drip(crowd, drop)

        siege.hold(3, drip_all)
        siege.leaves_room([one for crowd, _ in crowds for one in crowd], drip_all)
        siege.end()


def test_clients_that_send_nothing_but_empty_lines(besiege):
    """Four bytes now and then once renewed their time for ever."""
    with besiege("empty lines") as siege:
        crowd = siege.crowd(200) + siege.crowd(100, GET)
        siege.hold(1.5, lambda: drip(crowd, b"\r\n\r\n"))
        siege.leaves_room(crowd, lambda: drip(crowd, b"\r\n\r\n"))
        siege.end()


def test_a_flood_of_connections_from_one_address(besiege):
    held = []

    def refused(one):
        """Answered 503; or closed for the next of the same address, before its bytes were read."""
        one.settimeout(wire.PATIENCE)
        answer = b""
        with suppress(ConnectionError):
            answer = one.recv(100)
        return not answer or b" 503 " in answer  # one that had a place is told 408 in the end

    def connect(source):
        for one in [one for one in held if hung_up(one)] if len(held) > 400 else ():
            held.remove(one)
            one.close()
        if len(held) <= 400:  # and it gives up no place that it holds
            held.append(socket.create_connection(siege.address, 1, (source, 0)))
            held[-1].sendall(HALF)

    with besiege("connections") as siege:
        for _ in range(300):
            with suppress(OSError):
                connect(ATTACKERS[0])
        # the last at once, unless the machine stood still for so long that some places were free again
        assert any(map(refused, reversed(held))), "one address has more than its places"
        siege.flood(connect, count=1)
        siege.hold(1.5)
        siege.end()
    for one in held:
        one.close()


def test_floods_of_requests_and_bodies_and_resets(besiege):
    def ask(source):
        with socket.create_connection(siege.address, 5, (source, 0)) as one:
            one.sendall(GET * 50)
            one.recv(65536)

    def send_for_ever(source):
        with socket.create_connection(siege.address, 5, (source, 0)) as one:
            one.sendall(ENDLESS)
            while not siege.ended.wait(0.002):
                one.sendall(b" " * 65536)

    def reset(source):
        with wire.Connection(siege.address, source=source) as one:
            one.send(GET * 5 + HALF)
            one.reset()

    with besiege("floods") as siege:
        for once in (ask, send_for_ever, reset):
            siege.flood(once, count=3)
        siege.hold(1.5)
        siege.end()
