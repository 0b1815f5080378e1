"""labs/labkit.py: what it shows, what it never believes, and that it leaves no server behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import labkit  # noqa: E402  (labs/ is no package)


@pytest.fixture(scope="module")
def server():
    started = labkit.Server()
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def the_environment_stays():
    yield
    for name in ("URL", "KEY", "ECHO"):
        os.environ.pop(name, None)


def text_of(shown) -> str:
    return shown._repr_mimebundle_()[0]["text/plain"]


def gone(url: str) -> bool:
    return labkit.client.get(url + "/health").status_code == 0


def gone_within(seconds: float, url: str) -> bool:
    until = time.monotonic() + seconds
    while not gone(url) and time.monotonic() < until:
        time.sleep(0.05)
    return gone(url)


# ---- The server -----------------------------------------------------------------------------------------


def test_two_servers_run_side_by_side_and_the_last_one_is_meant(server):
    other = labkit.Server()
    assert other.url != server.url and labkit.Server.current is other
    other.stop()
    assert gone(other.url) and not gone(server.url)
    server.use()
    assert labkit.Server.current is server and os.environ["URL"] == server.url


def test_a_bad_setting_is_shown_with_its_remedy_and_raises_nothing(capsys, server):
    bad = labkit.Server(RATE_LIMIT="often")
    shown = capsys.readouterr().out
    assert "✗ server.py did not start" in shown and "write N/second" in shown
    assert bad.url == labkit.NOBODY and not labkit.check("m1.health answers")
    server.use()


def test_a_port_in_use_is_shown(capsys, server):
    labkit.Server(PORT=server.url.rpartition(":")[2])
    assert "is taken; stop the other program" in capsys.readouterr().out
    server.use()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setpriv is Linux's")
def test_a_kernel_that_is_killed_leaves_no_server_behind():
    line = "import labkit, time; print(labkit.Server().url, flush=True); time.sleep(60)"
    kernel = subprocess.Popen([sys.executable, "-c", line], cwd=LABS, stdout=subprocess.PIPE, text=True)
    kernel.stdout.readline()
    url = kernel.stdout.readline().strip()
    assert not gone(url)
    kernel.send_signal(signal.SIGKILL)
    kernel.communicate()
    assert gone_within(10, url)


def test_a_kernel_that_ends_takes_its_server_and_its_files_along(tmp_path):
    line = "import labkit; print(labkit.Server().url); labkit.copy_of_the_server()"
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=LABS, env=environ, capture_output=True, text=True, timeout=60
    )
    assert gone(done.stdout.split()[-1]) and done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_next_copy_clears_away_what_a_killed_kernel_left(tmp_path):
    line = "import labkit, os, signal; print(labkit.copy_of_the_server()); {}"
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    (tmp_path / "pixelwise-lab-unit-x").mkdir()  # somebody else's
    for end, left in (("os.kill(os.getpid(), signal.SIGKILL)", 2), ("", 1)):
        command = [sys.executable, "-c", line.format(end)]
        subprocess.run(command, cwd=LABS, env=environ, capture_output=True, timeout=60, check=False)
        assert len(list(tmp_path.iterdir())) == left


def test_the_checks_for_a_milestone_are_those_that_make_sense(server):
    names = labkit.checks_for("m3", server)
    assert "m3.a wrong key is refused" in names and {name[:3] for name in names} == {"m3."}
    assert not [name for name in labkit.checks_for("m5", server) if "batch" in name]


def test_reflections_count_words_of_the_saved_answers(capsys, tmp_path):
    cell = {"id": "reflection-1", "metadata": {"tags": ["reflection"]}}
    sources = ["**1.** Why?\n", "\n", "*Your answer:*\n", "\n", "Because it *restarts*."]
    (tmp_path / "05.ipynb").write_text(json.dumps({"cells": [cell | {"source": sources}]}))
    labkit.reflections(tmp_path / "05.ipynb")
    assert capsys.readouterr().out == "reflection-1: 3 words\n"
    labkit.reflections(tmp_path / "gone.ipynb")
    assert "✗" in capsys.readouterr().out


def test_the_log_shows_what_stays_the_same(server, capsys):
    labkit.client.get(server.url + "/health")
    server.log(1)
    assert capsys.readouterr().out == "<time> INFO 127.0.0.1 GET /health 200 <ms> <id>\n"


def test_a_copy_of_the_server_is_changed_and_the_server_is_not(capsys):
    before = labkit.SERVER.read_text()
    folder = labkit.copy_of_the_server()
    labkit.replace_in(folder / "server.py", "HTTPError(401", "HTTPError(403")
    assert re.fullmatch(r"- .*401.*\n\+ .*403.*\n", capsys.readouterr().out)
    labkit.replace_in(folder / "server.py", "no such text", "")
    assert "✗" in capsys.readouterr().out
    assert labkit.SERVER.read_text() == before


def test_the_echo_service_answers_and_shows_its_name_for_its_address(capsys):
    echo = labkit.EchoService()
    labkit.dev("", "curl -s $ECHO/get")
    shown = capsys.readouterr().out
    assert "httpbin is listening on $ECHO\n" in shown and '"url": "$ECHO/get"' in shown
    assert '"Host": "$ECHO_HOST"' in shown and echo.url not in shown
    labkit.EchoService(port=int(echo.url.rpartition(":")[2]))
    assert re.search(r"✗ httpbin did not start: .*in use\n  Stop the other program", capsys.readouterr().out)
    echo.use()
    echo.stop()
    labkit.dev("", "curl -s $ECHO/get")
    labkit.show_answer(labkit.client.get(echo.url))
    assert capsys.readouterr().out.count("echo.start()") == 2


def test_a_public_echo_service_is_asked_and_without_a_network_the_one_on_this_machine(monkeypatch, capsys):
    first = labkit.EchoService()
    monkeypatch.setenv("ECHO_URL", f"{first.url}/")
    second = labkit.EchoService()
    assert second.url == first.url and second.process is None
    monkeypatch.setenv("ECHO_URL", "https://nobody.invalid")
    third = labkit.EchoService()
    assert "✗ https://nobody.invalid does not answer" in capsys.readouterr().out
    assert labkit.client.get(f"{third.url}/get").status_code == 200
    first.stop()
    third.stop()


# ---- Shell cells ----------------------------------------------------------------------------------------


def test_a_shell_cell_has_the_address_and_the_key_and_shows_neither(server, capsys):
    server.use()
    labkit.dev("", 'echo "$URL" "$KEY"; curl -s $URL/health; echo trouble >&2')
    shown = capsys.readouterr().out
    assert shown == '$URL $KEY\n{"status":"ok","model_version":"v1"}trouble\n'


@pytest.mark.parametrize("kept", ["", "intranet.school"])
def test_a_shell_cell_asks_the_server_itself_where_the_network_has_a_proxy(server, kept):
    lines = 'import labkit; s = labkit.Server(); labkit.dev("", "curl -sS $URL/health; echo; echo $NO_PROXY")'
    environ = os.environ | {"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}
    environ = environ | {"no_proxy": kept, "NO_PROXY": kept}
    said = subprocess.run(
        [sys.executable, "-c", lines], cwd=LABS, env=environ, capture_output=True, text=True
    )
    assert '\n{"status":"ok","model_version":"v1"}\n' in said.stdout
    assert said.stdout.splitlines()[-1].split(",") == [*filter(None, [kept]), "127.0.0.1", "localhost"]


def test_a_shell_cell_says_what_to_do_when_nothing_answers(server, capsys):
    labkit.dev("", f"curl -s {labkit.NOBODY}/health")
    assert "server.start()" in capsys.readouterr().out


def test_a_shell_cell_that_waits_too_long_is_stopped_and_says_so(server, capsys):
    began = time.monotonic()
    labkit.dev("1", "echo first; sleep 33 & sleep 33")
    assert time.monotonic() - began < 10
    shown = capsys.readouterr().out
    assert shown.startswith("first\n") and "✗ stopped after 1 s" in shown
    assert subprocess.run(["pgrep", "-f", "^sleep 33$"], capture_output=True, check=False).stdout == b""


def test_a_failing_line_shows_its_exit_status(server, capsys):
    labkit.dev("", "exit 3")
    assert "(exit status 3)" in capsys.readouterr().out


# ---- What a self-check believes -------------------------------------------------------------------------


def answer(status: int) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    return made


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(None, {"status": 401}), (None, {"equals": None}), (None, {}), (answer(200), {"status": 401}),
     (401, {"status": 401}), ("", {"equals": None}), (answer(401), {}), (3, {"equals": 4}),
     (np.zeros(2), {"equals": 0}), (np.zeros(0), {"equals": 0}), (answer(0), {"status": 401})],
)  # fmt: skip
def test_expect_is_false_and_says_so(value, wanted):
    verdict = labkit.expect(value, **wanted)
    assert not verdict and text_of(verdict).startswith("✗") and "✓" not in text_of(verdict)


def test_expect_is_true_for_what_was_asked():
    assert labkit.expect(answer(401), status=401)
    assert labkit.expect([4], equals=[4])


def test_check_shows_the_sentence_of_the_check(server):
    verdict = labkit.check("m3.a wrong key is refused")
    assert verdict and text_of(verdict) == "✓ a wrong key gets 401"


def test_a_failed_check_shows_what_came_and_a_line_to_try_without_the_key(server):
    folder = labkit.copy_of_the_server()
    file = folder / "server.py"
    file.write_text(file.read_text().replace("HTTPError(401", "HTTPError(403"))
    wrong = labkit.Server(folder)
    verdict = labkit.check("m3.a wrong key is refused", "m1.health answers")
    shown = text_of(verdict)
    assert not verdict and shown.startswith("✗ a wrong key gets 401") and "✓ GET /health" in shown
    assert "403" in shown and "try: curl" in shown and "$URL/classify" in shown
    assert server.key not in shown and wrong.url not in shown
    wrong.stop()
    server.use()


@pytest.mark.parametrize("names", [(), ("m9.no such check",), ("m3.key",)])
def test_no_check_and_an_unknown_check_are_no_success(server, names):
    assert not labkit.check(*names)


# ---- What is shown --------------------------------------------------------------------------------------


def test_a_dead_server_is_an_answer_that_says_what_to_do(capsys):
    labkit.show_answer(labkit.client.get(labkit.NOBODY))
    shown = capsys.readouterr().out
    assert "HTTP/1.1 0 No Answer" in shown and "server.start()" in shown


def test_lines_sent_by_hand_are_answered_and_a_request_without_an_end_is_explained(server):
    lines = ["GET /health HTTP/1.1", "Host: localhost", "Connection: close", ""]
    head, _, body = labkit.by_hand(server.url, *lines).partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\n") and body == '{"status":"ok","model_version":"v1"}'
    assert "Does an empty line end your request?" in labkit.by_hand(server.url, *lines[:-1])
    assert "server.start()" in labkit.by_hand(labkit.NOBODY, *lines)


def test_nothing_is_shown_as_nothing(capsys):
    labkit.show_answer(None)
    assert labkit.chart(None) is None
    assert capsys.readouterr().out == "there is no answer yet\n" * 2
    assert labkit.field(None, "prediction") is None


def test_a_picture_is_small_and_always_the_same():
    digit = np.load(labkit.ROOT / "models/samples.npz")["images"][70]
    first, second = (labkit.show(digit)._repr_mimebundle_()[0] for _ in range(2))
    assert first == second and len(first["image/png"]) < 2000
    assert first["text/plain"].startswith("a picture of 28 x 28 pixels")


def test_code_is_shown_with_the_numbers_of_its_lines(capsys):
    labkit.show_code("authenticate", lines=1)
    number = int(capsys.readouterr().out.split()[0])
    assert labkit.SERVER.read_text().splitlines()[number - 1].startswith("def authenticate")
    labkit.show_code("no_such_function")
    assert "✗" in capsys.readouterr().out
