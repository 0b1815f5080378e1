"""m4, the machine: the service runs under systemd on prod, comes back by itself, and keeps its key to itself.

It looks at the machine over ssh (`prod`). The drills (kill, stop, reboot) come last, and each leaves the
service running. What can be said of the unit file alone is in test_m4_unit.py.
"""

import contextlib
import re

from checks.kit.core import CannotCheck, Failed, Gone, at_most, even_when_gone, hint, needs, points
from checks.kit.deployment import ENV, FOLDER, LONGEST_PAUSE, SERVICE, VENV, is_in_venv, is_path, sets_the_key
from checks.kit.exchange import printable
from checks.kit.expect import demand
from checks.kit.machine import START, NoSsh, Prod
from checks.kit.unit import time_span

WATCHED = 5  # seconds in which a service that crashes over and over shows it
REBOOT = 120  # seconds from `systemctl reboot` to an answer


def answer_of(api) -> str:
    """What GET /health comes to: "" where it answers 200, else a few words. Never ends the grading."""
    api.exchanges.clear()
    try:
        answer = api.get("/health", seconds=3)
    except Gone:
        return "no answer"
    except Failed as problem:
        return problem.received
    return "" if answer.status == 200 else str(answer)


def answers(api) -> bool:
    return not answer_of(api)


@points(1)
@even_when_gone  # a server that cannot be reached from here: this check and the next two say why
@hint(
    "sudo cp deploy/pixelwise.service /etc/systemd/system/ && sudo systemctl daemon-reload. "
    "If it is masked, first: sudo systemctl unmask pixelwise."
)
def test_the_unit_is_installed(prod):
    """systemd knows pixelwise.service from /etc/systemd/system"""
    told = prod.show("LoadState", "FragmentPath")
    demand(told["LoadState"] == "loaded", f"LoadState={printable(told['LoadState'])}", "LoadState=loaded")
    place = told["FragmentPath"]
    demand(place.startswith("/etc/systemd/system/"), printable(place), f"/etc/systemd/system/{SERVICE}")


@points(1)
@needs("the unit is installed")
@hint("sudo systemctl enable pixelwise. It needs an [Install] section with WantedBy=multi-user.target.")
def test_the_service_is_enabled(prod):
    """the service is enabled, so that it starts at boot"""
    state = prod.show("UnitFileState")["UnitFileState"]
    demand(state == "enabled", printable(state or "nothing"), "enabled")


@points(1)
@needs("the unit is installed")
@at_most(30)
@even_when_gone
@hint("systemctl status pixelwise shows its last lines; journalctl -u pixelwise shows why it stopped.")
def test_the_service_is_running(prod):
    """the service is active (running), and is not restarted over and over"""
    expected = f"active (running), and no restart within {WATCHED} s"
    state = prod.state()  # looked at once: by a second look it may run again
    demand(state.startswith("active (running"), state, expected)
    before = prod.show("NRestarts", "MainPID")
    restarted = prod.until(lambda: prod.show("NRestarts", "MainPID") != before, WATCHED, every=WATCHED / 2)
    demand(not restarted, "it was restarted while we watched", expected)


def _running(prod) -> bool:
    told = prod.show("ActiveState", "SubState")
    return (told["ActiveState"], told["SubState"]) == ("active", "running")


@points(1)
@needs("the service is running")
@hint("User=produser in the [Service] section; then sudo systemctl daemon-reload and restart.")
def test_the_service_runs_as_produser(prod):
    """the main process runs as produser, not as root"""
    owner = prod.run(f"stat -c %U /proc/{prod.pid()}").line
    if not owner:
        raise CannotCheck("the main process ended while it was looked at")
    demand(owner == "produser", printable(owner), "produser")


@points(1)
@needs("the unit is installed")
@hint(
    "WorkingDirectory=/opt/pixelwise in the [Service] section; then sudo systemctl daemon-reload and restart."
)
def test_the_service_works_in_opt_pixelwise(prod):
    """the service works in /opt/pixelwise"""
    folder = prod.show("WorkingDirectory")["WorkingDirectory"].lstrip("!")  # "!": it may be missing
    demand(is_path(folder, FOLDER), printable(folder or "no WorkingDirectory"), FOLDER)


@points(1)
@needs("the service is running")
@hint(
    "ExecStart=/opt/pixelwise/.venv/bin/… in the [Service] section: the whole path, not just the name; "
    "then sudo systemctl daemon-reload and restart."
)
def test_the_service_uses_its_venv(prod):
    """the service is started from the virtual environment in /opt/pixelwise/.venv"""
    found = re.search(r"path=(\S+)", prod.show("ExecStart")["ExecStart"])
    path = found[1] if found else "nothing"
    if not is_in_venv(path):  # a script of one's own may start the venv's Python
        arguments = prod.run(f"tr '\\0' ' ' < /proc/{prod.pid()}/cmdline").line.split(" ")[:2]
        demand(any(map(is_in_venv, arguments)), printable(path), f"a program in {VENV}bin")


