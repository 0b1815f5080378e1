"""What the labs need beside Python: a server to start and stop, shell cells, pictures, and checks.

    server = Server()                        # starts server.py on a free port, and sets $URL and $KEY
    echo = EchoService()                     # the same for httpbin, which answers what it was asked: $ECHO
    client.post(server.url + "/classify")    # client is a requests.Session
    show_answer(answer)                      # status line, chosen headers, body
    figure("gates")                          # a drawing, with a text for those who do not see it
    show(digit)                              # a picture;  chart(answer) draws its scores
    show_code("authenticate")                # a piece of server.py
    expect(answer, status=401)               # judges an answer of yours
    check("m3.a wrong key is refused")       # runs a check of checks/ on the running server
    progress("03")                           # what is done of a lab, and of all of them
    hint("03.wrong-key")                     # one more hint for an exercise; after its ✓, a model answer
    %%dev                                    # a cell of shell lines for this machine, with $URL and $KEY

prodkit.py has the rest, for lab 04: the production machine, and %%prod. record.py keeps what you did, and
predictions.py what you expected.

What differs from run to run is shown by its name: the address as $URL, the port as $PORT, the key as $KEY,
and in the log <time>, <ms> and <id>. Nothing here raises because a server is wrong or gone: it says so.
"""

import ast
import atexit
import base64
import difflib
import functools
import hashlib
import html
import itertools
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
import zlib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import dotenv
import lost
import numpy as np
import requests
from IPython import get_ipython
from IPython.display import display
from record import Shown, progress, remember

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # for checks/
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
        unknown = next((name for name in settings if name not in SETTINGS), None)
        if unknown is None:
            self.start()
        else:
            self.use()
            print(
                f"✗ there is no setting {unknown!r}{nearest(unknown.upper(), SETTINGS)}: nothing was started"
            )

    def prepare(self):
        self.url, self.process = NOBODY, None
        self.log_file = tempfile.TemporaryFile("a+", encoding="utf-8", errors="replace")  # noqa: SIM115 (open while we live)
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
            env=plain_environment() | self.environ(),
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
        last = last_trouble(self.raw_log()) or (self.raw_log().splitlines() or ["it says nothing"])[-1]
        self.stop()
        self.use()
        remedy = next((what for sign, what in self.remedies.items() if sign in last), "Repair that")
        print(f"✗ {self.name} did not start: {masked(last)}\n  {remedy}, then run this cell again.")

    restart = start

    def use(self):
        """Let $URL, $KEY, `check` and the shell cells mean this server."""
        Server.current = self
        os.environ |= {"URL": self.url, "KEY": self.key}

    def for_terminal(self):
        """Print what makes a terminal know $URL and $KEY, too: paste it there. (The key is a secret.)"""
        print(f"export URL={shlex.quote(self.url)} KEY={shlex.quote(self.key)}")

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

        results, checks = [], grading.all_checks()
        for name in names:
            seed = next(seeds)
            try:
                given = grading.given_for(url=self.url, key=self.key, seed=seed, **options)
                session = grading.session(checks, given, seed)
                result = session.run(grading.find(name).name)
            except LookupError as problem:
                known = nearest(name, [check.name for check in checks])
                results.append(f"there is no check {name!r}{known}" if known else str(problem.args[0]))
            except ValueError as problem:
                results.append(str(problem.args[0]))
            else:
                failed = [one for one in session.results.values() if one.status in ("failed", "unstable")]
                results += [result, *[one for one in failed[:1] if one not in results and one is not result]]
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

    def down(self) -> str:
        """Why it does not run, and what to do; "" where it does."""
        if (
            self.is_running() or self.url != NOBODY and self.process is None
        ):  # another one's, such as ECHO_URL
            return ""
        return f"{self.name} is not running: {masked(last_trouble(self.raw_log())) or self.remedy}"

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def trouble(self) -> str:
        """Where its code raised last, for a server.py that is yours; a copy is broken on purpose."""
        if self.folder != ROOT or not self.process:
            return ""
        deadline = time.monotonic() + 1  # the answer may be here before the line of the log
        while not (told := last_trouble(self.raw_log())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return told

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


SETTINGS = ("SECRET_API_KEY", "DEBUG", "MODEL_REPO", "MODEL_VERSION", "MODEL_PATH", "MODEL_SHA256", "HOST")
SETTINGS += ("PORT", "RATE_LIMIT", "TRUSTED_PROXY")


def nearest(word: str, words) -> str:
    """ "; did you mean …?", or nothing where no word is like it."""
    found = difflib.get_close_matches(word, words, 1, 0.5)
    return f"; did you mean {found[0]}?" if found else ""


def last_trouble(log: str) -> str:
    """Of the last traceback in a log that leads through code of this folder, its last line and the place:
    "NameError: … (server.py, line 7, in answer)"; else nothing."""
    log = re.sub(r"(?m)^\S+ \S+ ERROR ", "", log)
    trace = log.rpartition("Traceback (most recent call last):\n")[2]
    places = re.findall(r'(?m)^ +File "(.*?)", line (\d+)(?:, in (\S+))?', trace)
    own = [place for place in places if ROOT in Path(place[0]).parents and ".venv" not in place[0]]
    what = re.search(r"(?m)^\S.*", trace[trace.find('  File "') :])
    if not own or not what:
        return ""
    file, line, function = own[-1]
    return f"{what[0]} ({Path(file).name}, line {line}{f', in {function}' if function else ''})"


def copy_of_the_server() -> Path:
    """A folder with copies of server.py and all that it needs, to change at will; gone with the kernel."""
    folder = folder_of_this_kernel()
    shutil.copy(SERVER, folder)
    for name in ("schemas", "models", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("box"))
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


def take_over(folder: Path, really: bool = False):
    """Copy server.py and the schemas of a copy over your own, where they differ; else it only says so."""
    names = [SERVER.name, *sorted(f"schemas/{file.name}" for file in (folder / "schemas").glob("*.json"))]
    for name in names:
        new, own = (folder / name).read_bytes(), ROOT / name
        if not own.exists() or own.read_bytes() != new:
            print(
                f"{name} {'is yours now' if really else 'would change' if own.exists() else 'would be new'}"
            )
            if really:
                own.write_bytes(new)


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
    if title := re.search(r"<title>(.*?)</title>", body):
        body = f"(a page of HTML: {title[1]})"
    print(body if len(body) <= 400 else body[:400] + " …")
    if answer.status_code >= 500 and (trouble := trouble_of(answer.url)):
        print(f"  the log says: {trouble}")


def trouble_of(url: str) -> str:
    """What the log of the running server says of its last exception, if it is the one at this address."""
    server = Server.current
    return masked(server.trouble()) if server and server.url != NOBODY and url.startswith(server.url) else ""


def dev(line: str, cell: str):
    """%%dev: run the cell's lines in bash, in the repo's folder; `%%dev 60` allows 60 seconds."""
    run(
        [*(Server.current.way if Server.current else []), "bash", "-c", cell],
        cell,
        seconds=int(line or 20),
        cwd=ROOT,
        env={"URL": NOBODY, "ECHO": NOBODY} | plain_environment(),
    )


COLOURS_WANTED = ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM")  # what Jupyter sets


def plain_environment() -> dict:
    """That of this kernel, for programs whose words are kept: in English, without colours, sorted by bytes,
    with this Python first, and with no proxy between a shell cell and a server of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in COLOURS_WANTED}
    near = {"localhost", "127.0.0.1", urlsplit(kept.get("URL", NOBODY)).hostname}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "no_proxy": ",".join([*sorted(near), kept.get("no_proxy", "")]),
    }


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


def figure(name: str) -> Shown:
    """A drawing of labs/pictures, in the colours of the theme; for those who do not see it, what it says."""
    try:
        drawn = (REPO / "labs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    except OSError:
        return Shown(f"(there is no picture {name!r} here)")
    return Shown(re.search("(?s)<desc.*?>(.*?)</desc>", drawn)[1], text_html=drawn)


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

    def __init__(self, findings: list[tuple[str, str, dict]], exercise: str = ""):
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
        if exercise:
            remember(exercises=[exercise] if self.passed else [])
            told = Hints.of(exercise).after(self.passed)
            lines += [] if self.passed else [f'stuck? hint("{exercise}") helps, a step at a time']
            blocks.append(told)
        super().__init__("\n".join(lines), text_html="".join(blocks))

    def __bool__(self):
        return self.passed


seeds = itertools.count(1)  # every check asks from an address, and with digits, of its own


def check(*names: str, server: Server | None = None, exercise: str = "", **options) -> Verdict:
    """Run checks of checks/ on the running server, or on `server`; options: see checks.grading.given_for.
    A name such as "server.hit" tests that function of server.py alone, without HTTP (see pieces.py).
    exercise: the one that this is the check of, such as "04.who": for its hints."""
    functions = [name.removeprefix("server.") for name in names if name.startswith("server.")]
    findings = [finding for name in functions for finding in tried_alone(name)]
    names = [name for name in names if not name.startswith("server.")]
    server = server or Server.current
    if functions and not names:
        return Verdict(findings, exercise)
    if not server:
        return Verdict([("?", "there is no server yet: run the cell with Server() first", {})])
    if down := server.down():
        return Verdict([("?", down, {})])
    options.setdefault("limit", server.settings["RATE_LIMIT"].replace("off", "30/minute"))
    for result in server.grade(names, seeds, options):
        if isinstance(result, str):
            findings.append(("?", result, {}))
            continue
        curl = re.sub(r" --interface \S+", "", result.curl).replace("$SECRET_API_KEY", "$KEY")
        curl = re.sub(rf"'{server.url}([^']*)'", r'"$URL\1"', curl).replace(server.url, "$URL")
        more = {"expected": result.expected, "received": result.received, "why": result.reason}
        if re.match(r"5\d\d\b", result.received):
            more["the log says"] = server.trouble()
        findings.append((MARKS[result.status], result.sentence, more | {"hint": result.hint, "try": curl}))
        if result.status == "passed":
            remember(checks={result.name: result.points})
    return Verdict(findings, exercise)


def tried_alone(function: str) -> list[tuple[str, str, dict]]:
    """What pieces.py finds out about one function of server.py, in a process of its own."""
    command = [sys.executable, REPO / "labs" / "pieces.py", SERVER, function]
    try:
        done = subprocess.run(
            command, env=plain_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        tried = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return [("?", f"{function} does not come to an end within a minute", {})]
    except ValueError:
        why = last_trouble(done.stderr) or (done.stderr.splitlines() or ["it says nothing"])[-1]
        return [("?", f"{function} cannot be tried alone: {masked(why)}", {})]
    return [("✗" if wrong else "✓", sentence, {"received": wrong}) for sentence, wrong in tried]


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
    """What the checker of checks/classroom answers: results, names of checks, or why there is no result."""
    answer = client.post(CHECKER, json={"url": server.url, "key": server.key, **asked}, timeout=120)
    told = answer.json()
    if not isinstance(told, list):
        return [str(told)] * len(asked.get("names", ()))
    return [SimpleNamespace(**one) if isinstance(one, dict) else one for one in told]


def expect(
    value, *, status: int | None = None, equals=None, sealed: str = "", because: str = "", exercise: str = ""
) -> Verdict:
    """Judge what you made in a cell: an answer's status, or a value. What is still None never passes.

    sealed: in place of `equals`, the seal of the value (see `seal`), which does not give it away.
    exercise: the one that this is the check of, such as "00.old-key": for its hints.
    """
    because = f": {because}" if because else ""
    status_of = getattr(value, "status_code", None)
    told = f"status {status_of}" if status_of is not None else repr(value)[:80]
    if status is not None:
        right, wanted, found = status_of == status, f"status {status}", f"your answer has status {status}"
    elif sealed:
        right, wanted, found = seal(value) == sealed, "another value", f"it is {repr(value)[:80]}"
    else:
        same = value == equals  # for arrays this is no bool, and no success
        right, wanted, found = isinstance(same, bool) and same, repr(equals), f"it is {equals!r}"
    if right and value is not None:
        return Verdict([("✓", found + because, {})], exercise)
    more = {"received": "None", "hint": "replace None in the exercise above"}
    if value is not None:
        more = {"received": told, "hint": other_kind(value, status, equals)}
    return Verdict([("✗", f"wanted: {wanted}{because}", more)], exercise)


def seal(value) -> str:
    """Twelve digits that tell whether two values are the same, and not what they are."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def other_kind(value, status: int | None, equals) -> str:
    """What to say of a value that is of another kind than the wanted one, or nothing."""
    if status is not None:
        return (
            "" if hasattr(value, "status_code") else f"{kind(value)}; the whole answer of `client` is wanted"
        )
    if hasattr(value, "status_code") and not hasattr(equals, "status_code"):
        return "that is a response; its status is .status_code, and its text .text"
    if equals is not None and type(value) is not type(equals):
        return f"{kind(value)}; {kind(equals).removeprefix('that is ')} is wanted"
    return ""


def kind(value) -> str:
    names = {str: "a text", int: "a whole number", float: "a fraction", bool: "True or False", list: "a list"}
    names |= {dict: "a dict", tuple: "a tuple", bytes: "bytes", set: "a set"}
    name = type(value).__name__
    return f"that is {names[type(value)]} ({name})" if type(value) in names else f"that is of the type {name}"


# ---- Hints ----------------------------------------------------------------------------------------------


class Hints:
    """What hints.toml has for one exercise, and the model answer; asked for a step at a time."""

    files = (REPO / "labs" / "hints.toml", REPO / "labs" / "answers.json")

    def __init__(self, exercise: str):
        lab, _, name = exercise.partition(".")
        known = read_hints()
        self.exercise, self.known = exercise, name in known[0].get(lab, {})
        found = known[0].get(lab, {}).get(name, {})
        self.hints, self.why = found.get("hints", []), found.get("why", "")
        self.sealed = known[1].get(exercise, "")
        self.asked, self.done = 0, False

    @classmethod
    @functools.cache  # so that it knows what was asked before
    def of(cls, exercise: str) -> "Hints":
        return cls(exercise)

    @property
    def answer(self) -> str:
        return zlib.decompress(base64.b64decode(self.sealed)).decode() if self.sealed else ""

    def after(self, passed: bool) -> str:
        """HTML to open under a check: what is left of the hints, or after success the model answer."""
        self.done |= passed
        if self.done:
            code = f"<pre>{html.escape(self.answer)}</pre>" if self.answer else ""
            return folded("a model answer, and why it is one", code + html.escape(self.why))
        inner = ""
        for number, text in reversed(list(enumerate(self.hints, 1))):
            inner = folded(f"hint {number} of {len(self.hints)}", f"<p>{html.escape(text)}</p>{inner}")
        return inner


def folded(summary: str, inner: str) -> str:
    return f'<details style="padding-left:1em"><summary>{summary}</summary>{inner}</details>'


@functools.cache
def read_hints() -> tuple[dict, dict]:
    """Both files, or nothing of one that is not there: then there are no hints, and the lab goes on."""
    read = []
    for file, parse in zip(Hints.files, (tomllib.loads, json.loads)):
        try:
            read.append(parse(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            read.append({})
    return tuple(read)


def hint(exercise: str):
    """Print one hint more for an exercise, such as "01.pick-verb"; after its ✓, a model answer."""
    asked = Hints.of(exercise)
    if not asked.known:
        names = [f"{lab}.{name}" for lab, names in read_hints()[0].items() for name in names]
        print(f"there are no hints for {exercise!r}{nearest(exercise, names)}")
    elif asked.done:
        print(f"{asked.answer}\n{asked.why}" if asked.answer else asked.why)
    else:
        asked.asked = min(asked.asked + 1, len(asked.hints))
        print(f"{asked.asked} of {len(asked.hints)}: {asked.hints[asked.asked - 1]}")


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


if shell := get_ipython():
    shell.register_magic_function(dev, "cell")
    shell.set_custom_exc((NameError,), lost.explain)
    known = {"hint": hint, "progress": progress}
    shell.push(known, interactive=False)  # in every cell without an import
