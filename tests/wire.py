"""Talks to a PixelWise process as any client would: over a socket, byte by byte. It never imports server.py.

`Process` starts a server on a port of its own and stops it again; `Connection` is a raw HTTP/1.1 client that
sends any bytes and reads answers strictly. PIXELWISE_SERVER names another server.py to test.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import jsonschema
from forked import Forks

SERVER = Path(
    os.environ.get("PIXELWISE_SERVER", Path(__file__).resolve().parent.parent / "server.py")
).resolve()
ROOT = SERVER.parent
SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("schemas/*.json")}
DIGIT = SCHEMAS["classify.request"]["examples"][0]  # a real digit
KEY = "a-key-for-the-tests-0f1e2d3c4b5a"
PATIENCE = 10  # seconds until a test gives up on an answer

SETTINGS = {  # every setting is passed, so that no .env of the developer has a say
    "SECRET_API_KEY": KEY,
    "DEBUG": "false",
    "MODEL_REPO": "",
    "MODEL_VERSION": "",
    "MODEL_PATH": "models/digit_classifier_v1.pkl",
    "MODEL_SHA256": "",
    "HOST": "127.0.0.1",
    "PORT": "0",
    "RATE_LIMIT": "off",
    "TRUSTED_PROXY": "",
}
if not (ROOT / SETTINGS["MODEL_PATH"]).exists() and "PIXELWISE_TEST_MODEL" in os.environ:
    SETTINGS["MODEL_PATH"] = os.environ["PIXELWISE_TEST_MODEL"]


class Broken(AssertionError):
    """The server closed or reset a connection where a whole answer was due."""


def encoded(document) -> bytes:
    return json.dumps(document).encode()


def picture(value: str = "0", *, row: int = 3, column: int = 17) -> bytes:
    """A blank picture as JSON, with `value` (JSON text) as one of its pixels."""
    rows = [["0"] * 28 for _ in range(28)]
    rows[row][column] = value
    return ('{"pixels": [' + ", ".join("[" + ",".join(cells) + "]" for cells in rows) + "]}").encode()


def request_bytes(method="GET", path="/health", headers=(), body: bytes | None = None) -> bytes:
    """One HTTP/1.1 request. Content-Length is added for a body unless the headers say how it is framed."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1")]
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.insert(0, ("Host", "pixelwise.test"))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        pairs.append(("Content-Length", str(len(body))))
    for name, value in pairs:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("latin-1")))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def classify_bytes(
    body=None, *, key=KEY, content_type="application/json", headers=(), path="/classify"
) -> bytes:
    """A POST /classify; without a body it is the example digit. None leaves a header out."""
    body = encoded(DIGIT) if body is None else body if isinstance(body, bytes) else encoded(body)
    pairs = [("X-API-Key", key), ("Content-Type", content_type)]
    return request_bytes("POST", path, [pair for pair in pairs if pair[1] is not None] + list(headers), body)


def chunked(body: bytes, size: int = 4096) -> bytes:
    """The body in chunked transfer coding."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Answer:
    """One HTTP answer: status, headers as pairs in their order, body."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name} stands {len(values)} times in {self!r}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def json(self):
        assert self["Content-Type"] == "application/json", repr(self)
        return json.loads(self.body)

    @property
    def detail(self):
        return self.json()["detail"]

    @property
    def keeps_alive(self) -> bool:
        return "close" not in ",".join(self.all("Connection")).lower()

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


