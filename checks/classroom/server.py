"""A submission's server: started when it is its turn, waited for until it listens."""

import contextlib
import fcntl
import http.client
import json
import os
import re
import socket
import threading
import time
import urllib.request
from pathlib import Path

from checks.classroom.found import HOST, PORT, CannotGrade, servers_in

ROOT = Path(__file__).resolve().parents[2]
URL = f"http://{HOST}:{PORT}"
TURN_SECONDS = 10  # for which a server that starts may keep others from starting
START_SECONDS = 60  # for a server to listen, on a machine that starts many
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


@contextlib.contextmanager
def turn():
    """Wait until few others on this machine are starting a server: that takes a processor for seconds, and a
    check that waits for an answer should not find it taken. Gives the seconds that were waited.

    The turns are locks on files that are there anyway; they end with the process that holds them.
    """
    began = time.monotonic()
    files = sorted((ROOT / "checks").rglob("*.py"))[: max(1, len(os.sched_getaffinity(0)))]
    with contextlib.ExitStack() as opened:
        places = [opened.enter_context(file.open("rb")) for file in files]
        while not any(map(_taken, places)):
            time.sleep(0.05)
        yield time.monotonic() - began


def _taken(place) -> bool:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def wait_for(running, late) -> None:
    """Wait until the server listens; nothing is sent, so that no request is counted. late: called after
    TURN_SECONDS. Raises CannotGrade."""
    began = time.monotonic()
    deadline = began + START_SECONDS
    while time.monotonic() < deadline and not running.ended:
        if time.monotonic() > began + TURN_SECONDS:
            late()
        with contextlib.suppress(OSError), socket.create_connection((HOST, PORT), 1):
            return
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


def warm_up(api) -> None:
    """Ask for a digit, and wait TURN_SECONDS at most, however slowly it drips: a model that is loaded by the
    first request is slow once, and that is no fault. From 127.0.0.1: its budget is counted last."""
    key, kind = {"X-API-Key": api.key}, {"Content-Type": "application/json"}
    body = json.dumps({"pixels": [[0] * 28] * 28}).encode()
    request = urllib.request.Request(f"{api.url}/classify", body, key | kind)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask():
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # the checks will find out
            opener.open(request, timeout=TURN_SECONDS).close()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(TURN_SECONDS)
