"""A newcomer's Debian 13: from a clean clone, without root, the README's commands, the labs, the wire tests.

The machine is a box (deploy/box) of that suite, without the user `produser`, so that it is no prod. It has no
internet: what requirements.txt names comes with the box, and the rest of what labs and tests need is lent to
it. That needs root and the packages that `box` names; without them these tests fail, and say which.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from lent import BOX, CACHE, make, place, root_of
from test_box_m4 import commit_of_this_folder

ROOT = Path(__file__).resolve().parents[1]
LENT = (
    "ipykernel",
    "requests",
    "nbval",
    "httpbin",
    "pytest",
    "pytest-xdist",
    "rich",
    "openapi-spec-validator",
    "anywidget",
)
CURL = re.search(r"^curl -H .*\\\n.*classify$", (ROOT / "README.md").read_text(), re.M)[0]

# pytest there, with kernels and servers that are forked from a Python which has imported already
WARM = """
import os, subprocess, sys
sys.path.insert(0, "tests")
import warm
with warm.Python() as python:
    environ = os.environ | {"JUPYTER_PATH": str(python.kernels)}
    sys.exit(subprocess.call([python.program, "-m", "pytest", *sys.argv[1:]], env=environ))
"""


class Newcomer:
    """A user without root on a box that is no prod, with a clean clone of the kit in ~/pixelwise."""

    def __init__(self, name: str):
        self.name = name

    def box(self, command: str, **environ) -> str:
        environ = os.environ | {"SUITE": "trixie"} | environ
        words = [BOX, "--name", self.name, command]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, f"box {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def enter(self, *command: str, **options) -> subprocess.CompletedProcess:
        """Run it inside, as root of that machine."""
        return subprocess.run(
            ["nsenter", "--target", self.guest, "--all", "--", *command], timeout=1800, **options
        )

    def run(self, line: str, status: int = 0) -> str:
        """Run a line of bash as the newcomer, in the clone; what it prints. Another status fails with it."""
        user = ["setpriv", "--reuid=newcomer", "--regid=newcomer", "--init-groups", "--", "env", "-i"]
        user += ["HOME=/home/newcomer", "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "TERM=dumb"]
        pipes = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }
        done = self.enter(*user, "bash", "-c", f"cd ~/pixelwise 2>/dev/null || cd; {line}", **pipes)
        print(done.stdout)
        assert done.returncode == status, done.stdout[-3000:]
        return done.stdout

    def settle_in(self, folder: Path) -> None:
        """Make the machine a newcomer's, and clone the kit there."""
        if not (images := list(CACHE.glob("image-trixie-" + "[0-9a-f]" * 12))):
            self.box("up")  # the first time it builds the image
            images = [Path((CACHE / "boxes" / self.name / "image").read_text().strip())]
            self.box("destroy")
        self.box("up", PIXELWISE_BOX_LAYER=str(packages(images[0])))
        self.guest = root_of(self.name).parent.name
        self.enter(
            "bash", "-c", "userdel -r produser; useradd --create-home --shell /bin/bash newcomer", check=True
        )
        subprocess.run(
            ["git", "bundle", "create", "-q", "kit.bundle", "main"],
            cwd=commit_of_this_folder(folder),
            check=True,
        )
        bundle = (folder / "repository" / "kit.bundle").read_bytes()
        self.enter("sh", "-c", "cat >/srv/kit.bundle", input=bundle, check=True)
        self.run("git clone -q -b main /srv/kit.bundle pixelwise")


def packages(image: Path) -> Path:
    """A layer with what labs and wire tests import beside requirements.txt, installed for the image's Python,
    and compiled: once, and not on each machine to which it is lent.

    The image's own Python runs pip, but on this machine, whose network, certificates and settings it needs.
    """
    pins = [
        line.partition("#")[0].strip() for line in (ROOT / "requirements-dev.txt").read_text().splitlines()
    ]
    wanted = [pin for pin in pins if pin.partition("==")[0] in LENT]
    assert len(wanted) == len(LENT)

    def fill(folder: Path) -> None:
        libraries = image / "usr/lib" / f"{os.uname().machine}-linux-gnu"
        python = [next(libraries.glob("ld-linux*")), "--library-path", libraries, image / "usr/bin/python3"]
        pip = next((image / "usr/share/python-wheels").glob("pip-*.whl")) / "pip"
        options = ["--quiet", "--only-binary=:all:", "--compile", "--root-user-action=ignore"]
        command = [*python, pip, "install", *options, "--target", folder / "opt/lent"]
        environ = os.environ | {
            "PYTHONHOME": str(image / "usr"),
            "PIP_USER": "0",
            "PIP_REQUIRE_VIRTUALENV": "0",
        }
        command += ["-c", ROOT / "requirements.txt", *wanted]
        subprocess.run(command, cwd="/", env=environ, check=True, timeout=1800)

    layer = place("packages", "trixie", image.name, *wanted)
    make(layer, fill)
    return layer


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    assert os.geteuid() == 0, "this boots a machine: run it as root"
    machine = Newcomer(f"debian13-{os.getpid()}")
    try:
        machine.settle_in(tmp_path_factory.mktemp("dev"))
        yield machine
    finally:
        machine.box("destroy")


@pytest.fixture(scope="module")
def provisioned(newcomer):
    newcomer.first_run = newcomer.run("bash setup-server.sh")
    # lab 06 calls it; pip would have made it, had it installed what is lent
    newcomer.run(
        r"""printf '#!/bin/sh\nexec python -m pytest "$@"\n' >.venv/bin/pytest && chmod +x .venv/bin/pytest"""
    )
    return newcomer


def test_the_set_up_needs_no_root_and_ends_with_the_line_of_the_readme(provisioned):
    assert "making .venv with Python 3.13" in provisioned.first_run
    assert re.search(r"\d+ of 100 right", provisioned.first_run)
    printed = provisioned.first_run.partition("ask it:")[2]
    assert printed.replace("/home/newcomer/pixelwise/", "").split() == CURL.split()


def test_serve_serves_and_the_line_of_the_readme_is_answered(provisioned):
    said = provisioned.run(f"""
        bash setup-server.sh serve >~/log 2>&1 & trap 'kill $!; wait $!; echo "exit status $?"' EXIT
        until grep -q 'listening on' ~/log; do kill -0 $! || exit; sleep 0.1; done
        {CURL}; echo""")
    assert re.search(r'^\{"prediction":"7",', said, re.M)
    assert said.endswith("exit status 0\n")


@pytest.mark.parametrize(
    "what",
    # lab 04 is about a box, and runs on the machine that has it: test_lab04.py
    [
        f"-c {shlex.quote(WARM)} --nbval labs --ignore-glob=*/04_*",
        "-m pytest tests/test_wire.py tests/test_goldens.py -k 'not kernel_is'",
    ],
    ids=["the labs", "the wire tests and the goldens"],
)
def test_on_its_python_pass(provisioned, what):
    said = provisioned.run(f"PYTHONPATH=/opt/lent .venv/bin/python {what} -q -rf")
    assert re.search(r"^\d+ passed", said, re.M)
