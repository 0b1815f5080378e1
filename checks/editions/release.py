"""Makes the editions: `python -m checks.release OUT` writes OUT/student and OUT/instructor, and proves both.

The instructor edition is this folder as it is. The student edition is what STUDENTS names of it, where the
functions of STUBS answer 501, the unit file has only its sections, the labs have neither solutions nor
outputs, and EDITS takes out what speaks of files that are not there. What is not named is not given away.

Before OUT appears, copies of both editions are graded and their labs are run: the instructor edition gets
full marks, the untouched student edition none of the exercise points, and nothing crashes. Otherwise there is
no OUT. Exit status: 0 done; 1 the proof failed, or a file is not as expected, and the last lines say which;
2 a wrong call.
"""

import ast
import fnmatch
import http.client
import io
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

STUBS = {  # function of server.py: the lab that leads through it
    "accepted_pixels": "02_the_contract_and_the_server",
    "answer": "02_the_contract_and_the_server",
    "RateLimiter.hit": "03_keys_and_limits",
    "authenticate": "03_keys_and_limits",
}

UNIT = """\
# The service under systemd: yours to write. labs/04_from_dev_to_production.ipynb leads through it.
# setup-server.sh copies this file to /etc/systemd/system/ on the machine where the user `produser` exists.

[Unit]
# What is it, and what has to be there before it starts?

[Service]
# Who runs what, where, and with which settings? What happens when it ends? What must it never be able to do?

[Install]
# What starts it when the machine boots?
"""

STUDENTS = (  # what students get; a name that ends in / is a folder with all that is in it
    *("README.md", "CHANGELOG.md", "LICENSE", "server.py", "setup-server.sh", ".env.example"),
    *(".gitattributes", ".gitignore"),
    *("requirements.txt", "requirements-dev.txt", "pytest.ini", "ruff.toml"),
    *("schemas/", "models/", "deploy/"),
    *(
        "labs/*.ipynb",
        "labs/conftest.py",
        "labs/labkit.py",
        "labs/prodkit.py",
        "labs/practice.py",
        "labs/sanitize.cfg",
        "labs/README.md",
    ),
    *("checks/README.md", "checks/__init__.py", "checks/conftest.py", "checks/test_m*.py"),
    *("checks/digits.py", "checks/grading.py", "checks/kit/", "checks/report/"),
)

NEVER = (".git", ".env", ".venv", "__pycache__", ".ipynb_checkpoints", ".prepared", ".*_cache", ".hypothesis")

NOTE = """
This is the student edition: some functions of `server.py`, and the unit file, are yours to write. Until then
the service runs, and answers 501 with the name of what is missing. The labs lead through all of it:

| yours to write | lab |
|---|---|
{rows}
| `deploy/pixelwise.service` | [04_from_dev_to_production](labs/04_from_dev_to_production.ipynb) |
"""

GRADE_YOURSELF = """
## Grade yourself

```
bash setup-server.sh test      # starts your server.py on a free port, and runs all checks that need no prod
```

Each line is a promise of the contract; what is not kept is explained, with a `curl` line that shows it again.
What each milestone is worth, and how to grade prod: [checks/README.md](checks/README.md).
"""

EDITS = (  # file, what is replaced (it has to be there), by what
    ("README.md", r"\n## Two commands", lambda found: note() + found[0]),
    ("README.md", r"then passes all tests \(.*?\)", "then grades your server with checks/"),
    ("README.md", r"(?s)\n## For instructors\n.*?(?=\n## )", GRADE_YOURSELF),
    ("README.md", r"(?m)^(bench|tests)/ .*\n", ""),
    ("README.md", r"(?m)^- How fast is it\?.*\n", ""),
    ("README.md", r"labs, tests and benchmarks", "labs and checks"),
    ("labs/README.md", r"\nFor authors: .*", ""),
    ("CHANGELOG.md", r"(?m)^- `python -m checks\.(grade|release).*\n(  .*\n)*", ""),
    ("checks/README.md", r"(?s)\n## Grade a submission, or a class\n.*?(?=\n## )", ""),
    ("checks/README.md", r"(?s)\n<!-- instructors -->\n.*?<!-- /instructors -->\n", ""),
    ("checks/README.md", r"(?s)\n## Add a check, and its fault\n.*?(?=\n## |\Z)", ""),
    ("pytest.ini", r"testpaths = tests", "testpaths = checks"),
    (
        "setup-server.sh",
        r"(?m)^(#   bash setup-server\.sh test .*) then pass all tests$",
        r"\1 then grade server.py",
    ),
)

