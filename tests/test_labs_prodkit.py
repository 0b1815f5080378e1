"""labs/prodkit.py without a machine: how it finds one, what it shows of an outage, what it says of none."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import labkit  # noqa: E402  (labs/ is no package)
import prodkit  # noqa: E402

UP_DOWN_UP = [(-0.5, "up"), (0.1, "down"), (3.3, "up")]


@pytest.fixture(autouse=True)
def the_environment_stays(monkeypatch):
    for name in ("PROD_HOST", "URL", "PROD", "UNIT", "GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, "")  # so that it is put back in the end
        monkeypatch.delenv(name)
    yield
    labkit.Server.current = prodkit.Prod.current = None


def text_of(shown) -> str:
    return shown._repr_mimebundle_()[0]["text/plain"]


# ---- Which machine, and none ----------------------------------------------------------------------------


@pytest.fixture
def unreachable(capsys):
    prod = prodkit.Prod("box:no-such-box")
    capsys.readouterr()
    return prod


@pytest.mark.parametrize(
    ("host", "box", "destination", "url"),
    [
        ("box:no-such-box", "no-such-box", prodkit.COURSE, "http://192.168.56.11:8000"),
        ("ada@nobody.invalid", "", "ada@nobody.invalid", "http://nobody.invalid:8000"),
        ("nobody.invalid", "", "produser@nobody.invalid", "http://nobody.invalid:8000"),
        ("boxer.invalid", "", "produser@boxer.invalid", "http://boxer.invalid:8000"),
    ],
)
def test_prod_host_alone_says_which_machine_it_is(monkeypatch, host, box, destination, url):
    monkeypatch.setenv("PROD_HOST", host)
    prod = prodkit.Prod()
    assert (prod.box, prod.destination, prod.url) == (box, destination, url)
    assert (os.environ["PROD"], os.environ["URL"]) == (destination, url)
    assert bool(prod.way) == bool(box)


@pytest.mark.parametrize(("found", "box"), [(True, "prod"), (False, "")])
def test_without_it_the_box_is_taken_where_there_is_one(monkeypatch, found, box):
    monkeypatch.setattr(prodkit, "there_is_a_box", lambda: found)
    monkeypatch.setattr(prodkit.Prod, "ask", lambda self, lines: (255, ""))
    prod = prodkit.Prod()
    assert (prod.box, prod.destination) == (box, prodkit.COURSE)


@pytest.mark.parametrize(
    ("host", "remedy"),
    [
        ("box:no-such-box", "deploy/box/box --name no-such-box up"),
        ("nobody.invalid", "PROD_HOST names another"),
    ],
)
def test_a_machine_out_of_reach_is_said_with_what_to_do_and_raises_nothing(capsys, host, remedy):
    prod = prodkit.Prod(host)
    prod.run("hostname")
    assert prod.state() == ""
    shown = capsys.readouterr().out
    assert shown.count("✗ prod is out of reach") == 2 and shown.count(remedy) >= 2
    prodkit.lab_repository()
    assert "✗" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "advice"),
    [
        ("there\nno sudo\n", "sudoers"),
        ("there\nHint: You are currently not seeing messages from other users\n", "systemd-journal"),
        ("there\nno git\n", "apt-get install git"),
        ("there\nno folder\n", "/opt/pixelwise"),
    ],
)
def test_what_is_missing_there_is_said_with_what_to_do(capsys, monkeypatch, told, advice):
    monkeypatch.setattr(prodkit.Prod, "ask", lambda self, lines: (0, told))
    prodkit.Prod("nobody.invalid")
    shown = capsys.readouterr().out
    assert shown.startswith("✗ on prod, ") and advice in shown and shown.count("\n") == 1


def test_a_check_of_a_machine_out_of_reach_earns_nothing(unreachable):
    verdict = labkit.check("m4.the unit is installed")
    assert not verdict and text_of(verdict).startswith("? prod is out of reach")


def test_a_shell_cell_of_dev_says_that_the_box_is_not_there(unreachable, capsys):
    labkit.dev("", "curl -s $URL/health")
    assert "there is no box no-such-box" in capsys.readouterr().out


def test_a_drill_of_a_machine_out_of_reach_does_nothing(unreachable, monkeypatch):
    monkeypatch.setattr(prodkit, "wait_until", lambda fact, seconds: None)
    assert text_of(prodkit.drill("sudo reboot")).startswith("✗ the service did not answer before")


def test_a_cell_for_prod_before_prod_is_known_says_so(capsys):
    prodkit.prod_cell("", "hostname")
    assert "run the cell with Prod() first" in capsys.readouterr().out


# ---- A unit file ----------------------------------------------------------------------------------------


def test_the_parts_that_are_there_make_a_unit_file_that_can_be_checked(unreachable, monkeypatch):
    monkeypatch.setattr(unreachable, "way", [])
    file = prodkit.unit_file("[Unit]", "[Service]\nRestart=always", None, "[Install]")
    assert file.read_text() == "[Unit]\n\n[Service]\nRestart=always\n\n[Install]\n"
    assert os.environ["UNIT"] == str(file)
    verdict = labkit.check("m4.the unit file restarts it always", "m4.no such check", unit=file)
    assert re.match(
        "✓ the unit file restarts the service always\n\\? 'm4.no such check' is no", text_of(verdict)
    )


def test_a_check_that_needs_another_shows_what_failed_first_and_shows_it_once(unreachable, monkeypatch):
    monkeypatch.setattr(unreachable, "way", [])
    file = prodkit.unit_file("[Unit]", None, "[Install]")
    told = text_of(
        labkit.check("m4.the unit file restarts it always", "m4.the unit file is hardened", unit=file)
    )
    assert re.findall("(?m)^[✓✗?]", told) == ["?", "✗", "?"]
    assert "✗ the unit file has the sections [Unit], [Service] and [Install]" in told


# ---- What is shown of an outage -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "end", "within", "text"),
    [
        (UP_DOWN_UP, 4.0, (3, 8), "up → down → up: down for 3 to 8 s, as expected"),
        (UP_DOWN_UP, 4.0, (5, 8), "✗ up → down → up: down for 3.2 s, not 5 to 8 s"),
        (UP_DOWN_UP, 4.0, (0, 0), "✗ up → down → up: down for 3.2 s, not 0 s"),
        (UP_DOWN_UP[:1], 2.0, (0, 0), "up: down for 0 s, as expected"),
        (UP_DOWN_UP[:1], 9.0, (3, 8), "✗ up: down for 0.0 s, not 3 to 8 s"),
        (UP_DOWN_UP[:2], 20.1, (3, 8), "✗ up → down: still down 20 s after the command."),
        ([], 0, (3, 8), "✗ the service did not answer before, so nothing was done."),
    ],
)
def test_an_outage_is_told_in_a_sentence_that_is_the_same_each_time(seen, end, within, text):
    outage = prodkit.Outage(seen, end, within)
    assert text_of(outage).startswith(text)
    assert outage.as_expected == (not text.startswith("✗"))


def test_and_in_a_picture_that_is_to_scale():
    picture = prodkit.Outage(UP_DOWN_UP, 4.0, (3, 8)).data["text/html"]
    bars = [(int(x), int(width)) for x, width in re.findall(r'<rect x="(\d+)" y="4" width="(\d+)"', picture)]
    assert bars == [(64, 77), (141, 410), (550, 90)]
    assert "3.2 s down" in picture and len(picture) < 1600
    hour = prodkit.Outage([(-0.5, "up"), (1, "down"), (3600, "up")], 3601, (0, 9)).data["text/html"]
    assert len(hour) < 6000


# ---- What is masked -------------------------------------------------------------------------------------

SHOWN = """Nov 23 12:35:37 prod systemd[1]: pixelwise.service: Main process exited, code=killed, status=9/KILL
Nov  3 02:35:38 ada-vm python[354]: 192.168.56.10 GET /health 200 0.6ms 2a711836e48c8385
     Active: active (running) since Mon 2026-11-23 12:35:38 UTC; 1min 309ms ago
   Main PID: 354 (python)
     Memory: 23.3M (max: 512.0M available: 488.6M)
   Mem peak: 24.1M
 Invocation: 0b7bdaa5f4b04d0c8f2d5be22f1c8a55
             └─354 /opt/pixelwise/.venv/bin/python server.py
