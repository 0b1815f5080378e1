"""Many submissions are under way, as many as there is memory for; few are asked at once."""

import argparse
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from checks.classroom import the_class, turns, worker
from checks.classroom.handed_in import HandedIn
from checks.classroom.turns import Turn
from checks.classroom.under_way import UnderWay

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def places(tmp_path, monkeypatch) -> list[Path]:
    """Two places of our own, for no class that is graded on this machine is in our way."""
    files = [tmp_path / "one", tmp_path / "other"]
    for file in files:
        file.touch()
    monkeypatch.setattr(turns.Turn, "__init__", made_with(turns.Turn.__init__, files))
    return files


def made_with(make, files):
    def init(self, *arguments):
        make(self, *arguments)
        self.files = files

    return init


def taken(turn: Turn, seconds: float) -> bool:
    """Whether it gets a place within so long."""
    thread = threading.Thread(target=turn.take, kwargs={"eager": True}, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_no_more_are_asked_at_once_than_there_are_places(places):
    first, second, third = Turn(), Turn(), Turn()
    assert first.take() < 5 and second.take() < 5
    assert not taken(third, 0.3)
    first.give()
    assert taken(Turn(), 30) or third.waited, "one of those who wait gets it"
    second.give()


def test_who_has_a_place_keeps_it_and_who_gives_it_twice_takes_nobodys(places):
    turn = Turn()
    turn.take()
    turn.take()  # for the next check
    assert len([place for place in places if is_held(place)]) == 1
    turn.give()
    turn.give()
    assert not any(map(is_held, places))


def is_held(place: Path) -> bool:
    """Whether another process finds this place taken."""
    program = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    command = [sys.executable, "-Sc", program, str(place)]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0


def test_somebody_slow_keeps_others_waiting_for_a_while_only(places, monkeypatch):
    slow = [Turn(), Turn()]
    for turn in slow:
        turn.seconds = 0.2
        turn.take()
    assert taken(Turn(), 30)


def test_the_place_of_a_process_that_was_killed_is_free(places):
    program = "import fcntl, sys, time; held = [open(one) for one in sys.argv[1:]]\n"
    program += "for one in held: fcntl.flock(one, fcntl.LOCK_EX)\nprint('ready', flush=True)\ntime.sleep(600)"
    command = [sys.executable, "-Sc", program, *map(str, places)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "ready\n"
    assert not taken(Turn(), 0.3)
    holder.kill()
    holder.communicate()
    assert taken(Turn(), 30)


def test_labs_and_checks_wait_for_places_of_their_own():
    assert not set(Turn().files) & set(Turn(labs=True).files)
    assert Turn(labs=True).seconds is None, "a lab that lost its place would run beside all the others"


@pytest.mark.parametrize(
    ("cores", "gigabytes", "jobs"),
    [(2, 24, 96), (2, 64, 128), (1, 2, 8), (4, 0.1, 1), (64, 8, 32), (64, 500, 300)],
)
def test_memory_decides_how_many_are_under_way(monkeypatch, cores, gigabytes, jobs):
    monkeypatch.setattr(turns, "cores", lambda: cores)
    monkeypatch.setattr(turns, "memory_available", lambda: int(gigabytes * 2**30))
    assert turns.default_jobs() == jobs


def test_nobody_starts_where_those_who_are_under_way_need_the_memory(monkeypatch):
    seen = []
    monkeypatch.setattr(worker, "there_is_room", lambda: len(seen) > 3)
    monkeypatch.setattr(worker.STOP, "wait", seen.append)
    monkeypatch.setattr(worker, "_in_a_process", lambda task: ({"started after": len(seen)}, None))
    task = {"name": "ada", "packed": None, "why": ""}
    assert worker.grade(task) == {"started after": 0}, "nobody is under way, and waiting would not help"
    monkeypatch.setitem(worker.LIVE, "grace", {})
    assert worker.grade(task) == {"started after": 4}


@pytest.mark.parametrize(
    ("asked", "told"), [(None, "7 under way at once, as memory"), (3, "3 under way at once, as --jobs")]
)
def test_who_grades_a_class_is_told_how_many_are_under_way(monkeypatch, capsys, tmp_path, asked, told):
    jobs = []
    monkeypatch.setattr(the_class, "compile_what_servers_import", lambda: None)
    monkeypatch.setattr(the_class, "default_jobs", lambda: 7)
    monkeypatch.setattr(the_class, "run_all", lambda tasks, most, *_: jobs.append(most) or iter(()))
    students = {name: HandedIn((("", tmp_path),)) for name in ("ada", "ben")}
    folders = {name: tmp_path / name for name in students}
    arguments = argparse.Namespace(fresh=True, seconds=600, jobs=asked, dask="")
    options = {"limit": "30/minute", "milestone": "", "seed": 1}
    the_class.grade_class(students, folders, options, arguments, UnderWay(None, students))
    assert f"2 to grade, at most {told}" in capsys.readouterr().out
    assert jobs[0] == (asked or 7)
