"""The process: settings, start, stop, systemd, and clients that are slow, many or gone."""

import contextlib
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import wire
from conftest import install_artefact
from tree import from_setup
from wire import (
    KEY,
    UNMEASURED,
    Broken,
    classify_bytes,
    encoded,
    picture,
    request_bytes,
    run_to_the_end,
    through_systemd,
)

HEALTHY = b'{"status":"ok","model_version":"v1"}'

# ---- Settings -------------------------------------------------------------------------------------------

EXAMPLE = re.search(r"^SECRET_API_KEY=(.*)$", (wire.ROOT / ".env.example").read_text(), re.M)[1]
BAD_SETTINGS = [  # key, value, and what the one line must show as the remedy
    ("SECRET_API_KEY", "", r"openssl|random|set "),
    ("SECRET_API_KEY", "xyzzy with spaces", r"without spaces|openssl"),
    ("SECRET_API_KEY", "xyzzy\u00fcmlaut", r"openssl|random|set "),
    ("SECRET_API_KEY", "xyzzy\nplugh", r"openssl|random|set "),
    ("SECRET_API_KEY", EXAMPLE, r"openssl|random|set "),
    ("DEBUG", "yes", r"true.*false"),
    ("DEBUG", "1", r"true.*false"),
    ("DEBUG", "", r"true.*false"),
    ("MODEL_PATH", "", r"MODEL_PATH: .*(file|artefact)"),
    ("MODEL_PATH", "models/nothing_v1.pkl", r"MODEL_(PATH|SHA256)"),
    ("MODEL_PATH", "models", r"MODEL_(PATH|SHA256)"),
    ("MODEL_PATH", "models/classifier.py", r"MODEL_(PATH|SHA256)"),
    ("MODEL_PATH", "x" * 300 + "/a.pkl", r"MODEL_(PATH|SHA256)"),
    ("MODEL_PATH", "x" * 5000 + "/a.pkl", r"MODEL_(PATH|SHA256)"),
    ("MODEL_SHA256", "abc", r"MODEL_SHA256: .*64 hex digits"),
    ("MODEL_SHA256", "g" * 64, r"MODEL_SHA256: .*64 hex digits"),
    ("MODEL_SHA256", "0" * 64, r"digest.*MODEL_SHA256"),
    ("HOST", "", r"address"),
    ("HOST", "not an address", r"address"),
    ("HOST", "300.1.1.1", r"address"),
    ("HOST", "a..b", r"address"),
    ("HOST", "x" * 70 + ".example", r"address"),
    ("HOST", "b\u00fccher..x", r"address"),
    ("PORT", "", r"0 to 65535"),
    ("PORT", "http", r"0 to 65535"),
    ("PORT", "-1", r"0 to 65535"),
    ("PORT", "65536", r"0 to 65535"),
    ("PORT", "80.5", r"0 to 65535"),
    ("PORT", "9" * 5000, r"0 to 65535"),
    ("RATE_LIMIT", "", r"N/minute"),
    ("RATE_LIMIT", "30", r"N/minute"),
    ("RATE_LIMIT", "0/minute", r"N/minute"),
    ("RATE_LIMIT", "-1/minute", r"N/minute"),
    ("RATE_LIMIT", "1.5/minute", r"N/minute"),
    ("RATE_LIMIT", "30/day", r"N/minute"),
    ("RATE_LIMIT", "30 per minute", r"N/minute"),
    ("RATE_LIMIT", "30/minute,1/second", r"N/minute"),
    ("RATE_LIMIT", "9" * 5000 + "/minute", r"N/minute"),
    ("TRUSTED_PROXY", "localhost", r"IP address"),
    ("TRUSTED_PROXY", "10.0.0.0/8", r"IP address"),
    ("TRUSTED_PROXY", "127.0.0.1,127.0.0.2", r"IP address"),
]


def assert_refused(status: int, lines: list[str], *names: str, remedy: str):
    """Exit status 78 and one line that has the names and the remedy."""
    assert status == 78, lines[-3:]
    assert len(lines) == 1, lines
    assert all(name in lines[0] for name in names), lines
    assert re.search(remedy, lines[0]), lines
    assert len(lines[0]) < 600


