"""What the checks expect, in the words that a student reads."""

from checks.kit.core import Failed
from checks.kit.exchange import Answer

NAMES = {
    200: "200 (OK)",
    400: "400 (Bad Request)",
    401: "401 (Unauthorized)",
    404: "404 (Not Found)",
    405: "405 (Method Not Allowed)",
    413: "413 (Content Too Large)",
    415: "415 (Unsupported Media Type)",
    422: "422 (Unprocessable Content)",
    429: "429 (Too Many Requests)",
}


def expect(answer: Answer, status: int | tuple[int, ...], because: str = "") -> None:
    """Raise Failed unless the answer has the status, or one of them."""
    legal = (status,) if isinstance(status, int) else status
    if answer.status not in legal:
        wanted = " or ".join(NAMES.get(one, str(one)) for one in legal)
        raise Failed(str(answer), f"{wanted}: {because}" if because else wanted)


def demand(fact: bool, received: str, expected: str) -> None:
    """Raise Failed unless it is a fact."""
    if not fact:
        raise Failed(received, expected)


def json_object(answer: Answer) -> dict:
    """The body as a JSON object. Raises Failed where it is something else."""
    document = answer.json()
    demand(
        isinstance(document, dict),
        f"{answer.kind}: {answer}" if not isinstance(document, list) else f"a JSON array: {answer}",
        "a JSON object",
    )
    return document
