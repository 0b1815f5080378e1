"""PixelWise: handwritten digits over HTTP, in one file.

    GET  /health                        can the service classify right now?    no key, never limited
    GET  /results                       past predictions (a stub for now)      no key, never limited
    POST /classify                      28 x 28 pixels in, a digit out         key, rate limit, JSON Schema
    GET  /openapi.json, /docs, /redoc   the contract, to read and to try       only with DEBUG=true

`python server.py` serves; its settings come from the environment or from `.env`, see SETTINGS.
`python server.py --check` only reads the settings, verifies and prepares the model, and leaves.
Exit status: 0 stopped by SIGTERM or SIGINT, 1 the port is taken, 78 a setting is bad (see its last line).

In reading order: Settings, Contract, Filter, Routes, Errors, Logging, Start and stop.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads would fight with waitress's

import errno
import functools
import hmac
import importlib.util
import ipaddress
import json
import logging
import math
import re
import signal
import socket
import sys
import threading
import time
from collections import namedtuple
from contextlib import suppress
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import dotenv
import numpy as np
import orjson
from bottle import Bottle, HTTPError, request, response, static_file
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import WSGITask
from waitress.utilities import Error, RequestEntityTooLarge

from models.classifier import ArtefactError, Classifier, listed_digest, load

ROOT = Path(__file__).resolve().parent
log = logging.getLogger("pixelwise")

# ---- Settings -------------------------------------------------------------------------------------------

EXAMPLE_KEY = "change-me-to-a-long-random-string"  # it stands in .env.example, so everybody knows it


class SettingError(ValueError):
    """A setting is bad. The message names its key and the remedy, and never the value of the API key."""


def matching(pattern: str):
    """A reader of texts that the pattern matches as a whole."""
    return lambda text: re.fullmatch(pattern, text)[0]


def true_or_false(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def port_number(text: str) -> int:
    return range(65536).index(int(matching(r"[0-9]{1,5}")(text)))


def budget(text: str) -> tuple[int, int] | None:
    """How many requests in how many seconds: "30/minute" is (30, 60); "off" is None."""
    if text == "off":
        return None
    count, unit = re.fullmatch(r"([1-9][0-9]{0,8})/(second|minute|hour)", text).groups()
    return int(count), {"second": 1, "minute": 60, "hour": 3600}[unit]


def address_or_nothing(text: str) -> str:
    if text:
        ipaddress.ip_address(text)  # or ValueError
    return plain_address(text)


SETTINGS = (  # key, default, how to read it, what to do when that fails
    ("SECRET_API_KEY", "", matching(r"[!-~]+"), "set a long random key without spaces: openssl rand -hex 24"),
    ("DEBUG", "false", true_or_false, "write true (it shows the documentation pages) or false"),
    ("MODEL_REPO", "", str, "write a git URL or nothing"),  # this one and the next are for setup-server.sh
    ("MODEL_VERSION", "", str, "write a tag of MODEL_REPO or nothing"),
    ("MODEL_PATH", "models/digit_classifier_v1.pkl", matching(r".+"), "name the file of an artefact"),
    ("MODEL_SHA256", "", matching(r"|[0-9a-fA-F]{64}"), "write the 64 hex digits that sha256sum prints"),
    ("HOST", "127.0.0.1", matching(r"\S+"), "write an address of this machine, or 0.0.0.0 for all of them"),
    ("PORT", "8000", port_number, "write a whole number from 0 to 65535 (0 is any free port)"),
    ("RATE_LIMIT", "30/minute", budget, "write N/second, N/minute, N/hour or off"),
    ("TRUSTED_PROXY", "", address_or_nothing, "write the IP address of your reverse proxy or nothing"),
)
Settings = namedtuple("Settings", [key.lower() for key, *_ in SETTINGS])


def read_settings(environ, env_file: Path | None = None) -> Settings:
    """The settings from `environ`, else from `env_file`, else the defaults. Raises SettingError."""
    lines = read_env_file(env_file) if env_file else {}
    values = []
    for key, default, read, remedy in SETTINGS:
        text = environ.get(key, lines.get(key, default))
        try:
            values.append(read(text))
        except (ValueError, LookupError, TypeError, AttributeError):
            shown = "missing or not allowed" if key == "SECRET_API_KEY" else f"{text[:80]!r} is not allowed"
            raise SettingError(f"{key}: {shown}; {remedy}") from None
    settings = Settings(*values)
    if settings.secret_api_key == EXAMPLE_KEY and not settings.debug:
        raise SettingError(f"SECRET_API_KEY: this is the example's; {SETTINGS[0][3]}")
    return settings


def read_env_file(path: Path) -> dict[str, str]:
    """The lines of a .env file, refused unless systemd's EnvironmentFile= would read them the same way."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, PermissionError):
        return {}  # under systemd the file may be root's alone; then its values are in the environment
    except (OSError, UnicodeDecodeError):
        raise SettingError(f"{path}: not readable; make it a text file of KEY=value lines") from None
    for number, line in enumerate(lines, 1):
        if line.endswith("\\") or not re.fullmatch(
            r"""\s*(#.*)?|\w+=([^\s"'\\$`#]*|"[^"\\$`]*"|'[^'\\$`]*')""", line
        ):
            raise SettingError(f"{path} line {number}: write KEY=value, no spaces around =, no $, # or \\")
    return dotenv.dotenv_values(path, interpolate=False)


