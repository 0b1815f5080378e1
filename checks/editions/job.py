"""The processes of the proof."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


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
        environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        command = [sys.executable, *map(str, self.command)]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self.output = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (it is closed by stop)
        self.process = subprocess.Popen(
            command,
            cwd=self.cwd,
            env=environ | {"PYTHONDONTWRITEBYTECODE": "1"} | self.environ,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        return self

    def text(self) -> str:
        """What it printed so far."""
        self.output.seek(0)
        return self.output.read().decode("utf-8", "replace")

    def stop(self) -> None:
        """End it, kindly if it lets us, and forget what it printed."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.output.close()
