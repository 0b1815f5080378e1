"""A correct server of the contract on Flask: the checks must not care what a server is made of."""

import hmac
import json
import math
import threading
import time
import uuid

import numpy as np
from contract import COUNT, KEY, SECONDS, budget, parsed, what_is_wrong_with
from flask import Flask, Response, abort, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server

from models.classifier import classify_batch

app = Flask(__name__)
app.url_map.strict_slashes = True
windows: dict[str, tuple[int, float]] = {}
lock = threading.Lock()


def as_json(document, status=200, headers=()):
    return Response(json.dumps(document), status, headers, mimetype="application/json")


def refuse(status, detail, **headers):
    abort(
        as_json(
            {"detail": detail}, status, {name.replace("_", "-"): value for name, value in headers.items()}
        )
    )


def within_budget():
    with lock:
        now = time.monotonic()
        used, end = windows.get(request.remote_addr, (0, 0))
        used, end = (used, end) if end > now else (0, now + SECONDS)
        windows[request.remote_addr] = (used + 1, end)
    seconds = max(1, math.ceil(end - now))
    g.budget = budget(max(0, COUNT - used - 1), seconds)
    if used >= COUNT:
        refuse(429, "too many requests", Retry_After=str(seconds))


def invalid(kind, loc, message):
    refuse(422, [{"type": kind, "loc": ["body", *loc], "msg": message}])


def picture():
    try:
        document = parsed(request.get_data())
    except (ValueError, RecursionError):
        invalid("json_invalid", [], "not JSON")
    if not isinstance(document, dict) or "pixels" not in document:
        invalid("required", ["pixels"], "this field is missing")
    if len(document) > 1:
        invalid("additionalProperties", [], "there is an unknown field")
    rows = document["pixels"]
    if not isinstance(rows, list) or len(rows) != 28:
        invalid("minItems", ["pixels"], "28 rows are needed")
    if wrong := what_is_wrong_with(rows):
        invalid("type", *wrong)
    return np.array(rows, dtype=np.uint8).reshape(1, 28, 28)


@app.get("/health")
def health():
    return as_json({"status": "ok", "model_version": "v1"})


@app.get("/results")
def results():
    return as_json({"results": [], "note": "persistence not yet implemented"})


@app.post("/classify")
def classify():
    within_budget()
    if not hmac.compare_digest(request.headers.get("X-API-Key", "").encode(), KEY.encode()):
        refuse(401, "send the API key in X-API-Key", WWW_Authenticate='ApiKey realm="pixelwise"')
    if (request.content_length or 0) > 64 * 1024:
        refuse(413, "over 64 KiB")
    if request.mimetype != "application/json":
        refuse(415, "send application/json")
    return as_json(classify_batch(picture())[0])


@app.errorhandler(HTTPException)
def error(problem):
    if problem.response is not None:
        return problem.response
    headers = [pair for pair in problem.get_headers() if pair[0].lower() == "allow"]
    return as_json({"detail": problem.description}, problem.code, headers)


@app.after_request
def finish(response):
    response.headers.extend({"X-Request-ID": uuid.uuid4().hex, "X-Content-Type-Options": "nosniff"})
    response.headers.extend(g.get("budget", {}))
    return response


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()
