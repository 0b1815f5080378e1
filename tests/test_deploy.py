"""The units of deploy/, as systemd reads them; what they do on a machine, test_drills.py shows."""

import configparser
import re
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
SERVICE, SOCKET = DEPLOY / "pixelwise.service", DEPLOY / "pixelwise.socket"


def analyze(*words) -> subprocess.CompletedProcess:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=600)


def exposure(unit: Path) -> float:
    """How exposed systemd finds a service, 0 (not at all) to 10."""
    said = analyze("security", "--offline=true", "--no-pager", unit)
    return float(re.search(r"exposure level for \S+: (\d+\.\d)", said.stdout)[1])


def test_the_service_is_exposed_to_one_and_a_half_at_most():
    assert exposure(SERVICE) <= 1.5


def test_the_exposure_is_measured(tmp_path):
    bare = tmp_path / "pixelwise.service"
    kept = ("[", "User=", "ExecStart=", "Restart", "WantedBy=")
    bare.write_text(
        "".join(f"{line}\n" for line in SERVICE.read_text().splitlines() if line.startswith(kept))
    )
    assert exposure(bare) > 8  # how much it counts differs from version to version


@pytest.mark.parametrize("unit", [SERVICE, SOCKET], ids=lambda unit: unit.name)
def test_systemd_understands_every_line(unit, tmp_path):
    text = unit.read_text().replace(
        "/opt/pixelwise/.venv/bin/python", "/bin/true"
    )  # what is not on this machine
    (tmp_path / unit.name).write_text(text)
    if unit is SOCKET:
        (tmp_path / SERVICE.name).write_text("[Service]\nExecStart=/bin/true\n")
    said = analyze("verify", "--man=no", tmp_path / unit.name)
    assert (said.returncode, [line for line in said.stderr.splitlines() if "pixelwise" in line]) == (0, [])


def test_it_has_the_lines_of_the_course():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(SERVICE.read_text())
    assert unit["Unit"]["After"] == "network.target"
    service = unit["Service"]
    assert service["User"] == "produser"
    assert service["WorkingDirectory"] == "/opt/pixelwise"
    assert service["EnvironmentFile"] == "/opt/pixelwise/.env"
    assert service["ExecStart"].startswith("/opt/pixelwise/.venv/")
    assert (service["Restart"], service["RestartSec"]) == ("always", "3")
    assert unit["Install"]["WantedBy"] == "multi-user.target"