GIFTS = {  # checks that the kit passes with nothing written, and why: they are worth no exercise points
    "m4.the unit file can be read": "the kit brings the file",
    "m4.the unit file has three sections": "the kit brings the headings",
    "m4.the unit file holds no key": "it forbids a line, and there is none",
    "m4.the unit file leaves the log to the journal": "it forbids a line, and there is none",
    "m4.the unit file limits starts where it counts": "it forbids a line, and there is none",
    "m4.the unit file listens for other machines": "it forbids a line, and there is none",
}

NO_PROD = {"PROD_HOST": "255.255.255.255"}  # the address of no machine: lab 04 has to cope, and harms nobody
LIMIT = (12, 5)  # requests, seconds: a window that is short, so that the proof takes half a minute
MODES = ("false", "true")  # of DEBUG
SIDE_BY_SIDE = 3  # labs at once
SECONDS = 900  # the longest that the proof may take


class ReleaseError(Exception):
    """Something is not as it has to be; the message says what, and what to do."""


# ---- Stubs ----------------------------------------------------------------------------------------------


def strip(source: bytes, stubs: dict[str, str]) -> bytes:
    """The source of a module, where one statement stands for the body of every function that stubs names.

    stubs: {"function" or "Class.method": statement}. Decorators, signature and docstring stay, and so does
    every byte outside of the bodies. A body ends with its last statement and the comments below it that are
    indented more than its `def`. Raises ReleaseError where a function is missing.
    """
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", source)
    missing, cuts, until = dict(stubs), [], 0
    for name, node in functions(ast.parse(source)):
        if name in stubs:
            missing.pop(name, None)
            if node.lineno > until:  # else it is inside a function that is replaced already
                until = node.end_lineno
                cuts.append((node, stubs[name]))
    if missing:
        raise ReleaseError(
            f"there is no function {', '.join(missing)}: correct STUBS in checks/editions/release.py"
        )
    tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
    for node, statement in reversed(cuts):
        lines = _with_stub(lines, node, statement.encode(), tokens)
    return b"".join(lines)


