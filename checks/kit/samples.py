"""Values that a schema allows, and values like them that it refuses: bodies for a server that nobody knows.

Made by hand, as what is sent has to make sense to a service for digits: the schema's own examples first, then
digits, and no two texts the same. The libraries that make samples guess without regard to that.
"""

import contextlib
import itertools
import math

from checks.kit.schemas import MAX_REFERENCES, Judge, NoSample, Spent, shown, where

MAX_SPOILT = 12

FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "email": "student@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/",
    "uuid": "01234567-89ab-4cde-8f01-23456789abcd",
}
LOOKS = (*FORMATS.values(), "v1", "a", "A", "v1.0", "1.0.0", "0" * 64, "0" * 40, "0" * 32, "req-1", "abc-123")


def sample(judge: Judge, schema):
    """The smallest value that the schema allows; its own examples come first.
    Raises BadDocument: NoSample where the checks find none."""
    judge.budget.refill()
    try:
        return Sampler(judge).make(schema)
    except (Spent, ArithmeticError):  # the latter from numbers of 400 digits
        raise NoSample("the checks find no value that a schema allows in time: give it an example") from None


class Sampler:
    """Makes the smallest value for one schema after the other: guesses, and asks the judge."""

    def __init__(self, judge: Judge):
        self.judge, self.spend = judge, judge.budget.spend

    def make(self, schema, depth: int = 0, turn: int = 0):
        """The first guess that the schema allows. depth: how far inside; turn: the place among its siblings,
        so that two texts beside each other are not the same. Raises NoSample, or BadDocument."""
        self.spend()
        if depth > MAX_REFERENCES:
            raise NoSample("a schema asks for itself inside itself, without end")
        whole = self.merged_with_parts(self.judge.tidied(schema), depth)
        for guess in self.guesses(whole, depth, turn):
            if self.judge.first_error(schema, guess) is None:
                return guess
        raise NoSample("the checks find no value that a schema allows: give it an example")

    def merged_with_parts(self, schema, depth: int) -> dict:
        """A tidy schema, with what $ref and allOf bring in, as one dict without these."""
        self.spend()
        if depth > MAX_REFERENCES:
            raise NoSample("a schema refers to itself without end")
        if isinstance(schema, bool):
            return {"examples": []} if schema else {"enum": [], "examples": []}
        whole = {word: said for word, said in schema.items() if word not in ("$ref", "allOf")}
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema:
            parts.append(self.judge.tidied(self.judge.find(schema["$ref"])))
        for part in parts:
            whole = merged(whole, self.merged_with_parts(part, depth + 1))
        return whole

    def guesses(self, whole: dict, depth: int, turn: int):
        """Likely values for a schema without $ref and allOf, the best first."""
        self.spend(len(whole))
        yield from whole["examples"][:10]
        if "const" in whole:
            yield whole["const"]
        if "enum" in whole:
            choices = whole["enum"][:50]
            yield from choices[turn % max(len(choices), 1) :] + choices
            return
        branches = [(word, branch) for word in ("anyOf", "oneOf") for branch in whole.get(word, ())[:20]]
        ways = [self.guesses_with(branch, word, whole, depth, turn) for word, branch in branches]
        ways += [
            self.guesses_of_type(name, whole, depth, turn)
            for name in whole.get("type") or likely_types(whole)
        ]
        for way in ways:
            with contextlib.suppress(NoSample):  # another way may do
                yield from way

    def guesses_with(self, branch, word: str, whole: dict, depth: int, turn: int):
        """Guesses for a schema that takes this one of its alternatives."""
        rest = {key: said for key, said in whole.items() if key != word}
        yield from self.guesses(merged(rest, self.merged_with_parts(branch, depth + 1)), depth + 1, turn)

    def guesses_of_type(self, name: str, whole: dict, depth: int, turn: int):
        if name in ("object", "array"):
            return self.objects(whole, depth) if name == "object" else self.arrays(whole, depth)
        if name == "string":
            return texts(whole, turn)
        return {"boolean": (True, False), "null": (None,)}.get(name) or numbers(whole, turn)

    def objects(self, whole: dict, depth: int):
        """The required fields alone, then with as many others as minProperties asks for."""
        known, other = whole.get("properties", {}), whole.get("additionalProperties", True)
        needed = list(dict.fromkeys(whole.get("required", ())))
        optional = [name for name in known if name not in needed]
        more = max(0, min(int(whole.get("minProperties", 0)), 100) - len(needed))
        names = needed + optional[:more]
        names += [f"field{number}" for number in range(more - len(optional[:more]))]
        self.spend(len(names))
        yield self._filled({name: known.get(name, other) for name in names}, depth)

    def _filled(self, fields: dict, depth: int) -> dict:
        return {
            name: self.make(schema, depth + 1, turn) for turn, (name, schema) in enumerate(fields.items())
        }

    def arrays(self, whole: dict, depth: int):
        """As few items as allowed: the same one again and again, or all different where they must be."""
        count, first, items = whole.get("minItems", 0), whole.get("prefixItems", []), whole.get("items", True)
        if count > 10_000:
            raise NoSample(f"a schema asks for {shown(count)} items: the checks do not send that many")
        count = int(count)
        self.spend(count + 1)
        if count == 0:
            yield []
        start = [self.make(schema, depth + 1, turn) for turn, schema in enumerate(first[: max(count, 1)])]
        if whole.get("contains", True) is not True:
            start.append(self.make(whole["contains"], depth + 1))
        rest = max(count, 1) - len(start)
        if whole.get("uniqueItems"):
            yield start + [self.make(items, depth + 1, turn) for turn in range(rest)]
        elif rest > 0:
            yield start + [self.make(items, depth + 1)] * rest
        else:
            yield start


