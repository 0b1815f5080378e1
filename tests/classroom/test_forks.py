"""Graders are forked, and as good as started: nothing of one is the other's, and all end with the class."""

import json
import os
import pickle
import select
import signal
import subprocess
import tempfile

import pytest

from checks.classroom import forks

BEGIN = "import json, os, socket, sys\nfrom checks.classroom import forks, one\n"
FORK = "origin = forks.forked()\none.die_with(origin)\n"
AS = {  # who can no longer read what root installed, and is as open to itself (PR_SET_DUMPABLE) as ever
    "root": "",
    "nobody": """
import ctypes, importlib
[importlib.import_module(module) for module in forks.IMPORTED]
os.setgid(65534), os.setuid(65534), ctypes.CDLL(None).prctl(4, 1)
""",
}
TELL = """
with socket.create_server(("127.0.0.1", 0)) as held:
    socket.create_connection(held.getsockname(), 5).close()
print(json.dumps({
    "network": [name for _, name in socket.if_nameindex()], "session": os.getsid(0) == os.getpid(),
    "of the class": os.environ.get("OF_THE_CLASS"), "stdin": open(0, closefd=False).read(),
    "root": os.getuid() == 0, "parent": os.getppid() == origin,
}), flush=True)
"""


@pytest.fixture
def program(monkeypatch):
    """What is forked runs this, in the place of a grader, and from a process of this test alone."""

    def becomes(text: str) -> None:
        monkeypatch.setattr(forks, "ORIGIN", BEGIN + text)

    monkeypatch.setattr(forks, "_origin", ())
    with tempfile.TemporaryFile() as becomes.errors:
        yield becomes
    if forks._origin:
        process, way = forks._origin
        way.close()
        assert process.wait(600) in (0, 1, -signal.SIGKILL), "nobody needs it any more"


@pytest.mark.parametrize("user", AS)
def test_a_grader_has_a_network_a_session_an_environment_and_streams_of_its_own(program, monkeypatch, user):
    if user == "nobody" and os.geteuid():
        pytest.skip("only root can become somebody else")
    program(AS[user] + FORK + TELL)
    for value in ("one", "other"):
        monkeypatch.setenv("OF_THE_CLASS", value)
        grader = forks.start_grader(program.errors)
        with grader.stdin, grader.stdout:
            grader.stdin.write(value.encode())
            grader.stdin.close()
            told = json.loads(grader.stdout.read())
        assert told == {
            **{"network": ["lo"], "session": True, "of the class": value, "stdin": value},
            **{"root": True, "parent": True},  # of its own namespace, where it is nobody
        }
        assert grader.wait(600) == 0


def test_a_grader_runs_until_it_ends_and_what_is_sent_to_it_then_reaches_nobody(program):
    program(FORK + "sys.stdin = open(0)\nsys.stdin.read()\n")
    grader = forks.start_grader(program.errors)
    with grader.stdin, grader.stdout:
        assert grader.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            grader.wait(0)
        grader.terminate()
        assert grader.wait(600) == grader.poll() == 0 and grader.stdout.read() == b""
        grader.kill()


def test_with_the_process_that_they_are_forked_from_all_graders_end_and_the_next_has_another(program):
    program(FORK + "print(flush=True)\nopen(0).read()\n")
    graders = [forks.start_grader(program.errors)]
    assert graders[0].stdout.read(1)
    forks._origin[0].kill()
    graders.append(forks.start_grader(program.errors))
    assert graders[1].stdout.read(1) and graders[1].poll() is None
    assert select.select([graders[0].stdout], [], [], 60)[0] and graders[0].wait(600) == 0
    for grader in graders:
        with grader.stdin, grader.stdout:
            grader.kill()


def test_where_graders_cannot_be_forked_it_says_why(program):
    program("sys.exit('no numpy here')\n")
    with pytest.raises(OSError, match="the process from which graders are forked does not start"):
        forks.start_grader(program.errors)
    assert program.errors.seek(0) == 0 and b"no numpy here" in program.errors.read()
    program("def none(): raise BlockingIOError(11, 'no more processes')\nos.fork = none\n" + FORK)
    with pytest.raises(OSError, match="no more processes"):
        forks.start_grader(program.errors)


STOPPED = """
import signal, threading
def run(self):
    threading.Thread(target=threading.Event().wait).start()
    os.kill(os.getpid(), signal.SIGTERM)
one.Grading.run = run
one.main()
"""


def test_a_grader_that_is_told_to_stop_ends_whatever_its_threads_do(program, tmp_path):
    program(STOPPED)
    grader = forks.start_grader(program.errors)
    task = {"options": {"milestone": ""}, "seed": 0, "milestones": [], "kept": []}
    with grader.stdin, grader.stdout:
        grader.stdin.write(pickle.dumps(task | {"scratch": str(tmp_path / "scratch")}))
        grader.stdin.close()
        try:
            assert grader.wait(600) == 0
        finally:
            grader.kill()
    assert list(tmp_path.iterdir()) == []
