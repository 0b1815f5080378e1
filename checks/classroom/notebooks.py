"""Runs a submission's labs again, on notebooks rebuilt from the instructor's: for points, an exercise each.

A student's code runs in kernels in the sandbox, and may say there what it likes: only values leave them, as
plain data, and labs.py has them judged out here. The kernels have the submission, the instructor's labs/*.py
and nothing else of the kit. Whether a whole notebook reproduces is another question: `pytest --nbval` answers
it.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.machinery import all_suffixes
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from checks.classroom import exercises
from checks.classroom.cells import matched
from checks.classroom.limits import Limits
from checks.classroom.needs import to_run
from checks.classroom.rebuild import (
    BadNotebook,
    collected,
    done_exercises,
    find,
    read,
    rebuild,
    regular_files,
)
from checks.editions.files import files_of, is_for_students
from checks.kit.core import FAILED, PASSED, UNCHECKED, Result

ANSWERS = "labs/answers.json"
MEMORY = 4 << 30  # bytes of the process that talks to the kernels: they may send more than there is room for
# What each kernel, and who talks to it, imports first
IMPORTED = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipywidgets", "anywidget")
IMPORTED += ("jupyter_client.manager", "jupyter_client.blocking", "requests", "jsonschema", "numpy", "dotenv")
# and each kernel as it starts
IMPORTED += ("ipykernel.debugger", "IPython.core.debugger", "IPython.core.completerlib", "psutil", "sqlite3")
IMPORTED += ("IPython.core.oinspect", "IPython.core.logger", "IPython.extensions.storemagic")
IMPORTED += ("tornado.platform.asyncio",)


def rerun(root: Path, instructor: Path, limits: Limits, out: Path, seconds: float = 540) -> dict:
    """Rebuild and run again the labs of the submission in root; the rebuilt notebooks go to the folder out.

    instructor: the whole kit. limits: of each sandbox. seconds: for all labs together. Returns {"labs":
    [facts of a lab], "answers": [{"lab", "question", "answer"}], "results": [Result]}, the same in every run.
    """
    labs, answers, to_do, whys = [], [], [], {}
    with tempfile.TemporaryDirectory(prefix="pixelwise-labs-") as scratch_name:
        scratch = Path(scratch_name)
        kit = copy_for_kernels(root, instructor, scratch / "kit")
        for source in sorted((instructor / "labs").glob("*.ipynb")):
            original = json.loads(source.read_text(encoding="utf-8"))
            lab = {"lab": source.stem, "why": "", "notes": []}
            try:
                theirs = read(find(root, source.name, lab["notes"]), lab["notes"])
                handed_in = matched(original, theirs, lab["notes"])
            except BadNotebook as problem:
                lab["why"], handed_in = str(problem), {}
            rebuilt = rebuild(original, handed_in, lab["notes"])
            done = done_exercises(original, rebuilt)
            answers += collected(original, handed_in, source.stem, only_for_humans(source.stem, done))
            if lab["why"]:
                whys[source.stem[:2]] = lab["why"]
            else:
                out.mkdir(parents=True, exist_ok=True)
                text = json.dumps(rebuilt, indent=1, ensure_ascii=False) + "\n"
                (out / source.name).write_text(text, encoding="utf-8")
                cells = to_run(rebuilt)
                to_do.append({"lab": source.stem, "ours": str(source), "cells": cells, "done": sorted(done)})
            labs.append(lab | {"exercises": len(exercises.of_lab(source.stem[:2])), "done": len(done)})
        task = {"labs": to_do, "kit": str(kit), "instructor": str(instructor)}
        task |= {"limits": dataclasses.asdict(limits), "machine": str(scratch / "machine")}
        copy_for_practice(instructor, scratch / "machine")
        told = run(task, scratch, instructor, seconds)
    results = [
        result_of(
            one, told.get((one.lab, one.name)), whys.get(one.lab, f"the labs took longer than {seconds:g} s")
        )
        for one in exercises.EXERCISES
        if one.lab in {lab["lab"][:2] for lab in labs} and not one.human
    ]
    for lab in labs:
        lab["right"] = sum(one.status == PASSED and one.milestone[3:] == lab["lab"][:2] for one in results)
    return {"labs": labs, "answers": answers, "results": results}


def only_for_humans(name: str, done: dict[str, str]) -> dict[str, str]:
    """Of the exercises of a lab that are done, those that nobody but a human can judge."""
    return {one.name: done[one.name] for one in exercises.of_lab(name[:2]) if one.human and one.name in done}


def result_of(exercise: exercises.Exercise, told: dict | None, why: str) -> Result:
    """The result of an exercise. told: what the process of labs.py told of it; why: why it told nothing."""
    right = (told or {}).get("right")
    status = UNCHECKED if right is None else PASSED if right else FAILED
    return Result(
        name=exercise.full_name,
        number=exercise.number,
        milestone=exercise.milestone,
        sentence=exercise.title,
        points=exercise.points,
        stretch=False,
        status=status,
        earned=exercise.points if right else 0,
        seconds=0.0,
        received=told["received"] if status == FAILED else "",
        expected=told.get("expected", "") if status == FAILED else "",
        reason="" if status == PASSED else (told or {}).get("reason", why if status == UNCHECKED else ""),
    )


# ---- Running -------------------------------------------------------------------------------------------


def copy_for_kernels(root: Path, instructor: Path, kit: Path) -> Path:
    """What the kernels see: the instructor's labs/, the submission's files, what is missing of the rest.

    Not there: checks/, tests/, a server.py or a unit file that the submission does not have, the solutions,
    and whatever Python would import from the submission's labs/ in the place of labkit, or of what labkit
    imports.
    """
    hidden = ("checks", "tests", ".env")
    names = [name for name in files_of(instructor) if not has_solutions(name)]
    for name in names:
        if name.startswith("labs/") and (is_for_students(name) or name.endswith(".py")):
            _copy(instructor / name, kit / name)
    for path in regular_files(root):
        name = path.relative_to(root)
        imported = name.parts[0] == "labs" and name.name.endswith(tuple(all_suffixes()))
        theirs = name.parts[0] not in hidden and not imported and name.as_posix() != ANSWERS
        if theirs and not (kit / name).exists():
            _copy(path, kit / name)
    for name in names:
        given = is_for_students(name) and name not in ("server.py", "deploy/pixelwise.service")
        if given and not name.startswith(("checks/", "labs/")) and not (kit / name).exists():
            _copy(instructor / name, kit / name)
    for prepared in (instructor / "models" / ".prepared").glob("*.npz"):  # spares every start two seconds
        _copy(prepared, kit / "models" / ".prepared" / prepared.name)
    return _readable(kit)


def copy_for_practice(instructor: Path, kit: Path) -> Path:
    """What the machine for practice is made of: the kit of the students, with an empty server.py."""
    for name in files_of(instructor):
        if is_for_students(name) and not name.startswith("checks/") and not has_solutions(name):
            _copy(instructor / name, kit / name)
    (kit / "server.py").write_text("# for practice\n", encoding="utf-8")
    return _readable(kit)


def has_solutions(name: str) -> bool:
    """Whether a file of the instructor's shows what an exercise asks for."""
    return name == ANSWERS or (name.startswith("labs/") and name.endswith(".ipynb"))


