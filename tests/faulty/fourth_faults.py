"""The faults of a fourth endpoint: what each spoils in a Site, and the checks that have to see it."""

from collections.abc import Callable
from dataclasses import dataclass

from faulty.fourth import STUB, Reply, Site, error, in_json

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
