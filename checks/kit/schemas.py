"""Schemas of a document that nobody trusts, judged by jsonschema within a bounded time.

Here a schema is made harmless: it is read into plain JSON Schema 2020-12, and refused where it is none; every
step of a judgement is paid for out of a Budget; and no pattern can hold up the engine that tries it. What the
checks do not judge (a keyword that is not in KEYWORDS, a pattern that cannot be read), they allow.
"""

import functools
import json
import math
import time

import jsonschema_rs

from checks.kit.exchange import printable

MAX_NODES = 200_000  # values in a document, or in a value that is judged
MAX_DEPTH = 100
MAX_REFERENCES = 30  # references in a chain, or inside each other
MAX_STEPS = 200_000  # keywords applied to values in one judgement: about a second
MAX_SECONDS = 5  # the last resort, where single steps are slow

ONE_SCHEMA = ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else")
SOME_SCHEMAS = ("prefixItems", "allOf", "anyOf", "oneOf")
KEYWORDS = (  # what the checks judge
    *("$ref", "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems"),
    *("minProperties", "maxProperties", "required", "properties", *ONE_SCHEMA, *SOME_SCHEMAS),
)
# its time is linear in the length of a text or, where a pattern looks around or back, limited
ENGINE = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000, size_limit=1 << 20)


class BadDocument(ValueError):
    """The document cannot be used. The message goes on after "an OpenAPI document where"."""


class NoSample(BadDocument):
    """Nobody is to blame: this schema is too clever for the checks to find a value that it allows."""


def shown(value) -> str:
    """A value of the document in a few printable characters."""
    if isinstance(value, str):
        return f'"{printable(value, 60)}"'
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return printable(json.dumps(value) if abs(value or 0) < 1e100 else "a huge number", 60)


def trouble_with(value, max_nodes: int = MAX_NODES) -> str:
    """Why a JSON value is not taken at all; "" where it is small and flat enough, with finite numbers."""
    stack, nodes = [(value, 0)], 0
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if nodes > max_nodes:
            return f"there are more than {max_nodes} values"
        if depth > MAX_DEPTH:
            return f"values are nested more than {MAX_DEPTH} deep"
        if isinstance(node, float) and not math.isfinite(node):
            return "a number is NaN or infinite, which JSON does not know"
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((child, depth + 1) for child in children)
    return ""


# ---- Reading schemas -----------------------------------------------------------------------------------


def tidy_schema(schema, old: bool = False):
    """The schema, a dict or a bool, with nothing but KEYWORDS, `examples` and `format`.

    What OpenAPI 3.0 and older drafts write otherwise is translated (nullable, exclusiveMinimum: true, a list
    of items). old: it is 3.0, where nothing counts beside a $ref. Raises BadDocument.
    """
    tidy = _tidy(schema, old)
    try:
        jsonschema_rs.meta.validate(tidy)
    except jsonschema_rs.ValidationError as problem:
        word, said = (
            next((word for word in problem.instance_path[::-1] if word in KEYWORDS), ""),
            problem.instance,
        )
        if word == "type" and isinstance(said, list) and len(said) == 1:
            said = said[0]  # the list is ours
        raise BadDocument(f"a schema says {word}: {shown(said)}, which JSON Schema does not know") from None
    except ValueError:  # half a character
        raise BadDocument("a schema has a text that is no Unicode") from None
    return tidy


def _tidy(schema, old: bool):
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise BadDocument(f"there is {shown(schema)} instead of a schema")
    if old and isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"], "examples": []}
    schema = translated(schema)
    tidy = {word: schema[word] for word in KEYWORDS if word in schema}
    for word in tidy.keys() & set(ONE_SCHEMA):
        tidy[word] = _tidy(tidy[word], old)
    for word in tidy.keys() & set(SOME_SCHEMAS):
        if isinstance(tidy[word], list):
            tidy[word] = [_tidy(one, old) for one in tidy[word]]
    if isinstance(tidy.get("properties"), dict):
        tidy["properties"] = {name: _tidy(one, old) for name, one in tidy["properties"].items()}
    if "type" in tidy and isinstance(tidy["type"], str):
        tidy["type"] = [tidy["type"]]
    if "patternProperties" in schema:
        tidy.pop("additionalProperties", None)  # which names are additional is not judged then
    if isinstance(schema.get("format"), str):
        tidy["format"] = schema["format"]
    examples = schema.get("examples")
    examples = examples if isinstance(examples, list) else []
    tidy["examples"] = [schema[word] for word in ("example", "default") if word in schema] + examples
    if schema.get("nullable") is True:
        return {"anyOf": [tidy, {"type": ["null"], "examples": []}], "examples": []}
    return tidy


def translated(schema: dict) -> dict:
    """The schema with the newer words for what older ones say."""
    schema = dict(schema)
    for limit, word in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(word), bool) and schema.pop(word) and limit in schema:
            schema[word] = schema.pop(limit)
    if isinstance(schema.get("items"), list):
        items, rest = schema.pop("items"), schema.pop("additionalItems", True)
        schema |= {"items": rest} | ({"prefixItems": items} if items else {})
    return schema


# ---- Judging -------------------------------------------------------------------------------------------


