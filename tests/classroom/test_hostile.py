"""Nobody cheats or crashes the grading: all of tests/hostile/ in a class with two honest submissions."""

import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from hostile import DEAD, ENDLESS, HONEST, NO_MORE, TABLE, Place, Targets, words_of

from checks.classroom import limits, records, sandbox
from checks.kit.core import FAILED, PASSED

ROOT = Path(__file__).resolve().parents[2]
HONEST_ONES = ("an honest one", "the other honest one")
LAZY_ONE = "a lazy one"
SECONDS = {"patient": 120, "endless": 4}  # the first is never reached; to the other, some keep all cores busy
MARGIN = 8  # seconds that the grader may take to stop a submission, on a busy machine
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bwrap", "unshare", "setpriv", "ip"))), reason=f"needs {limits.APT}"
)


@pytest.fixture(scope="module")
def graded():
    """All of them graded, those that get nothing and the others side by side; gives the Class."""
    folder = Path(tempfile.mkdtemp(prefix="pixelwise-hostile-"))
    folder.chmod(0o711)
    try:
        yield Class(folder)
    finally:
        shutil.rmtree(folder)


def run_of(hostile) -> str:
    return "endless" if hostile.outcome == ENDLESS else "patient"


class Class:
    """records: {name: record}; folder: holds marker, if somebody wrote it; grades: the folders of grades."""

    def __init__(self, folder: Path):
        self.folder, self.temporary = folder, folder / "tmp"
        self.temporary.mkdir()
        (folder / "grader.key").write_text("GRADER_TOKEN=stolen")
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
            abstract = f"pixelwise-hostile-{os.getpid()}"
            unix.bind(f"\0{abstract}")
            unix.listen()
            self.targets = Targets(
                neighbour=str(folder / "patient" / HONEST_ONES[0] / "diary.txt"),
                key_file=str(folder / "grader.key"),
                grades=str(folder / "grades of the patient"),
                marker=str(folder / "marker"),
                port=tcp.getsockname()[1],
                abstract=abstract,
            )
            self.hand_in()
            self.grade()

    def hand_in(self) -> None:
        for name in (*HONEST_ONES, LAZY_ONE):
            place = self.place("patient", name)
            place.path.mkdir()
            place.server(lazy=name == LAZY_ONE)
            place.write("diary.txt", self.targets.secret)
        with warnings.catch_warnings(action="ignore"):  # zipfile does not like what we ask for
            for name, hostile in TABLE.items():
                hostile.make(self.place(run_of(hostile), name))

    def place(self, where: str, name: str) -> Place:
        (self.folder / where).mkdir(exist_ok=True)
        return Place(self.folder / where / name, self.targets)

    def grade(self) -> None:
        """Two runs of the grader side by side, as SECONDS is one of its options."""
        running = []
        for where, seconds in SECONDS.items():
            command = [
                sys.executable,
                "-m",
                "checks.grade",
                str(self.folder / where),
                "--seconds",
                str(seconds),
            ]
            command += ["--out", str(self.folder / f"grades of the {where}"), "--milestone", "m1,m3"]
            environment = os.environ | {"GRADER_TOKEN": "stolen", "TMPDIR": str(self.temporary)}
            running.append(
                subprocess.Popen(
                    [*command, "--limit", "8/2"],
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            )
        self.told = [process.communicate()[0].decode() for process in running]
        self.records = {
            folder.name: records.load(folder)
            for folder in self.folder.glob("grades of the */*")
            if folder.is_dir()
        }

    def statuses(self, name: str) -> dict[str, str]:
        """{check: status}"""
        return {one["name"]: one["status"] for one in self.records[name]["report"]["results"]}

    def earned(self, name: str) -> float:
        return sum(one["earned"] for one in self.records[name]["report"]["results"])


@pytest.mark.parametrize("name", HONEST_ONES)
def test_an_honest_submission_gets_full_marks_beside_all_the_others(graded, name):
    lost = {check: status for check, status in graded.statuses(name).items() if status != PASSED}
    assert graded.records[name]["status"] == records.GRADED and not lost, graded.told


def test_a_lazy_submission_gets_some_points_and_not_all(graded):
    assert 0 < graded.earned(LAZY_ONE) < graded.earned(HONEST_ONES[0])


@pytest.mark.parametrize("name", TABLE)
def test_a_hostile_submission_gains_no_point(graded, name):
    outcome, record = TABLE[name].outcome, graded.records[name]
    if outcome in (DEAD, ENDLESS):
        assert (record["status"], graded.earned(name)) == (records.NOT_GRADED, 0)
    elif outcome == NO_MORE:
        assert graded.earned(name) < graded.earned(HONEST_ONES[0])
    else:
        like = HONEST_ONES[0] if outcome == HONEST else LAZY_ONE
        assert graded.statuses(name) == graded.statuses(like), words_of(record)


@pytest.mark.parametrize("when", ["until", "when"])
def test_the_gates_are_asked_before_and_after_a_window_was_waited_for(graded, when):
    statuses = graded.statuses(f"asks for no key {when} somebody was refused")
    assert statuses["m3.a missing key is refused"] == statuses["m3.a wrong key is refused"] == FAILED


@pytest.mark.parametrize("name", TABLE)
def test_a_hostile_submission_tries_and_gets_nothing(graded, name):
    words = words_of(graded.records[name])
    assert TABLE[name].says in words, words
    assert "STOLEN" not in words


def test_nothing_outside_is_changed(graded):
    assert not Path(graded.targets.marker).exists()
    assert Path(graded.targets.neighbour).read_text() == graded.targets.secret
    assert len(list((graded.folder / "patient").iterdir())) == sum(
        run_of(hostile) == "patient" for hostile in TABLE.values()
    ) + len((*HONEST_ONES, LAZY_ONE))


def test_the_pages_hold_no_escape_no_script_and_no_key(graded):
    for page in graded.folder.glob("grades of the */**/*"):
        if page.is_file():
            text = page.read_text(encoding="utf-8")
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), page
            assert "STOLEN" not in text and "GRADER_TOKEN" not in text, page
            if page.suffix in (".html", ".md"):  # Markdown's escape is a backslash
                assert not re.search(r"(?<!\\)<(script>alert|img src=x)", text), page
            assert page.stat().st_size < 1 << 20, page
    assert "\x1b]0" not in "".join(graded.told)