class Connection:
    """A TCP connection; `read_answer` takes exactly one answer off it, or raises Broken."""

    def __init__(self, address: tuple[str, int], *, source: str | None = None, timeout: float = PATIENCE):
        self.socket = socket.create_connection(address, timeout, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data: bytes) -> "Connection":
        self.socket.sendall(data)
        return self

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise Broken(
                f"no answer in {self.socket.gettimeout()} s; so far: {self.buffer[:300]!r}"
            ) from None
        except OSError as error:
            raise Broken(f"{error}; so far: {self.buffer[:300]!r}") from None
        self.buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            if not self._more():
                raise Broken(f"closed after {len(self.buffer)} of {size} bytes: {self.buffer[:300]!r}")
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def _take_line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self._more():
                raise Broken(f"closed in the middle of a line: {self.buffer[:300]!r}")
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def read_answer(self, method: str = "GET") -> Answer:
        """The next answer. Answers to HEAD have no body, whatever their headers say."""
        line = self._take_line()
        match = re.fullmatch(rb"HTTP/1\.[01] (\d{3}) [ -~]*", line)
        assert match, f"not a status line: {line[:200]!r}"
        headers = []
        while field := self._take_line():
            name, colon, value = field.decode("latin-1").partition(":")
            assert colon and re.fullmatch(r"[!-9;-~]+", name), f"not a header: {field!r}"
            headers.append((name, value.strip()))
        answer = Answer(int(match[1]), headers, b"")
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304):
            return answer
        if "Transfer-Encoding" in answer:
            while size := int(self._take_line().partition(b";")[0], 16):
                answer.body += self._take(size)
                self._take_line()
            self._take_line()
        elif "Content-Length" in answer:
            answer.body = self._take(int(answer["Content-Length"]))
        else:
            while self._more():
                pass
            answer.body, self.buffer = self.buffer, b""
        return answer

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the server ends the connection by then; what it sends until then is kept in `buffer`."""
        self.socket.settimeout(seconds)
        try:
            while self._more():
                pass
        except Broken as error:
            return "no answer" not in str(error)
        return True

    def reset(self):
        """Close with RST, as a client that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


# with what server.py imports, and what measures it
FORKS = Forks("bottle", "dotenv", "jsonschema_rs", "numpy", "orjson", "waitress.server", "coverage")
COVERAGE = {}  # the variables that make a process say what it covered: conftest.py moves them here
measured = False  # whether the servers of this test are to say it; conftest.py knows
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": None}  # where a disk is broken, and where many reach nothing new


def environment(settings: dict, server: Path = SERVER) -> dict:
    """A clean environment for a server process. A setting of None is left out. Of a copy of server.py
    nothing is measured: the report does not count it, and it would take nearly twice the processor time."""
    settings = settings if server == SERVER else settings | UNMEASURED
    said = COVERAGE if measured else {}
    wanted = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"} | said | SETTINGS | settings
    return {key: value for key, value in wanted.items() if value is not None}


def run_to_the_end(server: Path = SERVER, *, cwd="/", arguments=(), **settings) -> tuple[int, list[str]]:
    """Run a server that is expected to stop on its own: its exit status and the lines of its stderr."""
    done = FORKS.run(server, *arguments, cwd=cwd, env=environment(settings, server), timeout=600)
    assert done.stdout == b""
    return done.returncode, done.stderr.decode(errors="backslashreplace").splitlines()


PASS_ON = """
import os, sys
os.dup2({fd}, 3)
os.set_inheritable(3, True)
os.environ |= {{"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + {lie})}}
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def through_systemd(listener: socket.socket, lie: int = 0) -> dict:
    """What makes `Process` start a server that gets this socket from its parent, as from systemd; with a
    `lie` it is told that the socket is another process's."""
    command = [sys.executable, "-c", PASS_ON.format(fd=listener.fileno(), lie=lie)]
    return {"command": command, "pass_fds": [listener.fileno()]}


