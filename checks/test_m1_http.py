"""m1, HTTP: the service answers, in JSON, with the right status for every verb and path."""

import socket
import time

from checks.kit.core import Failed, Gone, hint, needs, points
from checks.kit.expect import demand, expect, json_object

PROMPT = 2  # seconds: no human waits longer without wondering


@points(2)
@hint(
    "Start the server and ask by hand: curl -i …/health. Its log, or its terminal, says why it does "
    "not answer 200."
)
def test_health_answers(api):
    """GET /health answers 200"""
    expect(api.get("/health"), 200, "a service that can classify says so")


@points(1)
@needs("health answers")
@hint(
    "Look for what takes so long: a model loaded anew for every request, a sleep, a reload, a slow "
    "name look-up."
)
def test_answers_come_in_time(api):
    """an answer takes less than two seconds"""
    took = []
    for _ in range(3):
        began = time.monotonic()
        api.get("/health")
        took.append(time.monotonic() - began)
    demand(
        min(took) < PROMPT, f"the quickest of three answers after {min(took):.1f} s", f"less than {PROMPT} s"
    )


@points(1)
@needs("answers come in time")
@hint("GET /results is a stub until the next block, but it must be there.")
def test_results_answers(api):
    """GET /results answers 200"""
    expect(api.get("/results"), 200)


@points(1)
@needs("results answers")
@hint("Return a dict and let the framework make JSON of it; a string, or HTML, is something else.")
def test_answers_are_json(api):
    """what /health and /results answer is JSON and says so: Content-Type: application/json"""
    for path in ("/health", "/results"):
        answer = api.get(path)
        json_object(answer)
        named = answer.header("Content-Type")
        demand(
            answer.media_type == "application/json",
            f"Content-Type: {named} from {path}" if named else f"no Content-Type from {path}",
            "Content-Type: application/json",
        )


@points(1)
@needs("answers come in time")
@hint("A path that no route knows must not end in another route: look for a catch-all, or a static folder.")
def test_an_unknown_path_gets_404(api):
    """a path that does not exist gets 404"""
    for path in ("/no/such/path", "/healthy", "/classify/me"):
        expect(api.get(path), 404, f"{path} does not exist")


@points(1)
@needs("an unknown path gets 404", "a wrong verb gets 405")
@hint('Errors have one shape, {"detail": …}, because clients read it; an HTML error page is for people.')
def test_errors_are_json(api):
    """an error is JSON too, with a `detail` that says what is wrong"""
    for method, path in (("GET", "/no/such/path"), ("DELETE", "/results")):
        answer = api.ask(method, path)
        document = json_object(answer)
        demand(
            isinstance(document.get("detail"), str) and document["detail"].strip(),
            str(answer),
            '{"detail": "a sentence that says what is wrong"}',
        )


@points(1)
@needs("results answers")
@hint(
    "404 says that there is nothing here; 405 says that this verb is not the one. Route by path "
    "first, then by verb."
)
def test_a_wrong_verb_gets_405(api):
    """a verb that a path does not know gets 405, and changes nothing"""
    for method, path in (
        ("POST", "/health"),
        ("DELETE", "/results"),
        ("PUT", "/health"),
        ("GET", "/classify"),
    ):
        expect(
            api.ask(method, path, body=b"{}" if method in ("POST", "PUT") else None),
            405,
            f"{path} has no {method}",
        )


@points(1)
@needs("a wrong verb gets 405")
@hint("RFC 9110 demands the header Allow with every 405: the verbs that the path does know.")
def test_405_names_the_verbs_in_allow(api):
    """405 comes with the header Allow, which lists the verbs that work"""
    for method, path, right in (
        ("POST", "/health", "GET"),
        ("DELETE", "/results", "GET"),
        ("GET", "/classify", "POST"),
    ):
        answer = api.ask(method, path, body=b"{}" if method == "POST" else None)
        allowed = answer.header("Allow")
        verbs = {verb.strip().upper() for verb in (allowed or "").split(",")}
        demand(
            right in verbs and method not in verbs,
            f"Allow: {allowed}" if allowed else "no header Allow",
            f"Allow: {right} from {path}",
        )


@points(1, stretch=True)
@needs("results answers")
@hint("HEAD is GET without the body; a framework that does not add it can route it to the same function.")
def test_head_answers_like_get(api):
    """HEAD answers like GET, without a body"""
    for path in ("/health", "/results"):
        answer = api.ask("HEAD", path)
        expect(answer, 200, "HEAD is GET without the body")
        demand(not answer.body, f"a body after HEAD {path}: {answer.body[:40]!r}", "no body")


@points(1, stretch=True)
@needs("answers come in time")
@hint("/health/ is another path than /health; a redirect or a lenient route hides a client's mistake.")
def test_a_slash_at_the_end_is_another_path(api):
    """/health/ is not /health: it gets 404"""
    expect(api.get("/health/"), 404, "/health/ does not exist")


@points(1, stretch=True)
@needs("answers come in time")
@hint(
    "Give every answer an ID and write the same ID into the log: then a line of the log has a "
    "question to its answer."
)
def test_answers_carry_an_id_and_nosniff(api):
    """every answer carries an X-Request-ID of its own, and X-Content-Type-Options: nosniff"""
    seen = set()
    for path in ("/health", "/health", "/no/such/path"):
        answer = api.get(path)
        request_id = answer.header("X-Request-ID")
        demand(
            request_id and request_id not in seen,
            f"X-Request-ID: {request_id}",
            "an X-Request-ID that is new",
        )
        seen.add(request_id)
        sniffing = answer.header("X-Content-Type-Options")
        demand(
            sniffing == "nosniff", f"X-Content-Type-Options: {sniffing}", "X-Content-Type-Options: nosniff"
        )


@points(1, stretch=True)
@needs("answers come in time")
@hint(
    "One client that is slow, or broken, must not keep the others waiting: serve with threads or an "
    "event loop."
)
def test_half_a_request_holds_up_nobody(api):
    """while one client has sent half a request, others are answered"""
    source = (api.source, 0) if api.source else None
    connections = []
    try:
        for _ in range(3):
            connections.append(socket.create_connection((api.host, api.port), 3, source))
            connections[-1].sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
        expect(api.get("/health"), 200, "three other clients have sent half a request each")
    except (OSError, Gone):
        raise Failed("no answer while three other clients had sent half a request each", "200 (OK)") from None
    finally:
        for connection in connections:
            connection.close()
