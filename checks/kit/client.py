"""Asks a server, whatever it is made of, and survives what it answers.

Every request ends by a deadline, however slowly the answer drips; at most MAX_BODY bytes of it are read; no
redirect is followed. What comes back is an Answer; what was asked and answered is kept as an Exchange, from
which the report makes its evidence and its curl line, without the key.
"""

import contextlib
import http.client
import io
import ipaddress
import json
import math
import random
import re
import socket
import ssl
import time
from urllib.parse import urlsplit

from checks.kit.core import CannotCheck, Failed, Gone
from checks.kit.exchange import Answer, Exchange

MAX_BODY = 8 * 1024 * 1024  # bytes of an answer: a documentation page with its scripts inside fits
REQUEST_SECONDS = 5
PLAIN = "127.0.0.1"  # where a student's own requests to a server on the same machine come from
CURL = {"User-Agent": "curl/8.5.0", "Accept": "*/*"}
CLIENTS = (  # what other programs say of themselves: a server cannot tell the grader from a student by it
    {"User-Agent": "python-requests/2.32.5", "Accept": "*/*"},
    {"Accept": "*/*", "User-Agent": "Wget/1.21.3"},
    {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
    {"Accept": "application/json", "User-Agent": "PostmanRuntime/7.45.0"},
    {"User-Agent": "Go-http-client/1.1"},
    {},
)
WINDOW_PATIENCE = 65  # the longest wait for a rate limit's window to end


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
        self.known: dict = {}  # what one check found out and another one asks for
        self.deadline = None
        self.restart = None  # starts the server again, so that it knows no client; where whoever grades can
        self.shared_budget = False  # whether all addresses turned out to share a budget
        self.counted_until = 0.0  # by then, the window that the last request to /classify fell into has ended
        self.plain_until = 0.0  # the same of the last one from PLAIN
        self.addresses = random.Random(seed)
        self.source: str | None = None
        self.own_addresses = self._can_choose_addresses()
        self.headers = CURL

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

    def move(self, plain: bool = False) -> str | None:
        """Ask from another address from now on, or from PLAIN (only where the server is on loopback)."""
        if self.own_addresses:
            a, b, c = (self.addresses.randrange(1, 255) for _ in range(3))
            self.source = PLAIN if plain else f"127.{a}.{b}.{c}"
        return self.source

    def clients(self):
        """Be several clients, one after the other: one that never asked before, and the one at PLAIN."""
        for plain in self.addresses.sample((False, True), 2) if self.own_addresses else (False,):
            self.move(plain)
            yield plain
        self.move()

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

    def fresh_window(self, plain: bool = False) -> None:
        """See to it that the next request opens a new window of the rate limit, for a new client or PLAIN."""
        self.move(plain)
        shared = self.shared_budget or not self.own_addresses
        until = self.counted_until if shared else self.plain_until if plain else 0
        if until > time.monotonic():
            seconds = math.ceil(until - time.monotonic())
            self._renew(seconds, f"waiting {seconds} s, so that a new window of the rate limit opens")

    def _renew(self, seconds: float, why: str) -> None:
        """Get new windows: of a server that is started again, where that can be; else by waiting."""
        if not self.restart:
            self.tell(why)
            self.pause(seconds)
            return
        began = time.monotonic()
        self.restart()
        self.counted_until = self.plain_until = 0.0
        if self.deadline:
            self.deadline += time.monotonic() - began

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
                if self.source == PLAIN:
                    self.plain_until = self.counted_until

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
        self._renew(seconds, f"the rate limit is used up: waiting {seconds} s for its window to end")

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
        # the first request of a check is like curl's, which the report shows; the others vary
        client = self.addresses.choice(CLIENTS) if self.exchanges else self.headers
        headers = client | (headers or {})
        exchange = Exchange(self.url, method, path, headers, body, None, curl_body)
        exchange.client = f"{self.source or 'here'} as {client.get('User-Agent', 'nobody').split()[0]}"
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
        if last and last.asked == exchange.asked:
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
        end = time.monotonic() + seconds
        try:
            connection.connect()
            incoming = Incoming(connection.sock, end)
            try:
                connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value)
            except (ValueError, http.client.InvalidURL) as error:  # not a byte was sent
                raise CannotCheck(f"the check cannot send its request ({error!r:.200})") from None
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if body:  # a server may answer (413) before it has read everything
                    connection.send(body)
            response = http.client.HTTPResponse(incoming, method=method)
            response.begin()
            # http.client reads no body after HEAD; what a server sends there all the same, we want to see
            content = response.fp.read(100) if method == "HEAD" else response.read(MAX_BODY + 1)
            if method != "HEAD" and response.length and len(content) <= MAX_BODY:
                raise http.client.IncompleteRead(content)
            if len(content) > MAX_BODY:
                raise NoAnswer(f"an answer that did not end after {MAX_BODY // 2**20} MiB")
            return Answer(response.status, response.getheaders(), content)
        except TimeoutError:
            raise NoAnswer(f"no whole answer within {seconds} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise no_answer(error) from None
        finally:
            connection.close()


class Incoming(io.RawIOBase):
    """What a socket receives until a moment of the monotonic clock: a timeout of the socket counts anew for
    every byte that drips. Raises TimeoutError."""

    def __init__(self, sock: socket.socket, end: float):
        self.sock, self.end = sock, end

    def makefile(self, _) -> io.BufferedReader:
        """As http.client asks a socket for a file."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        return self.sock.recv_into(buffer)


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
