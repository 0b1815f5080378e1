"""checks/kit/openapi.py reads what students write: what it tells of documents, and what nonsense comes to."""

import copy
import time

import openapi_spec_validator
import pytest
from correct.fourth_endpoints import fastapi_app
from faulty.fourth import KEY, OPERATIONS, an_object, document_of
from hypothesis import given
from hypothesis import strategies as st
from made_schemas import TRIES

from checks.kit.openapi import MAX_LIST, MAX_OPERATIONS, Document
from checks.kit.schemas import KEYWORDS, BadDocument, NoSample

TYPES = ("string", "integer", "number", "object", "array", "boolean", "null")


# ---- Reading documents ----------------------------------------------------------------------------------


def fastapi_document() -> dict:
    return fastapi_app(KEY).openapi()


def our_document() -> dict:
    import server

    return server.openapi()


@pytest.mark.parametrize("document", [document_of(*OPERATIONS), fastapi_document(), our_document()])
def test_a_good_document_can_be_read(document):
    openapi_spec_validator.validate(document)
    read_all_of(document)


BROKEN = {  # the way to a schema, what stands there instead, and what is said about it
    "a lost schema": ({"$ref": "#/nowhere"}, "leads nowhere"),
    "another file": ({"$ref": "a.json"}, "leads out of the document"),
    "a circle": ({"$ref": "#/components/schemas/Version"}, "itself without end"),
    "no such type": ({"type": "int"}, 'type: "int"'),
}


def changed(document: dict, way: tuple, value) -> dict:
    document = copy.deepcopy(document)
    node = document
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = value
    return document


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_schema_is_said_where_it_is_needed(name):
    schema, words = BROKEN[name]
    document = Document(changed(document_of("/version"), ("components", "schemas", "Version"), schema))
    with pytest.raises(BadDocument, match=words):
        document.operation("GET", "/version").mismatch(200, {})


@pytest.mark.parametrize("data", [[], None, 7, "x", {"a": float("nan")}, {"a": [0] * 300_000}])
def test_what_is_no_document_is_said_so(data):
    with pytest.raises(BadDocument):
        Document(data)


def test_references_follow_json_pointer_with_its_escapes():
    document = Document({"a/b": {"c~d": ["x", {"e f": 7}]}})
    assert document.at("#/a~1b/c~0d/1/e%20f") == 7
    for pointer in ("#/a~1b/c~0d/2", "#/a~1b/c~0d/-1", "#/a~1b/c~0d/01", "a", "#a", "#/" + "a" * 1000):
        with pytest.raises(BadDocument):
            document.at(pointer)


def test_an_operation_tells_what_the_document_says():
    operation = Document(document_of("/feedback")).operation("post", "/feedback")
    assert (operation.name, operation.told) == ("POST /feedback", "Flags a wrong prediction.")
    assert operation.statuses("4") == ["401", "422"]
    assert operation.needs_key and operation.credentials("k") == {"X-API-Key": "k"}
    assert operation.mismatch("201", {"id": "x"}) == ""
    assert operation.mismatch(201, {"id": 7}) == "id is a number (7), but the schema says string"
    assert operation.mismatch(201, {}) == 'the body lacks the field "id"'
    assert operation.response(404) is None and operation.mismatch(404, 7) == ""


def test_ranges_and_default_count_as_documented():
    document = changed(
        document_of("/feedback"), ("paths", "/feedback", "post", "responses"), {"4XX": {"a": 1}}
    )
    operation = Document(document).operation("POST", "/feedback")
    assert operation.response(422) == {"a": 1} and operation.response(500) is None
    document["paths"]["/feedback"]["post"]["responses"] = {"default": {"b": 2}}
    assert Document(document).operation("POST", "/feedback").response(500) == {"b": 2}


@pytest.mark.parametrize(
    "scheme, headers",
    [
        ({"type": "http", "scheme": "Bearer"}, {"Authorization": "Bearer k"}),
        ({"type": "apiKey", "in": "header", "name": "Key"}, {"Key": "k"}),
        ({"type": "apiKey", "in": "query", "name": "key"}, NoSample),
        ({"type": "apiKey", "in": "header", "name": "a\r\nb"}, NoSample),
        ({"$ref": "#/nowhere"}, BadDocument),
    ],
)
def test_the_key_goes_where_the_document_wants_it(scheme, headers):
    document = changed(document_of("/feedback"), ("components", "securitySchemes", "key"), scheme)
    operation = Document(document).operation("POST", "/feedback")
    if isinstance(headers, dict):
        assert operation.credentials("k") == headers
    else:
        with pytest.raises(headers):
            operation.credentials("k")


def test_security_that_may_be_left_out_is_none():
    document = changed(
        document_of("/feedback"), ("paths", "/feedback", "post", "security"), [{}, {"key": []}]
    )
    assert not Document(document).operation("POST", "/feedback").needs_key


