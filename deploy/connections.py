"""One connection of serving.py: a request at a time, deadlines in both directions, and an end that arrives.

waitress's channel reads ahead, answers in any thread, and closes when it likes; this one

- parses the next request when the last one is answered and sent, in the event loop, whoever answered
- gives a request and an answer so much time, by the monotonic clock, and cuts off who makes no progress
- lingers behind its last answer: a close at once would reset what the client has not read yet
- ends alone: neither a reset nor a fault of its own reaches the event loop

It uses these internals of waitress 3.0.2: of HTTPChannel `request`, `requests`, `requests_lock`, `received`,
`service`, `total_outbufs_len`, `will_close`, `close_when_flushed`, `_flush_exception`, `_flush_some`,
`handle_read`, `handle_write`, `handle_close`, `handle_error`, `handle_expt_event`, `readable`, `send`,
`send_continue`, `write_soon`, `connected`, `socket`; of HTTPRequestParser `error`, `completed`,
`expect_continue`, `headers_finished`; of WSGITask `start`, `write`, `build_response_header`,
`get_environment`, `set_close_on_finish`, `close_on_finish`, `response_headers`, `start_time`.
"""

import fcntl
import functools
import socket
import struct
import sys
import termios
from contextlib import suppress
from time import monotonic

from waitress.channel import HTTPChannel
from waitress.task import WSGITask
from waitress.utilities import Error, RequestEntityTooLarge, build_http_date

from deploy.addresses import line_of
from deploy.framing import Parser

REQUEST_SECONDS, SCARCE_REQUEST = 10, 2  # to send a request; the second number is for when places are scarce
READ_SECONDS, SCARCE_READ = 10, 2  # to take PROGRESS of an answer
IDLE_SECONDS, SCARCE_IDLE = 60, 1  # between an answer and the next request
PROGRESS = 1024  # bytes that a client must take of a waiting answer in READ_SECONDS
QUIET_SECONDS = 1  # after the last answer, a client that sends nothing for so long has read it

http_date = functools.lru_cache(maxsize=1)(build_http_date)  # worked out once a second


@functools.lru_cache(maxsize=256)
def in_shape(name: str) -> str:
    """A header's name as waitress writes it: X-Request-Id."""
    return "-".join(part.capitalize() for part in name.split("-"))


class RequestTimeout(Error):
    code, reason = 408, "Request Timeout"


class TooManyConnections(Error):
    code, reason = 503, "Service Unavailable"


class Task(WSGITask):
    """One request. Broken ones reach an application too, and a connection that will close says so."""

    def service(self):
        super().service()
        self.channel.server.finished += 1

    def start(self):
        super().start()
        if self.request.error or self.request.connection_close or self.channel.server.draining.is_set():
            self.set_close_on_finish()

    def write(self, data):
        if not self.wrote_header and data and self.content_length == len(data):
            head, self.wrote_header = self.build_response_header(), True  # both in one send
            self.content_bytes_written = self.channel.write_soon(head + data) - len(head)
        else:
            super().write(data)

    def build_response_header(self):
        """The bytes that waitress makes, which puts every name in shape anew, for a twentieth of the time of
        an answer; it still makes those in which more is to be decided."""
        fields = {in_shape(name): value for name, value in self.response_headers}
        usual = self.version == "1.1" and not self.close_on_finish and self.has_body
        usual &= len(fields) == len(self.response_headers) and "Content-Length" in fields
        if not usual or fields.keys() & {"Date", "Server"}:
            return super().build_response_header()
        fields["Date"] = http_date(int(self.start_time))
        lines = [f"HTTP/1.1 {self.status}", *map(": ".join, sorted(fields.items())), "\r\n"]
        return "\r\n".join(lines).encode("latin-1")

    def get_environment(self):
        environ = super().get_environment()
        error = self.request.error
        if isinstance(error, RequestEntityTooLarge):  # this one the application answers, when its turn comes
            environ["CONTENT_LENGTH"] = str(
                max(self.request.content_length, self.channel.adj.inbuf_overflow + 1)
            )
        elif error:
            environ["serving.error"] = f"{error.code} {error.reason}"
        return environ


