"""Runs commands that nobody trusts: in bubblewrap, as nobody, with limits, and without a way out.

    with Sandbox(folder, Limits(seconds=60)) as sandbox:
        server = sandbox.start(["python", "server.py"], {"PORT": "8000"})
        ...                              # ask it over 127.0.0.1
        print(server.ended, server.output)

Every command finds a fresh, private copy of the folder at /submission, an empty home in /tmp, a read-only
system and this Python's packages, and nothing else: no other file, process, variable, device or user of this
machine. What one command writes, the next one does not find. The network is that of the caller, who has to
be in a network namespace of its own with nothing but lo in it (`in_fresh_network`); elsewhere nothing starts.

Who runs it: started by root, each sandbox is a user of its own, that no other sandbox is at the same time;
started by anyone else, it is that user in a user namespace. Memory, processes and shares of the processor are
limited by cgroups where these may be written; where not, by RLIMIT_NPROC and a watcher that sums up memory.

What is left behind: nothing, also when the grader is killed: a janitor waits for its end, ends what is left,
and removes the cgroups and the folder of settings. The one file that stays is LOCK: it says which users are
taken.
"""

import contextlib
import errno
import fcntl
import os
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from checks.classroom.cgroups import Cgroups, memory_of
from checks.classroom.janitor import hire_a_janitor
from checks.classroom.limits import APT, Limits, SandboxError, size, visible
from checks.classroom.seccomp import write_seccomp_filter

FIRST_USER, USERS = 2_000_000_000, 4096  # far from the users of people, containers and systemd
LOCK = Path("/run/pixelwise-sandbox.lock")
INSIDE = "/submission"
LOOK = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Finished:
    """How a command ended. status: its exit status, 128 + N after signal N; why: Running.ended."""

    status: int
    output: str
    why: str


