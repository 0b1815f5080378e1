"""setup-server.sh: a fresh machine, a second run, model releases good and bad, and the printed curl line."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
from tree import copy_to

from models.classifier import classify_batch

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = re.findall(r"^(?:# )?([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), re.M)


def run(
    clone: Path, *words: str, cwd: Path = Path("/"), script: str = "setup-server.sh", **environ
) -> subprocess.CompletedProcess:
    """setup-server.sh from another folder, in an environment without any of PixelWise's settings."""
    inherited = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 600}
    return subprocess.run(["bash", clone / script, *words], cwd=cwd, env=inherited | environ, **options)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of the repo on which `bash setup-server.sh` ran once; its folder has a space in its name."""
    folder = copy_to(tmp_path_factory.mktemp("a fresh machine") / "pixel wise")
    ran = run(folder, PYTHONDONTWRITEBYTECODE="1")  # as in many a container
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (folder / "first-run.txt").write_text(ran.stdout)
    return folder


@pytest.fixture
def box(clone):
    """The clone, whose .env and artefact are put back after the test."""
    kept = {path: path.read_bytes() for path in (clone / ".env", clone / "models/digit_classifier_v1.pkl")}
    yield clone
    for path, content in kept.items():
        path.write_bytes(content)


def setting(clone: Path, key: str) -> str:
    return re.search(rf"^{key}=(.*)$", (clone / ".env").read_text(), re.M)[1]


def test_the_first_run_numbers_its_steps_and_ends_with_what_to_do(clone):
    text = (clone / "first-run.txt").read_text()
    assert re.findall(r"^\[(\d)/(\d)\]", text, re.M) == [(str(step), "5") for step in range(1, 6)]
    assert re.search(r"\d+ of 100 right", text)
    assert "curl -H" in text[text.index("Next:") :]


def test_it_makes_a_private_env_with_a_key_of_its_own(clone):
    assert stat.S_IMODE((clone / ".env").stat().st_mode) == 0o600
    assert re.fullmatch(r"[0-9a-f]{48}", setting(clone, "SECRET_API_KEY"))
    assert setting(clone, "DEBUG") == "true"
    assert setting(clone, "SECRET_API_KEY") not in (clone / "first-run.txt").read_text()


def test_serve_needs_nothing_but_requirements_txt(clone):
    installed = subprocess.run(
        [clone / ".venv/bin/python", "-m", "pip", "list", "--format", "json"], capture_output=True, check=True
    )
    names = {each["name"].lower().replace("_", "-") for each in json.loads(installed.stdout)}
    pins = re.findall(r"^([\w-]+)==", (clone / "requirements.txt").read_text(), re.M)
    assert names - {"pip", "setuptools"} == {name.lower().replace("_", "-") for name in pins}


def test_what_pip_left_uncompiled_is_compiled_by_the_first_run_for_all_that_follow(clone):
    assert list((clone / ".venv").glob("lib/python3.*/site-packages/__pycache__/bottle.*.pyc"))


def test_the_second_run_changes_nothing(clone):
    before = (clone / ".env").read_bytes(), (clone / ".venv").stat().st_mtime_ns
    ran = run(clone, cwd=clone / "models")
    assert ran.returncode == 0, ran.stderr
    assert "already there" in ran.stdout
    assert "kept as it is" in ran.stdout
    assert (before[0], (clone / ".venv").stat().st_mtime_ns) == ((clone / ".env").read_bytes(), before[1])
    assert not list(clone.glob(".setup.*"))


def test_an_env_that_others_can_read_is_closed_and_otherwise_kept(box):
    before = (box / ".env").read_bytes()
    (box / ".env").chmod(0o644)
    ran = run(box)
    assert "its mode is now 600" in ran.stdout
    assert stat.S_IMODE((box / ".env").stat().st_mode) == 0o600
    assert (box / ".env").read_bytes() == before


def test_production_has_no_documentation_pages(box, tmp_path):
    (tmp_path / "id").write_text('#!/bin/sh\n[ "$1" = produser ] && exit 0\nexec /usr/bin/id "$@"\n')
    (tmp_path / "id").chmod(0o755)
    (box / ".env").unlink()
    ran = run(box, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert ran.returncode == 0, ran.stderr
    assert setting(box, "DEBUG") == "false"


@contextmanager
def serving(clone: Path):
    """`setup-server.sh serve` on a free port; yields its line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (clone / ".env").read_bytes()
    (clone / ".env").write_bytes(text.replace(b"PORT=8000", f"PORT={port}".encode()))
    inherited = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = ["bash", clone / "setup-server.sh", "serve"]
    served = subprocess.Popen(command, cwd="/", env=inherited, **pipes)
    try:
        log = iter(served.stderr.readline, "")
        assert any("listening on" in line for line in log)
        os.set_blocking(served.stdout.fileno(), False)
        text = served.stdout.read()
        yield text[text.index("curl -H") :]
    finally:
        served.send_signal(signal.SIGINT)
        _, rest = served.communicate(timeout=600)
    assert served.returncode == 0
    assert "Traceback" not in rest


