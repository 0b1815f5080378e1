"""checks/kit/schemas.py judges as jsonschema does, also what 3.0 writes otherwise; nothing holds it up."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_schemas import EMPTY, TRIES, grown, judge, leaves, names, with_some

from checks.kit.openapi import Document
from checks.kit.schemas import MAX_STEPS, BadDocument

ROOT = Path(__file__).resolve().parents[2]

OLD = Document({"openapi": "3.0.3", "components": {"schemas": {"A": {"type": "integer"}}}})


@pytest.mark.parametrize(
    "schema, good, bad",
    [
        ({"type": "string", "nullable": True}, [None, "a"], [7]),
        ({"enum": ["a"], "nullable": True}, [None, "a"], ["b"]),
        ({"minimum": 5, "exclusiveMinimum": True}, [6], [5]),
        ({"minimum": 5, "exclusiveMinimum": False}, [5], [4]),
        ({"maximum": 5, "exclusiveMaximum": True}, [4], [5]),
        ({"$ref": "#/components/schemas/A", "minimum": 5}, [4], ["a"]),
        ({"type": "array", "items": [{"type": "integer"}, {"type": "string"}]}, [[1, "a"]], [["a"]]),
    ],
)
def test_what_3_0_writes_otherwise_is_understood(schema, good, bad):
    assert [OLD.objection(schema, value) for value in good] == [""] * len(good)
    assert all(OLD.objection(schema, value) for value in bad)


def test_names_that_match_a_pattern_are_not_called_additional():
    schema = {"patternProperties": {"^x": {}}, "additionalProperties": False, "type": "object"}
    assert OLD.allows(schema, {"x": 1}) and not OLD.allows(schema, [])


def test_a_schema_inside_itself_is_judged_as_deep_as_the_value_goes():
    tree = {"type": "object", "properties": {"child": {"$ref": "#/tree"}}, "additionalProperties": False}
    document = Document({"openapi": "3.1.0", "tree": tree})
    assert document.objection(tree, {"child": {"child": {}}}) == ""
    assert document.objection(tree, {"child": {"child": {"leaf": 1}}}).startswith("child.child has a field")
    with pytest.raises(BadDocument, match="itself without end"):
        Document({"a": {"allOf": [{"$ref": "#/a"}]}}).objection({"$ref": "#/a"}, 7)


@pytest.mark.parametrize("schema", [{"properties": {"\ud800": {}}}, {"type": "\ud800"}])
def test_what_cannot_even_be_read_is_a_bad_document(schema):
    for ask in (EMPTY.tidied, EMPTY.sample, lambda schema: EMPTY.objection(schema, 7)):
        with pytest.raises(BadDocument):
            ask(schema)


def test_jsonschema_is_imported_only_when_it_is_needed():
    program = "import sys, checks.kit.openapi; sys.exit('jsonschema' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@TRIES
@given(st.recursive(leaves, lambda c: with_some("object", properties=st.dictionaries(names, c)) | grown(c)))
def test_judgements_are_those_of_jsonschema(schema):
    for value in (None, True, 0, 3, -5, 0.5, "", "ab", [], [1], [1, 1], {}, {"a": 1}, {"a": "x", "b": None}):
        assert EMPTY.allows(schema, value) == judge(schema).is_valid(value)


def test_an_item_is_judged_wherever_it_stands_and_once_where_it_is_the_same():
    one, row = {"type": "integer", "maximum": 9}, [0] * 28
    for value, place in (
        ([1, True], 1),
        ([9, 10], 1),
        ([row, row], 0),
        ([0, 0, "x", "x"], 2),
        ([0, 0], None),
    ):
        said = EMPTY.objection({"items": one, "examples": []}, value)
        assert said.startswith(f"[{place}] is ") if place is not None else said == ""
    assert EMPTY.allows({"prefixItems": [{"type": "string"}], "items": one}, ["x", 0])
    assert not EMPTY.allows({"prefixItems": [{"type": "string"}], "items": one}, ["x", "x"])
    assert EMPTY.allows({"prefixItems": [{}], "items": False}, [0])
    assert EMPTY.objection({"prefixItems": [{}], "items": False}, [0, 0]).startswith("the body is a list")
    EMPTY.objection({"items": {"items": one}}, [row] * 5000)
    assert EMPTY.judge.budget.steps > MAX_STEPS - 6000, "each of 140,000 pixels was judged"


@pytest.mark.parametrize(
    ("pattern", "text", "allowed"),
    [
        ("^v\\d+$", "v12", True),
        ("^[0-9a-f]{64}$", "0" * 63, False),
        ("^(cat|dog)s?$", "dogs", True),
        ("^\\d{4}-\\d{2}-\\d{2}T[0-9:]+Z$", "2026-01-31T12:00:00", False),
        ("^(?=.*\\d)(?=.*[a-z]).{8,}$", "passwords", False),
        ("(a)\\1", "ab", False),
        ("(a+)+$", "a" * 5000 + "b", False),
        ("^(a|a)*$", "a" * 5000 + "b", False),
        ("a*a*a*a*a*a*$", "a" * 5000 + "b", True),
        ("a?" * 60 + "a" * 60, "a" * 59, False),
    ],
)
def test_a_pattern_is_judged_and_holds_up_nothing(pattern, text, allowed):
    began = time.process_time()
    assert EMPTY.allows({"pattern": pattern}, text) == allowed
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "pattern", ["[", "(?P<a>a)(?P=a)", "(?:(?=a)a+)+$", "((a+)\\2?)+$", "(?:a{1000}){1000}", "x" * 10**6]
)
def test_a_pattern_that_cannot_be_read_or_might_take_for_ever_is_left_out(pattern):
    began = time.process_time()
    assert EMPTY.allows({"pattern": pattern}, "a" * 5000 + "b")
    assert time.process_time() - began < 5