# ---- Nonsense -------------------------------------------------------------------------------------------

PLACES = [
    "openapi",
    "paths",
    "get",
    "post",
    "responses",
    "200",
    "content",
    "schema",
    "schemas",
    "A",
    "name",
    "in",
]
words = st.sampled_from([*KEYWORDS, *PLACES, "parameters", "nullable"])
pointers = st.sampled_from(["#/components/schemas/A", "#/components/schemas/Version", "#", "#/", "a.json"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([*TYPES, "(a+)+$"]),
)
anything = st.recursive(
    scalars | pointers,
    lambda c: st.one_of(
        st.lists(c, max_size=4),
        st.dictionaries(words | st.text(max_size=3), c, max_size=4),
        pointers.map(lambda pointer: {"$ref": pointer}),
    ),
    max_leaves=15,
)


def ways_in(node, way=()):
    yield way
    for key, child in (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        yield from ways_in(child, (*way, key))


GOOD = document_of(*OPERATIONS)
WAYS = [way for way in ways_in(GOOD) if way]


def operation_parts(document: Document) -> list[dict]:
    """All that its operations say of their answers and parameters."""
    return [
        part
        for one in document.operations()
        for part in (*one.responses.values(), *one.parameters, *one.security)
    ]


def read_all_of(data) -> None:
    """Ask a document for everything; only BadDocument may come of it."""
    try:
        document = Document(data)
    except BadDocument:
        return
    assert all(isinstance(each, dict) for each in operation_parts(document))
    schemas = [data, {"$ref": "#/components/schemas/A"}]
    for operation in document.operations():
        assert isinstance(operation.told, str) and isinstance(operation.needs_key, bool)
        schemas += [operation.request_schema(), *map(operation.response_schema, operation.responses)]
        for ask in (operation.credentials, lambda key: operation.request_sample()):  # noqa: B023
            try:
                ask("key")
            except BadDocument:
                continue
    for schema in schemas:
        try:
            document.objection(schema, {"a": [1, "a" * 50 + "b"]})
            sample = document.sample(schema)
            assert document.allows(schema, sample)
            assert not any(document.allows(schema, value) for _, value in document.spoilt(schema, sample))
        except BadDocument:
            continue


@TRIES
@given(anything)
def test_nonsense_never_breaks_it(data):
    read_all_of(data)


@TRIES
@given(st.lists(st.tuples(st.sampled_from(WAYS), anything), min_size=1, max_size=3))
def test_a_document_with_nonsense_inside_never_breaks_it(changes):
    document = GOOD
    for way, value in changes:
        try:
            document = changed(document, way, value)
        except (KeyError, TypeError, IndexError):  # an earlier change took the place away
            continue
    read_all_of(document)


LAUGHS = {f"L{i}": {"allOf": [{"$ref": f"#/components/schemas/L{i + 1}"}] * 4} for i in range(20)} | {
    "L20": {}
}
DOUBLE = {
    f"D{i}": an_object(**{n: {"$ref": f"#/components/schemas/D{i + 1}"} for n in "abcd"}) for i in range(20)
}
HOSTILE = (
    LAUGHS
    | DOUBLE
    | {
        "D20": {"type": "integer"},
        "circle": {"allOf": [{"$ref": "#/components/schemas/circle"}]},
        "tree": an_object(child={"$ref": "#/components/schemas/tree"}),
        "slow": {"type": "string", "pattern": "(a+)+$", "examples": ["a" * 60 + "b"]},
        "unique": {"type": "array", "uniqueItems": True, "examples": [[{"a": i} for i in range(20_000)]]},
        "vast": {
            "type": "array",
            "minItems": 9999,
            "items": {"type": "array", "minItems": 9999, "items": {}},
        },
    }
)


@pytest.mark.parametrize("name", ["L0", "D0", "circle", "tree", "slow", "unique", "vast"])
def test_hostile_schemas_take_a_bounded_time(name):
    document, schema = (
        Document({"components": {"schemas": HOSTILE}}),
        {"$ref": f"#/components/schemas/{name}"},
    )
    began = time.process_time()
    for ask in (document.sample, lambda schema: document.objection(schema, {"child": "a" * 60 + "b"})):
        try:
            ask(schema)
        except BadDocument:
            continue
    assert time.process_time() - began < 20


def test_hostile_documents_take_a_bounded_time():
    many = {
        "get": {
            "responses": {str(status): {"$ref": "#/x"} for status in range(5000)},
            "parameters": [{}] * 5000,
        }
    }
    chain = {f"c{i}": {"$ref": f"#/c{i + 1}"} for i in range(20_000)}
    document = Document(
        chain | {"paths": {"/a": many} | {f"/{i}": {"$ref": "#/paths/~1a"} for i in range(20_000)}}
    )
    began = time.process_time()
    assert len(operation_parts(document)) == MAX_OPERATIONS * MAX_LIST
    assert time.process_time() - began < 20
