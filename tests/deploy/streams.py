"""Streams of bytes as hypothesis makes them: requests, one behind the other, of which the last may be broken
in any way, cut at random places."""

from typing import NamedTuple

import wire
from hypothesis import strategies as st


class Request(NamedTuple):
    """A good request: its bytes, its method, and its body. Its path and a header bear its mark."""

    data: bytes
    method: str
    mark: str
    body: bytes


class Stream(NamedTuple):
    requests: list[Request]
    tail: bytes  # what follows them, and may be anything
    cuts: list[int]

    def pieces(self) -> list[bytes]:
        data = b"".join(request.data for request in self.requests) + self.tail
        places = [0, *sorted(cut for cut in self.cuts if cut < len(data)), len(data)]
        return [data[start:end] for start, end in zip(places, places[1:]) if start < end]


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nX-Mark-Smuggled: smuggled\r\n\r\n"
BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=80),
    st.just(SMUGGLED),
    st.just(b"0\r\n\r\n" + SMUGGLED),
    st.just(b"\r\n\r\n"),
)
EXTENSIONS = st.sampled_from([b"", b"", b";a=b", b' ; a="b c"', b";" + b"x" * 200])
TRAILERS = st.sampled_from([b"", b"", b"X-Mark-Trailer: trailer\r\n", b"Content-Length: 5\r\nHost: y\r\n"])


@st.composite
def chunked(draw, body: bytes) -> bytes:
    """The body in chunks of any size, with extensions and a trailer."""
    data, at = b"", 0
    while at < len(body):
        piece = body[at : at + draw(st.integers(1, 40))]
        data += b"%x%s\r\n%s\r\n" % (len(piece), draw(EXTENSIONS), piece)
        at += len(piece)
    return data + b"0" * draw(st.integers(1, 3)) + draw(EXTENSIONS) + b"\r\n" + draw(TRAILERS) + b"\r\n"


@st.composite
def requests(draw, mark: str, methods=("GET", "POST", "BREW", "HEAD")) -> Request:
    """A good request, in one of the many ways in which it may be written."""
    method = draw(st.sampled_from(methods))
    body = draw(BODIES)
    headers = [(f"X-Mark-{mark}", mark), *draw(st.sampled_from([[], [("X-API-Key", wire.KEY)]]))]
    coded = draw(st.booleans())
    if coded:
        headers.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
    elif body or draw(st.booleans()):
        headers.append(("Content-Length", str(len(body))))
    headers += draw(st.sampled_from([[], [], [("Expect", "100-continue")]]))
    headers = draw(st.permutations(headers))
    before = draw(st.sampled_from([b"", b"", b"\r\n", b"\r\n\r\n"]))
    head = wire.request_bytes(method, f"/{mark}", headers)
    return Request(before + head + (draw(chunked(body)) if coded else body), method, mark, body)


NASTY = st.sampled_from(
    [
        b"POST /n HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST /n HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        b"POST /n HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n" + SMUGGLED,
        b"POST /n HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n" + SMUGGLED,
        b"POST /n HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /n HTTP/1.1\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n" + SMUGGLED,
        b"GET http://[::1/health HTTP/1.1\r\nX-Mark-N: n\r\n\r\n" + SMUGGLED,
        b" GET /n HTTP/1.1\r\nX-Mark-N: n\r\n\r\n" + SMUGGLED,
        b"GET /n HTTP/1.1\nX-Mark-N: n\n\n" + SMUGGLED,
        b"GET /n\r\n\r\n" + SMUGGLED,
        b"GET /" + b"n" * 17000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 100,
    ]
)


@st.composite
def damaged(draw, data: bytes) -> bytes:
    """The bytes with a few things done to them."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 4)):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + draw(st.binary(max_size=4)) + data[at:]
            case 2:
                data = data[:at] + data[at + draw(st.integers(1, 6)) :]
            case 3:
                data = (
                    data[:at] + draw(st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b":", b"\0"])) + data[at:]
                )
            case 4:
                data = data[:at] + data[draw(st.integers(0, len(data))) :]
    return data


@st.composite
def streams(draw) -> Stream:
    good = [draw(requests(f"m{number}")) for number in range(draw(st.integers(0, 4)))]
    last = draw(requests("last", ["GET", "POST", "BREW"])).data  # so that every answer to it has a body
    tail = draw(st.one_of(st.just(b""), st.binary(max_size=200), NASTY, damaged(last), damaged(last)))
    return Stream(good, tail, draw(st.lists(st.integers(1, 1500), max_size=8)))
