"""A small server with a fourth endpoint, on the standard library, its document written by hand.

with serving(Site("/feedback")) as url: …          a correct one; fourth_faults.py spoils it
"""

import contextlib
import copy
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "a-key-for-tests"
STUB = {"results": [], "note": "persistence not yet implemented"}
MAX_PICTURES = 6


def classify(picture: list) -> dict:
    """A fake classifier: other pictures get other scores, and often another prediction."""
    digest = hashlib.sha256(json.dumps(picture).encode()).digest()
    scores = {str(digit): byte / sum(digest[:10]) for digit, byte in enumerate(digest[:10])}
    prediction = max(scores, key=scores.get)
    return {"prediction": prediction, "confidence": scores[prediction], "scores": scores}


# ---- The document, by hand ------------------------------------------------------------------------------


def in_json(name: str, description: str) -> dict:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def errors(*statuses: str) -> dict:
    return {status: in_json("Error", "Refused.") for status in statuses}


def taking(name: str) -> dict:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def an_object(**properties) -> dict:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


DIGIT = {"type": "string", "enum": list("0123456789")}
ROW = {
    "type": "array",
    "minItems": 28,
    "maxItems": 28,
    "items": {"type": "integer", "minimum": 0, "maximum": 255},
}
GUARD = [{"key": []}]
SCHEMAS = {
    "Error": an_object(detail={"type": "string", "minLength": 1}),
    "Version": an_object(
        build={"type": "string", "pattern": "^[0-9a-f]{7}$"},
        model_version={"type": "string"},
        model_sha256={"type": "string", "minLength": 64, "maxLength": 64},
    ),
    "Feedback": an_object(predicted=DIGIT, correct=DIGIT),
    "Receipt": an_object(id={"type": "string"}),
    "Picture": {"type": "array", "minItems": 28, "maxItems": 28, "items": ROW},
    "Batch": an_object(
        pictures={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_PICTURES,
            "items": an_object(pixels={"$ref": "#/components/schemas/Picture"}),
        }
    ),
    "Answers": an_object(answers={"type": "array", "items": {"$ref": "#/components/schemas/Answer"}}),
    "Answer": an_object(
        prediction={"type": "string"},
        confidence={"type": "number", "minimum": 0, "maximum": 1},
        scores={"type": "object", "additionalProperties": {"type": "number"}},
    ),
}
OPERATIONS = {
    "/version": {
        "get": {"summary": "What runs here", "responses": {"200": in_json("Version", "The build.")}}
    },
    "/feedback": {
        "post": {
            "description": "Flags a wrong prediction.",
            "security": GUARD,
            "requestBody": taking("Feedback"),
            "responses": {"201": in_json("Receipt", "Kept.")} | errors("401", "422"),
        }
    },
    "/classify/batch": {
        "post": {
            "summary": "Many pictures at once",
            "security": GUARD,
            "requestBody": taking("Batch"),
            "responses": {"200": in_json("Answers", "In order.")} | errors("401", "413", "422"),
        }
    },
}


def document_of(*paths: str) -> dict:
    """The OpenAPI document of a server with these endpoints, a fresh copy."""
    guard = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "PixelWise", "version": "0.5"},
        "paths": {"/health": {"get": {"responses": {"200": {"description": "Alive."}}}}},
        "components": {"schemas": SCHEMAS, "securitySchemes": guard},
    }
    document["paths"] |= {path: OPERATIONS[path] for path in paths}
    return copy.deepcopy(document)


# ---- The server -----------------------------------------------------------------------------------------


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: bytes

    @property
    def has_key(self) -> bool:
        return self.headers.get("x-api-key") == KEY