def prediction(line: str, **options) -> str:
    """What comes back when somebody enters the curl line."""
    options = {"cwd": "/", "capture_output": True, "text": True, "timeout": 20, "check": True} | options
    return json.loads(subprocess.run(["bash", "-c", line], **options).stdout)["prediction"]


def test_the_printed_curl_line_returns_a_prediction_and_ctrl_c_stops_the_server(box):
    with serving(box) as line:
        assert prediction(line) == "7"


def test_an_unknown_word_shows_the_usage(clone):
    ran = run(clone, "srve")
    assert ran.returncode == 2
    assert "bash setup-server.sh serve" in ran.stderr
    ran = run(clone, "--help")
    assert ran.returncode == 0
    assert "bash setup-server.sh test" in ran.stdout


def test_where_it_cannot_install_it_names_what_is_missing(clone, tmp_path):
    for tool in ("bash", "cat", "dirname", "env", "id", "python3", "rm", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    ran = run(clone, PATH=str(tmp_path))
    assert ran.returncode == 1
    assert "no apt-get here" in ran.stderr
    assert "apt-get install" in ran.stderr
    assert re.search(r"\bgit curl\b", ran.stderr)


def test_a_bad_setting_stops_it_with_the_servers_own_words(box):
    (box / ".env").write_text((box / ".env").read_text().replace("PORT=8000", "PORT=eight"))
    ran = run(box)
    assert ran.returncode == 1
    assert "PORT: 'eight' is not allowed; write a whole number" in ran.stderr
    assert "Next:" not in ran.stdout


# ---- Model releases -------------------------------------------------------------------------------------


def release(folder: Path, files: dict[str, bytes], tag: str = "v9") -> str:
    """A git repository with one tagged release; returns its URL."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    folder.mkdir(exist_ok=True)
    subprocess.run(["git", "init", "-q", folder], check=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
    subprocess.run(["git", "-C", folder, *identity, "commit", "--allow-empty", "-qm", tag], check=True)
    subprocess.run(["git", "-C", folder, "tag", "-f", tag], check=True, capture_output=True)
    return folder.as_uri()


SHIPPED = (ROOT / "models/digit_classifier_v1.pkl").read_bytes()  # the first run has prepared it


def artefact_without_a_zero() -> bytes:
    """A small pipeline over the other digits, pickled."""
    from sklearn.linear_model import LogisticRegression  # takes a second, and every worker reads this file

    samples = np.load(ROOT / "models/samples.npz")
    chosen = samples["labels"] != "0"
    ink = (samples["images"][chosen].reshape(-1, 784) > 128).astype(float)
    joblib.dump(LogisticRegression(max_iter=300).fit(ink, samples["labels"][chosen]), made := io.BytesIO())
    return made.getvalue()


def sums(content: bytes, name: str) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


NAME = "digit_classifier_v9.pkl"


def ask_for(box: Path, url: str, tag: str = "v9", digest: str = "", path: str = f"models/{NAME}") -> None:
    text = (box / ".env").read_text()
    wanted = {"MODEL_REPO": url, "MODEL_VERSION": tag, "MODEL_SHA256": digest, "MODEL_PATH": path}
    for key, value in wanted.items():
        text = re.sub(rf"^{key}=.*$", lambda _, line=f"{key}={value}": line, text, flags=re.M)
    (box / ".env").write_text(text)


@pytest.fixture
def model(box):
    """Where the release is to go; removed after the test."""
    yield box / "models" / NAME
    (box / "models" / NAME).unlink(missing_ok=True)


def test_a_release_with_its_own_sums_is_pulled_and_proven(box, model, tmp_path):
    url = release(tmp_path / "repo", {NAME: SHIPPED, "SHA256SUMS": sums(SHIPPED, NAME)})
    ask_for(box, url)
    ran = run(box)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "its digest is the one in the release's SHA256SUMS" in ran.stdout
    assert model.read_bytes() == SHIPPED
    assert stat.S_IMODE((box / ".env").stat().st_mode) == 0o600
    shutil.rmtree(tmp_path / "repo")  # the second run needs no network
    ran = run(box)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "v9 is already in place" in ran.stdout


def test_a_release_without_sums_is_pinned_on_first_use(box, model, tmp_path):
    first, second = SHIPPED, artefact_without_a_zero()
    url = release(tmp_path / "repo", {f"models/{NAME}": first})
    ask_for(box, url)
    ran = run(box)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "pinned on first use" in ran.stdout
    assert setting(box, "MODEL_SHA256") == hashlib.sha256(first).hexdigest()

    release(tmp_path / "repo", {f"models/{NAME}": second})  # somebody moves the tag
    model.unlink()
    ran = run(box)
    assert ran.returncode == 1
    assert "has not the digest that MODEL_SHA256 names" in ran.stderr

    release(tmp_path / "repo", {f"models/{NAME}": second}, "v10")  # a new tag is a new release
    ask_for(box, url, "v10", setting(box, "MODEL_SHA256"))
    ran = run(box)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert model.read_bytes() == second
    assert setting(box, "MODEL_SHA256") == hashlib.sha256(second).hexdigest()


@pytest.mark.parametrize(
    "fault", ["no repository", "no tag", "no file", "sums", "digest", "not a model", "symlink"]
)
def test_whatever_fails_the_artefact_in_place_stays(fault, box, model, tmp_path):
    files = {NAME: SHIPPED, "SHA256SUMS": sums(SHIPPED, NAME)}
    words = {
        "no repository": "cannot pull v9",
        "no tag": "cannot pull v8",
        "no file": f"holds no file {NAME}",
        "sums": "has not the digest in the release's SHA256SUMS",
        "digest": "has not the digest that MODEL_SHA256 names",
        "not a model": "is not a digit classifier",
        "symlink": f"holds no file {NAME}",
    }
    if fault == "no file":
        files = {"README": b""}
    elif fault == "sums":
        files["SHA256SUMS"] = sums(b"other", NAME)
    elif fault == "not a model":
        files = {NAME: b"no pickle", "SHA256SUMS": sums(b"no pickle", NAME)}
    elif fault == "symlink":
        (tmp_path / "repo").mkdir()
        (tmp_path / "repo" / NAME).symlink_to("/etc/hostname")
        files = {}
    url = release(tmp_path / "repo", files)
    url = "file:///nowhere/at/all" if fault == "no repository" else url
    ask_for(box, url, "v8" if fault == "no tag" else "v9", "0" * 64 if fault == "digest" else "")
    model.write_bytes(b"the artefact in place")
    env = (box / ".env").read_bytes()
    ran = run(box)
    assert ran.returncode == 1
    assert words[fault] in ran.stdout + ran.stderr
    assert "the artefact in place stays as it was" in ran.stderr
    assert model.read_bytes() == b"the artefact in place"
    assert (box / ".env").read_bytes() == env
    assert not list(box.glob(".setup.*"))


# ---- The house ------------------------------------------------------------------------------------------


def test_the_scripts_are_shellcheck_clean():
    scripts = [ROOT / "setup-server.sh", ROOT / ".ci/run", *(ROOT / "checks/editions/gradescope").iterdir()]
    ran = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_python_is_ruff_clean(command):
    ran = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", ROOT], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_readme_tells_of_every_setting_route_and_command():
    text = (ROOT / "README.md").read_text()
    for word in [*SETTINGS, "/health", "/results", "/classify", "/openapi.json", "/docs", "/redoc"]:
        assert re.search(rf"`[^`]*{word}[^`]*`", text), word
    for status in (401, 404, 405, 413, 415, 422, 429, 500, 503):
        assert str(status) in text, status
    assert "bash setup-server.sh serve" in text
    assert "bash setup-server.sh test" in text
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
    for row in re.findall(r"^\| `([A-Z_0-9]+)` \| `?([^`|]*?)`? \|", text, re.M):
        defaults = dict(re.findall(r"^(?:# )?([A-Z_0-9]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
        assert row[0] in defaults
        assert row[1].strip() in (defaults[row[0]], "none", "empty", ""), row


def test_the_answer_in_the_readme_is_the_real_one():
    shown = (ROOT / "README.md").read_text().split('{"prediction":"7",')[1].split("\n")[0]
    picture = np.array(json.loads((ROOT / "models/sample.json").read_text())["pixels"], dtype=np.uint8)
    answer = classify_batch(picture[None])[0]
    real = {"confidence": answer["confidence"]} | answer["scores"]
    numbers = re.findall(r'"(\w+)":([\d.e-]+)', shown)
    assert len(numbers) == 5
    for name, number in numbers:
        assert 0 <= real[name] - float(number) < 0.1 * float(number), name


def test_every_dependency_is_pinned_exactly():
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            line = line.partition("#")[0].strip()
            assert not line or line == "-r requirements.txt" or re.fullmatch(r"[\w\[\]-]+==[\w.]+", line), (
                line
            )
