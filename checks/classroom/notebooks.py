"""Runs a submission's labs again, on notebooks rebuilt from the instructor's: evidence, and worth no points.

It is worth no points because a student's code runs in the kernel that shows what the checks found, and may
print what it likes. `pytest --nbval` runs outside of the sandbox, the kernel inside. The kernel has the
submission, the instructor's labs/*.py and nothing else of the kit: `check` in judging.py asks a Checker, in
a sandbox of its own, over 127.0.0.1.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.machinery import all_suffixes
from pathlib import Path

from checks.classroom import evidence
from checks.classroom.cells import matched, tags
from checks.classroom.checker import checking
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

CELL_SECONDS = 60
ON_PROD = "04"  # the lab that needs a production machine


def rerun(root: Path, instructor: Path, make_sandbox, out: Path, seconds: float = 180) -> dict:
    """Rebuild and run again the labs of the submission in root; the rebuilt notebooks go to the folder out.

    instructor: the whole kit. make_sandbox(folder, readable=[…], seconds=…): a Sandbox. seconds: each lab.
    Returns {"labs": [facts of a lab], "answers": [{"lab", "question", "answer"}]}, the same in every run.
    """
    labs, answers = [], []
    temporary = tempfile.TemporaryDirectory(prefix="pixelwise-labs-")
    with temporary as scratch_name, checking(make_sandbox, instructor) as checker:
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
            answers += collected(original, handed_in, source.stem, done if is_on_prod(source.stem) else {})
            cells = {}
            if not lab["why"] and is_on_prod(source.stem):
                lab["why"] = "it needs a production machine, and was not run again"
            elif not lab["why"]:
                file = scratch / source.name
                file.write_text(json.dumps(rebuilt, indent=1, ensure_ascii=False), encoding="utf-8")
                cells, lab["why"] = run(file, kit, instructor, make_sandbox, checker, seconds)
                out.mkdir(parents=True, exist_ok=True)
                text = json.dumps(with_outputs(rebuilt, cells), indent=1) + "\n"
                (out / source.name).write_text(text, encoding="utf-8")
            labs.append(lab | facts(original, rebuilt, done, cells))
    return {"labs": labs, "answers": answers}


def is_on_prod(name: str) -> bool:
    """Whether a lab needs a production machine."""
    return name.startswith(ON_PROD)


def facts(original: dict, rebuilt: dict, done: dict, cells: dict[str, dict]) -> dict:
    """What is told of a lab: how many cells reproduce, and which exercises are done and show ✓."""
    exercises = [cell["id"] for cell in original["cells"] if "exercise" in tags(cell)]
    compared = [cell["id"] for cell in rebuilt["cells"] if cell["cell_type"] == "code"]
    compared = [name for name in compared if name not in exercises]
    became = {name: cells.get(name, {}).get("became", evidence.NOT_RUN) for name in compared}
    right = [name for name in exercises if name in done and passed(cells.get(f"{name}-check", {}))]
    return {
        "exercises": len(exercises),
        "done": len(done),
        "right": len(right),
        "reproduce": sum(one == evidence.SAME for one in became.values()),
        "differ": sum(one == evidence.DIFFERS for one in became.values()),
        "fail": sum(one["became"] == evidence.ERROR for one in cells.values()),
        "cells": {
            name: {"became": became[name]} for name in compared if became[name] != evidence.SAME and cells
        }
        | {name: {"done": name in done, "right": name in right} for name in exercises},
    }


def passed(cell: dict) -> bool:
    """Whether a self-check has shown ✓, and nothing else."""
    lines = re.findall(r"^[✓✗?]", cell.get("shown", ""), re.MULTILINE)
    return bool(lines) and set(lines) == {"✓"}


def with_outputs(rebuilt: dict, cells: dict[str, dict]) -> dict:
    """The rebuilt notebook with what the cells showed, as text; for an instructor to look at."""
    shown = []
    for cell in rebuilt["cells"]:
        if cell["cell_type"] == "code":
            text = cells.get(cell["id"], {}).get("shown", "")
            outputs = [{"name": "stdout", "output_type": "stream", "text": text}] if text else []
            cell = cell | {"outputs": outputs, "execution_count": None}
        shown.append(cell)
    return rebuilt | {"cells": shown}


# ---- Running -------------------------------------------------------------------------------------------


def copy_for_kernels(root: Path, instructor: Path, kit: Path) -> Path:
    """What the kernels see: the instructor's labs/, the submission's files, what is missing of the rest.

    Not there: checks/, tests/, a server.py or a unit file that the submission does not have, and whatever
    Python would import from the submission's labs/ in the place of labkit, or of what labkit imports.
    """

    hidden = ("checks", "tests", ".env")
    for name in files_of(instructor):
        if name.startswith("labs/") and (is_for_students(name) or name.endswith(".py")):
            _copy(instructor / name, kit / name)
    for path in regular_files(root):
        name = path.relative_to(root)
        imported = name.parts[0] == "labs" and name.name.endswith(tuple(all_suffixes()))
        if name.parts[0] not in hidden and not imported and not (kit / name).exists():
            _copy(path, kit / name)
    for name in files_of(instructor):
        given = is_for_students(name) and name not in ("server.py", "deploy/pixelwise.service")
        if given and not name.startswith(("checks/", "labs/")) and not (kit / name).exists():
            _copy(instructor / name, kit / name)
    for folder, _, _ in os.walk(kit):
        Path(folder).chmod(0o755)
    return kit


def _copy(source: Path, target: Path) -> None:
    with contextlib.suppress(FileExistsError, NotADirectoryError):  # a file where the kit has a folder
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def run(
    file: Path, kit: Path, instructor: Path, make_sandbox, checker: str, seconds: float
) -> tuple[dict, str]:
    """Run a rebuilt notebook: {ID: {"became", "message", "shown"}}, and why it was not run to its end."""
    with tempfile.TemporaryDirectory(prefix="pixelwise-lab-run-") as scratch_name:
        scratch = Path(scratch_name)
        runtime = scratch / "runtime"
        runtime.mkdir()
        runtime.chmod(0o755)  # the kernel's user has to read in it; scratch keeps everybody else out
        with make_sandbox(kit, readable=[runtime]) as sandbox:
            write_kernelspec(scratch / "jupyter" / "kernels" / "pixelwise", sandbox, checker)
            found = scratch / "evidence.jsonl"
            limit = min(CELL_SECONDS, seconds)
            command = [sys.executable, "-m", "pytest", file, "--nbval", "-q", "-p", evidence.__name__]
            command += ["--rootdir", scratch, "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider"]
            command += ["--nbval-kernel-name", "pixelwise", "--nbval-cell-timeout", limit, "--tb=no"]
            command += ["--nbval-kernel-startup-timeout", limit, "-p", "nbval.plugin"]
            command += ["--nbval-sanitize-with", instructor / "labs" / "sanitize.cfg"]
            if prlimit := shutil.which("prlimit"):  # a kernel may send more than there is room for
                command = [prlimit, f"--as={4 << 30}", *command]
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]  # also when this process is killed
            environ = {
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(instructor),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PIXELWISE_EVIDENCE": str(found),
                "HOME": str(scratch),
                "IPYTHONDIR": str(scratch / "ipython"),
                "JUPYTER_PATH": str(scratch / "jupyter"),
                "JUPYTER_CONFIG_DIR": str(scratch / "config"),
                "TMPDIR": str(runtime),  # there nbval's Jupyter puts the connection file
            }
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=scratch,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            why = ""
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                why = f"it took longer than {seconds:g} s"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        notebook = json.loads(file.read_text(encoding="utf-8"))
        names = [cell["id"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
        lines = found.read_text(encoding="utf-8").splitlines() if found.exists() else []
        cells = {}
        for line in lines:
            with contextlib.suppress(ValueError):  # the last one may be cut
                told = json.loads(line)
                cells[names[told.pop("cell")]] = told
        if not any(cell["became"] != evidence.NOT_RUN for cell in cells.values()) and not why:
            why = "its kernel did not start"
        return cells, why


def write_kernelspec(folder: Path, sandbox, checker: str) -> None:
    """A kernel that Jupyter starts out here and that runs in the sandbox."""
    kernel = (
        f'cd labs && exec "{sys.executable}" -m ipykernel_launcher --HistoryManager.enabled=False -f "$0"'
    )
    environ = sandbox.environment({"PIXELWISE_CHECKER": checker, "IPYTHONDIR": "/tmp/ipython"})
    argv = ["env", "-i", *(f"{name}={value}" for name, value in environ.items())]
    argv += sandbox.command(["sh", "-c", kernel, "{connection_file}"])
    # Jupyter writes the file with the kernel's ports and key for itself alone
    argv = ["sh", "-c", 'chmod 644 "$0" && exec "$@"', "{connection_file}", *argv]
    folder.mkdir(parents=True)
    spec = {"argv": argv, "display_name": "PixelWise", "language": "python", "interrupt_mode": "message"}
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
