"""m4, the machine: the service runs under systemd on prod, comes back by itself, and keeps its key to itself.

The first half looks at the machine over ssh (`prod`), the second half at a unit file alone (`unit`). The
drills (kill, stop, reboot) come last on the machine, and each leaves the service running.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from checks.kit.client import printable
from checks.kit.core import CannotCheck, Failed, Gone, at_most, even_when_gone, hint, needs, points
from checks.kit.expect import demand
from checks.kit.machine import FOLDER, SERVICE, START, NoSsh, Prod, Unit, split, time_span

VENV = f"{FOLDER}/.venv/"
ENV = f"{FOLDER}/.env"
LONGEST_PAUSE = 5  # seconds that RestartSec may be
WATCHED = 5  # seconds in which a service that crashes over and over shows it
REBOOT = 120  # seconds from `systemctl reboot` to an answer
EXPOSED = 5.0  # `systemd-analyze security` calls 5.0 and less "medium" or better


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


# ---- On the machine -------------------------------------------------------------------------------------


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
    if not _running(prod):
        raise Failed(prod.state(), expected)
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
    demand(_same(folder, FOLDER), printable(folder or "no WorkingDirectory"), FOLDER)


def _same(path: str, wanted: str) -> bool:
    return path.startswith("/") and os.path.normpath(path) == wanted


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
    if not _in_venv(path):  # a script of one's own may start the venv's Python
        arguments = prod.run(f"tr '\\0' ' ' < /proc/{prod.pid()}/cmdline").line.split(" ")[:2]
        demand(any(map(_in_venv, arguments)), printable(path), f"a program in {VENV}bin")


def _in_venv(path: str) -> bool:
    return os.path.normpath(path).startswith(VENV)


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
    demand(not _sets_the_key(done.out), "a line that sets SECRET_API_KEY", "EnvironmentFile= instead")


def _to_look_for(key: str) -> str:
    """The key, unless it is so short that it stands in many a text by chance."""
    if len(key) < 6:
        raise CannotCheck("the API key is too short to look for: make one of 20 characters or more")
    return key


def _sets_the_key(text: str) -> bool:
    """Whether a unit file gives a key away: any in an assignment, what looks like a real one in a comment."""
    for line in text.split("\n"):
        comment = line.lstrip().startswith(("#", ";"))
        if re.search(r"SECRET_API_KEY *= *[\"']?[\w.+/=-]" + ("{12}" if comment else ""), line):
            return True
    return False


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
        up_again = prod.until(lambda: prod.pid() != 0 or answers(api), watched)
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


# ---- In the unit file -----------------------------------------------------------------------------------


@points(1)
@hint("A unit file has lines of three kinds: [Section], Key=value and # comment. man systemd.syntax")
def test_the_unit_file_can_be_read(unit):
    """systemd can read every line of the unit file"""
    demand(not unit.problems, "; ".join(unit.problems[:3]), "[Section], Key=value or # comment in every line")


@points(1)
@needs("the unit file can be read")
@hint("[Unit] says what it is, [Service] how it runs, [Install] when it starts.")
def test_the_unit_file_has_three_sections(unit):
    """the unit file has the sections [Unit], [Service] and [Install]"""
    names = [f"[{name}]" for name in ("Unit", "Service", "Install")]
    found = [f"[{name}]" for name in unit.sections]
    demand(set(names) <= set(found), printable(", ".join(found) or "no section"), ", ".join(names))


@points(1)
@needs("the unit file has three sections")
@hint("User=produser in [Service], and no + or ! before the program: with them systemd runs it as root.")
def test_the_unit_file_runs_it_as_produser(unit):
    """the unit file runs the service as produser, not as root"""
    demand(unit.get("Service", "User") == "produser", _told(unit, "Service", "User"), "User=produser")
    prefix, _ = _command(unit)
    demand(not set("+!") & set(prefix), f"ExecStart={prefix}…, which runs it as root", "ExecStart=/…")


@points(1)
@needs("the unit file has three sections")
@hint("WorkingDirectory=/opt/pixelwise in [Service].")
def test_the_unit_file_works_in_opt_pixelwise(unit):
    """the unit file sets the working directory /opt/pixelwise"""
    folder = (unit.get("Service", "WorkingDirectory") or "").removeprefix("-")
    told = _told(unit, "Service", "WorkingDirectory")
    demand(_same(folder, FOLDER), told, f"WorkingDirectory={FOLDER}")


@points(1)
@needs("the unit file has three sections")
@hint("EnvironmentFile=/opt/pixelwise/.env in [Service].")
def test_the_unit_file_reads_the_env_file(unit):
    """the unit file takes the settings from /opt/pixelwise/.env"""
    files = [value.removeprefix("-") for value in unit.all("Service", "EnvironmentFile")]
    told = _told(unit, "Service", "EnvironmentFile")
    demand(any(_same(file, ENV) for file in files), told, f"EnvironmentFile={ENV}")


@points(1)
@needs("the unit file can be read")
@hint(
    "The unit file is in git, for everyone to read. The key belongs into .env, which EnvironmentFile= names."
)
def test_the_unit_file_holds_no_key(unit):
    """no key stands in the unit file"""
    demand(not _sets_the_key(_joined(unit)), "a line that sets SECRET_API_KEY", "no key in the file")


def _joined(unit: Unit) -> str:
    """The assignments as systemd sees them, and the file as people see it."""
    return "\n".join(f"{k}={v}" for lines in unit.sections.values() for k, v in lines) + "\n" + unit.text


@points(1)
@needs("the unit file has three sections")
@hint("ExecStart=/opt/pixelwise/.venv/bin/… with the whole path: systemd does not activate a venv.")
def test_the_unit_file_starts_the_venv(unit):
    """the unit file starts one program, from /opt/pixelwise/.venv"""
    commands = unit.all("Service", "ExecStart")
    demand(len(commands) == 1, f"{len(commands)} ExecStart= lines", "one")
    _, words = _command(unit)
    path = words[0] if words else "nothing"
    demand(_in_venv(path), f"ExecStart={printable(path)}", f"ExecStart={VENV}bin/…")


def _command(unit: Unit) -> tuple[str, list[str]]:
    """ExecStart as its prefix ("-", "+" …) and its words; ("", []) where there is none."""
    value = (unit.all("Service", "ExecStart") or [""])[-1]
    prefix = re.match(r"[-@:+!|]*", value)[0]
    return prefix, split(value[len(prefix) :])


def _told(unit: Unit, section: str, key: str) -> str:
    """ "User=root", or "no User= in [Service]"; the last value where there are several."""
    value = unit.get(section, key)
    return f"{key}={printable(value)}" if value else f"no {key}= in [{section}]"


@points(1)
@needs("the unit file has three sections")
@hint("Restart=always in [Service]. on-failure leaves it down after a clean exit.")
def test_the_unit_file_restarts_it_always(unit):
    """the unit file restarts the service always"""
    demand(unit.get("Service", "Restart") == "always", _told(unit, "Service", "Restart"), "Restart=always")


@points(1)
@needs("the unit file has three sections")
@hint("RestartSec=3 in [Service]. Without it systemd tries again after 0.1 s, and gives up after five tries.")
def test_the_unit_file_pauses_before_a_restart(unit):
    """the unit file waits one to five seconds before a restart"""
    text = unit.get("Service", "RestartSec")
    pause = time_span(text) if text else None
    fine = pause is not None and 1 <= pause <= LONGEST_PAUSE
    demand(fine, _told(unit, "Service", "RestartSec"), f"RestartSec= from 1 to {LONGEST_PAUSE} s")


@points(1)
@needs("the unit file has three sections")
@hint("WantedBy=multi-user.target in [Install]; without it systemctl enable does nothing.")
def test_the_unit_file_starts_at_boot(unit):
    """the unit file lets the service start at boot: WantedBy=multi-user.target"""
    wanted = unit.words("Install", "WantedBy") + unit.words("Install", "RequiredBy")
    told = _told(unit, "Install", "WantedBy")
    demand("multi-user.target" in wanted, told, "WantedBy=multi-user.target")


@points(1)
@needs("the unit file has three sections")
@hint("After=network.target in [Unit].")
def test_the_unit_file_waits_for_the_network(unit):
    """the unit file starts the service after the network"""
    after = unit.words("Unit", "After")
    fine = {"network.target", "network-online.target"} & set(after)
    demand(bool(fine), _told(unit, "Unit", "After"), "After=network.target")


@points(1)
@needs("the unit file has three sections")
@hint("Leave StandardOutput= and StandardError= out: then both go to the journal.")
def test_the_unit_file_leaves_the_log_to_the_journal(unit):
    """the unit file sends the log nowhere but to the journal"""
    for key in ("StandardOutput", "StandardError"):
        value = unit.get("Service", key)
        fine = value in (None, "inherit", "journal", "journal+console")
        demand(fine, _told(unit, "Service", key), f"no {key}=, or {key}=journal")


@points(1)
@needs("the unit file has three sections")
@hint("StartLimitIntervalSec= and StartLimitBurst= belong into [Unit]: man systemd.unit describes them.")
def test_the_unit_file_limits_starts_where_it_counts(unit):
    """a limit on restarts, if there is one, stands in [Unit], where systemd reads it"""
    # StartLimitBurst and StartLimitInterval count in [Service] too: old names that systemd 252 still takes
    stray = unit.get("Service", "StartLimitIntervalSec")
    demand(stray is None, "StartLimitIntervalSec= in [Service], where it is ignored", "it in [Unit]")


@points(1)
@needs("the unit file has three sections")
@hint(
    "uvicorn and gunicorn listen on this machine alone unless told: --host 0.0.0.0, or --bind 0.0.0.0:8000."
)
def test_the_unit_file_listens_for_other_machines(unit):
    """nothing in the unit file keeps the service on this machine alone"""
    host = _host(unit)
    demand(host is None or not _loopback(host), f"it listens on {printable(host or '')}", "0.0.0.0")


def _host(unit: Unit) -> str | None:
    """The address that the unit tells the server; None where the server or .env decides."""
    _, words = _command(unit)
    line = " ".join(words)
    option = re.search(r"(?:^|\s)(?:--host|--bind|--listen|-b)[= ](\S+)", line)
    if option:
        return option[1]
    settings = dict(word.partition("=")[::2] for word in unit.words("Service", "Environment"))
    for name in ("HOST", "UVICORN_HOST"):
        if name in settings:
            return settings[name]
    program = Path(words[0]).name if words else ""
    module = re.search(r"\s-m\s+(uvicorn|gunicorn)\b", line)
    return "127.0.0.1 (its default)" if program in ("uvicorn", "gunicorn") or module else None


def _loopback(host: str) -> bool:
    return bool(re.match(r"127\.|localhost|\[?::1|unix:", host.lower()))


@points(1)
@needs("the unit file has three sections")
@at_most(40)
@hint("systemd-analyze verify names the line. It may end with status 0 all the same: it has to be silent.")
def test_the_unit_file_passes_systemd_analyze_verify(unit):
    """systemd-analyze verify has nothing to say about the unit file"""
    complaints = [line for line in _analyze(unit, "verify", "--man=no")[1] if not _about_this_machine(line)]
    demand(not complaints, "; ".join(complaints[:3]), "silence")


def _about_this_machine(line: str) -> bool:
    """Whether a complaint is about what is not installed where the grading runs, or about another unit."""
    missing = r": Command .* is not executable: |Unit \S+ not found"
    return bool(re.search(missing, line)) or not re.search(r"^line \d|pixelwise\.service", line)


def _analyze(unit: Unit, *words: str) -> tuple[str, list[str]]:
    """What systemd-analyze prints about a copy of the unit, and its complaints.

    Raises CannotCheck where systemd-analyze is missing, too old or stuck.
    """
    if not shutil.which("systemd-analyze"):
        raise CannotCheck("systemd-analyze is missing here: apt-get install systemd")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / SERVICE
        copy.write_bytes(unit.text.encode("utf-8", "surrogateescape"))
        command = ["systemd-analyze", *words, str(copy)]
        environment = os.environ | {"SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, env=environment
            )
        except subprocess.TimeoutExpired:
            raise CannotCheck("systemd-analyze took more than 20 s") from None
    said = done.stderr.decode("utf-8", "replace").replace(f"{copy}:", "line ")
    if re.search("unrecognized option|Unknown command|invalid option", said):
        raise CannotCheck("systemd-analyze is too old here: it takes systemd 250 or later")
    return done.stdout.decode("utf-8", "replace"), [
        printable(line) for line in said.splitlines() if line.strip()
    ]


@points(1, stretch=True)
@needs("the unit file passes systemd analyze verify")
@at_most(40)
@hint(
    "systemd-analyze security --offline=true FILE lists what helps: NoNewPrivileges, ProtectSystem=strict …"
)
def test_the_unit_file_is_hardened(unit):
    """the unit file takes from the service what it does not need: an exposure of at most 5.0"""
    said, complaints = _analyze(unit, "security", "--offline=true", "--no-pager")
    found = re.search(r"exposure level for \S+: (\d+\.\d)", said)
    if not found:
        raise CannotCheck(f"systemd-analyze security gave no number: {' '.join(complaints[:2])}")
    demand(float(found[1]) <= EXPOSED, f"an exposure of {found[1]}", f"at most {EXPOSED}")