Nov 23 12:35:37 prod systemd[1]: pixelwise.service: Consumed 1.126s CPU time, 24.1M memory peak.
pixelwise.service: Sent signal SIGKILL to main process 354 (python) on client request.
10.0.0.7 POST /classify 401 1.6ms 2a711836e48c8385 send the API key
127.0.0.1 GET /health 200 0.6ms 2a711836e48c8385
curl http://nobody.invalid:8000/health; ssh produser@nobody.invalid"""
MASKED = """<time> prod systemd[<pid>]: pixelwise.service: Main process exited, code=killed, status=9/KILL
<time> prod python[<pid>]: <client> GET /health 200 <ms> <id>
     Active: active (running) since <time>; <some time> ago
   Main PID: <pid> (python)
             └─<pid> /opt/pixelwise/.venv/bin/python server.py
pixelwise.service: Sent signal SIGKILL to main process <pid> (python) on client request.
<client> POST /classify 401 <ms> <id> send the API key
127.0.0.1 GET /health 200 <ms> <id>
curl $URL/health; ssh $PROD"""


def test_what_differs_is_shown_by_its_name_and_nothing_else_is_touched(monkeypatch):
    monkeypatch.setattr(prodkit.Prod, "ask", lambda self, lines: (255, ""))
    prod = prodkit.Prod("nobody.invalid")
    assert prod.masked(SHOWN) == MASKED
    assert prod.masked(MASKED) == MASKED
    for stable in (
        "Restart=always",
        "NRestarts=15",
        "ExecMainStatus=78",
        "exposure level: 9.2",
        "status 422",
    ):
        assert prod.masked(stable) == stable


