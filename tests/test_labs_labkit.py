"""labs/labkit.py: what it shows, what it never believes, and that it leaves no server behind."""

import json
import multiprocessing
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

from checks.editions.files import is_for_students

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import labkit  # noqa: E402  (labs/ is no package)
import record  # noqa: E402
import running  # noqa: E402


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
        [sys.executable, "-c", line], cwd=LABS, env=environ, capture_output=True, text=True, timeout=600
    )
    assert gone(done.stdout.split()[-1]) and done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_next_copy_clears_away_what_a_killed_kernel_left(tmp_path):
    line = "import labkit, os, signal; print(labkit.copy_of_the_server()); {}"
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    (tmp_path / "pixelwise-lab-unit-x").mkdir()  # somebody else's
    for end, left in (("os.kill(os.getpid(), signal.SIGKILL)", 2), ("", 1)):
        command = [sys.executable, "-c", line.format(end)]
        subprocess.run(command, cwd=LABS, env=environ, capture_output=True, timeout=600, check=False)
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


def test_a_copy_becomes_your_own_when_you_really_want_it(monkeypatch, tmp_path, capsys):
    folder, mine = labkit.copy_of_the_server(), tmp_path
    (mine / "schemas").mkdir()
    for name in ("server.py", *(f"schemas/{file.name}" for file in (folder / "schemas").glob("*.json"))):
        (mine / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setattr(labkit, "ROOT", mine)
    labkit.replace_in(folder / "server.py", "HTTPError(401", "HTTPError(403")
    (folder / "schemas" / "version.response.json").write_text("{}")
    capsys.readouterr()
    labkit.take_over(folder)
    assert capsys.readouterr().out == ("server.py would change\nschemas/version.response.json would be new\n")
    assert "HTTPError(403" not in (mine / "server.py").read_text()
    labkit.take_over(folder, really=True)
    assert "HTTPError(403" in (mine / "server.py").read_text()
    assert (mine / "schemas" / "version.response.json").read_text() == "{}"


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
    sleep = f"sleep 600.{os.getpid()}"
    began = time.monotonic()
    labkit.dev("1", f"echo first; {sleep} & {sleep}")
    assert time.monotonic() - began < 300
    shown = capsys.readouterr().out
    assert shown.startswith("first\n") and "✗ stopped after 1 s" in shown
    assert subprocess.run(["pgrep", "-f", f"^{sleep}$"], capture_output=True, check=False).stdout == b""


def test_a_shell_cell_speaks_plain_english_whatever_jupyter_and_the_machine_have_set(monkeypatch, capsys):
    wanted = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "LC_ALL": "de_DE.UTF-8", "no_proxy": "example.org"}
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("URL", "http://192.168.56.11:8000")
    labkit.dev("", "env | grep -E '^(FORCE_COLOR|CLICOLOR_FORCE|LC_ALL|NO_COLOR|no_proxy)=' | sort")
    near = "127.0.0.1,192.168.56.11,localhost"
    assert capsys.readouterr().out == f"LC_ALL=C.UTF-8\nNO_COLOR=1\nno_proxy={near},example.org\n"


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


def test_a_failing_expect_says_what_is_wanted_and_a_passing_one_what_it_is():
    assert text_of(labkit.expect(3, equals=4)).startswith("✗ wanted: 4\n    received: 3")
    assert text_of(labkit.expect(4, equals=4, because="two and two")) == "✓ it is 4: two and two"


@pytest.mark.parametrize(
    ("value", "wanted", "told"),
    [(answer(200), {"equals": 200}, "that is a response; its status is .status_code"),
     (200, {"status": 200}, "that is a whole number (int); the whole answer of `client` is wanted"),
     ("200", {"equals": 200}, "that is a text (str); a whole number (int) is wanted"),
     ((1, 2), {"equals": [1, 2]}, "that is a tuple (tuple); a list (list) is wanted")],
)  # fmt: skip
def test_a_value_of_another_kind_is_named(value, wanted, told):
    assert f"hint: {told}" in text_of(labkit.expect(value, **wanted))


def test_a_sealed_value_is_recognised_and_its_seal_does_not_give_it_away():
    sealed = labkit.seal([True, False])
    assert labkit.expect([True, False], sealed=sealed) and "True" not in sealed
    wrong = labkit.expect([True, True], sealed=sealed)
    assert not wrong and text_of(wrong).startswith("✗ wanted: another value\n    received: [True, True]")


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


def test_a_check_that_does_not_exist_leads_to_the_nearest_one(server):
    shown = text_of(labkit.check("m3.a wrong key is refuse"))
    assert shown == "? there is no check 'm3.a wrong key is refuse'; did you mean m3.a wrong key is refused?"


def test_a_server_that_was_stopped_is_not_checked_and_says_how_to_start_it(server):
    other = labkit.Server()
    other.stop()
    shown = text_of(labkit.check("m1.health answers"))
    assert shown == "? server.py is not running: server.start() starts it again."
    server.use()


