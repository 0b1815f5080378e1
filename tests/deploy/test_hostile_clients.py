"""Crowds that hold places and floods that take turns, of both of which a good client notices little.

Each attack comes over hundreds of connections from eight addresses, against a server process. Single requests
are in test_hostile_requests.py, the log and the clock in test_hostile_surroundings.py.
"""

import socket
from contextlib import suppress

import pytest
import wire
from siege import Siege, drip

GET = wire.request_bytes("GET", "/nowhere")
HALF = wire.classify_bytes()[:-700]
EXPECTING = wire.classify_bytes(headers=[("Expect", "100-continue")]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
ENDLESS = wire.request_bytes(
    "POST", "/classify", [("X-API-Key", wire.KEY), ("Content-Length", "1" + "0" * 12)]
)


@pytest.fixture(params=["at once", "in threads"])
def besiege(request, start_server, tmp_path):
    """A factory of sieges: of the model that ships, and of one that is answered by worker threads."""
    server = wire.SERVER
    if request.param == "in threads":
        server = request.getfixturevalue("odd_model") / "server.py"
    return lambda name: Siege(start_server, tmp_path, f"{name}, {request.param}", server)


def test_clients_that_pipeline_and_hardly_read(besiege):
    """260 of them once had all places for ever."""
    with besiege("slow readers") as siege:
        siege.crowd(150, GET * 200, reads=1024)
        sippers = siege.crowd(150, GET * 200, reads=1024)

        def sip():
            for one in sippers:
                with suppress(OSError):
                    one.recv(1)

        siege.hold(3, sip)
        siege.end()


def test_clients_that_drip(besiege):
    """Four bytes now and then once renewed their time for ever."""
    drips = {b"": b"\r\n\r\n", GET: b"\r\n", b"GET /": b"a", GET[:-2]: b"A: b\r\n", HALF: b" "}
    with besiege("drips") as siege:
        crowds = [(siege.crowd(60, beginning), bit) for beginning, bit in drips.items()]

        def drip_all():
            for crowd, bit in crowds:
                drip(crowd, bit)

        siege.hold(3, drip_all)
        siege.end()


def test_clients_that_say_nothing(besiege):
    with besiege("silence") as siege:
        for beginning in (b"", GET, EXPECTING):
            siege.crowd(130, beginning)
        siege.hold(1.5)
        siege.end()


def test_a_flood_of_connections_from_one_address(besiege):
    held = []

    def connect(source):
        held.append(socket.create_connection(siege.address, 1, (source, 0)))
        if len(held) > 500:
            held.pop(0).close()

    with besiege("connections") as siege:
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
            while not siege.ended.is_set():
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
