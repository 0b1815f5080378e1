"""The disposable prod machine, deploy/box/box: real boxes, driven through its command line.

These tests need root and the packages that `box` names; the first run builds the image, a minute or two.
Without them they fail: a machine that cannot boot a box has not passed.
"""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BOX = ROOT / "deploy" / "box" / "box"
BASE = Path("/var/lib/pixelwise-box")
CGROUPS = Path("/sys/fs/cgroup")
NETNS = Path("/run/netns")
PROD = "192.168.56.11"
REMOTE = f"produser@{PROD}:/srv/git/pixelwise.git"
# a copy of the box has no .venv beside it, and a Debian's own Python no pip
PIP_ON_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class Box:
    """One box by name; each call is one run of the command."""

    def __init__(self, name: str, command: Path = BOX, **environment: str):
        self.name = name
        self.command = command
        self.environment = environment

    def run(self, command: str, *arguments: str, expect: int | None = 0, timeout: float = 600, **options):
        """`box --name … COMMAND ARGUMENTS…`; fails with all that it printed if the exit status is another."""
        environment = {**os.environ, **self.environment, **options.pop("env", {})}
        done = subprocess.run(
            [self.command, "--name", self.name, command, *arguments],
            **{"stdin": subprocess.DEVNULL, "input": None, **options} if "input" not in options else options,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
        )
        if expect is not None:
            said = f"\n{done.stdout}\n{done.stderr}"
            assert done.returncode == expect, f"box {command} {arguments}: {done.returncode}{said}"
        return done

    def ssh(self, *command: str, expect: int | None = 0) -> str:
        return self.run("ssh", "--", *command, expect=expect).stdout.strip()

    def shell(self, *command: str, expect: int | None = 0, **options) -> str:
        return self.run("shell", "--", *command, expect=expect, **options).stdout.strip()

    def leader(self) -> int:
        """The guest's PID 1, as this machine numbers it."""
        return int(re.search(r"PID 1 is (\d+)", self.run("status").stdout)[1])

    def processes(self) -> dict[str, int]:
        """The three that make up a running box."""
        guest = self.leader()
        nspawn = parent(guest)
        assert Path(f"/proc/{nspawn}/comm").read_text() == "systemd-nspawn\n"
        return {"guest": guest, "nspawn": nspawn, "keeper": parent(nspawn)}

    def namespace(self, side: str) -> Path:
        return NETNS / f"pixelwise-{self.name}-{side}"