@pytest.mark.parametrize("key, value, remedy", BAD_SETTINGS, ids=lambda value: repr(value)[:40])
def test_a_bad_setting_stops_the_server_with_one_line(key, value, remedy):
    status, lines = run_to_the_end(**UNMEASURED, **{key: value})
    assert_refused(status, lines, "" if key.startswith("MODEL_") else f"{key}:", remedy=remedy)
    assert key != "SECRET_API_KEY" or not value or not any(part in lines[0] for part in (value, "xyzzy"))
    assert KEY not in lines[0]


def test_several_bad_settings_still_give_one_line():
    status, lines = run_to_the_end(DEBUG="maybe", PORT="http", RATE_LIMIT="often", SECRET_API_KEY="")
    assert_refused(status, lines, remedy=r"SECRET_API_KEY|DEBUG|PORT|RATE_LIMIT")


def test_the_key_of_the_example_works_with_debug_alone(start_server):
    server = start_server(SECRET_API_KEY=EXAMPLE, DEBUG="true")
    assert server.classify(key=EXAMPLE).status == 200


def test_check_reads_the_settings_and_leaves():
    status, lines = run_to_the_end(arguments=["--check"])
    assert (status, lines) == (0, [])
    status, lines = run_to_the_end(arguments=["--check"], RATE_LIMIT="often")
    assert_refused(status, lines, "RATE_LIMIT", remedy="N/minute")


def without_settings(**settings) -> dict:
    """Settings for a process whose environment has none but these."""
    return dict.fromkeys(wire.SETTINGS) | settings


def test_settings_come_from_the_env_file(start_server, copy_of_the_repo, tmp_path):
    lines = [
        "# a comment",
        "",
        "SECRET_API_KEY=from-the-file",
        'PORT="0"',
        "RATE_LIMIT='7/hour'",
        "DEBUG=true",
        "TRUSTED_PROXY=",
        "SOMETHING_ELSE=is-ignored",
    ]
    (copy_of_the_repo / ".env").write_text("\n".join(lines) + "\n")
    server = start_server(copy_of_the_repo / "server.py", cwd=tmp_path, **without_settings())
    answer = server.classify(key="from-the-file")
    assert (answer.status, answer["RateLimit-Policy"]) == (200, '"default";q=7;w=3600')
    assert server.get("/docs").status == 200
    server.key = "from-the-file"


def test_the_environment_beats_the_env_file(start_server, copy_of_the_repo):
    (copy_of_the_repo / ".env").write_text("SECRET_API_KEY=from-the-file\nPORT=http\nRATE_LIMIT=1/hour\n")
    settings = without_settings(SECRET_API_KEY=KEY, PORT="0", RATE_LIMIT="off")
    server = start_server(copy_of_the_repo / "server.py", **settings)
    assert server.classify(key="from-the-file").status == 401
    assert "RateLimit" not in server.classify()


ENV_LINES = {  # a line of .env, and the key that systemd's EnvironmentFile= reads from it
    "SECRET_API_KEY=abc123": "abc123",
    "SECRET_API_KEY='abc123'": "abc123",
    'SECRET_API_KEY="abc123"': "abc123",
    "SECRET_API_KEY=abc=123==": "abc=123==",
    "SECRET_API_KEY=first\nSECRET_API_KEY=second": "second",
    "SECRET_API_KEY=abc123\r\nDEBUG=false\r": "abc123",
    "SECRET_API_KEY=abc'def'ghi": "abcdefghi",
    'SECRET_API_KEY=abc"def"': "abcdef",
    "SECRET_API_KEY=abc#def": "abc#def",
    "SECRET_API_KEY=abc # def": "abc # def",
    "SECRET_API_KEY=abc$HOME": "abc$HOME",
    "SECRET_API_KEY=abc${HOME}": "abc${HOME}",
    'SECRET_API_KEY="abc${HOME}"': "abc${HOME}",
    "SECRET_API_KEY=abc\\ndef": "abcndef",
    'SECRET_API_KEY="abc\\ndef"': "abc\\ndef",
    "SECRET_API_KEY='abc\\ndef'": "abc\\ndef",
    "SECRET_API_KEY=abc\\": None,
    "SECRET_API_KEY=abc\\\ndef": "abcdef",
    'SECRET_API_KEY="abc': None,
    "SECRET_API_KEY='abc\ndef'": None,
    "export SECRET_API_KEY=abc123": None,
    "SECRET_API_KEY = abc123": "abc123",
    " SECRET_API_KEY=abc123": "abc123",
    "SECRET_API_KEY= abc123": "abc123",
    "SECRET_API_KEY": None,
    "SECRET_API_KEY: abc123": None,
    "; SECRET_API_KEY=abc123": None,
    "# a comment that ends with \\\nSECRET_API_KEY=abc123": None,
    "SECRET_API_KEY=abc123\nnonsense": "abc123",
    "SECRET_API_KEY=`date`": "`date`",
    "\ufeffSECRET_API_KEY=abc123": "abc123",  # not by systemd; setup-server.sh takes the mark away on prod
    "SECRET_API_KEY=abc123\x0cRATE_LIMIT=off": None,
    "SECRET_API_KEY=abc123\u2028RATE_LIMIT=off": None,
}


