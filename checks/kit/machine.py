"""Looks at a production machine over ssh.

A Prod runs one command at a time and survives what comes back: every command ends by a deadline, a megabyte
of its output is kept, and nothing in it can steer a terminal. The API key is never put on a command line,
here or there: whether an output holds it is found out here, while the output arrives.
"""

import contextlib
import os
import re
import selectors
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from checks.kit.core import CannotCheck
from checks.kit.deployment import FOLDER, SERVICE
from checks.kit.exchange import printable

MAX_OUTPUT = 1024 * 1024  # bytes of an output that are kept
CONNECT_SECONDS = 5
START = 10  # seconds in which a service that is started has to answer


class NoSsh(CannotCheck):
    """ssh itself failed: no command was run on the machine, or nothing came back from it."""


class SudoRefused(CannotCheck):
    """sudo wants a password, or is missing."""


# ---- The machine ----------------------------------------------------------------------------------------


@dataclass
class Done:
    """What a command came to: its exit status, what it printed, and whether that held the secret."""

    status: int
    out: str
    err: str
    leaked: bool = False

    @property
    def line(self) -> str:
        """The last line that it printed; what a chatty login shell printed stands before it."""
        lines = self.out.split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Prod:
    """The production machine behind `ssh://user@host[:port]`.

    ssh: the ssh command as a list of words. seconds: the time limit of a command. reboot: whether the machine
    may be rebooted. Raises ValueError where the address is none. `last` is the last command as a student may
    type it.
    """

    def __init__(
        self, url: str, ssh=("ssh",), seconds=10, *, reboot=True, wait=time.sleep, clock=time.monotonic
    ):
        parts = _ssh_address(url)
        self.user, self.host, self.port = parts.username, parts.hostname, parts.port
        self.ssh, self.seconds, self.reboot, self.wait, self.clock = list(ssh), seconds, reboot, wait, clock
        self.last = ""

    def begin(self, check=None) -> None:
        """Nothing was asked yet in this check."""
        self.last = ""

    @property
    def destination(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host

    def run(self, command: str, *, seconds: float | None = None, secret: str = "") -> Done:
        """Run a shell command there. Raises NoSsh where ssh fails or the time is up.

        secret: a text to look for in all that it prints, also in what is too long to keep.
        """
        self.last = self._as_typed(command)
        status, out, err, leaked = self._spawn(command, seconds or self.seconds, secret.encode())
        done = Done(status, _plain(out), _plain(err), leaked)
        if status == 255:
            raise NoSsh(self._why(done.err))
        return done

    def _spawn(self, command: str, seconds: float, secret: bytes) -> tuple[int, bytes, bytes, bool]:
        """ssh's status, what it printed, and whether that held the secret."""
        try:
            process = subprocess.Popen(
                [*self.ssh, *self._options(), self.destination, command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {"LC_ALL": "C.UTF-8"},  # so that messages come in English
                start_new_session=True,
            )
        except OSError as error:
            told = f"{self.ssh[0]} cannot be run here ({error.strerror})"
            raise NoSsh(f"{told}: apt-get install openssh-client") from None
        with process:
            try:
                out, err, leaked = _collect(process, time.monotonic() + seconds, secret)
                return process.wait(1), out, err, leaked
            except (TimeoutError, subprocess.TimeoutExpired):
                told = f"no end within {seconds:g} s ({self.last})"
                raise NoSsh(f"{told}: is {self.host} on, and not stuck?") from None
            finally:
                with contextlib.suppress(ProcessLookupError):  # ssh and what it started
                    os.killpg(process.pid, signal.SIGKILL)

    def _options(self) -> list[str]:
        """Ask nothing, take a new machine's host key but no changed one, and use a connection of our own."""
        told = ["BatchMode=yes", f"ConnectTimeout={CONNECT_SECONDS}", "StrictHostKeyChecking=accept-new"]
        words = [word for option in [*told, "ControlPath=none", "LogLevel=ERROR"] for word in ("-o", option)]
        return ["-T", *words, *(["-p", str(self.port)] if self.port else [])]

    def _as_typed(self, command: str) -> str:
        port = f"-p {self.port} " if self.port else ""
        safe = re.fullmatch(r"[\w@%+=:,./ -]+", command)
        return f"ssh {port}{self.destination} {command if safe else shlex.quote(command)}"

    def _why(self, err: str) -> str:
        """One sentence and a remedy for what ssh said."""
        start = f"ssh {self.destination}"
        for pattern, sentence in SSH_TROUBLES:
            if re.search(pattern, err):
                return f"{start}: " + sentence.format(host=self.host, destination=self.destination)
        return f"{start} failed: {printable(_last(err) or 'it said nothing')}"

    def sudo(self, command: str, **options) -> Done:
        """Run a command as root. Raises SudoRefused where sudo wants a password; as root it is not needed."""
        if self.user == "root":
            return self.run(command, **options)
        done = self.run(f"sudo -n {command}", **options)
        if re.search(r"^sudo: |sudoers|sudo: (command )?not found", done.err, re.M) and done.status in (
            1,
            127,
        ):
            raise SudoRefused(
                f"sudo wants a password there ({self.last}). While you grade, let {self.user} do without: "
                f"echo '{self.user} ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/grading"
            )
        return done

    def read(self, command: str, **options) -> Done:
        """Run a command that only looks; once more as root where the user may not look."""
        done = self.run(command, **options)
        return self.sudo(command, **options) if done.status and "ermission denied" in done.err else done

    def show(self, *properties: str) -> dict[str, str]:
        """Properties of the service as systemd tells them; one that it does not know is ""."""
        done = self.run(f"systemctl show {SERVICE} --property={','.join(properties)}")
        if done.status:
            raise CannotCheck(
                f"systemctl does not work there ({printable(_last(done.err))}): is it systemd's machine?"
            )
        told = dict(line.partition("=")[::2] for line in done.out.split("\n"))
        return {name: told.get(name, "").strip() for name in properties}

    def pid(self) -> int:
        """The main process of the service, or 0."""
        number = self.show("MainPID")["MainPID"]
        return int(number) if re.fullmatch(r"\d{1,10}", number) else 0

    def state(self) -> str:
        """ "active (running)" and the like; with the reason where it failed."""
        told = self.show("ActiveState", "SubState", "Result")
        reason = f", {told['Result']}" if told["Result"] not in ("", "success") else ""
        return printable(f"{told['ActiveState']} ({told['SubState']}{reason})")

    def journal(self, options: str, **more) -> Done:
        """What journalctl prints; as root where the user sees only a part of the journal."""
        command = f"journalctl {options} --no-pager"
        done = self.run(command, **more)
        if re.search("insufficient permissions|not seeing messages", done.err):
            return self.sudo(command, **more)
        return done

    def key(self) -> str:
        """The API key in the machine's .env. Raises CannotCheck where there is none to look for."""
        done = self.read(f"cat {FOLDER}/.env")
        found = re.findall(r"^\s*SECRET_API_KEY\s*=\s*(.*?)\s*$", done.out, re.M)
        key = found[-1].strip("'\"") if found else ""
        if done.status or not key:
            raise CannotCheck(f"no SECRET_API_KEY is found in {FOLDER}/.env there")
        return key

    def boot(self) -> str:
        """What names the time since the last boot; "" while the machine cannot be asked."""
        try:
            return self.run("cat /proc/sys/kernel/random/boot_id").line
        except NoSsh:
            return ""

    def kill(self, pid: int) -> None:
        """kill -9, without sudo where the process is the user's own."""
        if self.run(f"kill -9 {pid}").status:
            self.sudo(f"kill -9 {pid}")

    def start(self, verb: str = "start") -> None:
        """Start (or "restart") the service, also one that systemd has given up after too many starts."""
        self.sudo(f"systemctl reset-failed {SERVICE}")
        self.sudo(f"systemctl {verb} {SERVICE}", seconds=100)  # a stop may take 90 s

    def until(self, fact, seconds: float, every: float = 0.3) -> bool:
        """Whether fact() becomes true within some seconds."""
        end = self.clock() + seconds
        while not fact():
            if self.clock() >= end:
                return False
            self.wait(every)
        return True


SSH_TROUBLES = [  # what ssh says, and what it means
    (
        "HOST IDENTIFICATION HAS CHANGED|ost key verification failed|ost key for .* has changed",
        "it is another machine than last time. If it was built anew: ssh-keygen -R {host}",
    ),
    ("Permission denied", "the machine does not take your key. Put it there: ssh-copy-id {destination}"),
    (
        "Connection refused",
        "nothing listens for ssh there. On the machine: sudo apt-get install openssh-server",
    ),
    ("Could not resolve", "the host name is unknown: check its spelling, or use the address in numbers"),
    (
        "timed out|No route to host|unreachable",
        "the machine does not answer. Is it on, and is the address right?",
    ),
    ("Connection (closed|reset)|Broken pipe", "the machine hung up. Is it starting or stopping? Try again"),
]


def _ssh_address(url: str):
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "ssh" and parts.hostname and not parts.path.strip("/") and parts.port != 0
    except ValueError:  # a port that is no number, a [ without ]
        fine = False
    name = r"[A-Za-z0-9_.:%][A-Za-z0-9_.:%-]*"  # no leading "-": ssh would take it for an option
    if not fine or not re.fullmatch(rf"({name})?@{name}|{name}", f"{parts.username or ''}@{parts.hostname}"):
        raise ValueError(
            f"{url!r} is no machine: write ssh://USER@HOST, for example ssh://produser@192.168.56.11"
        )
    return parts


def _collect(process: subprocess.Popen, end: float, secret: bytes) -> tuple[bytes, bytes, bool]:
    """All that a process prints until it closes both pipes, cut, and whether the secret was in it.
    Raises TimeoutError at `end`."""
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    tail = {process.stdout: b"", process.stderr: b""}  # for a secret that comes in two pieces
    leaked = False
    with selectors.DefaultSelector() as pipes:
        for pipe in kept:
            pipes.register(pipe, selectors.EVENT_READ)
        while pipes.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for ready, _ in pipes.select(left):
                pipe = ready.fileobj
                piece = os.read(ready.fd, 65536)
                if not piece:
                    pipes.unregister(pipe)
                kept[pipe] += piece[: MAX_OUTPUT - len(kept[pipe])]
                if secret:
                    leaked = leaked or secret in tail[pipe] + piece
                    tail[pipe] = (tail[pipe] + piece)[-len(secret) :]
    return bytes(kept[process.stdout]), bytes(kept[process.stderr]), leaked


def _plain(output: bytes) -> str:
    """The text of an output; line by line without what could steer a terminal."""
    lines = output.decode("utf-8", "replace").split("\n")
    return "\n".join(line if line.isprintable() else printable(line, 4096) for line in lines)


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "")
