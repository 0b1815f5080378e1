"""m4 on a real machine: our deployment gets full marks, and a faulty one loses the points of its fault.

Boxes (deploy/box) are deployed to as the course does: push, pull, setup-server.sh. Each fault is then made by
root on prod, the checks look at it from the dev side, and the machine is mended for the next one. That needs
root and the packages that `box` names; without them these tests fail, and say which.
"""

import inspect
import json
import os
import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lent import BOX, CACHE, keep_venv, with_venv
from tree import copy_to

from checks import test_m4_machine, test_m4_unit
from checks.kit.core import FAILED, PASSED, checks_of

ROOT = Path(__file__).resolve().parents[1]
PROD = "ssh://produser@192.168.56.11"
REPOSITORY = f"{PROD}/srv/git/pixelwise.git"
LANES = 2  # boxes side by side: most of a check is waiting, but each takes its set-up
CHECKS = {check.name.removeprefix("m4."): check for check in checks_of(test_m4_machine, test_m4_unit)}
ONLINE = [name for name, check in CHECKS.items() if "prod" in inspect.signature(check.function).parameters]
DRILLS = ("the service is back after kill 9", "a stop stays a stop", "the service is back after a reboot")

# On the dev side: for each line that it is sent, runs the checks that this names, as `pytest checks --prod`
# does, and prints the results. One login serves all commands of a line.
GRADER = """
import dataclasses, json, sys, tempfile
from checks import test_m4_machine
from checks.kit import grading
test_m4_machine.REBOOT = 10  # seconds: a box boots in one
with tempfile.TemporaryDirectory() as logins:
    for number, line in enumerate(sys.stdin):
        given = grading.given_for(url="http://192.168.56.11:8000", prod=sys.argv[1])
        login = f"-oControlPath={logins}/{number}"
        given["prod"].ssh += [login, "-oControlMaster=auto", "-oControlPersist=5"]
        session = grading.session(grading.all_checks(), given, seed=1)
        for name in json.loads(line):
            session.run("m4." + name)
        print(json.dumps([dataclasses.asdict(result) for result in session.results.values()]), flush=True)
"""

# On prod, as root: what `mend` needs, once after the deployment.
KEEP = """
mkdir /root/good
cp -a /etc/systemd/system/pixelwise.service /opt/pixelwise/.env /opt/pixelwise/.git /root/good
"""

# On prod, as root: the deployment as it was, with a new key, for the old one may stand in the journal.
MEND = """
set -e
cd /opt/pixelwise
unit=/etc/systemd/system/pixelwise.service env=/opt/pixelwise/.env python=/opt/pixelwise/.venv/bin/python
change() {  # lines of [Service] that take the place of the unit's
  mkdir -p $unit.d
  printf '%s\\n' '[Service]' "$@" >$unit.d/change.conf
}
restart() { systemctl daemon-reload; systemctl restart pixelwise; }
as_produser() { sudo -u produser sh -ec "git config user.name p; git config user.email p@prod; $1"; }

systemctl stop 'pixelwise*'
rm -rf /{etc,run}/systemd/system/{,*.wants/}pixelwise* .git
cp -a /root/good/pixelwise.service $unit
cp -a /root/good/.git /root/good/.env .
key=$(tr -d - </proc/sys/kernel/random/uuid)
sed -i "s/^SECRET_API_KEY=.*/SECRET_API_KEY=$key/" $env
systemctl reset-failed
systemctl --quiet enable pixelwise  # this reads the unit again
"""

