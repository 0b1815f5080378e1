"""Lab 04 on a box: it passes on a fresh one (but for the .venv, which is lent.py's) and again, from outside
and inside the dev side; it leaves prod as it found it; it notices a false claim; and its student edition runs
without a crash, and can be worked.

That needs root, or a sudo without a password, and the packages that `box` names; without them these tests
fail, and say which.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from lent import BOX, with_venv
from nbclient import NotebookClient
from test_labs import OWN_SETTINGS, ROOT, failing_cells, output_text, progress, tags
from tree import changed_kit

from checks.editions import walk
from checks.editions.job import side_by_side
from checks.editions.write import write_editions

NAME = "04_from_dev_to_production.ipynb"
LAB = ROOT / "labs" / NAME
COURSE = "produser@192.168.56.11"
UNIT = "deploy/pixelwise.service"
# Claims of the lab in the order of its cells: file, what stands there, what makes the claim false, the first
# cell that notices. Those of a run are made false at once; its last one breaks what comes after it.
FALSE = [
    [
        (UNIT, "CapabilityBoundingSet=\n", "", "keep-exposed"),
        # on a fresh box
        ("setup-server.sh", "as_root systemctl --quiet enable pixelwise\n", "true\n", "status"),
        (UNIT, "HOST=0.0.0.0", "HOST=127.0.0.1", "first-loop"),
    ],
    [(UNIT, "Restart=always", "Restart=no", "kill")],
]
# what a lab could leave behind on prod: units, changes of them, the settings, who holds the port
STATE = """
cd /opt/pixelwise; systemctl is-active pixelwise; systemctl is-enabled pixelwise; sha256sum .env; ls -A
ls -d /etc/systemd/system/pixelwise* /etc/systemd/system/*/pixelwise* /run/systemd/system/pixelwise*
ss -Hltn 'sport = :8000' | wc -l
"""


class Machine:
    """A box, and the lab run against it."""

    def __init__(self, name: str, python=sys.executable):
        self.name, self.python = name, python

    def box(self, *words: str, status=(0,), **environ) -> str:
        command, environ = [BOX, "--name", self.name, *words], os.environ | environ
        pipes = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        done = subprocess.run(command, **pipes, env=environ, timeout=1800, check=False)
        assert done.returncode in status, f"box {' '.join(words)[:60]}: {(done.stderr + done.stdout)[-1500:]}"
        return done.stdout

    def state(self) -> str:
        return self.box("ssh", "--", STATE)

    def environment(self, **more: str) -> dict:
        kept = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS}
        return (
            kept
            | {"PROD_HOST": f"box:{self.name}", "PIXELWISE_PROGRESS": f"{progress().name}/{self.name}"}
            | more
        )

    def nbval(self, root: Path = ROOT, way=(), options=(), **environ: str) -> tuple[int, list[str], str]:
        """Run the lab of the kit in `root`: the exit status, the cells that failed, and what was printed."""
        command = [*way, self.python, "-m", "pytest", "-q", "-rf", "-p", "nbval.plugin", "--nbval"]
        command += [f"labs/{NAME}", "-p", "no:cacheprovider"]
        command += options
        environ = self.environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **environ)
        done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, timeout=1800)
        return done.returncode, failing_cells(done.stdout, root / "labs"), done.stdout + done.stderr


def passes_twice(machine: Machine) -> dict:
    """What came of two runs: from outside, as in JupyterLab; then on the dev side, where ssh is enough."""
    runs = [machine.nbval()]
    before = machine.state()
    logins = machine.box("ssh", "--", "journalctl -q -t sshd -t sshd-session -g ^Accepted | wc -l")
    inside = [str(BOX), "--name", machine.name, "shell", "--", "env", f"PROD_HOST={COURSE}"]
    runs.append(machine.nbval(way=inside))
    return {"runs": runs, "before": before, "after": machine.state(), "logins": int(logins)}


def notices(machine: Machine, folder: Path, claims: list[tuple]) -> tuple[list[str], str]:
    root = changed_kit(folder / "kit", [claim[:3] for claim in claims])
    return machine.nbval(root, options=[f"--maxfail={len(claims)}"])[1:]


def student_edition(machine: Machine) -> tuple[list, str, str]:
    """The cells after a run without the solutions, and prod before and after."""
    before = machine.state()
    notebook = nbformat.read(LAB, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "solution" not in tags(cell)]
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.execute(cwd=str(LAB.parent), env=machine.environment())
    return notebook.cells, before, machine.state()


def worked(machine: Machine, folder: Path) -> tuple[list[str], list[str], str]:
    """What is wrong with the lab in the student edition, worked by one who has worked those before it; what
    progress() does not count of it; and their unit file. (`python -m checks.release` has no machine.)"""
    write_editions(ROOT, folder)
    student, instructor = folder / "student", folder / "instructor"
    for lab in sorted((student / "labs").glob("*.ipynb")):
        for file, old, new in walk.functions_of(
            lab, student / "server.py", instructor / "server.py"
        ).values():
            Path(file).write_text(Path(file).read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        if lab.name != NAME:
            lab.unlink()
    lab = student / "labs" / NAME
    walk.fill(lab, instructor / "labs" / NAME)
    job = walk.run_lab("worked lab 04", lab, PROD_HOST=f"box:{machine.name}")
    side_by_side([iter([job])], print, 900)
    unit = (student / "deploy" / "pixelwise.service").read_text(encoding="utf-8")
    return walk.stuck(lab, job.text(), machine=True), walk.unsolved(student, machine=True), unit


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, warm_python):
    """What everything came to, as futures: one box passes the lab twice, the other one does the rest."""
    machines = [Machine(f"lab04-{os.getpid()}-{side}", warm_python.program) for side in "ab"]
    folders = [tmp_path_factory.mktemp("claim") for _ in FALSE]

    def start(machine):
        machine.box("up", **with_venv())

    try:
        with (
            ThreadPoolExecutor(1) as one,
            ThreadPoolExecutor(1) as other,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setenv("JUPYTER_PATH", str(warm_python.kernels))
            one.submit(start, machines[0]).result()
            twice = one.submit(passes_twice, machines[0])
            other.submit(start, machines[1])
            noticed = [
                other.submit(notices, machines[1], folder, claims) for folder, claims in zip(folders, FALSE)
            ]
            edition = other.submit(student_edition, machines[1])
            own = other.submit(worked, machines[1], tmp_path_factory.mktemp("own"))
            yield {"twice": twice, "noticed": noticed, "edition": edition, "own": own}
    finally:
        for machine in machines:
            machine.box("destroy")


def test_the_lab_passes_on_a_fresh_machine_and_again(outcome):
    told = outcome["twice"].result()
    for status, cells, output in told["runs"]:
        print(output[-6000:])
        assert status == 0, cells


def test_the_lab_leaves_prod_as_it_found_it(outcome):
    told = outcome["twice"].result()
    assert told["before"] == told["after"]
    assert told["after"].startswith("active\nenabled\n") and told["after"].endswith("\n1\n")
    assert "socket" not in told["after"] and "service.d" not in told["after"]


def test_cells_that_follow_each_other_share_a_login(outcome):
    """Each of the 32 cells that ask prod would have its own; the checks, git and ssh in a cell do."""
    assert outcome["twice"].result()["logins"] < 32


@pytest.mark.parametrize("number", range(len(FALSE)), ids=[claims[-1][-1] for claims in FALSE])
def test_the_lab_fails_at_the_claims_that_are_made_false_and_nowhere_before(outcome, number):
    cells, output = outcome["noticed"][number].result()
    assert cells == [claim[-1] for claim in FALSE[number]], output[-3000:]


def test_an_untouched_student_edition_runs_without_a_crash_and_earns_nothing(outcome):
    cells, before, after = outcome["edition"].result()
    exercises = {cell.id for cell in cells if "exercise" in tags(cell)}
    earned = {cell.id for cell in cells if cell.cell_type == "code" and "✓" in output_text(cell)}
    assert exercises and not earned & {f"{exercise}-check" for exercise in exercises}
    assert before.splitlines()[1:3] == after.splitlines()[1:3], "it is enabled, and has the same .env"
    assert after.startswith("active\n")


def test_a_unit_that_a_student_writes_in_the_lab_is_what_prod_runs_and_every_check_holds(outcome):
    problems, unsolved, unit = outcome["own"].result()
    assert not problems + unsolved, "\n".join(problems + unsolved)
    assert "Restart=always" in unit and "WatchdogSec=10" in unit and "NoNewPrivileges=yes" in unit


def test_with_prod_out_of_reach_every_cell_says_so_and_none_crashes():
    notebook = nbformat.read(LAB, as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=str(LAB.parent), env=Machine("no-such-box").environment())
    shown = {cell.id: output_text(cell) for cell in notebook.cells if cell.cell_type == "code"}
    for cell in ("prod", "prod-who", "setup", "status", "stop"):
        assert "✗ prod is out of reach" in shown[cell] and "deploy/box/box" in shown[cell], shown[cell]
    for cell in ("kill", "reboot", "deployed-check"):
        assert shown[cell].startswith(("✗", "?")), shown[cell]
