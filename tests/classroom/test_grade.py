"""A class is graded exactly right, side by side, and nothing that was finished is lost or done again."""

import contextlib
import csv
import dataclasses
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from submissions import hand_in

from bench import grading as bench
from checks import grade
from checks.classroom import box as boxes
from checks.classroom import forks, gradebook, records
from checks.classroom.one import asks_for
from checks.course import attempts
from checks.kit import grading
from checks.kit.core import unchecked

ROOT = Path(__file__).resolve().parents[2]
LIMIT = ["--limit", "12/5", "--seed", "1"]  # a short window, and the same bytes in two folders of grades
QUICK = [*LIMIT, "--milestone", "m1"]  # no windows at all: two seconds a submission
FAULTS = [
    bench.CORRECT,
    *("404 for 405", "scores miss a class", "an extra field leaks", "docs is JSON"),
    *("openapi forgets a route", "403 for 401", "health is 500"),
]
REMEDIES = {  # what was handed in, and how it is explained
    "no server": "no server was found (looked for server.py, app/main.py, main.py, app.py)",
    "does not start": "the server does not start: exited 3 before it listened on 127.0.0.1:8000",
    "another port": "nothing listens on 127.0.0.1:8000, but on port 5000: let it read HOST and PORT",
    "no web server": "the server does not answer: ",
    "broken zip": "it is not a zip, or a broken one",
    "notes.txt": "it is neither a folder nor an archive",
    "server.py": "it is neither a folder nor an archive",
    "twice": "twice and twice.zip are the same student: keep the one that counts",
    "linked": "linked is a link: put what it points to in its place",
    "huge": "a zip of more than 50 MiB: hand in your own work only, without data and packages",
    "asks somebody": "it asks for input(), and nobody types there",
}
SOCKET = "import socket, time\nheld = socket.create_server(('127.0.0.1', {}))\nprint('ready')\n"
BABBLE = "while True:\n    one, _ = held.accept()\n    one.sendall(b'hello\\r\\n')\n    one.close()\n"


def rows(out: Path) -> dict[str, dict]:
    with (out / "gradebook.csv").open(newline="", encoding="utf-8-sig") as file:
        return {row["name"]: row for row in csv.DictReader(file) if row["name"] != gradebook.MAXIMUM}


@pytest.fixture(scope="module")
def a_class(tmp_path_factory):
    """A class with known grades and known troubles, graded: folder, grades, {student: fault}, status."""
    folder = tmp_path_factory.mktemp("class")
    handed_in, out = folder / "submissions", folder / "grades"
    students = bench.make_class(handed_in, FAULTS)
    zipped = next(student for student, fault in students.items() if fault == "404 for 405")
    shutil.make_archive(str(handed_in / zipped), "zip", handed_in / zipped)
    shutil.rmtree(handed_in / zipped)
    hand_in(handed_in, "no server")
    hand_in(handed_in, "does not start", "import sys\nprint('\\x1b[31mno model')\nsys.exit(3)\n")
    hand_in(handed_in, "another port", SOCKET.format(5000) + "time.sleep(99)\n")
    hand_in(handed_in, "no web server", SOCKET.format(8000) + BABBLE, "app.py")
    (handed_in / "broken zip.zip").write_bytes(b"PK\3\4 and then nothing")
    (handed_in / "notes.txt").write_text("not a submission")
    (handed_in / "server.py").write_text("nobody's")
    shutil.make_archive(str(handed_in / "twice"), "zip", hand_in(handed_in, "twice", "x"))
    (handed_in / "linked").symlink_to(handed_in / "twice")
    with (handed_in / "huge.zip").open("wb") as file:
        file.truncate(12 << 30)
    hand_in(handed_in, "asks somebody", "name = input('Which port? ')\n")
    (handed_in / ".DS_Store").touch()
    status = grade.main([str(handed_in), "--out", str(out), *LIMIT])
    return handed_in, out, students, status


def test_every_grade_is_the_one_that_is_known_beforehand(a_class):
    _, out, students, _ = a_class
    assert bench.wrong_grades(out, students) == []


@pytest.mark.parametrize("name", REMEDIES)
def test_who_cannot_be_graded_gets_a_sentence_and_no_zero(a_class, name):
    row = rows(a_class[1])[name]
    assert (row["status"], row["points"]) == ("could not be graded", "")
    assert REMEDIES[name] in row["why"]