# What is wrong: (how root makes it so on prod, {the check that fails: a part of what it received}).
FAULTS = {
    # those that take longest come first, so that they do not end last
    "systemd gives up after the first crash": (
        "printf '[Unit]\\nStartLimitBurst=1\\n' >>$unit; restart",
        {"the service is back after kill 9": "no answer 13 s after kill -9; systemd says failed"},
    ),
    "a socket starts it again after a stop": (
        "cp /opt/pixelwise/deploy/pixelwise.socket /etc/systemd/system; systemctl daemon-reload"
        "; systemctl stop pixelwise; systemctl start pixelwise.socket pixelwise",
        {"a stop stays a stop": "it runs within 5 s of the stop"},
    ),
    "it is enabled for a target that no boot reaches": (
        "sed -i s/^WantedBy=.*/WantedBy=rescue.target/ $unit; systemctl reenable pixelwise",
        {"the service is back after a reboot": "no answer; systemd says inactive (dead)"},
    ),
    # the others in the order of the checks
    "no unit is installed": (
        "systemctl stop pixelwise; rm $unit; systemctl daemon-reload",
        {"the unit is installed": "LoadState=not-found"},
    ),
    "the unit is masked": (
        "systemctl stop pixelwise; rm $unit; systemctl mask pixelwise",
        {"the unit is installed": "LoadState=masked"},
    ),
    "the unit lies where a reboot forgets it": (
        "systemctl disable pixelwise; mkdir -p /run/systemd/system; mv $unit /run/systemd/system; restart",
        {"the unit is installed": "/run/systemd/system/pixelwise.service"},
    ),
    "it is not enabled": ("systemctl disable pixelwise", {"the service is enabled": "disabled"}),
    "it is enabled until the next boot": (
        "systemctl disable pixelwise; systemctl enable --runtime pixelwise",
        {"the service is enabled": "enabled-runtime"},
    ),
    "the unit has no [Install] section": (
        "systemctl disable pixelwise; sed -i '/^.Install/,$d' $unit; systemctl daemon-reload",
        {"the service is enabled": "static"},
    ),
    "it is stopped": ("systemctl stop pixelwise", {"the service is running": "inactive (dead)"}),
    "a setting is bad": (
        "echo RATE_LIMIT=many >>$env; restart || true",
        {"the service is running": "failed (failed, exit-code)"},
    ),
    "another server holds the port": (
        "systemctl stop pixelwise; systemd-run --quiet --unit pixelwise-by-hand --uid produser -p Type=notify"
        " -p WorkingDirectory=/opt/pixelwise $python server.py; restart || true",
        {"the service is running": "activating ("},
    ),
    "it crashes every two seconds": (
        'change Type=simple ExecStart= "ExecStart=timeout 2 $python server.py" RestartSec=100ms; restart',
        {"the service is running": "restart"},  # "auto-restart", or "restarted while we watched"
    ),
    "it runs as root": ("change User=root; restart", {"the service runs as produser": "root"}),
    "the unit no longer says root, but it was not restarted": (
        "change User=root; restart; change User=produser; systemctl daemon-reload",
        {"the service runs as produser": "root"},
    ),
    "it works in the wrong folder": (
        'change WorkingDirectory=/srv ExecStart= "ExecStart=$python /opt/pixelwise/server.py"; restart',
        {"the service works in opt pixelwise": "/srv"},
    ),
    "it takes the system's Python": (
        "change Environment=PYTHONPATH=/opt/pixelwise/.venv/lib/python3.11/site-packages"
        " ExecStart= 'ExecStart=/usr/bin/python3 server.py'; restart",
        {"the service uses its venv": "/usr/bin/python3"},
    ),
    "it listens on loopback only": (
        "echo HOST=127.0.0.1 >>$env; restart",
        {"other machines get an answer": "no answer from here (on the machine, 127.0.0.1:8000 listens"},
    ),
    "it listens on another port": (
        "echo PORT=8080 >>$env; restart",
        {"other machines get an answer": "nothing listens there; port 8000"},
    ),
    "it is another program": (
        'change Type=simple WatchdogSec=0 ExecStart= "ExecStart=$python -m http.server -d /srv"; restart'
        "; until curl -s localhost:8000 >/dev/null; do sleep 0.1; done",
        {"other machines get an answer": "404"},
    ),
    "Restart=no": ("change Restart=no; restart", {"a crash leads to a restart": "Restart=no"}),
    "the unit says Restart=always, but systemd was not told": (
        "sed -i s/^Restart=.*/Restart=on-failure/ $unit; restart; cp /root/good/pixelwise.service $unit",
        {"a crash leads to a restart": "Restart=on-failure"},
    ),
    "RestartSec is too long": (
        "change RestartSec=60; restart",
        {"a crash leads to a restart": "RestartSec=1min"},
    ),
    "it logs to a file": (
        "change StandardOutput=append:/var/log/pixelwise.log StandardError=inherit; restart",
        {"the log is in the journal": "no new line from the service"},
    ),
    ".env is readable for all": ("chmod 644 $env", {"the env file is private": "mode 644"}),
    ".env is a link to a file that the group may read": (
        "mv $env /srv/settings; chmod 640 /srv/settings; ln -s /srv/settings $env",
        {"the env file is private": "mode 640"},
    ),
    ".env is in git": (
        "as_produser 'git add -f .env; git commit -qm Settings'",
        {"the env file is not in git": "git ls-files lists .env"},
    ),
    ".env was in git, on another branch": (
        "as_produser 'git switch -qc wip; git add -f .env; git commit -qm Settings; git rm -q --cached .env"
        "; git commit -qm Oops; git switch -q main'",
        {"the env file is not in git": "holds a .env"},
    ),
    "the key is in a drop-in of the unit": (
        'change "Environment=SECRET_API_KEY=$key"; restart',
        {"the key is not in the unit": "the API key in what systemctl cat shows"},
    ),
    "it logs its settings when it starts": (
        "change ExecStart= \"ExecStart=sh -c 'env >&2; exec $python server.py'\"; restart",
        {"the key is not in the journal": "a line with the API key"},
    ),
}