@pytest.mark.parametrize("line", ENV_LINES, ids=repr)
def test_a_line_of_the_env_file_is_read_as_systemd_reads_it_or_refused(start_server, copy_of_the_repo, line):
    (copy_of_the_repo / ".env").write_bytes(line.encode() + b"\n")
    server, settings = copy_of_the_repo / "server.py", wire.SETTINGS | {"SECRET_API_KEY": None}
    status, lines = run_to_the_end(server, arguments=["--check"], **settings)
    if status == 0:
        running = start_server(server, **settings)
        assert ENV_LINES[line], "systemd reads no key from this line"
        assert running.classify(key=ENV_LINES[line]).status == 200, "systemd reads another key from this line"
    else:
        assert_refused(status, lines, remedy=r"SECRET_API_KEY|KEY=value")
        assert not re.search("abc123|def|first|second", lines[0])


@pytest.mark.parametrize(
    "line",
    [
        "SECRET_API_KEY=abc123",
        "SECRET_API_KEY='abc123'",
        'SECRET_API_KEY="abc123"',
        "# x\n\nSECRET_API_KEY=a",
    ],
)
def test_plain_lines_of_the_env_file_are_not_refused(copy_of_the_repo, line):
    (copy_of_the_repo / ".env").write_text(line + "\n")
    settings = wire.SETTINGS | {"SECRET_API_KEY": None}
    assert run_to_the_end(copy_of_the_repo / "server.py", arguments=["--check"], **settings) == (0, [])


def test_the_example_file_is_a_legal_env_file(copy_of_the_repo):
    text = (wire.ROOT / ".env.example").read_text().replace(EXAMPLE, "another-key")
    (copy_of_the_repo / ".env").write_text(text)
    server, settings = copy_of_the_repo / "server.py", without_settings()
    assert run_to_the_end(server, arguments=["--check"], **settings) == (0, [])


def test_a_folder_or_bytes_in_place_of_the_env_file_are_refused(copy_of_the_repo):
    env = copy_of_the_repo / ".env"
    for make in (env.mkdir, lambda: env.write_bytes(b"SECRET_API_KEY=\xff\xfe\n")):
        make()
        status, lines = run_to_the_end(copy_of_the_repo / "server.py")
        assert_refused(status, lines, ".env", remedy="KEY=value")
        shutil.rmtree(env, ignore_errors=True)


def test_an_address_that_is_not_there_yet_is_no_bad_setting():
    """A network that comes up after boot: systemd tries again unless the status is 78."""
    status, lines = run_to_the_end(HOST="192.0.2.1")
    assert status == 1
    assert re.search(r"HOST: this machine has no address '192.0.2.1' yet; wait for its network", lines[-1])


def test_the_server_starts_from_any_folder(start_server, tmp_path):
    (tmp_path / ".env").write_text("this is not for the server")
    (tmp_path / "schemas").mkdir()
    for cwd in (tmp_path, "/", wire.ROOT):
        assert start_server(cwd=cwd).get("/health").body == HEALTHY


def test_host_decides_where_to_listen(start_server):
    server = start_server(HOST="127.0.0.5")
    assert server.get("/health").body == HEALTHY
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.address[1]), 5)
    everywhere = start_server(HOST="0.0.0.0")
    for host in ("127.0.0.1", "127.0.0.5"):
        everywhere.address = (host, everywhere.address[1])
        assert everywhere.get("/health").body == HEALTHY