def test_some_that_could_not_be_graded_show_in_the_exit_status(a_class):
    assert a_class[3] == 1


def test_everybody_is_in_the_gradebook_once(a_class):
    assert sorted(rows(a_class[1])) == sorted([*a_class[2], *REMEDIES])


def test_the_last_words_of_a_server_are_shown_and_steer_no_terminal(a_class):
    folder = a_class[1] / "does not start"
    assert "\\x1b[31mno model" in (folder / "server.log").read_text()
    assert "\\x1b[31mno model" in (folder / "report.html").read_text()
    assert "\x1b" not in "".join(path.read_text() for path in folder.iterdir())


def test_the_log_has_both_starts_and_never_the_key(tmp_path):
    """The server prints all that it was given."""
    folder = bench.make_submission(tmp_path / "ada", bench.CORRECT)
    text = (folder / "server.py").read_text()
    (folder / "server.py").write_text(text.replace("import os\n", "import os\nprint(dict(os.environ))\n", 1))
    assert grade.main([str(folder), "--out", str(tmp_path / "grade"), *LIMIT, "--milestone", "m2"]) == 0
    log = (tmp_path / "grade" / "server.log").read_text()
    assert log.count("'SECRET_API_KEY': '$SECRET_API_KEY'") == 2
    assert "with DEBUG=false" in log and "with DEBUG=true" in log


def test_nothing_is_graded_again_when_nothing_changed(a_class, capsys):
    handed_in, out, _, status = a_class
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/record.json")}
    assert grade.main([str(handed_in), "--out", str(out), *LIMIT]) == status
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/record.json")} == before
    assert "are graded already" in capsys.readouterr().out


# ---- Again, and only what changed -----------------------------------------------------------------------


SMALL = [bench.CORRECT, "404 for 405", "no HEAD", "health is 500"]


@pytest.fixture
def small_class(tmp_path):
    """Four submissions: (their folder, {student: fault})."""
    return tmp_path / "submissions", bench.make_class(tmp_path / "submissions", SMALL)


@pytest.fixture(scope="module")
def small_grades(tmp_path_factory):
    """The grades of the small class, graded side by side and without an interruption."""
    folder = tmp_path_factory.mktemp("small")
    bench.make_class(folder / "submissions", SMALL)
    assert grade.main([str(folder / "submissions"), "--out", str(folder / "grades"), *QUICK]) == 0
    return folder / "grades"


def graded_lines(text: str) -> list[str]:
    return re.findall(r"^\[\d+/\d+\] (.*?):", text, re.MULTILINE)


def test_a_changed_submission_alone_is_graded_again_and_the_difference_is_shown(
    small_class, tmp_path, capsys
):
    handed_in, students = small_class
    line = [str(handed_in), "--out", str(tmp_path / "grades"), *QUICK]
    assert grade.main(line) == 0
    mended = next(student for student, fault in students.items() if fault == "404 for 405")
    shutil.rmtree(handed_in / mended)
    bench.make_submission(handed_in / mended, bench.CORRECT)
    capsys.readouterr()
    assert grade.main([*line, "--received", "2026-11-03T23:59+01:00"]) == 0
    out = capsys.readouterr().out
    assert graded_lines(out) == [mended]
    tries = {student: attempts.kept(tmp_path / "grades" / student) for student in students}
    assert {student for student, told in tries.items() if len(told) == 2} == {mended}  # both are kept
    assert {told[-1]["source"] for told in tries.values()} == {attempts.GIVEN, attempts.MTIME}
    assert {one["source"]: one["grade"]["earned"] for one in tries[mended]} == {"given": 13, "file": 10}
    assert "0 of 1, failed" in out and "1 of 1, passed" in out
    assert (tmp_path / "grades" / "changes.csv").read_text().count(f"{mended},m1.a wrong verb gets 405") == 1


