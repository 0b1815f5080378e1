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

What is left behind: nothing, also when the grader is killed. A small janitor (a shell, outside) waits for the
grader's end, ends what is left, and removes the cgroups and the folder of settings. The one file that stays
is LOCK: it says which users are taken.
"""

import contextlib
import ctypes
import ctypes.util
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

FIRST_USER, USERS = 2_000_000_000, 4096  # far from the users of people, containers and systemd
LOCK = Path("/run/pixelwise-sandbox.lock")
ROOT = Path(__file__).resolve().parents[2]
INSIDE = "/submission"
LOOK = 0.25  # seconds between two looks at the memory
APT = "apt-get install bubblewrap libseccomp2 iproute2 util-linux"


class SandboxError(Exception):
    """Nothing can be run safely here; says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use. memory counts what it wrote as well, as its files are in memory; disk is
    shared out: half of it to the folder, three eighths to /tmp, one to /dev/shm."""

    seconds: float = 300  # of wall time, each command
    memory: int = 1 << 30  # bytes
    processes: int = 128  # threads count
    disk: int = 256 << 20  # bytes
    output: int = 1 << 20  # bytes kept: the first half and the last
    files: int = 1024  # open at once, each process


@dataclass(frozen=True)
class Finished:
    """How a command ended. status: its exit status, 128 + N after signal N; why: Running.ended."""

    status: int
    output: str
    why: str


def visible(text: str) -> str:
    r"""The text with every character that could steer a terminal, or fool an eye, written as \x1b or \u202e;
    line ends and tabs stay."""
    return "".join(
        character
        if character in "\n\t" or character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def size(number: float) -> str:
    """1073741824 as "1 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"