# ---- The artefact ---------------------------------------------------------------------------------------


def test_a_missing_artefact_is_named_with_the_remedy(copy_of_the_repo):
    (copy_of_the_repo / "models" / "digit_classifier_v1.pkl").unlink()
    status, lines = run_to_the_end(copy_of_the_repo / "server.py")
    assert_refused(
        status, lines, "digit_classifier_v1.pkl", remedy="MODEL_PATH.*git checkout|setup-server.sh"
    )


def bomb(marker) -> bytes:
    """A pickle that touches `marker` when somebody loads it."""
    return b"cposix\nsystem\n(S'touch %s'\ntR." % str(marker).encode()


def test_a_tampered_artefact_is_never_unpickled(copy_of_the_repo, tmp_path):
    artefact = copy_of_the_repo / "models" / "digit_classifier_v1.pkl"
    artefact.unlink()
    artefact.write_bytes(bomb(tmp_path / "boom"))
    status, lines = run_to_the_end(copy_of_the_repo / "server.py")
    assert_refused(status, lines, "digit_classifier_v1.pkl", "digest", remedy="git checkout|MODEL_SHA256")
    assert not (tmp_path / "boom").exists()
    install_artefact(copy_of_the_repo, bomb(tmp_path / "boom"))  # the fuse works: with its digest it burns
    assert run_to_the_end(copy_of_the_repo / "server.py")[0] == 78
    assert (tmp_path / "boom").exists()


def test_a_changed_bit_is_noticed(copy_of_the_repo):
    artefact = copy_of_the_repo / "models" / "digit_classifier_v1.pkl"
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.unlink()
    artefact.write_bytes(content)
    status, lines = run_to_the_end(copy_of_the_repo / "server.py")
    assert_refused(status, lines, "digit_classifier_v1.pkl", "digest", remedy="git checkout|MODEL_SHA256")


@pytest.mark.parametrize("sums", [None, "", "nonsense\n", "0" * 64 + "  other.pkl\n", "\xff\xfe"], ids=repr)
def test_an_artefact_whose_digest_is_not_listed_is_never_unpickled(copy_of_the_repo, tmp_path, sums):
    install_artefact(copy_of_the_repo, bomb(tmp_path / "boom"))
    file = copy_of_the_repo / "models" / "SHA256SUMS"
    file.unlink() if sums is None else file.write_bytes(sums.encode("latin-1"))
    status, lines = run_to_the_end(copy_of_the_repo / "server.py")
    assert_refused(status, lines, "digit_classifier_v1.pkl", remedy="MODEL_SHA256|SHA256SUMS")
    assert not (tmp_path / "boom").exists()


def test_model_sha256_beats_the_list(start_server, odd_model):
    sums = odd_model / "models" / "SHA256SUMS"
    digest = sums.read_text().split()[0]
    sums.write_text("0" * 64 + "  digit_classifier_v1.pkl\n")
    for spelling in (digest, digest.upper()):
        assert start_server(odd_model / "server.py", MODEL_SHA256=spelling).get("/health").body == HEALTHY
    assert run_to_the_end(odd_model / "server.py")[0] == 78


@pytest.mark.parametrize("content", [b"", b"junk", b"I7\n.", b"cno_module\nMODEL\n.", b"(lp0\n."], ids=repr)
def test_what_is_no_classifier_is_refused(copy_of_the_repo, content):
    install_artefact(copy_of_the_repo, content)
    status, lines = run_to_the_end(copy_of_the_repo / "server.py")
    assert_refused(status, lines, "digit_classifier_v1.pkl", remedy="MODEL_PATH")


def test_a_damaged_cache_of_the_model_is_no_reason_not_to_start(start_server, copy_of_the_repo):
    prepared = copy_of_the_repo / "models" / ".prepared"
    for file in list(prepared.glob("*")):
        file.unlink()
        file.write_bytes(b"damaged")
    assert start_server(copy_of_the_repo / "server.py").classify().json()["prediction"] == "7"


# ---- The port -------------------------------------------------------------------------------------------


def test_a_taken_port_is_exit_status_1_with_the_remedy(server):
    port = str(server.address[1])
    status, lines = run_to_the_end(PORT=port)
    assert (status, len(lines)) == (1, 1)
    assert all(word in lines[0] for word in ("PORT", port, "taken")), lines
    assert server.get("/health").body == HEALTHY


