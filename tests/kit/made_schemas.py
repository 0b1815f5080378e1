"""Schemas that hypothesis makes, a document for them, and jsonschema's own judge."""

import jsonschema
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from checks.kit.openapi import Document

small = st.integers(-5, 5)
counts = st.integers(0, 3)
names = st.sampled_from("abc")


def with_some(kind: str, **words):
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=words)


leaves = st.one_of(
    with_some("integer", minimum=small, maximum=small, multipleOf=st.integers(1, 4)),
    with_some("number", minimum=small, exclusiveMinimum=small, maximum=small, exclusiveMaximum=small),
    with_some("string", minLength=counts, maxLength=counts, enum=st.lists(st.text(max_size=3), min_size=1)),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"const": 7}, {"type": ["integer", "null"]}, True, {}]
    ),
)


def grown(children):
    some = st.lists(children, min_size=1, max_size=2)
    return st.one_of(
        with_some("array", items=children, minItems=counts, maxItems=counts, uniqueItems=st.booleans()),
        with_some(
            "object",
            properties=st.dictionaries(names, children, max_size=3),
            required=st.lists(names, unique=True, max_size=3),
            additionalProperties=st.booleans() | children,
            minProperties=counts,
        ),
        st.fixed_dictionaries({"anyOf": some}),
        st.fixed_dictionaries({"oneOf": some}),
        st.fixed_dictionaries({"allOf": some}),
        st.fixed_dictionaries({"not": children}),
    )


schemas = st.recursive(leaves, grown, max_leaves=8)
TRIES = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
EMPTY = Document({"openapi": "3.1.0"})


def judge(schema) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema)
