"""PixelWise: handwritten digits over HTTP, in one file.

    GET  /health                        can the service classify right now?    no key, never limited
    GET  /results                       past predictions (a stub for now)      no key, never limited
    POST /classify                      28 x 28 pixels in, a digit out         key, rate limit, JSON Schema
    GET  /openapi.json, /docs, /redoc   the contract, to read and to try       only with DEBUG=true

`python server.py` serves; its settings come from the environment or from `.env`, see SETTINGS.
`python server.py --check` only reads the settings, verifies and prepares the model, and leaves.
Exit status: 0 after SIGTERM or SIGINT, 1 it cannot listen at the moment, 78 a setting is bad.
In reading order: Settings, Contract, Filter, Routes, Errors, Logging, main. deploy/serving.py serves it.
"""

import os
import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"server.py needs Python 3.11 to 3.13, and this is {sys.version.split()[0]}")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads would fight with each other

import functools
import hmac
import importlib.util
import json
import logging
import math
import re
import threading
import time
from collections import namedtuple
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from urllib.parse import unquote

import jsonschema_rs
import numpy as np
import orjson
from bottle import Bottle, HTTPError, request, response, static_file

from deploy import journal, serving, systemd
from deploy.addresses import address_or_nothing, line_of, plain_address
from models.classifier import ArtefactError, Classifier, can_classify, listed_digest, load, model_version

ROOT = Path(__file__).resolve().parent
log = logging.getLogger("pixelwise")

# ---- Settings -------------------------------------------------------------------------------------------

EXAMPLE_KEY = "change-me-to-a-long-random-string"  # it stands in .env.example, so everybody knows it
BOOLEANS = {"true": True, "false": False}


class SettingError(ValueError):
    """A setting is bad. The message names its key and the remedy, and never the value of the API key."""


def port_number(text: str) -> int:
    return range(65536).index(int(re.fullmatch(r"[0-9]{1,5}", text)[0]))


def budget(text: str) -> tuple[int, int] | None:
    """How many requests in how many seconds: "30/minute" is (30, 60); "off" is None."""
    if text == "off":
        return None
    count, unit = re.fullmatch(r"([1-9][0-9]{0,8})/(second|minute|hour)", text).groups()
    return int(count), {"second": 1, "minute": 60, "hour": 3600}[unit]


SETTINGS = (  # key, default, how to read it (a pattern, or a function), what to do when that fails
    ("SECRET_API_KEY", "", r"[!-~]+", "set a long random key without spaces: openssl rand -hex 24"),
    ("DEBUG", "false", lambda text: BOOLEANS[text.lower()], "write true (for the documentation) or false"),
    ("MODEL_REPO", "", str, "write a git URL or nothing"),  # this one and the next are for setup-server.sh
    ("MODEL_VERSION", "", str, "write a tag of MODEL_REPO or nothing"),
    ("MODEL_PATH", "models/digit_classifier_v1.pkl", r".+", "name the file of an artefact"),
    ("MODEL_SHA256", "", r"|[0-9a-fA-F]{64}", "write the 64 hex digits that sha256sum prints"),
    ("HOST", "127.0.0.1", r"\S+", "write an address of this machine, or 0.0.0.0 for all of them"),
    ("PORT", "8000", port_number, "write a whole number from 0 to 65535 (0 is any free port)"),
    ("RATE_LIMIT", "30/minute", budget, "write N/second, N/minute, N/hour or off"),
    ("TRUSTED_PROXY", "", address_or_nothing, "write the IP address of your reverse proxy or nothing"),
)
Settings = namedtuple("Settings", [key.lower() for key, *_ in SETTINGS])


