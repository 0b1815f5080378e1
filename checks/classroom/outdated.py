"""What must be graded again: what a changed submission, check, option or package affects."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from checks.classroom.handed_in import digest_of
from checks.classroom.records import GRADED
from checks.kit import grading

ROOT = Path(__file__).resolve().parents[2]
LABS = "labs"  # graded again alone, as a milestone is
OF_LABS = (
    "cells",
    "exercises",
    "judge",
    "kernel",
    "labs",
    "machine",
    "notebooks",
    "plain",
    "rebuild",
    "teller",
)
SEED = "seed.txt"  # the secret of a class, beside its grades
ALONE = {  # files of kit/ that matter to one milestone
    "m3": ("limits.py",),
    "m4": ("deployment.py", "machine.py", "unit.py"),
    "m5": ("batch.py", "fourth.py"),
}
RECORDED = (
    "autograder.py",
    "bare.py",
    "gradebook.py",
    "handed_back.py",
    "marks.py",
)  # no record depends on them
PACKAGES = ("fastapi", "flask", "pydantic", "slowapi", "starlette", "uvicorn")  # beside requirements.txt


def grader_digests(options: dict) -> dict[str, str]:
    """What a grade depends on beside the submission: {"all": digest, "m1": digest, …}, SHA-256 in hex.

    "m1" to "m5": the checks of this milestone alone. "labs": what the exercises of the labs are judged with.
    "all": every other source of the checks, the schemas, the options that matter to a grade, Python, and the
    packages that servers run on.
    """
    checks = ROOT / "checks"
    own = {
        name: files + [checks / "kit" / one for one in ALONE.get(name, ())]
        for name, files in grading.MILESTONES.items()
    }
    own[LABS] = [checks / "classroom" / f"{name}.py" for name in OF_LABS]
    own[LABS] += [file for file in (ROOT / "labs").iterdir() if file.suffix in (".py", ".ipynb")]
    own[LABS] += [ROOT / "server.py"]
    mine = {file for files in own.values() for file in files}
    # no grade depends on these
    rest = {checks / name for name in ("report", "editions", "exchange", "course", "reading", "term")}
    rest |= {checks / "classroom" / name for name in RECORDED}
    rest |= {checks / name for name in ("conftest.py", "gradebook.py", "read.py", "release.py", "labs.py")}
    shared = [file for file in checks.rglob("*") if file.suffix in (".py", ".npz") and file not in mine]
    shared = [file for file in shared if not rest & {file, *file.parents}]
    shared += (ROOT / "schemas").rglob("*.json")
    told = [f"{file.relative_to(ROOT)} {digest_of(file)}" for file in sorted(shared)]
    told += [platform.python_version(), json.dumps(options, sort_keys=True), *_versions()]
    return {"all": hashlib.sha256("\n".join(told).encode()).hexdigest()} | {
        name: hashlib.sha256("".join(map(digest_of, sorted(files))).encode()).hexdigest()
        for name, files in sorted(own.items())
    }


def _versions() -> list[str]:
    """The versions of the packages that a submission's server runs on, where they are installed."""
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    names = {*PACKAGES, *re.findall(r"^([\w.-]+)==", pinned, re.MULTILINE)}
    found = []
    for name in sorted(names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found


def outdated(record: dict | None, submission: str, grader: dict[str, str], seconds: float) -> set[str]:
    """The milestones that must be graded again, and "labs": all, none, or those whose checks changed and
    those whose checks need one of these."""
    everything = {*grading.MILESTONES, LABS}
    if record is None or record["submission"] != submission or record["grader"]["all"] != grader["all"]:
        return everything
    cut_short = record["status"] != GRADED or record["why"]
    if record["again"] or record["doubtful"] or (cut_short and record["limit"] != seconds):
        return everything
    changed = {name for name in everything if record["grader"].get(name) != grader[name]}
    if changed and record["status"] != GRADED:
        return everything
    checks = grading.all_checks()
    while True:
        more = {
            check.milestone
            for check in checks
            for needed in check.needs
            if needed.partition(".")[0] in changed
        }
        if more <= changed:
            return changed
        changed |= more


def seed_of(name: str, submission: str, seed: int) -> int:
    """The seed of what a student's server is asked, with which digits and in which order: the same in every
    run. Another submission has another one, for a server may have written down what it was asked."""
    told = f"{seed} {submission} {name}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(told).digest()[:8]) % 10**12


def seed_of_class(folders: Iterable[Path], asked: int | None) -> int:
    """The secret from which the seeds of students are made: kept in the first of the folders that has one, or
    made for the first. asked: keep this one instead. Raises OSError."""
    folders = list(folders)
    if asked is None:
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return int((folder / SEED).read_text(encoding="ascii"))
        asked = secrets.randbits(64)
    file = folders[0] / SEED
    file.touch(0o600)
    file.write_text(f"{asked}\n", encoding="ascii")
    return asked
