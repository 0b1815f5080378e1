"""The contract on the wire: every row and sentence of it, asked of a real process over a socket."""

import contextlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, pairwise

import numpy as np
import pytest
import wire
from openapi_spec_validator import validate
from openapi_spec_validator.validation import OpenAPIV31SpecValidator
from wire import DIGIT, KEY, chunked, classify_bytes, encoded, judge, picture, request_bytes

HEALTHY = b'{"status":"ok","model_version":"v1"}'
NO_RESULTS = b'{"results":[],"note":"persistence not yet implemented"}'
CHUNKED = [("Transfer-Encoding", "chunked")]
LIMIT_HEADERS = ("RateLimit-Policy", "RateLimit")


def padded(size: int) -> bytes:
    """A valid body of exactly this many bytes."""
    return encoded(DIGIT).ljust(size)


def budget_of(answer) -> tuple[int, int]:
    """What `RateLimit` says: requests left, and seconds until the window ends."""
    left, seconds = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer["RateLimit"]).groups()
    return int(left), int(seconds)


# ---- Endpoints ------------------------------------------------------------------------------------------


def test_health_answers_exactly_as_the_contract_says(server):
    answer = server.get("/health")
    assert (answer.status, answer.body, answer["Content-Type"]) == (200, HEALTHY, "application/json")


def test_results_is_the_stub_of_the_contract(server):
    answer = server.get("/results")
    assert (answer.status, answer.body, answer["Content-Type"]) == (200, NO_RESULTS, "application/json")


@pytest.mark.parametrize("path", ["/health", "/results"])
def test_reading_ignores_a_query_a_key_and_a_body(server, path):
    plain = server.get(path)
    busy = server.talk(request_bytes("GET", f"{path}?a=b", [("X-API-Key", "nonsense")], b"some body"))
    assert (busy.status, busy.body) == (200, plain.body)


@pytest.mark.parametrize("path", ["/health", "/results", "/openapi.json", "/docs", "/redoc", "/nowhere"])
def test_head_has_the_headers_of_get_and_no_body(debug_server, path):
    with debug_server.connect() as connection:  # a body would be taken for the next answer
        both = request_bytes("HEAD", path) + request_bytes("GET", path)
        connection.send(both)
        head, get = connection.read_answer("HEAD"), connection.read_answer("GET")

    def lasting(answer):
        return sorted(pair for pair in answer.headers if pair[0].lower() not in ("date", "x-request-id"))

    assert head.status == get.status
    assert lasting(head) == lasting(get)


@pytest.mark.parametrize(
    "path",
    [
        "/health/",
        "//health",
        "/hea%FFlth",
        "///health",
        "/%2Fhealth",
        "/health%2F",
        "/health%00",
    ]
    + ["/HEALTH", "/health/x", "/./health", "/health;x", "/", "/index.html", "http://pixelwise.test//health"]
    + [
        "/..%2fhealth",
        "/x/../health",
        "/health%20",
        "/classify/",
        "//classify",
        "/results/",
        "/%ff",
        "/models/",
    ]
    + ["/server.py", "/.env", "/docs/../.env", "/docs/swagger_bundle.js", "/docs/%2e%2e/server.py"],
)
def test_other_paths_are_not_found(server, path):
    answer = server.get(path)
    assert answer.status == 404, repr(answer)
    assert isinstance(answer.detail, str)


@pytest.mark.parametrize("path", ["http://pixelwise.test/health", "http://127.0.0.1:80/health"])
def test_an_absolute_request_target_finds_its_route(server, path):
    assert server.get(path).body == HEALTHY


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "M-SEARCH"])
@pytest.mark.parametrize("path", ["/health", "/results", "/classify"])
def test_a_known_path_names_its_methods_to_an_unknown_one(server, path, method):
    if (method, path) == ("POST", "/classify"):
        return
    answer = server.talk(request_bytes(method, path))
    assert answer.status == 405
    assert isinstance(answer.detail, str)
    allowed = {name.strip() for name in answer["Allow"].split(",")}
    assert allowed == ({"POST"} if path == "/classify" else {"GET", "HEAD"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_classify_cannot_be_read(server, method):
    answer = server.talk(request_bytes(method, "/classify", [("X-API-Key", KEY)]), method)
    assert answer.status == 405
    assert answer["Allow"] == "POST"


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "BREW"])
def test_an_unknown_path_is_404_with_any_method(server, method):
    answer = server.talk(request_bytes(method, "/nowhere", [], b"x"))
    assert answer.status == 404
    assert isinstance(answer.detail, str)


def test_a_real_digit_is_classified(server):
    answer = server.classify()
    assert answer.status == 200
    body = answer.json()
    judge("classify.response").validate(body)
    assert set(body) == {"prediction", "confidence", "scores"}
    assert set(body["scores"]) == set("0123456789")
    assert body["prediction"] == "7"  # what the example shows
    assert body["prediction"] == max(body["scores"], key=body["scores"].get)
    assert body["confidence"] == body["scores"][body["prediction"]] > 0.9
    assert abs(sum(body["scores"].values()) - 1) < 1e-6
    assert all(type(score) is float for score in body["scores"].values())


def test_the_shipped_samples_are_nearly_all_recognised(server):
    file = wire.ROOT / "models" / "samples.npz"
    with np.load(file, allow_pickle=False) as samples:
        images, labels = samples["images"], samples["labels"]
    right = 0
    with server.connect() as connection:
        for image, label in zip(images.tolist(), labels.tolist()):
            body = server.checked(connection.send(classify_bytes({"pixels": image})).read_answer()).json()
            assert abs(sum(body["scores"].values()) - 1) < 1e-6
            assert body["prediction"] == max(body["scores"], key=body["scores"].get)
            right += body["prediction"] == label
    assert right >= 0.9 * len(labels) > 0


def test_a_query_does_not_hide_classify(server):
    assert server.classify(path="/classify?a=b").status == 200


def test_the_classes_come_from_the_artefact_alone(start_server, odd_model):
    body = start_server(odd_model / "server.py").classify().json()
    assert body == {"prediction": "8", "confidence": 0.75, "scores": {"3": 0.25, "8": 0.75}}


@pytest.mark.parametrize(
    "name, version", [("digit_classifier_v1_1.pkl", "v1.1"), ("digit_classifier_v12.pkl", "v12")]
)
def test_the_version_comes_from_the_file_name(start_server, odd_model, name, version):
    artefact = odd_model / "models" / "digit_classifier_v1.pkl"
    artefact.rename(artefact.with_name(name))
    sums = odd_model / "models" / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(artefact.name, name))
    answer = start_server(odd_model / "server.py", MODEL_PATH=f"models/{name}").get("/health")
    assert answer.json() == {"status": "ok", "model_version": version}


def test_health_follows_the_model(start_server, odd_model):
    server = start_server(odd_model / "server.py")
    server.may_log_tracebacks = True
    assert server.get("/health").status == 200
    (odd_model / "sick").touch()
    answer = server.get("/health")
    assert (answer.status, answer.body) == (503, b'{"status":"unavailable","model_version":"v1"}')
    (odd_model / "sick").unlink()
    assert (server.get("/health").status, server.get("/health").body) == (200, HEALTHY)