def _readable(kit: Path) -> Path:
    for folder, _, _ in os.walk(kit):
        Path(folder).chmod(0o755)
    return kit


def _copy(source: Path, target: Path) -> None:
    with contextlib.suppress(FileExistsError, NotADirectoryError):  # a file where the kit has a folder
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def compile_once() -> None:
    """pip leaves it to the first use to compile what it installs, and no use from within the sandbox can keep
    what it compiled: every kernel of a class would do it again."""
    packages = [find_spec(name.partition(".")[0]) for name in IMPORTED]
    found = [Path(package.origin) for package in packages if package and package.origin]
    missing = [path for path in found if not Path(cache_from_source(path)).exists()]
    if any(os.access(path.parent, os.W_OK) for path in missing):
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        from checks.classroom.kernel import NO_DEBUGGER  # and with it Jupyter's client

        program = f"{NO_DEBUGGER}; import {', '.join(IMPORTED)}"
        subprocess.run([sys.executable, "-c", program], env=environ, **quiet)


def run(task: dict, scratch: Path, instructor: Path, seconds: float) -> dict[tuple[str, str], dict]:
    """What the process of labs.py tells of the exercises, until its time is up: {(lab, exercise): told}."""
    compile_once()
    found = scratch / "found.jsonl"
    task |= {"found": str(found), "scratch": str(scratch)}
    command = [sys.executable, "-c", "import sys; from checks.classroom import labs; sys.exit(labs.main())"]
    if prlimit := shutil.which("prlimit"):
        command = [prlimit, f"--as={MEMORY}", *command]
    command = ["setpriv", "--pdeathsig", "KILL", "--", *command]  # also when this process is killed
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(instructor),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(scratch),
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
        "TMPDIR": str(scratch),
    }
    process = subprocess.Popen(
        command,
        cwd=scratch,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.communicate(json.dumps(task).encode(), seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    told = {}
    for line in found.read_text(encoding="utf-8").splitlines() if found.exists() else []:
        with contextlib.suppress(ValueError, LookupError):  # the last one may be cut
            one = json.loads(line)
            told[one["lab"], one["exercise"]] = one
    return told
