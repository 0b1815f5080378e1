"""Grades one submission, in a process of its own that has no network but its own.

The submission's server runs in a sandbox and is asked from outside, over HTTP. What the submission says of
itself is never believed.
"""

import base64
import contextlib
import ctypes
import dataclasses
import inspect
import json
import os
import pickle
import resource
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from checks.classroom import notebooks
from checks.classroom.archives import SubmissionError
from checks.classroom.forks import forked
from checks.classroom.found import HOST, PORT, CannotGrade, find_server, find_unit
from checks.classroom.gates import ANOTHER_START, LATER, OTHER_KEY, asked_again, gates_first, refuses_its_key
from checks.classroom.handed_in import entries, unpack
from checks.classroom.intake import fetch
from checks.classroom.janitor import hire_a_janitor
from checks.classroom.limits import Limits
from checks.classroom.records import record_of
from checks.classroom.sandbox import Sandbox
from checks.classroom.server import QUICK_SECONDS, URL, Served, warm_up, write_settings
from checks.classroom.turns import Turn
from checks.kit import core, grading
from checks.kit.digits import Digits
from checks.report.model import TITLES, now

ROOT = Path(__file__).resolve().parents[2]
UNSEEN = Path(__file__).with_name("unseen.npz")  # digits as in checks/kit/digits.npz, that no student gets
LARGEST_FILE = 2 << 20  # bytes of a file of a lab's evidence
NO_UNIT = "it needs a unit file, and the submission has none: deploy/pixelwise.service"


TIME_IS_UP = signal.SIGUSR1  # what is known then stands
MEMORY = 2 << 30  # bytes, of the process that grades
SERVER_SECONDS = 24 * 3600  # for a server, with all that it waits for others; the time limit ends it sooner
LABS_SECONDS = 600  # for the labs of a submission, beside its own time limit


class Late(BaseException):
    """The time limit is over. No check takes this for a fault of its own."""


def wanted_of(task: dict) -> set[str]:
    """The milestones that are to be graded."""
    named = set(filter(None, task["options"]["milestone"].split(",")))
    return set(task["milestones"]) & (named or set(TITLES))


def asked(results) -> list[core.Result]:
    """What was found out by asking the server."""
    return [one for one in results if one.milestone != "m4" and one.status != core.UNCHECKED]


def left_out(results, milestones, why: str) -> list[core.Result]:
    """What nobody could ask the server: it could not be checked. m5 is optional and not counted."""
    known = {result.name for result in results}
    return [
        core.unchecked(check, why)
        for check in grading.all_checks()
        if check.milestone in milestones and check.milestone != "m5"
        if not asks_for(check, "prod") and check.name not in known
    ]


def over_its_limit(seconds: float, results) -> str:
    """Why there is no grade, or no more of one."""
    limit = f"over its time limit of {seconds:g} s"
    if asked(results):
        return f"{limit}: what was not reached could not be checked (--seconds gives more)"
    return f"{limit}: look at what it waits for, or give more --seconds"


def asks_for(check: core.Check, argument: str) -> bool:
    """Whether a check takes this argument."""
    return argument in inspect.signature(check.function).parameters


