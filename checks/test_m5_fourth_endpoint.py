"""m5, the fourth endpoint: what its designer promised in /openapi.json is what it does.

Three designs are known: GET /version, POST /feedback and POST /classify/batch. Every one that stands in the
document is checked; a check that concerns none of them could not be checked, and nothing is graded as wrong.
"""

import contextlib
import fnmatch
import functools
import itertools
import json
import math
import re

from checks.kit.client import Answer, printable
from checks.kit.core import CannotCheck, Failed, at_most, hint, needs, only, points
from checks.kit.expect import demand
from checks.kit.openapi import BadDocument, Document, NoSample, Operation, is_json

VERSION, FEEDBACK, BATCH = "/version", "/feedback", "/classify/batch"
METHOD = {VERSION: "GET", FEEDBACK: "POST", BATCH: "POST"}
LARGEST = 4 * 1024 * 1024  # bytes of a body that a check sends
BAD_BODIES = 5  # sent to one endpoint: each counts against a rate limit
NOT_THE_BODY = ("401", "403", "405", "429")  # what these complain of is not the body
TOLERANCE = 1e-6
BLANK = [[0] * 28] * 28


# ---- Reading the document -------------------------------------------------------------------------------


@contextlib.contextmanager
def fourth(api, *kinds: str):
    """The operations of the fourth endpoint in the server's document, of these kinds or of all.

    Around the body of a check: where the document cannot be read there, the check has failed. Raises
    CannotCheck where no such endpoint is documented.
    """
    kinds = kinds or tuple(METHOD)
    try:
        document = document_of(api)
        found = [fourth_on(document, kind, path) for kind, path in paths_in(document) if kind in kinds]
        if not found:
            names = " or ".join(f"{METHOD[kind]} {kind}" for kind in kinds)
            raise CannotCheck(f"the server's OpenAPI names no {names}: m5 is optional")
        yield found
    except NoSample as problem:
        raise CannotCheck(str(problem)) from None
    except BadDocument as problem:
        raise Failed(f"an OpenAPI document where {problem}", "a document that can be read") from None


def document_of(api) -> Document:
    """What /openapi.json holds. Raises CannotCheck where it is hidden, Failed where it is none."""
    answer = api.get("/openapi.json")
    if answer.status == 404:
        raise CannotCheck("the server shows no /openapi.json: start it with DEBUG=true and grade it again")
    demand(answer.status == 200, f"{answer} from /openapi.json", "200 with the OpenAPI document")
    demand(answer.kind == "JSON", f"{answer.kind} from /openapi.json", "an OpenAPI document in JSON")
    return parsed(answer.body)


def documented(api) -> set[str]:
    """The fourth endpoints that the server's OpenAPI names, and "a key" where one of them asks for it; none
    where the document cannot be read."""
    try:
        with fourth(api) as found:
            names = {kind_of(operation) for operation in found}
            return names | ({"a key"} if any(map(is_guarded, found)) else set())
    except (Failed, CannotCheck, BadDocument):
        return set()


@functools.lru_cache(maxsize=2)  # every check asks for the document, which seldom changes
def parsed(body: bytes) -> Document:
    return Document(json.loads(body))


def paths_in(document: Document) -> list[tuple[str, str]]:
    """(kind, path) of the paths that a fourth endpoint may stand on, each kind once; / at the end is fine."""
    paths = document.object_at(document.data.get("paths"))
    kinds = {path.rstrip("/"): path for path in reversed(list(paths))}
    return [(kind, kinds[kind]) for kind in METHOD if kind in kinds]


def fourth_on(document: Document, kind: str, path: str) -> Operation:
    """The operation on this path. Raises Failed where its method is missing."""
    operation = document.operation(METHOD[kind], path)
    others = [f"{method} {path}" for method in methods_on(document, path)]
    demand(
        operation, " and ".join(others) or f"no method on {path} that can be read", f"{METHOD[kind]} {path}"
    )
    return operation


def methods_on(document: Document, path: str) -> list[str]:
    return [operation.method for operation in document.operations() if operation.path == path]


def kind_of(operation: Operation) -> str:
    return operation.path.rstrip("/")


def is_guarded(operation: Operation) -> bool:
    """Whether it needs the key: where the document says so, and for a batch always."""
    return operation.needs_key or kind_of(operation) == BATCH


def posts(operations: list[Operation]) -> list[Operation]:
    """Those that take a body. Raises CannotCheck where none does."""
    found = [operation for operation in operations if operation.method == "POST"]
    if not found:
        raise CannotCheck("the fourth endpoint takes no body: there is nothing to refuse")
    return found


