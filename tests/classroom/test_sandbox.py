"""The sandbox holds: tried from inside, by what a submission could do, as root and as an ordinary user."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.classroom import sandbox
from checks.classroom.limits import APT, SandboxError, size, visible
from checks.classroom.sandbox import Sandbox, in_fresh_network

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).parents[1] / "hostile" / "driver.py"
NOBODY = 61_234  # an ordinary user, when root runs the tests
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bwrap", "unshare", "setpriv", "ip"))), reason=f"needs {APT}"
)


class Driver:
    """tests/hostile/driver.py, as this user or another one."""

    def __init__(self, user: str):
        self.user = user
        python, become = sys.executable, []
        if user == "an ordinary user" and os.geteuid() == 0:
            python = "/usr/bin/python3"  # that of root may be in root's home
            become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            argv = [*become, "unshare", "--user", "--map-root-user", "--net", "--"]
            argv += ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        else:
            argv = in_fresh_network([])
        self.process = subprocess.Popen(
            [*argv, python, str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SECRET_OF_THE_GRADER": "stolen"},
        )

    def ask(self, folder: Path, *command: str, **request) -> dict:
        request |= {"folder": str(folder), "command": command}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def python(self, folder: Path, program: str, **request) -> dict:
        """Run a program inside, on the system's Python: it starts faster than that of the labs."""
        return self.ask(folder, "/usr/bin/python3", "-Sc", program, **request)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


USERS = ["root", "an ordinary user"] if os.geteuid() == 0 else ["an ordinary user"]


@pytest.fixture(scope="module", params=USERS)
def driver(request):
    running = Driver(request.param)
    yield running
    running.close()
    running.process.stdout.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A submission's folder; readable for all, as checks.classroom.intake makes it. (Whenever another pytest
    starts, it closes pytest's own temporary folder to all others.)"""
    with tempfile.TemporaryDirectory(prefix="pixelwise-sandbox-") as place:
        Path(place).chmod(0o711)
        made = Path(place, "submission")
        made.mkdir(mode=0o755)
        (made / "answer.txt").write_text("42")
        yield made


def lines(answer: dict) -> list[str]:
    assert answer.get("why") == "exited 0", answer
    return answer["output"].splitlines()


# ---- What there is inside -------------------------------------------------------------------------------


