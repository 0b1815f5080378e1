"""checks/kit/limits.py: a window is waited for once, whatever comes of it."""

import time

import pytest
from faulty.faults import FAULTS
from faulty.service import Server, Service
from made_checks import in_a_thread

from checks.kit import core, grading

KEY = "aB3-the-key-of-the-tests-Zy9"
SECONDS = 2.0
WINDOW = "m3.a window lasts as long as the limit says"


def graded(kind: type[Service]) -> tuple[core.Result, float]:
    """What becomes of the check of the window, and how many seconds it waited."""
    waited = []

    def wait(seconds):
        waited.append(seconds)
        time.sleep(seconds)

    with in_a_thread(Server(kind(KEY, (12, SECONDS), False))) as port:
        given = grading.given_for(url=f"http://127.0.0.1:{port}", key=KEY, limit=f"12/{SECONDS}", debug=False)
        given["api"].wait = wait
        session = grading.session(grading.all_checks(), given, 1)
        return session.run(WINDOW), sum(waited)


def test_the_check_of_the_window_waits_for_one():
    result, waited = graded(Service)
    assert result.status == core.PASSED, result
    assert SECONDS / 2 < waited < 1.5 * SECONDS


@pytest.mark.parametrize(
    "fault", ["a window is too short, and nobody is told", "a client that was refused stays refused"]
)
def test_a_failed_check_of_the_window_runs_again_and_does_not_wait_again(fault):
    """Another client has waited beside the first one."""
    result, waited = graded(FAULTS[fault].kind)
    assert result.status == core.FAILED and result.evidence and result.curl, result
    assert SECONDS / 2 < waited < 1.5 * SECONDS


def test_a_window_that_lasts_for_some_and_not_for_others_is_unstable():
    class ForSome(Service):
        """Who was the first to be refused stays refused."""

        first = None

        def count(self, client):
            used, end = super().count(client)
            if used > self.limit[0] and used > 13:
                self.first = self.first or client
                if client == self.first:
                    self.windows[client] = (used, end + 60)
            return used, end

    result, _ = graded(ForSome)
    assert result.status == core.UNSTABLE, result