class Judge:
    """Judges values by the schemas of one document.

    find: what a reference of the document leads to, or BadDocument; old: it is OpenAPI 3.0.
    """

    def __init__(self, find, old: bool):
        self.find, self.old, self.budget = find, old, Budget()
        self._tidied: dict[int, tuple] = {}

    def tidied(self, schema):
        """The schema in JSON Schema 2020-12, less what the checks do not judge. Raises BadDocument."""
        if id(schema) not in self._tidied:
            # holding on to the schema keeps its id from being reused
            self._tidied[id(schema)] = (schema, tidy_schema(schema, self.old))
        return self._tidied[id(schema)][1]

    def allows(self, schema, value) -> bool:
        """Whether the schema has no objection. Raises BadDocument."""
        return not self.objection(schema, value)

    def objection(self, schema, value) -> str:
        """Why the schema refuses the value, in a sentence; "" where it allows it. Raises BadDocument."""
        if trouble := trouble_with(value):
            return trouble
        self.budget.refill()
        error = self.first_error(schema, value)
        return "" if error is None else explained(error)

    def first_error(self, schema, value):
        """The first jsonschema ValidationError or None; the budget goes on being spent."""
        try:
            return next(self._judge_class(self.tidied(schema)).iter_errors(value), None)
        except RecursionError:
            raise BadDocument("a schema refers to itself without end") from None
        except (ArithmeticError, ValueError) as problem:  # what jsonschema makes of numbers with 400 digits
            if isinstance(problem, BadDocument):
                raise
            raise BadDocument("a schema has numbers that cannot be judged") from None

    @functools.cached_property
    def _judge_class(self):
        """jsonschema's validator, with a budget, safe patterns, and references into this document."""
        # imported late, since it is slow
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend

        budget = self.budget

        def follow(judge, pointer, value, schema):
            yield from judge.descend(value, self.tidied(self.find(pointer)))

        def unique(judge, wanted, value, schema):
            few = isinstance(value, list) and len(value) <= 500  # comparing all with all takes its time
            return known["uniqueItems"](judge, wanted, value, schema) if few else None

        def each_once(judge, wanted, value, schema):
            if wanted is False or not isinstance(value, list):
                return (yield from known["items"](judge, wanted, value, schema))
            start = len(schema.get("prefixItems", ()))
            # the same object is judged once: a picture has few different pixels, and a sample's rows are one
            first = {id(item): place for place, item in reversed(list(enumerate(value[start:], start)))}
            for place in sorted(first.values()):
                yield from judge.descend(value[place], wanted, path=place)

        known = Draft202012Validator.VALIDATORS
        own = {"$ref": follow, "pattern": match_pattern, "uniqueItems": unique, "items": each_once}
        rules = {word: rule for word, rule in known.items() if word in KEYWORDS} | own
        return extend(
            Draft202012Validator, {word: budget.spent_on(word, rule) for word, rule in rules.items()}
        )


class Spent(BadDocument):
    """A judgement took too long."""


class Budget:
    """How long a judgement may still take."""

    def __init__(self):
        self.refill()

    def refill(self) -> None:
        """Allow as much as at first."""
        self.steps, self.deadline = MAX_STEPS, time.monotonic() + MAX_SECONDS

    def spend(self, steps: int = 1) -> None:
        """Raises Spent where so many steps are too many, or the time is up."""
        self.steps -= steps
        if self.steps < 0 or time.monotonic() > self.deadline:
            raise Spent("a schema takes too long to judge")

    def spent_on(self, word: str, rule):
        """The rule of a keyword, paid for: by how much it says, and by the items that it looks at."""
        looks_at_each = word in ("items", "contains", "additionalProperties", "propertyNames")

        def paid(judge, said, value, schema):
            self.spend(len(said) if isinstance(said, list | dict) else 1)
            if looks_at_each and isinstance(value, list | dict):
                self.spend(len(value))
            return rule(judge, said, value, schema)

        return paid


def match_pattern(judge, pattern: str, value, schema):
    """The rule for `pattern`. One that ENGINE cannot read, or gives up, is not judged."""
    from jsonschema import ValidationError

    if isinstance(value, str) and contradicts(pattern, value):
        yield ValidationError(f"the pattern is {pattern}")


def contradicts(pattern: str, text: str) -> bool:
    """Whether a pattern that can be read is nowhere in the text."""
    try:
        errors = list(jsonschema_rs.iter_errors({"pattern": pattern}, text, pattern_options=ENGINE))
    except ValueError:
        return False
    return any(isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Pattern) for error in errors)


KINDS = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def explained(error) -> str:
    """A jsonschema ValidationError as a short sentence; its own message may repeat the whole value."""
    value, word, said = error.instance, error.validator, error.validator_value
    place = where(error.absolute_path)
    if word == "required":
        return f"{place} lacks the field {shown(next(name for name in said if name not in value))}"
    if word == "additionalProperties" and isinstance(value, dict):
        return f"{place} has a field that the schema does not know"
    kind = KINDS.get(type(value), "null")
    is_short = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 60)
    what = f"{kind} ({shown(value)})" if is_short else kind
    if word == "type":
        return f"{place} is {what}, but the schema says {printable(' or '.join(said), 80)}"
    if word is None or isinstance(said, list | dict):
        return f"{place} is {what}, which the schema does not allow{f' ({word})' if word else ''}"
    return f"{place} is {what}, but the schema says {word} {shown(said)}"


def where(keys) -> str:
    """The way to a place in a body: "pixels[3][17]"; "the body" for the body itself."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{printable(key, 40)}" for key in keys)
    return text.removeprefix(".") or "the body"
