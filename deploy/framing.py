"""Where one HTTP/1.1 request ends and the next begins: waitress's parser, strict where two readers of the
same bytes could see different requests (RFC 9112, section 6), and with a bound on all that it keeps.
"""

import re
from io import BytesIO

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import ChunkedReceiver
from waitress.utilities import BadRequest, RequestEntityTooLarge, RequestHeaderFieldsTooLarge

LONGEST_LINE, LONGEST_TRAILER = 1024, 8192  # bytes, of a chunked body
MOST_HEADERS, MOST_CHUNKS = 100, 2048  # each costs microseconds, however short it is


class Body:
    """What a receiver of waitress collects; over `limit` bytes it is counted, and not kept."""

    def __init__(self, limit: int):
        self.limit, self.length, self.bytes = limit, 0, BytesIO()

    def __len__(self):
        return self.length

    def append(self, data: bytes) -> None:
        self.length += len(data)
        if self.length <= self.limit:
            self.bytes.write(data)
        elif self.bytes.tell():
            self.bytes = BytesIO()

    def getfile(self) -> BytesIO:
        self.bytes.seek(0)
        return self.bytes

    def close(self) -> None:
        self.bytes.close()


class Chunks(ChunkedReceiver):
    """A chunked body (RFC 9112, section 7.1). waitress's own receiver takes a bare LF for the end of a size,
    lets empty lines stand before one, and holds lines of any length."""

    SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\r\n]*)?\r\n")
    FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*\r\n")

    def __init__(self, buf: Body):
        super().__init__(buf)
        self.left, self.line, self.state, self.trailer_length, self.count = 0, b"", "size", 0, 0

    def received(self, data: bytes) -> int:
        """Takes what belongs to this body, and returns how many bytes that were."""
        at = 0
        while at < len(data) and not self.completed:
            if self.left:
                piece = data[at : at + self.left]
                self.buf.append(piece)
                self.left -= len(piece)
                at += len(piece)
            else:
                end = data.find(b"\n", at) + 1 or len(data)
                line = data[at:end]
                if self.line:
                    line = self.line + line
                at = end
                if line[-1:] == b"\n" or len(line) > LONGEST_LINE:
                    self.take(line)
                    line = b""
                self.line = line
        return at

    def take(self, line: bytes) -> None:
        """One line: the size of a chunk, the empty one behind it, or a field of the trailer, which is
        dropped."""
        size = self.SIZE.fullmatch(line)
        if self.state == "size" and size and len(line) <= LONGEST_LINE and self.count < MOST_CHUNKS:
            self.left, self.count = int(size[1], 16), self.count + 1
            self.state = "end" if self.left else "trailer"
        elif self.state == "end" and line == b"\r\n":
            self.state = "size"
        elif self.state == "trailer" and line == b"\r\n":
            self.completed = True
        elif self.state == "trailer" and self.FIELD.fullmatch(line) and self.trailer_length < LONGEST_TRAILER:
            self.trailer_length += len(line)
        else:
            self.error, self.completed = BadRequest("the chunks are malformed"), True


class TooManyHeaders(ValueError):
    pass


class Parser(HTTPRequestParser):
    """waitress's, strict where two readers of the same bytes could see different requests."""

    # what a broken request does not say
    command, path, query, request_uri, url_scheme = "-", "-", "", "-", "http"

    FIRST_LINE = re.compile(rb"[^ \r\n]+ [^ \r\n]+( HTTP/[0-9]\.[0-9])?\r\n")
    TRANSFER_ENCODING = re.compile(rb"(?im)^transfer-encoding:([^\r\n]*)")

    def received(self, data: bytes) -> int:
        try:
            if not self.header_bytes_received and data[:1].isspace():  # waitress would drop it
                raise ValueError("white space before the request line")
            return super().received(data)
        except TooManyHeaders:
            self.error = RequestHeaderFieldsTooLarge("")
        except ValueError:  # or waitress's own int() or urlsplit() gave up: 5,000 digits, "http://[::1/"
            self.error = BadRequest("it cannot be read")
        self.completed = True
        return len(data)

    def parse_header(self, header_plus: bytes) -> None:
        if not self.FIRST_LINE.match(header_plus):  # in waitress's own pattern, 15 kB can take half a minute
            raise ParsingError("Start line is invalid")
        if header_plus.count(b"\n") > MOST_HEADERS + 2:  # with the first line, and the last
            raise TooManyHeaders
        codings = self.TRANSFER_ENCODING.findall(header_plus)
        super().parse_header(header_plus)
        if codings and (len(codings) > 1 or codings[0].strip().lower() != b"chunked" or not self.chunked):
            raise ParsingError("Transfer-Encoding is not just chunked, or not of HTTP/1.1")
        body = Body(self.adj.inbuf_overflow)
        if self.chunked:
            self.body_rcv = Chunks(body)
            self.connection_close |= "CONTENT_LENGTH" in self.headers  # both: RFC 9112, section 6.1
        elif self.body_rcv is not None:
            self.body_rcv.buf = body
        if self.expect_continue and self.content_length > self.adj.inbuf_overflow:
            self.error, self.completed = RequestEntityTooLarge("it says so itself"), True  # so do not send it
        if self.body_rcv is None or self.error:
            self.expect_continue = False