# ---- Asking -----------------------------------------------------------------------------------------------


def ask(api, operation: Operation, body=None, *, key: str | None = "") -> Answer:
    """Send a request as the document says, with the right key ("") if it asks for one, another, or none.

    body: bytes as they are, anything else as JSON. A rate limit is waited out.
    """
    headers = {} if key is None else credentials(api, operation, key or api.key)
    if operation.method == "POST":
        data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        word = None if isinstance(body, bytes) else shell_word(body)
        return api.classify(data, path=operation.path, key=None, headers=headers, curl_body=word)
    answer = api.ask(operation.method, operation.path, headers=headers)
    if answer.status == 429:
        raise CannotCheck(f"{operation.name} is limited, and its limit is used up: grade again in a minute")
    return answer


def credentials(api, operation: Operation, key: str) -> dict[str, str]:
    """The headers with the key: as documented, and for a batch always, since it does what /classify does."""
    headers = operation.credentials(key)
    if kind_of(operation) == BATCH and not headers:
        headers = {"X-API-Key": key}
    if headers and not api.key:
        raise CannotCheck(f"{operation.name} needs the key: --key …")
    return headers


def body_for(operation: Operation):
    """A body that the operation's own schema allows, with a blank picture for a batch; None for GET."""
    if operation.method == "GET":
        return None
    body = operation.request_sample()
    if kind_of(operation) != BATCH:
        return body
    place = pictures_under(operation.document, operation.request_schema(), ())
    return body if place is None or place.in_body(body) else batch(operation, place, [BLANK])


def shell_word(body) -> str | None:
    """A shell word that writes a large body; None where the body itself is short enough for a line."""
    if len(json.dumps(body)) < 400:
        return None
    program = f"import json; print(json.dumps({in_python(body)}))"
    return f"\"$(python3 -c '{program}')\"" if "'" not in program and len(program) < 4000 else None


def in_python(value) -> str:
    """A JSON value as Python without single quotes; equal neighbours in a list are written once."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {in_python(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        groups = [(text, len(list(same))) for text, same in itertools.groupby(map(in_python, value))]
        return (
            " + ".join(f"[{text}] * {count}" if count > 1 else f"[{text}]" for text, count in groups) or "[]"
        )
    return json.dumps(value) if isinstance(value, str) else repr(value)


# ---- Judging an answer ------------------------------------------------------------------------------------


def expect_success(operation: Operation, answer: Answer) -> None:
    """Raise Failed unless it is a success that the document promises, in its media type and shape."""
    promised = operation.statuses("2")
    demand(
        answer.status // 100 == 2 and documents(operation, answer),
        str(answer),
        f"{operation.name}: {' or '.join(promised)}, as its document promises",
    )
    expect_shape(operation, answer)


def expect_refusal(operation: Operation, answer: Answer, words: str) -> None:
    """Raise Failed unless it is a 4xx for bodies that the document names, in JSON and in its shape.

    words: what was wrong with the request.
    """
    promised = [status for status in operation.statuses("4") if status not in NOT_THE_BODY]
    refused = answer.status // 100 == 4 and str(answer.status) not in NOT_THE_BODY
    demand(
        refused and documents(operation, answer),
        f"{answer} ({words})",
        f"{operation.name}: {' or '.join(promised) or 'a 4xx'}, as its document says of bad bodies",
    )
    expect_json_error(operation, answer)
    expect_shape(operation, answer)


def expect_json_error(operation: Operation, answer: Answer) -> None:
    demand(
        answer.kind == "JSON" and is_json(answer.media_type),
        f"{answer.status} with {answer.kind} ({printable(answer.media_type, 60) or 'no Content-Type'})",
        f"{operation.name}: an error in JSON (application/json)",
    )


def documents(operation: Operation, answer: Answer) -> bool:
    return operation.response(answer.status) is not None


def expect_shape(operation: Operation, answer: Answer) -> None:
    """Raise Failed unless media type and body are what the document promises for the answer's status."""
    content = operation.content(answer.status)
    if not content:
        return
    demand(
        any(fnmatch.fnmatch(answer.media_type, promised) for promised in content),
        f"{answer.status} as {printable(answer.media_type, 60) or 'no media type'}",
        f"{operation.name}: {printable(' or '.join(content), 120)}, as its document promises",
    )
    if is_json(answer.media_type):
        demand(answer.kind == "JSON", str(answer), f"{operation.name}: JSON")
        problem = operation.mismatch(answer.status, answer.json())
        demand(
            not problem, f"{answer.status} where {problem}", f"{operation.name}: the shape in its document"
        )


