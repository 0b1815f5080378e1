"""Who checks the checks: a fault of tests/faulty/ is caught by the checks that name it and by no others."""

import contextlib
import functools
import gc
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import jsonschema
import pytest
from faulty.faults import FAULTS, RIGHT
from faulty.service import Server, Service, classified

from checks.kit import core, grading
from checks.kit.digits import Digits

pytestmark = pytest.mark.alone  # an answer that takes 5 s is a fault
KEY = "aB3-the-key-of-the-tests-Zy9"
LIMIT = (8, 5.0)  # a short window, so that the table is done in a minute, and few requests to fill it
LIMITS = {
    "one budget for all clients": (12, 3.0),  # most checks wait for its end
    "503 for 429": (12, 5.0),  # in which no check but those of the limit asks more often than that
}
MODES = {"correct": False, "correct, with its documentation": True}
SLOW = {  # these start first: they take half a minute, whatever the machine
    *("one budget for all clients", "hangs after twenty requests"),
    *("one client at a time", "slow by three seconds", "127.0.0.1 has no limit"),
}
FORK = multiprocessing.get_context("fork")
MILESTONES = ("m1", "m2", "m3")


@contextlib.contextmanager
def serving(kind: type[Service], debug: bool, limit: tuple[int, float]):
    """The server in a process of its own; gives its port."""
    server = Server(kind(KEY, limit, debug))
    child = FORK.Process(target=server.serve_forever, daemon=False)
    child.start()
    server.socket.close()
    try:
        yield server.server_address[1]
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()


def grade(name: str, seed: int = 1) -> dict[str, core.Result]:
    """Grade one server of the table: {name of the check: its result}."""
    kind, debug = RIGHT.get(name, Service), MODES.get(name, False)
    if name in FAULTS:
        kind, debug = FAULTS[name].kind, FAULTS[name].debug
    limit = LIMITS.get(name, LIMIT)
    with serving(kind, debug, limit) as port:
        given = grading.given_for(
            url=f"http://127.0.0.1:{port}", key=KEY, limit=f"{limit[0]}/{limit[1]}", debug=debug, seed=seed
        )
        checks = grading.planned(grading.all_checks(), given, MILESTONES)
        session = grading.session(checks, given, seed)
        return {check.name: session.run(check.name) for check in checks}


@functools.cache
def table() -> dict[str, dict[str, core.Result]]:
    """Every server of the table, graded side by side: most of the time is waiting for windows to end."""
    # what each server and each grader would load, or import, anew
    classified(bytes(784))
    jsonschema.validate({}, {})
    grading.all_checks()
    Digits().one("0")
    gc.freeze()  # so that no collection copies what they share
    names = sorted([*MODES, *RIGHT, *FAULTS], key=lambda name: name not in SLOW)
    with ProcessPoolExecutor(36, mp_context=FORK) as pool:
        return dict(zip(names, pool.map(grade, names)))


def with_status(name: str, *statuses: str) -> set[str]:
    return {result.name for result in table()[name].values() if result.status in statuses}


@pytest.mark.parametrize("name", [*MODES, *RIGHT])
def test_the_correct_server_gets_full_marks(name):
    lost = [result for result in table()[name].values() if result.status != core.PASSED]
    assert not lost, lost


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_by_the_checks_that_name_it_and_by_no_others(name):
    assert with_status(name, core.FAILED, core.UNSTABLE) == FAULTS[name].caught_by, [
        (result.name, result.received, result.expected, result.reason)
        for result in table()[name].values()
        if result.status not in (core.PASSED, core.UNCHECKED)
    ]


@pytest.mark.parametrize("name", FAULTS)
def test_what_could_not_be_checked_says_why(name):
    for check in with_status(name, core.UNCHECKED):
        reason = table()[name][check].reason
        assert reason.startswith(("it needs ", "the server is gone: ")), (check, reason)


def test_every_check_is_the_one_to_catch_some_fault():
    checks = {check.name for check in grading.all_checks() if check.milestone in MILESTONES}
    assert checks == set().union(*(fault.caught_by for fault in FAULTS.values()))


def test_there_are_at_least_sixty_faults():
    assert len(FAULTS) >= 60


def test_every_lost_point_carries_its_evidence():
    for name in FAULTS:
        for check in with_status(name, core.FAILED):
            result = table()[name][check]
            assert result.received and result.expected and result.hint, result
            assert result.curl and result.evidence, result
            assert KEY not in repr(result), result
