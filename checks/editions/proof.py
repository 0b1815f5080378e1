"""The proof of both editions, on copies of them: they are graded, and the student's labs are run."""

import http.client
import json
import re
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path

from checks.editions.job import Job
from checks.editions.tables import GIFTS, ReleaseError

NO_PROD = {"PROD_HOST": "255.255.255.255"}  # the address of no machine: lab 04 has to cope, and harms nobody
LIMIT = (12, 5)  # requests, seconds: a window that is short, so that the proof takes half a minute
MODES = ("false", "true")  # of DEBUG
SIDE_BY_SIDE = 3  # labs at once
SECONDS = 900  # the longest that the proof may take

SERVE = """import sys, server
read = server.read_settings
server.read_settings = lambda *given: read(*given)._replace(rate_limit={limit})
sys.exit(server.main([]))
"""

RUN_LAB = """import json, sys, nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
notebook = nbformat.read(sys.argv[1], as_version=4)
exercises = {cell.id for cell in notebook.cells if "exercise" in cell.metadata.get("tags", [])}
error = ""
try:
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd="labs")
except CellExecutionError as problem:
    error = str(problem)[-600:]
def passed(cell):
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", [])]
    return "✓" in "".join(texts)
done = [cell.id for cell in notebook.cells if passed(cell)]
won = [one for one in done if one.removesuffix("-check") in exercises or one.startswith("yours-")]
print(json.dumps({"error": error, "won": won}))
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
    """Grade both editions and run the labs of the student edition, on copies. Raises ReleaseError."""
    jobs, servers, problems = [], {}, []
    with tempfile.TemporaryDirectory(prefix=".proof-", dir=editions) as scratch_name:
        scratch = Path(scratch_name)
        try:
            for edition in ("instructor", "student"):
                folder = scratch / edition
                shutil.copytree(editions / edition, folder)
                for debug in MODES:
                    servers[edition, debug] = _serve(folder, edition, debug)
            for (edition, debug), server in servers.items():
                server.url = _url_of(server)
                jobs.append(_grade(scratch, edition, debug, server).start())
            labs = sorted(
                (scratch / "student" / "labs").glob("*.ipynb"), key=lambda lab: lab.name[:2] != "04"
            )
            waiting = [
                Job(
                    f"ran labs/{lab.name}",
                    ["-c", RUN_LAB, f"labs/{lab.name}"],
                    scratch / "student",
                    **NO_PROD,
                )
                for lab in labs  # first the one that waits for a machine that is not there
            ]
            graders = list(jobs)
            jobs += waiting
            for (edition, debug), server in servers.items():
                found = _not_json(server, edition)
                problems += [f"{edition} edition, DEBUG={debug}: {problem}" for problem in found]
            tell("every answer of both editions is JSON" if not problems else "an answer is not JSON")
            _run(jobs, waiting, tell)
            reports = {}
            for (edition, debug), job in zip(servers, graders):
                file = scratch / f"{edition}-{debug}" / "report.json"
                if not file.is_file():
                    raise ReleaseError(f"the grading of the {edition} edition broke:\n{job.text()[-2000:]}")
                reports[edition, debug] = json.loads(file.read_text(encoding="utf-8"))["results"]
            problems += judge(reports, tell)
            for lab, job in zip(labs, jobs[len(graders) :]):
                problems += _lab_problems(lab.name, job.text())
            for (edition, _), server in servers.items():
                server.process.send_signal(signal.SIGTERM)
                if server.process.wait(15) != 0 or (edition == "instructor" and "Traceback" in server.text()):
                    problems.append(f"the server of the {edition} edition crashed:\n{server.text()[-2000:]}")
        finally:
            for job in [*jobs, *servers.values()]:
                job.stop()
    if problems:
        raise ReleaseError("the editions are not what they have to be:\n" + "\n".join(problems))


def _serve(folder: Path, edition: str, debug: str) -> Job:
    key = secrets.token_hex(16)
    environ = {"SECRET_API_KEY": key, "HOST": "127.0.0.1", "PORT": "0", "DEBUG": debug}
    job = Job(f"of the {edition} edition", ["-c", SERVE.format(limit=LIMIT)], folder, **environ).start()
    job.key = key
    return job


def _url_of(server: Job) -> str:
    deadline = time.monotonic() + 60
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
    command += ["--milestone", "m1,m2,m3,m4", "--limit", f"{LIMIT[0]}/{LIMIT[1]}"]
    command += ["--docs", "on" if debug == "true" else "off", "--report", scratch / f"{edition}-{debug}"]
    if debug == "false":
        command += ["--unit", "deploy/pixelwise.service"]
    title = f"graded the {edition} edition with DEBUG={debug}"
    return Job(title, command, scratch / edition, SECRET_API_KEY=server.key)


def _run(jobs: list[Job], waiting: list[Job], tell) -> None:
    """Wait for all jobs; of those that wait, start a few at a time. A line for each that is done."""
    began, open_jobs, waiting = time.monotonic(), list(jobs), list(waiting)
    running: list[Job] = []
    while open_jobs:
        while waiting and len(running) < SIDE_BY_SIDE:
            running.append(waiting.pop(0).start())
        for job in [job for job in open_jobs if job.process and job.process.poll() is not None]:
            open_jobs.remove(job)
            if job in running:
                running.remove(job)
            tell(job.title)
        if time.monotonic() - began > SECONDS:
            late = ", ".join(job.title for job in open_jobs)
            raise ReleaseError(f"the proof takes longer than {SECONDS} s, and waits for: {late}")
        time.sleep(0.05)


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


def judge(reports: dict[tuple[str, str], list[dict]], tell) -> list[str]:
    """What is wrong with the results of the checks, by edition and DEBUG."""
    problems, exercise, gifts = [], {}, set()
    for (edition, debug), results in reports.items():
        for result in results:
            name, passed = result["name"], result["status"] == "passed"
            why = result["reason"] or result["received"]
            if edition == "instructor":
                if not passed:
                    problems.append(f"instructor edition, DEBUG={debug}: {name}: {result['status']}, {why}")
                if name not in GIFTS:
                    exercise[name] = result["points"]
            elif passed:
                gifts.add(name)
                if name not in GIFTS:
                    problems.append(f"student edition, DEBUG={debug}: {name} is passed with nothing written")
    problems += [
        f"GIFTS names {name}, which the student edition does not pass" for name in GIFTS if name not in gifts
    ]
    if not problems:
        tell(
            "the instructor edition has all points; the student edition has 0 of the "
            f"{sum(exercise.values()):g} exercise points, from {len(exercise)} checks ({len(gifts)} gifts)"
        )
    return problems


def _lab_problems(name: str, printed: str) -> list[str]:
    try:
        told = json.loads(printed.splitlines()[-1])
    except (ValueError, IndexError):
        return [f"labs/{name} could not be run:\n{printed[-2000:]}"]
    problems = [f"labs/{name} has an error cell:\n{told['error']}"] if told["error"] else []
    return problems + [f"labs/{name}: {cell} says ✓ with nothing written" for cell in told["won"]]
