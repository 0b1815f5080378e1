"""A correct server of the contract on the standard library alone, in small methods that a fault can replace.

    python -m faulty.service                       serves the correct one; prints its port, then waits
    python -m faulty.service "403 instead of 401"  serves that fault of tests/faulty/faults.py

The environment gives KEY, LIMIT ("30/60": requests and seconds) and DEBUG ("1" for true).
"""

import hmac
import json
import math
import os
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from models.classifier import classify_batch

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
MAX_BODY = 64 * 1024


@dataclass
class Request:
    method: str
    path: str
    query: dict
    headers: dict  # names in lower case
    body: bytes
    client: str


@dataclass
class Response:
    status: int
    document: object = None
    headers: dict = field(default_factory=dict)
    html: str = ""  # instead of the document
    raw: bytes | None = None  # instead of everything: the bytes on the wire


class Refusal(Exception):
    """An error that the client gets. Arguments: status, detail, headers."""


class Service:
    """The correct server."""

    one_at_a_time = False

    def __init__(self, key: str, limit: tuple[int, float], debug: bool):
        self.key, self.limit, self.debug = key, limit, debug
        self.windows: dict[str, tuple[int, float]] = {}
        self.lock = threading.Lock()
        self.requests = 0

    # ---- routing ----

    def routes(self) -> dict:
        routes = {
            "/health": {"GET": self.health},
            "/results": {"GET": self.results},
            "/classify": {"POST": self.classify},
        }
        if self.shows_documentation():
            routes |= {
                "/openapi.json": {"GET": lambda request: Response(200, self.openapi())},
                "/docs": {
                    "GET": lambda request: Response(200, html="<!doctype html><title>Swagger UI</title>")
                },
                "/redoc": {"GET": lambda request: Response(200, html="<!doctype html><title>ReDoc</title>")},
            }
        return routes

    def answer(self, request: Request) -> Response:
        self.requests += 1
        try:
            return self.finished(self.dispatch(request))
        except Refusal as refusal:
            status, detail, headers = (*refusal.args, {})[:3]
            return self.finished(self.error(status, detail, headers))
        except Exception:
            return self.finished(self.error(500, "the server failed", {}))

    def dispatch(self, request: Request) -> Response:
        verbs = self.routes().get(request.path)
        if verbs is None:
            raise Refusal(404, "there is nothing at this path")
        verbs = self.with_head(verbs)
        if request.method not in verbs:
            raise self.wrong_verb(verbs)
        return verbs[request.method](request)

    def with_head(self, verbs: dict) -> dict:
        return verbs | {"HEAD": verbs["GET"]} if "GET" in verbs else verbs

    def wrong_verb(self, verbs: dict) -> Refusal:
        return Refusal(405, "this path does not know this method", {"Allow": ", ".join(verbs)})

    def error(self, status: int, detail, headers: dict) -> Response:
        return Response(status, {"detail": detail}, headers)

    def finished(self, response: Response) -> Response:
        response.headers |= {"X-Request-ID": uuid.uuid4().hex, "X-Content-Type-Options": "nosniff"}
        return response

    # ---- the three routes ----

    def health(self, request: Request) -> Response:
        return Response(200, {"status": "ok", "model_version": "v1"})

    def results(self, request: Request) -> Response:
        return Response(200, {"results": [], "note": "persistence not yet implemented"})

    def classify(self, request: Request) -> Response:
        budget = self.within_budget(request)
        try:
            self.authenticate(request)
            self.check_kind(request)
            document = self.parse(request.body)
            self.validate(document)
            response = Response(200, self.shaped(self.predict(document["pixels"])))
        except Refusal as refusal:
            status, detail, headers = (*refusal.args, {})[:3]
            raise Refusal(status, detail, headers | budget) from None
        response.headers |= budget
        return response

    # ---- the filter ----

    def client(self, request: Request) -> str:
        return request.client

    def count(self, client: str) -> tuple[int, float]:
        """Count a request: how many were counted in this window, and when it ends."""
        with self.lock:
            now = time.monotonic()
            used, end = self.windows.get(client, (0, 0))
            if end <= now:
                used, end = 0, now + self.limit[1]
            self.windows[client] = (used + 1, end)
            return used + 1, end

    def allowed(self) -> int:
        return self.limit[0]

    def within_budget(self, request: Request) -> dict:
        used, end = self.count(self.client(request))
        seconds = max(1, math.ceil(end - time.monotonic()))
        headers = self.budget_headers(max(0, self.allowed() - used), seconds)
        if used > self.allowed():
            raise Refusal(429, "too many requests", headers | self.retry_after(seconds))
        return headers

    def budget_headers(self, left: int, seconds: int) -> dict:
        return {
            "RateLimit-Policy": f'"default";q={self.limit[0]};w={self.limit[1]:g}',
            "RateLimit": f'"default";r={left};t={seconds}',
        }

    def retry_after(self, seconds: int) -> dict:
        return {"Retry-After": str(seconds)}

    def sent_key(self, request: Request) -> str | None:
        return request.headers.get("x-api-key")

    def is_right(self, key: str) -> bool:
        return hmac.compare_digest(key.encode(), self.key.encode())

    def authenticate(self, request: Request) -> None:
        key = self.sent_key(request)
        if key is None or not self.is_right(key):
            raise self.no_key(key)

    def no_key(self, key: str | None) -> Refusal:
        return Refusal(401, "send the API key in X-API-Key", {"WWW-Authenticate": 'ApiKey realm="pixelwise"'})

    def check_kind(self, request: Request) -> None:
        if len(request.body) > MAX_BODY:
            raise Refusal(413, "the body is over 64 KiB")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "send application/json")

    def parse(self, body: bytes):
        def once(pairs):
            if len(dict(pairs)) < len(pairs):
                raise ValueError("a key stands twice")
            return dict(pairs)

        def constant(name):
            raise ValueError(f"{name} is not JSON")

        try:
            return json.loads(body.decode(), object_pairs_hook=once, parse_constant=constant)
        except (ValueError, RecursionError):
            raise self.invalid("json_invalid", [], "this is not JSON") from None

    def invalid(self, kind: str, loc: list, message: str) -> Refusal:
        return Refusal(422, [{"type": kind, "loc": ["body", *loc], "msg": message}])

    def validate(self, document) -> None:
        if not isinstance(document, dict):
            raise self.invalid("type", [], "the body is not an object")
        if "pixels" not in document:
            raise self.invalid("required", ["pixels"], "this field is missing")
        self.validate_fields(document)
        rows = document["pixels"]
        if not isinstance(rows, list):
            raise self.invalid("type", ["pixels"], "pixels is not an array")
        self.validate_size(rows, ["pixels"])
        right = set()  # the same 0 stands 700 times in a picture: it is judged once
        for number, row in enumerate(rows):
            if not isinstance(row, list):
                raise self.invalid("type", ["pixels", number], "a row is not an array")
            self.validate_row_size(row, ["pixels", number])
            for column, pixel in enumerate(row):
                if id(pixel) not in right:
                    self.validate_pixel(pixel, ["pixels", number, column])
                    right.add(id(pixel))

    def validate_fields(self, document: dict) -> None:
        if unknown := sorted(document.keys() - {"pixels"}):
            raise self.invalid("additionalProperties", unknown[:1], "there is no such field")

    def validate_size(self, rows: list, loc: list) -> None:
        if len(rows) != 28:
            raise self.invalid("minItems", loc, f"{len(rows)} instead of 28")

    def validate_row_size(self, row: list, loc: list) -> None:
        if len(row) != 28:
            raise self.invalid("minItems", loc, f"{len(row)} instead of 28")

    def validate_pixel(self, pixel, loc: list) -> None:
        self.validate_type(pixel, loc)
        self.validate_range(pixel, loc)

    def validate_type(self, pixel, loc: list) -> None:
        if isinstance(pixel, bool) or not (
            isinstance(pixel, int) or isinstance(pixel, float) and pixel.is_integer()
        ):
            raise self.invalid("type", loc, "this is not an integer")

    def validate_range(self, pixel, loc: list) -> None:
        if not 0 <= pixel <= 255:
            raise self.invalid("maximum", loc, "this is not from 0 to 255")

    # ---- the model ----

    def predict(self, rows: list) -> dict:
        import numpy as np  # at the first digit: who brings another model may start without it

        return classified(np.array(rows, dtype=np.uint8).reshape(784).tobytes())

    def shaped(self, answered: dict) -> dict:
        """A classification as it leaves."""
        return answered

    # ---- the documentation ----

    def shows_documentation(self) -> bool:
        return self.debug

    def openapi(self) -> dict:
        schemas = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
        document = json.dumps(schemas.pop("openapi"))
        for name, schema in schemas.items():
            document = document.replace(f'"{name}.json"', f'"#/components/schemas/{schema["title"]}"')
        document = json.loads(document)
        document["components"]["schemas"] = {schema["title"]: schema for schema in schemas.values()}
        return document

    # ---- the wire ----

    def encoded(self, request: Request, response: Response) -> bytes:
        """The bytes on the wire."""
        if response.raw is not None:
            return response.raw
        body = response.html.encode() if response.html else json.dumps(response.document).encode()
        kind = "text/html; charset=utf-8" if response.html else "application/json"
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Connection": "close",
        } | response.headers
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
        reason = {200: "OK", 404: "Not Found", 422: "Unprocessable Content"}.get(response.status, "Status")
        start = f"HTTP/1.1 {response.status} {reason}\r\n{head}\r\n".encode("latin-1", "replace")
        return start + (b"" if request.method == "HEAD" else body)

    def write(self, stream, data: bytes) -> None:
        stream.write(data)


