"""Runs a submission where the machine itself is the sandbox, as the container is that an autograder gets.

Such a machine lives for one submission, and lets nobody make namespaces. What is left to keep apart is the
submission and its grade: the server is a user who owns nothing but a copy of what was handed in, with limits
on its processes, files and memory; and all of that user's processes end with it. Its network is
the machine's.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from checks.classroom.cgroups import Cgroups
from checks.classroom.limits import SandboxError
from checks.classroom.sandbox import Running, Sandbox

USER = 61_000  # of nobody else; within what a container maps


class Unlimited(Cgroups):
    """No cgroup: a watcher sums up the memory."""

    def __init__(self):
        self.folders, self.joined_by, self.limit_memory = [], [], False

    def kills(self) -> int:
        return 0


class Bare(Sandbox):
    """The same as a Sandbox for whoever starts commands in it. Needs root. Raises SandboxError."""

    def __enter__(self):
        if os.geteuid():
            raise SandboxError("only root can run a submission as another user: start the grader as root")
        missing = [tool for tool in ("bash", "prlimit", "setpriv") if not shutil.which(tool)]
        if missing:
            raise SandboxError(f"{' and '.join(missing)} missing: apt-get install bash util-linux")
        self.user, self.cgroups = USER, Unlimited()
        self._places: list[Path] = []
        return self

    def __exit__(self, *problem):
        try:
            for running in self._running:
                running.stop()
        finally:
            _end_all()
            for place in self._places:
                shutil.rmtree(place, ignore_errors=True)

    def start(self, command: Sequence[str], env: dict[str, str]) -> Running:
        """Start the command in a fresh copy of the folder; it ends by itself, by stop(), or with this."""
        _end_all()  # a server that is started again finds its port free
        place = Path(tempfile.mkdtemp(prefix="pixelwise-submission-", dir="/tmp"))
        self._places.append(place)
        home = place / "submission"
        shutil.copytree(self.folder, home)
        for path in (place, home, *home.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
        running = Running(self, ["env", "-C", str(home), *map(str, command)], self.environment(env))
        self._running.append(running)
        return running

    def _argv(self, command: Sequence[str], info: int | None = None) -> list[str]:
        limits = self.limits
        limited = ["prlimit", f"--nproc={limits.processes}", f"--nofile={limits.files}", "--core=0"]
        close = f"exec {info}>&-; " if info is not None else ""  # nobody tells a process inside a namespace
        own = 'ulimit -S -d "$(ulimit -H -d)"; '  # not that of the grader, which started it
        return ["bash", "-c", f'{close}{own}exec "$@"', "bash", *_become(), *limited, *command]


def _end_all() -> None:
    """All that it started, however far that went away from its parent."""
    subprocess.run([*_become(), "sh", "-c", "kill -9 -1"], stderr=subprocess.DEVNULL, check=False)


def _become() -> list[str]:
    become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
    return [*become, "--inh-caps=-all", "--bounding-set=-all"]
