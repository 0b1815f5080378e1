"""What was asked and what came back, as a report shows it: Answer, Exchange, evidence, a curl line."""

import json
import re
import shlex

SHOWN = 300  # characters of a text that a report shows
OF_THE_CLIENT = ("User-Agent", "Accept", "Connection")  # headers that say nothing of what is asked


def printable(text: str, length: int = SHOWN) -> str:
    """The text without what could steer a terminal, in one line, cut to `length`."""
    cut = text[: 4 * length]
    plain = "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" if ord(character) < 256 else "?"
        for character in cut
    )
    return plain if len(plain) <= length and len(text) == len(cut) else plain[: length - 1] + "…"


class Answer:
    """status: int; headers: list of (name, value); body: bytes."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name: str) -> str | None:
        """The value of a header, several joined as RFC 9110 says, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def media_type(self) -> str:
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    def json(self):
        """The body as JSON, or None where it is none (then `kind` says what it is)."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def kind(self) -> str:
        """What the body is, in a word or two."""
        if not self.body:
            return "nothing"
        if self.json() is not None or self.body.strip() == b"null":
            return "JSON"
        start = self.body[:500].lstrip().lower()
        return (
            "HTML"
            if start.startswith((b"<!doctype", b"<html", b"<h1", b"<head", b"<title"))
            else "plain text"
        )

    def __str__(self) -> str:
        """As a failure shows it: the status and the start of the body."""
        text = printable(self.body.decode("utf-8", "replace"), 120)
        return f"{self.status} with {text}" if text else f"{self.status} with an empty body"


class Exchange:
    """A request and what came of it: an Answer or a sentence that says why there is none."""

    def __init__(self, url, method, path, headers, body, source=None, curl_body=None):
        self.url, self.method, self.path, self.headers, self.body = url, method, path, headers, body
        self.source, self.curl_body, self.answer, self.problem = source, curl_body, None, ""
        self.secrets: list[str] = []
        self.client = ""  # who asked: the address, and what it said it is
        self.times = 1  # how often the same request was sent in a row

    @property
    def asked(self) -> tuple:
        """What makes it the same request as another, whoever asked."""
        told = {name: value for name, value in self.headers.items() if name not in OF_THE_CLIENT}
        return self.method, self.path, told, self.body

    def as_evidence(self) -> dict:
        body = (self.body or b"").decode("utf-8", "replace")
        told = {
            "request": {
                "method": self.method,
                "path": printable(self._hide(self.path)),
                "headers": {name: self._hide(value) for name, value in self.headers.items()},
                "body": printable(self._hide(body)),
            }
        }
        if self.answer:
            told["answer"] = {
                "status": self.answer.status,
                "headers": {
                    printable(self._hide(name), 60): printable(self._hide(value))
                    for name, value in self.answer.headers[:30]
                },
                "body": printable(self._hide(self.answer.body[: 4 * SHOWN].decode("utf-8", "replace"))),
            }
        else:
            told["problem"] = self.problem
        return told

    def _hide(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "$SECRET_API_KEY")
        return text

    def as_curl(self) -> str:
        """The shortest curl line that sends this again; the key stands in it as $SECRET_API_KEY."""

        words = ["curl", "-i"]
        if self.method == "HEAD":
            words = ["curl", "-I"]
        elif self.method != ("GET" if self.body is None else "POST"):
            words += ["-X", self.method]
        if self.source:
            words += ["--interface", self.source]
        for name, value in self.headers.items():
            if name not in OF_THE_CLIENT or self.source:
                words += ["-H", self._quoted(f"{name}: {value}".encode())]
        if self.body is not None:
            words += ["-d", self.curl_body or self._quoted(self.body)]
        if self.body is not None and "Content-Type" not in self.headers:
            words += ["-H", "Content-Type:"]
        line = " ".join([*words, self._quoted((self.url + self.path).encode())])
        return f"for i in $(seq {self.times}); do {line}; done" if self.times > 1 else line

    def _quoted(self, data: bytes) -> str:
        """The bytes as a word for bash, with the key as a variable."""
        text = data.decode("utf-8", "surrogateescape")
        hidden = self._hide(text)
        if hidden != text:
            return '"' + re.sub(r'(["\\`]|\$(?!SECRET_API_KEY))', r"\\\1", hidden) + '"'
        if text.isprintable():
            return shlex.quote(text)
        return "$'" + "".join(ANSI_C.get(byte) or f"\\x{byte:02x}" for byte in data) + "'"


# how bash's $'…' spells a byte: those that are printable and mean nothing stand for themselves
ANSI_C = {byte: chr(byte) for byte in range(32, 127) if chr(byte) not in "'\\"}
