"""A server of deploy/serving.py in the process of a test: in a thread of its own, or turned by hand."""

import socket
import threading
import time
import urllib.request
from contextlib import contextmanager

from waitress import wasyncore

from deploy import connections, serving, systemd

HALF = b"GET / HTTP/1.1\r\n"  # of a request


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


@contextmanager
def serving_of(app, host="127.0.0.1", **options):
    """A running server; it must end within ten seconds of `stop`."""
    running = serving.Server(app, systemd.listen(host, 0), **options)
    address = running.socket.getsockname()[:2]
    running.url = f"http://[{host}]:{address[1]}" if ":" in host else f"http://{host}:{address[1]}"
    running.address = address
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running
    finally:
        began = time.monotonic()
        running.stop()
        thread.join(timeout=15)
    assert not thread.is_alive()
    assert time.monotonic() - began < 10
    running.stop()  # a second signal, after the close, is no error


@contextmanager
def by_hand(app=hello, **options):
    """A server whose event loop goes round when a test calls `turn`."""
    running = serving.Server(app, systemd.listen("127.0.0.1", 0), at_once=True, **options)
    try:
        yield running
    finally:
        wasyncore.close_all(running._map)


def channels(running) -> list[connections.Channel]:
    return list(running.active_channels.values())


def turns_until(running, condition) -> None:
    for _ in range(100):
        if condition():
            return
        running.turn(0.02)
    raise AssertionError("it never came")


def ask(url: str, timeout: float = 10) -> bytes:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def exchange(address, data: bytes) -> bytes:
    """All that the server says to these bytes until it closes the connection."""
    received = b""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(data)
        while piece := client.recv(65536):
            received += piece
    return received


def stand_still(monkeypatch) -> list[float]:
    """The server's clock in a list of one: seconds, which pass when a test says so."""
    seconds = [1000.0]
    for module in (serving, connections):
        monkeypatch.setattr(module, "monotonic", lambda: seconds[0])
    return seconds