def test_a_port_is_free_again_right_after_the_stop(start_server):
    first = start_server()
    with first.connect() as connection:
        connection.send(request_bytes()).read_answer()
        first.stop()
    assert start_server(PORT=str(first.address[1])).get("/health").body == HEALTHY


# ---- The stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once(start_server, number):
    server = start_server()
    assert server.get("/health").status == 200
    began = time.monotonic()
    server.stop(number)
    assert time.monotonic() - began < 3


def test_two_signals_are_one_stop(start_server):
    server = start_server()
    for _ in range(3):
        with contextlib.suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGTERM)
    server.wait()


class Load:
    """Clients that ask until the server is gone, and count what became of every request.

    A request counts as accepted when its connection was established and all its bytes were sent without an
    error. Each of them must get a whole 200; anything else (reset, end of file, half an answer, another
    status, silence) counts as lost. A client stops when the server said `Connection: close` or refuses
    connections: both are fair. `enough` ends fresh clients between two requests.
    """

    def __init__(self, server, kept_alive: int, fresh: int):
        self.server, self.count, self.lost = server, Counter(), []
        self.enough = threading.Event()
        clients = [self.keep_alive] * kept_alive + [self.fresh] * fresh
        self.threads = [threading.Thread(target=client) for client in clients]
        for thread in self.threads:
            thread.start()

    def ask(self, connection, data: bytes) -> bool:
        """Send a request and read its answer; whether the connection may be used again."""
        try:
            connection.send(data)
        except OSError:
            self.count["not sent"] += 1
            return False
        try:
            answer = connection.read_answer()
        except (Broken, AssertionError) as error:
            self.lost.append(str(error))
            return False
        if answer.status != 200:
            self.lost.append(repr(answer))
        self.count["answered"] += 1
        return answer.keeps_alive

    def keep_alive(self):
        with contextlib.suppress(ConnectionRefusedError), self.server.connect() as connection:
            while self.ask(connection, classify_bytes()):
                pass
            self.count["kept-alive connections that ended"] += 1

    def fresh(self):
        data = classify_bytes(headers=[("Connection", "close")])
        try:
            while not self.enough.is_set():
                with self.server.connect() as connection:
                    self.ask(connection, data)
        except ConnectionRefusedError:
            self.count["refused"] += 1
        except OSError as error:  # reset during the handshake: never established
            self.count[f"{type(error).__name__} in connect"] += 1

    def join(self):
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"


def test_no_accepted_request_is_lost_when_the_server_stops_under_load(start_server):
    server = start_server()
    load = Load(server, kept_alive=16, fresh=16)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:  # the server stays reachable for others meanwhile
        assert server.get("/health").body == HEALTHY
    assert not load.lost
    server.stop()
    load.join()
    assert load.count["answered"] > 100
    assert load.count["refused"] > 0
    assert not load.lost, f"{len(load.lost)} lost, {dict(load.count)}: {load.lost[:3]}"
    assert load.count["not sent"] == 0, "a kept-alive connection was closed without Connection: close"


def test_a_request_that_is_in_the_model_is_finished(start_server, odd_model):
    server = start_server(odd_model / "server.py")
    rows = [[255] * 5 + [0] * 23] + [[0] * 28] * 27
    with server.connect() as waiting, server.connect() as watching:
        waiting.send(classify_bytes({"pixels": rows}))
        watching.send(request_bytes()).read_answer()
        server.process.send_signal(signal.SIGTERM)
        while server.checked(watching.send(request_bytes()).read_answer()).status == 200:
            pass
        server.wait_for_refusal()
        assert server.process.poll() is None  # it still waits for the model
        (odd_model / "go on").touch()
        answer = server.checked(waiting.read_answer())
        assert (answer.status, answer.json()["prediction"]) == (200, "8")
    server.wait()


def test_health_says_503_while_the_server_drains(start_server):
    server = start_server()
    data = classify_bytes()
    with server.connect() as unfinished, server.connect() as watching:
        unfinished.send(data[:-10])
        assert watching.send(request_bytes()).read_answer().status == 200
        server.process.send_signal(signal.SIGTERM)
        while (answer := server.checked(watching.send(request_bytes()).read_answer())).status == 200:
            assert answer.keeps_alive
        assert (answer.status, answer.body) == (503, b'{"status":"unavailable","model_version":"v1"}')
        assert not answer.keeps_alive
        answer = server.checked(unfinished.send(data[-10:]).read_answer())
        assert (answer.status, answer.keeps_alive) == (200, False)
    server.wait()


