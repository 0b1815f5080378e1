"""The table of faults: each is the correct server with one thing wrong, and names the checks that catch it.

`debug` says in which of the two modes the server is graded.
"""

import functools
import json
import math
import os
import random
import threading
import time
from dataclasses import dataclass

import numpy as np

from faulty.service import SCHEMAS, Refusal, Response, Service

FAULTS: dict[str, "Fault"] = {}
RIGHT: dict[str, type[Service]] = {}  # no fault, though it is not what server.py does


@dataclass
class Fault:
    name: str
    kind: type[Service]
    caught_by: frozenset[str]
    debug: bool


def fault(name: str, *caught_by: str, debug: bool = False):
    def register(kind):
        assert name not in FAULTS and caught_by
        FAULTS[name] = Fault(name, kind, frozenset(caught_by), debug)
        return kind

    return register


def right(name: str):
    def register(kind):
        RIGHT[name] = kind
        return kind

    return register


@right("422 for a missing field leads to the object that lacks it, as jsonschema's path does")
class _(Service):
    def invalid(self, kind, loc, message):
        return super().invalid(kind, [] if kind == "required" else loc, message)


@right("the model knows no 0")
class _(Service):
    def shaped(self, answered):
        scores = {name: score + 1e-9 for name, score in answered["scores"].items() if name != "0"}
        scores = {name: score / sum(scores.values()) for name, score in scores.items()}
        best = max(scores, key=scores.get)
        return {"prediction": best, "confidence": scores[best], "scores": scores}


# ---- m1 -------------------------------------------------------------------------------------------------


@fault("health is 500", "m1.health answers")
class _(Service):
    def health(self, request):
        raise RuntimeError


@fault("health is 204", "m1.health answers")
class _(Service):
    def health(self, request):
        return Response(204, None)


@fault("slow by three seconds", "m1.answers come in time")
class _(Service):
    def dispatch(self, request):
        time.sleep(3)
        return super().dispatch(request)


@fault("results is missing", "m1.results answers")
class _(Service):
    def routes(self):
        return {path: verbs for path, verbs in super().routes().items() if path != "/results"}


@fault("results is not implemented", "m1.results answers")
class _(Service):
    def results(self, request):
        raise Refusal(501, "not implemented")


@fault("chunked garbage", "m1.results answers")
class _(Service):
    def results(self, request):
        return Response(
            200, raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n{}\r\n0\r\n\r\n"
        )


