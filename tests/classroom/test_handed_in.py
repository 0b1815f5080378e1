"""checks/classroom/handed_in.py and server.py: what was handed in is found, and survives the way."""

import os
import zipfile
from pathlib import Path

import pytest
from submissions import hand_in

from checks.classroom import handed_in, server

ROOT = Path(__file__).resolve().parents[2]


def test_every_part_of_a_submission_counts(tmp_path):
    folder = hand_in(tmp_path, "ada", "x")
    seen = {handed_in.digest_of(folder)}
    (folder / "server.py").write_text("y")
    seen.add(handed_in.digest_of(folder))
    (folder / "server.py").rename(folder / "main.py")
    seen.add(handed_in.digest_of(folder))
    (folder / "link").symlink_to("/etc/passwd")
    seen.add(handed_in.digest_of(folder))
    (folder / "main.py").chmod(0o700)
    seen.add(handed_in.digest_of(folder))
    os.mkfifo(folder / "pipe")
    seen.add(handed_in.digest_of(folder))
    assert len(seen) == 6
    assert handed_in.digest_of(folder) in seen


def test_a_class_is_told_from_a_submission(tmp_path):
    assert not handed_in.is_class(hand_in(tmp_path, "ada", "x"))
    assert not handed_in.is_class(hand_in(tmp_path / "ben", "app", "x", "main.py").parent)
    assert handed_in.is_class(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(handed_in.Usage, match="name the folder that holds one of these"):
        handed_in.is_class(tmp_path / "empty")


def test_folders_and_zips_survive_the_way_to_a_worker(tmp_path):
    folder = hand_in(tmp_path, "ada", "x")
    (folder / "models").mkdir()
    (folder / "models" / "out").symlink_to("/tmp")
    (folder / "run.sh").write_text("x")
    (folder / "run.sh").chmod(0o755)
    sent = handed_in.unpack(handed_in.pack(folder), tmp_path / "there")
    assert handed_in.digest_of(sent) == handed_in.digest_of(folder)
    with zipfile.ZipFile(tmp_path / "ben.zip", "w") as archive:
        archive.writestr("server.py", "x")
    sent = handed_in.unpack(handed_in.pack(tmp_path / "ben.zip"), tmp_path / "there")
    assert sent.read_bytes() == (tmp_path / "ben.zip").read_bytes()


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"server.py": "import bottle"}, ["python", "server.py"]),
        ({"server.py": "app = FastAPI()\n"}, "server:app"),
        (
            {"server.py": "app = Flask(__name__)\nif __name__ == '__main__':\n    app.run()\n"},
            ["python", "server.py"],
        ),
        ({"app/main.py": "app = FastAPI()\nuvicorn.run(app)\n"}, "app.main:app"),
        ({"main.py": "app: FastAPI = FastAPI()\n"}, "main:app"),
        ({"app.py": "run(host='127.0.0.1')\n", "other.py": ""}, ["python", "app.py"]),
    ],
)
def test_the_server_is_found(tmp_path, files, command):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = server.find_server(tmp_path)
    assert found == command or (command in found and "uvicorn" in found)


def test_a_linked_server_or_unit_is_not_followed(tmp_path):
    (tmp_path / "server.py").symlink_to(ROOT / "server.py")
    (tmp_path / "a.service").symlink_to(ROOT / "deploy" / "pixelwise.service")
    with pytest.raises(server.CannotGrade):
        server.find_server(tmp_path)
    assert server.find_unit(tmp_path) is None
