"""The processes of the proof, and several of them side by side."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from checks.editions.tables import ReleaseError


class Job:
    """A process of the proof; it ends with this one."""

    def __init__(self, title: str, command: list, cwd: Path, **environ: str):
        self.title, self.command, self.cwd, self.environ = title, command, cwd, environ
        self.process = None

    def start(self) -> "Job":
        """Start it, with nothing of this shell's settings; returns itself."""
        own = (
            "HOST",
            "PORT",
            "DEBUG",
            "RATE_LIMIT",
            "TRUSTED_PROXY",
            "SECRET_API_KEY",
            "MODEL_",
            "PIXELWISE_",
        )
        own += ("ECHO_URL", "PYTEST_ADDOPTS", "NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_")
        own += ("PYTHONDONTWRITEBYTECODE",)  # it works on copies: what one job compiles, the others need not
        environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        command = [sys.executable, *map(str, self.command)]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self.output = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (it is closed by stop)
        self.process = subprocess.Popen(
            command,
            cwd=self.cwd,
            env=environ | self.environ,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        return self

    def text(self) -> str:
        """What it printed so far, or until it was stopped."""
        if self.output.closed:
            return self.printed
        self.output.seek(0)
        return self.output.read().decode("utf-8", "replace")

    def stop(self) -> None:
        """End it, kindly if it lets us."""
        if self.process and not self.output.closed:
            self.process.terminate()
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.printed = self.text()
            self.output.close()


def side_by_side(lanes: list[Iterator[Job]], tell, seconds: float) -> None:
    """Run the jobs of all lanes: those of a lane one after the other, for it is asked for the next one when
    the one before has ended. A line for each that is done; none is left when this returns or raises."""
    end, running = time.monotonic() + seconds, {}
    lanes = dict(enumerate(lanes))
    try:
        while lanes:
            for number, lane in list(lanes.items()):
                job = running.get(number)
                if job and job.process.poll() is None:
                    continue
                if job:
                    running.pop(number).stop()
                    tell(job.title)
                if job := next(lane, None):
                    running[number] = job.start()
                else:
                    del lanes[number]
            if time.monotonic() > end:
                late = ", ".join(job.title for job in running.values())
                raise ReleaseError(f"the proof takes longer than {seconds} s, and waits for: {late}")
            time.sleep(0.05)
    finally:
        for job in running.values():
            job.stop()
