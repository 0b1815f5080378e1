"""What the labs need beside Python: a server to start and stop, shell cells, pictures, and checks.

    server = Server()                        # starts server.py on a free port, and sets $URL and $KEY
    echo = EchoService()                     # the same for httpbin, which answers what it was asked: $ECHO
    client.post(server.url + "/classify")    # client is a requests.Session
    show_answer(answer)                      # status line, chosen headers, body
    show(digit)                              # a picture;  chart(answer) draws its scores
    show_code("authenticate")                # a piece of server.py
    expect(answer, status=401)               # judges an answer of yours
    check("m3.a wrong key is refused")       # runs a check of checks/ on the running server
    %%dev                                    # a cell of shell lines for this machine, with $URL and $KEY

prodkit.py has the rest, for lab 04: the production machine, and %%prod.

What differs from run to run is shown by its name: the address as $URL, the port as $PORT, the key as $KEY,
and in the log <time>, <ms> and <id>. Nothing here raises because a server is wrong or gone: it says so.
"""

import ast
import atexit
import difflib
import html
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import dotenv
import numpy as np
import requests
from IPython import get_ipython
from IPython.display import display

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # for checks/
sys.modules.setdefault(
    "rfc3987_syntax", None
)  # jsonschema would import it: seconds, for formats we never use
SERVER = Path(os.environ.get("PIXELWISE_SERVER", REPO / "server.py")).resolve()
ROOT = SERVER.parent  # where schemas/ and models/ are
NOBODY = "http://127.0.0.1:9"  # where nothing listens: the address of a server that did not start
KEY = dotenv.dotenv_values(ROOT / ".env").get("SECRET_API_KEY") or ""
if KEY in ("", "change-me-to-a-long-random-string"):  # the server refuses the one of .env.example
    KEY = secrets.token_hex(16)