def functions(node: ast.AST, prefix: str = "") -> Iterable[tuple[str, ast.AST]]:
    """All functions with their names, an outer one before those inside it: "f", "Class.method", "f.inner"."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}."
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name[:-1], child
        yield from functions(child, name)


def _with_stub(lines: list[bytes], node, statement: bytes, tokens: list) -> list[bytes]:
    """The lines with the statement in place of the body of one function."""
    # where the head ends: after the colon of the signature, or after the docstring
    line, column, inline = _after_colon(node, tokens)
    first = node.body[0]
    separator = b" "
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        line, column, separator = first.end_lineno, first.end_col_offset, b"; "
    head, rest = lines[line - 1][:column], lines[line - 1][column:]
    ending = re.search(rb"(\r\n|\r|\n|)\Z", lines[node.end_lineno - 1])[0]
    if not inline and re.fullmatch(rb"[ \t\f]*(#.*)?[\r\n]*", rest):
        indent = re.match(rb"[ \t\f]*", lines[first.lineno - 1])[0]
        kept = head + rest
        if not kept.endswith((b"\n", b"\r")):  # a docstring that ends the file
            kept += b"\n"
        stub = kept + indent + statement + ending
    else:
        stub = head + separator + statement + ending
    last = _last_line(lines, node)
    return [*lines[: line - 1], stub, *lines[last:]]


def _after_colon(node, tokens: list) -> tuple[int, int, bool]:
    """Line and column (in bytes) behind the colon of a signature, and whether the body stands on its line."""
    start = (node.lineno, 0)
    if node.returns:
        start = (node.returns.end_lineno, node.returns.end_col_offset)
    depth = 0
    for place, token in enumerate(tokens):
        begin = (token.start[0], len(token.line[: token.start[1]].encode()))
        if token.type != tokenize.OP or begin < start or token.start[0] < node.lineno:
            continue
        if token.string in "([{":
            depth += 1
        elif token.string in ")]}":
            depth -= not node.returns
        elif token.string == ":" and (depth == 0 or node.returns):
            following = next(one for one in tokens[place + 1 :] if one.type != tokenize.COMMENT)
            return token.end[0], begin[1] + 1, following.type != tokenize.NEWLINE
    raise AssertionError("a function without a colon")


def _last_line(lines: list[bytes], node) -> int:
    """The number of the last line of a function: comments below it that are indented more belong to it."""
    last, outer = node.end_lineno, _width(lines[node.lineno - 1])
    for number in range(node.end_lineno + 1, len(lines) + 1):
        line = lines[number - 1]
        if line.strip() and not line.lstrip().startswith(b"#"):
            break
        if line.strip() and _width(line) > outer:
            last = number
        elif line.strip():
            break
    return last


def _width(line: bytes) -> int:
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def raise_501(name: str, lab: str) -> str:
    return f'raise HTTPError(501, "{name} is yours to write: labs/{lab}.ipynb")'


def note() -> str:
    rows = [f"| `{name}` in `server.py` | [{lab}](labs/{lab}.ipynb) |" for name, lab in STUBS.items()]
    return NOTE.format(rows="\n".join(rows))


# ---- Labs -----------------------------------------------------------------------------------------------


def student_lab(text: str) -> str:
    """The notebook without its solution cells, never run."""
    notebook = json.loads(text)
    notebook["cells"] = [
        cell for cell in notebook["cells"] if "solution" not in cell["metadata"].get("tags", [])
    ]
    return json.dumps(never_run(notebook), indent=1, ensure_ascii=False) + "\n"


def never_run(notebook: dict) -> dict:
    """The notebook, whose outputs and execution counts are taken away."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return notebook


# ---- Which files ----------------------------------------------------------------------------------------


def files_of(root: Path) -> list[str]:
    """The files of the kit, relative to root: those in git, else all that .gitignore does not name."""
    listed = [name for name in _git(root, "ls-files", "-z").split("\0") if name]
    names = [name for name in listed if (root / name).is_file()] or _walk(root, root, _ignored(root))
    return sorted({name for name in names if not any(_matches(part, NEVER) for part in Path(name).parts)})


def left_out(root: Path) -> list[str]:
    """The files that git neither knows nor ignores; nothing where there is no git."""
    return [
        name for name in _git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0") if name
    ]


def _git(root: Path, *arguments: str) -> str:
    """What git prints; where it is missing or refuses, nothing."""
    if not (root / ".git").exists() or not shutil.which("git"):
        return ""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout


def _ignored(root: Path) -> list[str]:
    try:
        lines = (root / ".gitignore").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        lines = []
    return [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]


def _walk(root: Path, folder: Path, ignored: list[str]) -> Iterable[str]:
    for path in sorted(folder.iterdir()):
        name = path.relative_to(root).as_posix()
        if _matches(path.name, (*ignored, *NEVER)) or _matches(name, ignored):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(root, path, ignored)
        elif path.is_file():
            yield name


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def is_for_students(name: str) -> bool:
    return any(
        name.startswith(pattern)
        if pattern.endswith("/")
        else _matches(name, [pattern]) and "/" not in name[len(pattern) :]
        for pattern in STUDENTS
    )


# ---- The editions ---------------------------------------------------------------------------------------