@points(1)
@needs("the service is running")
@at_most(20)
@even_when_gone
@hint(
    "Let it listen on all addresses: HOST=0.0.0.0, or --host 0.0.0.0 for uvicorn. ss -ltn shows what listens."
)
def test_other_machines_get_an_answer(api, prod):
    """GET /health answers 200 to other machines"""
    received = answer_of(api)
    if received == "no answer":
        listening = prod.run(f"ss -Hltn 'sport = :{api.port}'").out.split("\n")
        places = [line.split()[3] for line in listening if len(line.split()) > 3]
        told = (
            f"on the machine, {printable(', '.join(places))} listens" if places else "nothing listens there"
        )
        received = f"no answer from here ({told}; port {api.port})"
    demand(not received, received, "200")


@points(1)
@needs("the unit is installed")
@hint(
    "Restart=always and RestartSec=3 in the [Service] section; then sudo systemctl daemon-reload, "
    "for systemd does not see by itself that the file has changed."
)
def test_a_crash_leads_to_a_restart(prod):
    """systemd is told to restart the service after every crash, within five seconds"""
    told = prod.show("Restart", "RestartUSec")
    demand(told["Restart"] == "always", f"Restart={printable(told['Restart'])}", "Restart=always")
    pause = time_span(told["RestartUSec"])
    fine = pause is not None and pause <= LONGEST_PAUSE
    demand(fine, f"RestartSec={printable(told['RestartUSec'])}", f"RestartSec of at most {LONGEST_PAUSE} s")


@points(1)
@needs("other machines get an answer")
@at_most(30)
@hint("Let the server log to stdout or stderr, one line a request; no StandardOutput= or > file in the unit.")
def test_the_log_is_in_the_journal(api, prod):
    """what the service logs about a request stands in the journal"""
    newest = f"_SYSTEMD_UNIT={SERVICE} -n 1 -o cat --show-cursor"  # its own lines, without systemd's about it
    before = _cursor(prod, newest)
    answer_of(api)
    with contextlib.suppress(
        Gone, Failed
    ):  # some servers leave /health out of their log: a 404 is no routine
        api.get("/no-such-page", seconds=3)
    arrived = prod.until(lambda: _cursor(prod, newest) != before, 5)
    demand(arrived, "no new line from the service", "a line about GET /health or GET /no-such-page")


def _cursor(prod: Prod, newest: str) -> str:
    return next((line for line in prod.journal(newest).out.split("\n") if line.startswith("-- cursor:")), "")


@points(1)
@needs("the unit is installed")
@hint("chmod 600 /opt/pixelwise/.env")
def test_the_env_file_is_private(prod):
    """/opt/pixelwise/.env is readable for its owner alone (mode 0600)"""
    done = prod.read(f"stat -L -c %a {ENV}")
    demand(not done.status, f"no {ENV}", f"{ENV} with mode 600")
    mode = done.line
    if not re.fullmatch("[0-7]{1,4}", mode):
        raise CannotCheck(f"stat told no mode but {printable(mode)}")
    demand(int(mode, 8) & 0o077 == 0, f"mode {mode}", "mode 600")


@points(1)
@needs("the unit is installed")
@hint("git rm --cached .env, and .env in .gitignore. A key that was committed once is known: make a new one.")
def test_the_env_file_is_not_in_git(prod):
    """.env is not in git, and never was"""
    git = f"git -c safe.directory={FOLDER} -C {FOLDER}"
    listed = prod.read(f"{git} ls-files -- .env")
    if "not a git repository" in listed.err:
        return
    if listed.status:
        raise CannotCheck(f"git does not work there: {printable(listed.err.strip())}")
    demand(not listed.line, "git ls-files lists .env", "no .env in git")
    logged = prod.read(f"{git} log --all --format=%h -n 1 -- .env")
    demand(
        not logged.line, f"commit {printable(logged.line, 20)} holds a .env", "no commit that touches .env"
    )


@points(1)
@needs("the unit is installed")
@hint(
    "Let the unit point at the key: EnvironmentFile=/opt/pixelwise/.env. A unit file can be read by everyone."
)
def test_the_key_is_not_in_the_unit(prod):
    """the API key stands in no unit file of the service"""
    done = prod.read(f"systemctl cat {SERVICE}", secret=_to_look_for(prod.key()))
    demand(not done.leaked, "the API key in what systemctl cat shows", "no key there")
    demand(not sets_the_key(done.out), "a line that sets SECRET_API_KEY", "EnvironmentFile= instead")