def past_proxies(*hosts: str):
    """Let curl, and all else that a lab starts, ask these hosts itself and not through a proxy."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join([*filter(None, [known]), *hosts])


past_proxies("127.0.0.1", "localhost")

# ---- The server -----------------------------------------------------------------------------------------


class Server:
    """A server.py of its own for this notebook, on a free port, until `stop()` or the end of the kernel.

    folder: where server.py, schemas/ and models/ are (see `copy_of_the_server`).
    settings: those of .env.example, such as RATE_LIMIT="5/second". The key is that of .env, if any.
    """

    current = None  # the one that was started last: $URL, `check` and the shell cells mean it
    remedy = "server.start() starts it again."
    way = ()  # the words before a command for the machine that can ask it: for this machine, none
    says = "listening on"  # the words of its log before its address
    remedies = {}  # what to do about some last words of its log

    def __init__(self, folder=ROOT, **settings):
        file = Path(folder) / SERVER.name
        self.name, self.folder, self.command = file.name, file.parent, [sys.executable, file]
        self.key = KEY
        self.settings = {"DEBUG": "true", "RATE_LIMIT": "30/minute", "TRUSTED_PROXY": "", **settings}
        self.prepare()
        self.start()

    def prepare(self):
        self.url, self.process = NOBODY, None
        self.log_file = tempfile.TemporaryFile("a+", errors="replace")  # noqa: SIM115 (open while we live)
        atexit.register(self.stop)

    def environ(self) -> dict:
        return {"SECRET_API_KEY": self.key, "HOST": "127.0.0.1", "PORT": "0", **self.settings}

    def start(self):
        """Start it and say where it listens, or why it does not."""
        self.stop()
        command = self.command
        if setpriv := shutil.which("setpriv"):  # so that it ends even if the kernel is killed
            command = [setpriv, "--pdeathsig", "TERM", *command]
        self.log_file.truncate(0)
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | self.environ(),
            stdin=subprocess.DEVNULL,
            stderr=self.log_file,
        )
        deadline = time.monotonic() + 20
        while self.is_running() and time.monotonic() < deadline:
            if found := re.search(rf"{self.says} (http://\S+)", self.raw_log()):
                self.url = found[1]
                self.use()
                print(f"{self.name} is listening on {masked(self.url)}")
                return
            time.sleep(0.02)
        last = (self.raw_log().splitlines() or ["it says nothing"])[-1]
        self.stop()
        self.use()
        remedy = next((what for sign, what in self.remedies.items() if sign in last), "Repair that")
        print(f"✗ {self.name} did not start: {masked(last)}\n  {remedy}, then run this cell again.")

    restart = start

    def use(self):
        """Let $URL, $KEY, `check` and the shell cells mean this server."""
        Server.current = self
        os.environ |= {"URL": self.url, "KEY": self.key}

    def masked(self, text: str) -> str:
        port = self.url.rpartition(":")[2]
        text = text.replace(self.key, "$KEY").replace(self.url, "$URL")
        return re.sub(rf"\b{port}\b", "$PORT", text) if self.url != NOBODY else text

    def grade(self, names, seeds, options: dict) -> list:
        """Run checks on it: for each name a Result, or what is wrong with the name."""
        if CHECKER:
            options["seeds"] = [next(seeds) for _ in names]
            return ask_checker(self, names=names, options=options)
        from checks import grading

        results = []
        for name in names:
            try:
                results.append(grading.run(name, self.url, self.key, seed=next(seeds), **options))
            except (LookupError, ValueError) as problem:
                results.append(str(problem.args[0]))
        return results

    def stop(self):
        """Stop it, and wait until it has finished what it had accepted."""
        client.close()  # a connection that stays open would keep it waiting
        if self.is_running():
            self.process.terminate()
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def raw_log(self) -> str:
        self.log_file.seek(0)
        return self.log_file.read()

    def log(self, lines: int = 5, that_has: str = ""):
        """Print the last lines of its log (that have this text)."""
        text = masked(self.raw_log())
        text = re.sub(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", text)
        text = re.sub(r"(?m) \d+\.\d+ms [0-9a-f]{16}", " <ms> <id>", text)
        text = re.sub(r"\b[0-9a-f]{16}\b", "<id>", text)
        shown = [line for line in text.splitlines() if that_has in line][-lines:]
        print("\n".join(shown) or "(the log has no such line)")

    def link(self, path: str):
        """Show a link that opens this server in the browser."""
        link = f'<a href="{self.url}{path}" target="_blank">{self.url}{path}</a>'
        display({"text/plain": masked(self.url + path), "text/html": link}, raw=True)


class EchoService(Server):
    """The echo service httpbin: it answers with what it was asked. On this machine, by waitress, on a free
    port (or on `port`); or the one that the variable ECHO_URL names, such as https://httpbin.org."""

    current = None  # $ECHO means it
    says = "Serving on"
    remedies = {
        "Address already in use": "Stop the other program (ss -ltnp shows it), or leave the port out",
        "No module named": "Install it in a terminal with `.venv/bin/pip install -r requirements-dev.txt`",
    }

    def __init__(self, port: int = 0):
        self.name, self.folder = "httpbin", ROOT
        self.command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", "httpbin:app"]
        self.prepare()
        public = os.environ.get("ECHO_URL", "").rstrip("/")
        if public and client.get(f"{public}/get").status_code != 200:
            print(
                f"✗ {public} does not answer. Is there a network? Until then, the one on this machine does."
            )
            public = ""
        if public:
            self.url = public
            self.use()
            print(f"httpbin is $ECHO, {public}")
        else:
            self.start()

    def environ(self) -> dict:
        return {"DEBUG": ""}  # that of our server means something else to httpbin

    def use(self):
        EchoService.current = self
        os.environ["ECHO"] = self.url


