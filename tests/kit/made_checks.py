"""Checks and sessions for tests."""

import contextlib
import threading

from checks.kit import core


def check(name: str, function, *needs: str, **changes) -> core.Check:
    defaults = {
        "number": 1.01,
        "sentence": f"the sentence of {name}",
        "points": 2,
        "stretch": False,
        "hint": "look",
    }
    return core.Check(name=name, function=function, needs=needs, seconds=5, **(defaults | changes))


def session(*checks: core.Check, **given) -> core.Session:
    return core.Session(list(checks), given, 1, lambda result: None)


def failing():
    raise core.Failed("this", "that")


@contextlib.contextmanager
def in_a_thread(server):
    """The server, serving; gives its port."""
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
