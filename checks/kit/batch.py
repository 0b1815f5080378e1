"""Pictures for POST /classify/batch: where its schema wants them, in a body, and what is said of each."""

import itertools
import json
import math

from checks.kit.core import CannotCheck
from checks.kit.exchange import Answer, printable
from checks.kit.expect import demand
from checks.kit.openapi import Document, Operation

TOLERANCE = 1e-6
BLANK = [[0] * 28] * 28


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
