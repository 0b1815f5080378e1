"""A waitress that loses nothing and that nobody holds up: serves one WSGI application on one socket.

    serve(application, systemd.listen("127.0.0.1", 8000))     # until SIGTERM or SIGINT

waitress parses HTTP/1.1 in one event loop, hands each request to a worker thread, and sends the answers.
Left to itself it kills what is under way at SIGTERM, knows no deadline but `channel_timeout` (which any byte
renews, which runs on the wall clock, and which waits for a client that may never read), spills large bodies
to TMPDIR, and answers bytes that are not HTTP in plain text, past the application and its log. What this
adds:

- a drain: `serve` stops accepting, finishes what was accepted, and returns within ten seconds
- deadlines in both directions: a request must arrive, and an answer must be read (connections.py)
- places by address: whoever opens many connections leaves room for everybody else
- bounded work and memory: one request a connection at a time, bodies over `max_body` are counted and not
  kept, and between two looks at all connections the event loop answers for SLICE_SECONDS at most
- framing that is no matter of opinion (framing.py), and a refusal that arrives before the close
- broken requests reach an application, too: `broken`, with environ["serving.error"], answers them in JSON
- `at_once`: an application that is fast and never waits answers in the event loop itself, for handing each
  request to a thread and back would take longer than the answer
- systemd hears that it is ready, alive and stopping, and may pass the socket (systemd.py)

It uses these internals of waitress 3.0.2, so the pin and tests/test_wire.py belong together: of TcpWSGIServer
`readable`, `accept`, `handle_accept`, `add_task`, `pull_trigger`, `set_socket_options`, `accepting`, `_map`,
`active_channels`, `task_dispatcher` (of which `queue`, `threads`, `set_thread_count`); connections.py and
framing.py name theirs.
"""

import gc
import json
import logging
import signal
import socket
import threading
from collections import Counter, deque
from contextlib import suppress
from time import monotonic, sleep

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from deploy.addresses import line_of
from deploy.connections import Channel, TooManyConnections
from deploy.systemd import notify, passed_by_systemd, watched

log = logging.getLogger("serving")

PLACES = 256  # connections at once; a client address may have a quarter of them
HANDSHAKE_SECONDS = 0.1  # a handshake that had begun before SIGTERM has so long to be completed
DRAIN_SECONDS = 8  # accepted requests have so long to finish after SIGTERM
THREAD_SECONDS = 1  # and worker threads so long to end; who is stuck then ends with the process
SLICE_SECONDS = 0.05  # of answering in the event loop, before it looks at all connections again
TICK_SECONDS = 0.25  # between two looks at the deadlines
YIELD_SECONDS = 0.003  # for the worker threads while many requests wait: each round takes the GIL from them
THREADS_AT_NEED = 4  # worker threads once a request is stuck in the application; until then there is one
LONGEST_HEAD = 16 * 1024  # bytes of a request line and its headers
READ_ON = 16  # times max_body are read of a body that is too large, so that its connection can stay open

SENTENCES = {  # what the default `broken` says
    400: "this is not a valid HTTP/1.1 request: compare it with what curl -v sends",
    408: "the request took too long to arrive: send it again, faster",
    431: "the request line and the headers are too long together: send fewer or shorter ones",
    500: "the server failed: report this to its operator",
    501: "this Transfer-Encoding is unknown: send a Content-Length, or chunked",
    503: "too many connections from this address: close some, or wait a moment",
}


