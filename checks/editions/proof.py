"""The proof of both editions, on copies of them: they are graded, and the labs are run and worked."""

import http.client
import json
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from checks.editions.job import Job, side_by_side
from checks.editions.tables import GIFTS, NEEDS_PROD, ReleaseError
from checks.editions.walk import given_away, run_lab, unsolved, work

LIMIT = (12, 5)  # requests, seconds: a window that is short, so that the proof takes half a minute
MODES = ("false", "true")  # of DEBUG
UNTOUCHED = "*.ipynb"  # the labs that are run with nothing written
LABS = re.compile(r"(?m)^labs: (\d+) of (\d+) points$")  # what checks.labs prints last
NOWHERE = "the labs cannot be judged here"  # what it says where there is no sandbox
SECONDS = 900  # the longest that the proof may take

SERVE = """import sys, server
read = server.read_settings
server.read_settings = lambda *given: read(*given)._replace(rate_limit={limit})
sys.exit(server.main([]))
"""

QUESTIONS = (  # method, path, headers, body: every corner of the service, where JSON has to come back
    *[("GET", path, {}, b"") for path in ("/health", "/results", "/classify", "/nothing", "//health")],
    ("DELETE", "/health", {}, b""),
    ("POST", "/classify", {}, b""),
    ("POST", "/classify", {"X-API-Key": "wrong"}, b"{}"),
    ("POST", "/classify", {"X-API-Key": "$KEY", "Content-Type": "application/json"}, b"no JSON"),
    ("POST", "/classify", {"X-API-Key": "$KEY", "Content-Type": "application/json"}, b'{"pixels": [[0]]}'),
    ("POST", "/classify", {"X-API-Key": "$KEY", "Content-Type": "text/plain"}, b"7"),
    ("POST", "/classify", {"X-API-Key": "$KEY"}, b"0" * 70_000),
    ("GET", "/health", {"Transfer-Encoding": "gzip"}, b""),
)


def prove(editions: Path, tell) -> None:
    """Grade both editions, run the labs of the untouched student edition, and work them in order, all of it
    on copies. Raises ReleaseError."""
    servers, graders, counts, problems = {}, {}, {}, []
    with tempfile.TemporaryDirectory(prefix=".proof-", dir=editions) as scratch_name:
        scratch = Path(scratch_name)
        for copy, edition in (("instructor", "instructor"), ("student", "student"), ("worked", "student")):
            shutil.copytree(editions / edition, scratch / copy)
        labs = sorted((scratch / "student" / "labs").glob(UNTOUCHED))
        untouched = [run_lab(f"ran labs/{lab.name} with nothing written", lab) for lab in labs]

        def grade(edition: str, debug: str) -> Job:
            graders[edition, debug] = _grade(scratch, edition, debug, servers[edition, debug])
            return graders[edition, debug]

        def worked() -> Iterator[Job]:
            stuck = []
            yield from work(scratch / "worked", scratch / "instructor", stuck)
            if stuck:
                problems.extend(stuck)
                return
            tell(
                "worked in the order of the course, every exercise and self-check says ✓; "
                f"{len(NEEDS_PROD)} of lab 04 need a machine: tests/test_lab04.py has one"
            )
            servers["worked", "true"] = _serve(scratch / "worked", "worked", "true")
            servers["worked", "true"].url = _url_of(servers["worked", "true"])
            yield grade("worked", "true")
            counts["worked"] = _count(scratch, "worked")
            yield counts["worked"]

        try:
            for edition in ("instructor", "student"):
                for debug in MODES:
                    servers[edition, debug] = _serve(scratch / edition, edition, debug)
            for (edition, debug), server in servers.items():
                server.url = _url_of(server)
                found = _not_json(server, edition)
                problems += [f"{edition} edition, DEBUG={debug}: {problem}" for problem in found]
            tell("every answer of both editions is JSON" if not problems else "an answer is not JSON")
            counts["student"] = _count(scratch, "student")
            waiting = iter([*untouched, counts["student"]])
            lanes = [worked(), *[iter([grade(*one)]) for one in list(servers)], waiting, waiting]
            side_by_side(lanes, tell, SECONDS)
            for lab, job in zip(labs, untouched):
                problems += given_away(lab, job.text())
            reports = {of: _results(scratch, of, job) for of, job in graders.items()}
            problems += judge(reports, tell)
            problems += judge_labs({of: job.text() for of, job in counts.items()}, tell)
            if ("worked", "true") in graders:
                names = unsolved(scratch / "worked")
                problems += [f"the labs were worked, and progress() counts no {name}" for name in names]
            for (edition, _), server in servers.items():
                server.process.send_signal(signal.SIGTERM)
                if server.process.wait(15) != 0 or (edition != "student" and "Traceback" in server.text()):
                    problems.append(f"the server of the {edition} edition crashed:\n{server.text()[-2000:]}")
        finally:
            for server in servers.values():
                server.stop()
    if problems:
        raise ReleaseError("the editions are not what they have to be:\n" + "\n".join(problems))


def _serve(folder: Path, edition: str, debug: str) -> Job:
    key = secrets.token_hex(16)
    environ = {"SECRET_API_KEY": key, "HOST": "127.0.0.1", "PORT": "0", "DEBUG": debug}
    job = Job(f"of the {edition} edition", ["-c", SERVE.format(limit=LIMIT)], folder, **environ).start()
    job.key = key
    return job