def write_editions(root: Path, out: Path) -> None:
    """Write both editions into the folder out. Raises ReleaseError where a source is not as expected."""
    names = files_of(root)
    for name in names:
        _copy(root / name, out / "instructor" / name)
        if is_for_students(name):
            _copy(root / name, out / "student" / name)
    student = out / "student"
    statements = {name: raise_501(name, lab) for name, lab in STUBS.items()}
    (student / "server.py").write_bytes(strip((root / "server.py").read_bytes(), statements))
    (student / "deploy" / "pixelwise.service").write_text(UNIT, encoding="utf-8")
    for lab in sorted((student / "labs").glob("*.ipynb")):
        lab.write_text(student_lab(lab.read_text(encoding="utf-8")), encoding="utf-8")
    for name, pattern, new in EDITS:
        text = (student / name).read_text(encoding="utf-8")
        text, count = re.subn(pattern, new, text)
        if not count:
            raise ReleaseError(
                f"{name} has nothing like {pattern}: correct EDITS in checks/editions/release.py"
            )
        (student / name).write_text(text, encoding="utf-8")
    for edition in ("student", "instructor"):
        for file in sorted((out / edition).rglob("*.md")):
            for link in re.findall(r"\]\((?!\w+:|#)([^)#]+)", file.read_text(encoding="utf-8")):
                if not (file.parent / link).exists():
                    where = file.relative_to(out)
                    raise ReleaseError(f"{where} links to {link}, which is not there: see EDITS and STUDENTS")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def release(root: Path, out: Path, tell) -> None:
    """Write, prove, and only then put in place. Raises ReleaseError, and leaves nothing behind."""
    out = out.absolute()
    if out.is_symlink() or out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ReleaseError(f"{out} is not empty: name a new folder, or remove it first (rm -r {out})")
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in out.parent.glob(f".{out.name}.release-*"):
        if not _is_process(old.name.rpartition("-")[2]):
            shutil.rmtree(old)  # of a run that was killed
    partial = out.parent / f".{out.name}.release-{os.getpid()}"
    try:
        partial.mkdir()
        write_editions(root, partial)
        if new := left_out(root):
            tell(f"not in git, and so in no edition: {', '.join(new)}")
        tell(f"wrote both editions: {sum(map(is_for_students, files_of(root)))} files for students")
        prove(partial, tell)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_process(number: str) -> bool:
    return number.isdecimal() and Path("/proc", number).exists()


# ---- The proof ------------------------------------------------------------------------------------------

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


class Job:
    """A process of the proof; it ends with this one."""

    def __init__(self, title: str, command: list, cwd: Path, **environ: str):
        self.title, self.command, self.cwd, self.environ = title, command, cwd, environ
        self.process = None

    def start(self) -> "Job":
        own = (
            "HOST",
            "PORT",
            "DEBUG",
            "RATE_LIMIT",
            "TRUSTED_PROXY",
            "SECRET_API_KEY",
            "MODEL_",
            "PIXELWISE_",
        )
        own += ("ECHO_URL", "PYTEST_ADDOPTS", "NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        command = [sys.executable, *map(str, self.command)]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self.output = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (it is closed by stop)
        self.process = subprocess.Popen(
            command,
            cwd=self.cwd,
            env=environ | {"PYTHONDONTWRITEBYTECODE": "1"} | self.environ,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        return self

    def text(self) -> str:
        self.output.seek(0)
        return self.output.read().decode("utf-8", "replace")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.output.close()


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
                found = _not_json(server)
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
                if server.process.wait(15) != 0 or "Traceback" in server.text():
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


def _not_json(server: Job) -> list[str]:
    """What is wrong with the answers to QUESTIONS."""
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
            if answer.status == 500 or not isinstance(document, dict):
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


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(
            "usage: python -m checks.release OUT (a new folder, for OUT/student and OUT/instructor)",
            file=sys.stderr,
        )
        return 2
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)

    def leave(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    try:
        release(ROOT, Path(arguments[0]), tell)
    except ReleaseError as problem:
        print(problem, file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"{problem.filename}: {problem.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    tell(f"{arguments[0]}/student and {arguments[0]}/instructor")
    return 0