# ---- Pictures and batches ---------------------------------------------------------------------------------


def drawn(*strokes: tuple[int, int, int, int]) -> list[list[int]]:
    """A 28 x 28 picture with filled rectangles of ink: (top, left, bottom, right)."""
    return [
        [
            255 * any(top <= y < bottom and left <= x < right for top, left, bottom, right in strokes)
            for x in range(28)
        ]
        for y in range(28)
    ]


PICTURES = [  # the models see something else in each
    drawn((4, 13, 24, 16)),  # a one
    drawn((4, 8, 7, 20), (21, 8, 24, 20), (4, 8, 24, 11), (4, 17, 24, 20)),  # a zero
    drawn((5, 7, 8, 21), (8, 18, 14, 21), (14, 14, 24, 17)),  # a seven
    drawn((4, 8, 14, 11), (4, 17, 24, 20), (12, 8, 15, 20)),  # a four
]


class Place:
    """Where a request schema wants the pictures: keys to the list, and the field of its items, if any."""

    def __init__(self, keys: tuple[str, ...], field: str | None, schema: dict):
        self.keys, self.field, self.schema = keys, field, schema

    def in_body(self, body) -> list:
        """The pictures that a body holds there."""
        for key in self.keys:
            body = body.get(key) if isinstance(body, dict) else None
        return body if isinstance(body, list) else []

    def chosen(self) -> list:
        """As many of PICTURES as the schema takes, again and again where it wants more."""
        least, most = self.schema.get("minItems", 1), self.schema.get("maxItems", len(PICTURES))
        count = max(int(least), min(int(most), len(PICTURES)))
        if count > 100:
            raise CannotCheck(f"a batch has at least {count} pictures: the checks do not send that many")
        return list(itertools.islice(itertools.cycle(PICTURES), count))


def find_pictures(operation: Operation) -> Place:
    """The place of the pictures in a batch. Raises CannotCheck where the schema shows none."""
    place = pictures_under(operation.document, operation.request_schema(), ())
    if place is None:
        raise CannotCheck(f"the checks see no list of pictures in the request schema of {operation.name}")
    return place


def pictures_under(document: Document, schema, keys: tuple[str, ...]) -> Place | None:
    """The first list of pictures in a schema, from the outside in, three objects deep at most."""
    schemas = list(alternatives(document, schema))
    for each in schemas:
        for item in alternatives(document, each.get("items", False)):
            if is_picture(document, item):
                return Place(keys, None, each)
            for name, field in item.get("properties", {}).items():
                if is_picture(document, field):
                    return Place(keys, name, each)
    for each in schemas if len(keys) < 3 else ():
        for name, field in each.get("properties", {}).items():
            if place := pictures_under(document, field, (*keys, name)):
                return place
    return None


def alternatives(document: Document, schema, depth: int = 0):
    """The schema and what it refers to, combines or chooses from, as tidy dicts."""
    schema = document.tidied(schema)
    if isinstance(schema, bool) or depth > 5:
        return
    yield schema
    if "$ref" in schema:
        yield from alternatives(document, document.at(schema["$ref"]), depth + 1)
    for word in ("allOf", "anyOf", "oneOf"):
        for branch in schema.get(word, ())[:10]:
            yield from alternatives(document, branch, depth + 1)


def is_picture(document: Document, schema) -> bool:
    """Whether a schema means rows of numbers: a list of lists of something that may be a number."""
    return any(
        set(pixel.get("type", ())) & {"integer", "number"}
        for rows in alternatives(document, schema)
        for row in alternatives(document, rows.get("items", False))
        for pixel in alternatives(document, row.get("items", False))
    )


def batch(operation: Operation, place: Place, pictures: list):
    """A body with these pictures in place of those of the sample."""
    sample = operation.request_sample()
    items = pictures
    if place.field is not None:
        likeness = next((item for item in place.in_body(sample) if isinstance(item, dict)), {})
        items = [likeness | {place.field: picture} for picture in pictures]
    return with_value(sample, place.keys, items)


def with_value(body, keys: tuple[str, ...], value):
    """The body, an object, with `value` under these keys, one inside the other."""
    if not keys:
        return value
    body = body if isinstance(body, dict) else {}
    return body | {keys[0]: with_value(body.get(keys[0]), keys[1:], value)}


