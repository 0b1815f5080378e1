"""A submission's server: found by its file, started when it is its turn, waited for until it listens."""

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

ROOT = Path(__file__).resolve().parents[2]
HOST, PORT = "127.0.0.1", 8000
URL = f"http://{HOST}:{PORT}"
TURN_SECONDS = 10  # for which a server that starts may keep others from starting
START_SECONDS = 60  # for a server to listen, on a machine that starts many
ELSEWHERE_SECONDS = 5  # for which a server that listens on another port is waited for
LOOKED_FOR = {"server.py": "server", "app/main.py": "app.main", "main.py": "main", "app.py": "app"}


class CannotGrade(Exception):
    """Nothing could be found out about a submission's server. The message: why, and the remedy."""

    def __init__(self, message: str, detail: str = ""):
        super().__init__(message)
        self.detail = detail  # what was seen, and may differ from run to run


def find_server(root: Path) -> list[str]:
    """The command that starts the submission's server, in its folder: `python FILE`, or uvicorn where the
    file has an `app` and starts nothing itself. Raises CannotGrade, which says what was looked for."""
    for file, module in LOOKED_FOR.items():
        path = root / file
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as opened:
            text = opened.read(1 << 20).decode("utf-8", "replace")
        has_app = re.search(r"^app\b[^=\n]*=", text, re.MULTILINE)
        starts_itself = re.search(r"__main__|^[\w.]*\b(run|serve|serve_forever)\(", text, re.MULTILINE)
        if has_app and (file == "app/main.py" or not starts_itself):
            return ["python", "-m", "uvicorn", f"{module}:app", "--host", HOST, "--port", str(PORT)]
        return ["python", file]
    raise CannotGrade(
        f"no server was found (looked for {', '.join(LOOKED_FOR)}): hand in the folder that holds the server"
    )


def find_unit(root: Path) -> Path | None:
    """The unit file: deploy/pixelwise.service, else the only one of that name, else the only .service."""
    for pattern in ("deploy/pixelwise.service", "**/pixelwise.service", "**/*.service"):
        found = [path for path in root.glob(pattern) if path.is_file() and not path.is_symlink()]
        if len(found) == 1:
            return found[0]
    return None


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
    """Ask for a digit, from an address that no check asks from, and wait TURN_SECONDS at most, however slowly
    it drips: a model that is loaded by the first request is slow once, and that is no fault."""
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