def read_settings(environ, env_file: Path | None = None) -> Settings:
    """The settings from `environ`, else from `env_file`, else the defaults. Raises SettingError."""
    values, lines, key_remedy = [], {}, SETTINGS[0][3]
    try:
        lines = systemd.read_environment_file(env_file) if env_file else {}
    except FileNotFoundError:
        key_remedy = f"there is no {env_file.name} here: run bash setup-server.sh"
    except PermissionError:  # as under systemd, where its values are in the environment
        key_remedy = f"{env_file} is another user's: sudo chown $(id -un) {env_file}"
    except (OSError, ValueError) as error:
        raise SettingError(str(error)) from None
    for key, default, read, remedy in SETTINGS:
        text = environ.get(key, lines.get(key, default))
        try:
            values.append(re.fullmatch(read, text)[0] if isinstance(read, str) else read(text))
        except (ValueError, LookupError, TypeError, AttributeError):
            shown = f"{text[:80]!r} is not allowed"
            if key == "SECRET_API_KEY":
                shown, remedy = ("not allowed", remedy) if text else ("missing", key_remedy)
            raise SettingError(f"{key}: {shown}; {remedy}") from None
    settings = Settings(*values)
    if settings.secret_api_key == EXAMPLE_KEY and not settings.debug:
        raise SettingError(f"SECRET_API_KEY: this is the example's; {SETTINGS[0][3]}")
    return settings


# ---- Contract: what schemas/ says goes in and comes out -------------------------------------------------

SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in ROOT.glob("schemas/*.json")}
OPENAPI = SCHEMAS.pop("openapi")
MAX_BODY = 64 * 1024  # bytes
MAX_DEPTH = 32  # arrays and objects inside each other
STRING = re.compile(rb'(?s)"(?:[^"\\]|\\.)*+"?')


@functools.cache
def validator(name: str):
    """The judge for schemas/<name>.json: its `validate` raises jsonschema_rs.ValidationError at the first
    problem."""
    return jsonschema_rs.Draft202012Validator(SCHEMAS[name])


def accepted_pixels(body: bytes) -> np.ndarray:
    """Stage 4. The picture in the body: uint8, shape (1, 28, 28). Raises 422 for what `parse_json` cannot
    read and for what classify.request refuses: a list of one object, what `explain` says of the problem."""
    document = parse_json(body)
    try:
        validator("classify.request").validate(document)
    except jsonschema_rs.ValidationError as error:
        raise HTTPError(422, [explain(error)]) from None
    return np.fromiter(chain.from_iterable(document["pixels"]), np.uint8).reshape(1, 28, 28)