def parent(pid: int) -> int:
    return int(re.search(r"^PPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def await_that(condition, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.01)


def await_end(pid: int) -> None:
    """Until the process is gone, or a zombie that somebody else should reap."""

    def gone() -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    await_that(gone, f"process {pid} ended")


def traces() -> dict[str, set[str]]:
    """All that a box could leave behind on this machine."""
    return {
        "mounts": {line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "networks": {path.name for path in NETNS.glob("*")},
        "links": {path.name for path in Path("/sys/class/net").iterdir()},
        "cgroups": {str(path) for depth in ("*", "*/*") for path in CGROUPS.glob(depth)
                    if path.is_dir() and "pixelwise-" in path.name},  # a box's own name, so not a neighbour's
        "run": {str(path) for path in Path("/run").rglob("*")},
        "boxes": {f"pixelwise-{path.name}" for path in BASE.glob("boxes/*")},
        "processes": {f"{pid.name} {words}" for pid in Path("/proc").glob("[0-9]*") for words in [story(pid)]
                      if re.search(rf"test-{os.getpid()}\b", words)},  # words or cgroups
        "ssh": {f"{path} {path.stat().st_mtime_ns}" for path in Path.home().glob(".ssh/**/*")},
        "ssh configuration": {str(path) for path in Path("/etc/ssh").rglob("*")},
    }  # fmt: skip


def story(process: Path) -> str:
    """What a process was called with, and its cgroups; nothing of one that has ended."""
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return words and words + (process / "cgroup").read_text()
    return ""


def left_behind(before: dict, after: dict) -> dict:
    """What is there after and was not before, except what belongs to the boxes of somebody else."""
    mine = rf"test-{os.getpid()}\b"
    new = {kind: {each for each in after[kind] - before[kind]
                  if "pixelwise-" not in each or re.search(mine, each)} for kind in before}  # fmt: skip
    return {kind: found for kind, found in new.items() if found}


@pytest.fixture(scope="session")
def session_box():
    assert os.geteuid() == 0, "these tests boot machines: run them as root"
    box = Box(f"test-{os.getpid()}")
    before = traces()
    try:
        box.run("up", timeout=1200)  # the first time it builds the image
        yield box
    finally:
        box.run("destroy")
    assert left_behind(before, traces()) == {}


@pytest.fixture
def box(session_box):
    """The box of this session, running, whatever the test before did to it."""
    session_box.run("up")
    return session_box


@pytest.fixture
def other_box(session_box):
    """A second name, without a machine yet; destroyed in the end."""
    other = Box(f"{session_box.name}-b")
    yield other
    other.run("destroy")


# ---- How fast ----------------------------------------------------------------------------------------


def seconds_of(act) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


def test_it_boots_while_one_logs_in_a_few_times(box, capsys):
    """Half a second, against the sixth of one that a login takes; both are measured side by side."""
    boots, logins = [], []
    for _ in range(3):
        box.run("down")
        boots.append(seconds_of(lambda: box.run("up")))
        logins.append(seconds_of(lambda: box.ssh("true")))
    boot, login = statistics.median(boots), statistics.median(logins)
    with capsys.disabled():
        print(f"\n  `box up` took {boot:.2f} s, and a login {login:.2f} s")
    assert boot < 12 * login


def test_a_reset_of_a_full_disk_takes_no_longer_than_of_an_empty_one(box, capsys):
    def reset() -> float:
        return float(re.search(r"fresh machine after ([0-9.]+) s", box.run("reset").stdout)[1])

    empty, full = [], []
    for _ in range(3):
        empty.append(reset())
        box.ssh("cp -r /usr/lib/python3* /opt/pixelwise")  # thousands of files
        full.append(reset())
    with capsys.disabled():
        print(f"\n  `box reset` took {full} s with thousands of files on the disk, and {empty} s without")
    assert statistics.median(full) < 3 * statistics.median(empty)
    assert box.ssh("ls -A /opt/pixelwise") == ".git"


# ---- The machine -------------------------------------------------------------------------------------


def test_produser_logs_in_by_key_and_is_root_without_a_password(box):
    assert box.ssh("id -un && hostname && pwd") == "produser\nprod\n/home/produser"
    assert box.ssh("sudo -n id -un") == "root"
    assert "systemd-journal" in box.ssh("id -Gn").split()


def test_it_is_a_debian_12_with_a_healthy_systemd(box):
    await_that(
        lambda: box.ssh("systemctl is-system-running", expect=None) != "starting", "systemd is done booting"
    )
    assert box.ssh("systemctl is-system-running; systemctl --failed --no-legend") == "running"
    assert box.ssh("ls /usr/lib/systemd/system-generators") == "", "they would look for disks that it has not"
    assert box.ssh(". /etc/os-release && echo $VERSION_ID; cat /proc/1/comm; date +%Z; echo $LANG") == (
        "12\nsystemd\nUTC\nC.UTF-8"
    )


def test_no_packages_are_missing_for_the_set_up_of_prod(box):
    """setup-server.sh would need apt for these, and apt has no network there."""
    box.ssh("command -v python3 git curl sudo ps ip && python3 -c 'import venv, ensurepip'")


def test_it_reaches_dev_and_nothing_else(box):
    assert box.ssh("ip route show default; ip -6 route show default; ip -brief -4 address | wc -l") == "2"
    assert "unreachable" in box.ssh("bash -c ': </dev/tcp/192.0.2.2/80' 2>&1 || true")
    with socket.create_server(("0.0.0.0", 0)) as listener:  # a service of this machine
        port = listener.getsockname()[1]
        knock = f"for a in 127.0.0.1 192.168.56.10 {PROD}; do curl -s -m 2 http://$a:{port}; echo $?; done"
        refused = "7\n7\n7"
        assert box.ssh(knock) == refused
        assert box.shell("sh", "-c", knock) == refused


def test_the_addresses_exist_in_no_network_of_this_machine(box):
    assert "192.168.56." not in subprocess.check_output(["ip", "address"], text=True)
    assert "192.168.56." not in subprocess.check_output(["ip", "route"], text=True)


def test_memory_max_and_tasks_max_bite(box):
    run = "sudo systemd-run --quiet --wait --pipe"
    eat = """python3 -c 'print(len(b"x" * 80_000_000))'"""
    fork = "sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait; echo all eight'"
    roomy = f"{run} -p MemoryMax=400M {eat}; {run} -p TasksMax=20 {fork}"
    tight = f"{run} -p MemoryMax=50M --unit=greedy {eat}; {run} -p TasksMax=5 {fork} 2>/dev/null"
    assert box.ssh(roomy) == "80000000\nall eight"
    assert box.ssh(tight, expect=None) == ""
    # with cgroup v1 systemd learns of the kill alone, with v2 of its reason too
    assert re.search(r"oom-kill|status=9/KILL", box.ssh("journalctl -u greedy"))


# ---- The course's loop -------------------------------------------------------------------------------


def test_what_dev_pushes_prod_pulls(box, tmp_path):
    box.run("reset")
    work = tmp_path / "work"
    git = ["git", "-C", str(work), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", work], check=True)
    for text in ("one", "two"):
        (work / "app.txt").write_text(text)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", text], check=True)
        box.shell(*git, "push", "--quiet", REMOTE, "main")
        pull = "cd /opt/pixelwise && git pull --quiet && cat app.txt && echo && git status --short --branch"
        assert box.ssh(pull) == f"{text}\n## main...origin/main"


def test_pip_installs_offline(box):
    # a venv has its pip from this wheel; to put it there takes as long as all the rest
    said = box.ssh(
        "python3 -m venv --without-pip venv"
        ' && pip="venv/bin/python $(echo /usr/share/python-wheels/pip-*.whl)/pip"'
        " && $pip install waitress && venv/bin/python -c 'import waitress'"
        " && ! $pip install there-is-no-such-package-here 2>&1"
    )
    assert "Successfully installed waitress" in said
    assert "No matching distribution found for there-is-no-such-package-here" in said


def test_all_that_requirements_txt_names_is_there_for_pip(box):
    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.M)
    wheels = [wheel.lower() for wheel in box.ssh("ls /opt/wheels").split()]
    for name, version in pins:
        start = f"{re.sub('[-_.]+', '_', name).lower()}-{version}-"
        assert any(wheel.startswith(start) for wheel in wheels), f"{name} {version} is not among {wheels}"


def test_curl_from_dev_reaches_a_service_on_prod_past_a_proxy(box):
    box.ssh("mkdir -p /tmp/www && echo digits > /tmp/www/health")
    box.ssh("sudo systemd-run -q --unit=web python3 -m http.server -d /tmp/www 8000")
    said = box.shell("curl", "-sS", "--retry", "50", "--retry-delay", "0", "--retry-all-errors",
                     f"http://{PROD}:8000/health",
                     env={"http_proxy": "http://127.0.0.1:9"})  # fmt: skip
    assert said == "digits"


# ---- The dev side ------------------------------------------------------------------------------------


def test_plain_ssh_works_in_the_dev_shell_and_leaves_the_users_files_alone(box):
    before = traces()
    assert box.shell("ssh", f"produser@{PROD}", "hostname") == "prod"
    assert box.run("shell", "ssh", f"produser@{PROD}", "true").stderr == ""  # no word on unknown hosts
    after = traces()
    for changed in (left_behind(before, after), left_behind(after, before)):  # made, or taken away
        assert not changed.keys() & {"ssh", "ssh configuration", "mounts"}, changed


def test_a_login_does_not_spend_its_time_on_the_exchange_of_keys(box):
    """What OpenSSH would choose takes six times the processor time."""
    said = box.run("shell", "ssh", "-v", f"produser@{PROD}", "true").stderr
    assert re.search(r"kex: algorithm: curve25519-sha256\s", said)


def test_a_shell_keeps_directory_environment_and_arguments(box, tmp_path):
    tool = tmp_path / "my-tool"
    tool.write_text('#!/bin/sh\npwd; echo "$COLOUR"; printf "<%s>" "$@"\n')
    tool.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "COLOUR": "deep  blue"}
    said = box.shell("my-tool", "a b", "", "$HOME", "*", "--name", cwd=tmp_path, env=environment)
    assert said == f"{tmp_path}\ndeep  blue\n<a b><><$HOME><*><--name>"


@pytest.mark.parametrize("side", ["ssh", "shell"])
def test_exit_status_and_standard_streams_pass_through(box, side):
    done = box.run(side, "--", "sh -c 'exit 42'" if side == "ssh" else "false",
                   expect=42 if side == "ssh" else 1)  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert box.run(side, "cat", input="ink\n").stdout == "ink\n"
    done = box.run(side, "no-such-command", expect=127)
    assert "not found" in done.stderr


@pytest.mark.parametrize("side", ["ssh", "shell"])
def test_a_terminal_passes_through(box, side):
    """Without a command it is an interactive session, which `exit 5` ends with that status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["SHELL"] = "/bin/sh"
        os.execv(BOX, [str(BOX), "--name", box.name, side])
    said = b""
    os.write(terminal, b"test -t 0 && echo it is a ter''minal; exit 5\n")
    with contextlib.suppress(OSError):  # how a terminal says that its other end is gone
        while select.select([terminal], [], [], 20)[0]:
            said += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert b"it is a terminal" in said


def test_box_works_inside_the_dev_shell_too(box):
    assert "running for" in box.shell(str(BOX), "--name", box.name, "status")
    box.shell(str(BOX), "--name", box.name, "reboot")
    assert box.shell(str(BOX), "--name", box.name, "ssh", "hostname") == "prod"


def test_an_open_dev_shell_outlives_a_power_cut(box):
    """What a student leaves open in another terminal finds the machine again after `up`."""
    box.shell("sh", "-c", f"{BOX} --name {box.name} powercut && {BOX} --name {box.name} up && "
                          f"ssh produser@{PROD} true")  # fmt: skip


# ---- Power -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["reboot", "sudo reboot", "powercut", "down"])
def test_disk_and_journal_outlive(box, way):
    look = "cat ~/note /etc/machine-id /etc/ssh/*.pub; journalctl --list-boots"
    mark = f"echo '{way}' > ~/note; logger 'before the {way}'; sudo journalctl --sync"
    before = box.ssh(f"{mark}; {look}").splitlines()
    leader = box.leader()
    if way == "sudo reboot":
        box.ssh("sudo reboot", expect=None)
        await_end(leader)
    else:
        box.run(way)
    box.run("up")
    assert box.leader() != leader
    after = box.ssh(f"{look}; journalctl -b -1 -g 'before the {way}'").splitlines()
    boots = len(before) - 4  # after the note, the identity in two lines, and a heading
    assert after[:4] == before[:4]
    assert before[0] == way
    assert [line.split()[1] for line in after[4 : 4 + boots]] == [line.split()[1] for line in before[4:]]
    assert len(after) == len(before) + 2
    assert after[-1].endswith(f"before the {way}")
    orderly = box.ssh("journalctl --quiet --boot=-1 --grep='Journal stopped' | wc -l")
    assert orderly == ("0" if way == "powercut" else "1")


def test_a_reset_forgets_all(box):
    """Then it is another machine, with another host key, and ssh has nothing to complain about."""
    identify = "cat /etc/machine-id /etc/ssh/*.pub"
    identity = box.ssh(f"{identify}; echo x > ~/note; sudo touch /etc/y; sudo rm -r /srv/git /usr/bin/curl")
    box.run("reset")
    assert box.ssh("ls -A ~/note /etc/y 2>/dev/null; ls /srv/git /usr/bin/curl", expect=None) == (
        "/usr/bin/curl\n\n/srv/git:\npixelwise.git"
    )
    now = box.ssh(f"{identify}; journalctl --list-boots --quiet | wc -l")
    assert now.split()[-1] == "1", "one boot"
    assert not set(now.split()[:-1]) & set(identity.split()) - {"ssh-ed25519", "root@prod"}
    assert box.run("shell", "ssh", f"produser@{PROD}", "true").stderr == ""


def test_a_box_that_is_off_stays_off_after_a_reset_and_says_how_to_boot_it(box):
    box.run("down")
    assert "off already" in box.run("down").stdout
    box.run("reset")
    assert "box --name" in box.run("status", expect=3).stdout
    for command, status in (("ssh", 125), ("reboot", 1), ("powercut", 1)):
        said = box.run(command, expect=status).stderr
        assert re.search(rf"is off; `{BOX} --name {box.name} up` boots it", said)


def test_up_of_a_running_box_says_so_and_leaves_it_alone(box):
    leader = box.leader()
    assert "running already" in box.run("up").stdout
    assert box.leader() == leader


def test_two_boxes_with_the_same_addresses_do_not_meet(box, other_box):
    boxes = (box, other_box)
    box.run("down")
    both = [subprocess.Popen([BOX, "--name", each.name, "up"], stdout=subprocess.DEVNULL) for each in boxes]
    assert [process.wait(600) for process in both] == [0, 0]
    for each in boxes:
        each.ssh(f"mkdir -p ~/www && echo {each.name} > ~/www/health")
        each.ssh("sudo systemd-run -q --unit=web2 python3 -m http.server -d /home/produser/www 8001")
    for each in boxes:
        assert each.shell("curl", "-sS", "--retry", "50", "--retry-delay", "0", "--retry-all-errors",
                          f"http://{PROD}:8001/health") == each.name  # fmt: skip
    assert box.ssh("cat /etc/machine-id") != other_box.ssh("cat /etc/machine-id")
    listed = box.run("list").stdout
    assert all(re.search(rf"^{each.name} +running ", listed, re.M) for each in boxes)
    other_box.run("powercut")
    assert box.ssh("cat ~/www/health") == box.name


def test_a_new_box_has_the_files_of_a_layer_that_is_named_and_keeps_them(other_box, tmp_path):
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "note").write_text("lent\n")
    other_box.run("up", env={"PIXELWISE_BOX_LAYER": str(tmp_path)})
    other_box.run("powercut")
    other_box.run("up")
    assert other_box.ssh("ls /srv; cat /srv/note") == "git\nnote\nlent"


# ---- After a crash -----------------------------------------------------------------------------------


@pytest.mark.parametrize("victims", [["nspawn"], ["guest"], ["keeper"], ["keeper", "nspawn"]], ids="+".join)
def test_up_recovers_from_kill_9_of(box, victims):
    box.ssh("echo kept > ~/note")
    before = box.processes()
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(before[victim], signal.SIGKILL)
    await_end(before[victims[-1]])
    said = box.run("status", expect=3).stdout
    assert "off;" in said or "in disorder" in said
    box.run("up")
    assert box.ssh("cat ~/note") == "kept"
    for pid in before.values():
        await_end(pid)
    assert not set(box.processes().values()) & set(before.values())


def test_up_recovers_from_a_network_that_is_gone(box):
    box.ssh("echo kept > ~/note")
    for side in ("dev", "prod"):
        subprocess.run(["ip", "netns", "delete", box.namespace(side).name], check=True)
    box.run("up")
    assert box.ssh("cat ~/note") == "kept"


def test_up_of_a_box_that_is_off_copes_with_what_lies_around(box):
    """Namespaces of before, files where namespaces should be, full cgroups, a disk mounted by hand."""
    box.run("down")
    dev, prod, folder = box.namespace("dev"), box.namespace("prod"), BASE / "boxes" / box.name
    for side in (dev, prod):
        subprocess.run(["ip", "netns", "delete", side.name], check=True)
    dev.write_text("")
    subprocess.run(["ip", "netns", "add", prod.name], check=True)
    subprocess.run(["ip", "-n", prod.name, "link", "add", "eth0", "type", "veth"], check=True)
    hierarchies = [path.parent for path in CGROUPS.glob(f"**/pixelwise-box-{box.name}/keeper")]
    assert hierarchies
    for path in hierarchies:
        (path / "machine" / "stale.slice" / "stale.service").mkdir(parents=True)
    image = (folder / "image").read_text().strip()
    options = f"lowerdir={image},upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, folder / "root"], check=True)
    box.run("up")
    assert box.ssh("hostname") == "prod"
    assert str(folder) not in Path("/proc/self/mounts").read_text()


def kill_after(seconds: float, box: Box, command: str) -> None:
    killed = subprocess.Popen([BOX, "--name", box.name, command], stdout=subprocess.DEVNULL)
    time.sleep(seconds)  # the test is about any moment: nothing to wait for
    killed.kill()
    killed.wait()


@pytest.mark.parametrize("after", [0.06, 0.2])
def test_up_recovers_from_an_up_that_was_killed(box, after):
    box.run("down")
    kill_after(after, box, "up")
    box.run("up")
    assert box.ssh("hostname") == "prod"
    box.processes()


@pytest.mark.parametrize("after", [0.04, 0.1])
def test_up_recovers_from_a_reset_that_was_killed(box, after):
    kill_after(after, box, "reset")
    box.run("up")
    assert box.ssh("sudo -n hostname") == "prod"
    assert [path.name for path in (BASE / "boxes" / box.name).glob("trash.*")] == []


def test_up_restarts_a_machine_whose_sshd_is_dead(box):
    box.ssh("echo kept > ~/note; sudo systemctl mask --runtime --now ssh", expect=None)
    leader = box.leader()
    box.run("up")
    assert box.leader() != leader
    assert box.ssh("cat ~/note") == "kept"


def test_up_waits_for_a_machine_that_is_booting(box):
    file = "/etc/systemd/system/ssh.service.d/slow.conf"
    slow = "[Service]\nExecStartPre=sh -c 'until [ -e /run/awake ]; do sleep 0.1; done'\n"
    box.run("ssh", "--", f"sudo tee {file}", input=slow)
    leader = box.leader()
    box.ssh("sudo reboot", expect=None)
    await_end(leader)
    with subprocess.Popen([BOX, "--name", box.name, "up"], stdout=subprocess.PIPE, text=True) as up:
        assert any("is booting still" in line for line in up.stdout), "it says so"
        wake = ["nsenter", "--target", str(box.leader()), "--mount", "--", "touch", "/run/awake"]
        subprocess.run(wake, check=True)
        assert "is running already" in up.stdout.read()
    box.ssh(f"sudo rm {file}")


def test_a_machine_that_cannot_boot_is_said_to_be_so(other_box):
    other_box.run("up")
    other_box.run("down")
    usr = BASE / "boxes" / other_box.name / "upper" / "usr"
    usr.mkdir()
    os.mknod(usr / "bin", 0o600)  # overlayfs takes this for a deletion: the machine has no /usr/bin
    done = other_box.run("up", expect=1)
    assert "did not boot" in done.stderr
    other_box.run("reset")
    other_box.run("up")


# ---- The end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("crash", [False, True], ids=["in order", "after a crash"])
def test_destroy_leaves_nothing_behind(box, other_box, crash):
    before = traces()
    other_box.run("up")
    other_box.ssh("sudo systemd-run -q sleep 1234")
    sleeper = subprocess.Popen([BOX, "--name", other_box.name, "shell", "--", "sleep", "1234"])
    await_that(lambda: b"sleep" in Path(f"/proc/{sleeper.pid}/cmdline").read_bytes()[:5], "the sleep runs")
    if crash:
        os.kill(other_box.processes()["nspawn"], signal.SIGKILL)
    other_box.run("destroy")
    assert sleeper.wait(600) != 0
    assert left_behind(before, traces()) == {}
    assert "there is no box" in other_box.run("destroy").stdout
    assert "there is no box" in other_box.run("status", expect=4).stdout
    assert "there is no box" in other_box.run("shell", "true", expect=125).stderr
    assert box.ssh("hostname") == "prod"


# ---- Building the image ------------------------------------------------------------------------------


@pytest.fixture
def copy_of_box(tmp_path, session_box):
    """A copy with its own cache, and a requirements.txt and a debootstrap of its own: see `tools`."""
    copy = tmp_path / "repo" / "deploy" / "box" / "box"
    copy.parent.mkdir(parents=True)
    shutil.copy(BOX, copy)
    (tmp_path / "repo" / "requirements.txt").write_text("bottle\n")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "apt-get").symlink_to("/bin/false")  # it takes a second to name a mirror
    other = Box(f"{session_box.name}-c", copy, PIXELWISE_BOX_DIR=str(tmp_path / "cache"),
                PATH=f"{tmp_path / 'tools'}:{PIP_ON_PATH}")  # fmt: skip
    yield other
    other.run("destroy", "--image")
    assert not (tmp_path / "cache").exists()


def debootstrap(tmp_path, script: str) -> None:
    """A debootstrap of ours; its $folder is the one that it should fill."""
    tool = tmp_path / "tools" / "debootstrap"
    tool.write_text(
        f"#!/bin/sh\nfor folder; do case $folder in */image-*) break ;; esac; done\ncd {tmp_path}\n{script}\n"
    )
    tool.chmod(0o755)


def test_a_build_that_was_killed_is_thrown_away_and_begun_anew(copy_of_box, tmp_path):
    debootstrap(tmp_path, f'mkdir -p "$folder/half"; exec sleep 60.{os.getpid()}')

    def sleepers() -> list[Path]:
        return [pid for pid in Path("/proc").glob("[0-9]*") if f"sleep 60.{os.getpid()}" in story(pid)]

    first = subprocess.Popen(
        [copy_of_box.command, "up"], env={**os.environ, **copy_of_box.environment}, stdout=subprocess.DEVNULL
    )
    await_that(sleepers, "the build has begun")
    first.kill()
    first.wait()
    await_that(lambda: not sleepers(), "debootstrap is gone with it")
    debootstrap(tmp_path, 'ls "$folder" > found 2>&1; echo "E: the mirror is down"; exit 1')
    done = copy_of_box.run("up", expect=1)
    assert "[1/3]" in done.stdout
    assert "E: the mirror is down" in done.stderr
    assert "the image could not be built" in done.stderr
    assert "half" not in (tmp_path / "found").read_text()
    assert list((tmp_path / "cache").glob("image-*")) == []


def test_of_two_builds_at_once_one_waits(copy_of_box, tmp_path):
    debootstrap(tmp_path, "echo x >> begun; while [ ! -e go ]; do sleep 0.05; done; echo x >> ended; exit 1")
    builds = [
        subprocess.Popen([copy_of_box.command, "--name", copy_of_box.name, "up"], text=True,
                         env={**os.environ, **copy_of_box.environment}, stdout=out, stderr=out)
        for out in [(tmp_path / name).open("w") for name in ("a", "b")]
    ]  # fmt: skip
    said = lambda: (tmp_path / "a").read_text() + (tmp_path / "b").read_text()  # noqa: E731
    begun = tmp_path / "begun"  # is there a moment before there is something in it
    await_that(lambda: begun.exists() and begun.read_text(), "a build has begun")
    await_that(lambda: "another box command builds the image" in said(), "the other says that it waits")
    assert begun.read_text() == "x\n"
    (tmp_path / "go").touch()
    assert [build.wait(120) for build in builds] == [1, 1]
    assert (tmp_path / "ended").read_text() == "x\nx\n"


def test_another_requirements_txt_brings_other_wheels(box, tmp_path):
    """The image is shared; a box gets the wheels of the repo that it is booted from."""
    copy = tmp_path / "deploy" / "box" / "box"
    copy.parent.mkdir(parents=True)
    shutil.copy(BOX, copy)
    (tmp_path / "requirements.txt").write_text("bottle\n")
    edited = Box(box.name, copy, PATH=PIP_ON_PATH)
    box.ssh("echo kept > ~/note")
    assert "requirements.txt has changed" in edited.run("up").stdout
    edited.run("down")
    edited.run("up")
    assert re.fullmatch(r"bottle-[0-9.]+-py\S+\.whl", box.ssh("ls /opt/wheels"))
    assert box.ssh("cat ~/note") == "kept"
    edited.run("down")
    (tmp_path / "requirements.txt").write_text("there-is-no-such-package-here\n")
    done = edited.run("up", expect=1)
    assert "No matching distribution found for there-is-no-such-package-here" in done.stderr
    assert "the wheels could not be downloaded" in done.stderr


# ---- Messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["", "fly", "up now", "destroy --everything", "up --name"])
def test_a_call_that_makes_no_sense_shows_how_to_call_it(call):
    done = subprocess.run([BOX, *call.split()], capture_output=True, text=True)
    assert done.returncode == 2
    assert "box up " in done.stderr


def test_help_is_to_be_had():
    assert "box powercut" in subprocess.check_output([BOX, "--help"], text=True)


def test_a_suite_that_is_not_known_is_refused():
    done = subprocess.run([BOX, "up"], capture_output=True, text=True, env=os.environ | {"SUITE": "sid"})
    assert (done.returncode, done.stderr) == (1, "box: SUITE is bookworm or trixie, not 'sid'\n")


@pytest.mark.parametrize("command", ["up", "reset"])
def test_a_box_keeps_its_suite(box, command):
    done = box.run(command, expect=1, env={"SUITE": "trixie"})
    assert f"the box {box.name} is a bookworm, not a trixie" in done.stderr
    box.run(command, env={"SUITE": "bookworm"})


def test_a_name_that_could_be_a_path_is_refused():
    done = subprocess.run([BOX, "destroy", "--name", "../../etc"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "small letters, digits and dashes" in done.stderr


@pytest.fixture
def open_folder():
    """A folder that everybody can read, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="pixelwise-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_without_root_it_says_what_it_needs(open_folder):
    copy = open_folder / "box"
    shutil.copy(BOX, copy)
    only_basics = open_folder / "bin"
    only_basics.mkdir()
    for tool in ("bash", "readlink", "id"):
        (only_basics / tool).symlink_to(shutil.which(tool))
    become_nobody = [shutil.which("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run([*become_nobody, only_basics / "bash", copy, "up"], capture_output=True, text=True,
                          env={"PATH": str(only_basics)})  # fmt: skip
    assert done.returncode == 1
    assert "this needs root" in done.stderr
    assert "sudo" in done.stderr


def test_tools_that_are_missing_are_named_in_one_line(tmp_path):
    for tool in ("bash", "readlink", "sort", "tr", "sed", "sha256sum", "id", "cat", "env", "uname"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(["bash", BOX, "up"], capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert re.search(r"apt-get install .*iproute2.* openssh-client .*systemd-container", done.stderr)


def test_the_script_is_clean():
    done = subprocess.run(["shellcheck", BOX], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0
