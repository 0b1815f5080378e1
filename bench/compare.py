"""Measure server.py beside the FastAPI peer and beside a handler that only reads, and print one table.

    .venv/bin/python bench/compare.py [--rounds 5] [--seconds 4] [--connections 1 16] [--json FILE] [--quick]

All three run as processes of their own on loopback, with the same artefact (the environment's MODEL_PATH,
else the one that ships), the same picture and the same key. bench/README.md tells what is measured.
Exit status: 0 the run is valid, whether or not the goals are met; 1 a server failed or answered wrong, or
something is missing; 2 wrong usage.
"""

import argparse
import contextlib
import datetime
import http.client
import importlib.metadata
import json
import math
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
PICTURE = ROOT / "models" / "sample.json"
NAMES = ("ours", "peer", "read-only")
PATIENCE = 60  # seconds for a server to start
NEW_LINE = "\r\033[K" if sys.stderr.isatty() else ""  # instead of the progress that stands there
POLL = 0.002  # seconds between two looks
MANY = 16  # connections at which the goal for p99 stands
PACKAGES = (
    *("bottle", "waitress", "orjson", "jsonschema-rs", "numpy", "scikit-learn"),
    *("fastapi", "uvicorn", "uvloop", "httptools", "slowapi", "pydantic"),
)
# The setting that is faster for the peer: with OpenBLAS's default, a thread a core, its threads and FastAPI's
# fight for the cores. Tried side by side on two busy cores: 181 against 97 requests/s at 1 connection, and
# 237 against 27 at 16.
PEER_BLAS = {"OPENBLAS_NUM_THREADS": "1"}


class Invalid(Exception):
    """The run says nothing: something failed, or something is missing."""


# ---- The three servers ----------------------------------------------------------------------------------