# ---- The filter -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxied_server():
    """A server that takes clients of any address from the proxy 127.0.0.1, 1000 requests an hour each."""
    running = wire.Process(RATE_LIMIT="1000/hour", TRUSTED_PROXY="127.0.0.1")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def strict_server():
    """The same with one request an hour."""
    running = wire.Process(RATE_LIMIT="1/hour", TRUSTED_PROXY="127.0.0.1")
    yield running
    running.stop()


FAULTS = {429: "limit", 401: "key", 413: "size", 415: "type", 422: "body"}  # in the order of the contract


@pytest.mark.parametrize(
    "statuses", [faults for size in range(6) for faults in combinations(FAULTS, size)], ids=str
)
def test_the_first_stage_that_objects_answers(strict_server, statuses):
    client = [
        ("X-Forwarded-For", f"198.51.100.{sum(1 << list(FAULTS).index(status) for status in statuses)}")
    ]
    if 429 in statuses:
        assert strict_server.classify(headers=client).status == 200
    body = b"not JSON" if 422 in statuses else encoded(DIGIT)
    body = body.ljust(70_000) if 413 in statuses else body
    key = "wrong" if 401 in statuses else KEY
    content_type = "text/plain" if 415 in statuses else "application/json"
    answer = strict_server.classify(body, key=key, content_type=content_type, headers=client)
    expected = {413, 415} if statuses[:2] == (413, 415) else {(*statuses, 200)[0]}
    assert answer.status in expected, repr(answer)


REJECTED = {
    401: {"key": "wrong"},
    413: {"body": b" " * 70_000},
    415: {"content_type": "text/plain"},
    422: {"body": b"{}"},
}


def test_every_post_counts_also_one_that_is_rejected_later(start_server):
    server = start_server(RATE_LIMIT="9/hour")
    for used, status in enumerate([200, *REJECTED, 200, *REJECTED][:9], 1):
        answer = server.classify(**REJECTED.get(status, {}))
        assert answer.status == status
        assert budget_of(answer)[0] == 9 - used
    for status in [200, *REJECTED]:
        assert server.classify(**REJECTED.get(status, {})).status == 429


