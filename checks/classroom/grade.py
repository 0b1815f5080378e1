"""Grades one submission, or a class of them: each on a port 8000 of its own, in a sandbox, side by side.

    python -m checks.grade PATH [--out DIR]             one: a folder, a zip or a git URL
    python -m checks.grade SUBMISSIONS/ --out GRADES    a class: a folder whose entries are submissions

Every submission is graded by a process of its own (`one`) in a fresh network namespace: it starts the
submission's server in a sandbox and runs the checks from outside, over HTTP. What the submission says of
itself is never believed. A record is on disk, whole, the moment a submission is finished; the same line
again goes on where the last one stopped, and grades again only what a changed submission or check affects.

Exit status: 0 all were graded; 1 some could not be; 2 a wrong call; 130 interrupted.
"""

import argparse
import base64
import contextlib
import ctypes
import fcntl
import hashlib
import http.client
import importlib.metadata
import inspect
import io
import json
import os
import pickle
import platform
import re
import secrets
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

from checks.classroom import gradebook
from checks.kit import core, grading
from checks.report import model as report

ROOT = Path(__file__).resolve().parents[2]
HOST, PORT = "127.0.0.1", 8000
URL = f"http://{HOST}:{PORT}"
TURN_SECONDS = 10  # for which a server that starts may keep others from starting
START_SECONDS = 60  # for a server to listen, on a machine that starts many
ELSEWHERE_SECONDS = 5  # for which a server that listens on another port is waited for
LOG = 64 * 1024  # characters of the server's output that are kept
LARGEST_FILE = 2 << 20  # bytes of a file of a lab's evidence
HASHED_WHOLE = 64 * 1024 * 1024  # bytes of a file; of a larger one, its size and time of change count
UNDER_WAY_PER_CORE = 8  # a submission waits for windows of the rate limit nearly all of its time
MEMORY_EACH = 512 * 1024 * 1024  # bytes that a submission and its grader use together, usually less
GRACE = 5  # seconds in which a grader that is told to stop clears up
PACKAGES = ("fastapi", "flask", "pydantic", "slowapi", "starlette", "uvicorn")  # beside requirements.txt
# jsonschema would build a parser for URLs in other scripts at every start: a second that nothing here needs
CHILD = """import sys
sys.modules["rfc3987_syntax"] = None
from checks.classroom import grade
sys.exit(grade.one())"""
# What may be the fault of a machine that is busy with others: it is graded again when it is not
DOUBT = re.compile("no whole answer within|took longer than the window|time for this check was used up")
STOP = threading.Event()  # set: the graders under way end, and none is started
LIVE: dict[str, dict] = {}  # what those under way are at, for the live table: {name: progress}


class Usage(Exception):
    """A wrong call. The message is a sentence with the remedy."""


class CannotGrade(Exception):
    """Nothing could be found out about a submission's server. The message: why, and the remedy."""

    def __init__(self, message: str, detail: str = ""):
        super().__init__(message)
        self.detail = detail  # what was seen, and may differ from run to run


# ---- What is graded again -------------------------------------------------------------------------------


def entries(path: Path) -> Iterator[tuple[str, str, int, Path]]:
    """(relative path, "file", "folder", "link" or "other", mode, path) of all in a folder, in a fixed order;
    nothing is followed or opened."""
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted([*names, *files]):
            found = Path(folder, name)
            mode = found.lstat().st_mode
            kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
            yield (
                found.relative_to(path).as_posix(),
                kinds.get(stat.S_IFMT(mode), "other"),
                mode & 0o777,
                found,
            )


