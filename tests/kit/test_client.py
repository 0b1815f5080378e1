"""checks/kit/client.py asks and survives any answer; exchange.py and expect.py tell of it."""

import contextlib
import os
import socket
import subprocess
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_checks import check, failing

from checks.kit import client, core, expect, grading
from checks.kit.exchange import Answer, Exchange, printable

KEY = "aB3-the-key-of-the-tests-Zy9"


def answering(data: bytes, drops: bytes = b""):
    """The address of a server that reads a request and sends these bytes, to every client; and then the
    drops, one by one."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(data)
                for drop in drops:
                    time.sleep(0.1)
                    connection.sendall(bytes([drop]))

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


@pytest.mark.parametrize(
    "data, drops",
    [
        (b"", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", b" " * 20),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n1\r\n \r\n0\r\n\r\n"),
    ],
)
def test_an_answer_that_drips_gets_no_more_time_than_another(data, drops):
    listener, url = answering(data, drops)
    with listener, pytest.raises(client.NoAnswer, match="no whole answer within 0.5 s"):
        client.Api(url, KEY)._talk("GET", "/health", None, {}, 0.5)


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


def test_the_plain_address_is_one_of_the_clients_that_ask_at_a_gate():
    api = client.Api("http://127.0.0.1:1", KEY, seed=1)
    asked = [(plain, api.source) for plain in api.clients()]
    assert sorted(plain for plain, _ in asked) == [False, True]
    assert [plain for plain, _ in asked] == [source == "127.0.0.1" for _, source in asked]
    assert len(list(client.Api("http://192.0.2.1:1", KEY).clients())) == 1


def test_the_first_request_of_a_check_is_like_curls_and_the_others_come_from_many_programs():
    api = Scripted(*[200] * 41)
    agents = []
    for _ in range(40):
        api.get("/health")
        agents.append(api.exchanges[-1].headers.get("User-Agent", "nobody"))
    assert agents[0].startswith("curl/") and len(set(agents)) > 4
    assert api.exchanges[-1].times == 40  # it is the same request all the same
    api.begin()
    api.get("/health")
    assert api.exchanges[-1].headers["User-Agent"] == agents[0]


@pytest.mark.parametrize("key", ["a\rb", "a\nX: b", "\N{LEFT DOUBLE QUOTATION MARK}a"])
def test_what_goes_wrong_before_a_byte_was_sent_is_never_the_servers_fault(key):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = client.Api(f"http://127.0.0.1:{listener.getsockname()[1]}", key)
        with pytest.raises(core.CannotCheck, match="the check cannot send its request") as caught:
            api.classify({})
        assert not isinstance(caught.value, core.Gone)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (f"{KEY}\r", "the key has a carriage return in it: give the server's SECRET_API_KEY alone"),
        (f"{KEY}\n", "the key has the end of a line in it"),
        (f"SECRET_API_KEY {KEY}", "the key has a space in it"),
        ("\N{LEFT DOUBLE QUOTATION MARK}key", r"the key has '\u201c' in it"),
        (f'"{KEY}"', "the key stands in quotes, which are no part of it"),
    ],
)
def test_a_key_that_no_server_has_is_a_wrong_call(key, told):
    with pytest.raises(ValueError) as caught:
        grading.given_for(url="http://127.0.0.1:1", key=key)
    assert told in str(caught.value)
    assert grading.given_for(url="http://127.0.0.1:1", key=KEY + "!~")["api"].key == KEY + "!~"


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


def test_a_server_that_can_be_started_again_is_not_waited_for():
    started = []
    api = Scripted(429, 429, 200, limit=(30, 60))
    api.restart = lambda: started.append(api.statuses[0])
    assert api.classify({}).status == 200 and api.shared_budget
    assert api.slept == [] and started == [200], "when two addresses have been refused"
    api.statuses.append(200)
    api.fresh_window()  # all share a budget, and a window has just begun
    assert api.slept == [] and len(started) == 2
    api.fresh_window()
    assert len(started) == 2, "it knows nobody yet"


def test_a_limit_that_says_to_wait_for_long_is_no_reason_to_start_the_server_again():
    api = Scripted(429, 429, limit=(30, 60))
    api.restart = lambda: pytest.fail("what it says could not be checked would change")
    api._talk = lambda *_: Answer(429, [("Retry-After", "3600")], b"{}")
    with pytest.raises(core.CannotCheck, match="says to wait 3600 s"):
        api.classify({})


def test_the_time_of_another_start_does_not_count_against_the_limit_of_a_check():
    api = Scripted(429, 429, 200)
    api.begin(check("m1.a", failing))
    before = api.deadline
    api.restart = lambda: time.sleep(0.01)
    api.classify({})
    assert before + 0.01 <= api.deadline < before + 5


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