def answer_broken(environ, start_response):
    """The default application for broken requests: {"detail": a sentence} with the status of the error. It
    leaves the sentence in environ["serving.why"], for whoever logs."""
    status = environ["serving.error"]
    environ["serving.why"] = SENTENCES.get(int(status[:3]), status[4:])
    body = json.dumps({"detail": environ["serving.why"]}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Server(TcpWSGIServer):
    """waitress's server on a listening socket, with the deadlines, the places, the watchdog and the drain.

    app, broken: WSGI applications, for requests and for what is none (see `answer_broken`).
    draining: set once it stops accepting; an application that holds it, too, can tell its clients.
    alive: called about once a second where systemd wants its watchdog fed: does the application still work?
    at_once: `app` never waits, and answers in the event loop.
    max_body: bytes of a body; a larger one is not kept, and the application sees its CONTENT_LENGTH alone.
    trusted: an address (a proxy's) that may have any number of the places.
    """

    channel_class = Channel

    def __init__(
        self,
        app,
        listener: socket.socket,
        *,
        broken=answer_broken,
        draining: threading.Event | None = None,
        alive=None,
        at_once: bool = False,
        max_body: int = 64 * 1024,
        trusted: str = "",
    ):
        self.draining, self.at_once = draining or threading.Event(), at_once
        self.alive = alive if watched() else None
        self.trusted = line_of(trusted)
        self.knocked = False  # whether somebody wants to connect
        self.lingering = 0  # connections that have their last answer, and hold no place any more
        self.due = deque()  # channels with a request that will be answered at once
        self.going_on = deque()  # channels of which a worker thread has answered a request
        self.finished = self.finished_before = 0  # requests
        self.next_look = self.next_beat = 0.0
        limits = {"connection_limit": PLACES + 2, "max_request_header_size": LONGEST_HEAD, "ident": None}
        limits |= {"max_request_body_size": READ_ON * max_body, "inbuf_overflow": max_body}
        limits |= {"outbuf_overflow": 2**30, "clear_untrusted_proxy_headers": False}
        limits |= {"log_socket_errors": False}  # a client that left is no fault of ours, and no traceback
        # more threads would only take the GIL from each other: on idle cores four answered a fifth as much
        adj = Adjustments(threads=0 if at_once else 1, **limits)
        sockinfo = (listener.family, listener.type, listener.proto, listener.getsockname())

        def application(environ, start_response):
            return (broken if "serving.error" in environ else app)(environ, start_response)

        super().__init__(application, map={}, _sock=listener, adj=adj, sockinfo=sockinfo, bind_socket=False)

    def run(self) -> None:
        """Serve until `draining` is set, then drain."""
        while not self.draining.is_set():
            self.turn(TICK_SECONDS)
        self.drain()

    def turn(self, timeout: float) -> None:
        """One round of the event loop: send, receive and accept what is ready, then answer what is due.
        The next request of a channel waits until its last answer is sent, so that no answer piles up."""
        if not all(channel.total_outbufs_len for channel in self.due):
            timeout = 0
        if len(self.task_dispatcher.queue) > THREADS_AT_NEED:
            sleep(YIELD_SECONDS)
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)
        self.accept_all()
        while self.going_on:
            self.going_on.popleft().alone("go_on")
        until = monotonic() + SLICE_SECONDS
        for _ in range(len(self.due)):
            channel = self.due.popleft()
            if channel.total_outbufs_len:
                self.due.append(channel)
            elif channel.connected:
                channel.alone("answer")
            if monotonic() > until:
                break

    def add_task(self, task):
        if self.at_once:
            self.due.append(task)
        else:
            super().add_task(task)

    def answered(self, channel: Channel) -> None:
        """A request of this channel is answered; in a worker thread, unless `at_once`."""
        if self.at_once:
            channel.go_on()
        else:
            self.going_on.append(channel)
            self.pull_trigger()

    def pull_trigger(self):
        """Wake the event loop; what runs in it need not."""
        if not self.at_once:
            super().pull_trigger()

    def stop(self, *_) -> None:
        """The handler of SIGTERM and SIGINT. Only the first one counts: a second may come after the close."""
        if not self.draining.is_set():
            self.draining.set()
            super().pull_trigger()

    def set_socket_options(self, connection):
        super().set_socket_options(connection)
        if self.draining.is_set():
            lowest_ttl(connection, 0)

    def readable(self):
        """Whether to accept: asked in every round, so the deadlines are kept here, as waitress does it. Where
        all places are taken, new connections wait in the kernel's queue."""
        now = monotonic()
        if now >= self.next_look:
            self.look(now)
        return self.accepting and self.taken() < PLACES

    def accept(self):
        self.knocked = False
        accepted = super().accept()
        self.knocked = accepted is not None
        return accepted

    def handle_accept(self):
        """Somebody wants to connect: not before this round is over, in which the number of a connection that
        was closed would be taken for the new one's."""
        self.knocked = True

    def accept_all(self) -> None:
        """Accept who waits while there are places, and not one a round, as a round of answers takes long."""
        for _ in range(PLACES):
            if not self.knocked or (self.taken() >= PLACES and not self.draining.is_set()):
                return
            if self.lingering >= PLACES:
                next(one for one in self.active_channels.values() if one.lingers).handle_close()
            super().handle_accept()

    def taken(self) -> int:
        """How many places are taken."""
        return len(self.active_channels) - self.lingering

    def allowed(self) -> int:
        """How many places one line may have: a quarter of all, and no more than are free. So those who take
        many leave as many, and an address that has none yet gets in."""
        return max(1, min(PLACES // 4, PLACES - self.taken()))

    def admit(self, channel: Channel) -> None:
        """Keep a new connection within the places of its line: an idle one of the same line makes room for
        it, and where there is none, it is answered 503."""
        all_others = [other for other in self.active_channels.values() if other is not channel]
        same = [other for other in all_others if other.line == channel.line and not other.lingers]
        if len(same) < self.allowed() or channel.line == self.trusted:
            return
        idle = [other for other in same if other.is_idle()]
        if idle:
            min(idle, key=lambda other: other.since).handle_close()
        else:
            with channel.requests_lock:
                channel.answer_soon(TooManyConnections(""))

    def look(self, now: float) -> None:
        """Every TICK_SECONDS: cut off the slow and the idle; once a second: get past a stuck request, and
        feed the watchdog."""
        self.next_look = now + TICK_SECONDS
        channels = list(self.active_channels.values())
        scarce, allowed = PLACES - self.taken() < PLACES // 4, self.allowed()
        held = Counter(channel.line for channel in channels if not channel.lingers)
        for channel in channels:
            channel.look(now, scarce or (held[channel.line] >= allowed and channel.line != self.trusted))
        if now < self.next_beat:
            return
        self.next_beat = now + 1
        if self.task_dispatcher.queue and self.finished == self.finished_before:
            self.task_dispatcher.set_thread_count(THREADS_AT_NEED)
        self.finished_before = self.finished
        if self.alive:
            beat = Beat(self.alive)
            if self.at_once:
                beat.service()
            else:
                self.add_task(beat)

    def drain(self) -> None:
        """Accept what is in the queue, refuse the rest, finish all that was accepted, then close."""
        notify("STOPPING=1")
        if not passed_by_systemd():  # a passed socket keeps its queue for the next process
            lowest_ttl(self.socket, 255)
            until = monotonic() + HANDSHAKE_SECONDS
            while monotonic() < until:
                self.turn(0.02)
                self.knocked = True
                self.accept_all()
        wasyncore.dispatcher.close(self)
        self.knocked = False
        self.task_dispatcher.set_thread_count(THREADS_AT_NEED)
        began = now = monotonic()
        for channel in self.active_channels.values():
            channel.since = began  # from now on each has the time that it has while places are scarce
        while self.active_channels and now < began + DRAIN_SECONDS:
            self.turn(0.05)
            now = monotonic()
            for channel in list(self.active_channels.values()):
                if not (channel.is_idle() or channel.lingers):
                    channel.look(now, scarce=True)
                elif now - channel.since > 0.5:
                    channel.handle_close()
        self.task_dispatcher.set_thread_count(0)  # its own `shutdown` waits by the wall clock
        until = monotonic() + THREAD_SECONDS
        while self.task_dispatcher.threads and monotonic() < until:
            sleep(0.01)
        wasyncore.close_all(self._map)


class Beat:
    """A task for the worker threads: tells systemd's watchdog that they, and the application, still
    answer."""

    def __init__(self, alive):
        self.alive = alive

    def service(self):
        if self.alive():
            notify("WATCHDOG=1")

    def cancel(self):
        pass


def serve(app, listener: socket.socket, *, greeting: str = "", **options) -> None:
    """Serve `app` on `listener` until SIGTERM or SIGINT, then drain. For the options see `Server`; `greeting`
    ends the line of the log that says where it listens. Call it in the main thread, as signals arrive
    there."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever the thread is busy
    server = Server(app, listener, **options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.stop)
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d %s", f"[{host}]" if ":" in host else host, port, greeting)
    gc.freeze()  # what is loaded stays: to look at all of it again took up to 100 ms of somebody's request,
    gc.set_threshold(10_000)  # and to look at what a large body is made of, half of all its time
    notify("READY=1")
    server.run()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a second one must not kill what is leaving already
    log.info("stopped")


def lowest_ttl(sock: socket.socket, ttl: int) -> None:
    """Drop what arrives with a lower TTL (Linux, ip(7) IP_MINTTL). Nearly everybody sends with 64 or 128.

    255 on a listening socket drops every SYN, while handshakes under way are completed: so nobody connects
    between the last accept and the close. A client whose SYN is dropped sends it again a second later: to
    nobody, or to the next process. Connections inherit the 255, and need a 0 again.
    """
    v6 = sock.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, 73) if v6 else (socket.IPPROTO_IP, 21)
    with suppress(OSError):
        sock.setsockopt(level, option, ttl)