def _to_look_for(key: str) -> str:
    """The key, unless it is so short that it stands in many a text by chance."""
    if len(key) < 6:
        raise CannotCheck("the API key is too short to look for: make one of 20 characters or more")
    return key


@points(1)
@needs("other machines get an answer")
@at_most(90)
@hint(
    "Log what happened, never the headers or the settings. The key that was logged is known: make a new one."
)
def test_the_key_is_not_in_the_journal(api, prod):
    """the API key stands nowhere in the service's journal"""
    key = _to_look_for(api.key or prod.key())
    with contextlib.suppress(Gone, Failed):  # a request with the key, lest nobody sent one so far
        api.classify({"pixels": [[0] * 28] * 28}, key=key, patient=False)
    done = prod.journal(f"-u {SERVICE} -a -o cat", secret=key, seconds=60)
    demand(not done.leaked, "a line with the API key", "no line with it")


@points(2)
@needs("other machines get an answer", "a crash leads to a restart")
@at_most(90)
@hint(
    "Try it: sudo systemctl kill -s SIGKILL pixelwise; then journalctl -u pixelwise tells what happened next."
)
def test_the_service_is_back_after_kill_9(api, prod):
    """the service is back within a few seconds after kill -9"""
    _make_sure_it_runs(api, prod)
    killed, patience = prod.pid(), _pause(prod) + START
    try:
        prod.kill(killed)
        if not prod.until(lambda: answers(api) and prod.pid() not in (0, killed), patience):
            raise Failed(
                f"{answer_of(api) or 'an answer from the old process'} {patience:g} s after kill -9; "
                f"systemd says {prod.state()}",
                f"an answer from a new process within {patience:g} s",
            )
    finally:
        _leave_it_running(prod)


@points(1)
@needs("other machines get an answer")
@at_most(180)
@hint(
    "Is there a second supervisor, a cron job, or a Restart= in a timer or socket unit that starts it again?"
)
def test_a_stop_stays_a_stop(api, prod):
    """systemctl stop keeps the service down, and systemctl start brings it back"""
    _make_sure_it_runs(api, prod)
    watched = _pause(prod) + 2
    try:
        stopped = prod.sudo(f"systemctl stop {SERVICE}", seconds=100)  # systemd itself kills it after 90 s
        if stopped.status:
            raise CannotCheck(f"systemctl stop failed: {printable(stopped.err.strip())}")
        # what the last request has woken is seen as well, however slow the machine
        up_again = prod.until(lambda: prod.pid() != 0 or answers(api), watched) or prod.pid() != 0
    finally:
        _leave_it_running(prod)
    demand(not up_again, f"it runs within {watched:g} s of the stop", "nothing runs until systemctl start")
    if not prod.until(lambda: answers(api), START):
        raise Failed(
            f"no answer; systemd says {prod.state()}", f"an answer within {START} s of systemctl start"
        )


@points(2)
@needs("other machines get an answer", "the service is enabled")
@at_most(200)
@hint(
    "sudo systemctl enable pixelwise; WantedBy=multi-user.target; after the boot: journalctl -b -u pixelwise."
)
def test_the_service_is_back_after_a_reboot(api, prod):
    """the service is back after a reboot of the machine"""
    if not prod.reboot:
        raise CannotCheck("the reboot was left out: run it without --no-reboot")
    before = prod.boot()
    with contextlib.suppress(NoSsh):  # the machine may be gone before ssh has said so
        asked = prod.sudo("systemctl reboot")
        if asked.status:
            raise CannotCheck(f"systemctl reboot failed: {printable(asked.err.strip())}")
    end = prod.clock() + REBOOT
    if not prod.until(lambda: prod.boot() not in ("", before), REBOOT, every=1):
        raise CannotCheck(f"the machine did not boot again within {REBOOT} s: look at its screen")
    try:
        if not prod.until(lambda: answers(api), max(end - prod.clock(), START)):
            raise Failed(f"no answer; systemd says {prod.state()}", f"an answer within {REBOOT} s")
    finally:
        _leave_it_running(prod)


def _pause(prod) -> float:
    """RestartSec, or what one may wait where it is longer or no number."""
    return min(time_span(prod.show("RestartUSec")["RestartUSec"]) or 0, 30)


def _make_sure_it_runs(api, prod) -> None:
    """A drill begins with a service that answers, also after a drill that failed."""
    if not answers(api):
        prod.start("restart")
        if not prod.until(lambda: answers(api), START):
            raise CannotCheck(f"it did not answer before the drill began: {prod.state()}")


def _leave_it_running(prod) -> None:
    shown = prod.last  # the line of the report shows what was found, not how it was mended
    with contextlib.suppress(CannotCheck):  # what the drill itself found out counts
        if not _running(prod):
            prod.start()
    prod.last = shown