def in_fresh_network(argv: Sequence[str]) -> list[str]:
    """The command, in a network namespace of its own with nothing but lo, which is up.
    Raises SandboxError where a tool is missing."""
    _find("unshare", "ip")
    apart = ["--net"] if is_root() else ["--user", "--map-root-user", "--net"]
    return ["unshare", *apart, "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *map(str, argv)]


def is_possible() -> None:
    """Raises SandboxError, with the remedy, where a tool that sandboxes need is missing."""
    _find("unshare", "ip", "bwrap", "prlimit", "setpriv")


# ---- A sandbox -----------------------------------------------------------------------------------------


class Sandbox:
    """A user, a cgroup and a set of limits, for as many commands as one likes. Use it with `with`.

    folder: what every command gets a copy of. readable: more files and folders that it may read, where they
    are (a kernel's connection file). Raises SandboxError.
    """

    def __init__(self, folder: Path, limits: Limits = Limits(), *, readable: Sequence[Path] = ()):  # noqa: B008
        self.folder, self.limits = Path(folder).resolve(), limits
        self.readable = [Path(path).absolute() for path in readable]
        self._running: list[Running] = []
        self._open = contextlib.ExitStack()

    def __enter__(self):
        _find("bwrap", "prlimit", "setpriv")
        _refuse_a_network()
        if not self.folder.is_dir():
            raise SandboxError(f"{self.folder} is not a folder")
        with contextlib.ExitStack() as opening:
            lock = None
            self.user = FIRST_USER
            if is_root():
                self.user, lock = _take_a_user()
                opening.callback(os.close, lock)
            self._settings = Path(tempfile.mkdtemp(prefix="pixelwise-sandbox-"))
            self.cgroups = Cgroups(f"pixelwise-sandbox-{self.user}", self.limits)
            # the janitor holds the lock, so that nobody becomes this user before all is gone
            keeps = () if lock is None else (lock,)
            opening.callback(hire_a_janitor(self._settings, self.cgroups.folders, keeps))
            for name, text in {
                "passwd": f"student:x:{self.user}:{self.user}::/tmp:/bin/sh\n",
                "group": f"student:x:{self.user}:\n",
                "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
            }.items():
                file = self._settings / name
                file.write_text(text)
                file.chmod(0o644)
            (self._settings / "options").write_bytes(
                b"".join(os.fsencode(one) + b"\0" for one in self._options())
            )
            write_seccomp_filter(self._settings / "seccomp.bpf")
            self.cgroups.make()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *problem):
        with self._open:
            for running in self._running:
                running.stop()

    def start(self, command: Sequence[str], env: dict[str, str]) -> "Running":
        """Start the command in a fresh copy of the folder; it ends by itself, by stop(), or with this."""
        _refuse_a_network()
        running = Running(self, list(map(str, command)), self.environment(env))
        self._running.append(running)
        return running

    def run(self, command: Sequence[str], env: dict[str, str], seconds: float) -> Finished:
        """Run the command to its end, or for so many seconds."""
        running = self.start(command, env)
        running.wait(seconds)
        running.stop()
        return Finished(running.status, running.output, running.ended)

    def command(self, argv: Sequence[str]) -> list[str]:
        """What to execute for running argv inside: for whoever starts processes itself, like Jupyter.

        Its environment is the caller's to clean (`environment`); it ends with the thread that started it, and
        with the sandbox; of the limits, those on time and output are the caller's.
        """
        return self._argv(argv)

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """The variables that a command sees: a minimal set, and env."""
        return {
            "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": "/tmp",
            "USER": "student",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",  # submissions run side by side
            "OPENBLAS_NUM_THREADS": "1",
            **env,
        }

    def _argv(self, command: Sequence[str], info: int | None = None) -> list[str]:
        """bubblewrap with its options (from a file: the command could read them in the list of processes)."""
        outer = "".join(f"echo 0 > {shlex.quote(str(place))}; " for place in self.cgroups.joined_by)
        for number, name in ((8, "options"), (9, "seccomp.bpf")):
            outer += f"exec {number}< {shlex.quote(str(self._settings / name))}; "
        argv = ["sh", "-c", outer + 'exec "$@"', "sh", "bwrap", "--args", "8", "--seccomp", "9"]
        if info is not None:
            argv += ["--info-fd", str(info)]
        become = []
        if is_root():
            become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
            become += ["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
        limited = ["prlimit", f"--nproc={self.limits.processes}", f"--nofile={self.limits.files}"]
        limited += ["--core=0", "--msgqueue=0"]
        own = 'ulimit -S -d "$(ulimit -H -d)"'  # not that of the grader, which started it
        inner = f'cp -r /.submission/. {INSIDE} && {own} && exec "$@"'
        return [*argv, "--", *become, *limited, "sh", "-c", inner, "sh", *map(str, command)]

    def _options(self) -> list[str]:
        """bubblewrap's options: what there is inside."""
        options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        options += ["--die-with-parent", "--new-session", "--hostname", "sandbox"]
        if is_root():  # no user namespace: the user may be unable to reach the interpreter (/root/.pyenv)
            options += ["--cap-drop", "ALL"]
            for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
                options += ["--cap-add", capability]
        else:
            options += ["--unshare-user", "--uid", str(self.user), "--gid", str(self.user)]
        options += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if Path("/", name).is_symlink():
                options += ["--symlink", f"usr/{name}", f"/{name}"]
            elif Path("/", name).is_dir():
                options += ["--ro-bind", f"/{name}", f"/{name}"]
        for place, share in ((INSIDE, 4), ("/tmp", 3), ("/dev/shm", 1)):
            options += ["--perms", "1777", "--size", str(self.limits.disk * share // 8), "--tmpfs", place]
        binds = {f"/etc/{name}": self._settings / name for name in ("passwd", "group", "hosts")}
        for name in (
            "ld.so.cache",
            "ld.so.conf",
            "ld.so.conf.d",
            "alternatives",
            "localtime",
            "mime.types",
            "fonts",
        ):
            binds[f"/etc/{name}"] = Path("/etc", name)
        for path in (sys.base_prefix, sys.prefix):
            if not path.startswith("/usr"):
                binds[path] = Path(path)
        binds |= {str(path): path for path in self.readable}
        binds["/.submission"] = self.folder
        for place, source in binds.items():
            for parent in reversed(Path(place).parents[:-1]):  # else only root could pass them
                options += ["--perms", "0755", "--dir", str(parent)]
            options += ["--ro-bind-try" if place.startswith("/etc/") else "--ro-bind", str(source), place]
        return [*options, "--chdir", INSIDE, "--remount-ro", "/dev", "--remount-ro", "/"]


class Running:
    """A command that runs. Its output is read all the time, so that it is never held up."""

    def __init__(self, sandbox: Sandbox, command: list[str], env: dict[str, str]):
        self._sandbox, self._limits = sandbox, sandbox.limits
        self._head, self._tail, self._dropped = bytearray(), bytearray(), 0
        self._why = self._kill = None
        self.status: int | None = None  # its exit status, once it ended
        self._over = threading.Event()
        self._kills_before = sandbox.cgroups.kills()
        self._over_memory = f"killed: over its {size(self._limits.memory)} of memory"
        tells, low = os.pipe()
        told = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10)  # not one that the shell opens (8, 9)
        os.close(low)
        try:
            # bwrap dies with the thread that started it, so this thread has to be one that stays.
            self._process = _launcher.submit(
                subprocess.Popen,
                sandbox._argv(command, told),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(told,),
                cwd="/",
            ).result()
        finally:
            os.close(told)
        self.pid = self._process.pid  # of bwrap, outside
        self._first = None
        with os.fdopen(tells, "rb") as info, contextlib.suppress(OSError, ValueError, LookupError):
            self._first = os.pidfd_open(
                int(info.read().split(b'"child-pid":')[1].split(b"\n")[0].strip(b" ,}"))
            )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def ended(self) -> str | None:
        """None while it runs; then why it does not: "exited 1", "killed: over its 1 GiB of memory"."""
        return self._why if self._over.is_set() else None

    @property
    def output(self) -> str:
        """What it wrote so far, at most Limits.output bytes of it; control characters are made visible."""
        head, tail, dropped = bytes(self._head), bytes(self._tail), self._dropped
        cut = f"\n[… {size(dropped)} left out …]\n".encode() if dropped else b""
        return visible((head + cut + tail).decode("utf-8", "replace"))

    def wait(self, seconds: float) -> bool:
        """Wait until it ended, at most so long; says whether it did."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """End it, and every process that it started; returns when they are gone."""
        self._end("stopped")
        self._over.wait()

    def _end(self, why: str) -> None:
        if not self._over.is_set() and not self._kill:
            self._kill = why
            self._process.kill()  # and bwrap's death is that of the whole PID namespace

    def _watch(self) -> None:
        pipe, process = self._process.stdout.fileno(), os.pidfd_open(self._process.pid)
        deadline = time.monotonic() + self._limits.seconds
        look = 0.0
        watched = [pipe, process]
        try:
            while True:
                ready, _, _ = select.select(watched, [], [], min(LOOK, max(0, deadline - time.monotonic())))
                if pipe in ready and not self._read(pipe):
                    watched.remove(pipe)
                if process in ready:
                    break
                if time.monotonic() >= deadline:
                    self._end(f"killed: over its {self._limits.seconds:g} s")
                    deadline = float("inf")
                if time.monotonic() >= look:
                    look = time.monotonic() + LOOK
                    if self._is_over_memory():
                        self._end(self._over_memory)
            status = self._process.wait()
            if self._first is not None:
                select.select([self._first], [], [])  # until its PID namespace is empty
                os.close(self._first)
            while pipe in watched and self._read(pipe):
                pass
        finally:
            os.close(process)
            self._process.stdout.close()
        self.status = status if status >= 0 else 128 - status
        why = f"exited {self.status}" if self.status < 128 else f"killed by {_signal(self.status)}"
        if self.status and self._sandbox.cgroups.kills() > self._kills_before:
            why = self._over_memory
        self._why = self._kill or why
        self._over.set()

    def _is_over_memory(self) -> bool:
        """Whether the kernel killed one of its processes for it, or, where that does not look, we have to."""
        cgroups = self._sandbox.cgroups
        if cgroups.limit_memory:
            return cgroups.kills() > self._kills_before
        return memory_of(self.pid) > self._limits.memory

    def _read(self, pipe: int) -> bool:
        """Read what is there; False at the end, or when there is nothing."""
        try:
            data = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return False
        half = self._limits.output // 2
        room = max(0, half - len(self._head))
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > half:
            self._dropped += len(self._tail) - half
            del self._tail[: len(self._tail) - half]
        return bool(data)


# ---- Who and where -------------------------------------------------------------------------------------


_launcher = ThreadPoolExecutor(1, "sandbox")


def is_root() -> bool:
    """Whether this process can become any user: not so for the root of a user namespace."""
    if os.geteuid():
        return False
    mapped = Path("/proc/self/uid_map").read_text().split("\n")[0].split()
    return int(mapped[0]) == 0 and int(mapped[2]) > FIRST_USER + USERS


def _take_a_user() -> tuple[int, int]:
    """A user that no other sandbox of this machine is, and the open lock that says so until it is closed."""
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    for number in range(USERS):
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        try:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, wanted)  # the kernel lets go of it, whatever happens
            return FIRST_USER + number, lock
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(lock)
                raise SandboxError(f"cannot lock {LOCK}: {problem}") from None
    os.close(lock)
    raise SandboxError(f"{USERS} sandboxes run already")


def _refuse_a_network() -> None:
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        raise SandboxError(
            f"this network has {', '.join(others)}: a submission could call out. "
            "Start the grader with checks.classroom.sandbox.in_fresh_network."
        )


def _find(*tools: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise SandboxError(f"{' and '.join(missing)} missing: {APT}")


def _signal(status: int) -> str:
    try:
        return signal.Signals(status - 128).name
    except ValueError:
        return f"exit status {status}"
