"""Small tests of the functions that students write in server.py: one function each, and no HTTP.

    python labs/pieces.py SERVER.PY hit       # prints JSON: [[sentence, what is wrong, or nothing], …]

labkit's `check("server.hit")` runs this in a process of its own and shows the sentences.
"""

import importlib.util
import json
import sys
from contextlib import suppress
from pathlib import Path


class Wrong(Exception):
    """The function does not do what the sentence says; the message is what it did instead."""


def wanted(expected, received, doing: str) -> None:
    if received != expected:
        raise Wrong(f"{doing} gives {received!r:.120}, not {expected!r:.120}")


def refusal(server, status: int, doing: str, call):
    """The HTTPError that `call` raises, which must have this status."""
    try:
        value = call()
    except server.HTTPError as error:
        wanted(status, error.status_code, f"the status for {doing}")
        return error
    raise Wrong(f"{doing} is let through: it gives {value!r:.80}")


# ---- answer ---------------------------------------------------------------------------------------------

HEALTH = {"status": "ok", "model_version": "v1"}


def answer_is_json_in_bytes(server):
    """answer returns the body as JSON, in bytes, and sets the content type application/json"""
    said = server.answer("health.response", dict(HEALTH))
    wanted(bytes, type(said), "the type of what it returns")
    wanted(HEALTH, json.loads(said), "what it says in JSON")
    wanted("application/json", server.response.content_type, "the content type")


def answer_drops_what_is_not_declared(server):
    """answer leaves out a field that the schema does not declare"""
    said = json.loads(server.answer("health.response", HEALTH | {"secret": 1}))
    wanted(HEALTH, said, "a body with a field `secret`")


def answer_lets_nothing_wrong_out(server):
    """answer raises where what is left is not what the schema says"""
    with suppress(server.jsonschema_rs.ValidationError):
        raise Wrong(
            f"the status 7 is let out: {server.answer('health.response', HEALTH | {'status': 7})!r:.80}"
        )


# ---- accepted_pixels ------------------------------------------------------------------------------------

BLANK = [[0] * 28 for _ in range(28)]


def pixels_become_an_array(server):
    """accepted_pixels makes uint8 of the shape (1, 28, 28) of a good body, also where 7 is 7.0, not of 7.5"""
    rows = [[7.0, 255] + [0] * 26] + BLANK[1:]
    made = server.accepted_pixels(json.dumps({"pixels": rows}).encode())
    wanted(((1, 28, 28), "uint8"), (made.shape, str(made.dtype)), "its shape and type")
    wanted([7, 255], made[0, 0, :2].tolist(), "the first two pixels, which were 7.0 and 255")
    rows[0][0] = 7.5
    body = json.dumps({"pixels": rows}).encode()
    refusal(server, 422, "a pixel of 7.5", lambda: server.accepted_pixels(body))


def pixels_of_another_size_are_refused(server):
    """accepted_pixels raises 422 for [[0]], and its detail is a list of one object: rule and place"""
    body = b'{"pixels": [[0]]}'
    error = refusal(server, 422, "[[0]]", lambda: server.accepted_pixels(body))
    told = [(one["type"], one["loc"]) for one in error.body] if isinstance(error.body, list) else error.body
    wanted([("minItems", ["body", "pixels"])], told, "its detail")


def pixels_that_are_no_json_are_refused(server):
    """accepted_pixels raises 422 for what is no JSON, and for what is nested too deeply"""
    for shown, body in (("no JSON", b"{pixels}"), ("9000 brackets", b"[" * 9000)):
        refusal(server, 422, shown, lambda body=body: server.accepted_pixels(body))


# ---- authenticate ---------------------------------------------------------------------------------------


def the_right_key_alone_passes(server):
    """authenticate lets the right key pass, and raises 401 for a wrong one"""
    try:
        server.authenticate({"HTTP_X_API_KEY": "sesame"}, "sesame")
    except server.HTTPError as error:
        raise Wrong(f"the right key gets {error.status_code}") from None
    refusal(server, 401, "a wrong key", lambda: server.authenticate({"HTTP_X_API_KEY": "wrong"}, "sesame"))


def other_keys_are_refused_alike(server):
    """authenticate says the same to a missing, a wrong, a cut, a longer and an odd key, such as ä"""
    keys = (
        ("no key", {}),
        *((key, {"HTTP_X_API_KEY": key}) for key in ("wrong", "sesam", "sesames", "ä", "")),
    )
    told = set()
    for key, environ in keys:
        error = refusal(
            server, 401, repr(key), lambda environ=environ: server.authenticate(environ, "sesame")
        )
        told.add(str(error.body))
    wanted(1, len(told), "the number of different sentences")


