"""Runs in the kernel of a student, and nowhere else: tells a value as plain data, in JSON.

What it says is what the student's process says, and is believed no more than that: see plain.py.
"""

import base64
import itertools
import json
import os

MOST = 20_000


class Told:
    """What Jupyter shows of it under a type of its own is the value that `find` finds, as JSON."""

    def __init__(self, find):
        self.find = find

    def _repr_mimebundle_(self, include=None, exclude=None):
        try:
            told = {"value": plain(self.find(), 12)}
        except Exception as problem:
            told = {"problem": f"{type(problem).__name__}: {problem}"[:200]}
        return {"application/vnd.pixelwise.plain+json": json.dumps(told, allow_nan=False)}


def plain(value, room):
    """The value in the types that JSON has; what is no list and no text is an object with one name."""
    if room < 0:
        raise ValueError("it goes too deep")
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return getattr(kind, f"__{kind.__name__}__")(value)
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("a name in a dict is no text")
        return {"dict": {str.__str__(name): plain(one, room - 1) for name, one in value.items()}}
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    if isinstance(value, (list, tuple, range)):
        several = [plain(one, room - 1) for one in itertools.islice(value, MOST + 1)]
        if len(several) > MOST:
            raise ValueError(f"it has more than {MOST} parts")
        return several
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy's
        return plain(value.tolist(), room - 1)
    if hasattr(value, "raw_log") and hasattr(value, "settings"):
        return {"server": plain(value.settings, 1)["dict"]}
    request = getattr(value, "request", None)
    if hasattr(request, "method") and hasattr(request, "url"):
        body = request.body if hasattr(request, "body") else request.content
        body = body.encode() if isinstance(body, str) else body or b""
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
    raise TypeError(f"it is of the type {type(value).__name__}, which is no plain value")
