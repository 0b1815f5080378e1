"""Turns: as many submissions are under way as there is memory for, and few of them are asked at once.

A submission waits for a window of the rate limit most of its time, and needs no processor for that; but a
check that waits for an answer must not find it taken by others.
"""

import contextlib
import fcntl
import functools
import os
import re
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10  # for which somebody slow may keep others waiting
ASKED_PER_CORE = 2  # one submission's server works while another one's grader does
LABS_PER_CORE = 1.5  # a lab waits a third of its time for the servers that it starts and asks
UNDER_WAY_PER_CORE = 64  # starting, asking and stopping so many takes longer than any of them waits
MOST_UNDER_WAY = 300  # each has three open files, of the 1,024 that a process usually may have
MEMORY_EACH = 256 << 20  # bytes that a submission's server and its grader use together, usually less


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_available() -> int:
    """Bytes that new processes may use."""
    try:
        return int(re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024
    except (OSError, TypeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def default_jobs() -> int:
    """How many submissions are under way at once: nearly all of them wait, so as memory allows."""
    return max(1, min(MOST_UNDER_WAY, UNDER_WAY_PER_CORE * cores(), memory_available() // MEMORY_EACH))


def there_is_room() -> bool:
    """Whether one more may start: those that are under way may use more memory than they usually do."""
    return memory_available() > 2 * MEMORY_EACH


class Turn:
    """One submission's turns. The places are locks on files that are there anyway; they end with the process
    that holds them. labs: of those who run notebooks again, which takes minutes and never is over early."""

    def __init__(self, labs: bool = False):
        files = sorted((ROOT / "checks").rglob("*.py"))
        self.files = files[-int(LABS_PER_CORE * cores()) :] if labs else files[: ASKED_PER_CORE * cores()]
        self.seconds = None if labs else SECONDS
        self.waited = 0.0  # seconds, for others, all in all
        self._held, self._lock, self._over = None, threading.Lock(), None

    @functools.cached_property
    def places(self) -> list:
        """The files, open: nearly all of a class look for a place again and again."""
        return [file.open("rb") for file in self.files]

    def take(self, eager: bool = False) -> float:
        """Wait for a place, unless one is held; gives the seconds that were waited. eager: for who starts,
        for the sooner windows begin, the sooner they end."""
        began = time.monotonic()
        while not self._held:
            for place in self.places:
                with contextlib.suppress(OSError):
                    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._hold(place)
                    break
            else:
                time.sleep(0.03 if eager else 0.2)
        waited = time.monotonic() - began
        self.waited += waited
        return waited

    def _hold(self, place) -> None:
        self._held = place
        if self.seconds:
            self._over = threading.Timer(self.seconds, self.give)
            self._over.daemon = True
            self._over.start()

    def give(self) -> None:
        """Give the place up, if one is held."""
        with self._lock:
            if self._over:
                self._over.cancel()
            if self._held:
                fcntl.flock(self._held, fcntl.LOCK_UN)
            self._held = None

    def __enter__(self):
        self.take()
        return self

    def __exit__(self, *problem):
        self.give()
