"""A record comes back whatever happens to the process that grades: it is late, it breaks, it is killed."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checks.classroom import one, worker
from checks.classroom.found import CannotGrade
from checks.classroom.handed_in import HandedIn
from checks.classroom.records import GRADED, NOT_GRADED
from checks.kit import core, grading

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"limit": "12/5", "milestone": "", "seed": 0}
M1 = [check for check in grading.all_checks() if check.milestone == "m1"]
M4 = next(check for check in grading.all_checks() if check.milestone == "m4" and one.asks_for(check, "unit"))


def task(seconds: float = 600, **more) -> dict:
    grader = {"all": "0"} | {f"m{n}": "0" for n in range(1, 6)}
    handed_in = HandedIn((("", Path("/nowhere")),))
    return worker.task_for("ada", handed_in, "0", None, OPTIONS, grader, seconds) | more


def passed(check: core.Check) -> core.Result:
    result = core.unchecked(check, "")
    result.status, result.earned = core.PASSED, check.points
    return result


def told(record: dict) -> dict[str, str]:
    return {result["name"]: result["status"] for result in record["report"]["results"]}


# ---- In the process -------------------------------------------------------------------------------------


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Grade with results of our own: called with what there is to publish and to raise at the end."""

    def run(results, problem, labs=None, **more) -> dict:
        made = one.Grading(task(**more), tmp_path, lambda progress: None)
        monkeypatch.setattr(one.Grading, "fetch", lambda self: tmp_path)
        monkeypatch.setattr(one.Grading, "grade_unit", lambda self, root: self.publish(passed(M4)))

        def serve(self, root):
            for result in results:
                self.publish(result)
            raise problem

        monkeypatch.setattr(one.Grading, "grade_server", serve)
        monkeypatch.setattr(one.Grading, "rerun_notebooks", lambda self, root: labs)
        return made.run()

    return run


def test_over_the_time_limit_what_is_known_stands_and_the_rest_could_not_be_checked(graded):
    record = graded(map(passed, M1), one.Late(), {"labs": []}, seconds=60)
    statuses = told(record)
    assert record["status"] == GRADED and record["report"]["earned"] == M4.points + sum(
        check.points for check in M1
    )
    assert {statuses[check.name] for check in M1} == {core.PASSED}
    assert statuses["m2.a digit is classified"] == core.UNCHECKED
    assert record["why"].startswith("over its time limit of 60 s: what was not reached could not be checked")
    assert record["detail"] == f"it was at: {M1[-1].name}"
    assert record["labs"] == {"labs": []}  # they have a time of their own
    assert record["doubtful"], "the machine may have been busy"
    assert not any(name.startswith("m5.") for name in statuses)


def test_who_was_over_the_time_limit_before_the_server_was_asked_has_no_grade(graded):
    record = graded([], one.Late())
    assert record["status"] == NOT_GRADED and record["why"].startswith(
        "over its time limit of 600 s: look at"
    )


def test_a_fault_of_this_machine_is_tried_again_by_the_next_run(graded):
    assert graded([], CannotGrade("no library", again=True))["again"]
    assert not graded([], CannotGrade("no server"))["again"]


def test_time_is_up_once_and_nobody_reads_half_a_line(tmp_path):
    made = one.Grading(task(), tmp_path, lambda progress: None)
    before = signal.signal(one.TIME_IS_UP, made.late)
    try:
        with pytest.raises(one.Late):
            os.kill(os.getpid(), one.TIME_IS_UP)
        os.kill(os.getpid(), one.TIME_IS_UP)  # while it clears up
    finally:
        signal.signal(one.TIME_IS_UP, before)