# ---- Contract: what schemas/ says goes in and comes out -------------------------------------------------

SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("schemas/*.json")}
OPENAPI = SCHEMAS.pop("openapi")
MAX_BODY = 64 * 1024  # bytes
MAX_PROBLEMS = 10  # in one 422


class ContractError(Exception):
    """A handler returned what its response schema refuses."""


@functools.cache
def validator(name: str):
    """The jsonschema validator for schemas/<name>.json; imported at the first doubt, since that is slow."""
    # beside JupyterLab, jsonschema would import this too: seconds, for formats that no schema here asks for
    sys.modules.setdefault("rfc3987_syntax", None)
    from jsonschema import Draft202012Validator

    return Draft202012Validator(SCHEMAS[name])


def accepted_pixels(body: bytes) -> np.ndarray:
    """Stage 4. The picture in the body: uint8, shape (1, 28, 28). Raises 422 with what is wrong where.

    Valid bodies take the fast path; whatever it doubts, the parser and JSON Schema judge and explain.
    """
    flat = undoubted_pixels(body)
    if flat is None:
        try:
            document = parse_json(body)
            errors = list(islice(validator("classify.request").iter_errors(document), MAX_PROBLEMS))
            if errors:
                raise HTTPError(422, [explain(error) for error in errors])
        except RecursionError:
            raise not_json("nested too deeply") from None
        flat = bytes(int(pixel) for row in document["pixels"] for pixel in row)
    return np.frombuffer(flat, dtype=np.uint8).reshape(1, 28, 28)


def rules(schema: dict) -> dict:
    """The schema without what only describes."""
    words = schema.keys() - {"$schema", "title", "description", "examples"}
    return {word: rules(schema[word]) if isinstance(schema[word], dict) else schema[word] for word in words}


PIXEL = {"type": "integer", "minimum": 0, "maximum": 255}
ROW = {"type": "array", "minItems": 28, "maxItems": 28, "items": PIXEL}
PICTURE = {"type": "object", "required": ["pixels"], "properties": {"pixels": ROW | {"items": ROW}}}
FAST_PATH_APPLIES = rules(SCHEMAS["classify.request"]) == PICTURE | {"additionalProperties": False}


def undoubted_pixels(body: bytes) -> bytes | None:
    """The 784 pixels of a body that is valid beyond doubt, at C speed; None means: ask jsonschema.

    Two quotes are one string, so one key: no other fields, no duplicates, no strings among the pixels.
    `bytes` takes integers from 0 to 255 alone, and booleans, which is why the text is searched for them.
    """
    if not FAST_PATH_APPLIES or body.count(b'"') != 2 or b"true" in body or b"false" in body:
        return None
    try:
        rows = orjson.loads(body)["pixels"]
        if len(rows) != 28 or set(map(len, rows)) != {28}:
            return None
        return b"".join(map(bytes, rows))
    except (ValueError, TypeError, KeyError):
        return None


