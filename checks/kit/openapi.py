"""Reads a student's OpenAPI document, 3.0 or 3.1, and trusts nothing in it.

    document = Document(json.loads(text))
    document.problems()                        sentences about what is wrong with the document; none is good
    document.operation("POST", "/feedback")    an Operation or None: its answers, its body, its key
    document.objection(schema, value)          why a schema refuses a value; "" where it allows it
    document.sample(schema)                    the smallest value that a schema allows
    document.spoilt(schema, sample)            values that a schema refuses, each with a description

The document may be nonsense or hostile: huge, nested deeply, cyclic, with wrong types everywhere. All that
ever comes of it is BadDocument (or its subclass NoSample), and every call ends: a document has at most
MAX_NODES values, of long lists only the start is read, and a judgement takes at most MAX_STEPS steps. What
the checks cannot judge (a keyword that is not in KEYWORDS, a pattern that might take for ever), they allow.
"""

import contextlib
import functools
import itertools
import json
import math
import re
import sys
import time
import warnings
from dataclasses import dataclass
from urllib.parse import unquote

from checks.kit.exchange import printable

METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
MAX_NODES = 200_000  # values in a document, or in a value that is judged
MAX_DEPTH = 100
MAX_STEPS = 200_000  # keywords applied to values in one judgement: about a second
MAX_SECONDS = 5  # the last resort, where single steps are slow
MAX_REFERENCES = 30  # references in a chain, or inside each other
MAX_LIST = 100  # answers or parameters of an operation, media types of an answer
MAX_OPERATIONS = 500
MAX_PROBLEMS = 20
MAX_SPOILT = 12
API_KEY = re.compile(r"(?i)^(x[-_])?api[-_]?key$")


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