class Machine:
    """A box to which our server was deployed."""

    def __init__(self, name: str):
        self.name, self.grader = name, None

    def box(self, *words: str, given: str | None = None, status=(0,), **environ) -> str:
        """Run a command of `box`; what it prints. Another status fails with what it said."""
        done = subprocess.run(
            [BOX, "--name", self.name, *words],
            cwd=ROOT,
            input=given or "",
            capture_output=True,
            text=True,
            env=os.environ | environ,
            timeout=600,  # the first `up` builds the image; and a set-up may take long beside other work
        )
        told = (
            f"box {' '.join(words)[:80]} ended with {done.returncode}: {(done.stderr + done.stdout)[-1500:]}"
        )
        assert done.returncode in status, told
        return done.stdout

    def deploy(self, repository: Path) -> None:
        """As the course does, with the .venv of a machine before it; then keep what `mend` needs."""
        self.box("up", **with_venv())
        self.box("shell", "--", "git", "-C", str(repository), "push", "-q", REPOSITORY, "main")
        self.box("ssh", "--", "cd /opt/pixelwise && git pull -q && bash setup-server.sh")
        keep_venv(self.name)
        self.as_root(KEEP)

    def as_root(self, script: str) -> None:
        self.box("ssh", "--", "sudo bash -s", given=script)

    def full_marks(self, folder: Path) -> dict:
        """The report of all of m4, made by the command that a student types."""
        self.box(
            *("shell", "--", sys.executable, "-m", "pytest", "checks", "-p", "no:cacheprovider"),
            *("--prod", PROD, "--unit", "deploy/pixelwise.service", "--report", str(folder)),
            status=(0, 1),
        )
        return json.loads((folder / "report.json").read_text())

    def grade_with(self, sabotage: str, names: list[str]) -> dict[str, dict]:
        """The results by name, on a machine that is as it should be but for the sabotage."""
        start = "" if "restart" in sabotage else "systemctl start pixelwise\n"  # once: it takes long
        self.as_root(f"{MEND}{start}{sabotage}")
        if not self.grader:  # one for all faults: it takes longer to start than to grade
            command = [BOX, "--name", self.name, "shell", "--", sys.executable, "-c", GRADER, PROD]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.grader = subprocess.Popen(command, cwd=ROOT, **pipes)
        print(json.dumps(names), file=self.grader.stdin, flush=True)
        results = json.loads(self.grader.stdout.readline())
        return {result["name"].removeprefix("m4."): result for result in results}

    def destroy(self) -> str:
        """It and its grader; what was said."""
        if self.grader:
            self.grader.communicate()
        return self.box("destroy", status=(0, 1))


