"""Small servers with a fourth endpoint: correct ones, and for each fault one that has it.

    with serving(Site("/feedback")) as url: …          the standard library, a document by hand
    with serving_fastapi() as url: …                              all three endpoints in FastAPI

`FAULTS` is the table: a name, the endpoint, what it spoils in a Site, and which checks have to see it.
"""

import contextlib
import copy
import hashlib
import json
import socket
import threading
from collections.abc import Callable
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


# ---- Faults ---------------------------------------------------------------------------------------------

DOCUMENTED = "the fourth endpoint is documented"
PROMISES = "it promises its answers"
ANSWERS = "it answers as promised"
REFUSES = "a bad body is refused"
TWICE = "it says the same twice"
GUARDED = "it asks for the key"
METHOD = "a wrong method gets 405"
VERSIONS = "version and health agree"
NOTHING = "feedback that says nothing is refused"
EVERY = "a batch has an answer for every picture"
AGREES = "a batch agrees with classify"
TOO_LARGE = "a batch too large is refused"
RESULTS = "it leaves the results alone"


@dataclass
class Fault:
    name: str
    path: str
    spoil: Callable[[Site], None]
    checks: set[str]


FAULTS: list[Fault] = []


def fault(name: str, path: str, *checks: str):
    """Declare a fault of the endpoint on `path` that exactly these checks see."""

    def keep(spoil):
        FAULTS.append(Fault(name, path, spoil, set(checks)))
        return spoil

    return keep


def operation_of(site: Site) -> dict:
    return site.document["paths"][site.path][site.method.lower()]


@fault("no summary, no description", "/version", DOCUMENTED)
def silent(site):
    del operation_of(site)["summary"]


@fault("under the wrong method", "/version", DOCUMENTED)
def posted(site):
    site.document["paths"]["/version"] = {"post": operation_of(site)}


@fault("a document that refers to itself", "/feedback", DOCUMENTED)
def circular(site):
    site.document["paths"]["/feedback"] = {"$ref": "#/paths/~1feedback"}


@fault("a document that is HTML", "/version", DOCUMENTED)
def html_document(site):
    site.documentation = lambda: Reply(
        200, raw=b"<!doctype html><title>Swagger</title>", media_type="text/html"
    )


@fault("a document without end", "/version", DOCUMENTED)
def endless(site):
    site.documentation = lambda: Reply(200, raw=b'{"openapi": "' + b"3" * 9_000_000)


@fault("a document nested deeply", "/version", DOCUMENTED)
def deep(site):
    site.documentation = lambda: Reply(200, raw=b'{"a":' + b"[" * 200 + b"]" * 200 + b"}")


@fault("/openapi.json breaks", "/version", DOCUMENTED)
def broken_document(site):
    site.documentation = lambda: error(500, "oops")


@fault("an empty schema for success", "/version", PROMISES)
def empty_schema(site):
    operation_of(site)["responses"]["200"]["content"]["application/json"]["schema"] = {}


@fault("no schema for the body", "/feedback", PROMISES)
def no_body_schema(site):
    del operation_of(site)["requestBody"]


@fault("no 4xx in the document", "/feedback", PROMISES)
def no_errors(site):
    operation_of(site)["responses"] = {"201": in_json("Receipt", "Kept.")}


@fault("a schema with an unknown type", "/classify/batch", PROMISES)
def no_such_type(site):
    site.document["components"]["schemas"]["Batch"] = {"type": "pictures"}


@fault("answers that refer to themselves", "/version", ANSWERS)
def circular_schema(site):
    site.document["components"]["schemas"]["Version"] = {
        "type": "object",
        "allOf": [{"$ref": "#/components/schemas/Version"}],
    }


@fault("another success than documented", "/feedback", ANSWERS)
def another_success(site):
    site.receipt = lambda: Reply(200, {"id": "feedback-1"})


@fault("another shape than documented", "/version", ANSWERS)
def another_shape(site):
    site.version = lambda: Reply(200, {"build": "39eab9b", "model": "v1"})


@fault("another media type than documented", "/version", ANSWERS)
def another_media_type(site):
    correct = site.version
    site.version = lambda: Reply(200, correct().value, media_type="text/plain")


@fault("500 where all is well", "/classify/batch", ANSWERS)
def always_500(site):
    site.answers = lambda pictures: [None] * len(pictures)


@fault("500 for a bad body", "/feedback", REFUSES)
def bad_body_500(site):
    site.refuse = lambda reason: error(500, "KeyError")


@fault("200 for a bad body", "/classify/batch", REFUSES)
def bad_body_200(site):
    site.refuse = lambda reason: Reply(200, {"answers": []})


@fault("an undocumented status for a bad body", "/feedback", REFUSES)
def undocumented(site):
    site.refuse = lambda reason: error(400, reason)


@fault("401 for a bad body", "/feedback", REFUSES)
def bad_body_401(site):
    site.refuse = lambda reason: error(401, reason)


@fault("an HTML error", "/feedback", REFUSES)
def html_error(site):
    site.refuse = lambda reason: Reply(422, raw=b"<h1>Unprocessable</h1>", media_type="text/html")


@fault("an error of another shape", "/classify/batch", REFUSES)
def another_error(site):
    site.refuse = lambda reason: Reply(422, {"error": reason})


@fault("500 for what is no JSON", "/feedback", REFUSES)
def no_json_500(site):
    site.not_json = lambda: error(500, "JSONDecodeError")


@fault("a counter in the version", "/version", TWICE)
def counter(site):
    builds = iter(range(10**6, 10**7))
    correct = site.version
    site.version = lambda: Reply(200, correct().value | {"build": str(next(builds))})