def copy_of_the_server() -> Path:
    """A folder with copies of server.py, schemas/ and models/, to change at will; gone with the kernel."""
    folder = folder_of_this_kernel()
    shutil.copy(SERVER, folder)
    for name in ("schemas", "models"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def folder_of_this_kernel() -> Path:
    """A new empty folder that goes with the kernel, or with the next one if this one is killed."""
    for old in Path(tempfile.gettempdir()).glob("pixelwise-lab-*-*"):
        number = old.name.split("-")[2]
        if number.isdigit() and not is_process(int(number)):
            shutil.rmtree(old, ignore_errors=True)  # its kernel was killed, and could not
    folder = Path(tempfile.mkdtemp(prefix=f"pixelwise-lab-{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def replace_in(file: Path, old: str, new: str):
    """Replace `old` in a file of such a copy, and show the lines that changed."""
    before = file.read_text(encoding="utf-8")
    after = before.replace(old, new)
    if after == before:
        print(f"✗ {file.name} has no {old!r}: nothing changed")
    file.write_text(after, encoding="utf-8")
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    print("\n".join(line for line in lines if not re.match(r"---|\+\+\+|@@", line)))


def show_code(name: str, first: int = 1, lines: int = 9):
    """Show the function, class or constant `name` of server.py from its `first` line on, numbered."""
    text = SERVER.read_text(encoding="utf-8")
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError as problem:
        print(f"✗ server.py is no Python any more, see its line {problem.lineno}: {problem.msg}")
        return
    for node in nodes:
        names = [getattr(node, "name", "")] + [getattr(one, "id", "") for one in getattr(node, "targets", [])]
        if name in names:
            start = min([node.lineno, *[one.lineno for one in getattr(node, "decorator_list", [])]])
            shown = list(enumerate(text.splitlines(), 1))[start + first - 2 : node.end_lineno]
            for number, line in shown[:lines]:
                print(f"{number:4} │ {line}")
            if len(shown) > lines:
                print(f"     │ … and {len(shown) - lines} more")
            return
    print(f"✗ server.py has no {name!r}")


# ---- Asking it ------------------------------------------------------------------------------------------


class PatientAdapter(requests.adapters.HTTPAdapter):
    """Gives an answer with status 0 where nobody answers, so that a lab can show it and go on."""

    def send(self, request, timeout=None, **options):
        try:
            return super().send(request, timeout=timeout or 10, **options)
        except requests.RequestException as problem:
            answer = requests.Response()
            answer.status_code, answer.reason = 0, "No Answer"
            answer.request, answer.url = request, request.url
            answer.headers["Content-Type"] = "application/json"
            answer._content = json.dumps({"detail": why_not(problem, request.url)}).encode()
            return answer


def what_to_do(asked: str) -> str:
    echo = "$ECHO" in masked(asked)
    if echo or not Server.current:
        return f"Is it running? {'echo' if echo else 'server'}.start() starts it again."
    return f"Is it running? {Server.current.remedy}"


def why_not(problem: Exception, url: str) -> str:
    if isinstance(problem, requests.Timeout):
        return "no answer within the time limit."
    return f"nothing answers at this address. {what_to_do(url)}"


client = requests.Session()
client.trust_env = False  # no proxy between this notebook and its own server
client.mount("http://", PatientAdapter())
client.mount("https://", PatientAdapter())


def masked(text: str) -> str:
    """The text with the names of the running server's address, port and key in place of their values."""
    if Server.current:
        text = Server.current.masked(text)
    if (echo := EchoService.current) and echo.url != NOBODY:
        text = text.replace(echo.url, "$ECHO").replace(echo.url.rpartition("//")[2], "$ECHO_HOST")
    return re.sub(r"http://127\.0\.0\.1:\d+", "$URL", text)


def by_hand(url: str, *lines: str) -> str:
    """Send these lines to a server just as they are, without an HTTP library; returns what comes back."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=3) as connection:
            connection.sendall("".join(f"{line}\r\n" for line in lines).encode())
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    except TimeoutError:
        return "✗ no answer: the server still waits. Does an empty line end your request?"
    except OSError:
        return f"✗ nothing answers at this address. {what_to_do(url)}"
    return masked(received.decode(errors="replace").replace("\r\n", "\n"))


def field(answer, name: str):
    """The field `name` of the JSON object in an answer, or None where there is no such thing."""
    try:
        return answer.json().get(name)
    except (AttributeError, ValueError):
        return None


def show_answer(answer, *headers: str):
    """Print an answer of `client`: its status line, the headers named, and its body, cut where it is long."""
    if not isinstance(answer, requests.Response):
        print("there is no answer yet")
        return
    print(f"HTTP/1.1 {answer.status_code} {answer.reason}")
    for name in headers:
        print(f"{name}: {masked(answer.headers.get(name, '(this header is not there)'))}")
    body = masked(answer.text)
    if "html" in answer.headers.get("Content-Type", ""):
        title = re.search(r"<title>(.*?)</title>", body)
        body = f"(a page of HTML: {title[1] if title else 'without a title'})"
    print(body if len(body) <= 400 else body[:400] + " …")


def dev(line: str, cell: str):
    """%%dev: run the cell's lines in bash, in the repo's folder; `%%dev 60` allows 60 seconds."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "FORCE_COLOR": ""}  # Jupyter asks for colours, but plain text is what is kept
    run(
        [*(Server.current.way if Server.current else []), "bash", "-c", cell],
        cell,
        seconds=int(line or 20),
        cwd=ROOT,
        env={"URL": NOBODY, "ECHO": NOBODY} | os.environ | own,
    )


def run(command: list[str], cell: str, seconds: int, input: str = "", **options) -> int:
    """Run it and print what it prints, errors too; then its exit status, unless that is 0."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    options = {"text": True, "errors": "replace", "start_new_session": True, **pipes, **options}
    late = False
    try:
        process = subprocess.Popen(command, **options)
    except FileNotFoundError:
        print(f"✗ {command[0]} is not installed on this machine")
        return 127
    try:
        printed, _ = process.communicate(input, timeout=seconds)
    except subprocess.TimeoutExpired:
        late = True
        os.killpg(process.pid, signal.SIGKILL)  # and all that it started
        printed, _ = process.communicate()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    print(masked(printed), end="" if printed.endswith("\n") or not printed else "\n")
    if late:
        print(f"✗ stopped after {seconds} s. Does a line wait for something, or does -f follow without end?")
    elif process.returncode == 7 and "curl" in cell:
        print(f"✗ curl: nothing answers at {'$ECHO' if '$ECHO' in cell else '$URL'}. {what_to_do(cell)}")
    elif process.returncode:
        print(f"(exit status {process.returncode})")
    return process.returncode


# ---- Pictures -------------------------------------------------------------------------------------------


class Shown:
    """Something for Jupyter to show: text for all, and a picture or HTML for those who can."""

    def __init__(self, text: str, metadata=None, **data):
        self.data = {"text/plain": text} | {name.replace("_", "/"): value for name, value in data.items()}
        self.metadata = metadata or {}

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.data, self.metadata


def show(digit) -> Shown:
    """A picture of a digit (28 x 28, 0 is paper), ink in black."""
    pixels = np.asarray(digit, dtype=np.uint8)
    big = np.kron(255 - pixels, np.ones((5, 5), dtype=np.uint8))
    rows = b"".join(b"\0" + row.tobytes() for row in big)  # each with the PNG filter "none"
    height, width = big.shape
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
    )
    png = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*parts, (b"IEND", b"")):
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    text = f"a picture of {len(pixels)} x {pixels.shape[1]} pixels: {np.count_nonzero(pixels)} have ink"
    return Shown(f"{text}, their sum is {pixels.sum()}", image_png=png)


def chart(answer) -> Shown:
    """The scores in an answer of /classify as bars; any other answer as it is."""
    try:
        scores = {name: float(score) for name, score in answer.json()["scores"].items()}
    except (AttributeError, ValueError, TypeError, KeyError):
        return show_answer(answer)
    lines, cells = [], []
    for name, score in scores.items():
        lines.append(f"{name} {score:.3f} {'█' * round(score * 20)}".rstrip())
        bar = f"width:{score:.1%};background:var(--jp-brand-color1)"
        cells.append(f'<b>{html.escape(name)}</b><i style="{bar}"></i><span>{score:.3f}</span>')
    grid = "display:grid;grid-template-columns:auto 20em auto;gap:2px 1em;justify-content:start"
    return Shown("\n".join(lines), text_html=f'<div style="{grid}">{"".join(cells)}</div>')


# ---- Self-checks ----------------------------------------------------------------------------------------

MARKS = {"passed": "✓", "failed": "✗", "unstable": "✗", "could not be checked": "?"}
COLOURS = {"✓": "var(--jp-success-color1,green)", "✗": "var(--jp-error-color1,red)"}
COLOURS["?"] = "var(--jp-warn-color1,orange)"


class Verdict(Shown):
    """What a self-check found: true only if all of it passed."""

    def __init__(self, findings: list[tuple[str, str, dict]]):
        self.passed = bool(findings) and all(mark == "✓" for mark, _, _ in findings)
        lines, blocks = [], []
        for mark, sentence, more in findings:
            more = {name: masked(text) for name, text in more.items() if text}
            lines += [f"{mark} {sentence}", *[f"    {name}: {text}" for name, text in more.items()]]
            colour = COLOURS[mark]
            told = "".join(f"<br><i>{name}:</i> {html.escape(text)}" for name, text in more.items())
            told = re.sub("<i>try:</i> (.*)", r"<i>try:</i> <code>\1</code>", told)
            blocks.append(
                f'<p style="border-left:4px solid {colour};padding-left:1em">'
                f'<b style="color:{colour}">{mark}</b> {html.escape(sentence)}{told}</p>'
            )
        super().__init__("\n".join(lines), text_html="".join(blocks))

    def __bool__(self):
        return self.passed


seeds = itertools.count(1)  # every check asks from an address, and with digits, of its own


def check(*names: str, server: Server | None = None, **options) -> Verdict:
    """Run checks of checks/ on the running server, or on `server`; options: see checks.grading.given_for."""
    server = server or Server.current
    if not server:
        return Verdict([("?", "there is no server yet: run the cell with Server() first", {})])
    options.setdefault("limit", server.settings["RATE_LIMIT"].replace("off", "30/minute"))
    findings = []
    for result in server.grade(names, seeds, options):
        if isinstance(result, str):
            findings.append(("?", result, {}))
            continue
        curl = re.sub(r" --interface \S+", "", result.curl).replace("$SECRET_API_KEY", "$KEY")
        curl = re.sub(rf"'{server.url}([^']*)'", r'"$URL\1"', curl).replace(server.url, "$URL")
        more = {"expected": result.expected, "received": result.received, "why": result.reason}
        findings.append((MARKS[result.status], result.sentence, more | {"hint": result.hint, "try": curl}))
    return Verdict(findings)


def checks_for(milestone: str, server: Server | None = None) -> list[str]:
    """The names of the checks of a milestone that make sense for the running server, or for `server`."""
    server = server or Server.current
    if CHECKER:
        return ask_checker(server, milestone=milestone) if server else []
    from checks import grading

    given = grading.given_for(url=server.url, key=server.key) if server else {}
    return [check.name for check in grading.planned(grading.all_checks(), given, (milestone,))]


CHECKER = os.environ.get("PIXELWISE_CHECKER")  # where the grading of a class has checks/: not in this folder


def ask_checker(server: Server, **asked) -> list:
    """What checks/notebooks.py answers: results, names of checks, or for each name why there is no result."""
    answer = client.post(CHECKER, json={"url": server.url, "key": server.key, **asked}, timeout=120)
    told = answer.json()
    if not isinstance(told, list):
        return [str(told)] * len(asked.get("names", ()))
    return [SimpleNamespace(**one) if isinstance(one, dict) else one for one in told]


def expect(value, *, status: int | None = None, equals=None, because: str = "") -> Verdict:
    """Judge what you made in a cell: an answer's status, or a value. What is still None never passes."""
    wanted = f"status {status}" if status is not None else repr(equals)
    sentence = f"your answer has {wanted}" if status is not None else f"it is {wanted}"
    sentence += f": {because}" if because else ""
    if value is None:
        return Verdict([("✗", sentence, {"received": "None", "hint": "replace None in the exercise above"})])
    if status is not None:
        received = getattr(value, "status_code", None)
        right, told = received == status, f"status {received}" if received is not None else repr(value)[:80]
    else:
        same = value == equals  # for arrays this is no bool, and no success
        right, told = isinstance(same, bool) and same, repr(value)[:80]
    return Verdict([("✓" if right else "✗", sentence, {} if right else {"received": told})])


# ---- Reflection -----------------------------------------------------------------------------------------


def reflections(notebook: str = "05_reflect_and_extend.ipynb"):
    """Print how many words the answers have that a grading will collect from the saved notebook."""
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        print(f"✗ {notebook} cannot be read: save this notebook under its first name, in the folder labs")
        return
    for cell in cells:
        if "reflection" in cell["metadata"].get("tags", []):
            answer = "".join(cell["source"]).partition("*Your answer:*")[2]
            print(f"{cell['id']}: {len(answer.split())} words")


# ---- Jupyter --------------------------------------------------------------------------------------------


def explain_a_lost_name(shell, kind, problem, trace, tb_offset=None):
    """After a restart of the kernel no name is known: say so, in place of a traceback."""
    shell.showtraceback((kind, problem, trace), exception_only=True)
    print("Did the kernel start anew? Then run the cells above first: menu Run, Run All Above Selected Cell.")


if shell := get_ipython():
    shell.register_magic_function(dev, "cell")
    shell.set_custom_exc((NameError,), explain_a_lost_name)