def test_a_command_runs_as_nobody_without_capabilities_and_cannot_get_any(driver, folder):
    told = dict(
        line.split(":\t")
        for line in lines(driver.ask(folder, "cat", "/proc/self/status"))
        if line.startswith(("Uid", "Cap", "NoNewPrivs", "Seccomp:"))
    )
    assert {told[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    assert all(int(user) >= sandbox.FIRST_USER for user in told["Uid"].split())


def test_it_sees_no_process_but_its_own(driver, folder):
    names = lines(driver.ask(folder, "sh", "-c", "cat /proc/[0-9]*/comm"))
    assert set(names) <= {"bwrap", "sh", "cat"} and len(names) <= 3


def test_it_sees_no_file_of_anybody_else(driver, folder):
    (folder.parent / "neighbour.txt").write_text("secret")
    looked_for = ["/etc/shadow", "/home", "/var", "/run", "/srv", "/mnt", "/sys", "/opt", "/root/.bashrc"]
    looked_for += map(str, [folder.parent / "neighbour.txt", folder, DRIVER, ROOT / "README.md"])
    # of the folders above its Python there is the way to it, and nothing else
    pythons = [python for python in (sys.prefix, sys.base_prefix) if not python.startswith("/usr")]
    way = {str(step) for python in pythons for step in [Path(python), *Path(python).parents]} - {"/"}
    looked_for = [one for one in looked_for if one not in way]
    program = f"""
import os
print([one for one in {looked_for} if os.path.lexists(one)])
above = [step for step in {sorted(way - {*pythons})} if os.path.isdir(step)]
print([name for step in above for name in os.listdir(step) if os.path.join(step, name) not in {way}])
"""
    assert lines(driver.python(folder, program)) == ["[]", "[]"]


def test_its_home_and_the_temporary_folder_are_empty(driver, folder):
    found = lines(
        driver.ask(folder, "find", "/tmp", "/dev/shm", "-type", "f", "-not", "-path", f"{sys.prefix}/*")
    )
    assert found == []


def test_it_gets_the_variables_that_it_is_given_and_none_of_the_graders(driver, folder):
    told = driver.ask(folder, "sh", "-c", "env; cat /proc/*/environ", env={"PORT": "8000"})["output"]
    assert "PORT=8000\n" in told and "HOME=/tmp\n" in told and "SECRET_OF_THE_GRADER" not in told


def test_it_inherits_no_open_file(driver, folder):
    program = (
        "import os\nfor one in range(3, 1024):\n    try: print(one, os.fstat(one))\n    except OSError: pass"
    )
    assert lines(driver.python(folder, program)) == []


def test_it_can_write_to_nothing_but_its_folder_and_its_temporary_folders(driver, folder):
    find = (
        "find / \\( -path /proc -o -path /dev/pts \\) -prune -o -type d -writable -print 2> /dev/null; true"
    )
    found = lines(driver.ask(folder, "sh", "-c", find, seconds=120))
    own = {"/submission", "/tmp", "/dev/shm"}
    assert set(found) == own


def test_it_has_the_packages_of_this_python(folder):
    with_packages = Driver(USERS[0])
    try:
        told = with_packages.ask(folder, "python", "-c", "import sys, numpy; print(sys.prefix)", seconds=30)
        assert lines(told) == [sys.prefix]
    finally:
        with_packages.close()
        with_packages.process.stdout.close()


def test_every_command_finds_a_fresh_copy_of_the_folder(driver, folder):
    change = "cat answer.txt; pwd; echo 43 > answer.txt; touch new; ls"
    for _ in range(2):
        assert lines(driver.ask(folder, "sh", "-c", change)) == ["42/submission", "answer.txt", "new"]
    assert [one.name for one in folder.iterdir()] == ["answer.txt"]
    assert (folder / "answer.txt").read_text() == "42"


def test_what_is_named_readable_can_be_read_and_not_written(driver, folder):
    connection = folder.parent / "kernel.json"
    connection.write_text("{}")
    told = driver.ask(
        folder, "sh", "-c", f"cat {connection}; echo x > {connection}", readable=[str(connection)]
    )
    assert told["status"] != 0 and told["output"].startswith("{}") and connection.read_text() == "{}"


# ---- The way out ----------------------------------------------------------------------------------------


def test_a_sandbox_does_not_start_where_there_is_a_network(folder):
    if all(name == "lo" for _, name in socket.if_nameindex()):
        pytest.skip("this machine has no network")
    with pytest.raises(SandboxError, match="in_fresh_network"), Sandbox(folder):
        pass


@pytest.fixture
def listeners():
    """TCP, UDP and an abstract Unix socket on this machine: (tcp port, udp port, name)."""
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    unix = socket.socket(socket.AF_UNIX)
    name = f"pixelwise-test-{os.getpid()}"
    tcp.bind(("127.0.0.1", 0)), udp.bind(("127.0.0.1", 0)), unix.bind(f"\0{name}")
    tcp.listen(), unix.listen(), udp.setblocking(False)
    with tcp, udp, unix:
        yield tcp.getsockname()[1], udp.getsockname()[1], name, udp


def test_nothing_outside_can_be_called(driver, folder, listeners):
    tcp, udp, name, received = listeners
    program = f"""
import socket
def tries(call):
    try: call(); print("got out")
    except OSError as problem: print(type(problem).__name__)
def connect(family, address):
    with socket.socket(family) as one: one.settimeout(2); one.connect(address)
def send(address):
    with socket.socket(type=socket.SOCK_DGRAM) as one: one.sendto(b"x", address)
tries(lambda: connect(socket.AF_INET, ("127.0.0.1", {tcp})))
tries(lambda: connect(socket.AF_INET, ("192.0.2.1", 80)))
tries(lambda: connect(socket.AF_INET6, ("2001:db8::1", 80)))
tries(lambda: connect(socket.AF_UNIX, "\\0{name}"))
tries(lambda: send(("192.0.2.1", 53)))
tries(lambda: socket.getaddrinfo("example.com", 80))
tries(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tries(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tries(lambda: socket.socket(40))
send(("127.0.0.1", {udp}))
"""
    told = driver.python(folder, program)
    assert told["status"] == 0 and len(told["output"].split()) == 9 and "got out" not in told["output"], told
    with pytest.raises(BlockingIOError):
        received.recv(1)


def test_two_sandboxes_of_root_are_two_users(folder):
    if os.geteuid():
        pytest.skip("only root can become another user")
    one, other = Driver("root"), Driver("root")
    try:
        first = one.ask(folder, "sleep", "60", seconds=0, then="stay")
        second = other.ask(folder, "sleep", "60", seconds=0, then="stay")
        assert first["user"] != second["user"]
    finally:
        for running in (one, other):
            running.close()
            running.process.stdout.close()


FORBIDDEN = {
    "a namespace of users": "unshare(0x10000000)",
    "a namespace of mounts": "unshare(0x00020000)",
    "a mount": "mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "following its parent": "ptrace(16, os.getppid(), 0, 0)",
    "the kernel's keys": "syscall(250, 0, 0, 0, 0)",
    "a program in the kernel": "syscall(321, 0, 0, 0)",
    "io_uring": "syscall(425, 1, ctypes.create_string_buffer(256))",
    "clone with a namespace": "syscall(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "words typed into the terminal": "ioctl(0, 0x5412, b'x')",
    "the same with more bits": "syscall(16, 0, 0x100005412, b'x')",
}


def test_system_calls_that_break_kernels_are_refused_and_the_others_are_not(driver, folder):
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86_64")
    program = "import ctypes, os, subprocess, threading\nc = ctypes.CDLL(None, use_errno=True)\n"
    program += "from ctypes import c_long\nc.syscall.argtypes = None\n"
    for name, call in FORBIDDEN.items():
        call = call.replace(
            "syscall(16, 0, 0x100005412", "syscall(c_long(16), c_long(0), c_long(0x100005412)"
        )
        program += f"print({name!r}, c.{call}, ctypes.get_errno(), sep=': ')\n"
    program += "one = threading.Thread(target=lambda: print('a thread'))\none.start(), one.join()\n"
    program += "print(subprocess.run(['echo', 'a process'], capture_output=True, text=True).stdout.strip())\n"
    told = lines(driver.python(folder, program))
    assert told[:-2] == [f"{name}: -1: 1" for name in FORBIDDEN]
    assert told[-2:] == ["a thread", "a process"]


def test_a_setuid_program_changes_nobody(driver, folder):
    program = """
import os, shutil, subprocess
for path in ("/submission/sh", "/tmp/sh", "/dev/shm/sh"):
    shutil.copy("/usr/bin/id", path); os.chmod(path, 0o6755); print(subprocess.getoutput(path + " -u"))
print(subprocess.getoutput("su -c id 2>&1")); print(subprocess.getoutput("mount -t tmpfs x /tmp"))
"""
    told = lines(driver.python(folder, program))
    assert set(map(int, told[:3])) == {int(told[0])} and int(told[0]) >= sandbox.FIRST_USER
    assert "uid=0" not in "".join(told)


def test_it_can_kill_nothing_outside(driver, folder):
    program = """
import os, signal
for pid in (os.getppid(), 1, -1, *range(3, 5000)):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
print("still here")
"""
    assert lines(driver.python(folder, program)) == ["still here"]
    assert driver.process.poll() is None


# ---- Limits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without_cgroups", [False, True], ids=["cgroups", "no cgroups"])
def test_a_command_that_fills_the_memory_is_killed_and_told_so(driver, folder, without_cgroups):
    program = "import time\nheld = []\nwhile True: held.append(bytearray(b'x' * (8 << 20))); time.sleep(0.01)"
    limits = {"memory": 128 << 20, "seconds": 20}
    told = driver.python(folder, program, limits=limits, without_cgroups=without_cgroups, seconds=20)
    assert told["why"] == "killed: over its 128 MiB of memory" and told["seconds"] < 15, told


def test_children_that_fill_the_memory_together_are_killed(driver, folder):
    program = (
        "import os, time\nfor _ in range(3): os.fork()\nheld = bytearray(b'x' * (30 << 20))\ntime.sleep(60)"
    )
    told = driver.python(folder, program, limits={"memory": 128 << 20, "seconds": 20}, seconds=20)
    assert told["seconds"] < 15 and told["why"] == "killed: over its 128 MiB of memory", told


@pytest.mark.parametrize("without_cgroups", [False, True], ids=["cgroups", "no cgroups"])
def test_a_fork_bomb_gets_no_further_than_its_limit(driver, folder, without_cgroups):
    program = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0: time.sleep(60); os._exit(0)
        count += 1
except OSError as problem: print(count, problem.errno)
"""
    told = lines(driver.python(folder, program, limits={"processes": 40}, without_cgroups=without_cgroups))
    count, error = map(int, told[0].split())
    assert 30 <= count <= 40 and error == 11


@pytest.mark.parametrize("user", USERS)
def test_the_memory_that_the_grader_allows_itself_is_no_limit_inside(folder, user):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, before[1]))
    driver = Driver(user)  # with this limit, like the process that grades
    resource.setrlimit(resource.RLIMIT_DATA, before)
    program = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA))"
    try:
        assert lines(driver.python(folder, program)) == [str((before[1], before[1]))]
    finally:
        driver.close()
        driver.process.stdout.close()


def test_no_writable_place_holds_more_than_its_share_of_the_disk(driver, folder):
    program = """
import os
total = 0
for place in ("/submission", "/tmp", "/dev/shm"):
    try:
        with open(place + "/full", "wb", buffering=0) as file:
            while True: total += file.write(bytes(1 << 16))
    except OSError as problem: print(problem.strerror)
print(total)
"""
    told = lines(driver.python(folder, program, limits={"disk": 16 << 20}))
    assert told[:3] == ["No space left on device"] * 3
    assert 15 << 20 <= int(told[3]) <= 16 << 20


def test_a_log_of_100_mb_is_read_to_its_end_and_cut(driver, folder):
    program = "import os\nprint('the start', flush=True)\n"
    program += "for _ in range(1600): os.write(1, b'x' * 65536)\nprint('the end')"
    told = driver.python(folder, program, limits={"output": 10_000}, seconds=30)
    assert told["why"] == "exited 0", told
    assert told["output"].startswith("the start") and told["output"].endswith("the end\n")
    assert "MiB left out" in told["output"] and len(told["output"]) < 11_000


def test_a_command_is_killed_when_its_time_is_over(driver, folder):
    told = driver.ask(folder, "sleep", "60", limits={"seconds": 0.5})
    assert told["why"] == "killed: over its 0.5 s" and told["seconds"] < 3


def test_a_command_says_how_it_ended(driver, folder):
    assert driver.ask(folder, "sh", "-c", "exit 3")["why"] == "exited 3"
    assert driver.ask(folder, "sh", "-c", "kill -SEGV $$")["why"] == "killed by SIGSEGV"
    assert driver.ask(folder, "no-such-program")["why"] == "exited 127"


def test_control_characters_of_the_output_are_made_visible(driver, folder):
    told = driver.ask(folder, "printf", r"\033[31mred\033[0m \342\200\256 \377\n")
    assert told["output"] == "\\x1b[31mred\\x1b[0m \\u202e \ufffd\n"


@given(st.text())
def test_a_visible_text_steers_no_terminal(text):
    assert all(character.isprintable() or character in "\n\t" for character in visible(text))


def test_a_size_is_told_in_its_unit():
    assert [size(n) for n in (5, 1 << 20, 1 << 30, 3 << 29)] == ["5 bytes", "1 MiB", "1 GiB", "1.5 GiB"]


# ---- What is left behind --------------------------------------------------------------------------------


OUTLIVES = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 64):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        os.close(1), os.close(2)
        time.sleep(600)
    os._exit(0)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def left_behind(told: dict, folder: Path) -> list[str]:
    """Processes that see this folder, and the sandbox's cgroups and settings. Another sandbox may be the same
    user by now, and have cgroups of the same names."""
    left = [one for one, number in told["folders"].items() if inode(one) == number]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in (process / "mountinfo").read_text():
                left.append(f"{process} {(process / 'cmdline').read_bytes()}")
        except OSError:
            continue
    return left


def inode(path: str) -> int | None:
    try:
        return Path(path).stat().st_ino
    except FileNotFoundError:
        return None


def gone(told: dict, folder: Path, seconds: float = 20) -> list[str]:
    """What is still left after so long."""
    deadline = time.monotonic() + seconds
    while left_behind(told, folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left_behind(told, folder)


def test_a_stopped_command_leaves_nothing_behind(driver, folder):
    told = driver.python(folder, OUTLIVES, seconds=0.4)
    assert told["ended"] is None and told["why"] == "stopped" and told["output"] == "ready\n"
    assert not left_behind(told, folder)


def test_a_command_that_ends_takes_its_daemons_with_it(driver, folder):
    program = OUTLIVES.replace('print("ready", flush=True)\ntime.sleep(600)', "")
    told = driver.python(folder, program)
    assert told["why"] == "exited 0" and told["seconds"] < 5 and not left_behind(told, folder)


@pytest.mark.parametrize("user", USERS)
def test_a_killed_grader_leaves_nothing_behind(user, folder):
    grader = Driver(user)
    told = grader.python(folder, OUTLIVES, seconds=0.4, then="stay")
    assert told["ended"] is None and len(left_behind(told, folder)) > len(told["folders"])
    grader.process.kill()
    grader.close()
    grader.process.stdout.close()
    assert not gone(told, folder)


def test_a_command_outlives_the_thread_that_started_it(driver, folder):
    told = driver.ask(folder, "sleep", "0.3", from_a_thread=True)
    assert told["why"] == "exited 0"


def test_without_bubblewrap_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"), Sandbox(folder):
        pass
