"""What systemd wants to hear from a service, the socket that it may have opened for it, and its file of
settings."""

import errno
import os
import re
import socket
from contextlib import suppress
from io import StringIO
from pathlib import Path

import dotenv


class CannotListen(OSError):
    """Nothing can listen there. for_now: a moment later that may be different. The message names the
    remedy."""

    def __init__(self, message: str, for_now: bool = False):
        super().__init__(message)
        self.for_now = for_now


def listen(host: str, port: int) -> socket.socket:
    """The listening socket that systemd passed, else a new one on HOST and PORT. Raises CannotListen."""
    if passed_by_systemd():
        return socket.socket(fileno=3)
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=1024)
    except PermissionError:
        raise CannotListen(f"PORT: cannot listen on {port}; choose a port from 1024 on") from None
    except (OSError, UnicodeError) as error:  # Unicode: a label of the name is empty or too long
        number, shown = getattr(error, "errno", None), repr(host[:80])
        if number == errno.EADDRINUSE:
            remedy = "stop the other program (ss -ltnp shows it) or set PORT"
            raise CannotListen(f"PORT: {port} is taken; {remedy}", for_now=True) from None
        if number in (errno.EADDRNOTAVAIL, socket.EAI_AGAIN):
            remedy = "wait for its network, or write an address of this machine"
            raise CannotListen(
                f"HOST: this machine has no address {shown} yet; {remedy}", for_now=True
            ) from None
        raise CannotListen(f"HOST: cannot listen on {shown}; write an address of this machine") from None


def passed_by_systemd() -> bool:
    """Whether descriptor 3 is a listening socket that systemd opened for us (sd_listen_fds(3))."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "0") != "0"


def watched() -> bool:
    """Whether systemd wants to hear WATCHDOG=1 from time to time (sd_watchdog_enabled(3))."""
    return "WATCHDOG_USEC" in os.environ


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens where systemd did not ask for it, or does not read."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.settimeout(0.1)  # the event loop must not wait for a reader
            unix.sendto(message.encode(), name.replace("@", "\0", 1) if name[0] == "@" else name)


def read_environment_file(path: Path) -> dict[str, str]:
    """The lines of a file as EnvironmentFile= of systemd reads them (systemd.exec(5)); a byte order mark and
    CRLF are read as if they were not there. Raises ValueError for a line that means something else there, or
    elsewhere (to a shell, to python-dotenv), and OSError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # in which CRLF is a LF already
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{path}: not readable; make it a text file of KEY=value lines") from None
    for number, line in enumerate(lines, 1):
        if line.endswith("\\") or not re.fullmatch(
            r"""\s*(#.*)?|\w+=([^\s"'\\$`#]*|"[^"\\$`]*"|'[^'\\$`]*')""", line
        ):
            raise ValueError(f"{path} line {number}: write KEY=value, no spaces around =, no $, # or \\")
    return dotenv.dotenv_values(stream=StringIO("\n".join(lines)), interpolate=False)
