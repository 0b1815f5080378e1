"""Asks a server, whatever it is made of, and survives what it answers.

Every request ends by a deadline, however slowly the answer drips; at most MAX_BODY bytes of it are read; no
redirect is followed. What comes back is an Answer; what was asked and answered is kept as an Exchange, from
which the report makes its evidence and its curl line, without the key.
"""

import contextlib
import http.client
import ipaddress
import json
import math
import random
import re
import shlex
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from checks.kit.core import CannotCheck, Failed, Gone

MAX_BODY = (
    8 * 1024 * 1024
)  # bytes of an answer that are read: a documentation page with its scripts inside fits
REQUEST_SECONDS = 5
WINDOW_PATIENCE = 65  # the longest wait for a rate limit's window to end
SHOWN = 300  # characters of a text that a report shows


def printable(text: str, length: int = SHOWN) -> str:
    """The text without what could steer a terminal, in one line, cut to `length`."""
    cut = text[: 4 * length]
    plain = "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" if ord(character) < 256 else "?"
        for character in cut
    )
    return plain if len(plain) <= length and len(text) == len(cut) else plain[: length - 1] + "…"


class Answer:
    """status: int; headers: list of (name, value); body: bytes."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name: str) -> str | None:
        """The value of a header, several joined as RFC 9110 says, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def media_type(self) -> str:
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    def json(self):
        """The body as JSON, or None where it is none (then `kind` says what it is)."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def kind(self) -> str:
        """What the body is, in a word or two."""
        if not self.body:
            return "nothing"
        if self.json() is not None or self.body.strip() == b"null":
            return "JSON"
        start = self.body[:500].lstrip().lower()
        return (
            "HTML"
            if start.startswith((b"<!doctype", b"<html", b"<h1", b"<head", b"<title"))
            else "plain text"
        )

    def __str__(self) -> str:
        """As a failure shows it: the status and the start of the body."""
        text = printable(self.body.decode("utf-8", "replace"), 120)
        return f"{self.status} with {text}" if text else f"{self.status} with an empty body"


class Exchange:
    """A request and what came of it: an Answer or a sentence that says why there is none."""

    def __init__(self, url, method, path, headers, body, source=None, curl_body=None):
        self.url, self.method, self.path, self.headers, self.body = url, method, path, headers, body
        self.source, self.curl_body, self.answer, self.problem = source, curl_body, None, ""
        self.secrets: list[str] = []
        self.times = 1  # how often the same request was sent in a row

    def as_evidence(self) -> dict:
        body = (self.body or b"").decode("utf-8", "replace")
        told = {
            "request": {
                "method": self.method,
                "path": printable(self._hide(self.path)),
                "headers": {name: self._hide(value) for name, value in self.headers.items()},
                "body": printable(self._hide(body)),
            }
        }
        if self.answer:
            told["answer"] = {
                "status": self.answer.status,
                "headers": {
                    printable(self._hide(name), 60): printable(self._hide(value))
                    for name, value in self.answer.headers[:30]
                },
                "body": printable(self._hide(self.answer.body[: 4 * SHOWN].decode("utf-8", "replace"))),
            }
        else:
            told["problem"] = self.problem
        return told

    def _hide(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "$SECRET_API_KEY")
        return text

    def as_curl(self) -> str:
        """The shortest curl line that sends this again; the key stands in it as $SECRET_API_KEY."""

        words = ["curl", "-i"]
        if self.method == "HEAD":
            words = ["curl", "-I"]
        elif self.method != ("GET" if self.body is None else "POST"):
            words += ["-X", self.method]
        if self.source:
            words += ["--interface", self.source]
        for name, value in self.headers.items():
            if name not in ("User-Agent", "Accept", "Connection"):
                words += ["-H", self._quoted(f"{name}: {value}".encode())]
        if self.body is not None:
            words += ["-d", self.curl_body or self._quoted(self.body)]
        if self.body is not None and "Content-Type" not in self.headers:
            words += ["-H", "Content-Type:"]
        line = " ".join([*words, self._quoted((self.url + self.path).encode())])
        return f"for i in $(seq {self.times}); do {line}; done" if self.times > 1 else line

    def _quoted(self, data: bytes) -> str:
        """The bytes as a word for bash, with the key as a variable."""
        text = data.decode("utf-8", "surrogateescape")
        hidden = self._hide(text)
        if hidden != text:
            return '"' + re.sub(r'(["\\`]|\$(?!SECRET_API_KEY))', r"\\\1", hidden) + '"'
        if text.isprintable():
            return shlex.quote(text)
        return "$'" + "".join(ANSI_C.get(byte) or f"\\x{byte:02x}" for byte in data) + "'"


# how bash's $'…' spells a byte: those that are printable and mean nothing stand for themselves
ANSI_C = {byte: chr(byte) for byte in range(32, 127) if chr(byte) not in "'\\"}


class NoAnswer(Exception):
    """There was no answer to a request. The message is a sentence for the report."""


class Refused(NoAnswer):
    """Nothing listens there; no need to ask again."""


class Api:
    """The server under test. Every check starts with `begin`, which gives it a fresh client address.

    On a loopback server each check asks from an address of its own in 127.0.0.0/8, so that no check uses up
    another's rate limit. Elsewhere a 429 that a check does not want is waited out, once.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        seed: int = 0,
        limit: tuple[int, float] = (30, 60),  # requests and seconds that the server ought to allow a client
        debug: bool | None = None,  # whether the documentation pages ought to be there; None: ask the server
        wait=time.sleep,
        tell=lambda text: None,
    ):
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError(f"{url!r} is no address: write http://HOST:PORT")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.scheme, self.host = parts.scheme, parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.key, self.limit, self.wait, self.tell = key, limit, wait, tell
        self._debug = debug
        self.exchanges: list[Exchange] = []
        self.deadline = None
        self.shared_budget = False  # whether all addresses turned out to share a budget
        self.counted_until = 0.0  # by then, the window that the last request to /classify fell into has ended
        self.addresses = random.Random(seed)
        self.source: str | None = None
        self.own_addresses = self._can_choose_addresses()
        # what any client might send: a server cannot tell the grader from a student by it
        self.headers = {"User-Agent": f"curl/8.{self.addresses.randrange(0, 15)}.0", "Accept": "*/*"}

    def _can_choose_addresses(self) -> bool:
        try:
            address = ipaddress.ip_address(socket.getaddrinfo(self.host, self.port, socket.AF_INET)[0][4][0])
            with socket.socket() as trial:
                trial.bind(("127.83.1.1", 0))
        except OSError:
            return False
        return address.is_loopback

    def begin(self, check=None) -> None:
        """A fresh state for a check: another client address, no history, and its time limit."""
        self.exchanges = []
        self.move()
        self.deadline = time.monotonic() + check.seconds if check else None

    def move(self) -> str | None:
        """Ask from another address from now on (only where the server is on loopback)."""
        if self.own_addresses:
            a, b, c = (self.addresses.randrange(1, 255) for _ in range(3))
            self.source = f"127.{a}.{b}.{c}"
        return self.source

    @property
    def debug(self) -> bool:
        """Whether the documentation ought to be there; asked once where nobody said so."""
        if self._debug is None:
            try:
                self._debug = self._talk("GET", "/openapi.json", None, self.headers, 3).status == 200
            except NoAnswer:
                self._debug = False
        return self._debug

    def hide(self, text: str) -> str:
        """The text with $SECRET_API_KEY in the place of the key: a server may have repeated it."""
        return text.replace(self.key, "$SECRET_API_KEY") if self.key else text

    def fresh_window(self) -> None:
        """See to it that the client's next request opens a new window of the rate limit."""
        self.move()
        if (self.shared_budget or not self.own_addresses) and self.counted_until > time.monotonic():
            seconds = math.ceil(self.counted_until - time.monotonic())
            self.tell(f"waiting {seconds} s, so that a new window of the rate limit opens")
            self.pause(seconds)

    def shares_budget(self, body) -> bool:
        """Whether a client that never asked before is refused as well. Ask when one has just got its 429."""
        kept, self.exchanges = self.exchanges, []
        self.move()
        self.shared_budget = self.own_addresses and self.classify(body, patient=False).status == 429
        self.exchanges = kept
        return self.shared_budget

    # ---- the requests ----

    def get(self, path: str, **options) -> Answer:
        return self.ask("GET", path, **options)

    def classify(self, body, *, key: str | None = "", patient: bool = True, **options) -> Answer:
        """POST /classify with the right key, or another, or none (None).

        body: bytes as they are; anything else as JSON. patient: wait out a 429 that comes too early.
        """
        headers = {"Content-Type": "application/json"}
        key = self.key if key == "" else key
        if key is not None:
            headers["X-API-Key"] = key
        headers |= options.pop("headers", {})
        headers = {name: value for name, value in headers.items() if value is not None}
        data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        options.setdefault("curl_body", getattr(body, "curl", None))
        path = options.pop("path", "/classify")

        def ask() -> Answer:
            try:
                return self.ask("POST", path, body=data, headers=headers, **options)
            finally:
                self.counted_until = time.monotonic() + self.limit[1]

        answer = ask()
        for attempt in range(3 if patient else 0):
            if answer.status != 429:
                break
            if attempt == 0 and self.own_addresses:
                self.move()  # another address has a budget of its own, unless all clients share one
            else:
                self.shared_budget = self.own_addresses
                self._wait_for_the_window(answer)
            answer = ask()
        if answer.status == 429 and patient:
            raise CannotCheck("the rate limit still refused the request after its window should have ended")
        return answer

    def _wait_for_the_window(self, answer: Answer) -> None:
        told = answer.header("Retry-After") or ""
        seconds = int(told) if re.fullmatch(r"\d{1,4}", told) else math.ceil(self.limit[1])
        if seconds > WINDOW_PATIENCE:
            raise CannotCheck(f"the rate limit says to wait {seconds} s: wait that long and grade again")
        self.tell(f"the rate limit is used up: waiting {seconds} s for its window to end")
        self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Wait; the time limit of the check does not count it."""
        self.wait(seconds)
        if self.deadline:
            self.deadline += seconds

    def ask(
        self, method: str, path: str, *, body=None, headers=None, curl_body=None, seconds=REQUEST_SECONDS
    ):
        """Send one request on a connection of its own. Raises Failed where no HTTP answer comes, and Gone
        where the server is not even there any more."""
        headers = self.headers | (headers or {})
        exchange = Exchange(self.url, method, path, headers, body, None, curl_body)
        exchange.secrets = [self.key] if self.key else []
        self._remember(exchange)
        try:
            exchange.answer = self._talk(method, path, body, headers, seconds)
        except NoAnswer as problem:
            exchange.problem = str(problem)
            if isinstance(problem, Refused) or not self.is_there():
                raise Gone(f"{problem} ({exchange.as_curl()})") from None
            raise Failed(str(problem), "an answer", exchange) from None
        return exchange.answer

    def _remember(self, exchange: Exchange) -> None:
        last = self.exchanges[-1] if self.exchanges else None
        if last and (last.method, last.path, last.headers, last.body) == (
            exchange.method,
            exchange.path,
            exchange.headers,
            exchange.body,
        ):
            exchange.times = last.times + 1
            self.exchanges[-1] = exchange
        else:
            self.exchanges.append(exchange)

    def is_there(self) -> bool:
        """Whether the server still answers at all: a second chance before it is called gone."""
        for _ in range(2):
            try:
                self._talk("GET", "/health", None, self.headers, 3)
            except NoAnswer:
                self.wait(0.3)
            else:
                return True
        return False

    def _talk(self, method, path, body, headers, seconds) -> Answer:
        if self.deadline and time.monotonic() > self.deadline:
            raise CannotCheck("the time for this check was used up")
        connection_class = (
            http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        )
        source = (self.source, 0) if self.source else None
        connection = connection_class(self.host, self.port, timeout=seconds, source_address=source)
        over, sockets = threading.Event(), []

        def hang_up():
            over.set()
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        alarm = threading.Timer(seconds, hang_up)
        alarm.daemon = True
        alarm.start()
        try:
            connection.connect()
            sockets.append(connection.sock)
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if body:  # a server may answer (413) before it has read everything
                    connection.send(body)
            response = connection.getresponse()
            # http.client reads no body after HEAD; what a server sends there all the same, we want to see
            content = response.fp.read(100) if method == "HEAD" else response.read(MAX_BODY + 1)
            if over.is_set():
                raise TimeoutError
            if method != "HEAD" and response.length and len(content) <= MAX_BODY:
                raise http.client.IncompleteRead(content)
            if len(content) > MAX_BODY:
                raise NoAnswer(f"an answer that did not end after {MAX_BODY // 2**20} MiB")
            return Answer(response.status, response.getheaders(), content)
        except TimeoutError:
            raise NoAnswer(f"no whole answer within {seconds} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if over.is_set():
                raise NoAnswer(f"no whole answer within {seconds} s") from None
            raise no_answer(error) from None
        finally:
            alarm.cancel()
            connection.close()


def no_answer(error: Exception) -> NoAnswer:
    """The sentence for an exception of the network or of the HTTP parser."""
    if isinstance(error, ConnectionRefusedError):
        return Refused("the connection is refused: nothing listens there")
    if isinstance(error, socket.gaierror):
        return Refused("the host name is unknown")
    if isinstance(error, ssl.SSLError):
        return NoAnswer("no TLS there: the server does not speak https, or its certificate is not trusted")
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return NoAnswer("the server closed the connection without an answer")
    if isinstance(error, http.client.IncompleteRead):
        return NoAnswer("the server closed the connection in the middle of its answer")
    if isinstance(error, http.client.BadStatusLine):
        return NoAnswer("what came back is not HTTP")
    if isinstance(error, OSError):
        return NoAnswer(f"the connection failed ({error.strerror or type(error).__name__})")
    return NoAnswer(f"what came back is not valid HTTP ({type(error).__name__})")


def diagnose(api: Api) -> str:
    """Why nothing can be asked at `api`'s address: a sentence with a remedy; empty if /health looks alive."""
    start = f"nothing can be asked at {api.url}: "
    try:
        answer = api._talk("GET", "/health", None, api.headers, REQUEST_SECONDS)
    except NoAnswer as problem:
        if "refused" in str(problem):
            return (
                start + "the connection is refused. Is the server running, on this port, and does it listen "
                "on this address (HOST=0.0.0.0 for other machines)? ss -ltnp lists what listens"
            )
        if "unknown" in str(problem):
            return start + "the host name is unknown: check its spelling, or use the address in numbers"
        if "TLS" in str(problem):
            return start + "the server does not speak TLS: write http:// instead of https://"
        if "not HTTP" in str(problem) or "closed the connection without" in str(problem):
            if api.scheme == "http" and _speaks_tls(api):
                return start + "the server speaks TLS: write https:// instead of http://"
            return start + f"{problem}. Is this the right port? Another program may listen there"
        if "within" in str(problem):
            return start + f"it accepts the connection but gives {problem}. Is it stuck? Look into its log"
        return start + f"{problem}. Can this machine reach it? Try: curl -v {api.url}/health"
    via = answer.header("Via") or answer.header("X-Cache") or answer.header("Proxy-Authenticate")
    if answer.status in (502, 503, 504, 407) and (via or answer.kind == "HTML"):
        return (
            start
            + f"a proxy answers in its place ({answer.status}). Unset http_proxy, or start the server behind"
        )
    if answer.status in (301, 302, 307, 308) and (answer.header("Location") or "").startswith("https:"):
        return start + "it redirects to https: write https:// in the address"
    if answer.kind == "HTML" and answer.status == 200:
        return (
            start
            + "HTML comes back instead of JSON. Is this the right port? Another program may listen there"
        )
    if answer.status == 400 and _speaks_tls(api):
        return start + "the server speaks TLS: write https:// instead of http://"
    return ""


def _speaks_tls(api: Api) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((api.host, api.port), 3) as plain, context.wrap_socket(plain):
            return True
    except (OSError, ValueError):
        return False
