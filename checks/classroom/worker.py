"""Has a submission graded by a process of its own: a record comes back, whatever happens to that process."""

import contextlib
import io
import json
import os
import pickle
import platform
import select
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path

from checks.classroom.forks import Grader, start_grader
from checks.classroom.handed_in import HandedIn
from checks.classroom.one import TIME_IS_UP, asked, left_out, over_its_limit, wanted_of
from checks.classroom.outdated import LABS, grader_digests, outdated, seed_of
from checks.classroom.records import record_of
from checks.classroom.turns import there_is_room
from checks.kit import core
from checks.report.model import TITLES, is_lab

ROOT = Path(__file__).resolve().parents[2]
TRIES = 2  # a grader that was killed may have been killed by accident
LAST_WORDS = 30  # seconds in which a grader whose time is up tells what it has found out
GRACE = 5  # seconds in which a grader that is told to stop clears up
BROKE = "the grader itself broke: tell its authors, with server.log"
STOP = threading.Event()  # set: the graders under way end, and none is started
LIVE: dict[str, dict] = {}  # what those under way are at, for the live table: {name: progress}


def task_for(
    name: str,
    handed_in: HandedIn,
    submission: str,
    old: dict | None,
    options: dict,
    grader: dict,
    seconds: float,
) -> dict:
    """What grading one submission takes; all of it values, so that any machine may do it. milestones: those
    to be graded, none where the old record holds."""
    milestones = outdated(old, submission, grader, seconds)
    partly = milestones != {*TITLES, LABS}
    kept = (
        [one for one in old["report"]["results"] if of(one["milestone"]) not in milestones] if partly else []
    )
    return {
        "name": name,
        "parts": [(inside, str(path.absolute())) for inside, path in handed_in.parts],
        "why": handed_in.why,
        "packed": None,
        "submission": submission,
        "grader": grader,
        "options": options,
        "seconds": seconds,
        "alone": False,
        "seed": seed_of(name, submission, options["seed"]),
        "milestones": sorted(milestones),
        "kept": kept,
        "labs": old["labs"] if kept else None,
    }


def of(milestone: str) -> str:
    """What a milestone is graded with: those of the labs together."""
    return LABS if is_lab(milestone) else milestone


def grade(task: dict) -> dict | None:
    """Grade one submission in a process of its own; returns its record, whatever happened to that process, or
    None after STOP. Runs in a thread of the class's grader, or on a Dask worker."""
    if STOP.is_set():
        return None
    if task["packed"] and grader_digests(task["options"]) != task["grader"]:
        where = platform.node()
        why = f"the Dask worker on {where} has other checks or packages: install the same there"
        return record_of(task, why, again=True)
    if task["why"]:
        return record_of(task, task["why"])
    try:
        while LIVE and not there_is_room() and not STOP.wait(1):
            pass
        for _ in range(TRIES):
            record, broken = _in_a_process(task)
            if record or STOP.is_set():
                break
        return record or (None if STOP.is_set() else broken)
    finally:
        LIVE.pop(task["name"], None)


def _in_a_process(task: dict) -> tuple[dict | None, dict | None]:
    """The record that a process tells, or that of its time limit; else, of one that broke or was killed."""
    scratch = Path(tempfile.gettempdir(), f"pixelwise-grade-{uuid.uuid4().hex}")
    task = task | {"scratch": str(scratch)}
    began, progress = time.monotonic(), {"at": "waits for a processor", "began": time.monotonic()}
    LIVE[task["name"]] = progress
    known: list[core.Result] = []
    with tempfile.TemporaryFile() as errors:
        try:
            process = start_grader(errors)
        except OSError as problem:
            return None, record_of(task, BROKE, str(problem), log=told_in(errors), again=True)
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(pickle.dumps(task))
            record, late = _listen(process, progress, known, began + task["seconds"])
        finally:
            _end(process)
            shutil.rmtree(scratch, ignore_errors=True)
        if late:  # and it did not even say what it has found out
            why, detail = over_its_limit(task["seconds"], known), f"it was at: {progress['at']}"
            results = [*known, *left_out(known, wanted_of(task), why)]
            return record_of(task, why, detail, results=results, graded=bool(asked(known))), None
        text = told_in(errors)
        last = (text.strip().splitlines() or ["it was killed"])[-1]
        return record, record_of(task, BROKE, last, log=text, again=True)


def told_in(errors) -> str:
    """What stands at the end of a grader's stderr."""
    errors.seek(max(0, errors.seek(0, io.SEEK_END) - 4000))
    return errors.read().decode("utf-8", "replace")


def _listen(
    process: Grader, progress: dict, known: list[core.Result], deadline: float
) -> tuple[dict | None, bool]:
    """Follow what the process tells, until it tells the record: (record, False); results go to known.
    (None, True): it is late, although it was told; (None, False): it ended, or was told to."""
    pipe, rest, heard, told_late = process.stdout.fileno(), b"", False, False
    while True:
        if STOP.is_set():
            return None, False
        if time.monotonic() > deadline:
            if told_late or not heard:
                return None, True
            process.send_signal(TIME_IS_UP)  # it then tells what it knows
            told_late, deadline = True, time.monotonic() + LAST_WORDS
        if not select.select([pipe], [], [], 0.3)[0]:
            continue
        data = os.read(pipe, 1 << 20)
        if not data:
            return None, False
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            told, heard = json.loads(line), True
            if "record" in told:
                return told["record"], False
            if "result" in told:
                known.append(core.Result(**told.pop("result")))
            if not told_late:
                deadline += told.pop("waited", 0)  # that was for others
                deadline = time.monotonic() + told.pop("labs") if "labs" in told else deadline
            progress.update(told)


def _end(process: Grader) -> None:
    """End it, kindly if it lets us: it then clears up."""
    process.stdout.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