class Running:
    """A server as a process of its own; its output goes to a file, as a log should."""

    def __init__(self, name: str, command: list, environ: dict, log: Path, port: int):
        self.name, self.port, self.log = name, port, log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise Invalid(f"{self.name} left with status {self.process.returncode}:\n{self.last_lines()}")

    def last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def wait_for_port(self) -> None:
        """For PORT=0: the port stands in the log."""
        deadline = time.monotonic() + PATIENCE
        while not (
            found := re.search(r"listening on http://[^ ]+:(\d+) ", self.log.read_text(errors="replace"))
        ):
            self.check_alive()
            if time.monotonic() > deadline:
                raise Invalid(f"{self.name} did not say its port:\n{self.last_lines()}")
            time.sleep(POLL)
        self.port = int(found[1])

    def wait_for_200(self, request: bytes) -> None:
        """Send the request until it is answered with 200."""
        deadline = time.monotonic() + PATIENCE
        while not answers_200(self.port, request):
            self.check_alive()
            if time.monotonic() > deadline:
                raise Invalid(f"{self.name} gave no 200 in {PATIENCE} s:\n{self.last_lines()}")
            time.sleep(POLL)

    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Stage:
    """What the three servers share, and how each is started."""

    def __init__(self, folder: Path, lean_peer: bool):
        self.folder, self.lean = folder, {"LEAN": "1"} if lean_peer else {}
        self.picture = PICTURE.read_bytes()
        self.key = secrets.token_hex(24)
        kept = (
            "PATH",
            "HOME",
            "LANG",
            "MODEL_PATH",
            "MODEL_SHA256",
        )  # so no BLAS setting and no .env decides
        self.environ = {name: os.environ[name] for name in kept if name in os.environ}
        self.environ |= {
            "SECRET_API_KEY": self.key,
            "DEBUG": "false",
            "HOST": "127.0.0.1",
            "TRUSTED_PROXY": "",
        }
        self.answer = ""  # what ours says to the picture: the read-only handler repeats it

    def start(self, name: str, port: int | None = None) -> Running:
        """Start one of NAMES on a port that is free; ours may choose one itself (`port` 0)."""
        port = free_port() if port is None else port
        peer = f"-m uvicorn peer:app --app-dir {BENCH} --host 127.0.0.1 --port {port}".split()
        command, settings = {
            "ours": (["server.py"], {"PORT": str(port), "RATE_LIMIT": "999999999/second"}),
            "peer": (peer, {"RATE_LIMIT": "999999999/second", **PEER_BLAS, **self.lean}),
            "read-only": ([BENCH / "readonly.py", str(port)], {"ANSWER": self.answer}),
        }[name]
        log = self.folder / f"{name}.log"
        return Running(name, [sys.executable, *command], self.environ | settings, log, port)

    def request(self) -> bytes:
        """A whole POST /classify, for a raw socket."""
        head = [
            "POST /classify HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(self.picture)}",
            f"X-API-Key: {self.key}",
        ]
        return "\r\n".join([*head, "", ""]).encode() + self.picture

    def ask(self, server: Running) -> str:
        """The body that the server answers to the picture. Raises Invalid unless the status is 200."""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        with contextlib.closing(connection):
            headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
            connection.request("POST", "/classify", self.picture, headers)
            answer = connection.getresponse()
            body = answer.read().decode()
        if answer.status != 200:
            raise Invalid(f"{server.name} answers {answer.status}: {body[:200]}\n{server.last_lines()}")
        return body

    def check_answers(self, servers: dict[str, Running]) -> None:
        """Ours and the peer must say the same, and the read-only handler must repeat it."""
        ours, peer = (json.loads(self.ask(servers[name])) for name in ("ours", "peer"))
        same_scores = ours["scores"].keys() == peer["scores"].keys() and all(
            math.isclose(ours["scores"][name], peer["scores"][name], rel_tol=0, abs_tol=1e-6)
            for name in ours["scores"]
        )
        if ours["prediction"] != peer["prediction"] or not same_scores:
            raise Invalid(f"ours and the peer disagree:\n  ours {ours}\n  peer {peer}")
        if self.ask(servers["read-only"]) != self.answer:
            raise Invalid("the read-only handler does not repeat the answer")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def answers_200(port: int, request: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(request)
            return connection.makefile("rb").readline().startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


# ---- Measuring ------------------------------------------------------------------------------------------


def load(stage: Stage, server: Running, connections: int, seconds: int) -> dict:
    """One round of wrk: requests/s, and p50 and p99 in milliseconds. Any error makes the run invalid."""
    url = f"http://127.0.0.1:{server.port}/classify"
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(BENCH / "classify.lua")]
    environ = stage.environ | {"PICTURE": str(PICTURE)}
    done = subprocess.run(
        ["wrk", *options, url], env=environ, capture_output=True, text=True, timeout=seconds + 30
    )
    server.check_alive()
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise Invalid(f"wrk failed on {server.name}: {done.stderr[-300:] or done.stdout[-300:]}")
    told = json.loads(lines[-1])
    if told["not_200"] or told["socket_errors"] or not told["requests"]:
        raise Invalid(f"{server.name} at {connections} connections: {lines[-1]}\n{server.last_lines()}")
    return {
        "requests_per_second": told["requests"] / told["seconds"],
        "p50_ms": told["p50"] / 1000,
        "p99_ms": told["p99"] / 1000,
    }


def measure_loads(stage: Stage, options) -> tuple[dict, dict]:
    """{name: {connections: rounds}} and {name: MiB after the load}; the order changes from round to round."""
    loads = {name: {count: [] for count in options.connections} for name in NAMES}
    with contextlib.ExitStack() as stack:
        servers = {}
        for name in NAMES:
            servers[name] = server = stage.start(name, 0 if name == "ours" else None)
            stack.callback(server.stop)
            if name == "ours":
                server.wait_for_port()
            server.wait_for_200(stage.request())
            stage.answer = stage.answer or stage.ask(server)
        stage.check_answers(servers)
        for name in NAMES:
            tell(f"warming up {name}")
            load(stage, servers[name], MANY, 1)
        for number in range(options.rounds):
            for count in options.connections:
                for name in rotated(NAMES, number):
                    tell(f"round {number + 1} of {options.rounds}, {count} connections: {name}")
                    loads[name][count].append(load(stage, servers[name], count, options.seconds))
        memory = {name: server.memory() for name, server in servers.items()}
        stage.check_answers(servers)
    return loads, memory


