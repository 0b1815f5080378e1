"""deploy/framing.py: where a request ends, whatever the pieces in which it arrives."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from deploy import framing

LIMIT = 4000
BODIES = {"max_request_body_size": 16 * LIMIT, "inbuf_overflow": LIMIT}
ADJUSTMENTS = Adjustments(max_request_header_size=16384, **BODIES)


def parsed(data: bytes, pieces=()) -> tuple[framing.Parser, bytes]:
    """The parser that was given `data`, cut at the places in `pieces`, and what it left."""
    parser = framing.Parser(ADJUSTMENTS)
    cuts = [0, *sorted(place for place in pieces if place < len(data)), len(data)]
    rest = b""
    for start, end in zip(cuts, cuts[1:]):
        rest += data[start:end]
        while rest and not parser.completed:
            rest = rest[parser.received(rest) :]
    return parser, rest


def request(*lines: bytes, body: bytes = b"", first: bytes = b"POST /x HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: x", *lines, b"", b""]) + body


def status(data: bytes) -> int | None:
    """The code with which a request is refused, 0 where it is a good one, None where it is not over."""
    parser, _ = parsed(data)
    return (parser.error.code if parser.error else 0) if parser.completed else None


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


CHUNKED = b"Transfer-Encoding: chunked"
PLACES = st.lists(st.integers(1, 400), max_size=40)

# ---- Lengths and codings --------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=90), max_size=6), st.binary(max_size=9), PLACES, st.booleans())
def test_a_body_is_the_same_in_all_pieces_and_the_next_request_stays_whole(pieces, after, places, chunked):
    body = b"".join(pieces)
    length = b"Content-Length: %d" % len(body)
    data = request(CHUNKED, body=chunks(*pieces)) if chunked else request(length, body=body)
    parser, rest = parsed(data + after, places)
    assert (parser.completed, parser.error, rest) == (True, None, after)
    assert parser.get_body_stream().read() == body
    assert not chunked or int(parser.headers["CONTENT_LENGTH"]) == len(body)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), PLACES)
def test_any_bytes_for_chunks_are_judged_alike_in_all_pieces(body, places):
    whole, in_pieces = parsed(request(CHUNKED, body=body))[0], parsed(request(CHUNKED, body=body), places)[0]
    assert (whole.completed, whole.error is None) == (in_pieces.completed, in_pieces.error is None)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([CHUNKED], None),
        ([b"Transfer-Encoding:\tChunked \t"], None),
        ([CHUNKED, CHUNKED], 400),
        ([b"Transfer-Encoding: chunked, chunked"], 400),
        ([b"Transfer-Encoding:"], 400),
        ([b"Transfer-Encoding: "], 400),
        ([b"Transfer-Encoding: ,"], 400),
        ([b"Transfer-Encoding: ", CHUNKED], 400),
        ([b"Transfer-Encoding: chunked,"], 400),
        ([b"Transfer-Encoding: chunked;q=1"], 501),
        ([b"Transfer-Encoding: identity"], 501),
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Transfer-Encoding: \x0bchunked"], 400),
        ([b"Transfer-Encoding: chunked\x85"], 501),
        ([b"Transfer-Encoding: chun", b" ked"], 501),
        ([b"Content-Length: 5, 5"], 400),
        ([b"Content-Length: 5", b"Content-Length: 5"], 400),
        ([b"Content-Length: -1"], 400),
        ([b"Content-Length: +5"], 400),
        ([b"Content-Length: 5 5"], 400),
        ([b"Content-Length:"], 400),
        ([b"Content-Length: " + b"9" * 5000], 400),
        ([b"Content-Length: " + b"9" * 4000], 413),
        ([b"Content-Length: 64000"], 413),
        ([b"Content-Length: 4001"], None),
        ([b"Content-Length: 0"], 0),
    ],
    ids=lambda value: b"|".join(value).decode("latin-1")[:50] if isinstance(value, list) else "",
)
def test_the_headers_that_frame_a_body_have_one_meaning_or_none(lines, code):
    assert status(request(*lines)) == code


@pytest.mark.parametrize("version", [b"", b" HTTP/0.9", b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0"])
def test_only_http_1_1_has_transfer_codings(version):
    first = b"POST /x" + version
    assert status(request(CHUNKED, first=first, body=chunks(b"hello"))) == 400
    keep_alive = request(CHUNKED, b"Connection: keep-alive", first=first, body=b"GET / HTTP/1.1\r\n\r\n")
    assert status(keep_alive) == 400


@pytest.mark.parametrize("first", [b"Content-Length: 5", CHUNKED])
def test_a_length_and_chunks_together_end_the_connection(first):
    lines = sorted([b"Content-Length: 5", CHUNKED], key=lambda line: line != first)
    parser, rest = parsed(request(*lines, body=chunks(b"hello")) + b"next")
    assert parser.connection_close
    assert (parser.get_body_stream().read(), rest) == (b"hello", b"next")


BAD_CHUNKS = {
    "a bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "a bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "an empty line before the size": b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "no size": b";x=y\r\nhello\r\n0\r\n\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a word behind the size": b"5 x\r\nhello\r\n0\r\n\r\n",
    "nine digits": b"000000005\r\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "too little data": b"6\r\nhello\r\n0\r\n\r\n",
    "too much data": b"4\r\nhello\r\n0\r\n\r\n",
    "an extension of 2,000 bytes": b"5;" + b"x" * 2000 + b"\r\nhello\r\n0\r\n\r\n",
    "an extension without end": b"5;" + b"x" * 2000,
    "a size without end": b"0" * 2000,
    "2,049 chunks": chunks(*[b"x"] * 2049),
    "a trailer without a colon": b"0\r\nnonsense\r\n\r\n",
    "a trailer with a bare LF": b"0\r\nA: b\n\r\n",
    "a trailer that folds": b"0\r\nA: b\r\n c\r\n\r\n",
    "a trailer without end": b"0\r\n" + b"A: b\r\n" * 3000,
    "a trailer's line without end": b"0\r\nA: " + b"b" * 2000,
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_malformed_chunks_are_refused(name):
    assert status(request(CHUNKED, body=BAD_CHUNKS[name])) == 400


def test_a_body_may_come_in_2048_chunks():
    parser, _ = parsed(request(CHUNKED, body=chunks(*[b"x"] * (framing.MOST_CHUNKS - 1))))
    assert (parser.completed, parser.error) == (True, None)
    assert parser.headers["CONTENT_LENGTH"] == str(framing.MOST_CHUNKS - 1)


def test_extensions_and_trailers_are_legal_and_dropped():
    body = b"5;a=b\r\nhello\r\n5 ;\r\nworld\r\n000\r\nX-API-Key: secret\r\nHost: y\r\n\r\n"
    parser, rest = parsed(request(CHUNKED, body=body))
    assert (parser.get_body_stream().read(), rest, parser.error) == (b"helloworld", b"", None)
    assert parser.headers == {"HOST": "x", "CONTENT_LENGTH": "10"}


# ---- What is kept ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, LIMIT, LIMIT + 1, 16 * LIMIT - 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_counted_and_not_kept(size, chunked):
    body = b"x" * size
    if chunked:
        data = request(CHUNKED, body=chunks(*[body[at : at + 700] for at in range(0, size, 700)]))
    else:
        data = request(b"Content-Length: %d" % size, body=body)
    parser, rest = parsed(data + b"next")
    if parser.error:  # the chunks' own bytes count as well
        assert (chunked, parser.error.code) == (True, 413)
        return
    assert rest == b"next"
    assert len(parser.get_body_stream().read()) == (size if size <= LIMIT else 0)
    assert int(parser.headers.get("CONTENT_LENGTH", 0)) == size


def test_a_body_that_is_too_large_and_not_sent_yet_is_not_asked_for():
    for expect in (b"Expect: 100-continue", b"expect: 100-Continue"):
        parser, _ = parsed(request(expect, b"Content-Length: 4001"))
        assert (parser.error.code, parser.expect_continue) == (413, False)
        parser, _ = parsed(request(expect, b"Content-Length: 4000"))
        assert (parser.completed, parser.expect_continue) == (False, True)
        parser, _ = parsed(request(expect))
        assert (parser.completed, parser.expect_continue) == (True, False)


# ---- What cannot be read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [b"GET http://[::1/health HTTP/1.1", b"GET //[::1/health HTTP/1.1", b"GET http://[x]/ HTTP/1.1"]
    + [b" GET / HTTP/1.1", b"\tGET / HTTP/1.1", b"\x0bGET / HTTP/1.1", b"   ", b"\x16\x03\x01"],
)
def test_what_cannot_be_read_is_refused(first):
    code = status(request(first=first))
    assert code == 400 or (first.startswith(b"GET //") and code == 0)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), PLACES)
def test_any_bytes_are_a_request_or_refused_or_not_over(data, places):
    parser, _ = parsed(data.lstrip(b"\r\n") + b"\r\n\r\n", places)  # as a connection drops empty lines
    if parser.completed and not parser.error and parser.header_bytes_received:
        assert re.fullmatch(rb"[^ ]+ [^ ]+( HTTP/\d\.\d)?", parser.first_line)


HEAVY = {
    "a target like a URL, and no version": request(first=b"GET a://" + b"b" * 15_000 + b" HTTP/x"),
    "the same of digits": request(first=b"GET a://" + b"1" * 15_000 + b" HTTP/x"),
    "a target of many URLs": request(first=b"GET " + b"a://" * 3_700 + b" HTTP/x"),
    "a long method": request(first=b"G" * 15_000),
    "a path of escapes": request(first=b"GET /" + b"%41" * 5_000 + b" HTTP/1.1"),
    "spaces in a coding": request(b"Transfer-Encoding: a" + b" " * 15_000 + b"b"),
    "many codings": request(*[b"Transfer-Encoding: a" + b" " * 100 + b"b"] * 120),
    "spaces in a header": request(b"A: " + b"a " * 7_500 + b"\0"),
    "many headers": request(*[b"a:"] * 3_900),
    "many folded lines": request(b"A: b", *[b" "] * 5_000),
    "many small chunks": request(CHUNKED, body=chunks(*[b"x"] * 2_000)),
}


@pytest.mark.parametrize("name", HEAVY)
def test_no_request_is_hard_work_to_read(name):
    """Against reading a request of as many headers as there may be, which nobody finds heavy. Half a minute,
    which one of these once took, is 10,000 times that."""
    usual = request(*[b"Header-%d: of a usual kind" % number for number in range(99)])

    def seconds(data: bytes) -> float:
        began = time.process_time()
        parsed(data)
        return time.process_time() - began

    assert seconds(HEAVY[name]) < 100 * min(seconds(usual) for _ in range(3))


def test_a_header_without_end_is_refused_at_16_kib():
    for data in (b"GET /" + b"a" * 20_000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000):
        assert status(data) == 431
    assert status(request(b"A: " + b"a" * 16_000)) == 0


def test_a_request_has_100_headers_at_most():
    most = framing.MOST_HEADERS
    assert [status(request(*[b"A: b"] * (count - 1))) for count in (most, most + 1)] == [0, 431]
