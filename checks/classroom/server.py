"""A submission's server: started, waited for until it listens, and started again."""

import contextlib
import http.client
import json
import re
import socket
import threading
import time
import urllib.request
from pathlib import Path

from checks.classroom.found import HOST, PORT, CannotGrade, servers_in
from checks.kit.core import Gone

URL = f"http://{HOST}:{PORT}"
WARM_SECONDS = 10  # for the first answer
QUICK_SECONDS = 1  # whose first answer takes longer is not started again: the next ones would be as slow
LOG = 64 * 1024  # characters of the server's output that are kept, of each start
START_SECONDS = 60  # for a server to listen, on a machine that starts many
LOOK_SECONDS = 1  # between two looks at all ports: the kernel takes 10 ms for one
ELSEWHERE_SECONDS = 5  # for which a server that listens on another port is waited for


def write_settings(root: Path, settings: dict[str, str]) -> None:
    """Write the grader's settings into .env, in root, beside the server and where the submission has one, in
    the place of its own: a server that reads this file, alone or before the environment, finds the same."""
    own = re.compile(rf"\s*(export\s+)?({'|'.join(settings)})\s*=".encode())
    ours = [f"{name}={value}".encode() for name, value in settings.items()]
    beside = ((root / file).with_name(".env") for file in servers_in(root))
    for file in {root / ".env", *beside, *root.rglob(".env")}:
        if file.is_dir():  # somebody's environment
            continue
        lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines() if file.exists() else []
        theirs = [line for line in lines if not own.match(line)]
        file.write_bytes(b"\n".join([*theirs, *ours, b""]))
        file.chmod(0o644)


class Served:
    """A server in its sandbox. log: what it wrote, without its key, and how each start of it ended."""

    def __init__(self, box, command: list[str], env: dict[str, str]):
        self.box, self.command, self.env = box, command, env
        self.running, self.log = None, ""

    def start(self) -> None:
        """Start it. Raises CannotGrade where it does not listen."""
        self.running = self.box.start(self.command, self.env)
        wait_for(self.running)

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.running:
            ended = self.running.ended
            self.running.stop()
            text = self.running.output.replace(self.env["SECRET_API_KEY"], "$SECRET_API_KEY")
            self.log += f"{text[-LOG:]}\n---- {ended or 'stopped'}\n"
            self.running = None

    def start_again(self) -> None:
        """Start it anew, as it was: it then knows no client. One that has ended stays so. Raises Gone."""
        if self.running.ended:
            return
        self.stop()
        try:
            self.start()
        except CannotGrade as problem:
            raise Gone(f"started again, for new windows of the rate limit, {problem}") from None


def wait_for(running) -> None:
    """Wait until the server listens; nothing is sent, so that no request is counted. Raises CannotGrade."""
    deadline, look = time.monotonic() + START_SECONDS, time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline and not running.ended:
        with contextlib.suppress(OSError), socket.create_connection((HOST, PORT), 1):
            return
        if time.monotonic() > look:
            look = time.monotonic() + LOOK_SECONDS
            if listening():
                deadline = min(deadline, time.monotonic() + ELSEWHERE_SECONDS)
        running.wait(0.1)
    words = running.output.strip().splitlines() or ["it printed nothing"]
    if running.ended and "EOFError" in running.output:
        raise CannotGrade(
            "the server does not start: it asks for input(), and nobody types there. Take settings from the "
            "environment, and hand it in again",
            words[-1],
        )
    if running.ended:
        why = f"the server does not start: {running.ended} before it listened on {URL[7:]}"
        raise CannotGrade(
            f"{why}. Its last words are in server.log: mend that and hand it in again", words[-1]
        )
    others = [port for port in listening() if port != PORT]
    instead = f", but on port {others[0]}: let it read HOST and PORT" if others else ""
    raise CannotGrade(f"the server does not start: nothing listens on {URL[7:]}{instead}", words[-1])


def listening() -> list[int]:
    """The TCP ports on which anything in this network namespace listens."""
    ports = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            ports |= {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}
    return sorted(ports)


def warm_up(api) -> float:
    """Ask for a digit, and wait WARM_SECONDS at most, however slowly it drips: a model that is loaded by the
    first request is slow once, and that is no fault. From 127.0.0.1: its budget is counted last. Gives the
    seconds that it took."""
    key, kind = {"X-API-Key": api.key}, {"Content-Type": "application/json"}
    body = json.dumps({"pixels": [[0] * 28] * 28}).encode()
    request = urllib.request.Request(f"{api.url}/classify", body, key | kind)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask():
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # the checks will find out
            opener.open(request, timeout=WARM_SECONDS).close()

    asking = threading.Thread(target=ask, daemon=True)
    began = time.monotonic()
    asking.start()
    asking.join(WARM_SECONDS)
    return time.monotonic() - began