def in_fresh_network(argv: Sequence[str]) -> list[str]:
    """The command, in a network namespace of its own with nothing but lo, which is up.
    Raises SandboxError where a tool is missing."""
    _find("unshare", "ip")
    apart = ["--net"] if _is_root() else ["--user", "--map-root-user", "--net"]
    return ["unshare", *apart, "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *map(str, argv)]


# ---- A sandbox ------------------------------------------------------------------------------------------


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
            if _is_root():
                self.user, lock = _take_a_user()
                opening.callback(os.close, lock)
            self._settings = Path(tempfile.mkdtemp(prefix="pixelwise-sandbox-"))
            self.cgroups = Cgroups(f"pixelwise-sandbox-{self.user}", self.limits)
            opening.callback(self._hire_a_janitor(lock))
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
            _write_seccomp_filter(self._settings / "seccomp.bpf")
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
        if _is_root():
            become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
            become += ["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
        limited = ["prlimit", f"--nproc={self.limits.processes}", f"--nofile={self.limits.files}"]
        limited += ["--core=0", "--msgqueue=0"]
        inner = f'cp -r /.submission/. {INSIDE} && exec "$@"'
        return [*argv, "--", *become, *limited, "sh", "-c", inner, "sh", *map(str, command)]

    def _options(self) -> list[str]:
        """bubblewrap's options: what there is inside."""
        options = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        options += ["--die-with-parent", "--new-session", "--hostname", "sandbox"]
        if _is_root():  # no user namespace: the user may be unable to reach the interpreter (/root/.pyenv)
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

    def _hire_a_janitor(self, lock: int | None):
        """Start the process that cleans up after this one, however it ends; returns what sends it to work."""
        # As long as it works it holds the lock, so that nobody becomes this user before all is gone.
        script = """read -r _
            for attempt in $(seq 4000); do
                left=
                for group in "$@"; do
                    [ -d "$group" ] || continue
                    kill -9 $(cat "$group/cgroup.procs") 2>/dev/null
                    rmdir "$group" 2>/dev/null || left=1
                done
                [ "$left" ] || break
                sleep 0.05
            done
            rm -rf -- "$settings" """
        waiting, working = os.pipe()
        janitor = subprocess.Popen(
            ["sh", "-c", script, "janitor", *map(str, self.cgroups.folders)],
            env={"PATH": os.defpath, "settings": str(self._settings)},
            stdin=waiting,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=() if lock is None else (lock,),
            start_new_session=True,
            cwd="/",
        )
        os.close(waiting)

        def clean():
            os.close(working)
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it goes on without us
                janitor.wait(30)

        return clean


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
        return _memory_of(self.pid) > self._limits.memory

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


# ---- Limits ---------------------------------------------------------------------------------------------


class Cgroups:
    """The cgroups of one sandbox, below those of this process: version 1 or 2, whichever may be written."""

    def __init__(self, name: str, limits: Limits):
        self.limits, self.limit_memory = limits, False
        self._v1 = {
            controller: mount / name
            for controller, mount in _v1_controllers().items()
            if controller in ("memory", "pids", "cpu") and os.access(mount, os.W_OK)
        }
        self._v2 = None if "memory" in self._v1 else _v2_parent(name)
        self.folders = list(dict.fromkeys([*self._v1.values(), *([self._v2] if self._v2 else [])]))
        self.joined_by = [folder / "cgroup.procs" for folder in self.folders]

    def make(self) -> None:
        """Make them, and set their limits. Raises SandboxError."""
        limits = self.limits
        settings = []
        if "memory" in self._v1:
            folder = self._v1["memory"]
            settings += [(folder / "memory.limit_in_bytes", limits.memory)]
            settings += [(folder / "memory.memsw.limit_in_bytes", limits.memory)]
        if "pids" in self._v1:
            settings += [(self._v1["pids"] / "pids.max", limits.processes + 8)]  # bwrap and its helpers
        if self._v2:
            settings += [(self._v2 / "memory.max", limits.memory), (self._v2 / "memory.swap.max", 0)]
            settings += [(self._v2 / "memory.oom.group", 1), (self._v2 / "pids.max", limits.processes + 8)]
        try:
            for folder in self.folders:
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir()  # left behind by a machine's sudden death of both grader and janitor
                folder.mkdir()
            for file, value in settings:
                if file.exists():
                    file.write_text(str(value))
        except OSError as problem:
            raise SandboxError(f"cannot set the limits of the sandbox: {problem}") from None
        self.limit_memory = "memory" in self._v1 or self._v2 is not None

    def kills(self) -> int:
        """How many of its processes were killed for the memory so far."""
        files = [self._v1["memory"] / "memory.oom_control"] if "memory" in self._v1 else []
        files += [self._v2 / "memory.events"] if self._v2 else []
        for file in files:
            with contextlib.suppress(OSError):
                counts = dict(line.split() for line in file.read_text().splitlines())
                return int(counts.get("oom_kill", 0))
        return 0


def _own_cgroups() -> dict[str, str]:
    """controller → this process's path in its hierarchy; "" is that of version 2."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _v1_controllers() -> dict[str, Path]:
    """controller → the folder of this process's own cgroup."""
    own, found = _own_cgroups(), {}
    for _, _, place, kind, options in _mounts():
        if kind == "cgroup":
            for controller in options.split(","):
                if controller in own:
                    folder = Path(place + own[controller])
                    found[controller] = folder if folder.is_dir() else Path(place)
    return found


def _v2_parent(name: str) -> Path | None:
    """The folder for a cgroup of version 2 whose memory can be limited, or None."""
    own = _own_cgroups().get("")
    for _, _, place, kind, _ in _mounts():
        if kind == "cgroup2" and own is not None:
            for parent in (Path(place + own), Path(place + own).parent, Path(place)):
                with contextlib.suppress(OSError):
                    handed_down = (parent / "cgroup.subtree_control").read_text().split()
                    if {"memory", "pids"} <= set(handed_down) and os.access(parent, os.W_OK):
                        return parent / name
    return None


def _mounts():
    """source, options, place, type, options of the file system."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            kind, source, options = rest.split(" ", 2)
            yield source, fields.split()[5], fields.split()[4], kind, options


def _memory_of(pid: int) -> int:
    """Bytes of resident memory of a process and all its descendants."""
    children, resident = {}, {}
    page = os.sysconf("SC_PAGE_SIZE")
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
                resident[int(folder.name)] = int(fields[21]) * page
    total, left = 0, [pid]
    while left:
        one = left.pop()
        total += resident.get(one, 0)
        left += children.pop(one, [])
    return total


# ---- Who, where, and what of the kernel -----------------------------------------------------------------


_launcher = ThreadPoolExecutor(1, "sandbox")


def _is_root() -> bool:
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


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of libseccomp."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


# What no web server or notebook needs, and what kernels have been broken into by (after flatpak's list).
FORBIDDEN = (
    "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd keyctl add_key request_key bpf "
    "perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register unshare setns mount "
    "umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr "
    "name_to_handle_at open_by_handle_at quotactl swapon swapoff reboot acct syslog kexec_load "
    "kexec_file_load init_module finit_module delete_module iopl ioperm modify_ldt personality "
    "settimeofday clock_settime adjtimex clock_adjtime mbind move_pages migrate_pages set_mempolicy "
    "vhangup nfsservctl uselib lookup_dcookie fanotify_init "
)
CLONE_NEW = 0x7E020080  # every CLONE_NEW… flag
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
LARGEST_FAMILY = 16  # AF_NETLINK; behind it: AF_PACKET, AF_ALG, AF_VSOCK (a way out of a virtual machine), …


def _write_seccomp_filter(file: Path) -> None:
    """The filter of system calls, as bwrap reads it. Raises SandboxError without libseccomp."""
    name = ctypes.util.find_library("seccomp") or "libseccomp.so.2"
    try:
        library = ctypes.CDLL(name, use_errno=True)
    except OSError:
        raise SandboxError(f"libseccomp missing: {APT}") from None
    allow, refuse, masked, greater = 0x7FFF0000, 0x00050000, 7, 6
    library.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(allow)))

    def forbid(call: str, error: int, *comparisons):
        number = library.seccomp_syscall_resolve_name(call.encode())
        array = (_Comparison * len(comparisons))(*comparisons)
        if number >= 0:  # below: this processor has no such call
            status = library.seccomp_rule_add_array(
                filter_, ctypes.c_uint32(refuse | error), number, len(comparisons), array
            )
            if status:
                raise SandboxError(f"libseccomp: {os.strerror(-status)} for {call}")

    for call in FORBIDDEN.split():
        forbid(call, errno.EPERM)
    forbid("clone3", errno.ENOSYS)  # its flags cannot be seen; glibc then takes clone
    for bit in range(32):
        if CLONE_NEW >> bit & 1:
            forbid("clone", errno.EPERM, _Comparison(0, masked, 1 << bit, 1 << bit))
    for request in (TIOCSTI, TIOCLINUX):
        forbid("ioctl", errno.EPERM, _Comparison(1, masked, 0xFFFFFFFF, request))
    forbid("socket", errno.EAFNOSUPPORT, _Comparison(0, greater, LARGEST_FAMILY, 0))
    forbid("socketpair", errno.EAFNOSUPPORT, _Comparison(0, greater, LARGEST_FAMILY, 0))
    with file.open("wb") as opened:
        library.seccomp_export_bpf(filter_, opened.fileno())
    library.seccomp_release(filter_)
