"""m4 whole: a submission is deployed on a fresh production machine as the course does it, and checked."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from checks.classroom.archives import SubmissionError
from checks.classroom.found import CannotGrade
from checks.classroom.intake import fetch
from checks.classroom.one import asks_for
from checks.classroom.server import LOG
from checks.classroom.worker import LIVE, grade
from checks.kit import core, grading
from checks.report.model import build, clean, now

ROOT = Path(__file__).resolve().parents[2]
BOX = ROOT / "deploy" / "box" / "box"
PROD = "ssh://produser@192.168.56.11"
DEPLOY = "cd /opt/pixelwise && git pull -q && bash setup-server.sh"
BOX_SECONDS = 900  # for a step on the box; the first one on a machine builds its image


def with_box(task: dict) -> dict | None:
    """The record of `grade`, with the checks of m4 that need a machine: the submission is deployed on a fresh
    box as the course does (push, pull, setup-server.sh), and the box is destroyed."""
    record = grade(task)
    if task["why"]:
        return record
    online = [check for check in grading.all_checks() if check.milestone == "m4" and asks_for(check, "prod")]
    if record is None or "m4" not in task["milestones"]:
        return record
    began = time.monotonic()
    name = f"grade-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="pixelwise-grades-") as scratch:
        LIVE[task["name"]] = {"at": "is deployed on a box", "began": began}
        try:
            results = _on_a_box(name, task, Path(scratch), record)
        except (CannotGrade, OSError, subprocess.SubprocessError, ValueError, LookupError) as problem:
            results = [core.unchecked(check, f"it needs the box: {problem}"[:500]) for check in online]
        finally:
            LIVE.pop(task["name"], None)
            subprocess.run([BOX, "--name", name, "destroy"], stdin=subprocess.DEVNULL, capture_output=True)
    record["seconds"]["box"] = round(time.monotonic() - began, 2)
    names = {check.name for check in online}
    told = record["report"]
    kept = [core.Result(**one) for one in told["results"] if one["name"] not in names]
    header = {name: told[name] for name in ("student", "graded", "url", "seed", "started", "versions")} | {
        "planned": []
    }
    record["report"] = build(header, [*kept, *results], now())
    return record


def _on_a_box(name: str, task: dict, scratch: Path, record: dict) -> list[core.Result]:
    """Deploy and check; returns the results of the checks that asked the machine. Raises CannotGrade."""

    def run(*words, cwd=ROOT, status=(0,)) -> str:
        done = subprocess.run(
            [*map(str, words)],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BOX_SECONDS,
        )
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode not in status:
            last = clean((text.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
            raise CannotGrade(f"{Path(words[0]).name} {' '.join(map(str, words[1:6]))} failed: {last}")
        return text

    try:
        root = fetch(task["parts"], scratch / "submission").root
    except SubmissionError as problem:
        raise CannotGrade(str(problem)) from None
    shutil.rmtree(root / ".git", ignore_errors=True)
    run("git", "init", "-q", "-b", "main", "--template=", cwd=root)
    run("git", "add", "-A", cwd=root)
    person = ("-c", "user.name=student", "-c", "user.email=student@example.org")
    run("git", *person, "commit", "-qm", "handed in", cwd=root)
    box = (BOX, "--name", name)
    run(*box, "up")
    run(*box, "shell", "--", "git", "-C", root, "push", "-q", f"{PROD}/srv/git/pixelwise.git", "main")
    done = run(*box, "ssh", "--", DEPLOY, status=range(256))  # what came of it, the checks find out
    record["log"] += f"---- {DEPLOY}\n{done[-LOG:]}\n"
    seed = ("--seed", task["seed"], "-p", "no:cacheprovider", "-q")
    out = scratch / "report"
    line = ("-m", "pytest", "checks", "--prod", PROD, "--milestone", "m4", "--report", out, *seed)
    run(*box, "shell", "--", sys.executable, *line, status=(0, 1))
    told = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return [core.Result(**one) for one in told["results"]]