class Channel(HTTPChannel):
    """A connection, with what it has to do until when.

    since: when it last did what counts: connected, began a request, or got an answer (`monotonic` seconds).
    rest: bytes received and not parsed yet, as its next request waits until the last one is answered and
    sent.
    busy: whether a request of it is with the application, or those behind it are still to be looked at.
    mark: when a waiting answer was last looked at, and how many bytes had been taken by then; or None.
    """

    parser_class, task_class, error_task_class = Parser, Task, Task

    def __init__(self, server, sock, addr, adj, map=None):
        self.since, self.rest, self.sent, self.mark = monotonic(), b"", 0, None
        self.busy = self.lingers = False
        self.line = line_of(addr[0])
        super().__init__(server, sock, addr, adj, map=map)
        server.admit(self)

    def received(self, data):
        with self.requests_lock:
            self.rest += data
            self.parse_next()

    def parse_next(self) -> None:
        """Parse what was received up to the end of the next request; called with `requests_lock` held."""
        ends = self.will_close or self.close_when_flushed or self.lingers  # then nobody reads the rest
        while self.rest and self.connected and not (self.requests or ends):
            if self.request is None:
                self.rest = self.rest.lstrip(b"\r\n")  # empty lines are no progress (RFC 9112, section 2.2)
                if not self.rest:
                    return
                self.request, self.since = self.parser_class(self.adj), monotonic()
            used = self.request.received(self.rest)
            self.rest = self.rest[used:]
            if self.request.expect_continue and self.request.headers_finished and not self.sent_continue:
                self.send_continue()
            if self.request.completed:
                self.answer_soon()

    def answer_soon(self, error: Error | None = None) -> None:
        """The request is complete, or as complete as it will get; called with `requests_lock` held."""
        request = self.request or self.parser_class(self.adj)
        request.error = error or request.error
        self.request, self.sent_continue, self.busy = None, False, True
        self.requests.append(request)
        self.server.add_task(self)

    def service(self):
        super().service()
        self.since = monotonic()
        self.server.answered(self)

    def go_on(self) -> None:
        """Its last request is answered: see to the next one. In the event loop, which may close it, too."""
        self.busy = False
        with self.requests_lock:
            self.parse_next()

    def alone(self, method: str) -> None:
        """Call a method whose fault must end this connection, and not the server."""
        try:
            getattr(self, method)()
        except Exception:
            self.handle_error()

    def answer(self) -> None:
        """Answer the request in the event loop, and send the answer without another round for it."""
        self.service()
        if self.connected and (self.total_outbufs_len or self.close_when_flushed):
            self.handle_write()

    def write_soon(self, data):
        """Send an answer at once, in the event loop, and keep only what the system does not take."""
        at_once = self.server.at_once and self.connected and not self.total_outbufs_len
        if not (at_once and isinstance(data, bytes)):
            return super().write_soon(data)
        sent = self.send(data)
        if self.connected:
            super().write_soon(data[sent:])
        return len(data)

    def send(self, data, do_close=True):
        sent = super().send(data, do_close)
        self.sent += sent
        return sent

    def handle_write(self):
        if not self.close_when_flushed:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.connected and not self.total_outbufs_len:
            # a close now would reset what the client is still to read: wait a little
            self.close_when_flushed, self.lingers, self.since = False, True, monotonic()
            self.last_sign = self.since
            self.server.lingering += 1
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def handle_close(self):
        self.server.lingering -= self.lingers
        self.lingers = False
        super().handle_close()

    def readable(self):
        return self.lingers or (super().readable() and not self.busy)

    def handle_read(self):
        if not self.lingers:
            super().handle_read()
            return
        with suppress(OSError):
            if self.recv(65536):
                self.last_sign = monotonic()
                return
        self.handle_close()

    def handle_expt_event(self):
        """Urgent data (tcp(7)), which HTTP does not know: nothing would take it off the socket."""
        if self.connected:
            self.cut()

    def is_idle(self) -> bool:
        return not (self.busy or self.requests or self.request or self.total_outbufs_len or self.rest)

    def unread(self) -> int:
        """Bytes of its answers that are still here, or in the system's buffer (tcp(7), SIOCOUTQ)."""
        in_system = fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4))
        return self.total_outbufs_len + int.from_bytes(in_system, sys.byteorder)

    def look(self, now: float, scarce: bool) -> None:
        """Cut off a client that holds its place for nothing."""
        if not self.lingers and (unread := self.unread()):
            taken = self.sent + self.total_outbufs_len - unread
            if self.mark is None:
                self.mark = (now, taken)
            elif now - self.mark[0] > (SCARCE_READ if scarce else READ_SECONDS):
                if taken - self.mark[1] < PROGRESS:
                    self.cut()
                self.mark = (now, taken)
            return
        self.mark = None
        waited = now - self.since
        if self.lingers:
            if now - self.last_sign > QUIET_SECONDS or waited > REQUEST_SECONDS:
                self.handle_close()
        elif self.request is not None and not self.requests:
            if waited > (SCARCE_REQUEST if scarce else REQUEST_SECONDS):
                with self.requests_lock:
                    self.answer_soon(RequestTimeout(""))
        elif self.is_idle() and waited > (SCARCE_IDLE if scarce else IDLE_SECONDS):
            self.handle_close()

    def cut(self) -> None:
        """Close it now; what is still to be sent is dropped, and the kernel's memory for it is free."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handle_close()
