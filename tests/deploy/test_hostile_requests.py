"""Requests that two readers could read in two ways, that cannot be read, that are too large, or much work:
what each is answered, whole and in pieces, by both kinds of server."""

import contextlib
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import wire
from conftest import copy_repo, with_odd_model
from siege import ATTACKERS, Siege
from wire import KEY, chunked, classify_bytes, request_bytes

CODED = ("Transfer-Encoding", "chunked")
NEXT = request_bytes("GET", "/results")
SECRET = [("X-API-Key", KEY), ("Content-Type", "application/json")]
EXPECT = ("Expect", "100-continue")


@pytest.fixture(scope="module", params=["at once", "in threads"])
def server(request, tmp_path_factory):
    """The model that ships, and one that worker threads answer; of both kinds all must be true."""
    if request.param == "at once":
        running = wire.Process()
    else:
        repo = with_odd_model(copy_repo(tmp_path_factory.mktemp("odd") / "repo"))
        running = wire.Process(repo / "server.py")
    yield running
    running.stop()


def post(*headers, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return request_bytes("POST", "/classify", [*SECRET, *headers], None).replace(b"1.1", version, 1) + body


EXCHANGES = {  # what is sent, the statuses of the answers, and whether the connection ends with the last one
    "an expectation without a body": (
        request_bytes("GET", "/health", [EXPECT, ("X-API-Key", KEY)]) + classify_bytes(key=None),
        [200, 401],
        False,
    ),
    "an expectation with a length of 0": (
        post(EXPECT, ("Content-Length", "0")) + classify_bytes(key=None),
        [422, 401],
        False,
    ),
    "an expectation with a body over the limit": (post(EXPECT, ("Content-Length", "65537")), [413], True),
    "an expectation of HTTP/1.0": (
        post(EXPECT, ("Content-Length", "2"), body=b"{}", version=b"1.0"),
        [422],
        True,
    ),
    "expectations in a row": (
        (post(EXPECT, ("Content-Length", "2"), body=b"{}") + post(EXPECT, CODED, body=chunked(b"[]"))) * 3,
        [422] * 6,
        False,
    ),
    "a length and chunks": (
        post(("Content-Length", "2"), CODED, body=chunked(b"{}")) + NEXT,
        [422],
        True,
    ),
    "chunks and a length": (
        post(CODED, ("Content-Length", "2"), body=chunked(b"{}")) + NEXT,
        [422],
        True,
    ),
    "a length and chunks that hide a request": (
        post(("Content-Length", str(5 + len(NEXT))), CODED, body=b"0\r\n\r\n" + NEXT),
        [422],
        True,
    ),
    "chunks of HTTP/1.0 that keep alive": (
        post(CODED, ("Connection", "keep-alive"), body=chunked(NEXT), version=b"1.0"),
        [400],
        True,
    ),
    "a coding without a name": (post(("Transfer-Encoding", ""), body=NEXT), [400], True),
    "a coding twice": (post(CODED, CODED, body=chunked(NEXT)), [400], True),
    "an unknown coding": (post(("Transfer-Encoding", "gzip"), body=NEXT), [501], True),
    "a bare LF in the size of a chunk": (post(CODED, body=b"2\n{}\r\n0\r\n\r\n" + NEXT), [400], True),
    "a chunk's extension without end": (post(CODED, body=b"2;" + b"x" * 3000), [400], True),
    "a trailer without end": (post(CODED, body=b"0\r\n" + b"A: b\r\n" * 3000), [400], True),
    "a chunk for each byte": (post(CODED, body=chunked(b"x" * 5000, 1)), [400], True),
    "a length of 5,000 digits": (post(("Content-Length", "9" * 5000)), [400], True),
    "a length of 4,000 digits": (post(("Content-Length", "9" * 4000)), [413], True),
    "a URL that is none": (request_bytes("GET", "http://[::1/health"), [400], True),
    "a space before the request": (b" " + NEXT, [400], True),
    "empty lines before the request": (b"\r\n" * 50 + NEXT, [200], False),
    "a header without end": (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 4000, [431], True),
    "a line without end": (b"GET /" + b"a" * 20_000, [431], True),
    "a target that takes long to read": (b"GET a://" + b"1" * 15_000 + b" HTTP/x\r\n\r\n", [400], True),
    "a coding that takes long to read": (post(("Transfer-Encoding", "a" + " " * 15_000 + "b")), [501], True),
    "a method of 12 kB": (request_bytes("M" * 12_000, "/health"), [405], False),
    "NUL and ESC in the path": (request_bytes("GET", "/\0\x1b[2J"), [404], False),
    "a compressed body": (
        classify_bytes(b"\x1f\x8b\x08", headers=[("Content-Encoding", "gzip")]),
        [415],
        False,
    ),
    "two encodings": (classify_bytes(b"{}", headers=[("Content-Encoding", "identity, gzip")]), [415], False),
    "a key of Latin-1": (classify_bytes(key="ä"), [401], False),
    "a key of UTF-8": (classify_bytes(key="ä".encode().decode("latin-1")), [401], False),
    "a body over the limit": (classify_bytes(b" " * 65_537) + NEXT, [413, 200], False),
    "a body far over the limit": (classify_bytes(b" " * 1_100_000) + NEXT, [413], True),
    "chunks far over the limit": (post(CODED, body=chunked(b" " * 1_100_000)) + NEXT, [413], True),
}


@pytest.mark.parametrize("way", ["whole", "in pieces"])
@pytest.mark.parametrize("name", EXCHANGES)
def test_an_odd_request_has_one_meaning(server, name, way):
    data, statuses, ends = EXCHANGES[name]
    size = len(data) if way == "whole" else max(1, len(data) // 2000)
    answers = []
    with server.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for at in range(0, len(data), size):
                connection.send(data[at : at + size])
            connection.socket.shutdown(socket.SHUT_WR)
        while connection.buffer or connection._more():
            answers.append(connection.read_answer())
    answers = [server.checked(answer) for answer in answers if answer.status != 100]
    assert [answer.status for answer in answers] == statuses
    assert answers[-1].keeps_alive != ends
    assert server.get("/health").status == 200


def test_a_body_over_the_limit_is_not_asked_for(server):
    with server.connect() as connection:
        answer = connection.send(post(EXPECT, ("Content-Length", "65537"))).read_answer()
    assert (answer.status, answer.keeps_alive) == (413, False)


def answer_to_all_of(address, data: bytes, source: str) -> wire.Answer:
    """Send it all, whatever is said meanwhile, and only then read: as simple clients do, to whom a connection
    that is reset as they send has no answer."""
    with wire.Connection(address, source=source) as connection:
        return connection.send(data).read_answer()


@pytest.mark.parametrize("framing", ["a length", "chunks"])
def test_a_refusal_of_5_mb_arrives_every_time(server, framing):
    body = b" " * 5_000_000
    data = classify_bytes(body) if framing == "a length" else post(CODED, body=chunked(body, 65_536))
    with ThreadPoolExecutor(5) as pool:
        answers = pool.map(
            lambda number: answer_to_all_of(server.address, data, ATTACKERS[number % 5]), range(20)
        )
        assert [answer.status for answer in answers] == [413] * 20


def test_no_body_is_written_to_a_disk(start_server):
    server = start_server(
        **wire.UNMEASURED, command=["prlimit", "--fsize=4096", sys.executable]
    )  # no file may grow beyond it
    assert server.classify(b" " * 700_000).status == 413
    assert server.classify(b" " * 65_536).status == 422


WORK = {  # bodies of nearly 64 KiB
    "a wide row": b'{"pixels":[[' + b"0," * 32_000 + b"0]]}",
    "many rows": b'{"pixels":[' + b"[]," * 21_000 + b"[]]}",
    "many rows of fractions": b'{"pixels":[' + b"[.5]," * 10 + b"[0.5]]}",
    "many fields": b"{" + b",".join(b'"%x":1' % number for number in range(6_500)) + b"}",
    "many objects": b"[" + b"{}," * 21_000 + b"{}]",
    "brackets": b"[" * 32_000 + b"]" * 32_000,
    "a long number": b"1" * 65_000,
    "a long text": b'{"pixels":"' + b"\\u0041" * 10_000 + b'"}',
}


@pytest.mark.alone
def test_bodies_that_are_much_work_hold_up_nobody(start_server):
    statuses = Counter()
    with Siege(start_server, "much work") as siege:

        def ask(source):
            with wire.Connection(siege.address, source=source) as connection:
                for body in WORK.values():
                    statuses[connection.send(classify_bytes(body)).read_answer().status] += 1

        siege.flood(ask)
        siege.hold(2)
        siege.end()
    assert list(statuses) == [422]
