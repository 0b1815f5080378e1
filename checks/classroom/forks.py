"""Graders that start at once: each is forked from one process that has imported what all of them import.

To import it takes longer than to grade m1. That process is made for the first grader, knows no submission,
and ends with the one that asked for it, however that ends, and all graders with it. Each grader has an
environment, streams, a session and a network of its own, as if it had been started.
"""

import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from checks.classroom.sandbox import is_root

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "from checks.classroom import one; one.main()"
IMPORTED = ("numpy.random", "jsonschema.validators", "encodings.idna")  # by graders, when they first need it
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
SET_FLAGS, UP = 0x8914, 1  # of netdevice(7): SIOCSIFFLAGS, IFF_UP
_asking = threading.Lock()
_origin = ()  # the process that they are forked from, and a way to it: once there is a grader


class Grader:
    """A process that was forked; what it has of subprocess.Popen does the same as there, but for its exit
    status: returncode is None while it runs, and 0 then."""

    def __init__(self, end: int, stdin, stdout):
        self._end, self.stdin, self.stdout, self.returncode = end, stdin, stdout, None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a grader", timeout)
            os.close(self._end)
            self.returncode = 0
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._end, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_grader(errors) -> Grader:
    """A process that waits for its task on stdin, as `one.main` does. errors: a file for what it writes to
    stderr. Raises OSError, which says why there is none."""
    task, stdin = os.pipe()
    stdout, answers = os.pipe()
    try:
        with _asking:
            end = _fork([task, answers, errors.fileno()])
    except OSError:
        os.close(stdin)
        os.close(stdout)
        raise
    finally:
        os.close(task)
        os.close(answers)
    return Grader(end, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))


def _fork(streams: list[int]) -> int:
    """Have a grader with these streams forked; gives what can be read from when it has ended."""
    global _origin
    environ = json.dumps(dict(os.environ)).encode()
    for fresh in (not _origin, True):
        if fresh:
            _origin = _make_the_origin(streams[2])
        with contextlib.suppress(ConnectionError):  # somebody killed it: there is another
            socket.send_fds(_origin[1], [environ], streams)
            why, ends, *_ = socket.recv_fds(_origin[1], 1000, 1)
            if ends:
                return ends[0]
            if why:
                raise OSError(why.decode())
    raise OSError("the process from which graders are forked does not start")


def _make_the_origin(errors: int) -> tuple[subprocess.Popen, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", ORIGIN],
            cwd=ROOT,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for the class alone, which then ends the others
        )
    return process, ours


# ---- In the process from which they are forked ----------------------------------------------------------


def forked() -> int:
    """Fork a grader for each who asks; returns in these alone, with the process that they end with."""
    for module in IMPORTED:
        importlib.import_module(module)
    origin = os.getpid()
    gc.freeze()  # else each grader copies what the collector looks at
    with socket.socket(fileno=os.dup(0)) as asked:
        while True:
            environ, streams, *_ = socket.recv_fds(asked, 1 << 20, 3)
            if not streams:
                os._exit(0)
            try:
                number = os.fork()
            except OSError as problem:
                asked.send(f"{problem}".encode())
            else:
                if not number:
                    break
                end = os.pidfd_open(number)  # before anybody else can be this number
                socket.send_fds(asked, [b"forked"], [end])
                os.close(end)
            for one in streams:
                os.close(one)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    os.setsid()
    for number, one in enumerate(streams):
        os.dup2(one, number)
        os.close(one)
    os.environ.clear()
    os.environ.update(json.loads(environ))
    _enter_a_fresh_network()
    return origin


def _enter_a_fresh_network() -> None:
    """What `sandbox.in_fresh_network` does, for this process. Raises OSError."""
    root, user, group, libc = is_root(), os.getuid(), os.getgid(), ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK if root else NEW_USER | NEW_NETWORK):
        problem = ctypes.get_errno()
        raise OSError(problem, f"unshare: {os.strerror(problem)}")
    if not root:
        for name, text in {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}.items():
            Path("/proc/self", name).write_bytes(text.encode())
    with socket.socket() as asked:
        fcntl.ioctl(asked, SET_FLAGS, struct.pack("16sh22x", b"lo", UP))