def test_none_takes_longer_than_its_time_limit(graded):
    for name, hostile in TABLE.items():
        assert graded.records[name]["seconds"].get("total", 0) <= SECONDS[run_of(hostile)] + MARGIN, name


def test_nothing_is_left_behind(graded):
    deadline = time.monotonic() + 10
    while left_behind(graded) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left_behind(graded)


def left_behind(graded) -> list[str]:
    """Files, mounts and processes of the class, and cgroups of nobody."""
    mine = str(graded.folder)
    left = [str(one) for one in graded.temporary.iterdir()]
    left += [line for line in Path("/proc/mounts").read_text().splitlines() if mine in line]
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) != os.getpid():
            for name in ("mountinfo", "environ", "cmdline"):  # a sandbox shows its folder in the first
                left += [str(process)] if mine.encode() in read(process / name) else []
    return left + sorted(cgroups_of_nobody() - STALE)


def cgroups_of_nobody() -> set[str]:
    """The cgroups of sandboxes that are gone; those of other sandboxes come and go meanwhile."""
    return {
        f"{where}/{name}"
        for where, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("pixelwise-sandbox-") and is_free(int(name.rpartition("-")[2]))
    }


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def is_free(user: int) -> bool:
    """Whether no sandbox of this machine is this user."""
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, user - sandbox.FIRST_USER, 1, 0)
    with sandbox.LOCK.open("rb+") as lock:
        answer = fcntl.fcntl(lock, fcntl.F_OFD_GETLK, asked)
    return struct.unpack("hhqqi4x", answer)[0] == fcntl.F_UNLCK


STALE = cgroups_of_nobody() if sandbox.LOCK.exists() else set()  # not ours: somebody's of before


def test_there_are_enough_of_them_and_each_says_what_it_tries():
    assert len(TABLE) >= 25 and all(hostile.make.__doc__ for hostile in TABLE.values())
