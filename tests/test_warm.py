"""tests/warm.py: what is forked behaves like a Python that has just started."""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm

TELL = """
import os, signal, sys, threading
print(*sorted(os.environ.items()), sep="\\n")
print(os.getcwd(), sys.argv, sys.path[0], repr(sys.stdin.read()), sys.dont_write_bytecode, sep="\\n")
print([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)])
print(__name__, __file__, threading.active_count(), len(os.listdir("/proc/self/fd")), sep="\\n")
for one in (sys.stdin, sys.stdout, sys.stderr):
    print(one.seekable(), one.line_buffering, one.write_through, one.encoding, one.errors)
print("labkit" in sys.modules, "server" in sys.modules, os.getpid() == os.getsid(0), file=sys.stderr)
sys.exit(7)
"""


def told(program, *words, **options) -> list:
    done = subprocess.run([program, *words], input="said", capture_output=True, text=True, **options)
    return [done.returncode, *(done.stdout + done.stderr).splitlines()]


def test_a_fork_sees_what_a_new_python_sees(warm_python, tmp_path):
    (tmp_path / "tell.py").write_text(TELL)
    tell = tmp_path / "tell.py"
    code = f"__file__ = ''\n{TELL}"
    for words in (
        [tell, "a word"],
        ["-m", "tell", "--option"],
        ["-P", tell, "a word"],
        ["-u", "-c", code, "a word"],
    ):
        for more in ({}, {"PYTHONDONTWRITEBYTECODE": "1", "OTHER": "ä"}):
            how = {"cwd": tmp_path, "env": os.environ | more, "start_new_session": True}
            assert told(warm_python.program, *words, **how) == told(sys.executable, *words, **how)


@pytest.mark.parametrize("words", [["gone.py"], ["-c", "print(2)"], ["-P", "-c", "1 / 0"], ["-P"]])
def test_what_is_not_forked_the_real_python_does(warm_python, words):
    assert told(warm_python.program, *words) == told(sys.executable, *words)


def test_what_runs_in_another_namespace_is_not_forked_here(warm_python, tmp_path):
    (tmp_path / "look.py").write_text("import os; print(os.readlink('/proc/self/ns/user'))")
    there = told("unshare", "--user", warm_python.program, tmp_path / "look.py")
    assert there[0] == 0 and there != told(warm_python.program, tmp_path / "look.py")


WAIT = """
import signal, sys, time
if sys.argv[1:] == ["ends well"]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("how", "status"), [("ends well", 3), ("", -signal.SIGTERM)])
def test_a_signal_reaches_the_fork_and_its_end_comes_back(warm_python, tmp_path, how, status):
    (tmp_path / "wait.py").write_text(WAIT)
    with subprocess.Popen([warm_python.program, tmp_path / "wait.py", how], stdout=subprocess.PIPE) as asked:
        assert asked.stdout.readline() == b"ready\n"
        asked.terminate()
        try:
            assert asked.wait(600) == status
        finally:
            asked.kill()


def test_a_fork_goes_with_the_one_who_asked_and_so_does_what_it_started(warm_python, tmp_path):
    starts = "import os, subprocess\nsubprocess.Popen(['sleep', '600'])\n"
    (tmp_path / "wait.py").write_text(starts + WAIT)
    with subprocess.Popen([warm_python.program, tmp_path / "wait.py"], stdout=subprocess.PIPE) as asked:
        assert asked.stdout.readline() == b"ready\n"
        asked.kill()
        assert select.select([asked.stdout], [], [], 60)[0], "somebody still holds its other end"


FIRST = """
import time
from pathlib import Path
until = time.monotonic() + 60
while not Path(__file__).with_name("last").exists():
    assert time.monotonic() < until, "nobody begins with the last one"
    time.sleep(0.01)
def test_nothing(): pass
"""
LAST = """
from pathlib import Path
Path(__file__).with_name("last").touch()
def test_nothing(): pass
"""
LOOK = """
import os, sys
print([name for name in ("test_first", "test_last") if name in sys.modules], sys.executable, os.getpid())
"""


def test_workers_have_the_test_files_which_two_prepare_from_both_ends_on_a_new_clone(tmp_path):
    for module in ("warm.py", "forked.py"):
        shutil.copy(Path(warm.__file__).with_name(module), tmp_path)
    (tmp_path / "test_first.py").write_text(FIRST)
    (tmp_path / "test_last.py").write_text(LAST)
    begin = "import subprocess, sys, warm\npython = warm.Python(tests=[sys.argv[1]])\n"
    begin += "for _ in range(2): subprocess.run([python.program, '-u', '-c', sys.argv[2]])\npython.close()"
    words = [sys.executable, "-c", begin, tmp_path, LOOK]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True)
    lines = [line.rpartition(" ") for line in done.stdout.splitlines()]
    assert [there for there, *_ in lines] == [f"['test_first', 'test_last'] {sys.executable}"] * 2, done
    assert len({number for *_, number in lines}) == 2
    assert len([*tmp_path.glob("__pycache__/test_*-pytest-*.pyc")]) == 2


def test_the_workers_of_these_tests_are_forked_as_well(request):
    if not hasattr(request.config, "workerinput"):
        pytest.skip("there are none")
    assert warm.__file__.encode() in Path(f"/proc/{os.getppid()}/cmdline").read_bytes().split(b"\0")


def test_what_is_not_to_be_measured_is_not():
    assert sys.gettrace() is None, "measuring takes as long as some tests"