class Grading:
    """Grades one submission. task: see `task_for`; tell: called with what it is at, a dict."""

    sandbox = Sandbox

    def __init__(self, task: dict, scratch: Path, tell):
        self.task, self.scratch, self.tell = task, scratch, tell
        self.options, self.seed = task["options"], task["seed"]
        self.wanted = wanted_of(task)
        self.results: dict[str, core.Result] = {}
        for kept in task["kept"]:  # results of the milestones that are not graded again
            self.results[kept["name"]] = core.Result(**kept)
        self.timings: dict[str, float] = {}
        self.log = ""
        self.at = "the start"
        self.notes: list[str] = []
        self.turn = Turn()

    def run(self) -> dict:
        """The record of the submission; see gradebook.py."""
        began, started = time.monotonic(), now()
        why = detail = ""
        again = graded = False
        root = labs = None
        try:
            root = self.fetch()
            self.grade_unit(root)
            self.grade_server(root)
            graded = True
        except CannotGrade as problem:
            why, detail, again = str(problem), problem.detail, problem.again
            self.leave_out(why)
        except Late:
            known = self.results.values()
            why, detail = over_its_limit(self.task["seconds"], known), f"it was at: {self.at}"
            graded = bool(asked(known))
            self.leave_out(why)
        if root:
            labs = self.rerun_notebooks(root)
            for result in (labs or {}).pop("results", ()):
                self.results[result.name] = result
        # its own time: what it waited for others is none of it
        self.timings["waited for its turn"] = self.turn.waited
        self.timings["total"] = time.monotonic() - began - self.turn.waited
        return record_of(
            self.task,
            why,
            detail,
            results=list(self.results.values()),
            times=(started, now()),
            notes=self.notes,
            log=self.log,
            labs=labs,
            seconds={name: round(seconds, 2) for name, seconds in self.timings.items()},
            again=again,
            graded=graded,
        )

    def fetch(self) -> Path:
        """A safe copy of what was handed in; returns its folder."""

        parts = self.task["parts"]
        if self.task["packed"]:
            sent = enumerate(self.task["packed"])
            parts = [(name, unpack(packed, self.scratch / f"sent-{n}")) for n, (name, packed) in sent]
        try:
            fetched = fetch(parts, self.scratch / "submission")
        except SubmissionError as problem:
            raise CannotGrade(str(problem), again=problem.again) from None
        self.notes += fetched.notes
        return fetched.root

    def checks(self, given: dict) -> list[core.Check]:
        """The checks of the wanted milestones that can be run with what is given."""
        asked = self.options["milestone"]
        milestones = tuple(sorted(self.wanted)) if asked else ()
        planned = grading.planned(grading.all_checks(), given, milestones)
        return [check for check in planned if check.milestone in self.wanted]

    def wait_for_turn(self, eager: bool = False) -> None:
        """Before the server is started or asked: few are at once."""
        waited = self.turn.take(eager)
        if waited > 0.1:
            self.tell({"waited": waited})

    def pause(self, seconds: float) -> None:
        """What a check does while a window goes by: others may ask their servers meanwhile."""
        self.turn.give()
        time.sleep(seconds)

    def publish(self, result: core.Result) -> None:
        self.results[result.name] = result
        told = self.results.values()
        earned, points = (sum(getattr(one, name) for one in told) for name in ("earned", "points"))
        self.at = result.name
        told = dataclasses.asdict(result) | {"evidence": []}  # for the case that this process breaks
        self.tell({"at": result.name, "earned": earned, "of": points, "result": told})

    def grade_unit(self, root: Path) -> None:
        """The part of m4 that needs no machine."""
        if "m4" not in self.wanted:
            return
        unit = find_unit(root)
        given = grading.given_for(unit=str(unit), seed=self.seed) if unit else {}
        session = grading.session(grading.all_checks(), given, self.seed)
        for check in grading.all_checks():
            if check.milestone == "m4" and asks_for(check, "unit"):
                self.publish(session.run(check.name) if unit else core.unchecked(check, NO_UNIT))

    def grade_server(self, root: Path) -> None:
        """m1, m2, m3, and m5 where there is a fourth endpoint. The server is started twice.

        With DEBUG=false, as in production, everything is graded but the documentation, and that this is
        hidden; with DEBUG=true, the checks of the documentation, m5, which reads it, and a few gates again.
        """
        if {"m1", "m2", "m3"} & self.wanted:
            with self.serving(root, debug=False) as (given, session):
                if session.gone:
                    raise CannotGrade(f"the server does not answer: {session.gone}")
                for check in gates_first(core.in_any_order(self.checks(given), self.seed)):
                    if asks_for(check, "api") and check.milestone != "m5":
                        self.wait_for_turn()
                        self.publish(session.run(check.name))
                for result in asked_again(session, self.wanted, LATER):
                    self.publish(result)
                if refuses_its_key(session.results):
                    self.notes.append(OTHER_KEY)
        if {"m2", "m3", "m5"} & self.wanted:
            try:
                with self.serving(root, debug=True) as (given, session):
                    for check in core.in_any_order(self.checks(given), self.seed):
                        if check.milestone == "m5" or check.only is core.documentation_is_on:
                            self.wait_for_turn()
                            self.publish(session.run(check.name))
                    for result in asked_again(session, self.wanted, ANOTHER_START):
                        self.publish(result)
            except CannotGrade as problem:  # it did serve with DEBUG=false: that grade stands
                self.leave_out(f"with DEBUG=true, {problem}")

    def late(self, *_):
        """What TIME_IS_UP does, once: what is cleared up after it is left alone."""
        signal.signal(TIME_IS_UP, signal.SIG_IGN)
        raise Late

    def leave_out(self, why: str) -> None:
        for result in left_out(self.results.values(), self.wanted, why):
            self.results[result.name] = result

    @contextlib.contextmanager
    def serving(self, root: Path, debug: bool):
        """The submission's server in its sandbox; gives what the checks are given, and their session.
        Raises CannotGrade where it does not listen."""
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
        write_settings(root, env)
        self.tell({"at": "waits for its turn to start"})
        self.wait_for_turn(eager=True)
        began = time.monotonic()
        self.tell({"at": f"starts the server with {mode}"})
        with self.sandbox(root, Limits(seconds=SERVER_SECONDS)) as box:
            served = Served(box, command, env)
            try:
                served.start()
                given = grading.given_for(
                    url=URL,
                    key=key,
                    limit=self.options["limit"],
                    debug=debug,
                    seed=self.seed,
                    tell=lambda text: self.tell({"at": text}),
                )
                given["digits"] = Digits(self.seed, UNSEEN)
                given["api"].wait = self.pause
                if warm_up(given["api"]) < QUICK_SECONDS:
                    given["api"].restart = lambda: self.start_again(served)
                self.timings[f"start with {mode}"] = time.monotonic() - began
                session = grading.session(grading.all_checks(), given, self.seed)
                session.results |= self.results  # what other checks need, and is known already
                yield given, session
            finally:
                served.stop()
                self.turn.give()
                self.log += f"---- {' '.join(command)} with {mode}\n{served.log}"
                self.timings[f"with {mode}"] = time.monotonic() - began

    def start_again(self, served: Served) -> None:
        """Give a server's clients new windows of the rate limit. Raises Gone."""
        self.tell({"at": "starts the server again, for new windows of the rate limit"})
        self.wait_for_turn()
        served.start_again()

    def rerun_notebooks(self, root: Path) -> dict | None:
        """What the labs are worth, and the answers; None with --milestone, or without notebooks."""
        if "labs" not in self.task["milestones"]:
            return self.task["labs"]
        if self.options["milestone"] or not any(root.rglob("*.ipynb")):
            return None

        began, out = time.monotonic(), self.scratch / "labs"
        out.mkdir()
        signal.signal(TIME_IS_UP, self.late)
        self.tell({"at": "waits for its turn to run the notebooks again", "labs": float("inf")})
        try:
            with Turn(labs=True):
                self.tell({"at": "runs the notebooks again", "labs": LABS_SECONDS})
                evidence = notebooks.rerun(root, ROOT, Limits(), out)
        except Late:
            self.notes.append(
                f"the notebooks took longer than {LABS_SECONDS} s, and were not run to their end"
            )
            return None
        except Exception as problem:  # the grade of the server stands without them
            self.notes.append(f"the notebooks could not be run again ({problem!r:.200})")
            return None
        self.timings["labs"] = time.monotonic() - began
        evidence["files"] = {
            name: base64.b64encode(found.read_bytes()).decode()
            for name, kind, _, found in entries(out)
            if kind == "file" and found.stat().st_size <= LARGEST_FILE
        }
        return evidence