def test_only_posts_to_classify_count(start_server):
    server = start_server(RATE_LIMIT="2/hour")
    for path in ["/health", "/results", "/nowhere", "/classify", "/classify/"] * 10:
        assert server.get(path).status != 429
    answers = [server.classify() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    for path in ["/health", "/results"]:
        assert server.get(path).status == 200


def test_exactly_the_budget_is_admitted_under_concurrency(start_server):
    server = start_server(RATE_LIMIT="50/hour")
    barrier = threading.Barrier(32, timeout=30)

    def client(_):
        with server.connect() as connection:
            barrier.wait()
            answers = [connection.send(classify_bytes()).read_answer() for _ in range(5)]
        return [server.checked(answer) for answer in answers]

    with ThreadPoolExecutor(32) as pool:
        answers = sum(pool.map(client, range(32)), [])
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (50, 110)
    left = sorted((budget_of(answer)[0] for answer in answers if answer.status == 200), reverse=True)
    assert left == list(range(49, -1, -1))  # every admitted request was told another number


def test_a_client_that_obeys_retry_after_is_admitted_again(start_server):
    server = start_server(RATE_LIMIT="3/second")
    for _ in range(2):
        statuses = []
        while 429 not in statuses and len(statuses) < 100:
            answer = server.classify()
            statuses.append(answer.status)
        assert statuses == [200] * (len(statuses) - 1) + [429] and len(statuses) >= 3
        assert answer["Retry-After"] == "1"
        time.sleep(int(answer["Retry-After"]))  # as the client is told
        again = server.classify()
        assert (again.status, budget_of(again)) == (200, (2, 1))


def test_the_window_is_fixed_and_opens_with_the_first_request(start_server):
    """A request is counted between `sent` and `received`, however slow the machine is."""
    server = start_server(RATE_LIMIT="2/second")
    opened, refused = [], False
    while len(opened) < 2 or not refused:
        sent, answer, received = time.monotonic(), server.classify(), time.monotonic()
        refused |= answer.status == 429
        if budget_of(answer)[0] == 1:
            assert not opened or received >= opened[-1][0] + 1
            opened.append((sent, received))
            while not refused and time.monotonic() < received + 0.7:
                server.get("/classify")  # does not count
        else:
            assert sent < opened[-1][1] + 1, "the second request, or one that was refused, moved the end"


def test_429_says_when_to_come_back(start_server):
    server = start_server(RATE_LIMIT="1/minute")
    assert server.classify().status == 200
    answer = server.classify()
    assert answer.status == 429
    seconds = int(answer["Retry-After"])
    assert budget_of(answer) == (0, seconds)
    assert 55 <= seconds <= 60
    assert "retry" in answer.detail or "again" in answer.detail


@pytest.mark.parametrize(
    "limit, policy", [("7/second", "q=7;w=1"), ("7/minute", "q=7;w=60"), ("7/hour", "q=7;w=3600")]
)
def test_every_answer_of_classify_tells_the_budget(start_server, limit, policy):
    server = start_server(RATE_LIMIT=limit)
    answers = [server.classify(**REJECTED.get(status, {})) for status in [200, *REJECTED]]
    answers += [server.get("/classify", method=method) for method in ("GET", "HEAD", "PUT", "OPTIONS")]
    answers += [server.classify() for _ in range(3)]
    seen = {answer.status for answer in answers}
    assert seen >= {200, 401, 405, 413, 415, 422} and (limit == "7/second" or 429 in seen)
    for answer in answers:
        assert answer["RateLimit-Policy"] == f'"default";{policy}'
        left, seconds = budget_of(answer)
        assert 0 <= left < 7 or answer.status == 405
        assert 1 <= seconds <= int(policy.rpartition("=")[2])
    if limit != "7/second":
        for before, after in pairwise(answers):
            assert budget_of(after)[0] <= budget_of(before)[0]
            assert budget_of(after)[1] <= budget_of(before)[1]
    for path in ("/health", "/results", "/nowhere"):
        assert not any(name in server.get(path) for name in LIMIT_HEADERS)


def test_the_default_is_thirty_requests_a_minute(start_server):
    server = start_server(RATE_LIMIT=None)
    with server.connect() as connection:
        connection.send(classify_bytes(key="wrong") * 31)
        answers = [connection.read_answer() for _ in range(31)]
    assert [answer.status for answer in answers] == [401] * 30 + [429]
    assert all(answer["RateLimit-Policy"] == '"default";q=30;w=60' for answer in answers)


def test_rate_limit_off_limits_nothing_and_says_nothing(server):
    with server.connect() as connection:
        connection.send(classify_bytes(key="wrong") * 100)
        answers = [connection.read_answer() for _ in range(100)]
    assert {answer.status for answer in answers} == {401}
    assert not any(name in answer for answer in answers for name in (*LIMIT_HEADERS, "Retry-After"))


def test_every_client_address_has_a_budget_of_its_own(start_server):
    server = start_server(RATE_LIMIT="1/hour")
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        assert [server.classify(source=source).status for _ in range(2)] == [200, 429]


SPOOFS = [
    [("X-Forwarded-For", "203.0.113.5")],
    [("X-Forwarded-For", "203.0.113.5, 127.0.0.1")],
    [("X_Forwarded_For", "203.0.113.5")],
    [("Forwarded", "for=203.0.113.5")],
    [("X-Real-IP", "203.0.113.5"), ("X-Client-IP", "203.0.113.5"), ("True-Client-IP", "203.0.113.5")],
]


@pytest.mark.parametrize("proxy", ["", "127.0.0.9"])
def test_a_spoofed_address_changes_nothing(start_server, proxy):
    server = start_server(RATE_LIMIT="1/hour", TRUSTED_PROXY=proxy)
    assert server.classify().status == 200
    for headers in SPOOFS:
        answer = server.classify(headers=headers)
        assert answer.status == 429, headers
        assert "127.0.0.1 POST /classify 429" in server.log_line(answer)
    assert "203.0.113.5" not in server.log


FORWARDED = [
    ("its only entry", [("X-Forwarded-For", "203.0.113.1")], "203.0.113.1"),
    ("the last entry", [("X-Forwarded-For", "198.51.100.9, 198.51.100.8,  203.0.113.2 ")], "203.0.113.2"),
    (
        "the last header",
        [("X-Forwarded-For", "198.51.100.7"), ("x-forwarded-for", "203.0.113.3")],
        "203.0.113.3",
    ),
    ("IPv6", [("X-Forwarded-For", "2001:DB8:0:0:0:0:0:1")], "2001:db8::1"),
    ("junk", [("X-Forwarded-For", "198.51.100.9, junk")], "127.0.0.1"),
    ("a junk header", [("X-Forwarded-For", "198.51.100.9"), ("X-Forwarded-For", "junk")], "127.0.0.1"),
    ("a port", [("X-Forwarded-For", "198.51.100.9:80")], "198.51.100.9"),
    ("a port of IPv6", [("X-Forwarded-For", "[2001:db8:9::9]:80")], "2001:db8:9::9"),
    ("a zone", [("X-Forwarded-For", "fe80::9%eth0")], "fe80::9"),
    ("only a port", [("X-Forwarded-For", ":80")], "127.0.0.1"),
    ("a number", [("X-Forwarded-For", "3232235777")], "127.0.0.1"),
    ("nothing after the comma", [("X-Forwarded-For", "198.51.100.9,")], "127.0.0.1"),
    ("nothing", [("X-Forwarded-For", "")], "127.0.0.1"),
    ("other headers", [("X-Real-IP", "198.51.100.9"), ("Forwarded", "for=198.51.100.9")], "127.0.0.1"),
    ("an underscore", [("X_Forwarded_For", "198.51.100.9")], "127.0.0.1"),
    ("no header", [], "127.0.0.1"),
]


@pytest.mark.parametrize(
    "headers, client", [case[1:] for case in FORWARDED], ids=[case[0] for case in FORWARDED]
)
def test_a_trusted_proxy_names_the_client_by_the_last_entry(proxied_server, headers, client):
    proxied_server.classify()  # so that the proxy itself has used some of its own budget
    answers = [proxied_server.classify(headers=headers) for _ in range(2)]
    first, second = (budget_of(answer)[0] for answer in answers)
    assert (first == 999) == (client != "127.0.0.1")
    assert second == first - 1
    assert all(f" {client} POST /classify" in proxied_server.log_line(answer) for answer in answers)


def test_a_peer_that_is_no_trusted_proxy_cannot_choose_its_address(proxied_server):
    for number in range(2):
        headers = [("X-Forwarded-For", f"192.0.2.{number}")]
        answer = proxied_server.classify(source="127.0.0.2", headers=headers)
        assert budget_of(answer)[0] == 999 - number
        assert " 127.0.0.2 POST /classify" in proxied_server.log_line(answer)


def test_a_window_is_never_longer_than_the_policy_says(proxied_server):
    clients = [[("X-Forwarded-For", f"10.1.{number // 250}.{number % 250}")] for number in range(300)]
    with proxied_server.connect() as connection:
        connection.send(b"".join(classify_bytes(b"", key="wrong", headers=client) for client in clients))
        budgets = {budget_of(connection.read_answer()) for _ in clients}
    assert budgets == {(999, 3600)}


def test_two_spellings_of_an_address_share_a_budget(strict_server):
    for first, second in [("2001:db8::5", "2001:0DB8:0::0005"), ("192.0.2.5", "::ffff:192.0.2.5")]:
        assert strict_server.classify(headers=[("X-Forwarded-For", first)]).status == 200
        assert strict_server.classify(headers=[("X-Forwarded-For", second)]).status == 429


WRONG_KEYS = {
    "missing": {"key": None},
    "empty": {"key": ""},
    "wrong": {"key": "wrong"},
    "one letter short": {"key": KEY[:-1]},
    "one letter long": {"key": KEY + "x"},
    "other case": {"key": KEY.upper()},
    "as bearer": {"key": None, "headers": [("Authorization", f"Bearer {KEY}")]},
    "in the query": {"key": None, "path": f"/classify?X-API-Key={KEY}&api_key={KEY}&key={KEY}"},
    "in a cookie": {"key": None, "headers": [("Cookie", f"X-API-Key={KEY}")]},
    "with underscores": {"key": None, "headers": [("X_API_Key", KEY)]},
    "twice, right first": {"headers": [("X-API-Key", "wrong")]},
    "twice, wrong first": {"key": "wrong", "headers": [("X-API-Key", KEY)]},
    "twice the same": {"headers": [("X-API-Key", KEY)]},
    "not ASCII": {"key": "schlüssel"},
    "not UTF-8": {"key": None, "headers": [("X-API-Key", b"\xff\xfe\x80")]},
    "right and not ASCII": {"key": KEY + "ü"},
    "quoted": {"key": f'"{KEY}"'},
    "long": {"key": "x" * 8000},
}


def test_a_caller_without_the_right_key_learns_nothing(server):
    answers = {name: server.classify(**changes) for name, changes in WRONG_KEYS.items()}
    statuses = {name: answer.status for name, answer in answers.items()}
    assert statuses == dict.fromkeys(WRONG_KEYS, 401)
    assert len({answer.body for answer in answers.values()}) == 1
    assert {answer["WWW-Authenticate"] for answer in answers.values()} == {'ApiKey realm="pixelwise"'}
    for answer in answers.values():
        assert answer.keeps_alive


def test_the_header_name_of_the_key_has_no_case(server):
    assert server.classify(key=None, headers=[("x-api-KEY", KEY)]).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "APPLICATION/JSON;charset=utf-8",
        "application/json; charset=utf-8",
    ]
    + [
        "application/json ; charset=UTF-8",
        'application/json;charset="utf-8";x=y',
        "application/json;",
        " application/json ",
    ],
)
def test_json_may_be_announced_in_every_legal_spelling(server, content_type):
    assert server.classify(content_type=content_type).status == 200


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "json", "text/json", "application/jsonp", "application/problem+json", "*/*"]
    + [
        "application/json, text/plain",
        "application /json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ]
    + ["text/plain; application/json", "application/json-patch+json", "appl\xefcation/json"],
)
def test_another_media_type_is_refused(server, content_type):
    assert server.classify(content_type=content_type).status == 415