def test_a_server_that_takes_too_long_is_not_called_broken(server, monkeypatch, tmp_path, capsys):
    (tmp_path / "server.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(labkit.Server, "patience", 0.5)
    slow = labkit.Server(tmp_path)
    assert "Wait until this machine has less to do, then run this cell again." in capsys.readouterr().out
    assert not slow.is_running()
    server.use()


@pytest.fixture
def edited(server, monkeypatch):
    """Starts a server.py that counts as the student's own, with a text replaced."""
    started = []

    def start(old: str, new: str) -> labkit.Server:
        folder = labkit.copy_of_the_server()
        labkit.replace_in(folder / "server.py", old, new)
        monkeypatch.setattr(running, "ROOT", folder)
        started.append(labkit.Server(folder))
        return started[-1]

    yield start
    for one in started:
        one.stop()
    server.use()


def line_with(server: labkit.Server, text: str) -> int:
    lines = (server.folder / "server.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_what_a_check_needs_is_shown_in_full_where_that_failed(edited):
    edited("HTTPError(401, detail", "HTTPError(403, detail")
    shown = text_of(labkit.check("m3.401 says what it wants"))
    assert shown.startswith("? ") and "which failed\n✗ " in shown and "403" in shown and "try: curl" in shown


def test_a_500_of_the_students_own_code_shows_where_it_raised(edited, capsys):
    mine = edited("declared = {", "declared = nonsense + {")
    where = f"server.py, line {line_with(mine, 'nonsense')}, in answer"
    capsys.readouterr()
    labkit.show_answer(labkit.client.get(mine.url + "/health"))
    assert f"the log says: NameError: name 'nonsense' is not defined ({where})" in capsys.readouterr().out
    assert where in text_of(labkit.check("m1.health answers"))


def test_a_500_of_a_copy_that_is_broken_on_purpose_is_left_to_the_reader(server, capsys):
    folder = labkit.copy_of_the_server()
    labkit.replace_in(folder / "server.py", "declared = {", "declared = nonsense + {")
    other = labkit.Server(folder)
    labkit.show_answer(labkit.client.get(other.url + "/health"))
    assert "500" in (shown := capsys.readouterr().out) and "the log says" not in shown
    other.stop()
    server.use()


def test_a_mistake_in_the_grammar_is_shown_with_its_line(edited, capsys):
    mine = edited("def answer(", "def answer((")
    shown = capsys.readouterr().out
    assert "✗ server.py did not start: SyntaxError: " in shown
    assert f"(server.py, line {line_with(mine, 'def answer((')})" in shown


def test_a_setting_that_does_not_exist_leads_to_the_nearest_one_and_starts_nothing(server, capsys):
    wrong = labkit.Server(rate_limit="5/second")
    shown = "✗ there is no setting 'rate_limit'; did you mean RATE_LIMIT?: nothing was started\n"
    assert capsys.readouterr().out == shown and not wrong.is_running()
    server.use()


def test_the_settings_are_those_of_the_server():
    import server as service

    assert tuple(name.upper() for name in service.Settings._fields) == labkit.SETTINGS


def test_the_lines_for_a_terminal_make_the_shell_know_the_server(server, capsys):
    server.for_terminal()
    program = """bash -c 'curl -s "$URL/health" -H "X-API-Key: $KEY"'"""  # sees what is exported
    lines = capsys.readouterr().out + program
    done = subprocess.run(
        ["bash", "-c", lines], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert done.stdout == '{"status":"ok","model_version":"v1"}'


@pytest.mark.parametrize("names", [(), ("m9.no such check",), ("m3.key",)])
def test_no_check_and_an_unknown_check_are_no_success(server, names):
    assert not labkit.check(*names)


# ---- Progress -------------------------------------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(record, "PROGRESS", tmp_path / "progress.json")
    return tmp_path / "progress.json"


def test_what_was_passed_is_kept_for_the_next_kernel_and_counted_once(server, kept):
    for _ in range(2):
        labkit.expect(1, equals=1, exercise="00.survivors")
        labkit.expect(1, equals=2, exercise="00.one-file")
        labkit.check("m3.a wrong key is refused")
    told = json.loads(kept.read_text())
    assert told == {
        "exercises": ["00.survivors"],
        "checks": {"m3.a wrong key is refused": 2},
        "predictions": {},
    }
    assert sorted(kept.parent.iterdir()) == [kept, kept.with_suffix(".md")]


def test_the_progress_of_a_lab_says_what_is_open_and_what_is_next(kept):
    exercises = record.all_labs()["00"].exercises
    labkit.remember(exercises[:-1], {"m1.health answers": 2, "m1.answers are json": 1})
    shown = labkit.progress("00")
    assert text_of(shown) == f"00 · Catch up: 5 of 6 exercises done. Still open: {exercises[-1]}"
    assert '<progress value="5" max="6" ' in shown.data["text/html"]
    assert "m1</td><td>points so far, from the checks of the labs</td><td>3" in shown.data["text/html"]
    labkit.remember(exercises)
    assert text_of(labkit.progress("00")).endswith("6 of 6 exercises done. Next: 01 · HTTP, REST and curl")


def test_without_the_notebooks_the_progress_says_so(kept, monkeypatch, tmp_path):
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "00_catch_up.ipynb").write_text("no JSON")
    monkeypatch.setattr(record, "REPO", tmp_path)
    assert text_of(labkit.progress("00")).startswith("the notebook of lab 00 cannot be read")


@pytest.mark.parametrize("content", ["", "[]", '{"exercises": 1}', "no JSON"])
def test_a_damaged_record_of_progress_is_begun_anew(kept, content):
    kept.write_text(content)
    labkit.remember(["00.survivors"])
    assert record.remembered()["exercises"] == ["00.survivors"]


def test_of_two_labs_that_are_open_neither_takes_away_what_the_other_remembers(kept, monkeypatch):
    monkeypatch.setattr(record, "write_page", lambda: None)
    fork = multiprocessing.get_context("fork")
    labs = [[f"0{lab}.{number:02}" for number in range(50)] for lab in range(2)]
    kernels = [fork.Process(target=lambda lab=lab: [labkit.remember([name]) for name in lab]) for lab in labs]
    for kernel in kernels:
        kernel.start()
    for kernel in kernels:
        kernel.join()
    assert record.remembered()["exercises"] == labs[0] + labs[1]


def test_where_nothing_can_be_written_there_is_no_progress_and_no_error(monkeypatch, tmp_path):
    for place in (tmp_path / "no such folder" / "progress.json", Path()):
        monkeypatch.setattr(record, "PROGRESS", place)
        labkit.remember(["00.survivors"])
        assert record.remembered()["exercises"] == []


def test_the_page_begins_with_lab_00_and_goes_on_where_somebody_stopped(kept):
    labs = record.all_labs()
    assert "**Begin here: [00 · Catch up](00_catch_up.ipynb)**" in record.page()
    first, second, *_ = labs["00"].exercises
    assert (first, second) == ("00.survivors", "00.one-file")
    labkit.remember([first], {"m1.health answers": 2}, {"00.stash": "nothing", "00.fetch-tree": ""})
    page = kept.with_suffix(".md").read_text()
    assert page == record.page()
    assert (
        "**Go on with [00 · Catch up](00_catch_up.ipynb).** Still open there: `one-file`, `old-key`, " in page
    )
    assert "| m1 HTTP | 2 |" in page and "| all | **2** |" in page
    assert re.search('<progress value="1" max="6" [^>]*></progress> 1 of 6 . 1 of 4 .', page)
    labkit.remember(labs["00"].exercises)
    assert "**Next: [01 · HTTP, REST and curl](01_http_rest_and_curl.ipynb)**" in record.page()
    labkit.remember([name for lab in labs.values() for name in lab.exercises])
    assert "**All exercises are done.**" in record.page() and record.page().count(" ✓ |") == len(labs)


def test_the_page_names_every_milestone_and_stands_among_the_labs_where_the_record_is_the_own_one(
    monkeypatch,
):
    from checks import grading

    milestones = {check.milestone for check in grading.all_checks()}
    assert {*re.findall(r"(?m)^. (m\d) \w", record.page())} == milestones
    monkeypatch.setattr(record, "PROGRESS", record.ROOT / ".progress.json")
    assert record.page_file() == LABS / "PROGRESS.md"


def test_where_there_are_no_checks_there_is_a_page_without_milestones(tmp_path):
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs/record.py").write_bytes((LABS / "record.py").read_bytes())
    kept = {name: value for name, value in os.environ.items() if name != "PIXELWISE_PROGRESS"}
    subprocess.run([sys.executable, "labs/record.py"], cwd=tmp_path, env=kept, check=True)
    page = (tmp_path / "labs/PROGRESS.md").read_text(encoding="utf-8")
    assert page.startswith("# Your progress") and "| m1" not in page and "| all | **0** |" in page


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


# ---- Where it is made -----------------------------------------------------------------------------------


def test_what_labs_import_from_labkit_is_there_wherever_it_is_made():
    source = "\n".join(file.read_text(encoding="utf-8") for file in LABS.glob("*.ipynb"))
    lines = re.findall(r"from labkit import ([\w, ]+)", source)
    imported = {name.strip() for line in lines for name in line.split(",")}
    assert imported and imported <= {*labkit.__all__}
    assert [name for name in labkit.__all__ if not hasattr(labkit, name)] == []


@pytest.mark.parametrize("file", sorted(file.name for file in LABS.glob("*.py")))
def test_each_file_of_the_labs_tells_one_story(file):
    assert len((LABS / file).read_text(encoding="utf-8").splitlines()) <= 400


def test_students_get_every_file_that_a_lab_imports():
    needed, found = [LABS / "labkit.py", *map(LABS.joinpath, MODULES)], set()
    while needed:
        file = needed.pop()
        if file.exists() and file.name not in found:
            found.add(file.name)
            names = re.findall(r"(?m)^ *(?:from|import) (\w+)", file.read_text(encoding="utf-8"))
            needed += [LABS / f"{name}.py" for name in names]
    assert {"labkit.py", "running.py", "judging.py", "record.py", "lost.py"} <= found
    assert [name for name in found if not is_for_students(f"labs/{name}")] == []


MODULES = ("predictions.py", "practice.py", "prodkit.py", "drawing.py", "pieces.py", "conftest.py")