def digest_of(path: Path) -> str:
    """SHA-256, in hex, of a zip's bytes or of all that a folder holds: names, modes and contents."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for name, kind, mode, found in entries(path):
        whole.update(f"{name!r} {kind} {mode:o} ".encode("utf-8", "surrogateescape"))
        if kind == "link":
            whole.update(os.fsencode(found.readlink()))
        elif kind == "file":
            size = found.lstat().st_size
            if size <= HASHED_WHOLE:
                whole.update(hashlib.sha256(found.read_bytes()).digest())
            else:
                whole.update(f"{size} {found.lstat().st_mtime_ns}".encode())
    return whole.hexdigest()


def grader_digests(options: dict) -> dict[str, str]:
    """What a grade depends on beside the submission: {"all": digest, "m1": digest, …}, SHA-256 in hex.

    "m1" to "m5": the checks of this milestone alone. "all": every other source of the checks, the schemas,
    the options that matter to a grade, Python, and the packages that servers run on.
    """
    checks = ROOT / "checks"
    own = {"m4": [checks / "kit" / "machine.py"]}
    for name in grading.MILESTONES:
        own.setdefault(name[:2], []).append(checks / f"test_{name}.py")
    mine = {file for files in own.values() for file in files}
    # no grade depends on these
    rest = {checks / "report", checks / "editions", checks / "classroom" / "gradebook.py"}
    rest |= {checks / name for name in ("conftest.py", "gradebook.py", "release.py")}
    shared = [file for file in checks.rglob("*") if file.suffix in (".py", ".npz") and file not in mine]
    shared = [file for file in shared if not rest & {file, *file.parents}]
    shared += (ROOT / "schemas").rglob("*.json")
    told = [f"{file.relative_to(ROOT)} {digest_of(file)}" for file in sorted(shared)]
    told += [platform.python_version(), json.dumps(options, sort_keys=True), *_versions()]
    return {"all": hashlib.sha256("\n".join(told).encode()).hexdigest()} | {
        name: hashlib.sha256("".join(map(digest_of, sorted(files))).encode()).hexdigest()
        for name, files in sorted(own.items())
    }


def _versions() -> list[str]:
    """The versions of the packages that a submission's server runs on, where they are installed."""
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    names = {*PACKAGES, *re.findall(r"^([\w.-]+)==", pinned, re.MULTILINE)}
    found = []
    for name in sorted(names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found


def outdated(record: dict | None, submission: str, grader: dict[str, str], seconds: float) -> set[str]:
    """The milestones that must be graded again: all, none, or those whose checks changed and those whose
    checks need one of these."""
    everything = {name[:2] for name in grading.MILESTONES}
    if record is None or record["submission"] != submission or record["grader"]["all"] != grader["all"]:
        return everything
    if (
        record["again"]
        or record["doubtful"]
        or (record["status"] != gradebook.GRADED and record["limit"] != seconds)
    ):
        return everything
    changed = {name for name in everything if record["grader"].get(name) != grader[name]}
    if changed and record["status"] != gradebook.GRADED:
        return everything
    checks = grading.all_checks()
    while True:
        more = {
            check.milestone
            for check in checks
            for needed in check.needs
            if needed.partition(".")[0] in changed
        }
        if more <= changed:
            return changed
        changed |= more


def seed_of(name: str, seed: int) -> int:
    """The seed of a student's digits: the same in every run."""
    return (
        int.from_bytes(hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()[:4])
        % 10**6
    )


# ---- Finding submissions --------------------------------------------------------------------------------


def is_url(path: str) -> bool:
    return "://" in path or re.match(r"[\w.-]+@[\w.-]+:", path) is not None


def is_class(path: Path) -> bool:
    """Whether a folder is a class: nothing in it looks like a submission's own files, and it holds folders
    or zips. Raises Usage where it is neither."""
    if not path.is_dir():
        return False
    inside = [found for found in path.iterdir() if not found.name.startswith(".")]
    own = [found for found in inside if found.suffix in (".py", ".ipynb") and found.is_file()]
    if own or (path / ".git").exists() or (path / "app" / "main.py").is_file():
        return False
    if any(map(_is_submission, inside)):
        return True
    raise Usage(
        f"{path} is neither a submission (no server.py, no app/main.py) nor a class (no folders, no .zip "
        "files): name the folder that holds one of these"
    )


def _is_submission(path: Path) -> bool:
    return not path.is_symlink() and (path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"))


def find_submissions(folder: Path) -> dict[str, Path]:
    """{student: folder or zip} of a class, sorted by name. Raises Usage where two have the same name, or one
    has a name that the grades cannot have."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not _is_submission(path):
            continue
        name = path.name if path.is_dir() else path.name[:-4]
        if name in found:
            raise Usage(f"{found[name].name} and {path.name} are the same student: remove or rename one")
        if name in gradebook.TAKEN or name.strip() in ("", ".", ".."):
            raise Usage(f"a submission cannot be called {name!r}: rename it")
        found[name] = path
    return found


# ---- Packing, for workers that do not see the submissions -----------------------------------------------


def pack(path: Path) -> list[tuple[str, str, int, bytes]]:
    """A zip or a folder as values: (relative path, kind, mode, content or the link's target)."""
    if path.is_file():
        return [(path.name, "file", 0o600, path.read_bytes())]
    packed = []
    for name, kind, mode, found in entries(path):
        content = {"file": found.read_bytes, "link": lambda link=found: os.fsencode(link.readlink())}
        packed.append((f"{path.name}/{name}", kind, mode, content.get(kind, bytes)()))
    return [(path.name, "folder", 0o700, b""), *packed]


def unpack(packed: list[tuple[str, str, int, bytes]], into: Path) -> Path:
    """Write it again; returns the zip or folder. Links come last, so that nothing is written through one."""
    for name, kind, mode, content in sorted(packed, key=lambda entry: entry[1] == "link"):
        target = into / name
        if kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
        elif kind == "link":
            target.symlink_to(os.fsdecode(content))
        elif kind == "file":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode | 0o400)
    return into / packed[0][0]


# ---- One submission, in a process of its own ------------------------------------------------------------

LOOKED_FOR = {"server.py": "server", "app/main.py": "app.main", "main.py": "main", "app.py": "app"}
NO_UNIT = "it needs a unit file, and the submission has none: deploy/pixelwise.service"
WITH_DEBUG = "documentation is on"


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


def asks_for(check: core.Check, argument: str) -> bool:
    return argument in inspect.signature(check.function).parameters


def unchecked(check: core.Check, reason: str) -> core.Result:
    """The result of a check that could not be run."""
    told = {name: getattr(check, name) for name in PLAN}
    return core.Result(**told, status=core.UNCHECKED, earned=0, seconds=0.0, reason=reason)


PLAN = ("name", "number", "milestone", "sentence", "points", "stretch")


class Grading:
    """Grades one submission. task: see `task_for`; tell: called with what it is at, a dict."""

    def __init__(self, task: dict, scratch: Path, tell):
        self.task, self.scratch, self.tell = task, scratch, tell
        self.options, self.seed = task["options"], task["seed"]
        asked = set(filter(None, self.options["milestone"].split(",")))
        self.wanted = set(task["milestones"]) & (asked or set(report.TITLES))
        self.results: dict[str, core.Result] = {}
        for kept in task["kept"]:  # results of the milestones that are not graded again
            self.results[kept["name"]] = core.Result(**kept)
        self.timings: dict[str, float] = {}
        self.log = ""
        self.notes: list[str] = []

    def run(self) -> dict:
        """The record of the submission; see gradebook.py."""
        began, started = time.monotonic(), report.now()
        why = detail = ""
        root = labs = None
        try:
            root = self.fetch()
            self.grade_unit(root)
            self.grade_server(root)
        except CannotGrade as problem:
            why, detail = str(problem), problem.detail
            self.leave_out(why)
        if root:
            labs = self.rerun_notebooks(root)
        # its own time: what it waited for others is none of it
        self.timings["total"] = time.monotonic() - began - self.timings.get("waited for its turn", 0)
        return record_of(
            self.task,
            why,
            detail,
            results=list(self.results.values()),
            times=(started, report.now()),
            notes=self.notes,
            log=self.log,
            labs=labs,
            seconds={name: round(seconds, 2) for name, seconds in self.timings.items()},
        )

    def fetch(self) -> Path:
        """A safe copy of what was handed in; returns its folder."""
        from checks.classroom import intake

        source = self.task["path"]
        if self.task["packed"]:
            source = unpack(self.task["packed"], self.scratch / "sent")
        try:
            fetched = intake.fetch(str(source), self.scratch / "submission")
        except intake.SubmissionError as problem:
            raise CannotGrade(str(problem)) from None
        self.notes += fetched.notes
        return fetched.root

    def checks(self, given: dict) -> list[core.Check]:
        """The checks of the wanted milestones that can be run with what is given."""
        asked = self.options["milestone"]
        milestones = tuple(sorted(self.wanted)) if asked else ()
        planned = grading.planned(grading.all_checks(), given, milestones)
        return [check for check in planned if check.milestone in self.wanted]

    def publish(self, result: core.Result) -> None:
        self.results[result.name] = result
        told = self.results.values()
        earned, points = (sum(getattr(one, name) for one in told) for name in ("earned", "points"))
        self.tell({"at": result.name, "earned": earned, "of": points})

    def grade_unit(self, root: Path) -> None:
        """The part of m4 that needs no machine."""
        if "m4" not in self.wanted:
            return
        unit = find_unit(root)
        given = grading.given_for(unit=str(unit), seed=self.seed) if unit else {}
        session = grading.session(grading.all_checks(), given, self.seed)
        for check in grading.all_checks():
            if check.milestone == "m4" and asks_for(check, "unit"):
                self.publish(session.run(check.name) if unit else unchecked(check, NO_UNIT))

    def grade_server(self, root: Path) -> None:
        """m1, m2, m3, and m5 where there is a fourth endpoint. The server is started twice.

        With DEBUG=false, as in production, everything is graded but the documentation, and that this is
        hidden; with DEBUG=true, the checks of the documentation, and m5, which reads it.
        """
        if {"m1", "m2", "m3"} & self.wanted:
            with self.serving(root, debug=False) as (given, session):
                if session.gone:
                    raise CannotGrade(f"the server does not answer: {session.gone}")
                for check in self.checks(given):
                    if asks_for(check, "api") and check.milestone != "m5":
                        self.publish(session.run(check.name))
        if {"m2", "m5"} & self.wanted:
            try:
                with self.serving(root, debug=True) as (given, session):
                    for check in self.checks(given):
                        if check.milestone == "m5" or check.only == WITH_DEBUG:
                            self.publish(session.run(check.name))
            except CannotGrade as problem:  # it did serve with DEBUG=false: that grade stands
                self.leave_out(f"with DEBUG=true, {problem}")

    def leave_out(self, why: str) -> None:
        """What nobody could ask the server: it could not be checked. m5 is optional and not counted."""
        for check in grading.all_checks():
            online = asks_for(check, "prod") or check.milestone == "m5"
            if check.milestone in self.wanted and not online and check.name not in self.results:
                self.results[check.name] = unchecked(check, why)

    @contextlib.contextmanager
    def serving(self, root: Path, debug: bool):
        """The submission's server in its sandbox; gives what the checks are given, and their session.
        Raises CannotGrade where it does not listen."""
        from checks.classroom.sandbox import Limits, Sandbox

        key = secrets.token_urlsafe(24)
        mode = f"DEBUG={'true' if debug else 'false'}"
        env = {
            "HOST": HOST,
            "PORT": str(PORT),
            "SECRET_API_KEY": key,
            "DEBUG": mode.removeprefix("DEBUG="),
            "RATE_LIMIT": self.options["limit"],
        }
        command = find_server(root)
        with contextlib.ExitStack() as using:
            starting = using.enter_context(contextlib.ExitStack())
            self.tell({"at": "waits for its turn to start"})
            waited = starting.enter_context(turn())
            self.tell({"waited": waited})
            self.timings["waited for its turn"] = self.timings.get("waited for its turn", 0) + waited
            began = time.monotonic()
            self.tell({"at": f"starts the server with {mode}"})
            box = using.enter_context(Sandbox(root, Limits(seconds=self.task["seconds"])))
            running = box.start(command, env)
            try:
                wait_for(running, starting.close)
                given = grading.given_for(
                    url=URL,
                    key=key,
                    limit=self.options["limit"],
                    debug=debug,
                    seed=self.seed,
                    tell=lambda text: self.tell({"at": text}),
                )
                warm_up(given["api"])
                starting.close()
                self.timings[f"start with {mode}"] = time.monotonic() - began
                session = grading.session(grading.all_checks(), given, self.seed)
                session.results |= self.results  # what other checks need, and is known already
                yield given, session
            finally:
                ended = running.ended
                running.stop()
                text = running.output.replace(key, "$SECRET_API_KEY")
                self.log += (
                    f"---- {' '.join(command)} with {mode}\n{text[-LOG:]}\n---- {ended or 'stopped'}\n"
                )
                self.timings[f"with {mode}"] = time.monotonic() - began

    def rerun_notebooks(self, root: Path) -> dict | None:
        """The evidence of the labs; None with --milestone, or where there are no notebooks."""
        if self.task["kept"]:
            return self.task["labs"]
        if self.options["milestone"] or not any(root.rglob("*.ipynb")):
            return None
        from checks.classroom import notebooks
        from checks.classroom.sandbox import Limits, Sandbox

        def sandbox(folder: Path, readable=(), **limits) -> Sandbox:
            return Sandbox(folder, Limits(**{"seconds": self.task["seconds"]} | limits), readable=readable)

        began, out = time.monotonic(), self.scratch / "labs"
        out.mkdir()
        self.tell({"at": "runs the notebooks again"})
        try:
            evidence = notebooks.rerun(root, ROOT, sandbox, out)
        except Exception as problem:  # evidence, not points: the grade stands without it
            self.notes.append(f"the notebooks could not be run again ({problem!r:.200})")
            return None
        self.timings["labs"] = time.monotonic() - began
        evidence["files"] = {
            name: base64.b64encode(found.read_bytes()).decode()
            for name, kind, _, found in entries(out)
            if kind == "file" and found.stat().st_size <= LARGEST_FILE
        }
        return evidence


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


def record_of(
    task: dict,
    why: str,
    detail: str = "",
    *,
    results=(),
    times: tuple[str, ...] = (),
    notes=(),
    log="",
    labs=None,
    seconds=None,
    again=False,
) -> dict:
    """The record of a submission: all that its pages are made of. again: it says nothing about the
    submission, so that the next run grades it again."""
    times = times or (report.now(),)
    doubtful = any(one.status == core.UNSTABLE or DOUBT.search(one.received + one.reason) for one in results)
    header = {
        "url": URL,
        "seed": task["seed"],
        "started": times[0],
        "versions": {"python": platform.python_version(), "platform": platform.platform()},
        "planned": [],
    }
    return {
        "version": gradebook.VERSION,
        "name": task["name"],
        "status": gradebook.NOT_GRADED if why else gradebook.GRADED,
        "why": why,
        "detail": report.clean(detail),
        "seed": task["seed"],
        "submission": task["submission"],
        "grader": task["grader"],
        "report": report.build(header, results, times[-1]),
        "notes": list(notes),
        "log": log,
        "labs": labs,
        "seconds": seconds or {},
        "again": again,
        "doubtful": doubtful and not task["alone"],
        "limit": task["seconds"],
    }


def one() -> int:
    """The process of one submission: a task on stdin (pickled); progress, then the record on stdout."""
    task = pickle.load(sys.stdin.buffer)
    die_with(task["parent"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no part of the answer

    def tell(progress: dict) -> None:
        out.write(json.dumps(progress) + "\n")
        out.flush()

    scratch = Path(task["scratch"])
    try:
        scratch.mkdir(mode=0o700)
        tell({"record": Grading(task, scratch, tell).run()})
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def die_with(parent: int) -> None:
    """Get SIGTERM when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the grader that started this has gone")


# ---- From the outside: one process a submission ---------------------------------------------------------


def task_for(
    name: str, path: Path, submission: str, old: dict | None, options: dict, grader: dict, seconds: float
) -> dict:
    """What grading one submission takes; all of it values, so that any machine may do it. milestones: those
    to be graded, none where the old record holds."""
    milestones = outdated(old, submission, grader, seconds)
    partly = milestones != set(report.TITLES)
    kept = [one for one in old["report"]["results"] if one["milestone"] not in milestones] if partly else []
    return {
        "name": name,
        "path": str(path.resolve()),
        "packed": None,
        "submission": submission,
        "grader": grader,
        "options": options,
        "seconds": seconds,
        "alone": False,
        "seed": seed_of(name, options["seed"]),
        "milestones": sorted(milestones),
        "kept": kept,
        "labs": old["labs"] if kept else None,
    }


def grade(task: dict) -> dict | None:
    """Grade one submission in a process of its own; returns its record, whatever happened to that process, or
    None after STOP. Runs in a thread of the class's grader, or on a Dask worker."""
    from checks.classroom.sandbox import in_fresh_network

    if STOP.is_set():
        return None
    if task["packed"] and grader_digests(task["options"]) != task["grader"]:
        where = platform.node()
        why = f"the Dask worker on {where} has other checks or packages: install the same there"
        return record_of(task, why, again=True)
    scratch = Path(tempfile.gettempdir(), f"pixelwise-grade-{uuid.uuid4().hex}")
    task = task | {"parent": os.getpid(), "scratch": str(scratch)}
    began, progress = time.monotonic(), {"at": "waits for a processor", "began": time.monotonic()}
    LIVE[task["name"]] = progress
    try:
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                in_fresh_network([sys.executable, "-c", CHILD]),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for this process alone, which then ends the others
            )
            try:
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(pickle.dumps(task))
                record, late = _listen(process, progress, began + task["seconds"])
            finally:
                _end(process)
            if record or STOP.is_set():
                return record
            if late:
                limit = f"over its time limit of {task['seconds']:g} s"
                at = f" at: {progress['at']}" if "at" in progress else ""
                return record_of(
                    task, f"{limit}: look at what it waits for, or give more --seconds", f"it was{at}"
                )
            errors.seek(max(0, errors.seek(0, io.SEEK_END) - 4000))
            text = errors.read().decode("utf-8", "replace")
            last = (text.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            return record_of(
                task, "the grader itself broke: tell its authors, with server.log", last, log=text, again=True
            )
    finally:
        LIVE.pop(task["name"], None)
        shutil.rmtree(scratch, ignore_errors=True)


def _listen(process: subprocess.Popen, progress: dict, deadline: float) -> tuple[dict | None, bool]:
    """Follow what the process tells, until it tells the record: (record, False). (None, True): it is late;
    (None, False): it ended, or was told to."""
    pipe, rest = process.stdout.fileno(), b""
    while time.monotonic() < deadline:
        if STOP.is_set():
            return None, False
        if not select.select([pipe], [], [], 0.3)[0]:
            continue
        data = os.read(pipe, 1 << 20)
        if not data:
            return None, False
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "record" in told:
                return told["record"], False
            deadline += told.pop("waited", 0)  # that was for others
            progress.update(told)
    return None, True


def _end(process: subprocess.Popen) -> None:
    """End it, kindly if it lets us: it then clears up."""
    process.stdout.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ---- On a production machine ----------------------------------------------------------------------------

BOX = ROOT / "deploy" / "box" / "box"
PROD = "ssh://produser@192.168.56.11"
DEPLOY = "cd /opt/pixelwise && git pull -q && bash setup-server.sh"
BOX_SECONDS = 900  # for a step on the box; the first one on a machine builds its image


def with_box(task: dict) -> dict | None:
    """The record of `grade`, with the checks of m4 that need a machine: the submission is deployed on a fresh
    box as the course does (push, pull, setup-server.sh), and the box is destroyed."""
    record = grade(task)
    online = [check for check in grading.all_checks() if check.milestone == "m4" and asks_for(check, "prod")]
    if record is None or "m4" not in task["milestones"]:
        return record
    began = time.monotonic()
    name = f"grade-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="pixelwise-grades-") as scratch:
        LIVE[task["name"]] = {"at": "is deployed on a box", "began": began}
        try:
            results = _on_a_box(name, task, Path(scratch), record)
        except (CannotGrade, OSError, subprocess.SubprocessError, ValueError, LookupError) as problem:
            results = [unchecked(check, f"it needs the box: {problem}"[:500]) for check in online]
        finally:
            LIVE.pop(task["name"], None)
            subprocess.run([BOX, "--name", name, "destroy"], stdin=subprocess.DEVNULL, capture_output=True)
    record["seconds"]["box"] = round(time.monotonic() - began, 2)
    names = {check.name for check in online}
    told = record["report"]
    kept = [core.Result(**one) for one in told["results"] if one["name"] not in names]
    header = {name: told[name] for name in ("url", "seed", "started", "versions")} | {"planned": []}
    record["report"] = report.build(header, [*kept, *results], report.now())
    return record


def _on_a_box(name: str, task: dict, scratch: Path, record: dict) -> list[core.Result]:
    """Deploy and check; returns the results of the checks that asked the machine. Raises CannotGrade."""
    from checks.classroom import intake

    def run(*words, cwd=ROOT, status=(0,)) -> str:
        done = subprocess.run(
            [*map(str, words)],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BOX_SECONDS,
        )
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode not in status:
            last = report.clean((text.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
            raise CannotGrade(f"{Path(words[0]).name} {' '.join(map(str, words[1:6]))} failed: {last}")
        return text

    try:
        root = intake.fetch(task["path"], scratch / "submission").root
    except intake.SubmissionError as problem:
        raise CannotGrade(str(problem)) from None
    shutil.rmtree(root / ".git", ignore_errors=True)
    run("git", "init", "-q", "-b", "main", "--template=", cwd=root)
    run("git", "add", "-A", cwd=root)
    person = ("-c", "user.name=student", "-c", "user.email=student@example.org")
    run("git", *person, "commit", "-qm", "handed in", cwd=root)
    box = (BOX, "--name", name)
    run(*box, "up")
    run(*box, "shell", "--", "git", "-C", root, "push", "-q", f"{PROD}/srv/git/pixelwise.git", "main")
    done = run(*box, "ssh", "--", DEPLOY, status=range(256))  # what came of it, the checks find out
    record["log"] += f"---- {DEPLOY}\n{done[-LOG:]}\n"
    seed = ("--seed", task["seed"], "-p", "no:cacheprovider", "-q")
    out = scratch / "report"
    line = ("-m", "pytest", "checks", "--prod", PROD, "--milestone", "m4", "--report", out, *seed)
    run(*box, "shell", "--", sys.executable, *line, status=(0, 1))
    told = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return [core.Result(**one) for one in told["results"]]


# ---- A class --------------------------------------------------------------------------------------------


def default_jobs() -> int:
    """How many submissions are under way at once: many a core, for most of them wait; as memory allows."""
    try:
        available = int(re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024
    except (OSError, TypeError):
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(UNDER_WAY_PER_CORE * len(os.sched_getaffinity(0)), available // MEMORY_EACH))


def run_all(tasks: list[dict], jobs: int, dask: str) -> Iterator[dict]:
    """The records of the tasks as they are finished, in any order; after STOP, no more of them."""
    import joblib

    if not tasks:
        return

    with contextlib.ExitStack() as using:
        if dask:
            from distributed import Client

            using.enter_context(Client(dask, timeout=10, set_as_default=True))
            backend = {"backend": "dask"}
            waiting = (task | {"packed": pack(Path(task["path"]))} for task in tasks)
        else:  # threads: each only waits for a process, which does the work
            backend, waiting = {"backend": "threading", "n_jobs": min(jobs, len(tasks))}, iter(tasks)
        using.enter_context(joblib.parallel_config(**backend))
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
        do = with_box if any(task["options"].get("box") for task in tasks) else grade
        for record in parallel(joblib.delayed(do)(task) for task in waiting):
            if record:
                yield record


class Plain:
    """A line for every submission that is finished: for logs and pipes."""

    def __init__(self, console, total: int, done: int):
        self.console, self.total, self.done = console, total, done

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        pass

    def finished(self, record: dict) -> None:
        self.done += 1
        self.say(f"[{self.done}/{self.total}] {line_of(record)}")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Live(Plain):
    """A progress bar, and a table of what is under way, for a terminal."""

    def __enter__(self):
        from rich.live import Live as Screen
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.bar = Progress(
            TextColumn("grading"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.bar_task = self.bar.add_task("", total=self.total, completed=self.done)
        self.screen = Screen(
            get_renderable=self.picture, console=self.console, refresh_per_second=4, transient=True
        )
        self.screen.start()
        return self

    def __exit__(self, *problem):
        self.screen.stop()

    def finished(self, record: dict) -> None:
        super().finished(record)
        self.bar.update(self.bar_task, completed=self.done)

    def picture(self):
        from rich.console import Group
        from rich.table import Column, Table
        from rich.text import Text

        table = Table(
            "under way", Column("points", justify="right"), Column("s", justify="right"), "at", box=None
        )
        rows = sorted(LIVE.copy().items(), key=lambda pair: pair[1]["began"])
        room = max(3, self.console.height - 8)
        for name, told in rows[:room]:
            points = f"{told['earned']:g} of {told['of']:g}" if "of" in told else ""
            seconds = f"{time.monotonic() - told['began']:.0f}"
            table.add_row(Text(report.clean(name)), points, seconds, Text(report.clean(told["at"])))
        more = Text(f"and {len(rows) - room} more", "dim") if len(rows) > room else ""
        return Group(self.bar, table, more)


def line_of(record: dict) -> str:
    """What came of a submission, in a line."""
    name, seconds = report.clean(record["name"]), record["seconds"].get("total", 0)
    if record["status"] != gradebook.GRADED:
        return f"{name}: could not be graded: {report.clean(record['why'])}"
    return (
        f"{name}: {record['report']['earned']:g} of {record['report']['points']:g} points ({seconds:.0f} s)"
    )


def grade_class(
    submissions: dict[str, Path], folders: dict[str, Path], options, arguments
) -> dict[str, list]:
    """Grade what must be graded of these submissions; returns {student: what differs from before}.

    folders: where each one's record goes. After STOP it returns early; what was finished is on disk.
    """
    console = console_for(arguments)
    grader = grader_digests(options)
    tasks, kept = [], 0
    for name, path in submissions.items():
        old = None if arguments.fresh else gradebook.load(folders[name])
        task = task_for(name, path, digest_of(path), old, options, grader, arguments.seconds)
        if task["milestones"]:
            tasks.append(task)
        else:
            kept += 1
    changes = {}
    show = (Live if console.is_terminal else Plain)(console, len(submissions), kept)
    if kept:
        show.say(
            f"{kept} of {len(submissions)} are graded already and have not changed (--fresh grades them anew)"
        )
    jobs = arguments.jobs or default_jobs()
    doubtful = set()
    with show:
        for record in run_all(tasks, jobs, arguments.dask):
            name = record["name"]
            changes[name] = gradebook.save(folders[name], record)
            if record["doubtful"]:
                doubtful.add(name)
                show.say(
                    f"{report.clean(name)}: was slow or unstable, and is graded again when there is time"
                )
            else:
                show.finished(record)
        # alone, or nearly: what is slow now is not slow because of others
        again = [task | {"alone": True} for task in tasks if task["name"] in doubtful]
        for record in run_all(again, min(jobs, len(os.sched_getaffinity(0))), arguments.dask):
            name = record["name"]
            changes[name] = gradebook.save(folders[name], record) or changes[name]
            show.finished(record)
    return {name: changed for name, changed in changes.items() if changed}


def console_for(arguments):
    from rich.console import Console

    return Console(highlight=False)


# ---- The command ----------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m checks.grade", description="Grade one submission, or a class of them."
    )
    made.add_argument("path", help="a folder, a zip or a git URL; or a folder whose entries are these")
    made.add_argument("--out", type=Path, help="the folder of the grades (a class needs one)")
    made.add_argument(
        "--jobs", type=int, help=f"how many are under way at once (default: {UNDER_WAY_PER_CORE} a core)"
    )
    made.add_argument("--dask", default="", metavar="tcp://HOST:PORT", help="grade on this Dask cluster")
    made.add_argument("--resume", action="store_true", help="keep what still holds (this is the default)")
    made.add_argument("--fresh", action="store_true", help="grade everything anew")
    made.add_argument("--limit", default="30/minute", help="RATE_LIMIT of the servers (default: 30/minute)")
    made.add_argument(
        "--seconds", type=float, default=600, help="the time limit of a submission (default: 600)"
    )
    made.add_argument("--milestone", default="", help="only these: m1,m3 (default: all)")
    made.add_argument(
        "--box", action="store_true", help="m4 on a fresh production machine: root, one at a time"
    )
    made.add_argument("--seed", type=int, default=0, help="choose other digits")
    made.add_argument(
        "--as", dest="kind", choices=["one", "class"], help="what PATH is, where that is not plain"
    )
    return made


def main(arguments: list[str]) -> int:
    """Grade, and write the grades; the exit status stands above."""
    asked = parser().parse_args(arguments)
    try:
        return command(asked)
    except Usage as problem:
        print(f"{problem}", file=sys.stderr)
        return 2


def command(asked) -> int:
    options = {"limit": asked.limit, "milestone": asked.milestone, "seed": asked.seed}
    if asked.box:
        options["box"] = True
        if asked.dask or os.geteuid():
            raise Usage("--box needs root, and a machine of its own: run it with sudo, and without --dask")
        asked.jobs = 1
    try:
        grading.parse_limit(asked.limit)
    except ValueError as problem:
        raise Usage(f"--limit: {problem}") from None
    if not set(filter(None, asked.milestone.split(","))) <= set(report.TITLES):
        raise Usage(f"--milestone {asked.milestone}: write some of {','.join(report.TITLES)}")
    if asked.jobs is not None and asked.jobs < 1 or asked.seconds <= 0:
        raise Usage("--jobs and --seconds are above 0")
    if missing := [
        tool for tool in ("bwrap", "unshare", "ip", "prlimit", "setpriv") if not shutil.which(tool)
    ]:
        raise Usage(
            f"{', '.join(missing)} missing: apt-get install bubblewrap libseccomp2 iproute2 util-linux"
        )
    STOP.clear()
    with stopping(), contextlib.ExitStack() as using:

        def scratch() -> Path:
            return Path(using.enter_context(tempfile.TemporaryDirectory(prefix="pixelwise-grades-")))

        if is_url(asked.path):
            path, name = clone(asked.path, scratch())
        else:
            path, name = Path(asked.path), ""
            if not path.exists():
                raise Usage(f"{path} is missing: name a folder, a zip or a git URL")
        if asked.kind == "class" or (asked.kind is None and is_class(path)):
            return command_class(path, asked, options)
        name = name or path.resolve().name.removesuffix(".zip")
        return command_one(path, name, asked, options, asked.out or scratch() / "grade")


def clone(url: str, scratch: Path) -> tuple[Path, str]:
    """Fetch a repository while there is a network; returns its folder and a name."""
    from checks.classroom import intake

    try:
        fetched = intake.fetch(url, scratch / "clone")
    except (intake.SubmissionError, subprocess.CalledProcessError) as problem:
        raise Usage(f"{problem}") from None
    return fetched.root, re.split(r"[/:]", url.rstrip("/").removesuffix(".git"))[-1]


def command_class(path: Path, asked, options: dict) -> int:
    if not asked.out:
        raise Usage("a class needs a folder for its grades: --out GRADES")
    if path.resolve() in (asked.out.resolve(), *asked.out.resolve().parents):
        raise Usage(f"{asked.out} lies among the submissions: name a folder elsewhere with --out")
    submissions = find_submissions(path)
    folders = {name: asked.out / name for name in submissions}
    asked.out.mkdir(parents=True, exist_ok=True)
    changes = grade_class(submissions, folders, options, asked)
    grades = gradebook.write_class(asked.out, submissions)
    console = console_for(asked)
    tell_changes(console, changes)
    count = {
        status: [g for g in grades if g["status"] == status]
        for status in (gradebook.GRADED, gradebook.NOT_GRADED, gradebook.NOT_YET)
    }
    console.print(
        f"{len(count[gradebook.GRADED])} graded, {len(count[gradebook.NOT_GRADED])} could not be graded: "
        f"{asked.out / 'index.html'} and {asked.out / 'gradebook.csv'}",
        markup=False,
        soft_wrap=True,
    )
    if STOP.is_set():
        kept = len(grades) - len(count[gradebook.NOT_YET])
        console.print(
            f"interrupted: {kept} of {len(grades)} are finished and kept; the same line goes on from there",
            markup=False,
            soft_wrap=True,
        )
        return 130
    return 1 if len(count[gradebook.GRADED]) < len(grades) else 0


def tell_changes(console, changes: dict[str, list]) -> None:
    """What differs from the grades before, a line each."""
    from rich.table import Table
    from rich.text import Text

    if changes:
        table = Table("changed", "what", "old", "new")
        for name, differing in sorted(changes.items()):
            for one_of_them in differing:
                table.add_row(*(Text(report.clean(text)) for text in (name, *one_of_them)))
        console.print(table)


def command_one(path: Path, name: str, asked, options: dict, folder: Path) -> int:
    from rich.text import Text

    changes = grade_class({name: path}, {name: folder}, options, asked)
    record = gradebook.load(folder)
    console = console_for(asked)
    if STOP.is_set() or record is None:
        console.print("interrupted: nothing is kept; the same line again starts anew", markup=False)
        return 130
    for result in (core.Result(**told) for told in record["report"]["results"]):
        console.print(report.line(result), soft_wrap=True)
        if result.status != core.PASSED and not record["why"]:
            console.print(report.explanation(result), soft_wrap=True)
    console.print(report.table(record["report"]))
    for text in filter(None, (record["why"] and f"could not be graded: {record['why']}", record["detail"])):
        console.print(Text(report.clean(text), "bold red"), soft_wrap=True)
    tell_changes(console, changes)
    if asked.out:
        console.print(f"reports: {asked.out}", markup=False, soft_wrap=True)
    return 1 if record["why"] else 0


@contextlib.contextmanager
def stopping():
    """Ctrl-C and SIGTERM end the graders under way; a second one does not wait for them."""

    def stop(number, frame):
        if STOP.is_set():
            raise KeyboardInterrupt
        STOP.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
