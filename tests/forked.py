"""Python programs that start at once: forked from a process that has imported already what they import.

    python tests/forked.py bottle numpy     what `Forks` starts: a program for each request on its stdin

A fork does what `python PROGRAM` does, from the first line of the program to its last; only what it imports
is there already, and nothing is taken apart at the end. Where the start of the interpreter is the point (a
variable or an option of its own, an open file that it inherits), start a real one.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn


class Forked:
    """A program that was forked; what it has of subprocess.Popen does the same as there."""

    def __init__(self, told):
        self.told, self.returncode = told, None
        self.pid = int(told.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self.told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            self.returncode = int(self.told.readline())
            self.told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """Starts programs that need these modules. The process that has them is made at the first program, and
    ends with this one."""

    def __init__(self, *modules: str):
        self.modules, self.asked = modules, None

    def start(self, *words, env: dict, cwd="/", stdout=None, stderr=None) -> Forked:
        """`python WORDS…` in this environment: a path and arguments, -m and a module, or -c and code. stdout
        and stderr are file descriptors; nothing is read, and what is written to none of them is lost."""
        assert "OPENBLAS_CORETYPE" not in env, "it counts as numpy is imported: start a real one"
        if self.asked is None:
            self.asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, __file__, *self.modules],
                    env={"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
                    stdin=theirs,
                )
        with Path(os.devnull).open("r+b") as nothing:
            reader, writer = os.pipe()
            ends = [nothing.fileno() if end is None else end for end in (stdout, stderr)]
            message = json.dumps({"words": list(map(str, words)), "env": env, "cwd": str(cwd)}).encode()
            socket.send_fds(self.asked, [message], [nothing.fileno(), *ends, writer])
            os.close(writer)
        return Forked(os.fdopen(reader, "rb", buffering=0))

    def run(self, *words, env: dict, cwd="/", timeout: float) -> subprocess.CompletedProcess:
        """The same to its end, with what it wrote as bytes."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            program = self.start(*words, env=env, cwd=cwd, stdout=output.fileno(), stderr=errors.fileno())
            try:
                status = program.wait(timeout)
            finally:
                program.kill()
            written = [file.seek(0) or file.read() for file in (output, errors)]
        return subprocess.CompletedProcess(words, status, *written)


def fork_for_all(asked: socket.socket) -> dict:
    """Fork a program for each request, and tell how it ended; returns in the program alone, with its
    request."""
    running = {}  # {a file descriptor that can be read once a program ended: its number, and who is told}
    while True:
        ready = select.select([asked, *running], [], [])[0]
        for end in running.keys() & set(ready):
            number, told = running.pop(end)
            status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
            with contextlib.suppress(BrokenPipeError):  # of nobody who still wants to know
                os.write(told, b"%d\n" % status)
            os.close(told)
            os.close(end)
        if asked in ready:
            message, ends, *_ = socket.recv_fds(asked, 1 << 20, 4)
            if not message:
                os._exit(0)
            number = os.fork()
            if number == 0:
                asked.close()
                for end, (_, told) in running.items():
                    os.close(end)
                    os.close(told)
                for stream, end in enumerate(ends[:3]):
                    os.dup2(end, stream)
                for end in ends:
                    os.close(end)
                return json.loads(message)
            *ends, told = ends
            os.write(told, b"%d\n" % number)
            running[os.pidfd_open(number)] = number, told
            for end in ends:
                os.close(end)


def become(words: list[str], env: dict, cwd: str) -> None:
    """Do in this process what the program does."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in env
    if "COVERAGE_PROCESS_CONFIG" in env:
        importlib.import_module("coverage").process_startup()
    sys.path[1:1] = filter(None, env.get("PYTHONPATH", "").split(":"))
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], cwd
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(words[1], vars(main))
    elif words[0] == "-P":  # without the program's folder
        sys.argv, sys.path[:1] = words[1:], []
        runpy.run_path(words[1], run_name="__main__")
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


def run(program: dict) -> int:
    """Run the program in this process; returns its exit status."""
    try:
        become(**program)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return (ended.code or 0) & 255
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """What the end of a Python does, but for taking apart all that was imported: that would cost a start."""
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def import_all(modules: Iterable[str]) -> None:
    """Import those that are installed: a program that needs another one will say so."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


if __name__ == "__main__":
    import_all(sys.argv[1:])
    gc.freeze()  # or the first collection of each fork would make a copy of nearly all of it
    with socket.socket(fileno=os.dup(0)) as stdin:
        request = fork_for_all(stdin)
    leave(run(request))
