"""Runs a submission's labs again, on notebooks rebuilt from the instructor's: evidence, and worth no points.

A rebuilt notebook has the instructor's cells in the instructor's order, found in the submission by their IDs.
Of a student come only the sources of the cells tagged `exercise`, and the words of those tagged `reflection`;
the outputs to compare with are the instructor's. So nothing that a student adds, copies, moves, retypes or
tags has a say. It is worth no points because a student's code runs in the kernel that shows what the checks
found, and may print what it likes.

`pytest --nbval` runs outside of the sandbox, the kernel inside. The kernel has the submission, the
instructor's labs/*.py and nothing else of the kit: `check` in labkit.py asks a Checker, out here, over
127.0.0.1. This module is a plugin of that pytest, too: it writes what became of each cell to
$PIXELWISE_EVIDENCE.
"""

import ast
import contextlib
import dataclasses
import http.server
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

INSIDE = "/submission"  # where the sandbox shows a folder
LARGEST = 8 << 20  # bytes of a notebook
MOST_CELLS = 2000
LONGEST = 20_000  # characters of a source or an answer
SHOWN = 2_000  # characters of an output that are kept
CELL_SECONDS = 60
OUTPUT_SECONDS = 30  # between two outputs; nbval's 5 are too few for a busy machine
ANSWER = "*Your answer:*"
ON_PROD = "04"  # the lab that needs a production machine
SAME, DIFFERS, ERROR, NOT_RUN = "reproduces", "differs", "error", "not run"


class BadNotebook(Exception):
    """A file is no notebook that can be read; the message says why."""


def rerun(root: Path, instructor: Path, make_sandbox, out: Path, seconds: float = 180) -> dict:
    """Rebuild and run again the labs of the submission in root; the rebuilt notebooks go to the folder out.

    instructor: the whole kit. make_sandbox(folder, readable=[...]): a Sandbox. seconds: for each lab.
    Returns {"labs": [facts of a lab], "answers": [{"lab", "question", "answer"}]}, the same in every run.
    """
    labs, answers = [], []
    with tempfile.TemporaryDirectory(prefix="pixelwise-labs-") as scratch_name, Checker() as checker:
        scratch = Path(scratch_name)
        kit = copy_for_kernels(root, instructor, scratch / "kit")
        for source in sorted((instructor / "labs").glob("*.ipynb")):
            original = json.loads(source.read_text(encoding="utf-8"))
            lab = {"lab": source.stem, "why": "", "notes": []}
            try:
                handed_in = read(find(root, source.name), lab["notes"])
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
                cells, lab["why"] = run(file, kit, instructor, make_sandbox, checker.url, seconds)
                out.mkdir(parents=True, exist_ok=True)
                text = json.dumps(with_outputs(rebuilt, cells), indent=1) + "\n"
                (out / source.name).write_text(text, encoding="utf-8")
            labs.append(lab | facts(original, rebuilt, done, cells))
    return {"labs": labs, "answers": answers}


def is_on_prod(name: str) -> bool:
    return name.startswith(ON_PROD)


# ---- What was handed in ---------------------------------------------------------------------------------


def find(root: Path, name: str) -> Path:
    """The notebook of this name: in labs/, else wherever it is. Never through a link. Raises BadNotebook."""
    found = [
        path for path in regular_files(root) if path.name == name and ".ipynb_checkpoints" not in path.parts
    ]
    if not found:
        raise BadNotebook(f"{name} was not handed in")
    return min(found, key=lambda path: (path.parent != root / "labs", len(path.parts), path))