def a_401_says_what_is_asked_for(server):
    """its 401 has the header WWW-Authenticate"""
    error = refusal(server, 401, "no key", lambda: server.authenticate({}, "sesame"))
    wanted('ApiKey realm="pixelwise"', error.get_header("WWW-Authenticate"), "the header WWW-Authenticate")


# ---- RateLimiter.hit ------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def limiter_of(server, capacity: int = 100):
    return server.RateLimiter(3, 60, capacity, clock=Clock())


def as_many_as_the_limit(server):
    """hit admits three of four requests, and says how many are left"""
    limiter = limiter_of(server)
    hits = [limiter.hit("ada")[:2] for _ in range(4)]
    wanted([(True, 2), (True, 1), (True, 0), (False, 0)], hits, "four requests to a limit of three")


def seconds_are_rounded_up(server):
    """hit says in how many seconds the window ends: whole ones, rounded up, and at least 1"""
    limiter = limiter_of(server)
    told = []
    for passed in (0, 0.5, 59.9):
        limiter.clock.now = 1000 + passed
        told.append(limiter.hit("ada")[2])
    wanted([60, 60, 1], told, "a request at 0, at 0.5 and at 59.9 seconds")


def a_window_ends_and_a_refusal_does_not_make_it_longer(server):
    """after its 60 seconds a client is admitted again, however often it was refused meanwhile"""
    limiter = limiter_of(server)
    for second in range(0, 60, 10):
        limiter.clock.now = 1000 + second
        limiter.hit("ada")
    limiter.clock.now = 1060
    wanted((True, 2, 60), limiter.hit("ada"), "the first request of the next window")


def to_look_costs_nothing(server):
    """with cost=0 hit only looks, and counts nothing"""
    limiter = limiter_of(server)
    limiter.hit("ada")
    wanted([2, 2], [limiter.hit("ada", cost=0)[1] for _ in range(2)], "looking twice after one request")


def each_client_has_its_own_window(server):
    """each client has a budget of its own"""
    limiter = limiter_of(server)
    for _ in range(4):
        limiter.hit("ada")
    wanted((True, 2, 60), limiter.hit("bob"), "a request of somebody else")


def the_table_is_bounded(server):
    """the table of clients does not grow beyond its capacity"""
    limiter = limiter_of(server, capacity=20)
    for number in range(200):
        limiter.hit(f"client {number}")
    if not 0 < len(limiter.windows) <= 20:
        raise Wrong(f"after 200 clients the table holds {len(limiter.windows)}, not 1 to 20")


def it_counts_under_the_lock(server):
    """hit looks and counts while it holds the lock, so that no two requests can both be the last one"""

    class Watched(dict):
        def get(self, *given):
            return seen("looked up") and dict.get(self, *given)

        def __setitem__(self, *given):
            return seen("stored") and dict.__setitem__(self, *given)

    def seen(doing: str) -> bool:
        if not limiter.lock.locked():
            raise Wrong(f"a client is {doing} while nobody holds the lock")
        return True

    limiter = limiter_of(server)
    limiter.windows = Watched()
    limiter.hit("ada")
    if not limiter.windows:
        raise Wrong("nothing is stored in self.windows")


PIECES = {
    "answer": (answer_is_json_in_bytes, answer_drops_what_is_not_declared, answer_lets_nothing_wrong_out),
    "accepted_pixels": (
        pixels_become_an_array,
        pixels_of_another_size_are_refused,
        pixels_that_are_no_json_are_refused,
    ),
    "authenticate": (the_right_key_alone_passes, other_keys_are_refused_alike, a_401_says_what_is_asked_for),
    "hit": (
        as_many_as_the_limit,
        seconds_are_rounded_up,
        a_window_ends_and_a_refusal_does_not_make_it_longer,
        to_look_costs_nothing,
        each_client_has_its_own_window,
        the_table_is_bounded,
        it_counts_under_the_lock,
    ),
}


def outcome(piece, server) -> str:
    """What is wrong, with the place where their code raised; nothing where all is well."""
    try:
        piece(server)
    except Wrong as wrong:
        return str(wrong)
    except Exception as problem:
        places, trace = [], problem.__traceback__
        while trace:
            places.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
            trace = trace.tb_next
        lines = [line for file, line in places if file == server.__file__]
        where = f" (server.py, line {lines[-1]})" if lines else ""
        return f"{type(problem).__name__}: {problem}"[:160] + where
    return ""


def main(file: str, name: str) -> None:
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location("server", file)
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    print(json.dumps([[piece.__doc__, outcome(piece, server)] for piece in PIECES[name]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