@fault("the answer ends too early", "m1.results answers")
class _(Service):
    def results(self, request):
        return Response(200, raw=b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"results"')


@fault("results is text", "m1.answers are json")
class _(Service):
    def results(self, request):
        return Response(200, html="persistence not yet implemented", headers={"Content-Type": "text/plain"})


@fault("json without its media type", "m1.answers are json")
class _(Service):
    def encoded(self, request, response):
        return super().encoded(request, response).replace(b"Type: application/json", b"Type: text/html")


@fault("no media type at all", "m1.answers are json")
class _(Service):
    def finished(self, response):
        if response.status == 200:
            response.headers["Content-Type"] = None
        return super().finished(response)


@fault("every unknown path is health", "m1.an unknown path gets 404", "m1.a slash at the end is another path")
class _(Service):
    def dispatch(self, request):
        known = request.path in ("/docs", "/redoc", "/openapi.json", *self.routes())
        return super().dispatch(request) if known else self.health(request)


@fault(
    "200 with an error in the body", "m1.an unknown path gets 404", "m1.a slash at the end is another path"
)
class _(Service):
    def error(self, status, detail, headers):
        return super().error(200 if status == 404 else status, detail, headers)

    def dispatch(self, request):
        if request.path in ("/docs", "/redoc", "/openapi.json"):
            return Response(404, {"detail": "there is nothing at this path"})
        return super().dispatch(request)


@fault("errors are HTML", "m1.errors are json")
class _(Service):
    def error(self, status, detail, headers):
        if status in (404, 405):
            return Response(status, html=f"<!doctype html><h1>{status}</h1>", headers=headers)
        return super().error(status, detail, headers)


@fault("errors have another shape", "m1.errors are json")
class _(Service):
    def error(self, status, detail, headers):
        if isinstance(detail, list) or status == 429:
            return super().error(status, detail, headers)
        return Response(status, {"error": detail}, headers)


@fault("an error without a sentence", "m1.errors are json")
class _(Service):
    def error(self, status, detail, headers):
        return super().error(status, "" if status == 404 else detail, headers)


@fault("404 for 405", "m1.a wrong verb gets 405")
class _(Service):
    def wrong_verb(self, verbs):
        return Refusal(404, "not found")


@fault("every verb is welcome", "m1.a wrong verb gets 405")
class _(Service):
    def dispatch(self, request):
        if request.path in ("/health", "/results"):
            request.method = "GET" if request.method != "HEAD" else "HEAD"
        return super().dispatch(request)


@fault("no Allow", "m1.405 names the verbs in allow")
class _(Service):
    def wrong_verb(self, verbs):
        return Refusal(405, "this path does not know this method")


@fault("Allow lists every verb", "m1.405 names the verbs in allow")
class _(Service):
    def wrong_verb(self, verbs):
        return Refusal(405, "not this method", {"Allow": "GET, HEAD, POST, PUT, DELETE, OPTIONS"})


@fault("no HEAD", "m1.head answers like get")
class _(Service):
    def with_head(self, verbs):
        return verbs


@fault("HEAD with a body", "m1.head answers like get")
class _(Service):
    def encoded(self, request, response):
        if request.method == "HEAD":
            request.method = "GET"
        return super().encoded(request, response)


@fault("a slash at the end does not matter", "m1.a slash at the end is another path")
class _(Service):
    def dispatch(self, request):
        request.path = request.path.rstrip("/")
        return super().dispatch(request)


@fault("a redirect for a slash at the end", "m1.a slash at the end is another path")
class _(Service):
    def dispatch(self, request):
        if request.path.endswith("/"):
            return Response(307, {}, {"Location": request.path.rstrip("/")})
        return super().dispatch(request)


@fault("one request ID for all", "m1.answers carry an id and nosniff")
class _(Service):
    def finished(self, response):
        response = super().finished(response)
        response.headers["X-Request-ID"] = "1"
        return response


@fault("no nosniff", "m1.answers carry an id and nosniff")
class _(Service):
    def finished(self, response):
        response = super().finished(response)
        del response.headers["X-Content-Type-Options"]
        return response


@fault("one client at a time", "m1.half a request holds up nobody")
class _(Service):
    one_at_a_time = True


# ---- m2: good requests ----------------------------------------------------------------------------------


@fault("health is not ok", "m2.health keeps its contract")
class _(Service):
    def health(self, request):
        return Response(200, {"status": "up", "model_version": "v1"})


@fault("the version is a number", "m2.health keeps its contract")
class _(Service):
    def health(self, request):
        return Response(200, {"status": "ok", "model_version": 1})


@fault("health tells too much", "m2.health keeps its contract")
class _(Service):
    def health(self, request):
        return Response(200, {"status": "ok", "model_version": "v1", "pid": os.getpid()})


@fault("results without its note", "m2.results is the stub")
class _(Service):
    def results(self, request):
        return Response(200, {"results": []})


@fault("results has grown", "m2.results is the stub")
class _(Service):
    def results(self, request):
        return Response(200, {"results": [{"prediction": "7"}], "note": "persistence not yet implemented"})


@fault("classify is 500", "m2.a digit is classified")
class _(Service):
    def predict(self, rows):
        raise RuntimeError


@fault("the answer is a list", "m2.a digit is classified")
class _(Service):
    def shaped(self, answered):
        return [answered]


@fault("the prediction is a number", "m2.the prediction is a string")
class _(Service):
    def shaped(self, answered):
        return answered | {"prediction": int(answered["prediction"])}


@fault("the prediction is a word", "m2.the prediction is a string")
class _(Service):
    def shaped(self, answered):
        return answered | {"prediction": f"digit {answered['prediction']}"}


@fault("scores is a list", "m2.scores has every class")
class _(Service):
    def shaped(self, answered):
        return answered | {"scores": list(answered["scores"].values())}


@fault("scores are strings", "m2.scores has every class")
class _(Service):
    def shaped(self, answered):
        return answered | {"scores": {name: f"{score:.6f}" for name, score in answered["scores"].items()}}


@fault("scores miss a class", "m2.scores has every class")
class _(Service):
    def shaped(self, answered):
        scores = answered["scores"]
        dropped = next(name for name in "35" if name != answered["prediction"])
        rest = 1 - scores[dropped]
        kept = {name: score / rest for name, score in scores.items() if name != dropped}
        return answered | {"scores": kept, "confidence": kept[answered["prediction"]]}


@fault("only the three best scores", "m2.scores has every class")
class _(Service):
    def shaped(self, answered):
        best = dict(sorted(answered["scores"].items(), key=lambda pair: -pair[1])[:3])
        return answered | {"scores": best}


@fault("the scores do not sum to one", "m2.the scores sum to one")
class _(Service):
    def shaped(self, answered):
        scores = {name: score * 0.9 for name, score in answered["scores"].items()}
        return answered | {"scores": scores, "confidence": scores[answered["prediction"]]}


@fault("the scores are rounded", "m2.the scores sum to one")
class _(Service):
    def shaped(self, answered):
        scores = {name: math.floor(score * 100) / 100 for name, score in answered["scores"].items()}
        return answered | {"scores": scores, "confidence": scores[answered["prediction"]]}


@fault("the scores are logarithms", "m2.the scores sum to one")
class _(Service):
    def shaped(self, answered):
        scores = {name: math.log(score + 1e-300) for name, score in answered["scores"].items()}
        return answered | {"scores": scores, "confidence": scores[answered["prediction"]]}


@fault(
    "the prediction is the second best",
    "m2.the prediction has the best score",
    "m2.real digits are recognised",
)
class _(Service):
    def shaped(self, answered):
        second = sorted(answered["scores"], key=answered["scores"].get)[-2]
        return answered | {"prediction": second, "confidence": answered["scores"][second]}


@fault("the scores belong to other classes", "m2.the prediction has the best score")
class _(Service):
    def shaped(self, answered):
        names, values = list(answered["scores"]), list(answered["scores"].values())
        scores = dict(zip(names, values[1:] + values[:1]))
        return answered | {"scores": scores, "confidence": scores[answered["prediction"]]}


@fault("the confidence is a string", "m2.the confidence is the score of the prediction")
class _(Service):
    def shaped(self, answered):
        return answered | {"confidence": f"{answered['confidence']:.2f}"}


@fault("the confidence is always one", "m2.the confidence is the score of the prediction")
class _(Service):
    def shaped(self, answered):
        return answered | {"confidence": 1.5}


@fault("the confidence is in percent", "m2.the confidence is the score of the prediction")
class _(Service):
    def shaped(self, answered):
        return answered | {"confidence": 100 * answered["confidence"]}


@fault("always the same digit", "m2.real digits are recognised")
class _(Service):
    def predict(self, rows):
        scores = dict.fromkeys("0123456789", 0.01) | {"7": 0.91}
        return {"prediction": "7", "confidence": 0.91, "scores": scores}


@fault("a guess", "m2.real digits are recognised")
class _(Service):
    def predict(self, rows):
        best = random.Random(str(rows)).choice("0123456789")
        return {
            "prediction": best,
            "confidence": 0.91,
            "scores": dict.fromkeys("0123456789", 0.01) | {best: 0.91},
        }


@fault("a table of the digits that the student edition ships", "m2.real digits are recognised")
class _(Service):
    """No model: it knows every digit by its ink, whatever the greys."""

    def predict(self, rows):
        best = table().get((np.array(rows) > 128).tobytes(), "0")
        scores = dict.fromkeys("0123456789", 0.01) | {best: 0.91}
        return {"prediction": best, "confidence": 0.91, "scores": scores}


@functools.cache
def table() -> dict[bytes, str]:
    """{ink: digit} of all pictures that the student edition ships."""
    known = {}
    for file in ("checks/kit/digits.npz", "models/samples.npz"):
        with np.load(SCHEMAS.parent / file) as shipped:
            inks = [(image > 128).tobytes() for image in shipped["images"]]
            known |= dict(zip(inks, map(str, shipped["labels"]), strict=True))
    return known


@fault("the picture is transposed", "m2.real digits are recognised")
class _(Service):
    def predict(self, rows):
        return super().predict([list(column) for column in zip(*rows)])


@fault("the picture is inverted", "m2.real digits are recognised")
class _(Service):
    def predict(self, rows):
        return super().predict([[255 - int(pixel) for pixel in row] for row in rows])


@fault("the picture is upside down", "m2.real digits are recognised")
class _(Service):
    def predict(self, rows):
        return super().predict(rows[::-1])


@fault(
    "the answer to the picture before",
    "m2.real digits are recognised",
    "m2.the same picture gets the same answer",
)
class _(Service):
    before = [[0] * 28] * 28

    def predict(self, rows):
        self.before, rows = rows, self.before
        return super().predict(rows)


@fault("the scores vary", "m2.the same picture gets the same answer")
class _(Service):
    def predict(self, rows):
        answered = super().predict(rows)
        share = 1e-4 * (1 + self.requests % 1000)
        scores = {name: score * (1 - share) + share / 10 for name, score in answered["scores"].items()}
        return answered | {"scores": scores, "confidence": scores[answered["prediction"]]}


@fault("an extra field leaks", "m2.no undeclared field leaves")
class _(Service):
    def shaped(self, answered):
        return answered | {"debug": {"model": "/opt/pixelwise/models/digit_classifier_v1.pkl"}}


# ---- m2: bad bodies -------------------------------------------------------------------------------------


@fault("500 on broken json", "m2.broken json is refused")
class _(Service):
    def parse(self, body):
        try:
            return super().parse(body)
        except Refusal:
            if b"\xff" in body or b"NaN" in body or len(body) > 1000:
                raise
            raise RuntimeError from None


@fault("an empty body is a blank picture", "m2.broken json is refused")
class _(Service):
    def parse(self, body):
        return super().parse(body) if body else {"pixels": [[0] * 28] * 28}


@fault("no pixels are a blank picture", "m2.a body without pixels is refused")
class _(Service):
    def validate(self, document):
        if document == {}:
            document["pixels"] = [[0] * 28] * 28
        super().validate(document)


@fault("500 where pixels are missing", "m2.a body without pixels is refused")
class _(Service):
    def validate(self, document):
        document["pixels"]
        super().validate(document)


@fault("pixels may be flat", "m2.pixels that are no rows are refused")
class _(Service):
    def validate(self, document):
        pixels = document.get("pixels") if isinstance(document, dict) else None
        if isinstance(pixels, list) and len(pixels) == 784:
            document["pixels"] = [pixels[start : start + 28] for start in range(0, 784, 28)]
        super().validate(document)


@fault("500 where pixels are text", "m2.pixels that are no rows are refused")
class _(Service):
    def validate_size(self, rows, loc):
        super().validate_size(rows, loc)

    def validate(self, document):
        if isinstance(document, dict) and isinstance(document.get("pixels"), str):
            raise RuntimeError
        super().validate(document)


@fault("400 instead of 422", "m2.a word among the pixels is refused")
class _(Service):
    def validate_type(self, pixel, loc):
        try:
            super().validate_type(pixel, loc)
        except Refusal as refusal:
            if isinstance(pixel, str) and pixel != "5":
                raise Refusal(400, refusal.args[1]) from None
            raise


@fault("null is paper", "m2.a word among the pixels is refused")
class _(Service):
    def validate_pixel(self, pixel, loc):
        if pixel is not None:
            super().validate_pixel(pixel, loc)

    def predict(self, rows):
        return super().predict([[pixel or 0 for pixel in row] for row in rows])


@fault("fractions are cut", "m2.a fraction is refused")
class _(Service):
    def validate_type(self, pixel, loc):
        if not isinstance(pixel, float):
            super().validate_type(pixel, loc)


@fault("422 without a place", "m2.422 names the place and the reason")
class _(Service):
    def invalid(self, kind, loc, message):
        return Refusal(422, [{"type": kind, "loc": ["body"], "msg": message}])


@fault("422 without a reason", "m2.422 names the place and the reason")
class _(Service):
    def invalid(self, kind, loc, message):
        return super().invalid(kind, loc, "")


@fault("422 with a sentence only", "m2.422 names the place and the reason")
class _(Service):
    def invalid(self, kind, loc, message):
        return Refusal(422, message)


@fault("422 counts from one", "m2.422 names the place and the reason")
class _(Service):
    def invalid(self, kind, loc, message):
        return super().invalid(kind, [step + 1 if isinstance(step, int) else step for step in loc], message)


@fault("any media type will do", "m2.another media type is refused")
class _(Service):
    def check_kind(self, request):
        request.headers["content-type"] = "application/json"
        super().check_kind(request)


@fault("256 is 0", "m2.a pixel out of range is refused")
class _(Service):
    def validate_range(self, pixel, loc):
        pass

    def predict(self, rows):
        return super().predict([[int(pixel) % 256 for pixel in row] for row in rows])


@fault("500 on 256", "m2.a pixel out of range is refused")
class _(Service):
    def validate_range(self, pixel, loc):
        pass


@fault("any size will do", "m2.a picture of another size is refused")
class _(Service):
    def validate_size(self, rows, loc):
        if not rows:
            super().validate_size(rows, loc)
        self.ragged = len({len(row) for row in rows if isinstance(row, list)}) > 1

    def validate_row_size(self, row, loc):
        if self.ragged:
            super().validate_row_size(row, loc)

    def predict(self, rows):
        return super().predict([(list(row) + [0] * 28)[:28] for row in [*rows, *[[0]] * 28][:28]])


@fault("a row or a column too many is cropped in silence", "m2.a picture of another size is refused")
class _(Service):
    def validate_size(self, rows, loc):
        if len(rows) != 29:
            super().validate_size(rows, loc)
        if {len(row) for row in rows if isinstance(row, list)} == {29}:
            for row in rows:
                del row[28:]
        del rows[28:]


@fault("one row too many is cropped in silence", "m2.a picture of another size is refused")
class _(Service):
    def validate_size(self, rows, loc):
        if len(rows) == 29:
            del rows[28:]
        super().validate_size(rows, loc)


@fault("only blank pictures are measured", "m2.a picture of another size is refused")
class _(Service):
    def validate_size(self, rows, loc):
        if any(any(row) for row in rows if isinstance(row, list)):
            rows[:] = [row[:28] if isinstance(row, list) else row for row in rows[:28]]
        super().validate_size(rows, loc)


@fault("rows that are too long are cut", "m2.a ragged picture is refused")
class _(Service):
    def validate_row_size(self, row, loc):
        if len(row) != 29 or loc[1] == 0 or self.all_long:
            super().validate_row_size(row, loc)
        del row[28:]

    def validate_size(self, rows, loc):
        super().validate_size(rows, loc)
        self.all_long = all(isinstance(row, list) and len(row) == 29 for row in rows)


@fault("500 on ragged", "m2.a ragged picture is refused")
class _(Service):
    def validate_size(self, rows, loc):
        super().validate_size(rows, loc)
        if len({len(row) for row in rows if isinstance(row, list)}) == 2:
            raise RuntimeError


@fault("true is ink", "m2.true and text are no pixels")
class _(Service):
    def validate_type(self, pixel, loc):
        if not isinstance(pixel, bool):
            super().validate_type(pixel, loc)


@fault("text is read as a number", "m2.true and text are no pixels")
class _(Service):
    def validate_pixel(self, pixel, loc):
        super().validate_pixel(int(pixel) if isinstance(pixel, str) and pixel.isdigit() else pixel, loc)

    def predict(self, rows):
        return super().predict([[int(pixel) for pixel in row] for row in rows])


@fault("unknown fields are ignored", "m2.an unknown field is refused")
class _(Service):
    def validate_fields(self, document):
        pass


@fault("NaN is paper", "m2.numbers are read as json says")
class _(Service):
    def parse(self, body):
        return super().parse(body.replace(b"NaN", b"0"))


@fault("7.0 is no integer", "m2.numbers are read as json says")
class _(Service):
    def validate_type(self, pixel, loc):
        if isinstance(pixel, float):
            raise self.invalid("type", loc, "this is not an integer")
        super().validate_type(pixel, loc)


@fault("500 on bytes that are no text", "m2.hostile json is refused")
class _(Service):
    def parse(self, body):
        if b"\xff" in body:
            raise RuntimeError
        return super().parse(body)


@fault("500 on deep nesting", "m2.hostile json is refused")
class _(Service):
    def parse(self, body):
        if body.count(b"[") > 10_000:
            raise RecursionError
        return super().parse(body)


@fault("the last of two keys counts", "m2.hostile json is refused")
class _(Service):
    def parse(self, body):
        try:
            return super().parse(body)
        except Refusal:
            if body.count(b'"pixels"') == 2:
                return json.loads(body[: body.rindex(b', "pixels"')] + b"}")
            raise


@fault("no size is too large", "m2.a huge body is refused")
class _(Service):
    def check_kind(self, request):
        whole, request.body = request.body, b""
        super().check_kind(request)
        request.body = whole


@fault("an error repeats the value", "m2.an error does not repeat the body")
class _(Service):
    def validate_type(self, pixel, loc):
        try:
            super().validate_type(pixel, loc)
        except Refusal:
            raise self.invalid("type", loc, f"{pixel!r} is not an integer") from None


# ---- m2: documentation ----------------------------------------------------------------------------------


@fault("the documentation is always on", "m2.the documentation is hidden", debug=False)
class _(Service):
    def shows_documentation(self):
        return True


@fault(
    "the documentation is never on",
    "m2.openapi describes the three routes",
    "m2.the documentation pages are there",
    debug=True,
)
class _(Service):
    def shows_documentation(self):
        return False


@fault("openapi is no document", "m2.openapi describes the three routes", debug=True)
class _(Service):
    def openapi(self):
        return {"hello": "world"}


@fault("openapi forgets a route", "m2.openapi describes the three routes", debug=True)
class _(Service):
    def openapi(self):
        document = super().openapi()
        del document["paths"]["/results"]
        return document


@fault("openapi forgets 422", "m2.openapi describes the three routes", debug=True)
class _(Service):
    def openapi(self):
        document = super().openapi()
        del document["paths"]["/classify"]["post"]["responses"]["422"]
        return document


@fault("openapi lies about the prediction", "m2.openapi tells the truth", debug=True)
class _(Service):
    def openapi(self):
        document = super().openapi()
        document["components"]["schemas"]["ClassifyResponse"]["properties"]["prediction"] = {
            "type": "integer"
        }
        return document


@fault("openapi promises a field that never comes", "m2.openapi tells the truth", debug=True)
class _(Service):
    def openapi(self):
        document = super().openapi()
        document["components"]["schemas"]["HealthResponse"]["required"] = ["status", "uptime"]
        return document


@fault("docs is JSON", "m2.the documentation pages are there", debug=True)
class _(Service):
    def routes(self):
        routes = super().routes()
        return routes | {"/docs": {"GET": lambda request: Response(200, {"docs": "/openapi.json"})}}


@fault("openapi knows no key", "m2.openapi documents the key and its errors", debug=True)
class _(Service):
    def openapi(self):
        document = super().openapi()
        document.pop("security", None)
        document["paths"]["/classify"]["post"].pop("security", None)
        return document


@fault("openapi knows no 429", "m2.openapi documents the key and its errors", debug=True)
class _(Service):
    def openapi(self):
        document = super().openapi()
        del document["paths"]["/classify"]["post"]["responses"]["429"]
        return document


# ---- m3: keys -------------------------------------------------------------------------------------------


@fault("no key is needed", "m3.a missing key is refused")
class _(Service):
    def authenticate(self, request):
        if (self.sent_key(request) or "").strip():
            super().authenticate(request)


@fault("403 for 401", "m3.a wrong key is refused")
class _(Service):
    def no_key(self, key):
        return Refusal(403, "forbidden") if key and key.strip() else super().no_key(key)


@fault("127.0.0.1 needs no key", "m3.a missing key is refused", "m3.a wrong key is refused")
class _(Service):
    def authenticate(self, request):
        if request.client != "127.0.0.1":
            super().authenticate(request)


@fault("only 127.0.0.1 needs a key", "m3.a missing key is refused", "m3.a wrong key is refused")
class _(Service):
    def authenticate(self, request):
        if request.client == "127.0.0.1":
            super().authenticate(request)


@fault("only curl needs a key", "m3.a missing key is refused", "m3.a wrong key is refused")
class _(Service):
    def authenticate(self, request):
        if request.headers.get("user-agent", "").startswith("curl"):
            super().authenticate(request)


@fault("any key will do", "m3.a wrong key is refused")
class _(Service):
    def is_right(self, key):
        return bool(key.strip())


@fault("the key is compared by prefix", "m3.a nearly right key is refused")
class _(Service):
    def is_right(self, key):
        return bool(key.strip()) and self.key.startswith(key)


@fault("the key may go on", "m3.a nearly right key is refused")
class _(Service):
    def is_right(self, key):
        return key.startswith(self.key)


@fault("capital letters do not matter", "m3.a nearly right key is refused")
class _(Service):
    def is_right(self, key):
        return key.lower() == self.key.lower()


@fault("a key outside ASCII is a crash", "m3.a nearly right key is refused")
class _(Service):
    def is_right(self, key):
        if not key.isascii():
            raise TypeError("comparing strings with non-ASCII characters is not supported")
        return super().is_right(key)


@fault("a key in the query is accepted", "m3.a key in the address does not count")
class _(Service):
    def sent_key(self, request):
        return super().sent_key(request) or request.query.get("api_key", [None])[0]


@fault("a wrong key is echoed", "m3.no answer holds the key")
class _(Service):
    def no_key(self, key):
        refusal = super().no_key(key)
        shown = f"{key!r} is wrong" if key and len(key) > 20 else refusal.args[1]
        return Refusal(401, shown, refusal.args[2])


@fault("the right key is in a header", "m3.no answer holds the key")
class _(Service):
    def finished(self, response):
        response = super().finished(response)
        if response.status == 404:
            response.headers["X-Expected-Key"] = self.key
        return response


@fault("the body comes before the key", "m3.without a key the body is not judged")
class _(Service):
    def authenticate(self, request):
        self.check_kind(request)
        self.validate(self.parse(request.body))
        super().authenticate(request)


@fault("401 without WWW-Authenticate", "m3.401 says what it wants")
class _(Service):
    def no_key(self, key):
        return Refusal(401, "send the API key in X-API-Key")


@fault("401 tells missing from wrong", "m3.401 says what it wants")
class _(Service):
    def no_key(self, key):
        return Refusal(401, "missing" if key is None else "wrong", super().no_key(key).args[2])


# ---- m3: limits -----------------------------------------------------------------------------------------


@fault("no limit", "m3.exactly the limit is admitted")
class _(Service):
    def allowed(self):
        return 10**6


@fault("one too many is admitted", "m3.exactly the limit is admitted")
class _(Service):
    def allowed(self):
        return self.limit[0] + 1


@fault("one too few is admitted", "m3.exactly the limit is admitted")
class _(Service):
    def allowed(self):
        return self.limit[0] - 1


@fault("every process has a limit of its own", "m3.exactly the limit is admitted")
class _(Service):
    def client(self, request):
        return f"{request.client} in process {self.requests % 2}"


@fault("503 for 429", "m3.exactly the limit is admitted")
class _(Service):
    def within_budget(self, request):
        try:
            return super().within_budget(request)
        except Refusal as refusal:
            raise Refusal(503, *refusal.args[1:]) from None


@fault("health is limited too", "m3.health and results are never limited")
class _(Service):
    def health(self, request):
        if self.windows.get(request.client, (0, 0))[0] > self.limit[0]:
            raise Refusal(429, "too many requests", {"Retry-After": "1"})
        return super().health(request)


@fault("results has a limit of its own", "m3.health and results are never limited")
class _(Service):
    def results(self, request):
        if self.count(f"{request.client} reads")[0] > self.limit[0]:
            raise Refusal(429, "too many requests", {"Retry-After": "1"})
        return super().results(request)


@fault("one budget for all clients", "m3.every client has a budget of its own")
class _(Service):
    def client(self, request):
        return "everybody"


@fault("no Retry-After", "m3.429 says when to come back")
class _(Service):
    def retry_after(self, seconds):
        return {}


@fault("Retry-After is a date", "m3.429 says when to come back")
class _(Service):
    def retry_after(self, seconds):
        return {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}


@fault("Retry-After is zero", "m3.429 says when to come back")
class _(Service):
    def retry_after(self, seconds):
        return {"Retry-After": "0"}


@fault("Retry-After is beyond the window", "m3.429 says when to come back")
class _(Service):
    def retry_after(self, seconds):
        return {"Retry-After": str(math.ceil(self.limit[1]) + seconds)}


@fault("Retry-After is a lie", "m3.retry after is true")
class _(Service):
    def retry_after(self, seconds):
        return {"Retry-After": "1"}


@fault("a client that was refused stays refused", "m3.a window lasts as long as the limit says")
class _(Service):
    def count(self, client):
        used, end = super().count(client)
        if used > self.limit[0]:
            self.windows[client] = (used, end + 60)
        return used, end


class HalfAWindow(Service):
    """Its windows last half as long as the limit says."""

    def count(self, client):
        with self.lock:
            now = time.monotonic()
            used, end = self.windows.get(client, (0, 0))
            if end <= now:
                used, end = 0, now + self.limit[1] / 2
            self.windows[client] = (used + 1, end)
            return used + 1, end


@fault("a window is too short", "m3.a window lasts as long as the limit says")
class _(HalfAWindow):
    pass


NOT_TOLD = ("m3.a window lasts as long as the limit says", "m3.429 says when to come back")


@fault("a window is too short, and nobody is told", *NOT_TOLD)
class _(HalfAWindow):
    def retry_after(self, seconds):
        return {}


@fault("a window never ends, and nobody is told", *NOT_TOLD)
class _(Service):
    def count(self, client):
        used, end = super().count(client)
        with self.lock:  # others may have counted since
            self.windows[client] = (self.windows[client][0], end + 3600)
        return used, end

    def retry_after(self, seconds):
        return {}


@fault("127.0.0.1 has no limit", "m3.a window lasts as long as the limit says")
class _(Service):
    def client(self, request):
        return f"{request.client} {self.requests}" if request.client == "127.0.0.1" else request.client


@fault("other programs than curl have no limit", "m3.exactly the limit is admitted")
class _(Service):
    def client(self, request):
        agent = request.headers.get("user-agent", "")
        return request.client if agent.startswith("curl") else f"{request.client} {self.requests}"


@fault("only right keys count", "m3.wrong keys use up the budget too")
class _(Service):
    def classify(self, request):
        self.authenticate(request)
        return super().classify(request)


@fault("no budget is shown", "m3.the budget is shown")
class _(Service):
    def budget_headers(self, left, seconds):
        return {}


@fault("the budget does not count down", "m3.the budget is shown")
class _(Service):
    def budget_headers(self, left, seconds):
        return super().budget_headers(self.limit[0], seconds)


@fault("less than nothing is left", "m3.the budget is shown")
class _(Service):
    def retry_after(self, seconds):
        return super().retry_after(seconds) | self.budget_headers(-1, seconds)


@fault("X-Forwarded-For is believed", "m3.a forged address does not help")
class _(Service):
    def client(self, request):
        return request.headers.get("x-forwarded-for", request.client)


@fault("looks first and counts later", "m3.the limit holds for requests at the same time")
class _(Service):
    def count(self, client):
        now = time.monotonic()
        used, end = self.windows.get(client, (0, 0))
        if end <= now:
            used, end = 0, now + self.limit[1]
        time.sleep(0.01)
        self.windows[client] = (used + 1, end)
        return used + 1, end


@fault("dies after twenty requests", "m3.the server is still there")
class _(Service):
    def answer(self, request):
        if self.requests >= 20:
            os._exit(1)
        return super().answer(request)


@fault("hangs after twenty requests", "m3.the server is still there")
class _(Service):
    def answer(self, request):
        if self.requests >= 20:
            threading.Event().wait()
        return super().answer(request)
