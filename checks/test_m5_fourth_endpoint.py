"""m5, the fourth endpoint: what its designer promised in /openapi.json is what it does.

Three designs are known: GET /version, POST /feedback and POST /classify/batch. Every one that stands in the
document is checked; a check that concerns none of them could not be checked, and nothing is graded as wrong.
"""

import itertools
import json
import re

from checks.kit.batch import (
    BLANK,
    PICTURES,
    alternatives,
    answers_in,
    batch,
    difference,
    find_pictures,
    what_it_says,
)
from checks.kit.core import CannotCheck, at_most, hint, needs, only, points
from checks.kit.exchange import Answer, printable
from checks.kit.expect import demand
from checks.kit.fourth import (
    BATCH,
    FEEDBACK,
    VERSION,
    ask,
    asks_for_the_key,
    body_for,
    credentials,
    documents,
    expect_json_error,
    expect_refusal,
    expect_success,
    fourth,
    has_batch,
    has_feedback,
    has_version,
    is_guarded,
    kind_of,
    methods_on,
    posts,
    shell_word,
    takes_a_body,
)
from checks.kit.openapi import Document, Operation

LARGEST = 4 * 1024 * 1024  # bytes of a body that a check sends
BAD_BODIES = 5  # sent to one endpoint: each counts against a rate limit


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
@only(takes_a_body)
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
@only(has_version)
@needs("it answers as promised")
@hint("A build does not change while it runs: no time, no counter, nothing random in the answer.")
def test_it_says_the_same_twice(api):
    """GET /version says the same when it is asked again"""
    with fourth(api, VERSION) as (version,):
        first, second = ask(api, version), ask(api, version)
        same = (first.status, first.json()) == (second.status, second.json())
        demand(same, f"{second} after {first}", "the same answer twice")


@points(1)
@only(asks_for_the_key)
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
@only(has_version)
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
@only(has_feedback)
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
@only(has_batch)
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
@only(has_batch)
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
@only(has_batch)
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
