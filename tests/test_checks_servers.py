"""The checks on real servers: correct ones in four frameworks, the course's own listing, and hostile ones."""

import contextlib
import html.parser
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
import wire
from forked import Forks

from checks.kit import core, grading

ROOT = Path(__file__).resolve().parent.parent
KEY = "aB3-the-key-of-the-tests-Zy9"
LIMIT = "8/5"
FORKS = Forks("pytest", "rich.console", "rich.table", "numpy", "http.server")


@contextlib.contextmanager
def running(*command: str, **environ: str):
    """A server that prints its port, as a process of its own; gives its URL."""
    with started(*command, **environ) as (_, url):
        yield url


@contextlib.contextmanager
def started(*command: str, **environ: str):
    """The same; gives the process as well."""
    environ = os.environ | {"KEY": KEY, "LIMIT": LIMIT, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | environ
    reader, writer = os.pipe()
    process = FORKS.start(*command, cwd=ROOT, env=environ, stdout=writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as told:
            port = int(told.readline())
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def grade(url: str, limit: str = LIMIT, seed: int = 7, key: str = KEY) -> list[core.Result]:
    given = grading.given_for(url=url, key=key, limit=limit, seed=seed)
    checks = grading.planned(grading.all_checks(), given, ("m1", "m2", "m3"))
    session = grading.session(checks, given, seed)
    return [session.run(check.name) for check in checks]


def lost(results: list[core.Result]) -> list[tuple]:
    return [(r.name, r.status, r.received, r.expected, r.reason) for r in results if r.status != core.PASSED]


def pytest_checks(*arguments: str, folder: Path | None = None, **environ: str) -> subprocess.CompletedProcess:
    """`pytest checks …`; of pytest's plugins the checks use none, and most of the start is theirs."""
    report = ["--report", str(folder)] if folder else []
    command = ["-m", "pytest", "-p", "no:cacheprovider", "checks", *arguments, *report]
    inherited = {name: value for name, value in os.environ.items() if name != "SECRET_API_KEY"}
    environ = inherited | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environ
    done = FORKS.run(*command, cwd=ROOT, env=environ, timeout=300)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


CORRECT = {  # name: (script, settings)
    "Flask": ("tests/correct/flask_contract.py", {}),
    "FastAPI with the contract's additions": ("tests/correct/fastapi_contract.py", {}),
    "the same with its documentation": ("tests/correct/fastapi_contract.py", {"DEBUG": "1"}),
    "the course's listing": ("tests/correct/course_listing.py", {}),
}


def graded(name: str) -> list[core.Result]:
    if name.startswith("our own"):
        return grade_ours(name.partition("DEBUG=")[2])
    return grade_script(*CORRECT[name])


def grade_ours(debug: str) -> list[core.Result]:
    server = wire.Process(DEBUG=debug, RATE_LIMIT="30/minute")
    try:
        return grade(server.url, "30/minute", key=server.key)
    finally:
        server.stop()


def grade_script(script: str, environ: dict) -> list[core.Result]:
    with running(script, **environ) as url:
        wait_for(url)
        return grade(url)


@pytest.mark.parametrize(
    "name",
    ["our own, DEBUG=false", "our own, DEBUG=true", *(name for name in CORRECT if "listing" not in name)],
)
def test_a_correct_server_gets_full_marks(name):
    results = graded(name)
    assert len(results) > 50
    assert not lost(results)


def test_who_followed_the_course_to_the_letter_gets_every_required_point():
    results = graded("the course's listing")
    assert all(result.stretch for result in results if result.status != core.PASSED), lost(results)
    assert len(lost(results)) > 10  # so the stretch checks ask for more than the listing has


def wait_for(url: str) -> None:
    """Until a server that printed its port before it listens does so."""
    api = grading.given_for(url=url, key=KEY)["api"]
    deadline = time.monotonic() + 30
    while not api.is_there():
        assert time.monotonic() < deadline


def test_the_same_server_gets_the_same_results_twenty_times():
    with running("-m", "faulty.service", "no budget is shown") as url:
        wait_for(url)
        with ThreadPoolExecutor(10) as pool:
            first, *others = pool.map(lambda number: outcome(url, number), range(20))
    assert not [set(first) ^ set(other) for other in others if other != first]


def outcome(url: str, number: int) -> tuple:
    """What a report says of the server, without the seconds; every run has client addresses of its own."""
    return tuple((r.name, r.status, r.earned, r.received, r.expected) for r in grade(url, seed=number))


def test_a_budget_that_all_clients_share_is_counted_in_a_window_of_its_own():
    with running("-m", "faulty.service", "one budget for all clients") as url:
        wait_for(url)
        for _ in range(2):  # the second one has to wait for the end of a window that it did not see begin
            result = grading.run("m3.exactly the limit is admitted", url, KEY, limit=LIMIT)
            assert (result.status, result.received) == (core.PASSED, "")
        result = grading.run("m3.every client has a budget of its own", url, KEY, limit=LIMIT)
        assert result.status == core.FAILED


GRADER = """
import sys
import threading
from checks.kit import grading
session = grading.session(grading.all_checks(), grading.given_for(url=sys.argv[1]), 1)
session.run("m1.health answers")
print("ready", flush=True)
sys.stdin.readline()
print(session.run("m1.answers come in time"))
"""


def test_a_machine_that_was_paused_amid_a_check_changes_no_grade():
    with started("-m", "faulty.service") as (server, url):
        wait_for(url)
        command, pipe = [sys.executable, "-c", GRADER, url], subprocess.PIPE
        grader = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        try:
            assert grader.stdout.readline() == "ready\n"
            server.send_signal(signal.SIGSTOP)
            grader.stdin.write("go\n")
            time.sleep(0.5)  # now its request waits for an answer
            grader.send_signal(signal.SIGSTOP)
            time.sleep(5)
            grader.send_signal(signal.SIGCONT)
            time.sleep(0.3)  # now it has given up
            server.send_signal(signal.SIGCONT)
            told = grader.communicate(timeout=600)[0]
            assert f"status='{core.PASSED}'" in told, told
        finally:
            grader.kill()
            grader.wait()


def test_a_machine_that_stands_still_for_a_window_costs_nobody_points():
    """The grader's and the server's machine is often the same one, and a busy one."""
    names = [
        *("m3.exactly the limit is admitted", "m3.wrong keys use up the budget too"),
        *("m3.the budget is shown", "m3.a forged address does not help"),
        *("m3.the limit holds for requests at the same time", "m3.429 says when to come back"),
    ]
    with running("-m", "faulty.service", LIMIT="3/1") as url:
        wait_for(url)
        given = grading.given_for(url=url, key=KEY, limit="3/1")
        api, ask = given["api"], given["api"].ask
        left = []

        def held_up(*arguments, **options):
            if left and left.pop() == "sleep":
                time.sleep(1.1)
            return ask(*arguments, **options)

        api.ask = held_up
        checks = {check.name: check for check in grading.all_checks()}
        for name in names:
            session = grading.session(list(checks.values()), given, 7)
            for needed in checks[name].needs:
                session.run(needed)
            left[:] = ["sleep", "go on"]
            result = session.run(name)
            assert (result.status, result.reason, left) == (core.PASSED, "", [])


ONLY_A_STATUS = {  # what a server that says 200 to everything has done right
    *("m1.health answers", "m1.answers come in time", "m1.results answers"),
    *("m1.half a request holds up nobody", "m3.the server is still there"),
}


@pytest.mark.parametrize(
    "attack",
    [
        *("by_user_agent", "ten_gigabytes", "endless_redirects", "infinite_chunks", "infinite_headers"),
        *("one_byte_a_second", "silence", "not_http", "nested_json"),
    ],
)
def test_a_hostile_server_gains_no_point_and_hangs_nothing(attack):
    with running("tests/hostile_server.py", attack) as url:
        began = time.monotonic()
        results = grade(url)
        assert time.monotonic() - began < 300, "it hangs: each wait for an answer is cut at 5 s"
    earned = {result.name for result in results if result.earned}
    assert earned <= (ONLY_A_STATUS if attack == "nested_json" else set())


def test_a_hostile_text_is_shown_and_does_nothing(tmp_path):
    with running("tests/hostile_server.py", "injection") as url:
        done = pytest_checks("--url", url, "--key", KEY, "--limit", LIMIT, folder=tmp_path)
    assert done.returncode == 1
    assert "418 with" in done.stdout
    for name in ("report.md", "report.html", "junit.xml", "results.json", "report.json", "results.jsonl"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert not [c for c in text if ord(c) < 32 and c != "\n"], name
        assert "\u202e" not in text, name
    assert not [c for c in done.stdout if ord(c) < 32 and c != "\n"]
    ElementTree.parse(tmp_path / "junit.xml")
    page = Tags()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "img"} & page.names
    assert KEY not in "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.names = set()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)


def test_a_server_that_hangs_on_every_request_is_not_asked_for_long_and_loses_no_point():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        accepted = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(silent.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        done = pytest_checks("--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "--key", KEY)
        silent.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()
    assert done.returncode == 1
    assert "it accepts the connection but gives no whole answer within 5 s" in done.stdout
    assert "✗" not in done.stdout
    assert 1 <= len(accepted) <= 6, "each of them waits 5 s"


def test_pytest_grades_writes_its_reports_and_exits_with_zero_when_all_is_well(tmp_path):
    options = ["--key", KEY, "--limit", LIMIT, "--seed", "5"]
    as_typed = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    with running("-m", "faulty.service") as url:
        done = pytest_checks("--url", url, *options, folder=tmp_path, **as_typed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ 1.01" in done.stdout and "✗" not in done.stdout
    assert "--seed 5" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["complete"] and report["earned"] == report["points"] > 60
    assert [one["passed"] for one in report["milestones"]] == [True, True, True]


def test_a_failure_shows_one_sentence_a_curl_line_and_a_hint_and_no_traceback(tmp_path):
    options = ["--key", KEY, "--limit", LIMIT, "--milestone", "m2", "-k", "ragged"]
    with running("-m", "faulty.service", "500 on ragged") as url:
        done = pytest_checks("--url", url, *options, folder=tmp_path)
        wanted = pytest_checks("--url", url, *options, "--traceback")
    assert done.returncode == 1
    for text in (
        "a picture with a row that is too short, or too long, gets 422",
        "received  500 with",
        "expected  422",
        "hint",
        "curl",
    ):
        assert text in done.stdout, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert KEY not in done.stdout
    assert "Traceback" in wanted.stdout and "test_m2_contract.py" in wanted.stdout


@pytest.mark.parametrize(
    "fault, name",
    [
        ("404 for 405", "m1.a wrong verb gets 405"),
        ("HEAD with a body", "m1.head answers like get"),
        ("always the same digit", "m2.real digits are recognised"),
        ("500 on 256", "m2.a pixel out of range is refused"),
        ("500 on broken json", "m2.broken json is refused"),
        ("any media type will do", "m2.another media type is refused"),
        ("NaN is paper", "m2.numbers are read as json says"),
        ("a key in the query is accepted", "m3.a key in the address does not count"),
        ("any key will do", "m3.a wrong key is refused"),
        ("no limit", "m3.exactly the limit is admitted"),
    ],
)
def test_the_curl_line_of_a_failure_shows_it_again(fault, name):
    with running("-m", "faulty.service", fault) as url:
        result = grading.run(name, url, KEY, limit=LIMIT, seed=1)
        environ = os.environ | {
            "SECRET_API_KEY": KEY,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["bash", "-c", result.curl], cwd=ROOT, env=environ, capture_output=True, text=True
        )
    assert result.status == core.FAILED
    statuses = re.findall(r"^HTTP/1.1 (\d+) ", done.stdout, re.M)
    assert statuses and int(statuses[-1]) == result.evidence[-1]["answer"]["status"], (result.curl, done)
    assert len(statuses) == 1 or "for i in $(seq" in result.curl


@pytest.mark.parametrize(
    "options, remedy",
    [
        ([], "say what to grade: pytest checks --url"),
        (["--url", "http://127.0.0.1:8000"], "--key is missing"),
        (["--url", "http://127.0.0.1:8000", "--key", "k\r"], "the key has a carriage return in it: give"),
        (["--url", "http://127.0.0.1:8000", "--key", "'k'"], "the key stands in quotes"),
        (["--url", "ftp://x", "--key", "k"], "write http://HOST:PORT"),
        (
            ["--url", "http://127.0.0.1:1", "--key", "k", "--limit", "many"],
            "is no rate limit: write N/second",
        ),
        (["--unit", "/no/such/file.service"], "/no/such/file.service"),
    ],
)
def test_a_wrong_call_names_the_remedy(options, remedy):
    done = pytest_checks(*options)
    assert done.returncode == 4
    assert remedy in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
