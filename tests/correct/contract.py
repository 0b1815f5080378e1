"""What correct servers have in common, whatever they are made of: settings, strict JSON, pixels, a budget."""

import json
import os

KEY = os.environ["KEY"]
COUNT, SECONDS = (int(float(part)) for part in os.environ["LIMIT"].split("/"))


def parsed(body: bytes):
    """The JSON of a body. Raises ValueError (also for NaN, or a key that stands twice) or RecursionError."""

    def once(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    def constant(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(body.decode(), object_pairs_hook=once, parse_constant=constant)


def what_is_wrong_with(rows: list) -> tuple[list, str] | None:
    """Where the first row or pixel stands that the contract refuses, and why; None where all are fine."""
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 28:
            return ["pixels", number], "28 pixels are needed"
        for column, pixel in enumerate(row):
            whole = type(pixel) is int or (type(pixel) is float and pixel.is_integer())
            if not whole or not 0 <= pixel <= 255:
                return ["pixels", number, column], "an integer from 0 to 255 is needed"
    return None


def budget(left: int, seconds: int) -> dict[str, str]:
    """The headers that show it."""
    return {
        "RateLimit-Policy": f'"default";q={COUNT};w={SECONDS}',
        "RateLimit": f'"default";r={left};t={seconds}',
    }