def likely_types(whole: dict) -> list[str]:
    """The types that a schema without a type talks about; a string first where it says nothing."""
    for name, words in (
        ("object", ("properties", "required", "additionalProperties", "minProperties", "propertyNames")),
        ("array", ("items", "prefixItems", "minItems", "maxItems", "contains")),
        ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    ):
        if any(word in whole for word in words):
            return [name]
    return ["string", "integer", "object", "array", "boolean", "null"]


def merged(one: dict, other: dict) -> dict:
    """A schema that asks for what both ask for, as far as a guess needs it: the judge has the last word."""
    both = other | one
    both["examples"] = one["examples"] + other["examples"]
    for word, choose in (
        *((word, max) for word in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")),
        *((word, min) for word in ("maximum", "exclusiveMaximum", "maxLength", "maxItems")),
        ("required", lambda a, b: a + b),
        ("type", lambda a, b: [name for name in a if name in b] or a),
        (
            "properties",
            lambda a, b: b | a | {name: {"allOf": [a[name], b[name]]} for name in a.keys() & b.keys()},
        ),
    ):
        if word in one and word in other:
            both[word] = choose(one[word], other[word])
    return both


def texts(whole: dict, turn: int):
    """Strings: of the format that is asked for, a digit, long enough, and some that patterns like."""
    low, high = whole.get("minLength", 0), whole.get("maxLength", math.inf)
    if low > 100_000:
        raise NoSample(f"a schema asks for {shown(low)} characters: the checks do not send that many")
    if whole.get("format") in FORMATS:
        yield FORMATS[whole["format"]]
    digit = str((7 + 3 * turn) % 10)  # which a service for digits is likely to understand
    if high >= 1:
        yield digit * max(1, int(low)) + (str(turn) if turn >= 10 else "")
    if "pattern" in whole:
        yield from LOOKS
    yield digit * int(low)


def numbers(whole: dict, turn: int):
    """Numbers: the turn itself, 0, and those at the edges of what is allowed."""
    low = max(whole.get("minimum", -math.inf), whole.get("exclusiveMinimum", -math.inf))
    high = min(whole.get("maximum", math.inf), whole.get("exclusiveMaximum", math.inf))
    step = whole.get("multipleOf", 1)
    guesses = [turn, turn * step, 0]
    if math.isfinite(low):
        guesses += [math.ceil(low) + turn, low, math.ceil(low), math.floor(low) + 1]
        guesses += [(math.ceil(low / step) + more) * step for more in (turn, 0, 1)]
    if math.isfinite(high):
        guesses += [high, math.floor(high), math.ceil(high) - 1]
        guesses += [(math.floor(high / step) - more) * step for more in (0, 1)]
    if math.isfinite(low) and math.isfinite(high):
        guesses.append(low / 2 + high / 2)
    yield from guesses


# ---- Values that a schema refuses ----------------------------------------------------------------------


def spoilt(judge: Judge, schema, sample) -> list[tuple[str, object]]:
    """Up to MAX_SPOILT values like `sample` that the schema refuses, of one kind after the other: a field
    lacks, a type is wrong, a number is out of range … Each has a description. Raises BadDocument."""
    judge.budget.refill()
    kinds: dict[str, list] = {}
    with contextlib.suppress(Spent):  # what was found by then is enough
        for place in itertools.islice(places(sample), 15):
            done = set()  # one mistake of a kind is enough in one place
            for kind, words, value in worse(place[-1][1]):
                body = put(place, value)
                if kind not in done and judge.first_error(schema, body) is not None:
                    done |= {kind} - {"lacking"}
                    words = f"{where(key for key, _ in place[1:])} {words}"
                    kinds.setdefault(kind, []).append((words, body))
    rounds = itertools.zip_longest(*kinds.values())
    return [pair for turn in rounds for pair in turn if pair is not None][:MAX_SPOILT]


def places(body):
    """The places in a body, from the outside in: lists of (key, node) from the body to the place itself.
    All fields of an object (the first ten), and the first item of a list."""
    queue = [[(None, body)]]
    for place in queue:
        yield place
        node = place[-1][1]
        children = list(node.items())[:10] if isinstance(node, dict) else []
        children = list(enumerate(node[:1])) if isinstance(node, list) else children
        queue += [[*place, child] for child in children if len(place) < 8]


def put(place: list, value):
    """The body with `value` at that place; the body itself stays as it is."""
    for (key, _), (_, parent) in zip(place[:0:-1], place[-2::-1]):
        changed = parent.copy()
        changed[key] = value
        value = changed
    return value


def worse(node):
    """What may be wrong with a value: (kind, description, wrong value).

    Only mistakes that lax servers see too: "5" for 5 is one that some frameworks forgive, "nonsense" is not.
    """
    if isinstance(node, dict):
        for name in list(node)[:10]:
            yield (
                "lacking",
                f"lacks {shown(name)}",
                {key: value for key, value in node.items() if key != name},
            )
    if isinstance(node, str):
        yield "mistyped", "is an empty list instead of a string", []
    else:
        yield "mistyped", 'is "nonsense"', "nonsense"
    yield "mistyped", "is null", None
    if isinstance(node, int | float) and not isinstance(node, bool):
        for number in (-1, 256, 10, -(10**9), 10**9, 0.5):
            yield "outside", f"is {number}", number
    if isinstance(node, str):
        for text in ("nonsense", "", "7" * 1001):
            yield "outside", f"is {shown(text)}", text
    if isinstance(node, list):
        yield "length", "has one item less", node[:-1]
        yield "length", "has one item more", node + node[-1:]
        yield "length", "is an empty list", []
    if isinstance(node, dict):
        yield "extra", 'has a field "nonsense" more', node | {"nonsense": 0}
