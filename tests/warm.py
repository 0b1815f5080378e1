"""A Python that has imported already what kernels, servers and their testers import again and again.

    with warm.Python() as python:            # the process that everything is forked from
        python.program                       # in the place of sys.executable; `pytest` lies beside it
        python.kernels                       # for JUPYTER_PATH: "python3" is a kernel by that program
    warm.Python(tests=["-m", "not alone"])   # the same for workers: what pytest collects with these arguments

What is forked has a folder, an environment, streams, a session and an end of its own, as a new process has,
and none of the kit's modules was imported before. For it, too, the program is sys.executable: so the servers
of a kernel are forked as well (but in a worker it is the real one, without what the tests imported). All of
them have one seed for hashes. What the program cannot do it leaves to the real Python: options other than -m,
-P and `-u -c`, other variables of AT_START, another user or namespace. What a test starts by itself can be
had without a program in between: see forked.py.
"""

import contextlib
import gc
import io
import json
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from forked import import_all, leave, run

# Of kernels and labs, of servers, and of who runs a lab. Nothing of the kit, whose copies differ.
MODULES = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "IPython", "comm", "ipywidgets")
MODULES += ("numpy", "requests", "dotenv", "jsonschema", "jsonschema_rs", "orjson", "bottle", "waitress")
MODULES += ("pytest", "nbformat.v4", "jupyter_client.manager", "jupyter_client.blocking", "rich.console")
MODULES += ("nbclient", "nbval.kernel", "coverage", "unittest", "xml.etree.ElementTree", "xml.dom.minidom")
# and what a kernel imports only as it starts
MODULES += ("ipykernel.debugger", "IPython.core.debugger", "IPython.core.completerlib", "psutil")
MODULES += ("IPython.core.oinspect", "IPython.core.logger", "IPython.extensions.storemagic")
MODULES += ("tornado.platform.asyncio",)

QUIET = ("--HistoryManager.enabled=False",)  # its file would be the developer's
AT_START = ("PYTHON", "OPENBLAS_CORETYPE")  # variables that count when Python starts, or imports numpy

# _socket and _signal: what their modules add costs more than all the rest
STUB = """#!{python} -IS
import _signal, _socket, marshal, os, sys

words = sys.argv[1:]
if os.path.basename(sys.argv[0]) == "pytest":
    words[:0] = ["-m", "pytest"]
own = {{name: value for name, value in os.environ.items() if name.startswith({at_start!r})}}
own.pop("PYTHONDONTWRITEBYTECODE", None)
where = [os.getuid(), *(os.readlink("/proc/self/ns/" + name) for name in ("net", "mnt", "pid", "user"))]
can = words[:1] == ["-m"] or words[:2] == ["-u", "-c"]
can = can or [] < words and os.path.isfile(words[words[0] == "-P" and len(words) > 1])
if own != {own!r} or where != {where!r} or not can:
    os.execv({python!r}, [{python!r}, *words])
warm = _socket.socket(_socket.AF_UNIX)
warm.connect({address!r})
told = marshal.dumps((words, os.getcwd(), dict(os.environ)))
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
warm.sendmsg([len(told).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
warm.sendall(told)
for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
    _signal.signal(number, lambda number, _: warm.send(bytes([number])))
status = int(warm.recv(8) or -_signal.SIGKILL)
if status >= 0:
    os._exit(status)
if status != -_signal.SIGKILL:
    _signal.signal(-status, _signal.SIG_DFL)
os.kill(os.getpid(), -status)
"""