def parse_json(body: bytes):
    """The document in strict JSON (RFC 8259): UTF-8, finite numbers, no key twice, not deep. Raises 422."""
    bare = STRING.sub(b"", body)
    if bare.count(b"[") + bare.count(b"{") > MAX_DEPTH and depth(bare) > MAX_DEPTH:
        raise not_json(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        words = {"infinity": "a number is too large", "UTF-8": "it is not plain UTF-8"}
        what = next((words[word] for word in words if word in error.msg), "unexpected text")
        raise not_json(f"{what} at line {error.lineno}, column {error.colno}", error.pos) from None
    keys, at_the_top = bare.count(b":"), len(document) if isinstance(document, dict) else 0
    if keys != at_the_top and keys > STRING.sub(b"", orjson.dumps(document)).count(b":"):
        raise not_json("a key stands twice in one object")
    return document


def depth(bare: bytes) -> int:
    """How many arrays and objects stand inside each other in a JSON text without its strings, at most."""
    marks = np.frombuffer(bare, np.uint8)
    steps = np.isin(marks, list(b"[{")).astype(int) - np.isin(marks, list(b"]}"))
    return steps.cumsum().max(initial=0)


def not_json(reason: str, *position: int) -> HTTPError:
    return HTTPError(
        422, [{"type": "json_invalid", "loc": ["body", *position], "msg": f"not JSON: {reason}"}]
    )


def explain(error: jsonschema_rs.ValidationError) -> dict:
    """The first problem as an entry of `detail`: {type, loc, msg}, echoing next to nothing."""
    word, rule, value = error.kind.name, getattr(error.kind, "value", None), error.instance
    names, loc = rule if isinstance(rule, list) else [rule], ["body", *error.instance_path]
    if word in ("required", "additionalProperties"):
        loc.append(names[0][:40])
    shown = "an object" if isinstance(value, dict) else ""
    shown = f"an array of {len(value)}" if isinstance(value, list) else shown or json.dumps(value)
    shown = shown if len(shown) <= 40 else shown[:39] + "…"
    sentences = {
        "type": f"{shown} is not of type {' or '.join(map(str, names))}",
        "minimum": f"{shown} is less than the minimum of {rule}",
        "maximum": f"{shown} is greater than the maximum of {rule}",
        "minItems": f"{shown} is too short: {rule} items are needed",
        "maxItems": f"{shown} is too long: {rule} items are needed",
        "required": "this field is missing",
        "additionalProperties": "there is no such field",
    }
    return {"type": word, "loc": loc, "msg": sentences.get(word, f"{shown} is not allowed")}


def answer(name: str, body: dict) -> bytes:
    """`body` as JSON in bytes, with its content type, less what schemas/<name>.json does not declare.
    Raises jsonschema_rs.ValidationError where the rest is not what that schema says."""
    response.content_type = "application/json"
    declared = {field: body[field] for field in SCHEMAS[name]["properties"] if field in body}
    validator(name).validate(declared)
    return orjson.dumps(declared)


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

    The table of clients is a dict in the order in which their windows opened. When it holds `capacity`,
    the tenth whose windows opened first is forgotten."""

    def __init__(self, count: int, seconds: int, capacity: int = 10_000, clock=time.monotonic):
        self.count, self.seconds, self.capacity, self.clock = count, seconds, capacity, clock
        self.windows: dict[str, tuple[int, float]] = {}  # client: (requests admitted, end of the window)
        self.lock = threading.Lock()

    def hit(self, client: str, cost: int = 1) -> tuple[bool, int, int]:
        """Count a request: is it admitted, how many are left, and in how many seconds (whole ones, rounded
        up, at least 1) does the window end? With cost=0 only look. A refusal leaves the window as it is."""
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


def within_budget(limiter: RateLimiter | None, environ) -> None:
    """Stage 1. Raises 429 when the client has used up its window; every answer shows what is left."""
    if limiter is None:
        return
    admitted, left, seconds = limiter.hit(line_of(environ["pixelwise.client"]))
    environ["pixelwise.headers"] = limiter.headers(left, seconds)
    if not admitted:
        allowed = f"{limiter.count} requests in {limiter.seconds} seconds"
        detail = f"{allowed} are allowed, and they are used up: try again in {seconds} seconds"
        raise HTTPError(429, detail, retry_after=str(seconds))


def authenticate(environ, secret: str) -> None:
    """Stage 2. Raises 401, with WWW-Authenticate: ApiKey realm="pixelwise", unless X-API-Key is the secret;
    missing and wrong alike, whatever characters were sent, in a time that gives nothing away."""
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
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise HTTPError(415, "send the body as it is, without a Content-Encoding")
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


def add_documentation(app: Bottle) -> None:
    """/openapi.json, Swagger UI at /docs and ReDoc at /redoc; the package offapi ships both, so no CDN."""
    assets = Path(importlib.util.find_spec("offapi").origin).parent
    document = json.dumps(openapi(), ensure_ascii=False)

    @app.route("/openapi.json", ["GET", "HEAD"])
    def openapi_json():
        response.content_type = "application/json"
        return document

    files = {path: ROOT / "schemas" / f"{path[1:]}.html" for path in ("/docs", "/redoc")}
    for name in ("swagger_bundle.js", "swagger_style.css", "redoc.js"):
        files[f"/docs/{name}"] = assets / name
    for path, file in files.items():
        app.route(path, ["GET", "HEAD"], functools.partial(static_file, file.name, file.parent))


# ---- Errors: JSON, always -------------------------------------------------------------------------------

SENTENCES = {  # for what Bottle refuses on its own; serving.SENTENCES are for what is no valid request
    404: "there is nothing at this path: ask GET /health, GET /results or POST /classify",
    405: "this path does not know this method: the header Allow lists those that it knows",
    500: "the server failed: report the X-Request-ID of this answer to its operator",
}
PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}  # RFC 9110's; older Pythons have others


def error_as_json(error: HTTPError) -> str:
    """Bottle's default_error_handler: the body {"detail": …} for every error, and the reason for the log."""
    error.__traceback__ = error.__context__ = None  # circles, which would keep the body until a collection
    detail = why = SENTENCES.get(error.status_code, error.body)
    if error.status_code == 422:  # what the client wrote stays out of the log
        where = "/".join(str(step) for step in detail[0]["loc"] if step in ("body", "pixels", *range(28)))
        why = f"{detail[0]['type']} at {where}"
    request.environ["pixelwise.why"] = why
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


def with_request_log(app, settings: Settings, limiter: RateLimiter | None):
    """`app` as a WSGI application: every answer gets a request ID, and a line in the log that names it."""

    def application(environ, start_response):
        began, request_id, status = time.perf_counter(), os.urandom(8).hex(), ""
        client = environ["pixelwise.client"] = client_address(environ, settings)

        def start(line: str, headers: list, exc_info=None):
            nonlocal status
            status = line[:3]
            if limiter and environ["PATH_INFO"] == "/classify" and "pixelwise.headers" not in environ:
                with suppress(Exception):  # of a limiter that is broken: without, then
                    environ["pixelwise.headers"] = limiter.headers(*limiter.hit(line_of(client), cost=0)[1:])
            headers += [("X-Request-ID", request_id), ("X-Content-Type-Options", "nosniff")]
            line = f"{status} {PHRASES.get(int(status), line[4:])}"
            return start_response(line, headers + environ.get("pixelwise.headers", []), exc_info)

        try:
            body = app(environ, start)
        except Exception:
            log.exception("request %s failed", request_id)
            environ["pixelwise.why"] = SENTENCES[500]
            start("500 Internal Server Error", [("Content-Type", "application/json")])
            body = [json.dumps({"detail": SENTENCES[500]}).encode()]
        path = environ["REQUEST_URI"].partition("?")[0][:200]  # a query may hold a key
        took = (time.perf_counter() - began) * 1000
        why = environ.get("pixelwise.why") or environ.get("serving.why", "")
        line = f"{client} {environ['REQUEST_METHOD']} {path} {status} {took:.1f}ms {request_id} {why}"
        ours = status >= "500" and "serving.error" not in environ  # 501 and 503 are a client's, too
        journal.write(3 if ours else 4 if status >= "400" else 6, line.rstrip())
        return body

    return application


# ---- Main -----------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Run the service; returns the exit status."""
    journal.start()
    if arguments not in ([], ["--check"]):
        print("usage: python server.py [--check]", file=sys.stderr)
        return 2
    try:
        settings = read_settings(os.environ, ROOT / ".env")
        path = ROOT / settings.model_path
        model = load(path, settings.model_sha256 or listed_digest(path))
        if arguments:
            return 0
        listener = systemd.listen(settings.host, settings.port)
    except (SettingError, ArtefactError, systemd.CannotListen) as error:
        log.error("%s", error)
        return 1 if getattr(error, "for_now", False) else 78  # EX_CONFIG of sysexits.h
    draining = threading.Event()
    serving.serve(
        build_app(settings, model, draining),
        listener,
        broken=with_request_log(serving.answer_broken, settings, None),
        draining=draining,
        alive=functools.partial(can_classify, model),
        at_once=model.prepared,
        max_body=MAX_BODY,
        trusted=settings.trusted_proxy,
        greeting=f"with {len(model.classes)} classes of {path.name}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
