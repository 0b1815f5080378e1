"""Runs in the kernel of a student, and nowhere else: tells a value as plain data, in JSON.

What it says is what the student's process says, and is believed no more than that: see plain.py.
"""

import base64
import decimal
import itertools
import json
import math
import numbers
import os
import pathlib
from collections.abc import Iterable, Mapping

MOST = 20_000
PLAIN = "give a number, a text, True or False, or a list or dict of them"


class NoValue(Exception):
    """A value cannot leave; the message says what can, in its place."""


class Told:
    """What Jupyter shows of it under a type of its own is the value that `find` finds, as JSON."""

    def __init__(self, find):
        self.find = find

    def _repr_mimebundle_(self, include=None, exclude=None):
        try:
            told = {"value": plain(self.find(), 12)}
        except NoValue as problem:
            told = {"problem": str(problem)}
        except Exception as problem:
            told = {"problem": f"{type(problem).__name__}: {problem}"[:200]}
        return {"application/vnd.pixelwise.plain+json": json.dumps(told, allow_nan=False)}


def plain(value, room):
    """The value in the types that JSON has; what is no list and no text is an object with one name."""
    if room < 0:
        raise NoValue("it goes too deep: lists in lists in lists")
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            if kind is float and not math.isfinite(value):
                raise NoValue("nan and inf are no numbers here")
            return getattr(kind, f"__{kind.__name__}__")(value)
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, (numbers.Rational, decimal.Decimal)):
        near = plain(float(value), room)
        return int(value) if value == int(value) else near
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise NoValue('the names in a dict have to be texts, such as "200"')
        return {"dict": {str.__str__(name): plain(one, room - 1) for name, one in value.items()}}
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy's
        return plain(value.tolist(), room - 1)
    if hasattr(value, "raw_log") and hasattr(value, "settings"):
        return {"server": plain(value.settings, 1)["dict"]}
    request = getattr(value, "request", None)
    if hasattr(request, "method") and hasattr(request, "url"):
        body = body_of(request)
        headers = {str(name): str(one, "latin-1") if isinstance(one, bytes) else str(one)
                   for name, one in request.headers.items()}  # fmt: skip
        return {
            "answer": {
                "method": str(request.method),
                "url": str(request.url),
                "headers": headers,
                "body": base64.b64encode(body).decode(),
            }
        }
    if isinstance(value, Iterable):  # also what can be gone through only once
        several = [plain(one, room - 1) for one in itertools.islice(value, MOST + 1)]
        if len(several) > MOST:
            raise NoValue(f"it has more than {MOST} parts")
        return several
    raise NoValue(f"it is of the type {type(value).__name__}: {PLAIN}, or the whole answer of `client`")


def body_of(request):
    """The bytes that a request of requests or httpx had for its body."""
    body = request.body if hasattr(request, "body") else request.content
    if isinstance(body, str):
        return body.encode()
    if hasattr(body, "seek"):  # a file, which was read to its end, and may be closed
        with pathlib.Path(body.name).open("rb") if body.closed else body as file:
            file.seek(0)
            body = file.read()
            return body.encode() if isinstance(body, str) else body
    if body is not None and not isinstance(body, (bytes, bytearray)):
        raise NoValue("the body of its request is gone: send it with json=, or as a text")
    return body or b""
