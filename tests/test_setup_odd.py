"""setup-server.sh on a user's own odd machine: what it makes of the kit, and what is said of it."""

import functools
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

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
    """The clone, whose .env, packages and lists of packages are put back after the test."""
    files = (".env", "requirements.txt", "requirements-dev.txt", ".venv/.installed-requirements.txt")
    kept = {path: path.read_bytes() for path in (clone / name for name in files)}
    yield clone
    for path, content in kept.items():
        path.write_bytes(content)
    (clone / ".venv/.installed-requirements-dev.txt").unlink(missing_ok=True)
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


def wheel(folder: Path, version: str = "1.0") -> None:
    """A package of its own, for pip to install."""
    about = f"Metadata-Version: 2.1\nName: oddity\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"oddity-{version}-py3-none-any.whl", "w") as file:
        file.writestr("oddity.py", "")
        file.writestr(f"oddity-{version}.dist-info/METADATA", about)
        file.writestr(f"oddity-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"oddity-{version}.dist-info/RECORD", "")


INSTALL = "KEPT=yes STEPS=5; install_python_packages"


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
    ran = run_part(box, f"{INSTALL} serve", **LENT, **odd)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stdout + ran.stderr
    assert len(list((box / ".venv").glob("lib/python3.*/site-packages/oddity.py"))) == 1


def test_when_pip_fails_its_errors_are_shown_and_not_where_it_looked_in_vain(box, tmp_path):
    (box / "requirements.txt").write_text("oddity==2.0\n")
    ran = run_part(box, f"{INSTALL} serve", **LENT, PIP_NO_INDEX="1", PIP_FIND_LINKS=f"{tmp_path} /nowhere")
    assert ran.returncode == 1
    assert "ERROR: No matching distribution found for oddity==2.0" in ran.stderr
    assert "/nowhere" not in ran.stderr


class Mirror(SimpleHTTPRequestHandler):
    """A proxy to indexes of packages, which are the folders of one, wherever they are asked for."""

    def do_GET(self):
        self.path = urlsplit(self.path).path
        super().do_GET()

    def log_message(self, *about):
        pass


@pytest.fixture
def mirror(tmp_path):
    """What pip is told where packages are reached by a proxy alone: in `a` there are oddity 1.0 and 2.0, in
    `b` 0.9, in `c` 1.1; and a constraint allows no 2.0."""
    for index, version in (("a", "1.0"), ("a", "2.0"), ("b", "0.9"), ("c", "1.1")):
        (tmp_path / index / "oddity").mkdir(parents=True, exist_ok=True)
        wheel(tmp_path / index / "oddity", version)
    (tmp_path / "constraints.txt").write_text("oddity<2\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Mirror, directory=tmp_path)) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        yield {
            "index-url": "http://packages.test/a",
            "extra-index-url": "http://packages.test/b http://packages.test/c",
            "trusted-host": "packages.test",
            "constraint": str(tmp_path / "constraints.txt"),
            "proxy": f"http://127.0.0.1:{proxy.server_port}",
        }
        proxy.shutdown()


def test_uv_installs_for_the_labs_what_pip_would_from_where_pip_is_told(box, mirror, tmp_path):
    if find_spec("uv") is None:  # pip alone made the .venv that is lent
        assert run_part(box, 'run_pip install --quiet "$UV"', **LENT).returncode == 0
    (box / "requirements-dev.txt").write_text("oddity\n")
    proxy = mirror.pop("proxy")
    told = "".join(f"{name} = {value}\n" for name, value in mirror.items())
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = http://no.test\n[install]\n{told}proxy = http://no.test"
    )
    odd = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_PROXY": proxy}
    odd |= {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    ran = run_part(box, f"{INSTALL} labs", **LENT, **odd)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (about,) = box.glob(".venv/lib/python3.*/site-packages/oddity-*")
    assert about.name == "oddity-1.1.dist-info"
    assert (about / "INSTALLER").read_text().strip() == "uv"
    assert about.with_name("oddity.py").stat().st_nlink == 1, "who edits it edits uv's cache"


def test_uv_is_not_asked_where_pip_is_told_what_uv_is_not(box):
    assert run_part(box, "settings_for_uv", **LENT).returncode == 0
    assert run_part(box, "settings_for_uv", **LENT, PIP_REQUIRE_HASHES="1").returncode != 0


# settings_for_uv, run_pip and uv say that they were called, and fail where they are the trouble
TOLD = 'settings_for_uv() { echo A=1; [ "$TROUBLE" != settings ]; }'
PIP = 'run_pip() { echo "pip: $*"; [[ "$TROUBLE $*" != pip*uv==* ]]; }'
PYTHON = '#!/bin/sh\necho "uv: $*"; [ "$TROUBLE" != uv ]\n'


@pytest.mark.parametrize(
    ("mode", "trouble", "asked"),
    [
        ("serve", "", ["pip: .* requirements.txt"]),
        ("labs", "", ["pip: .* uv==.*", "uv: .* requirements-dev.txt"]),
        ("labs", "settings", ["pip: .* requirements-dev.txt"]),
        ("labs", "pip", ["pip: .* uv==.*", "pip: .* requirements-dev.txt"]),
        ("labs", "uv", ["pip: .* uv==.*", "uv: .* requirements-dev.txt", "pip: .* requirements-dev.txt"]),
    ],
)
def test_uv_installs_the_tools_for_the_labs_and_pip_where_uv_cannot(tmp_path, mode, trouble, asked):
    for name in ("requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    ran = run_part(tmp_path, f"{TOLD}; {PIP}; {INSTALL} {mode}", TROUBLE=trouble)
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if re.match("(pip|uv): ", line)]
    assert len(lines) == len(asked) and all(map(re.fullmatch, asked, lines)), lines


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