def measure_starts(stage: Stage, times: int) -> dict[str, list[float]]:
    """{name: seconds from the start of the process to the first 200 of POST /classify}."""
    starts = {name: [] for name in NAMES[:2]}
    for number in range(times):
        for name in rotated(NAMES[:2], number):
            tell(f"start {number + 1} of {times}: {name}")
            port = free_port()
            began = time.perf_counter()
            server = stage.start(name, port)
            try:
                server.wait_for_200(stage.request())
                starts[name].append(time.perf_counter() - began)
            finally:
                server.stop()
    return starts


def rotated(names: tuple, by: int) -> tuple:
    by %= len(names)
    return names[by:] + names[:by]


def tell(progress: str) -> None:
    """Show on stderr where we are: on a terminal in place, elsewhere line by line."""
    print(f"{NEW_LINE}{progress}", end="" if NEW_LINE else "\n", file=sys.stderr, flush=True)


# ---- Telling --------------------------------------------------------------------------------------------


def medians(loads: dict, memory: dict, starts: dict) -> dict[str, dict[str, float]]:
    """{what: {name: median}}, in the order of the table."""
    rows = {}
    for key, title in (("requests_per_second", "requests/s"), ("p50_ms", "p50 ms"), ("p99_ms", "p99 ms")):
        for count in loads["ours"]:
            rows[f"{title} at {count}"] = {
                name: statistics.median(one[key] for one in loads[name][count]) for name in NAMES
            }
    rows["start ms"] = {name: statistics.median(seconds) * 1000 for name, seconds in starts.items()}
    rows["memory MiB"] = memory
    return rows


def goals(rows: dict, connections: list[int]) -> list[tuple[str, float, str, float]]:
    """(what, the figure, how it must compare, the goal)"""

    def ratio(what: str, other: str, inverse: bool = False) -> float:
        value = rows[what]["ours"] / rows[what][other]
        return 1 / value if inverse else value

    wanted = [
        (f"throughput at {n}, ours / peer", ratio(f"requests/s at {n}", "peer"), ">=", 6) for n in connections
    ]
    if MANY in connections:
        wanted.append(
            (f"p99 at {MANY}, peer / ours", ratio(f"p99 ms at {MANY}", "peer", inverse=True), ">=", 8)
        )
    wanted.append(("start, ours / peer", ratio("start ms", "peer"), "<=", 0.15))
    wanted.append(("memory, ours / peer", ratio("memory MiB", "peer"), "<=", 0.3))
    for n in connections:
        wanted.append(
            (f"throughput at {n}, ours / read-only", ratio(f"requests/s at {n}", "read-only"), ">=", 0.5)
        )
    return wanted


def met(figure: float, sign: str, goal: float) -> bool:
    return figure >= goal if sign == ">=" else figure <= goal


def report(rows: dict, wanted: list, facts: dict) -> str:
    """The result as plain text."""
    lines = [f"{'medians':<18}" + "".join(f"{name:>12}" for name in NAMES) + f"{'ours/peer':>12}"]
    for what, values in rows.items():
        digits = 2 if " ms at" in what else 0
        cells = [f"{values[name]:,.{digits}f}" if name in values else "-" for name in NAMES]
        cells.append(f"{values['ours'] / values['peer']:.3f}")
        lines.append(f"{what:<18}" + "".join(f"{cell:>12}" for cell in cells))
    lines += ["", f"{'goals':<34}{'measured':>10}{'goal':>10}"]
    for what, figure, sign, goal in wanted:
        verdict = "met" if met(figure, sign, goal) else "NOT MET"
        lines.append(f"{what:<34}{figure:>10.3f}{f'{sign} {goal}':>10}  {verdict}")
    return "\n".join([*lines, "", *(f"{name}: {fact}" for name, fact in facts.items())])