# ---- What it does to the student's own files ------------------------------------------------------------


def test_a_unit_goes_into_the_kit_where_there_is_none_and_never_over_a_finished_one(
    monkeypatch, tmp_path, capsys
):
    place, mine = tmp_path / "deploy" / "pixelwise.service", tmp_path / "mine"
    place.parent.mkdir()
    place.write_text("[Unit]\n# ExecStart= is yours to write\n")
    monkeypatch.setattr(prodkit, "ROOT", tmp_path)
    mine.write_text("[Unit]\n")
    prodkit.keep_unit(mine)
    assert (
        "✗ your unit starts nothing yet" in capsys.readouterr().out and "yours to write" in place.read_text()
    )
    mine.write_text("[Service]\nExecStart=/bin/first\n")
    prodkit.keep_unit(mine)
    assert "is your unit now" in capsys.readouterr().out and place.read_text() == mine.read_text()
    mine.write_text("[Service]\nExecStart=/bin/second\n")
    prodkit.keep_unit(mine)
    assert "stays as it is" in capsys.readouterr().out and "first" in place.read_text()


def test_git_in_shell_cells_is_the_labs_own_and_sees_the_students_files(monkeypatch, tmp_path):
    """As lab_repository sets it: work tree here, history elsewhere; the student's .git stays as it is."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "server.py").write_text("print(1)\n")
    (mine / ".gitignore").write_text(".env\n")
    (mine / ".env").write_text("SECRET_API_KEY=x\n")
    subprocess.run(["git", "init", "-q", mine], check=True)
    before = sorted(str(path) for path in (mine / ".git").rglob("*"))
    monkeypatch.setattr(prodkit, "ROOT", mine)
    monkeypatch.setattr(prodkit.Prod, "ask", lambda self, lines: (255, ""))
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", remote], check=True)
    prodkit.Prod("nobody.invalid")
    swap = f"git config --global url.{remote}.insteadOf ssh://produser@nobody.invalid/srv/git/pixelwise.git"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    subprocess.run(["bash", "-c", swap], check=True)
    for message in ("First", "Second"):
        prodkit.lab_repository()
        for line in ("add --all", f"commit -q --allow-empty -m {message}", "push -q prod main"):
            subprocess.run(["git", *line.split()], cwd=mine, check=True)
    log = subprocess.run(["git", "--git-dir", remote, "log", "--format=%s"], capture_output=True, text=True)
    files = subprocess.run(["git", "ls-files"], cwd=mine, capture_output=True, text=True)
    assert log.stdout.split() == ["Second", "First"]
    assert files.stdout.split() == [".gitignore", "server.py"]
    assert sorted(str(path) for path in (mine / ".git").rglob("*")) == before


def test_the_grader_speaks_json():
    order = {"names": ["m4.no such check"], "given": {}, "seed": 1}
    command = [sys.executable, "-c", prodkit.GRADER]
    done = subprocess.run(
        command, input=json.dumps(order), capture_output=True, text=True, cwd=prodkit.REPO, check=True
    )
    assert "is no check" in json.loads(done.stdout)[0]


def test_one_grader_serves_all_checks_and_where_it_ends_another_takes_its_place(monkeypatch):
    monkeypatch.setattr(prodkit.Prod, "ask", lambda self, lines: (255, ""))
    prod = prodkit.Prod("nobody.invalid")

    def grade():
        options = {"limit": "30/minute", "unit": prodkit.ROOT / "deploy" / "pixelwise.service"}
        return prod.grade(["m4.no such check"], iter([1]), options)[0]

    with pytest.MonkeyPatch.context() as off:
        off.setattr(prod, "way", ["sh", "-c", "echo box: the box is off >&2; exit 125"])
        assert grade().startswith("prod is out of reach: box: the box is off")
    assert "is no check" in grade()
    grader = prod.grader
    assert "is no check" in grade() and prod.grader is grader
    grader.kill()
    grader.wait()
    assert "is no check" in grade()