class Python:
    """The process from which they are forked, and the program that asks it.

    tests: arguments of pytest, whose workers are to be forked. more: variables of the process.
    """

    def __init__(self, tests: Iterable[str] | None = None, **more: str):
        self.folder = tempfile.TemporaryDirectory(
            prefix="warm-"
        )  # not pytest's: that is too long for sockets
        folder = Path(self.folder.name)
        environ = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | more
        own = {name: value for name, value in environ.items() if name.startswith(AT_START)}
        own.pop("PYTHONDONTWRITEBYTECODE", None)
        address = str(folder / "socket")
        where = [
            os.getuid(),
            *(str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("net", "mnt", "pid", "user")),
        ]
        self.program, self.kernels = folder / "bin" / "python", folder / "jupyter"
        self.program.parent.mkdir()
        for name in ("python", "pytest"):
            file = self.program.with_name(name)
            file.write_text(
                STUB.format(python=sys.executable, at_start=AT_START, own=own, where=where, address=address)
            )
            file.chmod(0o755)
        spec = self.kernels / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        argv = [str(self.program), "-m", "ipykernel_launcher", *QUIET, "-f", "{connection_file}"]
        told = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        # the group that a signal would reach is that of the program, and not of the kernel
        spec.write_text(json.dumps(told | {"interrupt_mode": "message"}))
        self.process = subprocess.Popen(
            [sys.executable, __file__, address, *([self.program] if tests is None else ["", *tests])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
        )
        assert self.process.stdout.readline() == b"warm\n"

    def __enter__(self) -> "Python":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.process.communicate()
        self.folder.cleanup()


# ---- In the process from which they are forked ----------------------------------------------------------


def prepare() -> None:
    """Import what kernels, servers and who runs a lab do."""
    sys.modules["debugpy"] = None  # nobody looks for bugs there: half of the time in which a kernel starts
    import_all(MODULES)
    nbformat = sys.modules["nbformat"]
    nbformat.validate(nbformat.v4.new_notebook())  # makes a validator, which is kept


class Backwards:
    """A plugin of pytest: the last file comes first."""

    @staticmethod
    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(collector):
        report = yield
        if isinstance(collector, pytest.Directory):
            report.result.reverse()
        return report


def collect(tests: list[str]) -> None:
    """Import the test files. Whoever is forked collects them again, in a fifth of the time, and says what is
    wrong with one.

    Python and pytest prepare each file once, and keep what they made: on a new clone two processes do that,
    from both ends.
    """
    both = not any(Path(__file__).parent.glob("__pycache__/test_wire.*-pytest-*.pyc"))
    import_all(["pytest_cov.engine"])  # what --cov would import in each of them
    other = os.fork() if both and not sys.dont_write_bytecode else None
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main(
            [*tests, "--collect-only", "--numprocesses=0", "--no-cov"],
            plugins=[Backwards()] if other == 0 else [],
        )
    if other == 0:
        os._exit(0)
    if other:
        os.kill(other, signal.SIGKILL)  # it has nothing to prepare any more
        os.waitpid(other, 0)


def serve(address: str, program: str, *tests: str) -> dict:
    """Fork until stdin is closed. Returns in each fork: what to run."""
    if program:
        prepare()
    else:
        collect(tests)
    assert threading.active_count() == 1, "what is forked has only the thread that forks"
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends what is forked; this waits for who started it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("warm", flush=True)
    os.dup2(2, 1)  # nothing more is said there, and nobody has to wait for its end
    waiting = {}  # {who waits for a process: its number}
    ends = {}  # {a file descriptor that can be read once a process ended: its number, and who waited for it}
    while True:
        ready = set(select.select([0, listener, *waiting, *ends], [], [])[0])
        if 0 in ready:
            os._exit(0)
        for end in ready & ends.keys():
            number, asked = ends.pop(end)
            os.close(end)
            status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
            waiting.pop(asked, None)
            with contextlib.suppress(OSError), asked:
                asked.send(str(status).encode())
        for asked in ready & waiting.keys():
            if signals := received(asked):
                os.kill(waiting[asked], signals[0])
            else:  # who waited was killed: the process goes as well, with what it started
                end_all(waiting.pop(asked))
        if listener in ready:
            asked, _ = listener.accept()
            length, streams, _, _ = socket.recv_fds(asked, 8, 3)
            told = asked.makefile("rb").read(int.from_bytes(length, "big"))
            number = os.fork()
            if not number:
                for one in (listener, asked, *waiting):
                    one.close()
                for one in ends:
                    os.close(one)
                sys.executable = program or sys.executable
                return begin(streams, *marshal.loads(told))
            for one in streams:
                os.close(one)
            waiting[asked] = number
            ends[os.pidfd_open(number)] = number, asked


def received(asked: socket.socket) -> bytes:
    with contextlib.suppress(OSError):
        return asked.recv(1)
    return b""


def end_all(number: int) -> None:
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:  # its group is not made yet
        os.kill(number, signal.SIGKILL)


def begin(streams: list[int], words: list[str], folder: str, environ: dict[str, str]) -> dict:
    """Take the streams of who asked, in a session of its own; returns what to run."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unbuffered = bool(environ.get("PYTHONUNBUFFERED")) or words[0] == "-u"
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams[number], number)
        os.close(streams[number])
        known = getattr(sys, name)  # of another file, which may be one to seek in
        raw = open(number, "wb" if number else "rb", 0 if number and unbuffered else -1, closefd=False)  # noqa: SIM115 (to its end)
        by_line = not unbuffered and (number == 2 or os.isatty(number))
        how = {"encoding": known.encoding, "errors": known.errors, "line_buffering": by_line}
        stream = io.TextIOWrapper(raw, **how, write_through=unbuffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    return {"words": words[words[0] == "-u" :], "env": environ, "cwd": folder}


if __name__ == "__main__":
    leave(run(serve(*sys.argv[1:])))
