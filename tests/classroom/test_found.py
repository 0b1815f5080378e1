"""checks/classroom/found.py: the server is found where students put it, or it is said what is there."""

from pathlib import Path

import pytest

from checks.classroom.found import CannotGrade, find_server, find_unit, root_of

ROOT = Path(__file__).resolve().parents[2]


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("app = FastAPI()\n" if name.endswith("app/main.py") else "x")
    return folder


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
    found = find_server(tmp_path)
    assert found == command or (command in found and "uvicorn" in found)


def test_a_linked_server_or_unit_is_not_followed(tmp_path):
    (tmp_path / "server.py").symlink_to(ROOT / "server.py")
    (tmp_path / "a.service").symlink_to(ROOT / "deploy" / "pixelwise.service")
    with pytest.raises(CannotGrade):
        find_server(tmp_path)
    assert find_unit(tmp_path) is None


@pytest.mark.parametrize(
    ("names", "root", "command"),
    [
        (["Bericht.pdf", "pixelwise/server.py"], "pixelwise", "python server.py"),
        (["desktop.ini", ".vscode/settings.json", "a/b/server.py"], "a/b", "python server.py"),
        (["src/server.py", "README.md"], "src", "python server.py"),
        (["src/server.py", "deploy/x.service"], ".", "env -C src python server.py"),
        (["src/server.py", "models/a.pkl"], ".", "python src/server.py"),
        (["ada/src/server.py", "ada/models/a.pkl", "Bericht.pdf"], "ada", "python src/server.py"),
        (["src/server.py", "src/models/a.pkl", "models/b.pkl"], ".", "env -C src python server.py"),
        (["backend/app/main.py", "README.md"], "backend", "python -m uvicorn app.main:app …"),
        (["backend/app/main.py", "labs/1.ipynb"], ".", "env -C backend python -m uvicorn app.main:app …"),
        (["backend/app/main.py", "models/a.pkl"], ".", "python -m uvicorn app.main:app … --app-dir backend"),
        (["tests/server.py", "labs/app.py", "src/main.py"], ".", "env -C src python main.py"),
        (["server.py", "old/server.py"], ".", "python server.py"),
        (["x/server.py", "y/app.py"], "x", "python server.py"),
    ],
)
def test_the_server_is_found_below_and_runs_where_its_model_is(tmp_path, names, root, command):
    found = root_of(files(tmp_path, *names))
    assert found.relative_to(tmp_path).as_posix() == root
    assert " ".join(find_server(found)).replace("--host 127.0.0.1 --port 8000", "…") == command


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a/server.py", "b/server.py"], "there are 2 servers (a/server.py, b/server.py): hand in the one"),
        (["main.py.txt"], "call main.py.txt main.py, and hand it in again"),
        (["src/Server (1).py"], "call src/Server (1).py server.py, and hand it in again"),
        (["api.py", "util.py"], "there is api.py, util.py: call the file that starts the server server.py"),
        (["onlinetext.html"], "there is only onlinetext.html: hand in the folder that holds the server"),
        ([f"{n}.txt" for n in range(9)], "main.py, app.py): hand in the folder that holds the server"),
        (["labs/01.ipynb"], "main.py, app.py): hand in the folder that holds the server"),
    ],
)
def test_where_there_is_no_server_or_more_than_one_it_is_said_what_is_there(tmp_path, names, told):
    with pytest.raises(CannotGrade) as refused:
        find_server(files(tmp_path, *names))
    assert told in str(refused.value)