# ---- Operations -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """A method on a path. method: in capitals; data: what the document says about it, references resolved
    at the top alone; shared: the parameters of its path."""

    document: "Document"
    path: str
    method: str
    data: dict
    shared: tuple = ()

    @property
    def name(self) -> str:
        return f"{self.method} {printable(self.path, 80)}"

    @property
    def told(self) -> str:
        """Its summary or its description, whichever says something."""
        texts = (self.data.get("summary"), self.data.get("description"))
        return next((text for text in texts if isinstance(text, str) and text.strip()), "")

    # ---- what it answers ----

    @property
    def responses(self) -> dict[str, dict]:
        """Its answers by status: "200", "4XX", "default". One that cannot be read is an empty dict."""
        return {
            status: self.document.object_at(node) for status, node in start_of(self.data.get("responses"))
        }

    def response(self, status: int | str) -> dict | None:
        """What the document says about answers with this status, by number, by range, or by default."""
        responses = self.responses
        names = (str(status), f"{str(status)[:1]}XX", f"{str(status)[:1]}xx", "default")
        return next((responses[name] for name in names if name in responses), None)

    def statuses(self, first: str) -> list[str]:
        """The documented statuses that start with this digit, in order."""
        return sorted(
            status for status in self.responses if re.fullmatch(f"{first}([0-9][0-9]|XX|xx)", status)
        )

    def content(self, status: int | str) -> dict[str, dict]:
        """The media types of that answer, in lower case, without parameters, and what stands beside them."""
        return self.document.content_of(self.response(status) or {})

    def response_schema(self, status: int | str):
        """The schema of that answer in JSON, or None."""
        return schema_of(self.content(status))

    def mismatch(self, status: int | str, value) -> str:
        """Why `value` is not what the document promises for this status; "" where it is, or none is promised.
        Raises BadDocument."""
        schema = self.response_schema(status)
        return "" if schema is None else self.document.objection(schema, value)

    # ---- what it takes ----

    @property
    def request(self) -> dict[str, dict]:
        """The media types of its body, as `content` gives them."""
        return self.document.content_of(self.document.object_at(self.data.get("requestBody")))

    def request_schema(self):
        """The schema of its body in JSON, or None."""
        return schema_of(self.request)

    def request_examples(self) -> list:
        """The bodies that the document gives as examples, beside the schema."""
        media = next((media for name, media in self.request.items() if is_json(name)), {})
        objects = [self.document.object_at(node) for _, node in start_of(media.get("examples"))]
        examples = [media["example"]] if "example" in media else []
        return examples + [example["value"] for example in objects if "value" in example]

    def request_sample(self):
        """A body that its schema allows: the first good example, else a made one. Raises BadDocument."""
        schema = self.request_schema()
        for example in self.request_examples():
            if self.document.allows(schema, example):
                return example
        return self.document.sample(schema)

    @property
    def parameters(self) -> list[dict]:
        """Its parameters, and those of its path that it does not replace."""
        own = (node for _, node in start_of(self.data.get("parameters"), list))
        found = [self.document.object_at(node) for node in (*self.shared, *own)]
        named = {
            (str(each.get("in")), str(each.get("name")).lower()): each for each in found if "name" in each
        }
        return list(named.values())

    @property
    def security(self) -> list[dict]:
        """The schemes of which each asks for a key; empty where the operation works without one."""
        said = start_of(self.data.get("security", self.document.data.get("security")), list)
        alternatives = [one for _, one in said if isinstance(one, dict)]
        if {} in alternatives:
            return []
        schemes = self.document.security_schemes
        return [schemes.get(name, {}) for one in alternatives for name, _ in start_of(one)]

    @property
    def needs_key(self) -> bool:
        """Whether a request without the key is to be refused: a scheme, or a required header, says so."""
        return bool(self.security) or any(each.get("required") is True for each in self._key_headers())

    def _key_headers(self) -> list[dict]:
        headers = (each for each in self.parameters if each.get("in") == "header")
        return [each for each in headers if API_KEY.match(str(each["name"]))]

    def credentials(self, key: str) -> dict[str, str]:
        """The headers that carry the key where the document asks for it, or offers to take it.
        Raises BadDocument: NoSample where it asks for it elsewhere than in a header."""
        headers = {str(each["name"]): key for each in self._key_headers()}
        for scheme in self.security:
            if not scheme:
                raise BadDocument(f"{self.name} asks for a security scheme that is not described")
            kind = (str(scheme.get("type")).lower(), str(scheme.get("in", scheme.get("scheme"))).lower())
            name = str(scheme.get("name"))
            if kind == ("apikey", "header") and re.fullmatch(r"[A-Za-z0-9-]{1,60}", name):
                return headers | {name: key}
            if kind in (("http", "bearer"), ("oauth2", "none")):
                return headers | {"Authorization": f"Bearer {key}"}
        if self.security:
            raise NoSample(
                f"{self.name} asks for the key elsewhere than in a header: the checks cannot send it"
            )
        return headers


def start_of(node, kind: type = dict) -> list[tuple]:
    """The first MAX_LIST pairs of an object, or of a list (kind) with their places; none of anything else."""
    if not isinstance(node, kind):
        return []
    return list(itertools.islice(node.items() if kind is dict else enumerate(node), MAX_LIST))


def is_json(media_type: str) -> bool:
    """Whether a media type, perhaps with a wildcard, stands for JSON."""
    return bool(re.fullmatch(r"application/(json|\*|[\w.-]+\+json)|\*/\*", media_type))


def schema_of(content: dict[str, dict]):
    """The schema beside the first media type that stands for JSON, or None."""
    return next((media.get("schema") for name, media in content.items() if is_json(name)), None)


# ---- The document ---------------------------------------------------------------------------------------


class Document:
    """An OpenAPI document. Raises BadDocument where it is no object, too large, or nested too deeply."""

    def __init__(self, data: dict):
        if not isinstance(data, dict):
            raise BadDocument(f"there is {shown(data)} instead of an object")
        if trouble := trouble_with(data):
            raise BadDocument(trouble)
        self.data = data
        self.version = data.get("openapi") if isinstance(data.get("openapi"), str) else ""
        self._tidied: dict[int, tuple] = {}
        self._budget = Budget()

    @functools.cached_property
    def security_schemes(self) -> dict[str, dict]:
        components = self.object_at(self.data.get("components"))
        schemes = self.object_at(components.get("securitySchemes"))
        return {name: self.object_at(node) for name, node in start_of(schemes)}

    # ---- finding things ----

    def at(self, pointer: str):
        """The node that a local reference, "#/components/schemas/Picture", names (RFC 6901).
        Raises BadDocument."""
        if not re.fullmatch(r"#(/.*)?", pointer[:500], re.DOTALL) or len(pointer) > 500:
            raise BadDocument(f"the reference {shown(pointer)} leads out of the document")
        node = self.data
        for part in unquote(pointer[1:]).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, list) and re.fullmatch("0|[1-9][0-9]{0,5}", part) and int(part) < len(node):
                node = node[int(part)]
            else:
                raise BadDocument(f"the reference {shown(pointer)} leads nowhere")
        return node

    def resolve(self, node):
        """The node itself, or what the references that start there lead to. Raises BadDocument."""
        seen = set()
        while isinstance(node, dict) and isinstance(node.get("$ref"), str):
            if node["$ref"] in seen:
                raise BadDocument(f"the reference {shown(node['$ref'])} leads back to itself")
            if len(seen) >= MAX_REFERENCES:
                raise BadDocument(f"a chain of references goes on behind {shown(node['$ref'])}")
            seen.add(node["$ref"])
            node = self.at(node["$ref"])
        return node

    def object_at(self, node) -> dict:
        """The resolved node, or {} where it is no object or leads nowhere: `problems` tells of that."""
        try:
            node = self.resolve(node)
        except BadDocument:
            return {}
        return node if isinstance(node, dict) else {}

    def content_of(self, node: dict) -> dict[str, dict]:
        """The `content` of an answer or of a request body: media types in lower case, without parameters."""
        content = start_of(self.object_at(node.get("content")))
        return {name.partition(";")[0].strip().lower(): self.object_at(media) for name, media in content}

    def operations(self) -> list[Operation]:
        """The methods on all paths, in the order of the document; what cannot be read is left out."""
        paths = self.object_at(self.data.get("paths"))
        found = (one for path, node in paths.items() for one in self._operations_of(path, node))
        return list(itertools.islice(found, MAX_OPERATIONS))

    def _operations_of(self, path: str, node) -> list[Operation]:
        item = self.object_at(node)
        shared = tuple(each for _, each in start_of(item.get("parameters"), list))
        methods = [word for word in METHODS if isinstance(item.get(word), dict)]
        return [Operation(self, path, word.upper(), item[word], shared) for word in methods]

    def operation(self, method: str, path: str) -> Operation | None:
        return next(
            (one for one in self.operations() if (one.method, one.path) == (method.upper(), path)), None
        )

    # ---- is it an OpenAPI document at all? ----

    def problems(self) -> list[str]:
        """What is wrong with its structure, a sentence each, at most MAX_PROBLEMS. Never raises."""
        return list(itertools.islice(dict.fromkeys(self._problems()), MAX_PROBLEMS))

    def _problems(self):
        if not re.fullmatch(r"3\.[01]\.\d+(-.{1,20})?", self.version[:40]):
            yield f'openapi is {shown(self.data.get("openapi"))}: it says which version, such as "3.1.0"'
        info = self.data.get("info")
        for word in ("title", "version"):
            if not isinstance(info, dict) or not isinstance(info.get(word), str):
                yield f"info has no {word}"
        paths = self.data.get("paths")
        if not isinstance(paths, dict) or not paths:
            yield "there are no paths"
        else:
            for path, node in paths.items():
                yield from self._problems_of_path(path, self.object_at(node))
            for operation in self.operations():
                yield from self._problems_of_operation(operation)
        yield from self._lost_references()

    def _problems_of_path(self, path: str, item: dict):
        if path.startswith("x-"):
            return
        if not path.startswith("/"):
            yield f"the path {shown(path)} does not start with /"
        words = [word for word in METHODS if word in item]
        if not words:
            yield f"the path {shown(path)} has no methods"
        for word in words:
            if not isinstance(item[word], dict):
                yield f"{word.upper()} {printable(path, 80)} is {shown(item[word])} instead of an object"

    def _problems_of_operation(self, operation: Operation):
        responses = operation.responses
        if not responses:
            yield f"{operation.name} has no responses"
        for status, response in responses.items():
            if not re.fullmatch(r"[1-5]([0-9][0-9]|XX)|default|x-.*", status, re.DOTALL):
                yield f"{operation.name} answers {shown(status)}, which is no status"
            elif not isinstance(response.get("description"), str):
                yield f"{operation.name} has no description for {status}"
        declared = {str(each["name"]) for each in operation.parameters if each.get("in") == "path"}
        for name in set(re.findall(r"\{([^{}]{1,60})\}", operation.path[:500])) - declared:
            yield f"{operation.name} does not declare the parameter {shown(name)} of its path"
        if {} in operation.security:
            yield f"{operation.name} asks for a security scheme that is not described"
        contents = [operation.request, *map(self.content_of, responses.values())]
        for schema in filter(None, map(schema_of, contents)):
            try:
                self.tidied(schema)
            except BadDocument as problem:
                yield f"{operation.name} has a schema where {problem}"

    def _lost_references(self):
        """References that lead nowhere, wherever they stand, except in examples and other plain values."""
        stack = [(self.data, False)]
        while stack:
            node, names = stack.pop()  # names: the keys of this node are chosen by the author
            if isinstance(node, list):
                stack.extend((child, False) for child in node)
            elif isinstance(node, dict):
                if not names and isinstance(node.get("$ref"), str):
                    try:
                        self.resolve(node)
                    except BadDocument as problem:
                        yield str(problem)
                plain = () if names else ("example", "examples", "default", "enum", "const", "value")
                inside = ("properties", "schemas", "responses", "parameters", "headers", "requestBodies")
                stack.extend(
                    (child, not names and word in inside) for word, child in node.items() if word not in plain
                )

    # ---- what a schema says ----

    def tidied(self, schema):
        """The schema in JSON Schema 2020-12, less what the checks do not judge. Raises BadDocument."""
        if id(schema) not in self._tidied:
            tidy = tidy_schema(schema, old=self.version.startswith("3.0"))
            self._tidied[id(schema)] = (
                schema,
                tidy,
            )  # holding on to the schema keeps its id from being reused
        return self._tidied[id(schema)][1]

    def allows(self, schema, value) -> bool:
        return not self.objection(schema, value)

    def objection(self, schema, value) -> str:
        """Why the schema refuses the value, in a sentence; "" where it allows it. Raises BadDocument."""
        if trouble := trouble_with(value):
            return trouble
        self._budget.refill()
        error = self._first_error(schema, value)
        return "" if error is None else explained(error)

    def _first_error(self, schema, value):
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
        # imported late, since it is slow; beside JupyterLab it would import this too: seconds, for formats
        sys.modules.setdefault("rfc3987_syntax", None)
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend

        budget = self._budget

        def follow(judge, pointer, value, schema):
            yield from judge.descend(value, self.tidied(self.at(pointer)))

        def unique(judge, wanted, value, schema):
            few = isinstance(value, list) and len(value) <= 500  # comparing all with all takes its time
            return (
                Draft202012Validator.VALIDATORS["uniqueItems"](judge, wanted, value, schema) if few else None
            )

        own = {"$ref": follow, "pattern": match_pattern, "uniqueItems": unique}
        rules = {
            word: Draft202012Validator.VALIDATORS[word] for word in KEYWORDS if word not in ("then", "else")
        }
        return extend(
            Draft202012Validator, {word: budget.spent_on(word, rule) for word, rule in (rules | own).items()}
        )

    def sample(self, schema):
        """The smallest value that the schema allows; its own examples come first.
        Raises BadDocument: NoSample where the checks find none."""
        self._budget.refill()
        try:
            return Sampler(self).make(schema)
        except Spent:
            raise NoSample(
                "the checks find no value that a schema allows in time: give it an example"
            ) from None

    def spoilt(self, schema, sample) -> list[tuple[str, object]]:
        """Up to MAX_SPOILT values like `sample` that the schema refuses, of one kind after the other: a field
        lacks, a type is wrong, a number is out of range … Each has a description. Raises BadDocument."""
        self._budget.refill()
        kinds: dict[str, list] = {}
        with contextlib.suppress(Spent):  # what was found by then is enough
            for place in itertools.islice(places(sample), 15):
                done = set()  # one mistake of a kind is enough in one place
                for kind, words, value in worse(place[-1][1]):
                    body = put(place, value)
                    if kind not in done and self._first_error(schema, body) is not None:
                        done |= {kind} - {"lacking"}
                        words = f"{where(key for key, _ in place[1:])} {words}"
                        kinds.setdefault(kind, []).append((words, body))
        rounds = itertools.zip_longest(*kinds.values())
        return [pair for turn in rounds for pair in turn if pair is not None][:MAX_SPOILT]


class Spent(BadDocument):
    """A judgement took too long."""


class Budget:
    """How long a judgement may still take."""

    def __init__(self):
        self.refill()

    def refill(self) -> None:
        self.steps, self.deadline = MAX_STEPS, time.monotonic() + MAX_SECONDS

    def spend(self, steps: int = 1) -> None:
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


# ---- Schemas --------------------------------------------------------------------------------------------

TYPES = ("string", "integer", "number", "object", "array", "boolean", "null")


def is_type(value) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in TYPES for name in names)


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def is_step(value) -> bool:
    return is_number(value) and value > 1e-100


def is_count(value) -> bool:
    return is_number(value) and 0 <= value == int(value)


def is_list_of_names(value) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def is_schema(value) -> bool:
    return isinstance(value, dict | bool)


def is_list_of_schemas(value) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_schema, value))


def is_object_of_schemas(value) -> bool:
    return isinstance(value, dict) and all(map(is_schema, value.values()))


SCHEMA, SCHEMAS, NAMED_SCHEMAS = is_schema, is_list_of_schemas, is_object_of_schemas
KEYWORDS = {  # what the checks judge, and what may stand there
    "$ref": lambda value: isinstance(value, str),
    "type": is_type,
    "enum": lambda value: isinstance(value, list),
    "const": lambda value: True,
    "minimum": is_number,
    "maximum": is_number,
    "exclusiveMinimum": is_number,
    "exclusiveMaximum": is_number,
    "multipleOf": is_step,
    "minLength": is_count,
    "maxLength": is_count,
    "pattern": lambda value: isinstance(value, str),
    "minItems": is_count,
    "maxItems": is_count,
    "uniqueItems": lambda value: isinstance(value, bool),
    "prefixItems": SCHEMAS,
    "items": SCHEMA,
    "contains": SCHEMA,
    "minProperties": is_count,
    "maxProperties": is_count,
    "required": is_list_of_names,
    "properties": NAMED_SCHEMAS,
    "additionalProperties": SCHEMA,
    "propertyNames": SCHEMA,
    "allOf": SCHEMAS,
    "anyOf": SCHEMAS,
    "oneOf": SCHEMAS,
    "not": SCHEMA,
    "if": SCHEMA,
    "then": SCHEMA,
    "else": SCHEMA,
}


def tidy_schema(schema, old: bool = False):
    """The schema, a dict or a bool, with nothing but well-typed KEYWORDS, `examples` and `format`.

    What OpenAPI 3.0 and older drafts write otherwise is translated (nullable, exclusiveMinimum: true, a list
    of items). old: it is 3.0, where nothing counts beside a $ref. Raises BadDocument.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise BadDocument(f"there is {shown(schema)} instead of a schema")
    if old and isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"], "examples": []}
    schema = translated(schema)
    tidy = {}
    for word, fits in KEYWORDS.items():
        if word not in schema:
            continue
        said = schema[word]
        if not fits(said):
            raise BadDocument(f"a schema says {word}: {shown(said)}, which JSON Schema does not know")
        if fits is SCHEMA:
            said = tidy_schema(said, old)
        elif fits is SCHEMAS:
            said = [tidy_schema(one, old) for one in said]
        elif fits is NAMED_SCHEMAS:
            said = {name: tidy_schema(one, old) for name, one in said.items()}
        tidy[word] = said
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