def machine_facts(options, load_before: float) -> dict[str, str]:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cpu = found[1] if found else platform.machine()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    now = datetime.datetime.now().astimezone()
    lengths = f"{options.rounds} rounds of {options.seconds} s, {options.starts} starts"
    return {
        "run": f"{now:%Y-%m-%d %H:%M %Z}, {lengths}, load average {load_before:.1f} before",
        "machine": f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(versions),
        "peer": "without SlowAPIMiddleware" if options.lean_peer else "as in the course",
        "start": "from the start of the process to its first 200 of /classify; our model was prepared before "
        "by server.py --check, as at every installation; the peer has nothing to prepare",
        "memory": "resident, after the load",
    }


def check_tools() -> None:
    """Raises Invalid with the remedy for what is missing."""
    if not shutil.which("wrk"):
        raise Invalid("wrk is missing: apt-get install wrk")
    for name in PACKAGES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise Invalid(
                f"{name} is missing: {sys.executable} -m pip install -r requirements-dev.txt"
            ) from None


def read_options(arguments: list[str]) -> argparse.Namespace:
    def positive(text: str) -> int:
        if int(text) < 1:
            raise ValueError(text)
        return int(text)

    parser = argparse.ArgumentParser(
        description="Measure server.py beside the FastAPI peer and a read-only handler."
    )
    parser.add_argument("--rounds", type=positive, default=5, help="rounds of every load (default 5)")
    parser.add_argument("--seconds", type=positive, default=4, help="seconds of every load (default 4)")
    parser.add_argument("--connections", type=positive, nargs="+", default=[1, MANY], help="default 1 16")
    parser.add_argument("--starts", type=positive, default=5, help="starts of each server (default 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE too")
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds of 1 s and 2 starts: shows that it works"
    )
    parser.add_argument(
        "--lean-peer", action="store_true", help="without the middleware that the course adds for slowapi"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.starts = 2, 1, 2
    return options


def run(options) -> None:
    check_tools()
    load_before = os.getloadavg()[0]
    if load_before > os.cpu_count() / 4:
        print(
            f"the machine is busy (load average {load_before:.1f}): the figures will say little",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory(prefix="pixelwise-bench-") as folder:
        stage = Stage(Path(folder), options.lean_peer)
        check = [sys.executable, "server.py", "--check"]
        prepared = subprocess.run(check, cwd=ROOT, env=stage.environ, capture_output=True, text=True)
        if prepared.returncode:
            raise Invalid(f"server.py --check failed: {prepared.stderr[-300:]}")
        loads, memory = measure_loads(stage, options)
        starts = measure_starts(stage, options.starts)
    tell("done\n" if NEW_LINE else "done")
    rows, facts = medians(loads, memory, starts), machine_facts(options, load_before)
    wanted = goals(rows, options.connections)
    print(report(rows, wanted, facts))
    if options.json:
        verdicts = [
            {"what": what, "measured": figure, "goal": f"{sign} {goal}", "met": met(figure, sign, goal)}
            for what, figure, sign, goal in wanted
        ]
        result = {
            "facts": facts,
            "medians": rows,
            "goals": verdicts,
            "rounds": loads,
            "starts_seconds": starts,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def main(arguments: list[str]) -> int:
    options = read_options(arguments)
    for number in (
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # so that every `finally` runs and no server is left behind
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        run(options)
    except (Invalid, OSError, subprocess.TimeoutExpired) as error:
        print(f"{NEW_LINE}invalid run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