# ---- The process ---------------------------------------------------------------------------------------


def bounded() -> None:
    """From now on this process has a limit of memory: what a submission answers must not fill the machine."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))  # the sandbox has limits of its own


def main() -> None:
    """The process of one submission: a task on stdin (pickled); progress, then the record on stdout. It is
    forked from one that has imported all that it needs; see forks.py."""
    grading.all_checks()
    die_with(forked())
    with open(0, "rb", closefd=False) as given:  # sys.stdin is that of before
        task = pickle.load(given)
    bounded()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no part of the answer

    def tell(progress: dict) -> None:
        line = json.dumps(progress) + "\n"
        signal.pthread_sigmask(signal.SIG_BLOCK, {TIME_IS_UP})  # nobody reads half a line
        out.write(line)
        out.flush()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {TIME_IS_UP})

    scratch = Path(task["scratch"])
    clean = hire_a_janitor(scratch)  # for the case that this process is killed, and who started it as well
    try:
        scratch.mkdir(mode=0o700)
        tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)  # so that nothing is left, however this ends
        grading_ = Grading(task, scratch, tell)
        signal.signal(TIME_IS_UP, grading_.late)
        tell({"at": "is looked at"})
        record = grading_.run()
        signal.signal(TIME_IS_UP, signal.SIG_IGN)
        tell({"record": record})
        status = 0
    except SystemExit as ended:
        status = ended.code
    finally:
        clean()
    # no longer than that: to take apart what was imported takes longer than to fork it, and who is told to
    # stop at the wrong moment has a thread that nobody ends
    os._exit(status)


def die_with(parent: int) -> None:
    """Get SIGTERM when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit("the grader that started this has gone")