@lru_cache(maxsize=100)
def classified(picture: bytes) -> dict:
    """The answer to 784 grey values. Most checks send a blank picture, and each many times."""
    import numpy as np

    return classify_batch(np.frombuffer(picture, np.uint8).reshape(1, 28, 28))[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        self.close_connection = True
        if not self.raw_requestline or not self.parse_request():
            return
        length = int(self.headers.get("Content-Length") or 0)
        target = urlsplit(self.path)
        request = Request(
            self.command,
            target.path,
            parse_qs(target.query),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
            self.client_address[0],
        )
        service = self.server.service
        service.write(self.wfile, service.encoded(request, service.answer(request)))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, service: Service):
        super().__init__(("127.0.0.1", 0), Handler)
        self.service = service

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """For each request a new one would cost more than its answer."""
        return ThreadPoolExecutor(200)

    def process_request(self, request, client_address):
        if self.service.one_at_a_time:
            HTTPServer.process_request(self, request, client_address)
        else:
            self.threads.submit(self.process_request_thread, request, client_address)

    def handle_error(self, *_):
        pass  # a client that went away


def main(arguments: list[str]) -> int:
    requests, seconds = os.environ.get("LIMIT", "30/60").split("/")
    kind = Service
    if arguments:
        from faulty.faults import FAULTS

        kind = FAULTS[arguments[0]].kind
    service = kind(os.environ["KEY"], (int(requests), float(seconds)), os.environ.get("DEBUG") == "1")
    server = Server(service)
    print(server.server_address[1], flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
