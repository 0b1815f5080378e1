"""m4, the unit file: what it promises, without a machine that keeps it (`unit`)."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from checks.kit.core import CannotCheck, at_most, hint, needs, points
from checks.kit.deployment import ENV, FOLDER, LONGEST_PAUSE, SERVICE, VENV, is_in_venv, is_path, sets_the_key
from checks.kit.exchange import printable
from checks.kit.expect import demand
from checks.kit.unit import Unit, split, time_span

EXPOSED = 5.0  # `systemd-analyze security` calls 5.0 and less "medium" or better


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
    demand(is_path(folder, FOLDER), told, f"WorkingDirectory={FOLDER}")


@points(1)
@needs("the unit file has three sections")
@hint("EnvironmentFile=/opt/pixelwise/.env in [Service].")
def test_the_unit_file_reads_the_env_file(unit):
    """the unit file takes the settings from /opt/pixelwise/.env"""
    files = [value.removeprefix("-") for value in unit.all("Service", "EnvironmentFile")]
    told = _told(unit, "Service", "EnvironmentFile")
    demand(any(is_path(file, ENV) for file in files), told, f"EnvironmentFile={ENV}")


@points(1)
@needs("the unit file can be read")
@hint(
    "The unit file is in git, for everyone to read. The key belongs into .env, which EnvironmentFile= names."
)
def test_the_unit_file_holds_no_key(unit):
    """no key stands in the unit file"""
    demand(not sets_the_key(_joined(unit)), "a line that sets SECRET_API_KEY", "no key in the file")


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
    demand(is_in_venv(path), f"ExecStart={printable(path)}", f"ExecStart={VENV}bin/…")


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
