"""Reads a student's OpenAPI document, 3.0 or 3.1, and trusts nothing in it.

    document = Document(json.loads(text))
    document.operation("POST", "/feedback")    an Operation or None: its answers, its body, its key
    document.objection(schema, value)          why a schema refuses a value; "" where it allows it
    document.sample(schema)                    the smallest value that a schema allows
    document.spoilt(schema, sample)            values that a schema refuses, each with a description

The document may be nonsense or hostile: huge, nested deeply, cyclic, with wrong types everywhere. All that
ever comes of it is BadDocument (or its subclass NoSample), and every call ends: a document has at most
MAX_NODES values, of long lists only the start is read, and a judgement takes at most MAX_STEPS steps.
"""

import functools
import itertools
import re
from dataclasses import dataclass
from urllib.parse import unquote

from checks.kit import samples
from checks.kit.exchange import printable
from checks.kit.schemas import MAX_REFERENCES, BadDocument, Judge, NoSample, shown, trouble_with

METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
MAX_LIST = 100  # answers or parameters of an operation, media types of an answer
MAX_OPERATIONS = 500
API_KEY = re.compile(r"(?i)^(x[-_])?api[-_]?key$")


# ---- Operations ----------------------------------------------------------------------------------------


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


# ---- The document --------------------------------------------------------------------------------------


class Document:
    """An OpenAPI document. Raises BadDocument where it is no object, too large, or nested too deeply."""

    def __init__(self, data: dict):
        if not isinstance(data, dict):
            raise BadDocument(f"there is {shown(data)} instead of an object")
        if trouble := trouble_with(data):
            raise BadDocument(trouble)
        self.data = data
        self.version = data.get("openapi") if isinstance(data.get("openapi"), str) else ""
        self.judge = Judge(self.at, old=self.version.startswith("3.0"))

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
        # by hand: `referencing` takes -1 for an index, and raises what it likes where a way is nonsense
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

    def object_at(self, node) -> dict:
        """The node, or what the references in its place lead to; {} where that is no object, or nowhere."""
        for _ in range(MAX_REFERENCES):
            if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
                return node if isinstance(node, dict) else {}
            try:
                node = self.at(node["$ref"])
            except BadDocument:
                return {}
        return {}

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

    # ---- what a schema says ----

    def tidied(self, schema):
        """The schema in JSON Schema 2020-12, less what the checks do not judge. Raises BadDocument."""
        return self.judge.tidied(schema)

    def allows(self, schema, value) -> bool:
        return self.judge.allows(schema, value)

    def objection(self, schema, value) -> str:
        """Why the schema refuses the value, in a sentence; "" where it allows it. Raises BadDocument."""
        return self.judge.objection(schema, value)

    def sample(self, schema):
        """The smallest value that the schema allows. Raises BadDocument, and NoSample where none is found."""
        return samples.sample(self.judge, schema)

    def spoilt(self, schema, sample) -> list[tuple[str, object]]:
        """Values like `sample` that the schema refuses, each with a description. Raises BadDocument."""
        return samples.spoilt(self.judge, schema, sample)