def test_pipelined_requests_are_all_answered_before_the_end(start_server):
    server = start_server()
    with server.connect() as connection:
        connection.send(classify_bytes() * 50)
        server.process.send_signal(signal.SIGTERM)
        answered = 0
        for _ in range(50):
            answer = server.checked(connection.read_answer())
            assert answer.status == 200
            answered += 1
            if not answer.keeps_alive:
                break
        assert answered == 50 or not answer.keeps_alive
    server.wait()


def test_a_slow_sender_cannot_hold_up_the_stop(start_server):
    server = start_server()
    over = threading.Event()
    data = classify_bytes()
    with server.connect() as slow, server.connect() as silent:
        silent.send(data[:100])
        slow.send(data[:50])
        thread = threading.Thread(target=trickle, args=(slow, data[50:], 0.2, over))
        thread.start()
        server.stop()  # which asserts that it takes under ten seconds
        over.set()
        thread.join(5)


def trickle(connection, data: bytes, pause: float, over: threading.Event) -> None:
    """Send `data` byte by byte until the server has had enough or the test is over."""
    with contextlib.suppress(OSError):
        for byte in data:
            if over.wait(pause):
                return
            connection.send(bytes([byte]))


# ---- Clients that are slow, many or gone ----------------------------------------------------------------


def test_slow_senders_are_cut_off_while_others_are_served(start_server):
    server = start_server()
    over = threading.Event()
    data = classify_bytes()
    beginnings = [data[:10], data[:-700], b"", data[:-2000]] * 5
    with contextlib.ExitStack() as stack:
        connections, threads = [], []
        for beginning in beginnings:
            connection = stack.enter_context(server.connect())
            rest = data[len(beginning) :]
            connection.send(beginning or data[:1])
            threads.append(threading.Thread(target=trickle, args=(connection, rest or b"x", 1, over)))
            connections.append(connection)
        began = time.monotonic()
        for thread in threads:
            thread.start()
        with ThreadPoolExecutor(len(connections)) as pool:
            closed = [pool.submit(ends_within, connection, began + 13) for connection in connections]
            slowest = 0.0
            while not all(future.done() for future in closed):
                asked = time.monotonic()
                assert server.get("/health").body == HEALTHY
                slowest = max(slowest, time.monotonic() - asked)
                over.wait(0.05)
            ends = [future.result() for future in closed]
        over.set()
        for thread in threads:
            thread.join(5)
    assert all(ends), f"{ends.count(None)} of {len(ends)} slow senders were still connected after 13 s"
    assert min(ends) - began > 5, "a sender that is only a bit slow is cut off too"
    assert slowest < 2, f"another client waited {slowest:.1f} s"


def ends_within(connection, deadline: float) -> float | None:
    """When the server ended the connection, or None if it had not by then."""
    ended = connection.is_closed_within(deadline - time.monotonic())
    status = re.findall(rb"HTTP/1.1 (\d+)", connection.buffer)
    assert status in ([], [b"408"]), connection.buffer
    return time.monotonic() if ended and time.monotonic() < deadline else None


@pytest.mark.parametrize("beginning", [b"", request_bytes()], ids=["silent", "after an answer"])
def test_many_idle_connections_do_not_keep_a_new_client_out(start_server, beginning):
    server = start_server()
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            connection = stack.enter_context(server.connect(source="127.0.0.9"))
            if beginning:
                with contextlib.suppress(OSError):  # one that had to make room is closed
                    connection.send(beginning)
        for _ in range(3):
            began = time.monotonic()
            assert server.get("/health").body == HEALTHY
            assert time.monotonic() - began < 5


def test_clients_that_vanish_leave_nothing_open(start_server):
    server = start_server()
    for _ in range(20):
        server.get("/health")
    before = settled(server.open_files)
    data = classify_bytes()
    for number in range(600):
        connection = server.connect()
        with contextlib.suppress(OSError):
            connection.send([b"", data[:100], data[:-5], data, data * 3, b"junk\r\n\r\n"][number % 6])
        if number % 2:
            connection.reset()
        else:
            connection.socket.close()
    assert settled(server.open_files, at_most=before) <= before
    assert server.get("/health").body == HEALTHY
    assert server.classify().status == 200