def regular_files(root: Path) -> Iterator[Path]:
    """Every regular file below root; links are not followed."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in (".git", ".venv", "node_modules"))
        for name in sorted(names):
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def read(path: Path, notes: list[str]) -> dict[str, dict]:
    """The cells of a notebook by their IDs, {"source", "type"}. Raises BadNotebook; notes get what is odd."""
    size = path.lstat().st_size
    if size > LARGEST:
        raise BadNotebook(f"it has {size >> 20} MiB; {LARGEST >> 20} are the most")
    try:
        notebook = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise BadNotebook("it is not JSON") from None
    except OSError as problem:
        raise BadNotebook(f"it cannot be read: {problem.strerror}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise BadNotebook("it is no notebook of the format 4")
    cells = notebook.get("cells")
    if not isinstance(cells, list) or len(cells) > MOST_CELLS:
        raise BadNotebook(f"its cells are no list of at most {MOST_CELLS}")
    found: dict[str, dict] = {}
    without = twice = broken = 0
    for cell in cells:
        name, source = _name_and_source(cell)
        if source is None:
            broken += 1
        elif name is None:
            without += 1
        elif name in found:
            twice += 1
        else:
            found[name] = {"source": source[:LONGEST], "type": str(cell.get("cell_type"))}
    for count, what in (
        (broken, "have no source that is text, and were left out"),
        (without, "have no ID, and were left out"),
        (twice, "have the ID of a cell before them, and were left out"),
    ):
        if count:
            notes.append(f"{count} cells {what}")
    return found


def _name_and_source(cell) -> tuple[str | None, str | None]:
    """ID and source of a cell; None for what is not there. Colab writes the ID into the metadata."""
    if not isinstance(cell, dict):
        return None, None
    source, metadata = cell.get("source"), cell.get("metadata")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    name = cell.get("id") or (metadata.get("id") if isinstance(metadata, dict) else None)
    return (name if isinstance(name, str) else None), (source if isinstance(source, str) else None)


# ---- Rebuilding -----------------------------------------------------------------------------------------


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def source_of(cell: dict) -> str:
    return "".join(cell["source"])


def rebuild(original: dict, handed_in: dict[str, dict], notes: list[str]) -> dict:
    """The instructor's notebook without its solutions, with the student's sources in its exercises."""
    cells = []
    for cell in original["cells"]:
        if "solution" in tags(cell):
            continue
        cell = dict(cell)
        if "exercise" in tags(cell):
            theirs = handed_in.get(cell["id"])
            if theirs is None and handed_in:
                notes.append(f"the exercise {cell['id']} is missing, and counts as not done")
            if theirs and theirs["type"] != "code":
                notes.append(f"the exercise {cell['id']} is a cell of another type; it was run as code")
            if theirs:
                cell["source"] = without_markers(theirs["source"])
            cell["metadata"] = {"tags": ["exercise", "nbval-ignore-output"]}  # what it prints is free
        elif "pytest checks" in source_of(cell):
            cell["metadata"] = {"tags": ["nbval-skip"]}  # the sandbox has no checks/
        cells.append(cell)
    return original | {"cells": cells}


def without_markers(source: str) -> str:
    """The source without the comments that tell nbval what not to compare."""
    from nbval.plugin import comment_markers

    def is_marker(line: str) -> bool:
        line = line.strip()
        return line.startswith("#") and line.lstrip("#").strip() in comment_markers

    lines = source.splitlines(keepends=True)
    return "".join("#\n" if is_marker(line) else line for line in lines)


def done_exercises(original: dict, rebuilt: dict) -> dict[str, str]:
    """{ID: source} of the exercises that are not the stub any more."""
    stubs = {cell["id"]: source_of(cell) for cell in original["cells"] if "exercise" in tags(cell)}
    return {
        cell["id"]: source_of(cell)
        for cell in rebuilt["cells"]
        if "exercise" in tags(cell) and not same_code(source_of(cell), stubs[cell["id"]])
    }


def same_code(one: str, other: str) -> bool:
    """Whether two sources differ in nothing but comments and spaces."""
    if one.split() == other.split() or not one.strip():
        return True
    try:
        return ast.dump(ast.parse(textwrap.dedent(one))) == ast.dump(ast.parse(textwrap.dedent(other)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def collected(original: dict, handed_in: dict, lab: str, more: dict[str, str]) -> list[dict]:
    """The answers to the reflection questions, in the order of the lab; and `more`, exercises not run."""
    answers = []
    for cell in original["cells"]:
        asked = source_of(cell)
        if "reflection" in tags(cell):
            told = handed_in.get(cell["id"], {}).get("source", "")
            answer = told.removeprefix(asked) if told.startswith(asked) else told.rpartition(ANSWER)[2]
            question = " ".join(asked.removesuffix(ANSWER).split())
            answers.append({"lab": lab, "question": question, "answer": answer.strip()})
        elif cell["id"] in more:
            answers.append({"lab": lab, "question": f"exercise {cell['id']}", "answer": more[cell["id"]]})
    return answers


def facts(original: dict, rebuilt: dict, done: dict, cells: dict[str, dict]) -> dict:
    """What is told of a lab: how many cells reproduce, and which exercises are done and show ✓."""
    exercises = [cell["id"] for cell in original["cells"] if "exercise" in tags(cell)]
    compared = [cell["id"] for cell in rebuilt["cells"] if cell["cell_type"] == "code"]
    compared = [name for name in compared if name not in exercises]
    became = {name: cells.get(name, {}).get("became", NOT_RUN) for name in compared}
    right = [name for name in exercises if name in done and passed(cells.get(f"{name}-check", {}))]
    return {
        "exercises": len(exercises),
        "done": len(done),
        "right": len(right),
        "reproduce": sum(one == SAME for one in became.values()),
        "differ": sum(one == DIFFERS for one in became.values()),
        "fail": sum(one["became"] == ERROR for one in cells.values()),
        "cells": {name: {"became": became[name]} for name in compared if became[name] != SAME and cells}
        | {name: {"done": name in done, "right": name in right} for name in exercises},
    }


def passed(cell: dict) -> bool:
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


# ---- Running --------------------------------------------------------------------------------------------


def copy_for_kernels(root: Path, instructor: Path, kit: Path) -> Path:
    """What the kernels see: the submission's files, the instructor's labs/*.py, what is missing of the rest.

    Not there: checks/, tests/, and a server.py or a unit file that the submission does not have.
    """
    from checks.editions import release

    hidden = ("checks", "tests", ".env")
    for path in regular_files(root):
        name = path.relative_to(root)
        if name.parts[0] not in hidden and not (name.parts[0] == "labs" and name.suffix == ".py"):
            _copy(path, kit / name)
    for name in release.files_of(instructor):
        mine = name.startswith("labs/") and name.endswith(".py")
        given = release.is_for_students(name) and name not in ("server.py", "deploy/pixelwise.service")
        given = given and not name.startswith(("checks/", "labs/"))
        if mine or (given and not (kit / name).exists()):
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
            evidence = scratch / "evidence.jsonl"
            limit = min(CELL_SECONDS, seconds)
            command = [
                sys.executable,
                "-m",
                "pytest",
                file,
                "--nbval",
                "-p",
                "checks.classroom.notebooks",
                "-q",
            ]
            command += ["--rootdir", scratch, "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider"]
            command += ["--nbval-kernel-name", "pixelwise", "--nbval-cell-timeout", limit, "--tb=no"]
            command += ["--nbval-kernel-startup-timeout", limit, "-p", "nbval.plugin"]
            command += ["--nbval-sanitize-with", instructor / "labs" / "sanitize.cfg"]
            if prlimit := shutil.which("prlimit"):  # a kernel may send more than there is room for
                command = [prlimit, f"--as={4 << 30}", *command]
            environ = {
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(instructor),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PIXELWISE_EVIDENCE": str(evidence),
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
        lines = evidence.read_text(encoding="utf-8").splitlines() if evidence.exists() else []
        cells = {}
        for line in lines:
            with contextlib.suppress(ValueError):  # the last one may be cut
                told = json.loads(line)
                cells[names[told.pop("cell")]] = told
        if not any(cell["became"] != NOT_RUN for cell in cells.values()) and not why:
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


# ---- In the pytest that runs a notebook: what became of each cell ---------------------------------------


def pytest_configure(config):
    if "PIXELWISE_EVIDENCE" in os.environ:
        from nbval.plugin import IPyNbCell

        make = IPyNbCell.__init__

        def init(self, *arguments, **named):
            make(self, *arguments, **named)
            self.output_timeout = OUTPUT_SECONDS

        IPyNbCell.__init__ = init
        # the difference is not shown, and would take minutes for a long output
        IPyNbCell.format_output_compare = lambda self, key, left, right: None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    over = call.when == "call" or (call.when == "setup" and call.excinfo)
    if "PIXELWISE_EVIDENCE" in os.environ and over:
        problem = call.excinfo.value if call.excinfo else None
        told = {"cell": item.cell_num} | became_of(problem, item.test_outputs)
        with Path(os.environ["PIXELWISE_EVIDENCE"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
    return report


def became_of(problem: BaseException | None, outputs: list | None) -> dict:
    """What became of a cell, from what nbval raised and what the cell put out."""
    shown = "\n".join(text_of(output) for output in outputs or [])[:SHOWN]
    became, message = SAME, ""
    if problem is not None:
        message = str(problem)[:200]
        if "outputs differ" in message:
            became = DIFFERS
        elif outputs is None:
            became = NOT_RUN  # the kernel is dead
        else:
            became = ERROR
    return {"became": became, "message": message, "shown": shown}


def text_of(output) -> str:
    if output["output_type"] == "error":
        return f"{output.get('ename')}: {output.get('evalue')}"[:SHOWN]
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return (text if isinstance(text, str) else "")[:SHOWN].rstrip("\n")


# ---- The checker: what `check` of labkit.py asks --------------------------------------------------------


class Checker:
    """Runs checks for the kernels, and answers with their results as JSON; at 127.0.0.1, while `with` lasts.

    POST {"names": [...], "url", "key", "options": {"seeds": [...], "limit", "debug"}} gets a list: for every
    name a result, or what is wrong with it. POST {"milestone", "url", "key"} gets the names of the checks
    that make sense. What it asks is a server on this machine; it reads no file that anybody names.
    """

    most = 2000  # checks, all in all

    def __init__(self):
        self.lock, self.asked = threading.Lock(), 0  # one at a time: a check seeds the random module
        checker = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_POST(self):
                try:
                    length = min(int(self.headers.get("Content-Length") or 0), 100_000)
                    answer = checker.answer(json.loads(self.rfile.read(length)))
                except (ValueError, TypeError, KeyError, LookupError, RecursionError) as problem:
                    answer = f"the checker does not understand this: {problem!r:.200}"
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False  # a check of a server that hangs may last longer than we do

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *problem):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, asked: dict) -> list:
        from checks.kit import grading

        url, key = asked["url"], asked["key"]
        if not re.fullmatch(r"http://127\.0\.0\.1:\d{1,5}", url) or not isinstance(key, str):
            raise ValueError("url has to be http://127.0.0.1:PORT, and key a text")
        if "milestone" in asked:
            given = grading.given_for(url=url, key=key)
            with self.lock:
                return [
                    check.name
                    for check in grading.planned(grading.all_checks(), given, (str(asked["milestone"]),))
                ]
        options = {name: asked["options"][name] for name in ("limit", "debug") if name in asked["options"]}
        results = []
        for name, seed in zip(map(str, asked["names"]), map(int, asked["options"]["seeds"])):
            with self.lock:
                self.asked += 1
                if self.asked > self.most:
                    raise ValueError("too many checks")
                try:
                    result = grading.run(name, url, key, seed=seed, **options)
                    results.append(dataclasses.asdict(result))
                except (LookupError, ValueError) as problem:
                    results.append(str(problem.args[0]))
        return results