def test_a_body_of_64_kib_is_accepted_and_one_byte_more_is_not(server):
    for size, status in [(65_536, 200), (65_537, 413), (100_000, 413)]:
        assert server.classify(padded(size)).status == status
        body = chunked(padded(size))
        assert server.classify(body, headers=CHUNKED).status == status


@pytest.mark.parametrize("size", [1_000_000, 1_048_575, 1_048_576, 3_000_000])
@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_a_huge_body_gets_its_413_even_when_sent_in_full(server, size, framing):
    for key, status in [(KEY, 413), ("wrong", 401)]:
        if framing == "chunked":
            data = classify_bytes(chunked(padded(size)), key=key, headers=CHUNKED)
        else:
            data = classify_bytes(padded(size), key=key)
        for _ in range(5):  # a server that closes too early loses some of its answers
            with server.connect() as connection:
                sender = threading.Thread(target=quietly(connection.send), args=(data,))
                sender.start()
                answer = server.checked(connection.read_answer())
                assert answer.status == status
            sender.join(wire.PATIENCE)


def quietly(function):
    """The same function, for which it is no failure when the other side has had enough."""

    def call(*arguments):
        with contextlib.suppress(OSError):
            function(*arguments)

    return call


def test_a_huge_body_is_refused_before_it_is_sent(server):
    headers = [("X-API-Key", KEY), ("Content-Type", "application/json"), ("Content-Length", "1000000000000")]
    assert server.talk(request_bytes("POST", "/classify", headers)).status == 413


def test_a_huge_body_to_another_route_gets_the_answer_of_that_route(server):
    for path, status in [("/nowhere", 404), ("/health", 405)]:
        headers = [("Content-Length", "3000000")]
        assert server.talk(request_bytes("POST", path, headers)).status == status


# ---- Bodies ---------------------------------------------------------------------------------------------

LEGAL = {
    "0": picture("0"),
    "255": picture("255"),
    "7.0 is 7": picture("7.0"),
    "7e0 is 7": picture("7e0"),
    "2.55e2 is 255": picture("2.55e2"),
    "-0 is 0": picture("-0"),
    "-0.0 is 0": picture("-0.0"),
    "spaces": b" \t\r\n" + picture("1").replace(b",", b" \n, ") + b"\r\n\t ",
    "no spaces": picture("1").replace(b" ", b""),
    "escaped name": picture("1").replace(b"pixels", b"pi\\u0078els"),
    "all ink": encoded({"pixels": [[255] * 28] * 28}),
}


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_body_is_classified(server, name):
    assert server.classify(LEGAL[name]).status == 200


def test_an_integral_float_is_the_integer(server):
    with_floats = re.sub(r"(\d+)", r"\1.0", json.dumps(DIGIT))
    assert server.classify(with_floats.encode()).json() == server.classify().json()


