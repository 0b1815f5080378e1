"""Values that leave a kernel: plain data, bounded, whatever the kernel says.

Nothing of a student's is called, compared or shown here: what comes is text, and what is made of it has the
types of JSON, exactly; or it is an Asked or a Started, which are ours.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

TELLER = Path(__file__).with_name("teller.py").read_text(encoding="utf-8")
KIND = "application/vnd.pixelwise.plain+json"
LARGEST = 512 << 10  # characters of a value
MOST = 20_000  # numbers, texts, lists … in it
OURS = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding", "expect", "upgrade"}
SETTINGS = {"DEBUG": "(?i:true|false)", "RATE_LIMIT": r"off|\d{1,9}/(second|minute|hour)"}
SETTINGS["TRUSTED_PROXY"] = r"|[0-9a-fA-F.:]{1,45}"  # those that a server of ours is started with
NOT_TAKEN = ("SECRET_API_KEY", "HOST", "PORT")  # it has a key and a place of its own


class NotPlain(Exception):
    """The kernel told no plain value; the message says what instead."""


@dataclass(frozen=True)
class Asked:
    """A request, as the answer to it tells of it: it will be sent again."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self):
        return f"the answer to {self.method} {self.path[:60]}, {len(self.body)} bytes"


@dataclass(frozen=True)
class Started:
    """The settings of a server that was started."""

    settings: dict[str, str]

    def __repr__(self):
        return f"a server with {', '.join(f'{name}={one}' for name, one in self.settings.items())}"


def expression(value: str) -> str:
    """What a kernel evaluates to tell the value of an expression; it leaves no name behind."""
    return (
        f"(lambda own: (exec({TELLER!r}, own), own['Told'](lambda: ({value})))[1])({{'__name__': 'teller'}})"
    )


def received(text):
    """The value that a kernel told. Raises NotPlain."""
    if not isinstance(text, str) or len(text) > LARGEST:
        raise NotPlain(f"what it told is no text of at most {LARGEST} characters")
    try:
        told = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NotPlain("what it told is no JSON") from None
    if not isinstance(told, dict) or len(told) != 1:
        raise NotPlain("what it told is no value")
    if "problem" in told:
        raise NotPlain(str(told["problem"])[:200])
    left = [MOST]
    try:
        return _made(told.get("value"), left)
    except RecursionError:
        raise NotPlain("it goes too deep") from None


def _no_number(name: str):
    raise ValueError(name)


def _made(told, left: list[int]):
    left[0] -= 1
    if left[0] < 0:
        raise NotPlain(f"it has more than {MOST} parts")
    if isinstance(told, list):
        return [_made(one, left) for one in told]
    if not isinstance(told, dict):
        return told
    ((kind, content),) = told.items() if len(told) == 1 else ((None, None),)
    make = {"dict": _dict, "bytes": _bytes, "answer": _asked, "server": _started}.get(kind)
    if make is None:
        raise NotPlain("what it told is no value")
    try:
        return make(content, left)
    except (TypeError, KeyError, AttributeError, ValueError, binascii.Error):
        raise NotPlain(f"what it told is no {kind}") from None


def _dict(content, left):
    return {name: _made(one, left) for name, one in content.items()}


def _bytes(content, left):
    return base64.b64decode(content, validate=True)


def _asked(content, left):
    method, url, headers = content["method"], content["url"], content["headers"]
    split = urlsplit(url)
    path = f"{split.path or '/'}{'?' if split.query else ''}{split.query}"
    if not re.fullmatch(r"[A-Z]{1,10}", method) or not re.fullmatch(r"/[!-~]{0,4000}", path):
        raise ValueError(url)
    if len(headers) > 60:
        raise ValueError(headers)
    kept = {}
    for name, one in headers.items():
        if not re.fullmatch(r"[\w-]{1,100}", name, re.ASCII) or not re.fullmatch(
            "[ -~\x80-\xff]{0,4000}", one
        ):
            raise ValueError(name)
        if name.lower() not in OURS:
            kept[name] = one
    return Asked(method, path, kept, _bytes(content["body"], left))


def _started(content, left):
    content = {name: one for name, one in content.items() if name not in NOT_TAKEN}
    odd = [name for name, one in content.items() if not re.fullmatch(SETTINGS.get(name, "(?!)"), one)]
    if odd:
        raise NotPlain(f"a server with this {odd[0][:40]} is not started here: leave it out")
    return Started(content)
