"""checks/kit/samples.py makes bodies that a schema allows, and bodies that it refuses."""

import pytest
from faulty.fourth import SCHEMAS, an_object, document_of
from hypothesis import assume, given
from made_schemas import EMPTY, TRIES, judge, schemas

from checks.kit.openapi import Document
from checks.kit.schemas import NoSample


@pytest.mark.parametrize(
    "schema, sample",
    [
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}, 5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "string", "minLength": 3}, "777"),
        ({"type": "string", "maxLength": 0}, ""),
        ({"type": "string", "pattern": "^[0-9a-f]{64}$"}, "0" * 64),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "array"}, []),
        ({"enum": ["a", "b"]}, "a"),
        ({"const": None}, None),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "integer", "examples": ["no", 8]}, 8),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, None),
        ({"anyOf": [False, {"type": "integer"}]}, 0),
        ({"allOf": [{"minimum": 5}, {"type": "integer"}]}, 5),
        (an_object(a={"type": "string"}, b={"type": "string"}), {"a": "7", "b": "0"}),
        ({"type": "object", "minProperties": 1, "properties": {"a": {"const": 1}}}, {"a": 1}),
        ({"type": "array", "minItems": 3, "uniqueItems": True, "items": {"type": "integer"}}, [0, 1, 2]),
        (SCHEMAS["Picture"], [[0] * 28] * 28),
    ],
)
def test_a_sample_is_the_smallest_that_fits(schema, sample):
    assert EMPTY.sample(schema) == sample


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"enum": []},
        {"type": "string", "pattern": "^no such text can be guessed$"},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"minimum": 5, "maximum": 4, "type": "integer"},
    ],
)
def test_where_no_sample_can_be_made_that_is_said(schema):
    with pytest.raises(NoSample):
        EMPTY.sample(schema)


def test_spoilt_bodies_are_of_every_kind_and_say_what_is_wrong():
    document = Document(document_of("/classify/batch"))
    schema = document.operation("POST", "/classify/batch").request_schema()
    words = [words for words, _ in document.spoilt(schema, document.sample(schema))]
    assert words[:5] == [
        'the body lacks "pictures"',
        'the body is "nonsense"',
        'the body has a field "nonsense" more',
        "pictures has one item less",
        "pictures[0].pixels[0][0] is -1",
    ]


@TRIES
@given(schemas)
def test_samples_are_valid_and_spoilt_ones_are_not(schema):
    try:
        sample = EMPTY.sample(schema)
    except NoSample:
        assume(False)
    assert judge(schema).is_valid(sample)
    for words, value in EMPTY.spoilt(schema, sample):
        assert words and not judge(schema).is_valid(value)