def commit_of_this_folder(folder: Path) -> Path:
    """A repository with what is on this disk, committed or not, on its branch main."""

    def run(*command: str, **options) -> None:
        subprocess.run(command, check=True, capture_output=True, **options)

    repository = copy_to(folder / "repository")
    run("git", "init", "-q", "-b", "main", cwd=repository)
    run("git", "add", "-A", cwd=repository)
    run(
        "git", "-c", "user.name=dev", "-c", "user.email=dev@example.org", "commit", "-qm", "x", cwd=repository
    )
    return repository


def checks_that_show(fault: str) -> list[str]:
    """For a fault that only a drill finds, that drill and what it needs; else all other checks, but those
    that take long, for they watch the running service, only where the fault is one of theirs."""
    named = set(FAULTS[fault][1])
    if named & set(DRILLS):
        return list(named)
    asks = {name for name in ONLINE if watches(name)}
    return [name for name in ONLINE if name not in DRILLS and (named & asks or name not in asks)]


def watches(name: str) -> bool:
    """Whether a check is, or needs, the one that watches the running service for some seconds."""
    needed = (need.removeprefix("m4.") for need in CHECKS[name].needs)
    return name == "the service is running" or any(map(watches, needed))


FULL_MARKS = "full marks"


@pytest.fixture(scope="module")
def outcome(request, tmp_path_factory):
    """A function from a fault, or FULL_MARKS, to what the checks said. The boxes work through all that were
    selected, while the tests wait for the first."""
    mine = [item for item in request.session.items if item.path == request.path]
    jobs = [
        item.callspec.params["fault"] if hasattr(item, "callspec") else FULL_MARKS
        for item in mine
        if "outcome" in item.fixturenames
    ]
    machines = [Machine(f"m4-{os.getpid()}-{number}") for number in range(min(LANES, len(jobs)))]
    idle = queue.SimpleQueue()

    def work(job):
        machine = idle.get()
        try:
            if job == FULL_MARKS:
                return machine.full_marks(tmp_path_factory.mktemp("report"))
            return machine.grade_with(FAULTS[job][0], checks_that_show(job))
        finally:
            idle.put(machine)

    def prepare(machine):
        machine.deploy(repository)
        idle.put(machine)

    pool = ThreadPoolExecutor(LANES)
    try:
        repository = commit_of_this_folder(tmp_path_factory.mktemp("dev"))
        first, *others = machines
        prepare(first)
        for prepared in [pool.submit(prepare, machine) for machine in others]:
            prepared.result()
        futures = {job: pool.submit(work, job) for job in jobs}
        yield lambda job: futures[job].result()
    finally:
        pool.shutdown(cancel_futures=True)
        told = [machine.destroy() for machine in machines]
        left = list(CACHE.glob(f"boxes/m4-{os.getpid()}-*"))
    assert not left, told


# ---- The tests ------------------------------------------------------------------------------------------


def test_our_deployment_gets_full_marks_with_the_reboot(outcome):
    report = outcome(FULL_MARKS)
    lost = [result for result in report["results"] if result["status"] != PASSED]
    assert not lost, lost
    assert {result["name"] for result in report["results"]} == {f"m4.{name}" for name in CHECKS}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_deployment_fails_the_check_that_names_it_and_no_other(outcome, fault):
    results, expected = outcome(fault), FAULTS[fault][1]
    failed = {name: result["received"] for name, result in results.items() if result["status"] == FAILED}
    assert set(failed) == set(expected), failed or results
    for name, received in expected.items():
        assert received in failed[name]
        assert all(results[name][text] for text in ("expected", "hint", "curl")), results[name]
        assert "systemctl start" not in results[name]["curl"], "that would mend it, not show it"
    left = {name: result for name, result in results.items() if result["status"] not in (PASSED, FAILED)}
    assert all(is_a_consequence(result) for result in left.values()), left


def is_a_consequence(result: dict) -> bool:
    """Whether a check could not be checked for want of another one, or of an answer from the server."""
    return result["reason"].startswith(('it needs "', "nothing can be asked"))


def test_each_check_of_the_machine_catches_a_faulty_deployment():
    assert {name for _, named in FAULTS.values() for name in named} == set(ONLINE)