def match_pattern(judge, pattern: str, value, schema):
    """The rule for `pattern`. One that might take for ever is not judged, nor one that Python cannot read."""
    from jsonschema import ValidationError

    if isinstance(value, str) and is_quick(pattern, len(value)) and not re.search(pattern, value):
        yield ValidationError(f"the pattern is {pattern}")


def is_quick(pattern: str, length: int) -> bool:
    """Whether the pattern is sure to be done soon with a text of this length.

    Every part that may match more or less multiplies the ways to try: an unlimited repeat by the length, an
    option or an alternative by two. A repeated group or a back-reference can be worse than that.
    """
    if len(pattern) > 200:
        return False
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern, flags=re.DOTALL)
    if re.search(r"\)[*+{]|\(\?[^:=!<]", bare) or re.search(r"\\[1-9]", pattern):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    repeats = len(re.findall(r"[*+]|\{\d*,\d*\}", bare))
    choices = len(re.findall(r"\||(?<!\()\?", bare))
    return (repeats + 1) * math.log2(length + 2) + choices < 22


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


# ---- Values that a schema allows ------------------------------------------------------------------------

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


class Sampler:
    """Makes the smallest value for one schema after the other: guesses, and asks the judge."""

    def __init__(self, document: Document):
        self.document, self.spend = document, document._budget.spend

    def make(self, schema, depth: int = 0, turn: int = 0):
        """The first guess that the schema allows. depth: how far inside; turn: the place among its siblings,
        so that two texts beside each other are not the same. Raises NoSample, or BadDocument."""
        self.spend()
        if depth > MAX_REFERENCES:
            raise NoSample("a schema asks for itself inside itself, without end")
        whole = self.merged_with_parts(self.document.tidied(schema), depth)
        for guess in self.guesses(whole, depth, turn):
            if self.document._first_error(schema, guess) is None:
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
            parts.append(self.document.tidied(self.document.at(schema["$ref"])))
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


# ---- Values that a schema refuses -----------------------------------------------------------------------


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
