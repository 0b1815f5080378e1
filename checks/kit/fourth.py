"""The fourth endpoint as its designer documents it: found in /openapi.json, asked as it says, held to it.

Three designs are known: GET /version, POST /feedback and POST /classify/batch.
"""

import contextlib
import fnmatch
import functools
import itertools
import json

from checks.kit.batch import BLANK, batch, pictures_under
from checks.kit.core import CannotCheck, Failed
from checks.kit.exchange import Answer, printable
from checks.kit.expect import demand
from checks.kit.openapi import BadDocument, Document, NoSample, Operation, is_json

VERSION, FEEDBACK, BATCH = "/version", "/feedback", "/classify/batch"
METHOD = {VERSION: "GET", FEEDBACK: "POST", BATCH: "POST"}
NOT_THE_BODY = ("401", "403", "405", "429")  # what these complain of is not the body


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


# ---- Where the checks of m5 apply -------------------------------------------------------------------------


def documented(api) -> set[str]:
    """The fourth endpoints that the server's OpenAPI names, and "a key" where one of them asks for it; none
    where the document cannot be read."""
    try:
        with fourth(api) as found:
            names = {kind_of(operation) for operation in found}
            return names | ({"a key"} if any(map(is_guarded, found)) else set())
    except (Failed, CannotCheck, BadDocument):
        return set()


def _in(given: dict) -> set[str]:
    return documented(given["api"]) if given.get("api") else set()


def has_version(given: dict) -> bool:
    """Whether GET /version is documented."""
    return VERSION in _in(given)


def has_feedback(given: dict) -> bool:
    """Whether POST /feedback is documented."""
    return FEEDBACK in _in(given)


def has_batch(given: dict) -> bool:
    """Whether POST /classify/batch is documented."""
    return BATCH in _in(given)


def takes_a_body(given: dict) -> bool:
    """Whether an endpoint that takes a body is documented."""
    return bool({FEEDBACK, BATCH} & _in(given))


def asks_for_the_key(given: dict) -> bool:
    """Whether one of the documented endpoints asks for the key."""
    return "a key" in _in(given)