def settled(measure, at_most: int | None = None) -> int:
    """The value once it is low enough, or no longer changes, within five seconds."""
    deadline = time.monotonic() + 5
    value = measure()
    while time.monotonic() < deadline and at_most is not None and value > at_most:
        time.sleep(0.05)
        value = measure()
    return value


def test_memory_does_not_grow_with_the_number_of_requests(start_server):
    server = start_server(**UNMEASURED)
    usual = [
        classify_bytes(),
        classify_bytes(key="wrong"),
        request_bytes("GET", "/nowhere"),
        request_bytes("GET", "/health"),
    ]
    slow = [classify_bytes(picture("300")), classify_bytes(picture("7.0")), classify_bytes(b"[" * 5_000)]
    hundred = (usual * 25)[: -len(slow)] + slow
    ask_many(server, hundred, 30)  # 3,000 requests
    before = server.memory()
    ask_many(server, hundred, 80)  # 8,000 requests
    assert server.memory() - before < 1_500, "more than 1.5 MB were added by 8,000 requests"


def ask_many(server, requests: list[bytes], times: int) -> None:
    """Send the requests pipelined, each batch on a connection of its own, whose end the last one asks for."""
    batch = b"".join(requests) + request_bytes(headers=[("Connection", "close")])
    for _ in range(times):
        with server.connect() as connection:
            sender = threading.Thread(target=connection.send, args=(batch,))
            sender.start()
            assert connection.is_closed_within(wire.PATIENCE)
            sender.join(wire.PATIENCE)
            statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", connection.buffer)
            assert len(statuses) == len(requests) + 1 and max(statuses) < b"500"


def test_memory_does_not_grow_with_the_number_of_clients(start_server):
    server = start_server(RATE_LIMIT="10/hour", TRUSTED_PROXY="127.0.0.1", **UNMEASURED)

    def clients(first: int, last: int):
        for start in range(first, last, 100):
            requests = [
                classify_bytes(b"", key="wrong", headers=[("X-Forwarded-For", f"2001:db8:{number:x}::1")])
                for number in range(start, start + 100)
            ]
            ask_many(server, requests, 1)

    clients(0, 11_000)
    before = server.memory()
    clients(11_000, 19_000)
    assert server.memory() - before < 1_000, "more than 1 MB was added by 8,000 clients"


# ---- systemd --------------------------------------------------------------------------------------------


