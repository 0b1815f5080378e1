"""What surrounds the server and may fail it: a log that nobody reads, and a wall clock that steps."""

import contextlib
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import time

import pytest
import wire
from siege import Siege, hung_up

GET = wire.request_bytes("GET", "/nowhere")
# 400 lines of it are 100 kB: a pipe or a terminal holds 70
LONG = wire.request_bytes("GET", f"/{'x' * 190}")

# ---- The log --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_full_pipe(_):
    reader, writer = os.pipe()
    yield writer, {}
    os.close(reader)
    os.close(writer)


@contextlib.contextmanager
def a_reader_that_left(_):
    reader, writer = os.pipe()
    os.close(reader)
    yield writer, {}
    os.close(writer)


@contextlib.contextmanager
def a_full_disk(_):
    full = os.open("/dev/full", os.O_WRONLY)
    yield full, {}
    os.close(full)


@contextlib.contextmanager
def a_file_that_may_not_grow(folder):
    with (folder / "log").open("wb") as file:
        yield file, {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))}


@contextlib.contextmanager
def a_terminal_that_stands_still(_):
    screen, terminal = pty.openpty()
    yield terminal, {}
    os.close(terminal)
    os.close(screen)


@contextlib.contextmanager
def nothing_at_all(_):
    yield None, {"preexec_fn": lambda: os.close(2)}


@contextlib.contextmanager
def a_journal_that_hangs(_):
    theirs, ours = socket.socketpair()
    with theirs, ours:
        yield ours, {}


LOGS = [
    a_full_pipe,
    a_reader_that_left,
    a_full_disk,
    a_file_that_may_not_grow,
    a_terminal_that_stands_still,
    nothing_at_all,
    a_journal_that_hangs,
]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.__name__.replace("_", " "))
def test_a_log_that_nobody_reads_holds_up_no_answer_and_no_stop(log, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener, log(tmp_path) as (stderr, options):
        start = wire.through_systemd(listener)
        process = subprocess.Popen(
            [*start["command"], wire.SERVER],
            env=wire.environment(wire.UNMEASURED),
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=start["pass_fds"],
            **options,
        )
        try:
            for _ in range(4):
                with wire.Connection(listener.getsockname()) as connection:
                    connection.send(LONG * 100)
                    assert {connection.read_answer().status for _ in range(100)} == {404}
            with wire.Connection(listener.getsockname()) as connection:
                assert connection.send(wire.request_bytes()).read_answer().status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(wire.PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


def test_lines_that_were_lost_are_counted():
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener, os.fdopen(reader, "rb", buffering=0) as pipe:
        start = wire.through_systemd(listener)
        process = subprocess.Popen(
            [*start["command"], wire.SERVER],
            env=wire.environment(wire.UNMEASURED),
            stdin=subprocess.DEVNULL,
            stderr=writer,
            pass_fds=start["pass_fds"],
        )
        os.close(writer)
        try:
            with wire.Connection(listener.getsockname()) as connection:
                for _ in range(4):
                    connection.send(LONG * 100)
                    assert {connection.read_answer().status for _ in range(100)} == {404}
                read = pipe.read(2**20)
                connection.send(GET).read_answer()
            process.send_signal(signal.SIGTERM)
            while more := pipe.read(2**20):
                read += more
            assert process.wait(wire.PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
    lines = read.decode().splitlines()
    [lost] = re.findall(r" WARNING (\d+) lines of the log were lost", read.decode())
    assert sum(re.search(r" GET /\w+ 404 ", line) is not None for line in lines) + int(lost) == 401
    assert lines[-1].endswith(" INFO stopped")


# ---- The clock ------------------------------------------------------------------------------------------

STEPPING = """
import os, runpy, signal, sys, time
real, shift = time.time, [0.0]
time.time = lambda: real() + shift[0]
signal.signal(signal.SIGUSR1, lambda *_: shift.__setitem__(0, float(os.environ["STEP"])))
sys.argv = [{server!r}]
runpy.run_path({server!r}, run_name="__main__")
"""


class Stepped(Siege):
    """A server whose wall clock steps as four clients are connected: one that sends half a request, one that
    reads nothing, one that reads little, and one that says nothing."""

    def __init__(self, start_server, folder, step: int):
        script = folder / "server.py"
        script.write_text(STEPPING.format(server=str(wire.SERVER)))
        settings = {"STEP": str(step), "RATE_LIMIT": "1/minute", "PYTHONPATH": str(wire.ROOT)}
        super().__init__(start_server, f"the clock steps by {step} s", script, **settings)
        self.ends: dict[str, float] = {}  # seconds after which the server ended a connection

    def begin(self) -> None:
        assert self.server.classify().status == 200
        self.server.process.send_signal(signal.SIGUSR1)
        self.clients = {"half": self.crowd(1, GET[:-2])[0], "silent": self.crowd(1)[0]}
        self.clients |= {name: self.crowd(1, GET * 200, reads=1024)[0] for name in ("deaf", "patient")}
        self.began = time.monotonic()

    def look(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.clients["patient"].recv(100)  # 2 kB a second
        for name, client in self.clients.items():
            if name not in self.ends and hung_up(client):
                self.ends[name] = time.monotonic() - self.began


@pytest.mark.alone
def test_a_step_of_the_wall_clock_moves_no_deadline(start_server, tmp_path):
    """An hour back and an hour forth, side by side, with the deadlines of production."""
    with Stepped(start_server, tmp_path, -3600) as back, Stepped(start_server, tmp_path, 3600) as forth:
        for siege in (back, forth):
            siege.begin()
        back.hold(13, lambda: (back.look(), forth.look()))
        for siege in (back, forth):
            assert siege.ends.keys() == {"half", "deaf"}
            assert all(9 < seconds < 13 for seconds in siege.ends.values()), siege.ends
            assert siege.server.classify().status == 429  # the window did not end, and will
            assert 1 <= int(siege.server.classify()["Retry-After"]) <= 60
            siege.end()