@fault("a batch without the key", "/classify/batch", GUARDED)
def unguarded(site):
    del operation_of(site)["security"]
    site.lets_in = lambda request: True


@fault("any key will do", "/feedback", GUARDED)
def any_key(site):
    site.lets_in = lambda request: "x-api-key" in request.headers


@fault("500 without the key", "/feedback", GUARDED)
def no_key_500(site):
    site.unauthorized = lambda: error(500, "KeyError")


@fault("405 without Allow", "/version", METHOD)
def no_allow(site):
    site.wrong_method = lambda: error(405, "use GET")


@fault("404 for a wrong method", "/classify/batch", METHOD)
def wrong_method_404(site):
    site.wrong_method = lambda: error(404, "there is nothing here")


@fault("405 in HTML", "/feedback", METHOD)
def html_405(site):
    page = b"<!doctype html><title>405</title>"
    site.wrong_method = lambda: Reply(405, raw=page, media_type="text/html", headers={"Allow": "POST"})


@fault("another version than /health", "/version", VERSIONS)
def another_version(site):
    site.model_version = "v1.2"


@fault("a build that is called like the model", "/version", VERSIONS)
def build_like_the_model(site):
    site.document["components"]["schemas"]["Version"]["properties"]["build"] = {"type": "string"}
    site.version = lambda: Reply(200, {"build": "v1", "model_version": "v2", "model_sha256": "0a" * 32})


@fault("feedback without required fields", "/feedback", NOTHING)
def nothing_required(site):
    schema = site.document["components"]["schemas"]["Feedback"]
    schema["required"] = []
    del schema["additionalProperties"]
    correct = site.feedback

    def feedback(body):
        full = {"predicted": "7", "correct": "1"}
        known = {name: body[name] for name in full if name in body} if isinstance(body, dict) else body
        return correct(full | known if isinstance(known, dict) else known)

    site.feedback = feedback


@fault("one answer short", "/classify/batch", EVERY)
def one_short(site):
    correct = site.answers
    site.answers = lambda pictures: correct(pictures)[: max(1, len(pictures) - 1)]


@fault("answers in another order", "/classify/batch", AGREES)
def another_order(site):
    correct = site.answers
    site.answers = lambda pictures: correct(pictures)[::-1]


@fault("other scores than /classify", "/classify/batch", AGREES)
def other_scores(site):
    correct = site.answers
    site.answers = lambda pictures: [
        answer | {"scores": {name: score + 1e-4 for name, score in answer["scores"].items()}}
        for answer in correct(pictures)
    ]


@fault("a limit in the document alone", "/classify/batch", TOO_LARGE)
def unlimited(site):
    site.too_many = lambda: Reply(200, {"answers": []})


@fault("500 for a large batch", "/classify/batch", TOO_LARGE)
def large_500(site):
    site.too_many = lambda: error(500, "MemoryError")


@fault("it adds to /results", "/feedback", RESULTS)
def adds_results(site):
    correct = site.receipt

    def receipt():
        site.results = site.results | {"results": [*site.results["results"], "feedback-1"]}
        return correct()

    site.receipt = receipt


@fault("it changes /results once", "/feedback", RESULTS)
def changes_results(site):
    correct = site.receipt

    def receipt():
        site.results = STUB | {"note": "there is feedback"}
        return correct()

    site.receipt = receipt


# ---- FastAPI --------------------------------------------------------------------------------------------


def fastapi_app(key: str):
    """All three endpoints as a student would write them with FastAPI: pydantic, lax as it is."""
    from typing import Annotated, Literal

    from fastapi import Depends, FastAPI, Header, HTTPException
    from pydantic import BaseModel, Field

    pixel = Annotated[int, Field(ge=0, le=255)]
    row = Annotated[list[pixel], Field(min_length=28, max_length=28)]
    digit = Literal[tuple("0123456789")]

    class Picture(BaseModel):
        pixels: Annotated[list[row], Field(min_length=28, max_length=28)]

    class Pictures(BaseModel):
        images: Annotated[list[Picture], Field(min_length=1, max_length=4)]

    class Answer(BaseModel):
        prediction: str
        confidence: float
        scores: dict[str, float]

    class Answers(BaseModel):
        results: list[Answer]

    class Version(BaseModel):
        version: str
        model_version: str

    class Feedback(BaseModel):
        predicted: digit
        correct: digit
        comment: str | None = None

    class Receipt(BaseModel):
        status: str

    def verify_api_key(x_api_key: Annotated[str, Header()]):
        if x_api_key != key:
            raise HTTPException(401, "Invalid API key")

    app = FastAPI()
    guard = [Depends(verify_api_key)]

    @app.get("/health")
    def health():
        return {"status": "ok", "model_version": "v1"}

    @app.get("/results")
    def results():
        return STUB

    @app.post("/classify", response_model=Answer, dependencies=guard)
    def classify_one(picture: Picture):
        return classify(picture.pixels)

    @app.post("/classify/batch", response_model=Answers, dependencies=guard)
    def classify_batch(pictures: Pictures):
        return {"results": [classify(picture.pixels) for picture in pictures.images]}

    @app.get("/version", response_model=Version)
    def version():
        return {"version": "0.5", "model_version": "v1"}

    @app.post("/feedback", response_model=Receipt, status_code=202)
    def feedback(feedback: Feedback):
        return {"status": "noted"}

    return app


@contextlib.contextmanager
def serving_fastapi(key: str = KEY):
    """Serve fastapi_app by uvicorn on a free port; yields its address."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:  # it queues who comes before uvicorn is up
        server = uvicorn.Server(
            uvicorn.Config(fastapi_app(key), log_level="warning", timeout_graceful_shutdown=2)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