def _url_of(server: Job) -> str:
    deadline = time.monotonic() + 300  # of a busy machine
    while time.monotonic() < deadline:
        if found := re.search(r"listening on (http://\S+)", server.text()):
            return found[1]
        if server.process.poll() is not None:
            break
        time.sleep(0.05)
    raise ReleaseError(f"the server {server.title} does not start:\n{server.text()[-2000:]}")


def _grade(scratch: Path, edition: str, debug: str, server: Job) -> Job:
    """Grading as a student does it, with the checks of that edition."""
    command = ["-m", "pytest", "checks", "-p", "no:cacheprovider", "--url", server.url, "--seed", "1"]
    command += ["--limit", f"{LIMIT[0]}/{LIMIT[1]}", "--report", scratch / f"{edition}-{debug}"]
    command += ["--docs", "on" if debug == "true" else "off"]
    if edition == "worked" or debug == "false":
        command += ["--unit", "deploy/pixelwise.service"]
    title = f"graded the {edition} edition with DEBUG={debug}"
    environ = {"SECRET_API_KEY": server.key, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they are not used
    return Job(title, command, scratch / edition, **environ)


def _count(scratch: Path, edition: str) -> Job:
    """What the exercises of the labs are worth, as the grading of a class counts them."""
    command = ["-m", "checks.labs", scratch / edition]
    return Job(f"counted the points of the labs in the {edition} edition", command, scratch / "instructor")


def _results(scratch: Path, of: tuple[str, str], job: Job) -> list[dict]:
    file = scratch / "-".join(of) / "report.json"
    if not file.is_file():
        raise ReleaseError(f"the grading of the {of[0]} edition broke:\n{job.text()[-2000:]}")
    return json.loads(file.read_text(encoding="utf-8"))["results"]


def _not_json(server: Job, edition: str) -> list[str]:
    """What is wrong with the answers to QUESTIONS. Open gates let in what the model cannot take: 500."""
    problems = []
    host, _, port = server.url.rpartition("/")[2].partition(":")
    for method, path, headers, body in QUESTIONS:
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        asked = f"{method} {path}"
        try:
            sent = {name: value.replace("$KEY", server.key) for name, value in headers.items()}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            document = json.loads(answer.read())
            if (answer.status == 500 and edition != "student") or not isinstance(document, dict):
                problems.append(f"{asked} gets {answer.status} {document!r:.200}")
        except (OSError, ValueError, http.client.HTTPException) as problem:
            problems.append(f"{asked} gets no JSON: {problem!r:.200}")
        finally:
            connection.close()
    return problems


def judge_labs(told: dict[str, str], tell) -> list[str]:
    """What is wrong with what checks.labs said: 0 before anything is written, and all of it after."""
    counts = {of: [*map(int, found.groups())] for of, text in told.items() if (found := LABS.search(text))}
    if all(NOWHERE in text for text in told.values()):
        tell(f"the points of the labs were not counted: {told['student'].strip()}")
        return []
    problems = [
        f"the labs of the {of} edition were not judged:\n{told[of][-2000:]}" for of in told.keys() - counts
    ]
    if counts.get("student", [0])[0]:
        problems.append(f"student edition: labs have points with nothing written:\n{told['student'][-2000:]}")
    if "worked" in counts and counts["worked"][0] != counts["worked"][1]:
        problems.append(f"worked edition: labs lack points:\n{told['worked'][-2000:]}")
    if not problems:
        tell(
            "; ".join(
                f"labs of the {of} edition: {one} of {most} points" for of, (one, most) in counts.items()
            )
        )
    return problems


def judge(reports: dict[tuple[str, str], list[dict]], tell) -> list[str]:
    """What is wrong with the results of the checks, by edition and DEBUG."""
    problems, exercise, gifts, earned = [], {}, set(), {}
    for (edition, debug), results in reports.items():
        for result in results:
            name, passed = result["name"], result["status"] == "passed"
            why = result["reason"] or result["received"]
            if edition != "student" and not passed:
                problems.append(f"{edition} edition, DEBUG={debug}: {name}: {result['status']}, {why}")
            if edition == "instructor" and name not in GIFTS:
                exercise[name] = result["points"]
            elif edition == "worked" and passed:
                earned[name] = result["points"]
            elif edition == "student" and passed:
                gifts.add(name)
                if name not in GIFTS:
                    problems.append(f"student edition, DEBUG={debug}: {name} is passed with nothing written")
    problems += [
        f"GIFTS names {name}, which the student edition does not pass" for name in GIFTS if name not in gifts
    ]
    fourth = sum(points for name, points in earned.items() if name.startswith("m5."))
    if earned:
        problems += [f"worked edition: {name} was not graded" for name in exercise if name not in earned]
        problems += [] if fourth else ["worked edition: the fourth endpoint of lab 06 is not graded by m5"]
    if not problems:
        tell(
            "the instructor edition has all points; the student edition has 0 of the "
            f"{sum(exercise.values()):g} exercise points, from {len(exercise)} checks ({len(gifts)} gifts)"
        )
        if earned:
            tell(f"the worked student edition has all of them, and {fourth:g} points of m5")
    return problems