@pytest.fixture
def notices(tmp_path):
    """A socket as systemd's: NOTIFY_SOCKET names it, and messages arrive at it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        path = os.path.relpath(tmp_path / "notify") if len(str(tmp_path)) > 90 else str(tmp_path / "notify")
        unix.bind(path)
        unix.settimeout(wire.PATIENCE)
        yield unix


def messages(unix: socket.socket, seconds: float) -> list[str]:
    """What arrives within these seconds."""
    received, deadline = [], time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        while (left := deadline - time.monotonic()) > 0:
            unix.settimeout(left)
            received.append(unix.recv(4096).decode())
    return received


def test_systemd_is_told_when_the_server_is_ready_and_when_it_stops(notices, start_server):
    server = start_server(NOTIFY_SOCKET=notices.getsockname())
    assert "READY=1" in notices.recv(4096).decode().split("\n")
    assert server.get("/health").body == HEALTHY
    server.stop()
    assert messages(notices, 0.1) == ["STOPPING=1"]  # and no WATCHDOG=1, for which nobody asked


@pytest.mark.parametrize("address", ["{0}/nobody", "@pixelwise-nobody", "{0}"])
def test_a_systemd_that_does_not_listen_is_no_reason_to_fail(start_server, tmp_path, address):
    server = start_server(NOTIFY_SOCKET=address.format(tmp_path), WATCHDOG_USEC="2000000")
    time.sleep(1.5)  # a beat of the watchdog
    assert server.get("/health").body == HEALTHY
    server.stop()


def test_an_abstract_socket_of_systemd_works_too(start_server):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        unix.bind(f"\0pixelwise-test-{os.getpid()}")
        unix.settimeout(wire.PATIENCE)
        server = start_server(NOTIFY_SOCKET=f"@pixelwise-test-{os.getpid()}")
        assert "READY=1" in unix.recv(4096).decode()
        server.stop()


def test_the_watchdog_is_fed_while_the_model_answers_and_only_then(odd_model, notices, start_server):
    settings = {"NOTIFY_SOCKET": notices.getsockname(), "WATCHDOG_USEC": "2000000"}
    server = start_server(odd_model / "server.py", **settings)
    server.may_log_tracebacks = True
    assert "READY=1" in notices.recv(4096).decode()
    for _ in range(2):
        assert "WATCHDOG=1" in notices.recv(4096).decode()  # within the ten seconds of the fixture
    (odd_model / "sick").touch()
    server.wait_for_line("swordfish")
    messages(notices, 0.1)
    assert messages(notices, 2.5) == []
    (odd_model / "sick").unlink()
    notices.settimeout(wire.PATIENCE)
    assert "WATCHDOG=1" in notices.recv(4096).decode()


def test_a_watchdog_without_a_worker_is_not_fed(odd_model, notices, start_server):
    settings = {"NOTIFY_SOCKET": notices.getsockname(), "WATCHDOG_USEC": "2000000"}
    server = start_server(odd_model / "server.py", **settings)
    body = encoded({"pixels": [[255] * 5 + [0] * 23] + [[0] * 28] * 27})
    with contextlib.ExitStack() as stack:
        brooding = [stack.enter_context(server.connect()).send(classify_bytes(body)) for _ in range(16)]
        notices.settimeout(wire.PATIENCE)
        messages(notices, 1.5)  # what was on its way arrives, and then there is silence
        assert messages(notices, 2.5) == []
        (odd_model / "go on").touch()
        assert {connection.read_answer().status for connection in brooding} == {200}
    notices.settimeout(wire.PATIENCE)
    assert "WATCHDOG=1" in notices.recv(4096).decode()


@pytest.fixture
def passed_socket():
    """A listening socket as systemd's pixelwise.socket has it."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener


def test_the_socket_of_systemd_is_used(start_server, passed_socket):
    with wire.Connection(passed_socket.getsockname()) as early:
        early.send(request_bytes())  # before the server runs: the point of socket activation
        server = start_server(**through_systemd(passed_socket), PORT="1")
        assert server.address == passed_socket.getsockname()
        assert server.checked(early.read_answer()).body == HEALTHY
    assert server.classify().status == 200


def test_a_socket_meant_for_another_process_is_left_alone(start_server, passed_socket):
    server = start_server(**through_systemd(passed_socket, lie=1))
    assert server.address != passed_socket.getsockname()
    assert server.get("/health").body == HEALTHY


def test_a_restart_behind_the_socket_of_systemd_loses_no_request(start_server, passed_socket):
    first = start_server(**through_systemd(passed_socket))
    load = Load(first, kept_alive=0, fresh=8)
    try:
        ask_until(first, lambda: load.count["answered"] > 50)
        first.stop()
        second = start_server(**through_systemd(passed_socket))
        before = load.count["answered"]
        ask_until(second, lambda: load.count["answered"] > before + 50 or load.lost)
    finally:
        load.enough.set()
        load.join()
    assert not load.lost, f"{len(load.lost)} lost, {dict(load.count)}: {load.lost[:3]}"
    assert load.count["refused"] == 0


def ask_until(server, condition) -> None:
    deadline = time.monotonic() + wire.PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        assert server.get("/health").body == HEALTHY


def test_a_student_sees_the_exceptions_of_their_own_server_once_each(start_server, odd_model, tmp_path):
    server = start_server(odd_model / "server.py")
    server.may_log_tracebacks = True
    (odd_model / "sick").touch()
    for _ in range(3):
        assert server.classify(picture()).status == 500
    server.stop()
    (tmp_path / "log").write_text(server.log)
    shown = "\n".join(from_setup("show_tracebacks", tmp_path / "log"))
    assert shown.startswith("\nYour server answered 500 to 3 request(s), because of:\n\n")
    assert shown.endswith("RuntimeError: the password is swordfish")
    assert shown.count("Traceback") == 1 and f'File "{odd_model}/server.py", line ' in shown
    assert "site-packages" not in shown and "POST" not in shown