def test_labs_that_take_too_long_cost_the_grade_of_the_server_nothing(tmp_path, monkeypatch):
    from checks.classroom import notebooks

    (tmp_path / "01.ipynb").write_text("{}")
    lines = []
    made = one.Grading(task(), tmp_path, lines.append)

    def endless(*_):
        raise one.Late

    monkeypatch.setattr(notebooks, "rerun", endless)
    before = signal.getsignal(one.TIME_IS_UP)
    try:
        assert made.rerun_notebooks(tmp_path) is None
    finally:
        signal.signal(one.TIME_IS_UP, before)
    assert lines[-1]["labs"] == one.LABS_SECONDS
    assert made.notes == ["the notebooks took longer than 600 s, and were not run to their end"]


def test_the_grader_has_a_limit_of_memory():
    program = "from checks.classroom import one; one.bounded(); bytearray(one.MEMORY)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.endswith("MemoryError\n")


# ---- Around it ------------------------------------------------------------------------------------------

CHILD = f"""
import json, os, pickle, signal, sys, time
task = pickle.load(sys.stdin.buffer)
os.mkdir(task["scratch"])
def tell(**told):
    os.write(1, (json.dumps(told) + "\\n").encode())  # a signal may come at any moment, and tell, too
def record(*_):
    tell(record={{"name": "ada", "words": "my last"}})
    sys.exit()
RESULT = {dataclasses.asdict(passed(M1[0]))!r}
"""
WAIT = "while True: time.sleep(9)\n"
LATE = {"waited": -9999}  # told by the process: its time is up at once, however slow this machine is
TELLS = f"signal.signal(signal.SIGUSR1, record)\ntell(at='m1', **{LATE})\n"
DEAF = "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Grade with a process of our own in place of the grader."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(worker.tempfile, "tempdir", str(tmp_path))

    def run(program: str, **more) -> dict:
        command = [sys.executable, "-c", CHILD + program]
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        start = lambda errors: subprocess.Popen(command, stderr=errors, **pipes)  # noqa: E731
        monkeypatch.setattr(worker, "start_grader", start)
        record = worker.grade(task(**more))
        assert list(tmp_path.glob("pixelwise-*")) == [], "what it leaves behind"
        return record

    return run


def test_a_grader_whose_time_is_up_tells_what_it_knows(child):
    assert child(TELLS + WAIT)["words"] == "my last"


def test_of_one_that_does_not_even_do_that_the_results_are_known(child, monkeypatch):
    monkeypatch.setattr(worker, "LAST_WORDS", 0)
    record = child(f"{DEAF}tell(at='m1', result=RESULT, **{LATE})\n{WAIT}")
    statuses = told(record)
    assert record["status"] == GRADED and statuses[M1[0].name] == core.PASSED
    assert statuses["m2.a digit is classified"] == core.UNCHECKED
    nothing = child(f"{DEAF}tell(at='m1', **{LATE})\n{WAIT}")
    assert nothing["status"] == NOT_GRADED and nothing["detail"] == "it was at: m1"


@pytest.mark.parametrize("more", [{"waited": 9999}, {"labs": 60}])
def test_what_was_waited_for_others_and_the_labs_are_no_part_of_the_time_limit(child, more):
    late = "signal.signal(signal.SIGUSR1, lambda *_: os._exit(1))\n"
    both = (
        f"os.write(1, (json.dumps({LATE}) + '\\n' + json.dumps({more}) + '\\n').encode())\n"  # in one piece
    )
    record = child(f"{late}{both}time.sleep(1)\nrecord()\n")
    assert record.get("words") == "my last", record["log"]


def test_a_grader_that_was_killed_is_tried_once_more(child, tmp_path):
    kill = "os.kill(os.getpid(), signal.SIGKILL)\n"
    seen = f"if os.path.exists('{tmp_path}/seen'): record()\nopen('{tmp_path}/seen', 'w').close()\n"
    assert child(seen + kill)["words"] == "my last"
    record = child(f"open('{tmp_path}/log', 'a').write('x')\n" + kill)
    assert record["again"] and record["status"] == NOT_GRADED
    assert (tmp_path / "log").read_text() == "xx"