ROWS = DIGIT["pixels"]
NOT_JSON = {
    "nothing": b"",
    "spaces": b"  \n",
    "text": b"pixels=1",
    "cut off": encoded(DIGIT)[:-3],
    "half a name": b'{"pix',
    "two documents": encoded(DIGIT) * 2,
    "a comma at the end": picture().replace(b"]}", b"],}"),
    "a comma in a row": picture("1,"),
    "a comment": b"/* digit */" + picture(),
    "single quotes": picture().replace(b'"', b"'"),
    "NaN": picture("NaN"),
    "Infinity": picture("Infinity"),
    "-Infinity": picture("-Infinity"),
    "NaN alone": b"NaN",
    "NaN in an unknown field": b'{"pixels": [], "x": NaN}',
    "1e400": picture("1e400"),
    "-1e400": picture("-1e400"),
    "1e999999999": picture("1e999999999"),
    "05": picture("05"),
    "+5": picture("+5"),
    "5.": picture("5."),
    "0x10": picture("0x10"),
    "1_0": picture("1_0"),
    "true in capitals": picture("True"),
    "5000 digits": picture("9" * 5000),
    "minus 5000 digits": picture("-" + "9" * 5000),
    "5000 digits alone": b"1" * 5000,
    "60,000 digits": b"1" * 60_000,
    "5000 digits and a fraction": picture("9" * 5000 + ".5"),
    "a name twice": encoded(DIGIT)[:-1] + b"," + encoded(DIGIT)[1:],
    "a name twice, the wrong one first": b'{"pixels": 1, ' + encoded(DIGIT)[1:],
    "a name twice, once escaped": b'{"pi\\u0078els": 1, ' + encoded(DIGIT)[1:],
    "a name twice, escaped by case": b'{"pi\\u0078els": 1, "p\\u0069xels": 1}',
    "an inner name twice": picture('{"a": 1, "a": 2}'),
    "an inner name twice in an unknown field": b'{"x": {"a": [{"b": 1, "b": 1}]}, ' + encoded(DIGIT)[1:],
    "an empty name twice": b'{"": 1, "": 2}',
    "50,000 [": b"[" * 50_000,
    "50,000 [ closed": b"[" * 30_000 + b"]" * 30_000,
    '10,000 {"a":': b'{"a":' * 10_000,
    '10,000 {"a": closed': b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "pixels nested too deeply": b'{"pixels":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "Latin-1": '{"pixels": "é"}'.encode("latin-1"),
    "UTF-8 broken": b'{"pixels": "\xc3\x28"}',
    "UTF-8 overlong": b'{"pixels": "\xc0\xaf"}',
    "a lone surrogate as a name": b'{"\\ud800": 1, ' + encoded(DIGIT)[1:],
    "a lone surrogate as a pixel": picture('"\\udfff"'),
    "a pixel of 4,000 digits": picture("9" * 4000),
    "33 levels of pixels": b'{"pixels":' + b"[" * 32 + b"]" * 32 + b"}",
    "900 levels of pixels": b'{"pixels":' + b"[" * 900 + b"]" * 900 + b"}",
    "900 levels of unknown": b'{"x":' + b"[" * 900 + b"]" * 900 + b"," + encoded(DIGIT)[1:],
    "900 levels and a broken end": b'{"x":' + b"[" * 900,
    "UTF-8 of a surrogate": b'{"pixels": "\xed\xa0\x80"}',
    "bytes": bytes(range(256)),
    "a byte order mark": b"\xef\xbb\xbf" + encoded(DIGIT),
    "UTF-16": json.dumps(DIGIT).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(DIGIT).encode("utf-16-le"),
    "UTF-32": picture("1").decode()[:400].encode("utf-32"),
    "NUL before": b"\0" + encoded(DIGIT),
    "NUL after": encoded(DIGIT) + b"\0",
    "NUL inside": picture("\0"),
    "NUL in a name": b'{"pixels\0": []}',
    "a control character in a text": b'{"pixels": "\x01"}',
    "a form feed": b"\x0c" + encoded(DIGIT),
    "a no-break space": "\u00a0".encode() + encoded(DIGIT),
}
REFUSED = (
    {  # body, keyword, way to the value
        "an array": (b"[]", "type", []),
        "a text": (b'"text"', "type", []),
        "a number": (b"7", "type", []),
        "null": (b"null", "type", []),
        "true": (b"true", "type", []),
        "the pixels alone": (encoded(ROWS), "type", []),
        "an empty object": (b"{}", "required", ["pixels"]),
        "another name": (b'{"Pixels": []}', None, None),
        "an unknown field": (b'{"extra": 1, ' + encoded(DIGIT)[1:], "additionalProperties", ["extra"]),
        "a field without a name": (b'{"": 1, ' + encoded(DIGIT)[1:], "additionalProperties", [""]),
        "a field like a prototype": (
            b'{"__proto__": 1, ' + encoded(DIGIT)[1:],
            "additionalProperties",
            ["__proto__"],
        ),
        "a NUL as a name": (b'{"\\u0000": 1, ' + encoded(DIGIT)[1:], "additionalProperties", ["\0"]),
        "pixels of null": (b'{"pixels": null}', "type", ["pixels"]),
        "pixels of text": (b'{"pixels": "' + b"0" * 28 + b'"}', "type", ["pixels"]),
        "pixels of a number": (b'{"pixels": 7}', "type", ["pixels"]),
        "pixels of an object": (b'{"pixels": {"0": []}}', "type", ["pixels"]),
        "no rows": (b'{"pixels": []}', "minItems", ["pixels"]),
        "27 rows": (encoded({"pixels": ROWS[:27]}), "minItems", ["pixels"]),
        "29 rows": (encoded({"pixels": [*ROWS, ROWS[0]]}), "maxItems", ["pixels"]),
        "784 numbers": (encoded({"pixels": [0] * 784}), None, None),
        "28 numbers": (encoded({"pixels": [0] * 28}), "type", ["pixels", 0]),
        "56 half rows": (encoded({"pixels": [[0] * 14] * 56}), None, None),
        "a ragged row": (
            encoded({"pixels": [*ROWS[:5], ROWS[5][:-1], *ROWS[6:]]}),
            "minItems",
            ["pixels", 5],
        ),
        "a long row": (encoded({"pixels": [*ROWS[:5], [*ROWS[5], 0], *ROWS[6:]]}), "maxItems", ["pixels", 5]),
        "ragged but 784": (
            encoded({"pixels": [ROWS[0][:-1], [*ROWS[1], 0], *ROWS[2:]]}),
            "minItems",
            ["pixels", 0],
        ),
        "a row of null": (encoded({"pixels": [*ROWS[:5], None, *ROWS[6:]]}), "type", ["pixels", 5]),
        "a row of text": (encoded({"pixels": [*ROWS[:5], "0" * 28, *ROWS[6:]]}), "type", ["pixels", 5]),
        "an empty row": (encoded({"pixels": [*ROWS[:27], []]}), "minItems", ["pixels", 27]),
        "an object as a row": (encoded({"pixels": [*ROWS[:27], {}]}), "type", ["pixels", 27]),
        "1000 empty rows": (encoded({"pixels": [[]] * 1000}), None, None),
        "300 and 300": (encoded({"pixels": [[300] * 28] * 28}), "maximum", ["pixels", 0, 0]),
        "32 levels of pixels": (b'{"pixels":' + b"[" * 31 + b"]" * 31 + b"}", "minItems", ["pixels"]),
        "a text of brackets": (b'{"pixels":"' + b"[{" * 900 + b'\\""}', "type", ["pixels"]),
        "a valid part as a JSON text": (encoded({"pixels": json.dumps(ROWS)}), "type", ["pixels"]),
    }
    | {
        f"a pixel of {value[:20]}": (picture(value), keyword, ["pixels", 3, 17])
        for keyword, values in {
            "minimum": ["-1", "-256", "-1.0", "-1e308", "-" + "9" * 300],
            "maximum": ["256", "300", "256.0", "1e308", "99999999999999999999", "9" * 300],
            "type": [
                "true",
                "false",
                "null",
                '"7"',
                '""',
                "[]",
                "[7]",
                "{}",
                '{"a": 1}',
                "0.5",
                "254.999",
                "1e-3",
            ],
        }.items()
        for value in values
    }
)


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json_is_422(server, name):
    answer = server.classify(NOT_JSON[name])
    assert answer.status == 422, repr(answer)
    (problem,) = answer.detail
    assert problem["type"] == "json_invalid"
    assert problem["loc"][0] == "body"
    assert all(type(step) is int and 0 <= step <= len(NOT_JSON[name]) for step in problem["loc"][1:])
    nothing_leaks(server, answer, NOT_JSON[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_schema_refuses_is_422_with_the_place_and_the_keyword(server, name):
    body, keyword, place = REFUSED[name]
    answer = server.classify(body)
    assert answer.status == 422, repr(answer)
    assert len(answer.detail) == 1
    document = json.loads(body)
    for problem in answer.detail:
        follow(document, problem)
    if keyword:
        first = answer.detail[0]
        assert (first["type"], first["loc"]) == (keyword, ["body", *place])
    nothing_leaks(server, answer, body)


def follow(document, problem: dict):
    """Walk along `loc`: it must lead to a value to which the keyword objects."""
    start, *steps = problem["loc"]
    assert start == "body"
    if problem["type"] == "required":
        *steps, missing = steps
    value = document
    for step in steps:
        assert isinstance(value, list if type(step) is int else dict), problem
        value = value[step]
    match problem["type"]:
        case "required":
            assert missing not in value
        case "additionalProperties":
            assert steps[-1] != "pixels"
        case "type":
            kinds = {0: dict, 1: list, 2: list, 3: int}
            assert type(value) is not kinds[len(steps)]
        case "minItems":
            assert len(value) < 28
        case "maxItems":
            assert len(value) > 28
        case "minimum":
            assert value < 0
        case "maximum":
            assert value > 255
        case other:
            raise AssertionError(f"no keyword of the schema: {other}")


def nothing_leaks(server, answer, body: bytes):
    """No long value is echoed, and neither the answer nor the log shows more than a glimpse of the body."""
    for run in re.findall(rb"[!-~]{81,}", body):  # a long run of characters without a space
        for start in range(0, len(run) - 80, 7):
            assert run[start : start + 81] not in answer.body
    assert len(answer.body) < 10 * 1000
    line = server.log_line(answer)
    assert len(line) < 300
    assert "Traceback" not in server.log


@pytest.mark.parametrize("length", [81, 5_000, 60_000])
@pytest.mark.parametrize("place", ["name", "pixel", "row", "pixels", "name without pixels"])
def test_a_long_value_is_not_echoed(server, length, place):
    long = "SECRET" + "Z" * (length - 6)
    bodies = {
        "name": {long: 1, "pixels": ROWS},
        "pixel": {"pixels": [[long] + [0] * 27] * 28},
        "row": {"pixels": [long] * 28},
        "pixels": {"pixels": long},
        "name without pixels": {long: 1},
    }
    body = encoded(bodies[place])
    if len(body) > 65_536:
        body = encoded({"pixels": [[long] + [0] * 27] + [[0] * 28] * 27})
    answer = server.classify(body)
    assert answer.status == 422
    assert b"Z" * 81 not in answer.body
    assert all(len(str(step)) <= 80 for problem in answer.detail for step in problem["loc"])
    assert "ZZZ" not in server.log_line(answer)


def test_many_faults_give_at_most_ten_entries(server):
    rows = [[300, -1, True, None, "x", 0.5, [], {}] * 4] * 40
    answer = server.classify({"pixels": rows} | {f"unknown {n}": n for n in range(50)})
    assert answer.status == 422
    assert len(answer.detail) == 1


def test_no_pixel_reaches_the_log(server):
    answers = [
        server.classify(picture("137731")),
        server.classify(),
        server.classify(b'{"pixels": "topsecret"}'),
    ]
    for answer in answers:
        line = re.sub(r"[\d.]+ms \w+", "", server.log_line(answer).partition("/classify")[2])
        assert "137731" not in line and "topsecret" not in line and "253" not in line


def test_the_request_schema_on_disk_is_the_one_that_counts(start_server, copy_of_the_repo):
    file = copy_of_the_repo / "schemas" / "classify.request.json"
    file.write_text(file.read_text().replace('"maximum": 255', '"maximum": 254'))
    server = start_server(copy_of_the_repo / "server.py")
    assert server.classify(picture("254")).status == 200
    answer = server.classify(picture("255"))
    assert (answer.status, answer.detail[0]["type"]) == (422, "maximum")


# ---- Answers --------------------------------------------------------------------------------------------


def test_a_fault_of_the_model_is_a_500_that_tells_nothing(start_server, odd_model):
    server = start_server(odd_model / "server.py", RATE_LIMIT="100/hour")
    server.may_log_tracebacks = True
    (odd_model / "sick").touch()
    answer = server.classify()
    assert answer.status == 500
    assert isinstance(answer.detail, str)
    assert all(name in answer for name in LIMIT_HEADERS)
    for secret in (b"swordfish", b"Traceback", b"/", b"Error"):
        assert secret not in answer.body.replace(b"application/json", b"")
    server.log_line(answer)
    assert "swordfish" in server.log  # the operator learns what it was
    assert answer["X-Request-ID"] in server.log
    (odd_model / "sick").unlink()
    assert server.classify().status == 200


@pytest.mark.parametrize("ink", [1, 2, 3])
def test_an_answer_that_its_schema_refuses_never_leaves(start_server, odd_model, ink):
    server = start_server(odd_model / "server.py")
    server.may_log_tracebacks = True
    rows = [[255] * ink + [0] * (28 - ink)] + [[0] * 28] * 27
    answer = server.classify({"pixels": rows})
    assert answer.status == 500
    assert isinstance(answer.detail, str)
    assert b"1.5" not in answer.body and b"NaN" not in answer.body and b"Infinity" not in answer.body
    assert "500" in server.log_line(answer)
    assert server.classify().status == 200


def test_a_response_schema_that_demands_more_turns_the_answer_into_a_500(start_server, copy_of_the_repo):
    file = copy_of_the_repo / "schemas" / "classify.response.json"
    schema = json.loads(file.read_text())
    schema["properties"]["prediction"]["minLength"] = 2
    file.write_text(json.dumps(schema))
    server = start_server(copy_of_the_repo / "server.py")
    server.may_log_tracebacks = True
    assert server.classify().status == 500


def test_fields_that_the_schema_does_not_declare_are_dropped(start_server, copy_of_the_repo):
    file = copy_of_the_repo / "schemas" / "classify.response.json"
    schema = json.loads(file.read_text())
    del schema["properties"]["confidence"]
    schema["required"].remove("confidence")
    file.write_text(json.dumps(schema))
    body = start_server(copy_of_the_repo / "server.py").classify().json()
    assert set(body) == {"prediction", "scores"}


def test_answers_do_not_name_the_software(server):
    for answer in (server.get("/health"), server.get("/nowhere"), server.classify(key="wrong")):
        assert "Server" not in answer


# ---- The log --------------------------------------------------------------------------------------------

LINE = re.compile(
    r"(?:\S+ \S+ [A-Z]+ |<\d>)?(?P<client>\S+) (?P<method>\S+) (?P<path>\S+) (?P<status>\d{3}) "
    r"(?P<ms>\d+(\.\d+)?) ?ms (?P<id>\S+)(?: (?P<why>.+))?"
)


def test_the_log_has_one_line_a_request_with_all_that_the_contract_names(start_server):
    server = start_server()
    asked = [
        ("GET", "/health", 200, server.get("/health?secret=hidden")),
        ("HEAD", "/results", 200, server.get("/results", method="HEAD")),
        ("GET", "/nowhere", 404, server.get("/nowhere?secret=hidden")),
        ("PUT", "/health", 405, server.get("/health", method="PUT")),
        ("POST", "/classify", 200, server.classify(path="/classify?secret=hidden")),
        *(("POST", "/classify", status, server.classify(**REJECTED[status])) for status in REJECTED),
    ]
    for method, path, status, answer in asked:
        assert answer.status == status
        match = LINE.fullmatch(server.log_line(answer))
        assert match, server.log_line(answer)
        found = (match["client"], match["method"], match["path"], int(match["status"]), match["id"])
        assert found == ("127.0.0.1", method, path, status, answer["X-Request-ID"])
        assert bool(match["why"]) == (status >= 400), match[0]
    assert "hidden" not in server.log
    server.stop()
    assert sum(1 for line in server.lines if LINE.fullmatch(line)) == len(asked)


def test_the_reasons_in_the_log_tell_the_rejections_apart(server):
    lines = [server.log_line(server.classify(**REJECTED[status])) for status in REJECTED]
    lines.append(server.log_line(server.classify(b"not JSON")))
    reasons = {LINE.fullmatch(line)["why"] for line in lines}
    assert len(reasons) == len(lines)


def test_lines_carry_priorities_when_the_journal_reads(start_server, odd_model):
    server = start_server(odd_model / "server.py", journal=True)
    server.may_log_tracebacks = True
    good, bad = server.get("/health"), server.get("/nowhere")
    rejected = server.classify(key="wrong")
    (odd_model / "sick").touch()
    failed = server.classify()
    for answer, priority in [(good, 6), (bad, 4), (rejected, 4)]:
        assert server.log_line(answer).startswith(f"<{priority}>127.0.0.1 ")
    server.log_line(failed)
    server.stop()
    assert [line for line in server.lines if not re.match(r"<[0-7]>", line)] == []
    assert any(re.match(r"<[0-3]>", line) for line in server.lines if failed["X-Request-ID"] in line)


@pytest.mark.parametrize("stream", [None, "1:2", ""])
def test_lines_carry_no_priority_when_the_journal_does_not_read(start_server, stream):
    server = start_server(JOURNAL_STREAM=stream)
    server.get("/nowhere")
    server.stop()
    assert [line for line in server.lines if line.startswith("<")] == []


def test_a_request_cannot_write_lines_or_control_characters_into_the_log(start_server):
    server = start_server(journal=True)
    targets = [
        b"/a%0a<3>forged",
        b"/\x1b[31mred",
        b"/a\x0bb\x0cc",
        b"/a\x85b\x7fc",
        b"/\xe2\x80\xa8x",
        b"/\xff",
    ]
    targets += [b"/a\x1cb\x1dc\x1ed", b"/" + b"x" * 10_000]
    answers = 0
    for target in targets:
        with server.connect() as connection:
            connection.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: \x1b[1m\r\n\r\n")
            answers += 400 <= connection.read_answer().status < 500
    assert answers == len(targets)
    server.stop()
    text = "\n".join(server.lines)
    assert len([line for line in server.lines if " GET " in line or " - " in line]) == answers, text
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text) == []
    assert max(map(len, server.lines)) < 1000


# ---- HTTP -----------------------------------------------------------------------------------------------

HELLO = bytes.fromhex("16030100310100002d0303") + bytes(range(38))  # how TLS begins
POST = b"POST /classify HTTP/1.1\r\nHost: x\r\n"
NOT_HTTP = {
    "TLS": HELLO + b"\r\n\r\n",
    "noise": bytes(range(256)) + b"\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "lower case": b"get /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "version x": b"GET /health HTTP/x\r\nHost: x\r\n\r\n",
    "another protocol": b"GET /health SMTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without a colon": b"GET /health HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "a header without a name": b"GET /health HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "a space before the colon": b"GET /health HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "CR in a header": b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
    "bare LF": b"GET /health HTTP/1.1\nHost: x\nA: b\n\n\r\n\r\n",
    "a path of 20 KB": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header of 20 KB": b"GET /health HTTP/1.1\r\nA: " + b"a" * 20_000 + b"\r\n\r\n",
    "headers of 300 KB": b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
    "a length of -1": POST + b"Content-Length: -1\r\n\r\n",
    "a length of +5": POST + b"Content-Length: +5\r\n\r\nhello",
    "a length of 5, 5": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a length in hex": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "a length of words": POST + b"Content-Length: five\r\n\r\nhello",
    "a length of 1_0": POST + b"Content-Length: 1_0\r\n\r\nhellohello",
    "an Arabic length": POST + "Content-Length: ٥\r\n\r\nhello".encode(),
    "two lengths": b"POST /classify HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "gzip coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk of words": POST + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n\r\n",
    "a chunk of -5": POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
    "a chunk without its end": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n"),
    "a control line of 2 MB": b"A" * 2_000_000,
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_http_is_refused_and_the_server_lives_on(server, name):
    with server.connect() as connection:
        quietly(connection.send)(NOT_HTTP[name])
        ended = connection.is_closed_within(wire.PATIENCE)
        received = connection.buffer
    assert ended, f"the connection stays open after {received[:300]!r}"
    statuses = re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)
    assert all(status[:1] == b"4" or status in (b"501", b"505") for status in statuses), received[:500]
    if statuses:
        with_body = wire.Answer(*parse(received))
        assert with_body["Content-Type"].startswith(("application/json", "text/plain"))
        if with_body["Content-Type"] == "application/json":
            server.checked(with_body)
    assert b"Traceback" not in received
    assert server.get("/health").body == HEALTHY


def parse(data: bytes) -> tuple[int, list, bytes]:
    """Status, headers and body of the first answer in `data`."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    headers = [tuple(field.split(": ", 1)) for field in fields]
    size = next(int(value) for name, value in headers if name.lower() == "content-length")
    return int(first.split()[1]), headers, body[:size]


def test_a_broken_request_is_answered_in_json(server):
    for name, status in [("a header without a colon", 400), ("a length of words", 400), ("gzip coding", 501)]:
        with server.connect() as connection:
            answer = server.checked(connection.send(NOT_HTTP[name]).read_answer())
            assert (answer.status, type(answer.detail)) == (status, str)
            assert not answer.keeps_alive
    with server.connect() as connection:
        answer = server.checked(connection.send(NOT_HTTP["a header of 20 KB"]).read_answer())
        assert (answer.status, type(answer.detail)) == (431, str)


def test_a_length_and_chunks_together_do_not_smuggle_a_request(server):
    inner = request_bytes("GET", "/results")
    for first, second in [("Content-Length", "Transfer-Encoding"), ("Transfer-Encoding", "Content-Length")]:
        values = {"Content-Length": str(5 + len(inner)), "Transfer-Encoding": "chunked"}
        headers = [(first, values[first]), (second, values[second])]
        data = request_bytes("POST", "/nowhere", headers, b"0\r\n\r\n" + inner)
        with server.connect() as connection:
            connection.send(data + request_bytes("GET", "/nowhere", [("Connection", "close")]))
            connection.is_closed_within(wire.PATIENCE)
            assert (
                b"200 OK" not in connection.buffer
                or b"persistence" not in connection.buffer.partition(b"404")[0]
            )
            statuses = re.findall(rb"HTTP/1\.1 (\d+)", connection.buffer)
    assert b"500" not in statuses


def test_an_unfinished_request_disturbs_nobody(server):
    with contextlib.ExitStack() as stack:
        for data in (b"", b"G", b"GET /health HTTP/1.1\r\n", classify_bytes()[:-1], classify_bytes()[:300]):
            stack.enter_context(server.connect()).send(data)
        assert server.get("/health").body == HEALTHY
        assert server.classify().status == 200


def test_a_request_may_arrive_byte_by_byte(server):
    with server.connect() as connection:
        for byte in classify_bytes(picture("1").replace(b" ", b"")):
            connection.send(bytes([byte]))
        assert server.checked(connection.read_answer()).status == 200


def test_one_connection_serves_many_requests_of_all_kinds(server):
    kinds = [(200, {}), *REJECTED.items()] * 3
    with server.connect() as connection:
        for status, changes in kinds:
            answer = server.checked(connection.send(classify_bytes(**changes)).read_answer())
            assert (answer.status, answer.keeps_alive) == (status, True)
        for path, status in [("/health", 200), ("/nowhere", 404), ("/classify", 405), ("/results", 200)]:
            answer = server.checked(connection.send(request_bytes("GET", path)).read_answer())
            assert (answer.status, answer.keeps_alive) == (status, True)


def test_pipelined_requests_are_answered_in_order(server):
    kinds = [(200, {}), *REJECTED.items()] * 8
    data = b"".join(classify_bytes(**changes) + request_bytes("GET", "/results") for _, changes in kinds)
    with server.connect() as connection:
        sender = threading.Thread(target=connection.send, args=(data,))
        sender.start()
        for status, _ in kinds:
            assert server.checked(connection.read_answer()).status == status
            assert connection.read_answer().body == NO_RESULTS
        sender.join(wire.PATIENCE)


def test_connection_close_is_honoured(server):
    with server.connect() as connection:
        answer = connection.send(request_bytes("GET", "/health", [("Connection", "close")])).read_answer()
        assert (answer.body, answer.keeps_alive) == (HEALTHY, False)
        assert connection.is_closed_within(wire.PATIENCE) and connection.buffer == b""


def test_http_1_0_works_and_closes(server):
    with server.connect() as connection:
        answer = connection.send(b"GET /health HTTP/1.0\r\n\r\n").read_answer()
        assert answer.body == HEALTHY
        assert connection.is_closed_within(wire.PATIENCE) and connection.buffer == b""


def test_a_client_that_expects_100_continue_gets_it(server):
    data = classify_bytes(headers=[("Expect", "100-continue")])
    head, _, body = data.partition(b"\r\n\r\n")
    with server.connect() as connection:
        assert connection.send(head + b"\r\n\r\n").read_answer().status == 100
        assert server.checked(connection.send(body).read_answer()).status == 200


def test_a_thousand_request_ids_are_all_different(server):
    before = len(server.request_ids)
    with server.connect() as connection:
        for _ in range(20):
            connection.send(request_bytes("GET", "/results") * 50)
            for _ in range(50):
                server.checked(connection.read_answer())
    assert len(server.request_ids) == before + 1000


# ---- The documentation ----------------------------------------------------------------------------------

PAGES = ["/openapi.json", "/docs", "/redoc"]


@pytest.mark.parametrize("path", PAGES)
def test_the_documentation_shows_with_debug_alone(server, debug_server, path):
    assert server.get(path).status == 404
    answer = debug_server.get(path)
    assert answer.status == 200
    kind = "application/json" if path.endswith("json") else "text/html"
    assert answer["Content-Type"].partition(";")[0] == kind
    assert debug_server.get(path + "/").status == 404
    assert debug_server.get(path, method="POST").status == 405


@pytest.fixture
def document(debug_server) -> dict:
    return debug_server.get("/openapi.json").json()


def test_the_document_is_valid_openapi_3_1(document):
    assert document["openapi"].startswith("3.1.")
    validate(document, cls=OpenAPIV31SpecValidator)


def test_the_document_needs_no_other_file(document):
    references = re.findall(r'"\$ref": "([^"]*)"', json.dumps(document))
    assert references and all(reference.startswith("#/") for reference in references)
    for reference in references:
        resolve(document, {"$ref": reference})


def resolve(document: dict, node: dict) -> dict:
    while "$ref" in node:
        target = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def test_the_document_tells_exactly_the_routes(document, debug_server):
    methods = {path: set(operations) for path, operations in document["paths"].items()}
    assert methods == {"/health": {"get"}, "/results": {"get"}, "/classify": {"post"}}
    for path, known in methods.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {name.upper() for name in known}:
            assert debug_server.get(path, method=method).status == 405


def test_the_document_tells_the_answers_of_the_contract(document):
    paths = document["paths"]
    assert set(paths["/classify"]["post"]["responses"]) == {"200", "401", "413", "415", "422", "429", "500"}
    assert {"200", "503"} <= set(paths["/health"]["get"]["responses"])
    assert {"200"} <= set(paths["/results"]["get"]["responses"])
    scheme = document["components"]["securitySchemes"]
    ((name, scheme),) = scheme.items()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    assert paths["/classify"]["post"]["security"] == [{name: []}]


def test_the_document_carries_the_schemas_of_the_repo(document):
    request = document["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert resolve(document, request) == wire.SCHEMAS["classify.request"]
    answer = document["paths"]["/classify"]["post"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    assert resolve(document, answer) == wire.SCHEMAS["classify.response"]


def documented_answers(document: dict):
    """Every documented answer: path, status, response, its media object or None."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                response = resolve(document, response)
                yield path, int(status), response, response.get("content", {}).get("application/json")


def examples_of(media: dict) -> dict:
    """The examples of a media object by name; a single one is called ""."""
    named = {name: example["value"] for name, example in media.get("examples", {}).items()}
    return named | ({"": media["example"]} if "example" in media else {})


def test_every_documented_example_is_valid(document):
    seen = 0
    for path, status, _, media in documented_answers(document):
        assert media, f"{path} {status} documents no JSON"
        for name, example in examples_of(media).items():
            schema = {**document, **resolve(document, media["schema"])}
            problems = list(wire.jsonschema.Draft202012Validator(schema).iter_errors(example))
            assert not problems, f"the example {name!r} of {path} {status}: {problems[0].message}"
            seen += 1
    assert seen >= 10
    for schema in document["components"]["schemas"].values():
        for example in schema.get("examples", []):
            wire.jsonschema.Draft202012Validator({**document, **schema}).validate(example)
            seen += 1


def normalised(detail) -> str:
    """The detail with every number replaced, so that 17 seconds equal 60."""
    return re.sub(r"\d+", "N", json.dumps(detail, sort_keys=True))


@pytest.fixture
def real_answers(start_server, odd_model):
    """The answers that a server really gives: (path, status, name of the example) to the answer."""
    server = start_server(odd_model / "server.py", RATE_LIMIT="30/minute")
    server.may_log_tracebacks = True
    bodies = {
        "a pixel over 255": picture("300"),
        "too few rows": encoded({"pixels": [[0] * 28]}),
        "not JSON": b'{"pixels": ]}',
    }
    answers = {("/classify", 422, name): server.classify(body) for name, body in bodies.items()}
    for status in (401, 413, 415):
        answers["/classify", status, ""] = server.classify(**REJECTED[status])
    answers["/classify", 200, ""] = server.classify()
    answers["/health", 200, ""] = server.get("/health")
    answers["/results", 200, ""] = server.get("/results")
    (odd_model / "sick").touch()
    for path in ("/classify", "/results", "/health"):  # a 500 reads the same whoever has the fault
        answers[path, 500, ""] = server.classify()
    answers["/health", 503, ""] = server.get("/health")
    for _ in range(30):
        answers["/classify", 429, ""] = server.classify()
    return answers


def test_the_documented_examples_are_what_the_wire_says(document, real_answers, server):
    differences = []
    for path, status, _, media in documented_answers(document):
        for name, example in examples_of(media).items():
            answer = real_answers[path, status, name]  # a new example needs a request that provokes it
            assert answer.status == status
            if (path, status) == ("/classify", 200):
                documented, real = example.get("prediction"), server.classify().json()["prediction"]
            else:
                documented, real = normalised(example), normalised(answer.json())
            if documented != real:
                differences.append(f"{path} {status} {name}: documented {documented}, real {real}")
    assert not differences, "\n".join(differences)


def test_the_documented_headers_are_those_of_the_wire(document, real_answers):
    usual = {"content-length", "content-type", "date", "connection"}
    for path, status, response, media in documented_answers(document):
        headers = {name: resolve(document, header) for name, header in response["headers"].items()}
        answer = real_answers[path, status, next(iter(examples_of(media)))]
        if (path, status) in [("/results", 500), ("/health", 500)]:
            continue  # these two cannot be provoked: the answer is that of /classify
        names = {name.lower() for name, _ in answer.headers} - usual
        assert names == {name.lower() for name in headers}, f"{path} {status}"
        for name, header in headers.items():
            value = int(answer[name]) if header["schema"]["type"] == "integer" else answer[name]
            wire.jsonschema.Draft202012Validator(header["schema"]).validate(value)


def test_the_example_of_the_request_is_a_digit_that_is_classified(document, debug_server):
    schema = document["components"]["schemas"]["ClassifyRequest"]
    answer = debug_server.classify(schema["examples"][0])
    assert (answer.status, answer.json()["prediction"]) == (200, "7")
