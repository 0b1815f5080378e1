"""A server to start, to stop and to ask: what labkit.py and judging.py stand on.

server = Server(RATE_LIMIT="5/second")   # it listens on a free port, and $URL and $KEY mean it
client.get(server.url + "/health")       # an answer, with status 0 where nobody answers
masked(text)                             # the text with $URL for the address, $KEY for the key …
"""

import atexit
import difflib
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import dotenv
import requests
from IPython.display import display

REPO = Path(__file__).resolve().parent.parent
sys.path.append(str(REPO))  # for checks/, after all that is installed: it is a student's folder
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
    patience = 60  # seconds for a start: a busy machine takes its time, and who fails ends at once

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
        deadline = time.monotonic() + self.patience
        while self.is_running() and time.monotonic() < deadline:
            if found := re.search(rf"{self.says} (http://\S+)", self.raw_log()):
                self.url = found[1]
                self.use()
                print(f"{self.name} is listening on {masked(self.url)}")
                return
            time.sleep(0.02)
        last = last_trouble(self.raw_log()) or (self.raw_log().splitlines() or ["it says nothing"])[-1]
        otherwise = "Wait until this machine has less to do" if self.is_running() else "Repair that"
        self.stop()
        self.use()
        remedy = next((what for sign, what in self.remedies.items() if sign in last), otherwise)
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


# ---- What it starts -------------------------------------------------------------------------------------

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
