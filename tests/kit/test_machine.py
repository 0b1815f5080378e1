"""checks/kit/machine.py: a command on a machine ends, is cut, and steers nothing."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from checks.kit import machine
from checks.kit.machine import NoSsh, Prod


def through(tmp_path: Path, program: str, **options) -> Prod:
    """A Prod whose ssh is this Python program."""
    (tmp_path / "ssh.py").write_text(program)
    return Prod("ssh://u@h:2222", ssh=[sys.executable, "-I", "-S", str(tmp_path / "ssh.py")], **options)


def test_a_command_is_run_with_options_that_ask_nobody_anything(tmp_path):
    done = through(
        tmp_path, "import sys; print(sys.argv[1:]); print('oh', file=sys.stderr); sys.exit(3)"
    ).run("a 'b'")
    words = eval(done.out)
    assert (done.status, done.err, words[-2:]) == (3, "oh\n", ["u@h", "a 'b'"])
    assert {"BatchMode=yes", "StrictHostKeyChecking=accept-new", "ControlPath=none"} <= set(words)
    assert words[words.index("-p") + 1] == "2222"


def test_the_last_command_can_be_typed(tmp_path):
    prod = through(tmp_path, "")
    prod.run("systemctl is-enabled pixelwise")
    assert prod.last == "ssh -p 2222 u@h systemctl is-enabled pixelwise"
    prod.run("ss 'sport = :80'")
    assert prod.last == """ssh -p 2222 u@h 'ss '"'"'sport = :80'"'"''"""
    prod.begin()
    assert prod.last == ""


def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pid"
    program = f"""
import os, time
if os.fork() == 0:
    open({str(pids)!r}, "w").write(str(os.getpid()))
    time.sleep(600)
print("never ends", flush=True); time.sleep(600)
"""
    prod, began = through(tmp_path, program), time.monotonic()
    with pytest.raises(NoSsh, match="no end within 1 s"):
        prod.run("sleep 600", seconds=1)
    assert time.monotonic() - began < 300
    for _ in range(500):  # until init, or whoever takes orphans here, has buried it
        with suppress(OSError, IndexError):
            state = Path(f"/proc/{pids.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                time.sleep(0.01)
                continue
        return
    raise AssertionError("the child lives on")


def test_a_flood_is_cut_and_yet_searched(tmp_path):
    program = """
import sys
for _ in range(60):
    sys.stdout.write("x" * 65536)
sys.stdout.write("swordfish" + "y" * 100000)
"""
    done = through(tmp_path, program).run("yes", secret="swordfish")
    assert len(done.out) == machine.MAX_OUTPUT and done.leaked
    assert not through(tmp_path, program).run("yes", secret="swordfisk").leaked


def test_a_secret_in_two_pieces_is_found(tmp_path):
    program = (
        "import os, time; os.write(1, b'…swo'.replace(b'.', b'')); time.sleep(0.2); os.write(1, b'rdfish')"
    )
    assert through(tmp_path, program.replace("…", "a")).run("x", secret="swordfish").leaked


def test_an_output_cannot_steer_the_terminal(tmp_path):
    done = through(tmp_path, r"import os; os.write(1, b'a\x1b[2Jb\nc\xff\n')").run("x")
    assert done.out == "a\\x1b[2Jb\nc\ufffd\n" and done.line == "c\ufffd"


def test_a_missing_ssh_is_named():
    with pytest.raises(NoSsh, match="openssh-client"):
        Prod("ssh://u@h", ssh=["/no/such/ssh"]).run("true")


def test_the_real_ssh_understands_the_options():
    """Whether this ssh knows every option: it reads them, then prints what it would do."""
    prod = Prod("ssh://u@127.0.0.1:1")
    command = ["ssh", "-G", *prod._options(), prod.destination]
    told = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0 and "batchmode yes" in told.stdout and "port 1\n" in told.stdout, told
    with pytest.raises(NoSsh, match="nothing listens for ssh there"):
        prod.run("true")


@pytest.mark.parametrize(
    "url",
    ["produser@192.168.56.11", "http://x", "ssh://", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://h/path"]
    + ["ssh://u@h:port", "ssh://u@h:0", "ssh://u@h;reboot", "ssh://u u@h", "", "ssh://[::1"],
)
def test_what_is_no_machine_is_refused(url):
    with pytest.raises(ValueError, match="ssh://produser@"):
        Prod(url)


@pytest.mark.parametrize(
    "url", ["ssh://produser@192.168.56.11", "ssh://h", "ssh://a_b@host.name:22", "ssh://u@[::1]:2"]
)
def test_what_is_a_machine_is_taken(url):
    assert Prod(url).host