def answers_in(answer: Answer) -> list:
    """The list of answers in a batch's answer. Raises Failed where there is none."""
    body = answer.json()
    lists = [body, *(body.values() if isinstance(body, dict) else ())]
    lists = [each for each in lists if isinstance(each, list)]
    demand(lists, str(answer), "a list with an answer for every picture")
    return max(lists, key=len)


def what_it_says(item) -> dict:
    """The classification in an answer of a batch: an object, one inside an object, or a prediction alone."""
    if isinstance(item, str):
        return {"prediction": item}
    inside = [item, *item.values()] if isinstance(item, dict) else []
    found = next((each for each in inside if isinstance(each, dict) and "prediction" in each), None)
    demand(
        found,
        f"an answer like {printable(json.dumps(item), 80)}",
        "an answer with a prediction for every picture",
    )
    return found


def difference(one: dict, alone: dict) -> str:
    """What a batch says otherwise than /classify; "" where they agree in all that both say."""
    for name in ("prediction", "confidence", "scores"):
        if name in one and name in alone and not alike(one[name], alone[name]):
            here, there = (printable(json.dumps(each[name]), 80) for each in (one, alone))
            return f"{name} {here}, and alone {there}"
    return ""


def alike(one, other) -> bool:
    """Whether two JSON values are the same, numbers within TOLERANCE."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=0, abs_tol=TOLERANCE)
    return one == other


# ---- The document promises --------------------------------------------------------------------------------


@points(1)
@hint("Look at /docs, or at /openapi.json itself: path, method and a summary have to stand there.")
def test_the_fourth_endpoint_is_documented(api):
    """the fourth endpoint stands in /openapi.json, under its method, with a summary or a description"""
    with fourth(api) as found:
        for operation in found:
            demand(operation.told, f"{operation.name} without a word", "a summary or a description")


@points(1)
@needs("the fourth endpoint is documented")
@hint("FastAPI writes them from response_model=, from the model of the body, and from responses={404: …}.")
def test_it_promises_its_answers(api):
    """its document gives a schema for success and, for a POST, one for the body and at least one 4xx"""
    with fourth(api) as found:
        for operation in found:
            expect_promised_success(operation)
            if operation.method == "POST":
                says = says_something(operation.document, operation.request_schema())
                demand(
                    says, f"{operation.name} without a schema for its body", "a JSON schema of the request"
                )
                errors = operation.statuses("4") or "default" in operation.responses
                demand(errors, f"{operation.name} without any 4xx", "what it answers to a bad request: a 4xx")


def expect_promised_success(operation: Operation) -> None:
    promised = operation.statuses("2")
    demand(promised, f"{operation.name} without any 2xx", "what it answers when all is well: a 2xx")
    for status in promised:
        if status == "204" and not operation.content(status):
            continue
        says = says_something(operation.document, operation.response_schema(status))
        demand(says, f"{operation.name} without a schema for {status}", "a JSON schema of what it answers")


def says_something(document: Document, schema) -> bool:
    """Whether the schema refuses anything at all: {} does not."""
    if schema is None:
        return False
    words = set().union(*alternatives(document, schema))
    return bool(words - {"$ref", "examples", "format"})


@points(1, stretch=True)
@needs("it promises its answers")
@at_most(30)
@hint("The stub of /results stays as it is until the persistence layer of a later block.")
def test_it_leaves_the_results_alone(api):
    """/results says the same before and after the fourth endpoint was asked"""
    # before the other checks ask it: after the first time, the change might no longer show
    with fourth(api) as found:
        for operation in found:
            before = api.get("/results")
            if ask(api, operation, body_for(operation)).status // 100 != 2 or before.json() is None:
                raise CannotCheck(f"{operation.name} or /results does not answer with success")
            after = api.get("/results")
            same = after.json() == before.json()
            demand(same, f"{after} after {operation.name}", f"{before}, as before")


# ---- It keeps its promises --------------------------------------------------------------------------------


@points(2)
@needs("it promises its answers")
@at_most(30)
@hint("The body is made from your schema. If it is a bad one, say more in the schema, or give an example.")
def test_it_answers_as_promised(api):
    """a request that fits its document gets the status, the media type and the shape that it promises"""
    with fourth(api) as found:
        for operation in found:
            answer = ask(api, operation, body_for(operation))
            if (
                kind_of(operation) == FEEDBACK
                and answer.status in (404, 409)
                and documents(operation, answer)
            ):
                raise CannotCheck(
                    f"{operation.name} answers {answer.status} to a body made from its schema: "
                    "give the document an example that it takes"
                )
            expect_success(operation, answer)


@points(2)
@only("a fourth endpoint takes a body")
@needs("it answers as promised")
@at_most(30)
@hint("Validate the body before using it; and every status that a client may see stands in the document.")
def test_a_bad_body_is_refused(api):
    """a body that its own schema refuses, or that is no JSON, gets a 4xx that its document names"""
    with fourth(api) as found:
        for operation in posts(found):
            schema = operation.request_schema()
            bad = operation.document.spoilt(schema, body_for(operation))[:BAD_BODIES]
            for words, body in [*bad, ("no JSON", b'{"')]:
                expect_refusal(operation, ask(api, operation, body), words)


@points(1)
@only("GET /version is documented")
@needs("it answers as promised")
@hint("A build does not change while it runs: no time, no counter, nothing random in the answer.")
def test_it_says_the_same_twice(api):
    """GET /version says the same when it is asked again"""
    with fourth(api, VERSION) as (version,):
        first, second = ask(api, version), ask(api, version)
        same = (first.status, first.json()) == (second.status, second.json())
        demand(same, f"{second} after {first}", "the same answer twice")


@points(1)
@only("a fourth endpoint asks for the key")
@needs("it answers as promised")
@at_most(30)
@hint("Guard it as /classify is guarded: in FastAPI, dependencies=[Depends(verify_api_key)] on the route.")
def test_it_asks_for_the_key(api):
    """where its document asks for the key, and for a batch always, no key and a wrong one get 401"""
    with fourth(api) as found:
        guarded = list(filter(is_guarded, found))
        if not guarded:
            raise CannotCheck(
                "the document of the fourth endpoint asks for no key: there is nothing to guard"
            )
        for operation in guarded:
            for key, words in ((None, "without a key"), ("not-the-key", "with a wrong key")):
                answer = ask(api, operation, body_for(operation), key=key)
                refused = answer.status == 401 or (answer.status // 100 == 4 and documents(operation, answer))
                demand(refused, f"{answer} {words}", f"{operation.name}: 401, or another 4xx of its document")


@points(1)
@needs("it answers as promised")
@hint("Allow names the methods that work here; and a program that asks has no use for a page of HTML.")
def test_a_wrong_method_gets_405(api):
    """another method on its path gets 405 with Allow, in JSON"""
    with fourth(api) as found:
        for operation in found:
            others = ("POST", "GET", "PUT", "PATCH", "DELETE")
            taken = methods_on(operation.document, operation.path)
            method = next((method for method in others if method not in taken), None)
            if method is None:
                raise CannotCheck(f"{operation.path} takes every method: there is no wrong one")
            expect_405(operation, ask_wrongly(api, operation, method))


def ask_wrongly(api, operation: Operation, method: str) -> Answer:
    headers = credentials(api, operation, api.key)
    body = None if method == "GET" else b"{}"
    if body:
        headers["Content-Type"] = "application/json"
    return api.ask(method, operation.path, headers=headers, body=body)


def expect_405(operation: Operation, answer: Answer) -> None:
    demand(answer.status == 405, str(answer), f"405, since {operation.path} is for {operation.method}")
    allowed = re.split(r"[\s,]+", (answer.header("Allow") or "").upper())
    shown = printable(answer.header("Allow") or "", 60)
    received = f"405 with Allow: {shown}" if shown else "405 without Allow"
    demand(operation.method in allowed, received, f"Allow: {operation.method}")
    expect_json_error(operation, answer)


# ---- It does what its name says ---------------------------------------------------------------------------


@points(2)
@only("GET /version is documented")
@needs("it answers as promised")
@hint(
    "Both come from one place: read the version from the loaded artefact, not from a constant in the handler."
)
def test_version_and_health_agree(api):
    """GET /version names the model version that /health names"""
    with fourth(api, VERSION) as (version,):
        health = api.get("/health").json()
        model = health.get("model_version") if isinstance(health, dict) else None
        if not isinstance(model, str) or not model:
            raise CannotCheck("/health names no model_version to compare with")
        answer = ask(api, version)
        expect_success(version, answer)
        texts = list(itertools.islice(texts_in(answer.json(), ""), 1000))
        of_the_model = [text for way, text in texts if "model" in way and "version" in way]
        candidates = of_the_model or [text for _, text in texts]
        agrees = any(names(text, model) for text in candidates)
        demand(agrees, str(answer), f'model_version "{printable(model, 60)}", as /health says')


def texts_in(value, way: str):
    """(way, text) of all strings in a JSON value; way: the names that lead to it, in lower case."""
    if isinstance(value, str):
        yield way, value
    elif isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else (("", item) for item in value)
        for name, item in pairs:
            yield from texts_in(item, f"{way} {name.lower()}")


def names(text: str, version: str) -> bool:
    """Whether the version is a word of the text: v1 is one of "digit_classifier_v1.pkl", not of "v1.2"."""
    return bool(re.search(rf"(?<![A-Za-z0-9.]){re.escape(version)}(?![A-Za-z0-9]|\.[0-9])", text))


@points(2)
@only("POST /feedback is documented")
@needs("a bad body is refused")
@hint("Which fields flag a wrong prediction? Make those required; a body without them is 422.")
def test_feedback_that_says_nothing_is_refused(api):
    """POST /feedback takes feedback with 200, 201, 202 or 204, and refuses one that flags nothing"""
    with fourth(api, FEEDBACK) as (feedback,):
        answer = ask(api, feedback, body_for(feedback))
        taken = answer.status in (200, 201, 202, 204)
        demand(taken, str(answer), f"{feedback.name}: 200, 201, 202 or 204")
        for body in ({}, {"nonsense": "nonsense"}):
            expect_refusal(feedback, ask(api, feedback, body), f"to {json.dumps(body)}, which flags nothing")


@points(1)
@only("POST /classify/batch is documented")
@needs("it answers as promised")
@hint("One answer for every picture, in a list.")
def test_a_batch_has_an_answer_for_every_picture(api):
    """POST /classify/batch gives as many answers as it was given pictures"""
    with fourth(api, BATCH) as (operation,):
        place = find_pictures(operation)
        pictures = place.chosen()
        answer = ask(api, operation, batch(operation, place, pictures))
        expect_success(operation, answer)
        count = len(answers_in(answer))
        demand(
            count == len(pictures),
            f"{count} answers for {len(pictures)} pictures",
            f"{len(pictures)} answers",
        )


@points(2)
@only("POST /classify/batch is documented")
@needs("a batch has an answer for every picture")
@at_most(30)
@hint(
    "Classify all pictures in one call of classify_batch, and keep what it says in the order of the pictures."
)
def test_a_batch_agrees_with_classify(api):
    """POST /classify/batch says of every picture, in order, what /classify says of it"""
    with fourth(api, BATCH) as (operation,):
        place = find_pictures(operation)
        pictures = place.chosen()
        alone = [classification(api, picture) for picture in pictures[: len(PICTURES)]]
        answer = ask(api, operation, batch(operation, place, pictures))
        expect_success(operation, answer)
        said = [what_it_says(item) for item in answers_in(answer)]
        for number, (one, single) in enumerate(zip(said, alone), 1):
            problem = difference(one, single)
            demand(not problem, f"for picture {number} {problem}", "what /classify says of the same picture")
        if len(alone) > 1 and not any(difference(one, alone[0]) for one in said):
            raise CannotCheck("the model says the same of all pictures, so their order does not show")


def classification(api, picture) -> dict:
    """What /classify says of a picture. Raises CannotCheck where it says nothing."""
    answer = api.classify({"pixels": picture}, curl_body=shell_word({"pixels": picture}))
    body = answer.json()
    if answer.status != 200 or not isinstance(body, dict) or "prediction" not in body:
        raise CannotCheck(f"/classify itself does not classify the picture: {answer}")
    return body


@points(1)
@only("POST /classify/batch is documented")
@needs("a batch has an answer for every picture")
@hint(
    "Without a limit, one request may keep the server busy for minutes: check the length before the pixels."
)
def test_a_batch_too_large_is_refused(api):
    """a batch with one picture more than its maxItems gets a 4xx that its document names"""
    with fourth(api, BATCH) as (operation,):
        place = find_pictures(operation)
        most = place.schema.get("maxItems")
        if most is None:
            raise CannotCheck(
                "its document does not say how many pictures a batch may have: give them maxItems"
            )
        if (most + 1) * len(json.dumps(BLANK)) > LARGEST:
            raise CannotCheck(f"maxItems is {most:.0f}: the checks do not send that many pictures")
        body = batch(operation, place, [BLANK] * (int(most) + 1))
        expect_refusal(operation, ask(api, operation, body), f"to {int(most) + 1} pictures")