def parse_json(body: bytes):
    """The document in strict JSON (RFC 8259): UTF-8, finite numbers, no key twice. Raises 422."""

    def only_once(pairs):
        if len(dict(pairs)) < len(pairs):
            raise not_json("a key stands twice in one object")
        return dict(pairs)

    def finite(text):
        if not math.isfinite(float(text)):
            raise not_json("a number is not finite, or too large")
        return float(text)

    try:
        text = body.decode()
        return json.loads(text, object_pairs_hook=only_once, parse_float=finite, parse_constant=finite)
    except UnicodeDecodeError as error:
        raise not_json("not UTF-8", error.start) from None
    except json.JSONDecodeError as error:
        place = f"at line {error.lineno}, column {error.colno}"
        raise not_json(f"{error.msg.lower()} {place}", error.pos) from None
    except ValueError:  # from int(), which reads at most 4300 digits
        raise not_json("a number has too many digits") from None


def not_json(reason: str, *position: int) -> HTTPError:
    problem = {"type": "json_invalid", "loc": ["body", *position], "msg": f"not JSON: {reason}"}
    return HTTPError(422, [problem])


def explain(error) -> dict:
    """A jsonschema ValidationError as one entry of `detail`: {type, loc, msg}, echoing next to nothing."""
    value, rule, loc = error.instance, error.validator_value, ["body", *error.absolute_path]
    if isinstance(value, list | dict):
        shown = f"an array of {len(value)}" if isinstance(value, list) else "an object"
    else:
        shown = json.dumps(value)
    shown = shown if len(shown) <= 40 else shown[:39] + "…"
    if error.validator == "required":
        loc.append(next(name for name in rule if name not in value))
    if error.validator == "additionalProperties":
        loc.append(next(name for name in value if name not in error.schema["properties"])[:40])
    sentences = {
        "type": f"{shown} is not of type {rule}",
        "minimum": f"{shown} is less than the minimum of {rule}",
        "maximum": f"{shown} is greater than the maximum of {rule}",
        "minItems": f"{shown} is too short: {rule} items are needed",
        "maxItems": f"{shown} is too long: {rule} items are needed",
        "required": "this field is missing",
        "additionalProperties": "there is no such field",
    }
    message = sentences.get(error.validator, f"{shown} is not allowed")
    return {"type": error.validator, "loc": loc, "msg": message}


def answer(name: str, body: dict) -> bytes:
    """`body` as JSON, less the fields that schemas/<name>.json does not declare.
    Raises ContractError where the rest is not what that schema says."""
    response.content_type = "application/json"
    declared = {field: body[field] for field in SCHEMAS[name]["properties"] if field in body}
    if SURELY_VALID[name](declared):
        return orjson.dumps(declared)
    for error in validator(name).iter_errors(declared):
        raise ContractError(f"{name} refuses {list(error.absolute_path)}: {error.validator}")
    return json.dumps(declared, allow_nan=False).encode()


def surely_valid(schema):
    """A fast test for values: True only where JSON Schema says so too; False means: ask jsonschema."""
    if not isinstance(schema, dict):
        return lambda value: False
    words = schema.keys() - {"$schema", "title", "description", "type"}
    match schema.get("type"):
        case "object" if words <= {"required", "properties", "additionalProperties"}:
            required = set(schema.get("required", ()))
            fields = {name: surely_valid(field) for name, field in schema.get("properties", {}).items()}
            other = surely_valid(schema.get("additionalProperties"))
            return lambda value: (
                type(value) is dict
                and required <= value.keys()
                and all(fields.get(name, other)(item) for name, item in value.items())
            )
        case "number" if words <= {"minimum", "maximum"}:
            low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
            return lambda value: type(value) is float and low <= value <= high and math.isfinite(value)
        case "string" if not words:
            return lambda value: type(value) is str
        case "array" if words <= {"maxItems"}:
            return lambda value: value == []
        case None if words == {"enum"}:
            return lambda value: type(value) is str and value in schema["enum"]
    return lambda value: False


SURELY_VALID = {name: surely_valid(schema) for name, schema in SCHEMAS.items()}


def openapi() -> dict:
    """The OpenAPI 3.1 document: schemas/openapi.json, with the schemas that it refers to put inside."""
    text = json.dumps(OPENAPI)
    for name, schema in SCHEMAS.items():
        text = text.replace(f'"{name}.json"', f'"#/components/schemas/{schema["title"]}"')
    document = json.loads(text)
    document["components"]["schemas"] = {schema["title"]: schema for schema in SCHEMAS.values()}
    return document