@dataclass
class Reply:
    status: int
    value: object = None  # as JSON
    media_type: str = "application/json"
    headers: dict = field(default_factory=dict)
    raw: bytes | None = None  # instead of the value

    def content(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return b"" if self.value is None else json.dumps(self.value).encode()


def error(status: int, detail: str) -> Reply:
    return Reply(status, {"detail": detail})


class Site:
    """A correct server of the contract with a fourth endpoint; faults replace its attributes."""

    def __init__(self, path: str):
        self.path, self.document, self.results = path, document_of(path), STUB
        self.method = "POST" if path != "/version" else "GET"
        self.model_version = "v1"

    def answer(self, request: Request) -> Reply:
        routes = {
            "/health": lambda: Reply(200, {"status": "ok", "model_version": "v1"}),
            "/results": lambda: Reply(200, self.results),
            "/classify": lambda: Reply(200, classify(json.loads(request.body)["pixels"])),
            "/openapi.json": self.documentation,
            self.path: lambda: self.fourth(request),
        }
        return routes.get(request.path, lambda: error(404, "there is nothing here"))()

    def documentation(self) -> Reply:
        return Reply(200, self.document)

    def fourth(self, request: Request) -> Reply:
        if request.method != self.method:
            return self.wrong_method()
        if self.method == "GET":
            return self.version()
        if not self.lets_in(request):
            return self.unauthorized()
        try:
            body = json.loads(request.body)
        except ValueError:
            return self.not_json()
        return self.feedback(body) if self.path == "/feedback" else self.batch(body)

    def wrong_method(self) -> Reply:
        return Reply(405, {"detail": f"use {self.method}"}, headers={"Allow": self.method})

    def lets_in(self, request: Request) -> bool:
        return request.has_key

    def unauthorized(self) -> Reply:
        return error(401, "send the key in X-API-Key")

    def not_json(self) -> Reply:
        return self.refuse("not JSON")

    def refuse(self, reason: str) -> Reply:
        return error(422, reason)

    def version(self) -> Reply:
        return Reply(
            200, {"build": "39eab9b", "model_version": self.model_version, "model_sha256": "0a" * 32}
        )

    def feedback(self, body) -> Reply:
        if not isinstance(body, dict) or set(body) != {"predicted", "correct"}:
            return self.refuse("say predicted and correct")
        if not all(isinstance(value, str) and value in DIGIT["enum"] for value in body.values()):
            return self.refuse("a digit is a string")
        return self.receipt()

    def receipt(self) -> Reply:
        return Reply(201, {"id": "feedback-1"})

    def batch(self, body) -> Reply:
        pictures = body.get("pictures") if isinstance(body, dict) and set(body) == {"pictures"} else None
        if not isinstance(pictures, list) or not pictures or not all(map(is_picture, pictures)):
            return self.refuse("send pictures")
        if len(pictures) > MAX_PICTURES:
            return self.too_many()
        return Reply(200, {"answers": self.answers([each["pixels"] for each in pictures])})

    def too_many(self) -> Reply:
        return error(413, f"send at most {MAX_PICTURES} pictures")

    def answers(self, pictures: list) -> list:
        return [classify(picture) for picture in pictures]


def is_picture(item) -> bool:
    if not isinstance(item, dict) or set(item) != {"pixels"}:
        return False
    rows = item["pixels"]
    shaped = isinstance(rows, list) and len(rows) == 28
    return shaped and all(
        isinstance(row, list)
        and len(row) == 28
        and all(type(pixel) is int and 0 <= pixel <= 255 for pixel in row)
        for row in rows
    )


class Handler(BaseHTTPRequestHandler):
    """Hands a request to the site, and writes its reply at once."""

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.site.answer(Request(self.command, self.path, headers, self.rfile.read(length)))
        lines = {"Content-Type": reply.media_type} | reply.headers
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.wfile.write(f"HTTP/1.0 {reply.status} -\r\n{head}\r\n".encode() + reply.content())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a check hung up on it, as on the endless document


@contextlib.contextmanager
def serving(site: Site):
    """Serve the site on a free port; yields its address."""
    server = Server(("127.0.0.1", 0), Handler)
    server.site = site
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
