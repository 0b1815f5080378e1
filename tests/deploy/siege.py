"""A server under attack, watched from beside: what it promises at each moment of an attack.

    with Siege(start_server, "slow readers") as siege:
        ...                  # attack siege.address, from 127.0.0.2 on
        siege.hold(3)        # seconds for which the attack goes on
        siege.end()          # SIGTERM in the middle of it

A good client asks for /health all the time, each time on a new connection, as a load balancer does. Somebody
plays systemd's watchdog, and somebody looks at the memory. What they saw is printed, and held against the
promises.
"""

import select
import socket
import statistics
import threading
import time
from contextlib import ExitStack, suppress
from itertools import cycle, islice
from pathlib import Path

import wire

HEALTH_SECONDS = 1  # the median of 20 answers in a row
WATCHDOG_SECONDS = 2  # between two WATCHDOG=1
MEMORY = 30 * 1024  # KiB
ATTACKERS = [f"127.0.0.{number}" for number in range(2, 10)]  # one address may have a quarter of the places


class Siege:
    def __init__(self, start_server, name: str, server=wire.SERVER, **settings):
        self.name, self.stack = name, ExitStack()
        self.over, self.ended = threading.Event(), threading.Event()  # the watch, and the attack
        self.attackers: list[threading.Thread] = []
        self.answers: list[float] = []  # seconds that each answer took
        self.faults: list[str] = []
        self.beats: list[tuple[float, float]] = []  # when, and how long the server had waited by then
        self.waits: dict[Path, int] = {}  # nanoseconds of each of its threads
        self.slept = 0.0  # seconds for which a busy machine let this process wait, at most
        self.unix = self.stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.unix.bind("")  # to a name that nobody else has
        self.unix.settimeout(0.2)
        told = {"NOTIFY_SOCKET": f"@{self.unix.getsockname()[1:].decode()}", "WATCHDOG_USEC": "10000000"}
        self.server = start_server(server, **told | settings)
        self.address = self.server.address

    def __enter__(self):
        self.peace = statistics.median(filter(None, (self.ask() for _ in range(20))))
        self.before = self.largest = self.server.memory()
        self.threads = [threading.Thread(target=guard) for guard in (self.good_client, self.systemd)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.ended.set()
        for thread in self.threads + self.attackers:
            thread.join(wire.PATIENCE)
        self.stack.close()

    def ask(self) -> float | None:
        """How long /health takes on a connection of its own; nothing where the machine held up this process
        itself, between connecting and sending, for longer than a good client takes."""
        began = time.monotonic()
        with wire.Connection(self.address, timeout=30) as connection:
            connected = time.monotonic()
            with suppress(OSError):
                connection.send(wire.request_bytes())
            if time.monotonic() - connected > 0.5:
                return None
            answer = connection.read_answer()
        assert answer.status == 200, repr(answer)
        return time.monotonic() - began

    def good_client(self) -> None:
        while not self.over.wait(0.05):
            try:
                if took := self.ask():
                    self.answers.append(took)
            except (AssertionError, OSError) as problem:
                if not self.over.is_set():
                    self.answers.append(30.0)
                    self.faults.append(f"{type(problem).__name__}: {problem}")
            with suppress(OSError):
                self.largest = max(self.largest, self.server.memory())

    def systemd(self) -> None:
        before = time.monotonic()
        while not self.over.is_set():
            with suppress(TimeoutError):
                if self.unix.recv(100) == b"WATCHDOG=1":
                    self.beats.append((time.monotonic(), self.waited()))
            now = time.monotonic()
            self.slept = max(self.slept, now - before - self.unix.gettimeout())
            before = now

    def waited(self) -> float:
        """For how many seconds its threads could have run so far, and the machine ran others."""
        for task in Path(f"/proc/{self.server.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # of a thread that ended, what it had waited until then counts
                self.waits[task] = int(task.read_text().split()[1])
        return sum(list(self.waits.values())) / 1e9  # a list: two threads ask

    def hold(self, seconds: float, also=lambda: False) -> None:
        """Let the attack go on for so long, and until 20 answers were seen; `also` is done now and then."""
        until, seen = time.monotonic() + seconds, len(self.answers)
        while time.monotonic() < until or len(self.answers) < seen + 20:
            assert time.monotonic() < until + 120, f"{self.name}: nobody is answered: {self.faults[:3]}"
            also()
            time.sleep(0.05)

    def end(self) -> None:
        """SIGTERM, in the middle of the attack, once what was seen until now was what is promised."""
        ended = time.monotonic(), self.waited()
        self.over.set()
        for thread in self.threads:
            thread.join(wire.PATIENCE)
        medians = [statistics.median(self.answers[at : at + 20]) for at in range(len(self.answers) - 19)]
        beats = zip(self.beats, [*self.beats[1:], ended])
        gaps = [later - earlier - (then - before) for (earlier, before), (later, then) in beats]
        grown = self.largest - self.before
        began = time.monotonic()
        self.server.stop()
        took = time.monotonic() - began
        print(
            f"\n{self.name}: /health in {max(medians) * 1000:.1f} ms ({self.peace * 1000:.1f} in peace, the "
            f"slowest of {len(self.answers)} in {max(self.answers) * 1000:.0f}), watchdog {max(gaps):.1f} s, "
            f"memory +{grown / 1024:.1f} MB, stop {took:.1f} s"
        )
        assert not self.faults, self.faults[:3]
        assert max(medians) < HEALTH_SECONDS
        assert max(gaps) < WATCHDOG_SECONDS + self.slept
        assert grown < MEMORY

    def flood(self, once, count: int = 8) -> None:
        """Threads that do `once(address)` again and again, each from its own address, and beyond SIGTERM."""

        def attack(source: str) -> None:
            while not self.ended.wait(0.002):  # the good client is a thread of the same process
                with suppress(OSError, wire.Broken):
                    once(source)

        for source in ATTACKERS[:count]:
            self.attackers.append(threading.Thread(target=attack, args=(source,)))
            self.attackers[-1].start()

    def leaves_room(self, sockets: list[socket.socket], also) -> None:
        """Wait until of a crowd no more are connected than leave places for others: three quarters of 256.
        Meanwhile the attack goes on: `also` is done now and then."""
        deadline = time.monotonic() + wire.PATIENCE
        while (left := sum(not hung_up(one) for one in sockets)) > 192:
            assert time.monotonic() < deadline, f"{self.name}: {left} of {len(sockets)} still have places"
            also()
            time.sleep(0.05)

    def crowd(self, count: int, data: bytes = b"", *, reads: int = 0) -> list[socket.socket]:
        """So many connections from all attackers' addresses in turn, each of which has sent `data`; without
        those that were refused. reads: the bytes of a receive buffer, for those who do not mean to read."""
        sockets = []
        for source in islice(cycle(ATTACKERS), count):
            one = self.stack.enter_context(socket.socket())
            if reads:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, reads)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            one.settimeout(2)
            with suppress(OSError):
                one.bind((source, 0))
                one.connect(self.address)
                one.setblocking(False)
                if data:
                    one.send(data)
                sockets.append(one)
        return sockets


def hung_up(one: socket.socket) -> bool:
    """Whether the server ended the connection; without reading what it sent before."""
    poll = select.poll()
    poll.register(one, select.POLLRDHUP)
    return bool(poll.poll(0))


def drip(sockets: list[socket.socket], data: bytes) -> None:
    """A few bytes from each of them that is still connected."""
    for one in sockets:
        with suppress(OSError):
            one.send(data)