def test_a_changed_unit_check_starts_no_server_and_keeps_the_rest(a_class, tmp_path):
    handed_in, out, students, _ = a_class
    student = next(iter(students))
    folder = shutil.copytree(out / student, tmp_path / "grade")
    record = json.loads((folder / "record.json").read_text())
    record["grader"]["m4"] = "of other checks"
    (folder / "record.json").write_text(json.dumps(record))
    assert grade.main([str(handed_in / student), "--out", str(folder), *LIMIT]) == 0
    again = json.loads((folder / "record.json").read_text())
    assert not [name for name in again["seconds"] if "DEBUG" in name]
    assert again["report"]["results"][:40] == record["report"]["results"][:40]
    assert (again["report"]["earned"], again["report"]["points"]) == (94, 94)


def test_a_class_keeps_its_secret_and_one_of_it_is_asked_the_same_again(tmp_path, capsys):
    submission = bench.make_submission(tmp_path / "class" / "ada", bench.CORRECT)
    line = ["--limit", "12/5", "--milestone", "m1", "--out"]
    for grades in ("grades", "others"):
        assert grade.main([str(tmp_path / "class"), *line, str(tmp_path / grades)]) == 0
    seeds = {records.load(tmp_path / grades / "ada")["seed"] for grades in ("grades", "others")}
    assert len(seeds) == 2
    kept = (tmp_path / "grades" / "seed.txt").read_text()
    capsys.readouterr()
    assert grade.main([str(submission), *line, str(tmp_path / "grades" / "ada")]) == 0
    assert graded_lines(capsys.readouterr().out) == []
    assert grade.main([str(tmp_path / "class"), *line, str(tmp_path / "grades")]) == 0
    assert graded_lines(capsys.readouterr().out) == []
    assert (tmp_path / "grades" / "seed.txt").read_text() == kept


SLOW_ONCE = """import time
from pathlib import Path
begun = time.monotonic()
class Slow(Service):
    def results(self, request):
        if time.monotonic() - begun < 5:
            time.sleep(6)
        return super().results(request)
Service = Slow
"""


def test_who_was_slow_among_others_is_graded_again_alone(tmp_path, capsys):
    """Nothing but a stall of the machine explains the first time, as far as the grader can see."""
    folder = bench.make_submission(tmp_path / "submissions" / "ada", bench.CORRECT)
    text = (folder / "server.py").read_text()
    (folder / "server.py").write_text(text.replace("\n\n\nclass", f"\n\n{SLOW_ONCE}\nclass", 1))
    line = [str(tmp_path / "submissions"), "--out", str(tmp_path / "grades"), *QUICK]
    assert grade.main(line) == 0
    out = capsys.readouterr().out
    assert "ada: was slow or unstable, and is graded again when there is time" in out
    assert graded_lines(out) == ["ada"]  # counted once
    assert not records.load(tmp_path / "grades" / "ada")["doubtful"]
    assert grade.main(line) == 0
    assert graded_lines(capsys.readouterr().out) == []


