"""A program that tests/forked.py forks is what `python PROGRAM` would be."""

import signal
import subprocess
import sys

import pytest
from forked import Forks

FORKS = Forks("json")
PROGRAM = """
import atexit, os, sys
atexit.register(print, "the end")
print(__name__, sys.argv, os.getcwd(), os.environ, sys.path[0])
print(sys.stdin.read(), sys.modules["__main__"].__file__)
print("wrong", file=sys.stderr)
sys.exit(7)
"""


def test_a_fork_sees_what_a_new_interpreter_sees_and_ends_like_it(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [tmp_path / "program.py", "--word", "ä"]
    where = {"cwd": "/usr", "env": {"KEY": "ü", "LC_CTYPE": "C.UTF-8"}}
    forked = FORKS.run(*command, **where, timeout=600)
    new = subprocess.run([sys.executable, *command], stdin=subprocess.DEVNULL, capture_output=True, **where)
    assert (forked.returncode, forked.stdout, forked.stderr) == (7, new.stdout, b"wrong\n")
    assert b"the end" in new.stdout


@pytest.mark.parametrize("last", ["", "sys.exit()", "sys.exit('no')", "sys.exit(256)", "1 / 0"])
def test_a_fork_ends_with_the_status_and_the_last_words_of_a_new_interpreter(last, tmp_path):
    (tmp_path / "program.py").write_text(f"import sys\nprint('said')\n{last}")
    forked = FORKS.run(tmp_path / "program.py", env={}, timeout=600)
    new = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True)
    assert (forked.returncode, forked.stdout) == (new.returncode, new.stdout)
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_fork_can_be_waited_for_and_stopped(number, tmp_path):
    (tmp_path / "program.py").write_text("import time\ntime.sleep(600)")
    program = FORKS.start(tmp_path / "program.py", env={})
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.01)
    assert program.poll() is None
    program.send_signal(number)
    assert program.wait(600) == program.poll() == -number


def test_nothing_of_a_program_is_there_in_the_next_one(tmp_path):
    (tmp_path / "program.py").write_text("import sys, colorsys\nsys.path.append('/nowhere')")
    (tmp_path / "next.py").write_text(
        "import sys\nsys.exit('colorsys' in sys.modules or '/nowhere' in sys.path)"
    )
    for name in ("program.py", "next.py"):
        assert FORKS.run(tmp_path / name, env={}, timeout=600).returncode == 0


def test_a_program_holds_no_file_of_one_that_runs_beside_it(tmp_path):
    (tmp_path / "waits.py").write_text("import time\ntime.sleep(600)")
    (tmp_path / "looks.py").write_text("import os\nprint(sorted(os.listdir('/proc/self/fd')))")
    beside = FORKS.start(tmp_path / "waits.py", env={})
    try:
        found = FORKS.run(tmp_path / "looks.py", env={}, timeout=600)
    finally:
        beside.kill()
    assert found.stdout == b"['0', '1', '2', '3']\n", "3 is the folder that it looks at"


def test_a_program_whose_end_nobody_waits_for_is_in_no_others_way(tmp_path):
    (tmp_path / "program.py").write_text("")
    FORKS.start(tmp_path / "program.py", env={}).told.close()
    for _ in range(2):
        assert FORKS.run(tmp_path / "program.py", env={}, timeout=600).returncode == 0


def test_a_module_that_is_not_installed_hinders_no_program_that_does_without(tmp_path):
    (tmp_path / "program.py").write_text("")
    assert Forks("no_such_module").run(tmp_path / "program.py", env={}, timeout=600).returncode == 0
