"""Any bytes, in any pieces: a request is answered for what it is, and anything else with HTTP or a close.

PIXELWISE_STREAMS is the number of streams for each test: 6,700 took six minutes, side by side with -n 3.
"""

import contextlib
import os
import re
import socket

import pytest
import wire
from hypothesis import HealthCheck, given, note, settings
from streams import Stream, streams

STREAMS = settings(
    max_examples=int(os.environ.get("PIXELWISE_STREAMS", "150")),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
FAULTS = re.compile(r"Traceback|[Ee]xception|Error:| ERROR ")


@pytest.fixture(scope="module", params=["true", "false"], ids=["at once", "in threads"])
def echo(request):
    script = wire.ROOT / "tests" / "deploy" / "echo.py"
    running = wire.Process(script, AT_ONCE=request.param, PYTHONPATH=str(wire.ROOT))
    yield running
    running.stop()


def told(server, stream: Stream):
    """Send the stream; gives the answer to each request, then those to what follows, until the server
    closes."""
    note(f"sent: {stream.pieces()}")
    methods = [request.method for request in stream.requests]
    with server.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in stream.pieces():
                connection.send(piece)
            connection.socket.shutdown(socket.SHUT_WR)
        while methods or connection.buffer or connection._more():
            answer = connection.read_answer(methods[0] if methods else "GET")
            if answer.status != 100:
                del methods[:1]
                yield answer


@STREAMS
@given(stream=streams())
def test_no_byte_of_one_request_serves_another(echo, stream):
    answers = told(echo, stream)
    for request in stream.requests:
        answer = next(answers)
        assert answer.status == 200
        if request.method != "HEAD":
            said = answer.json()
            assert said["path"] == f"/{request.mark}"
            assert said["marks"] == [request.mark]
            assert said["body"].encode("latin-1") == request.body
            assert said["length"] == len(request.body)
    for answer in answers:
        assert answer.json() and (answer.status == 200) == ("marks" in answer.json())
        assert answer.status != 200 or not {"m0", "m1", "m2", "m3"} & set(answer.json()["marks"])
    assert not FAULTS.search(echo.log)
    echo.lines.clear()


@STREAMS
@given(stream=streams())
def test_every_answer_is_http_with_json(server, stream):
    for number, answer in enumerate(told(server, stream)):
        answer = server.checked(
            answer, stream.requests[number].method if number < len(stream.requests) else "GET"
        )
        assert answer.status in ((404,) if number < len(stream.requests) else (400, 404, 405, 413, 431, 501))
    assert not FAULTS.search(server.log)
    server.lines.clear()