# ---- Interrupted ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(scratch: Path, *line):
    """The grader of a class as a process, in whose environment, and its children's, stands a mark."""
    mark = f"PIXELWISE_TEST={uuid.uuid4().hex}"
    name, value = mark.split("=")
    process = subprocess.Popen(
        [sys.executable, "-m", "checks.grade", *map(str, line)],
        cwd=ROOT,
        env=os.environ | {name: value, "PYTHONUNBUFFERED": "1", "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process, mark
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def networks_of(mark: str) -> dict[str, list[int]]:
    """{network namespace: processes} of the processes with this mark, and of all others in their networks."""
    networks, marked = {}, set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                network = str((folder / "ns" / "net").readlink())
                networks.setdefault(network, []).append(int(folder.name))
                if mark.encode() in (folder / "environ").read_bytes():
                    marked.add(network)
    own = str(Path("/proc/self/ns/net").readlink())
    return {network: networks[network] for network in marked - {own}}


def all_gone(networks, seconds: float = 15) -> bool:
    """Whether no process is left in these networks, soon."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = set()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    folder.name.isdigit()
                    and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                ):
                    found.add(str((folder / "ns" / "net").readlink()))
        if not found & set(networks):
            return True
        time.sleep(0.1)
    return False


def until_finished(process, count: int) -> list[str]:
    """Read what the grader says until so many are finished; returns their names."""
    names = []
    while len(names) < count:
        line = process.stdout.readline()
        assert line, "it ended too early"
        names += graded_lines(line)
    return names


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_was_finished_is_kept_and_never_graded_again(
    small_class, small_grades, tmp_path, capsys, number
):
    handed_in, students = small_class
    out, line = tmp_path / "grades", [handed_in, "--jobs", 1, *QUICK]
    (scratch := tmp_path / "scratch").mkdir()
    with running(scratch, *line, "--out", out) as (process, mark):
        finished = until_finished(process, 2)
        deadline = time.monotonic() + 10
        while not (networks := networks_of(mark)) and time.monotonic() < deadline:
            time.sleep(0.02)  # the third is under way
        with contextlib.ExitStack() as held:
            for one in networks.values():  # a network that nobody holds may leave its number to a new one
                held.enter_context(Path(f"/proc/{one[0]}/ns/net").open("rb"))
            process.send_signal(number)
            rest = process.stdout.read()
            status = process.wait()
            assert networks and all_gone(networks)
    assert not list(scratch.iterdir())
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/record.json")}
    assert sorted(path.parent.name for path in kept) == sorted(finished)
    if number == signal.SIGINT:
        assert status == 130
        assert "2 of 4 are finished and kept; the same line goes on from there" in rest
        assert [row["status"] for row in rows(out).values()].count("not graded yet") == 2
    assert grade.main([*map(str, line), "--out", str(out)]) == 0
    again = capsys.readouterr().out
    assert sorted([*finished, *graded_lines(again)]) == sorted(students)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert bench.same_grades(out, small_grades)


def test_a_cluster_of_two_workers_gives_the_same_bytes(small_class, small_grades, tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setenv("PYTHONHASHSEED", "0")  # dask gives it another value, and leaves it so
    handed_in, _ = small_class
    with LocalCluster(2, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:
        line = ["--out", str(tmp_path / "dask"), "--dask", cluster.scheduler_address]
        assert grade.main([str(handed_in), *line, *QUICK]) == 0
    assert bench.same_grades(small_grades, tmp_path / "dask")


def test_a_time_limit_ends_a_submission(tmp_path, capsys):
    hand_in(tmp_path, "ada", "import time\ntime.sleep(999)\n")
    line = [str(tmp_path / "ada"), "--out", str(tmp_path / "grade"), *LIMIT, "--seconds", "3"]
    assert grade.main(line) == 1
    assert records.load(tmp_path / "grade")["why"].startswith("over its time limit of 3 s: look at")
    assert not [child for child in children(forks._origin[0].pid) if "checks" in child]


SLOW = """import time
class Slow(Service):
    def within_budget(self, request):
        time.sleep(4)
        return super().within_budget(request)
Service = Slow
"""


def test_what_was_earned_before_the_time_limit_stands(tmp_path, capsys):
    folder = bench.make_submission(tmp_path / "ada", bench.CORRECT)
    text = (folder / "server.py").read_text()
    (folder / "server.py").write_text(text.replace("\n\n\nclass", f"\n\n{SLOW}\n\nclass", 1))
    line = [str(tmp_path / "ada"), "--out", str(tmp_path / "grade"), *LIMIT, "--milestone", "m1,m2"]
    assert grade.main([*line, "--seconds", "25"]) == 0
    record = records.load(tmp_path / "grade")
    assert record["why"].startswith("over its time limit of 25 s: what was not reached could not be checked")
    told = [result["status"] for result in record["report"]["results"]]
    assert set(told) == {"passed", "could not be checked"}
    assert "---- python server.py with DEBUG=false" in (tmp_path / "grade" / "server.log").read_text()
    assert "Not all was graded: over its time limit" in (tmp_path / "grade" / "report.md").read_text()
    assert "not all was graded" in capsys.readouterr().out


def children(process: int) -> list[str]:
    """The command lines of a process's children."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                found.append(Path("/proc", child, "cmdline").read_text())
    return found


def test_a_grader_ends_with_the_class_that_started_it():
    inner = "import os, time; from checks.classroom import one; one.die_with(os.getppid()); "
    inner += "print(os.getpid(), flush=True); time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    process.wait()
    process.stdout.close()
    assert select.select([child], [], [], 10)[0], "it goes on"
    os.close(child)


@pytest.mark.parametrize("moment", ["fetched", "server"])
def test_a_class_that_is_killed_with_all_its_graders_leaves_no_process_and_no_folder(tmp_path, moment):
    """kill -9 for both of them at once: nobody is left who could clear up."""
    bench.make_submission(tmp_path / "class" / "ada", bench.CORRECT)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    line = [sys.executable, "-m", "checks.grade", str(tmp_path / "class"), "--out", str(tmp_path / "grades")]
    environ = os.environ | {"TMPDIR": str(temporary)}
    grader = subprocess.Popen(
        [*line, *LIMIT, "--milestone", "m3"], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL
    )
    pattern = "*/submission/server.py" if moment == "fetched" else "*/pixelwise-sandbox-*/seccomp.bpf"
    while not list(temporary.glob(pattern)):
        assert grader.poll() is None
        time.sleep(0.01)
    for process in [*started_in(temporary), grader.pid]:
        if "one.main" in command_of(process) or process == grader.pid:
            os.kill(process, signal.SIGKILL)
    grader.wait()
    deadline = time.monotonic() + 60
    while (os.listdir(temporary) or started_in(temporary)) and time.monotonic() < deadline:  # noqa: PTH208
        time.sleep(0.05)
    assert os.listdir(temporary) == []  # noqa: PTH208
    assert list(map(command_of, started_in(temporary))) == []


def started_in(folder: Path) -> list[int]:
    """The processes that were started with this $TMPDIR, or that see this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            seen = (process / "environ").read_bytes() + (process / "mountinfo").read_bytes()
            if str(folder).encode() in seen:
                found.append(int(process.name))
    return found


def command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


FAKE_BOX = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *destroy*) ;;
  *"git -C"*) git -C "$7" log --format=%s ;;
  *"ssh --"*) exit 3 ;;
  *pytest*) while [ "$1" != --report ]; do shift; done; mkdir "$2"; cp {report} "$2/report.json" ;;
esac
"""


def test_with_a_box_the_submission_is_deployed_and_the_machine_is_graded(tmp_path, monkeypatch):
    online = [check for check in grading.all_checks() if check.milestone == "m4" and asks_for(check, "prod")]
    results = [unchecked(check, "") for check in online]
    for result in results[1:]:
        result.status, result.earned = "passed", result.points
    (tmp_path / "report.json").write_text(
        json.dumps({"results": [dataclasses.asdict(one) for one in results]})
    )
    box = tmp_path / "box"
    box.write_text(FAKE_BOX.format(log=tmp_path / "log", report=tmp_path / "report.json"))
    box.chmod(0o755)
    monkeypatch.setattr(boxes, "BOX", box)
    folder = bench.make_submission(tmp_path / "ada", bench.CORRECT)
    line = [str(folder), "--out", str(tmp_path / "grade"), "--milestone", "m4", "--box"]
    assert grade.main(line) == 0
    told = json.loads((tmp_path / "grade" / "grade.json").read_text())
    assert (told["earned"], told["points"]) == (34 - results[0].points, 34)
    words = (tmp_path / "log").read_text().splitlines()
    steps = ("up", "push", "setup-server.sh", "pytest checks --prod", "destroy")
    assert all(step in word for step, word in zip(steps, words)) and len(words) == len(steps)
    box.write_text("#!/bin/sh\necho no root; exit 125\n")
    assert grade.main([*line, "--fresh"]) == 0
    told = json.loads((tmp_path / "grade" / "record.json").read_text())["report"]["results"]
    assert [one["reason"].endswith(" up failed: no root") for one in told].count(True) == len(online)


# ---- How it is called -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (["missing"], "is missing: name a folder, a zip or a git URL"),
        (["class"], "--out GRADES"),
        (["class", "--out", "class/grades"], "lies among the submissions"),
        (["class", "--out", "grades", "--limit", "many"], "N/minute"),
        (["class", "--out", "grades", "--milestone", "m9"], "write some of m1"),
        (["class", "--out", "grades", "--jobs", "0"], "above 0"),
        (["class", "--out", "grades", "--received", "tomorrow"], "is no time with its offset"),
    ],
)
def test_a_wrong_call_is_explained(tmp_path, monkeypatch, capsys, line, remedy):
    hand_in(tmp_path / "class", "ada", "x")
    monkeypatch.chdir(tmp_path)
    assert grade.main(line) == 2
    assert remedy in capsys.readouterr().err