# ---- Filter: what a request must pass before the model sees it ------------------------------------------


class RateLimiter:
    """At most `count` requests a client in a fixed window of `seconds` that opens with its first request.

    The table of clients is a dict in the order in which their windows opened. It never holds more than
    `capacity`: when it is full, the tenth whose windows opened first is forgotten.
    """

    def __init__(self, count: int, seconds: int, capacity: int = 10_000, clock=time.monotonic):
        self.count, self.seconds, self.capacity, self.clock = count, seconds, capacity, clock
        self.windows: dict[str, tuple[int, float]] = {}  # client: (requests admitted, end of the window)
        self.lock = threading.Lock()

    def hit(self, client: str, cost: int = 1) -> tuple[bool, int, int]:
        """Count a request: is it admitted, how many are left, and in how many seconds does the window end?"""
        with self.lock:
            now = self.clock()
            used, end = self.windows.get(client, (0, 0.0))
            if end <= now:
                used, end = 0, now + self.seconds
            admitted = used + cost <= self.count
            if admitted and cost:
                if used == 0:
                    self._make_room(client)
                used += cost
                self.windows[client] = (used, end)
            seconds = min(self.seconds, max(1, math.ceil(end - now)))
            return admitted, self.count - used, seconds

    def _make_room(self, client: str) -> None:
        """For a window that opens now: its entry goes to the end of the dict, and the table stays bounded."""
        self.windows.pop(client, None)
        if len(self.windows) >= self.capacity:
            for oldest in list(islice(self.windows, max(1, self.capacity // 10))):
                del self.windows[oldest]

    def headers(self, left: int, seconds: int) -> list[tuple[str, str]]:
        """What a client is told of its budget, after draft-ietf-httpapi-ratelimit-headers."""
        policy = f'"default";q={self.count};w={self.seconds}'
        return [("RateLimit-Policy", policy), ("RateLimit", f'"default";r={left};t={seconds}')]


def client_address(environ, settings: Settings) -> str:
    """Who is asking: the socket's address, or what a trusted proxy says last in X-Forwarded-For."""
    peer = environ["REMOTE_ADDR"]
    if settings.trusted_proxy and plain_address(peer) == settings.trusted_proxy:
        return plain_address(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")[-1]) or peer
    return peer


def plain_address(text: str) -> str:
    """An IP address in its usual spelling, or "" for anything else."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def within_budget(limiter: RateLimiter | None, environ) -> None:
    """Stage 1. Raises 429 when the client has used up its window; every answer shows what is left."""
    if limiter is None:
        return
    admitted, left, seconds = limiter.hit(environ["pixelwise.client"])
    environ["pixelwise.headers"] = limiter.headers(left, seconds)
    if not admitted:
        budget = f"{limiter.count} requests in {limiter.seconds} seconds are allowed"
        detail = f"{budget}, and they are used up: try again in {seconds} seconds"
        raise HTTPError(429, detail, retry_after=str(seconds))


def authenticate(environ, secret: str) -> None:
    """Stage 2. Raises 401 unless the key is the right one; how long it takes gives nothing away."""
    sent = environ.get("HTTP_X_API_KEY", "").encode("latin-1")  # as WSGI decoded it
    if not hmac.compare_digest(sent, secret.encode()):
        detail = "send the API key of this service in the header X-API-Key"
        raise HTTPError(401, detail, www_authenticate='ApiKey realm="pixelwise"')


def json_body(environ) -> bytes:
    """Stage 3. The bytes of the body. Raises 413 over 64 KiB, and 415 unless it is announced as JSON."""
    if int(environ.get("CONTENT_LENGTH") or 0) > MAX_BODY:
        raise HTTPError(413, f"the body is over {MAX_BODY} bytes: send one picture of 28 rows of 28 integers")
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPError(415, "send JSON, with the header Content-Type: application/json")
    return environ["wsgi.input"].read()


# ---- Routes ---------------------------------------------------------------------------------------------


def build_app(settings: Settings, model: Classifier, draining: threading.Event | None = None):
    """The WSGI application, with a rate limiter of its own. Once `draining` is set, /health says 503."""
    draining = draining or threading.Event()
    app = Bottle()
    app.catchall = False  # with_request_log catches, logs and answers
    app.default_error_handler = error_as_json
    app.add_hook("before_request", refuse_odd_paths)
    limiter = RateLimiter(*settings.rate_limit) if settings.rate_limit else None
    version = model_version(settings.model_path)

    @app.route("/results", ["GET", "HEAD"])
    def results():
        return answer("results.response", {"results": [], "note": "persistence not yet implemented"})

    @app.route("/health", ["GET", "HEAD"])
    def health():
        ok = can_classify(model) and not draining.is_set()
        response.status = 200 if ok else 503
        return answer("health.response", {"status": "ok" if ok else "unavailable", "model_version": version})

    @app.route("/classify", ["POST"])
    def classify():
        environ = request.environ
        within_budget(limiter, environ)  # 1: 429
        authenticate(environ, settings.secret_api_key)  # 2: 401
        body = json_body(environ)  # 3: 413, 415
        picture = accepted_pixels(body)  # 4: 422
        return answer("classify.response", model.classify_batch(picture)[0])

    if settings.debug:
        add_documentation(app)
    return with_request_log(app, settings, limiter)


def model_version(path: str) -> str:
    """The version that the artefact's name ends in: v1.1 for …_v1_1.pkl; without one, the whole name."""
    found = re.search(r"_(v\d+(?:_\d+)*)$", Path(path).stem)
    return found[1].replace("_", ".") if found else Path(path).stem


def can_classify(model: Classifier) -> bool:
    """Classify a blank picture, now; the log says why when it fails."""
    try:
        return bool(model.classify_batch(np.zeros((1, 28, 28), dtype=np.uint8)))
    except Exception:
        log.exception("the model cannot classify a blank picture")
        return False


def add_documentation(app: Bottle) -> None:
    """/openapi.json, Swagger UI at /docs and ReDoc at /redoc; the package offapi ships both, so no CDN."""
    assets = Path(importlib.util.find_spec("offapi").origin).parent
    document = json.dumps(openapi(), ensure_ascii=False)

    @app.route("/openapi.json", ["GET", "HEAD"])
    def openapi_json():
        response.content_type = "application/json"
        return document

    for path in ("/docs", "/redoc"):
        page = ROOT / "schemas" / f"{path[1:]}.html"
        app.route(path, ["GET", "HEAD"], functools.partial(static_file, page.name, page.parent))
    for name in ("swagger_bundle.js", "swagger_style.css", "redoc.js"):
        app.route(f"/docs/{name}", ["GET", "HEAD"], functools.partial(static_file, name, assets))


# ---- Errors: JSON, always -------------------------------------------------------------------------------

SENTENCES = {  # for what Bottle and waitress refuse on their own
    400: "this is not a valid HTTP/1.1 request: compare it with what curl -v sends",
    404: "there is nothing at this path: ask GET /health, GET /results or POST /classify",
    405: "this path does not know this method: the header Allow lists those that it knows",
    408: "the request took too long to arrive: send it again, faster",
    431: "the request line and the headers are too long together: send fewer or shorter ones",
    500: "the server failed: report the X-Request-ID of this answer to its operator",
    501: "this Transfer-Encoding is unknown: send a Content-Length, or chunked",
}


def error_as_json(error: HTTPError) -> str:
    """Bottle's default_error_handler: the body {"detail": …} for every error, and the reason for the log."""
    detail = SENTENCES.get(error.status_code, error.body)
    if error.status_code == 501:  # not a broken request, but a function that a student has still to write
        detail = error.body
    if error.status_code == 422:  # what the client wrote stays out of the log
        where = "/".join(str(step) for step in detail[0]["loc"] if step in ("body", "pixels", *range(28)))
        request.environ["pixelwise.why"] = f"{detail[0]['type']} at {where}"
    else:
        request.environ["pixelwise.why"] = detail
    response.content_type = "application/json"
    return json.dumps({"detail": detail})


def refuse_odd_paths() -> None:
    """404 for paths that waitress or Bottle would bend into a route: //health, /%2Fhealth, /hea%FFlth."""
    written, understood = request.environ["REQUEST_URI"], request.environ["bottle.raw_path"]
    if written != understood:
        path = re.sub(r"^\w+://[^/?]*|[?#].*", "", written)
        if unquote(path, "ascii") != understood:  # what is not ASCII equals nothing
            raise HTTPError(404)


# ---- Logging: one line a request, to stderr -------------------------------------------------------------


LEVELS = {3: "ERROR", 4: "WARNING", 6: "INFO"}  # syslog priorities: the journal's, for journalctl -p


@functools.cache
def journal_reads() -> bool:
    """Whether our stderr goes to systemd's journal: then JOURNAL_STREAM names its device and inode."""
    status = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@functools.lru_cache(maxsize=1)
def clock_time(second: int) -> str:
    """Date and time of a second since the epoch, worked out once a second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


def log_lines(priority: int, text: str) -> str:
    """The text as lines of the log: each with its priority for the journal, else with time and level."""
    prefix = f"<{priority}>" if journal_reads() else f"{clock_time(int(time.time()))} {LEVELS[priority]} "
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


class LogFormatter(logging.Formatter):
    """Brings what is logged beside the requests into the same lines."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 6 if record.levelno < logging.WARNING else 4 if record.levelno < logging.ERROR else 3
        return log_lines(priority, super().format(record))[:-1]


def start_logging() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever all threads are busy


def with_request_log(app: Bottle, settings: Settings, limiter: RateLimiter | None):
    """`app` as a WSGI application: every answer gets a request ID, and a line in the log that names it."""

    def application(environ, start_response):
        began, request_id, status = time.perf_counter(), os.urandom(8).hex(), ""
        client = environ["pixelwise.client"] = client_address(environ, settings)

        def start(line: str, headers: list, exc_info=None):
            nonlocal status
            status = line[:3]
            if limiter and environ["PATH_INFO"] == "/classify" and "pixelwise.headers" not in environ:
                with suppress(Exception):  # a limiter that is still to be written: without, then
                    environ["pixelwise.headers"] = limiter.headers(*limiter.hit(client, cost=0)[1:])
            headers += [("X-Request-ID", request_id), ("X-Content-Type-Options", "nosniff")]
            return start_response(line, headers + environ.get("pixelwise.headers", []), exc_info)

        def refuse(code: int, reason: str) -> list[bytes]:
            environ["pixelwise.why"] = SENTENCES[code]
            start(f"{code} {reason}", [("Content-Type", "application/json")])
            return [json.dumps({"detail": SENTENCES[code]}).encode()]

        try:
            broken = environ.get("pixelwise.broken")
            body = refuse(*broken) if broken else app.wsgi(environ, start)
        except Exception:
            log.exception("request %s failed", request_id)
            body = refuse(500, "Internal Server Error")
        path = environ["REQUEST_URI"].partition("?")[0][:200]  # a query may hold a key
        took, why = (time.perf_counter() - began) * 1000, environ.get("pixelwise.why", "")
        line = f"{client} {environ['REQUEST_METHOD']} {path} {status} {took:.1f}ms {request_id} {why}"
        priority = 6 if status < "400" else 4 if status < "500" else 3
        with suppress(OSError):  # straight to stderr: a logging.LogRecord would cost a fifth of the request
            os.write(2, log_lines(priority, line.rstrip()).encode())
        return body

    return application


# ---- Start and stop -------------------------------------------------------------------------------------

REQUEST_SECONDS = 10  # a request must have arrived as a whole by then
IDLE_SECONDS = 60  # a connection without a request is closed after that
HANDSHAKE_SECONDS = 0.1  # a handshake that had begun before SIGTERM has so long to be completed
DRAIN_SECONDS = 8  # accepted requests have so long to finish after SIGTERM
CONNECTIONS = 256  # at once
THREADS_AT_NEED = 4  # for a model that may take its time, once a request is stuck in it; until then one


class RequestTimeout(Error):
    code, reason = 408, "Request Timeout"


class Parser(HTTPRequestParser):
    """waitress's, with values for what a broken request does not say."""

    command, path, query, request_uri, url_scheme = "-", "-", "", "-", "http"


class Task(WSGITask):
    """One request on a worker thread. The application answers broken requests too, and a connection that
    will close says so."""

    def service(self):
        super().service()
        self.channel.server.finished += 1

    def start(self):
        super().start()
        if self.request.error or self.channel.server.draining.is_set():
            self.set_close_on_finish()

    def write(self, data):
        if not self.wrote_header and data and self.content_length == len(data):
            head, self.wrote_header = self.build_response_header(), True  # both in one send
            self.content_bytes_written = self.channel.write_soon(head + data) - len(head)
        else:
            super().write(data)

    def get_environment(self):
        environ = super().get_environment()
        error = self.request.error
        if isinstance(error, RequestEntityTooLarge):  # this one the filter answers, when its turn comes
            environ["CONTENT_LENGTH"] = str(MAX_BODY + 1)
        elif error:
            environ["pixelwise.broken"] = (error.code, error.reason)
        return environ


class Channel(HTTPChannel):
    """A connection that knows since when its unfinished request has been arriving."""

    parser_class, task_class, error_task_class = Parser, Task, Task
    unfinished, since = None, 0.0

    def received(self, data):
        super().received(data)
        if self.request is not self.unfinished:
            self.unfinished, self.since = self.request, time.time()

    def is_idle(self) -> bool:
        return not self.requests and self.request is None and not self.total_outbufs_len

    def time_out(self) -> None:
        with self.requests_lock:
            self.request.error = RequestTimeout("")
            self.requests.append(self.request)
            self.request = self.unfinished = None
            self.server.add_task(self)


class Server(TcpWSGIServer):
    """waitress's server on a listening socket, plus deadlines, a watchdog and a stop that loses nothing.

    at_once: the application is fast and never waits, so requests are answered in the event loop itself.
    Handing each over to a worker thread and back, as waitress does, would take longer than the model.
    """

    channel_class = Channel

    def __init__(self, app, listener, draining: threading.Event, self_test=None, at_once=False):
        self.draining, self.self_test, self.at_once = draining, self_test, at_once
        self.due = []  # channels with a request that will be answered at once
        self.finished = self.finished_before = 0  # requests
        limits = {"connection_limit": CONNECTIONS, "max_request_header_size": 16384, "ident": None}
        limits |= {"max_request_body_size": 16 * MAX_BODY, "clear_untrusted_proxy_headers": False}
        # more threads would only take the GIL from each other: on idle cores four answered a fifth as much
        adj = Adjustments(threads=0 if at_once else 1, cleanup_interval=1, **limits)
        sockinfo = (listener.family, listener.type, listener.proto, listener.getsockname())
        super().__init__(app, map={}, _sock=listener, adj=adj, sockinfo=sockinfo, bind_socket=False)

    def set_socket_options(self, connection):
        super().set_socket_options(connection)
        if self.draining.is_set():
            lowest_ttl(connection, 0)

    def run(self):
        """Serve until `draining` is set, then drain."""
        while not self.draining.is_set():
            self.turn(0.5)
        self.drain()

    def turn(self, timeout: float):
        """One round of the event loop: send, receive and accept what is ready, then answer what is due.
        The next request of a channel waits until its last answer is sent, so that no answer piles up."""
        if not all(channel.total_outbufs_len for channel in self.due):
            timeout = 0
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)
        due, self.due = self.due, []
        for channel in due:
            if channel.total_outbufs_len:
                self.due.append(channel)
            else:
                channel.service()

    def add_task(self, task):
        if self.at_once:
            self.due.append(task)
        else:
            super().add_task(task)

    def pull_trigger(self):
        """Wake the event loop; what runs in it need not."""
        if not self.at_once:
            super().pull_trigger()

    def stop(self, *_):
        """The handler of SIGTERM and SIGINT. Only the first one counts: a second may come after the close."""
        if not self.draining.is_set():
            self.draining.set()
            super().pull_trigger()

    def maintenance(self, now: float):
        """Once a second: cut off the slow and the idle, get past a stuck request, feed the watchdog."""
        crowded = self.in_connection_overflow  # then whoever only holds a place has to make room
        unfinished, idle = (2, 1) if crowded else (REQUEST_SECONDS, IDLE_SECONDS)
        for channel in list(self.active_channels.values()):
            if channel.request is not None and not channel.requests and now - channel.since > unfinished:
                channel.time_out()
            elif channel.is_idle() and now - channel.last_activity > idle:
                channel.will_close = True
        if self.task_dispatcher.queue and self.finished == self.finished_before:
            self.task_dispatcher.set_thread_count(THREADS_AT_NEED)
        self.finished_before = self.finished
        if self.self_test:
            if self.at_once:
                self.self_test.service()
            else:
                self.add_task(self.self_test)

    def drain(self):
        """Accept what is in the queue, refuse the rest, finish all that was accepted, then close."""
        notify("STOPPING=1")
        if not passed_by_systemd():  # a passed socket keeps its queue for the next process
            lowest_ttl(self.socket, 255)
            until = time.time() + HANDSHAKE_SECONDS
            while time.time() < until:
                self.turn(0.02)
                known = -1
                while known < len(self.active_channels):
                    known = len(self.active_channels)
                    self.handle_accept()
        wasyncore.dispatcher.close(self)
        self.task_dispatcher.set_thread_count(THREADS_AT_NEED)
        began = time.time()
        while self.active_channels and time.time() < began + DRAIN_SECONDS:
            self.turn(0.05)
            for channel in list(self.active_channels.values()):
                if channel.is_idle() and time.time() - max(began, channel.last_activity) > 0.5:
                    channel.will_close = True
        self.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)


def lowest_ttl(sock: socket.socket, ttl: int) -> None:
    """Drop what arrives with a lower TTL (Linux, ip(7) IP_MINTTL). Nearly everybody sends with 64 or 128.

    255 on a listening socket drops every SYN, while handshakes under way are completed: so nobody connects
    between the last accept and the close. A client whose SYN is dropped sends it again a second later: to
    nobody, or to the next process. Connections inherit the 255, and need a 0 again.
    """
    v6 = sock.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, 73) if v6 else (socket.IPPROTO_IP, 21)
    with suppress(OSError):
        sock.setsockopt(level, option, ttl)


class SelfTest:
    """A task for the worker threads: tells systemd's watchdog that they, and the model, still answer."""

    def __init__(self, model: Classifier):
        self.model = model

    def service(self):
        if can_classify(self.model):
            notify("WATCHDOG=1")

    def cancel(self):
        pass


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens where systemd did not ask for it."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.sendto(message.encode(), name.replace("@", "\0", 1) if name[0] == "@" else name)


def passed_by_systemd() -> bool:
    """Whether descriptor 3 is a listening socket that systemd opened for us (sd_listen_fds(3))."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "0") != "0"


def listening_socket(settings: Settings) -> socket.socket:
    """The socket that systemd passed, else a new one on HOST and PORT.
    Raises SettingError where this machine cannot listen, and FileExistsError where the port is taken."""
    if passed_by_systemd():
        return socket.socket(fileno=3)
    host, port = settings.host, settings.port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except PermissionError:
        raise SettingError(f"PORT: cannot listen on {port}; choose a port from 1024 on") from None
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            remedy = "stop the other program (ss -ltnp shows it) or set PORT"
            raise FileExistsError(f"PORT: {port} is taken; {remedy}") from None
        raise SettingError(
            f"HOST: cannot listen on {host[:80]!r}; write an address of this machine"
        ) from None


def main(arguments: list[str]) -> int:
    """Run the service; returns the exit status."""
    start_logging()
    if arguments not in ([], ["--check"]):
        print("usage: python server.py [--check]", file=sys.stderr)
        return 2
    try:
        settings = read_settings(os.environ, ROOT / ".env")
        path = ROOT / settings.model_path
        model = load(path, settings.model_sha256 or listed_digest(path))
        if arguments:
            return 0
        draining = threading.Event()
        listener = listening_socket(settings)
    except (SettingError, ArtefactError) as error:
        log.error("%s", error)
        return 78  # EX_CONFIG of sysexits.h
    except FileExistsError as error:
        log.error("%s", error)
        return 1
    self_test = SelfTest(model) if "WATCHDOG_USEC" in os.environ else None
    server = Server(build_app(settings, model, draining), listener, draining, self_test, model.prepared)
    signal.signal(signal.SIGTERM, server.stop)
    signal.signal(signal.SIGINT, server.stop)
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%d with %d classes of %s", host, port, len(model.classes), path.name)
    notify("READY=1")
    server.run()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a second one must not kill what is leaving already
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
