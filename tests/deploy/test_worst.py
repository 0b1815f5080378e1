"""What one request costs at most; bench/worst.py looks at 2,000, and says how many milliseconds."""

import statistics
from itertools import product

import pytest

from bench import worst

WRAPPERS = {"a row": ('{"pixels":[[', "]]}"), "rows": ('{"pixels":[', "]}"), "a list": ("[", "]")}


@pytest.fixture(scope="module")
def server():
    with worst.Server() as running:
        yield running


def sent(body: bytes) -> bytes:
    head = f"X-API-Key: {worst.KEY}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return b"POST /classify HTTP/1.1\r\n" + head.encode() + b"Connection: close\r\n\r\n" + body


def test_the_most_expensive_body_costs_less_than_75_usual_requests(server):
    """In time on the processor, which is the same however busy the machine is. Judging all of a body, and not
    only up to its first problem, costs 200 usual requests."""
    usual = statistics.median(server.cost(worst.usual())[0] for _ in range(20))
    for item, (name, wrapper) in product(worst.ITEMS, WRAPPERS.items()):
        cost, status = server.cost(sent(worst.filled(item, *wrapper, worst.LARGEST)), times=3)
        assert status == 422
        assert cost < 75 * usual, f"{name} of {item[:20]} costs {cost:.1f} ms, a usual request {usual:.2f} ms"


def test_every_request_of_the_corpus_is_answered(server):
    statuses = {server.cost(data, times=1)[1] for data in worst.corpus(60, seed=1)}
    assert statuses <= {200, 400, 422}