class Process:
    """A running server. Whatever it is used for, it must keep these promises, which `stop` checks:
    it exits with 0 within ten seconds of SIGTERM, and its log holds neither the key nor a traceback."""

    def __init__(self, server: Path = SERVER, *, command=(), journal=False, cwd="/", pass_fds=(), **settings):
        reader, writer = os.pipe()
        if journal:
            status = os.fstat(writer)
            settings["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
        self.key = settings.get("SECRET_API_KEY", KEY) or ""
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.over = False
        self.may_log_tracebacks = False
        self.request_ids: set[str] = set()
        where = {"cwd": cwd, "env": environment(settings, server), "stderr": writer}
        if command:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "pass_fds": pass_fds}
            self.process = subprocess.Popen([*command, server], **pipes, **where)
        else:
            self.process = FORKS.start(server, **where)
        os.close(writer)
        self.collector = threading.Thread(target=self._collect, args=(reader,), daemon=True)
        self.collector.start()
        try:
            line = self.wait_for_line(r"listening on http://", 60)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        host, port = re.search(r"listening on http://(\S+):(\d+)", line).groups()
        self.address = (host.strip("[]"), int(port))
        self.url = f"http://{host}:{port}"

    def _collect(self, reader: int):
        with open(reader, encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            for line in stream:
                with self.news:
                    self.lines.append(line.rstrip("\n"))
                    self.news.notify_all()
        with self.news:
            self.over = True
            self.news.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for_line(self, pattern: str, timeout: float = PATIENCE) -> str:
        """The first line of the log that matches; waits for it."""
        seen = 0
        deadline = time.monotonic() + timeout
        with self.news:
            while True:
                for line in self.lines[seen:]:
                    if re.search(pattern, line):
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if self.over or left <= 0 or not self.news.wait(left):
                    raise AssertionError(f"no line matches {pattern!r} in the log:\n" + self.log[-3000:])

    def connect(self, **options) -> Connection:
        return Connection(self.address, **options)

    def talk(self, data: bytes, method: str = "GET", **options) -> Answer:
        """Send one request on a connection of its own; the answer must keep what holds for every answer."""
        with self.connect(**options) as connection:
            return self.checked(connection.send(data).read_answer(method), method)

    def get(self, path: str = "/health", *, method: str = "GET", headers=(), **options) -> Answer:
        return self.talk(request_bytes(method, path, headers), method, **options)

    def classify(self, body=None, *, source: str | None = None, **changes) -> Answer:
        return self.talk(classify_bytes(body, **({"key": self.key} | changes)), "POST", source=source)

    def checked(self, answer: Answer, method: str = "GET") -> Answer:
        """What the contract says of every answer."""
        assert re.fullmatch(r"[!-~]{8,80}", answer["X-Request-ID"]), repr(answer)
        assert answer["X-Request-ID"] not in self.request_ids, f"an X-Request-ID twice: {answer!r}"
        self.request_ids.add(answer["X-Request-ID"])
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert not self.key or self.key.encode() not in answer.body
        if answer.status >= 400 and method != "HEAD":
            expected = "health.response" if answer.status == 503 else "error"
            judge(expected).validate(answer.json())
            detail = answer.json().get("detail")
            assert isinstance(detail, list) == (answer.status == 422), repr(answer)
        return answer

    def log_line(self, answer: Answer) -> str:
        """The line of the log for this answer."""
        return self.wait_for_line(rf" {answer.status} .*{re.escape(answer['X-Request-ID'])}")

    def wait_for_refusal(self) -> None:
        """Wait until the server accepts no new connections."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.connect(
                    timeout=0.2
                ).socket.close()  # while it drains nobody says no: the next try finds out
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                return
        raise AssertionError("the server still accepts connections")

    def memory(self) -> int:
        """The resident memory in KiB."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1])

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.wait()

    def wait(self) -> None:
        """The end of a server that was told to stop: exit status 0 within ten seconds, and a clean log."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the server still ran 10 s after SIGTERM") from None
        self.collector.join(PATIENCE)
        assert status == 0, f"exit status {status}:\n{self.log[-3000:]}"
        assert not self.key or self.key not in self.log, "the key stands in the log"
        assert self.may_log_tracebacks or "Traceback" not in self.log, self.log[-3000:]


@cache
def judge(name: str) -> jsonschema.Draft202012Validator:
    """The validator for schemas/<name>.json."""
    return jsonschema.Draft202012Validator(SCHEMAS[name])
