"""setup-server.sh on a user's own odd machine: what it makes of the kit, and what is said of it."""

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import pytest
from jupyterlab_server import settings_utils
from test_setup import ROOT, SETTINGS, prediction, run, setting
from tree import copy_of_the_kit, copy_to, from_setup

NOBODY = 65534

# what requirements.txt names is lent to these copies, for pip would take half a minute each time
LENT = {"PYTHONPATH": sysconfig.get_path("purelib")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the kit on which `bash setup-server.sh` ran once; pip is lent to it as well."""
    folder = copy_of_the_kit(tmp_path_factory.mktemp("odd") / "pixelwise")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    (folder / ".venv/bin/pip").write_text(f"#!{folder}/.venv/bin/python\n")
    ran = run(folder, **LENT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


@pytest.fixture
def box(clone):
    """The clone, whose .env, packages and list of packages are put back after the test."""
    stamp = clone / ".venv/.installed-requirements.txt"
    kept = {path: path.read_bytes() for path in (clone / ".env", clone / "requirements.txt", stamp)}
    yield clone
    for path, content in kept.items():
        path.write_bytes(content)
    for path in (clone / ".venv").glob("lib/python3.*/site-packages/oddity*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def run_part(folder: Path, words: str, **environ) -> subprocess.CompletedProcess:
    """These words in the place of all that setup-server.sh would do in this folder."""
    text = (ROOT / "setup-server.sh").read_text(encoding="utf-8")
    (folder / "part-of-it.sh").write_text(text.replace('\nmain "$@"', f"\n{words}"), encoding="utf-8")
    return run(folder, script="part-of-it.sh", **environ)


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


# ---- How the folder came there --------------------------------------------------------------------------


def test_a_checkout_by_git_for_windows_has_the_same_bytes(tmp_path):
    repository = copy_to(tmp_path / "repository")
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    git(tmp_path, *("-c", "core.autocrlf=true", "-c", "core.eol=crlf"), "clone", "-q", "repository", "clone")
    for name in git(repository, "ls-files", "-z").split("\0")[:-1]:
        assert (tmp_path / "clone" / name).read_bytes() == (repository / name).read_bytes(), name


def test_a_folder_that_was_moved_or_copied_gets_programs_of_its_own(clone, tmp_path):
    folder = shutil.copytree(clone, tmp_path / "another place", symlinks=True)
    ran = run(folder, **LENT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = subprocess.run([folder / ".venv/bin/pip", "--version"], capture_output=True, text=True, check=True)
    assert f"from {folder}/.venv/" in said.stdout
    assert "already there" in run(folder, **LENT).stdout


@pytest.mark.parametrize("left", [".", ".env", ".venv", ".venv/lib/a.py"])
def test_what_a_run_with_sudo_left_is_named_with_the_line_that_gives_it_back(left):
    assert os.geteuid() == 0, "this gives files away: run it as root"
    with tempfile.TemporaryDirectory() as folder:  # not in tmp_path, where no other user may look
        script = Path(shutil.copy(ROOT / "setup-server.sh", folder))
        (script.parent / ".venv/lib").mkdir(parents=True)
        for name in (".env", ".venv/lib/a.py"):
            (script.parent / name).touch(mode=0o600)
        for path in (script.parent, *script.parent.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.chown(script.parent / left, 0, 0)
        (script.parent / left).chmod(0o700 if (script.parent / left).is_dir() else 0o600)
        script.parent.chmod(0o755)
        for words in ([], ["serve"], ["key"]):
            said = subprocess.run(
                ["bash", script, *words], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True
            ).stderr.decode()
            assert f"{(script.parent / left)} belongs to root" in said
            assert f"`sudo chown -R nobody {script.parent}`" in said
            assert len(said.split("\n")) == 3, "one line, between an empty one and the end"


# ---- Its Python and its pip -----------------------------------------------------------------------------


def test_another_python_is_refused_in_one_line(tmp_path):
    for tool in ("bash", "dirname", "id"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    (tmp_path / "python3").write_text(
        "#!/bin/sh\ncase $2 in *version\\(\\)*) echo 3.14.0 ;; *) exit 1 ;; esac\n"
    )
    (tmp_path / "python3").chmod(0o755)
    folder = tmp_path / "pixelwise"
    folder.mkdir()
    shutil.copy(ROOT / "setup-server.sh", folder)
    ran = run(folder, PATH=str(tmp_path))
    assert ran.returncode == 1
    assert re.fullmatch(r"\nsetup-server.sh: .* Python 3\.11 to 3\.13, .* 3\.14\.0: install .*\n", ran.stderr)


def wheel(folder: Path) -> None:
    """A package of its own, for pip to install."""
    with zipfile.ZipFile(folder / "oddity-1.0-py3-none-any.whl", "w") as file:
        file.writestr("oddity.py", "")
        file.writestr("oddity-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: oddity\nVersion: 1.0\n")
        file.writestr("oddity-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("oddity-1.0.dist-info/RECORD", "")


INSTALL = "KEPT=yes STEPS=5; install_python_packages serve"


@pytest.mark.parametrize("place", ["environment", "configuration"])
def test_pip_installs_into_venv_whatever_the_machine_says_and_does_not_tell_of_it(box, tmp_path, place):
    wheel(tmp_path)
    (box / "requirements.txt").write_text("oddity==1.0\n")
    odd = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{tmp_path} /nowhere"}
    if place == "environment":
        odd |= {"PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "1", "PIP_TARGET": "other", "PIP_ROOT": "other"}
    else:
        (tmp_path / "pip.conf").write_text("[global]\nuser = true\nrequire-virtualenv = true\n")
        odd |= {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    ran = run_part(box, INSTALL, **LENT, **odd)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stdout + ran.stderr
    assert len(list((box / ".venv").glob("lib/python3.*/site-packages/oddity.py"))) == 1


def test_when_pip_fails_its_errors_are_shown_and_not_where_it_looked_in_vain(box, tmp_path):
    (box / "requirements.txt").write_text("oddity==2.0\n")
    ran = run_part(box, INSTALL, **LENT, PIP_NO_INDEX="1", PIP_FIND_LINKS=f"{tmp_path} /nowhere")
    assert ran.returncode == 1
    assert "ERROR: No matching distribution found for oddity==2.0" in ran.stderr
    assert "/nowhere" not in ran.stderr


@pytest.mark.parametrize("mode", ["serve", "labs"])
def test_the_many_packages_of_the_labs_are_installed_by_a_newer_pip_which_comes_first(tmp_path, mode):
    for name in ("requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    said = f'run_pip() {{ echo "pip $*"; }}; KEPT=yes STEPS=5; install_python_packages {mode}'
    called = [line for line in run_part(tmp_path, said).stdout.splitlines() if line.startswith("pip ")]
    newer = re.findall(r"^pip==[0-9.]+", (ROOT / "requirements-dev.txt").read_text(), re.M)
    lists = {"serve": ["requirements.txt"], "labs": [*newer, "-r requirements-dev.txt"]}[mode]
    assert len(newer) == 1 and all(line.endswith(name) for line, name in zip(called, lists, strict=True))


# ---- Its .env -------------------------------------------------------------------------------------------

KEY = "0123456789abcdef-a-key-for-the-tests"
README_LINE = re.search(r"^curl -H .*\\\n.*classify$", (ROOT / "README.md").read_text(), re.M)[0]
WINDOWS = f'\ufeffSECRET_API_KEY="{KEY}"\r\n# Größen\r\nDEBUG=true\r\nPORT=0\r\n'


@pytest.mark.parametrize(
    "line", [f'"{KEY}"\n', f"'{KEY}'\n", f"{KEY}\r\n", f'"{KEY}"\r\n', f"old\nSECRET_API_KEY={KEY}"]
)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
def test_the_key_is_printed_without_what_is_written_around_it(box, mark, line):
    (box / ".env").write_text(f"{mark}SECRET_API_KEY={line}", encoding="utf-8", newline="")
    ran = run(box, "key", **LENT)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{KEY}\n", "")


def test_without_a_key_it_says_how_to_get_one(box):
    (box / ".env").write_text("DEBUG=true\n")
    ran = run(box, "key", **LENT)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no SECRET_API_KEY in .env: run bash setup-server.sh" in ran.stderr


def test_the_set_up_takes_away_what_systemd_would_misread_and_changes_nothing_else(box):
    (box / ".env").write_text(WINDOWS, encoding="utf-8", newline="")
    os.chown(box / ".env", NOBODY, NOBODY)
    ran = run(box, **LENT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "kept, without the byte order mark or the CRLF line ends" in ran.stdout
    left = (box / ".env").stat()
    assert (left.st_uid, stat.S_IMODE(left.st_mode)) == (NOBODY, 0o600)
    assert (box / ".env").read_text(encoding="utf-8") == WINDOWS.replace("\r", "").removeprefix("\ufeff")
    os.chown(box / ".env", os.geteuid(), os.getegid())
    assert "kept as it is" in run(box, **LENT).stdout


def test_the_line_of_the_readme_is_answered_whatever_an_editor_made_of_env(box):
    (box / ".env").write_text(WINDOWS, encoding="utf-8", newline="")
    environ = {key: value for key, value in os.environ.items() if key not in SETTINGS} | LENT
    command = [box / ".venv/bin/python", "server.py"]
    with subprocess.Popen(command, cwd=box, env=environ, stderr=subprocess.PIPE, text=True) as server:
        try:
            said = server.stderr.readline()
            assert "listening on" in said
            line = README_LINE.replace("http://127.0.0.1:8000", re.search(r"http:\S+", said)[0])
            assert prediction(line, cwd=box, env=environ) == "7"
        finally:
            server.terminate()


def test_the_printed_line_is_that_of_the_readme_from_any_folder(box):
    printed = run(box, **LENT).stdout.partition("ask it:")[2]
    assert printed.replace(f"{box}/", "").split() == README_LINE.split()


# ---- Its addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", "localhost"])
def test_the_printed_line_is_answered_wherever_the_server_listens_and_past_a_proxy(box, start_server, host):
    port = start_server(HOST=host, SECRET_API_KEY=setting(box, "SECRET_API_KEY")).address[1]
    said = run_part(box, 'read_env; what_next "ask it:"', HOST=host, PORT=str(port), **LENT)
    line, nobody = said.stdout.partition("ask it:")[2], "http://127.0.0.1:9"
    assert prediction(line, env=os.environ | LENT | {"http_proxy": nobody, "all_proxy": nobody}) == "7"


# In a network of its own: the service listens on HOST alone, and setup-server.sh on prod waits for it.
WAIT = """
ip link set lo up; ip address add 192.0.2.77/32 dev lo; ip address add fd00::77/128 dev lo nodad
.venv/bin/python server.py 2>/dev/null & trap "kill $!; wait" EXIT
eval "$(sed -n '/^wait_for_health()/,/^}/p' setup-server.sh)"
wait_for_health 8000
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "192.0.2.77", "fd00::77"])
def test_on_prod_it_asks_the_service_where_it_listens(clone, host):
    assert os.geteuid() == 0, "this makes a network: run it as root"
    environ = os.environ | LENT | {"HOST": host, "PORT": "8000", "SECRET_API_KEY": KEY}
    command = ["unshare", "--net", "--kill-child", "bash", "-c", WAIT]
    assert subprocess.run(command, cwd=clone, env=environ, timeout=600).returncode == 0


# ---- What is somebody's in JupyterLab ------------------------------------------------------------------


def test_what_somebody_set_in_jupyterlab_stays_and_counts_beside_ours(tmp_path):
    theirs = tmp_path / "share/jupyter/lab/settings/overrides.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}}')
    for _ in range(2):
        from_setup("quiet_jupyter", VENV=tmp_path)
    read, error = settings_utils._get_overrides(str(theirs.parent))
    assert error == "" and read["@jupyterlab/apputils-extension:themes"] == {"theme": "JupyterLab Dark"}
    assert read["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
