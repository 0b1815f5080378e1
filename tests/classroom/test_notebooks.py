"""The labs of a submission: rebuilt from the instructor's, run again in the sandbox, never believed."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from checks.classroom import notebooks, rebuild
from checks.classroom.checker import Checker
from checks.classroom.sandbox import in_fresh_network

ROOT = Path(__file__).resolve().parents[2]


def cell(name: str, source: str, *tags: str, kind: str = "code", shown: str = "") -> dict:
    made = {"id": name, "cell_type": kind, "source": source, "metadata": {"tags": list(tags)} if tags else {}}
    if kind == "code":
        outputs = [{"output_type": "stream", "name": "stdout", "text": shown}] if shown else []
        made |= {"outputs": outputs, "execution_count": 1}
    return made


def notebook(*cells: dict) -> dict:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}


QUESTION = "**1.** Why?\n\n*Your answer:*"
RIGHT = "✓ it is 42: that is the answer"
LAB = notebook(
    cell("intro", "# A lab", kind="markdown"),
    cell("kit", "from labkit import *\nserver = Server()", shown="server.py is listening on $URL\n"),
    cell("sum", "print(1 + 1)", shown="2\n"),
    cell("number", "number = None  # yours", "exercise"),
    cell("number-solution", "number = 42", "solution"),
    cell("number-check", "print(expect(number, equals=42, because='that is the answer').data['text/plain'])"),
    cell("other", "other = None", "exercise"),
    cell("other-solution", "other = 1", "solution"),
    cell("other-check", "print(check('m1.health answers').data['text/plain'])"),
    cell("end", "print('the end')", shown="the end\n"),
    cell("why", QUESTION, "reflection", kind="markdown"),
)
LAB["cells"][5]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": RIGHT + "\n"}]
HEALTH = "✓ GET /health answers 200, and says ok"


def handed_in(*changed: dict, first: tuple = (), last: tuple = ()) -> dict:
    """The student's notebook: the lab without solutions, with cells changed, before it and after it."""
    new = {one["id"]: one for one in changed}
    kept = [new.get(one["id"], one) for one in LAB["cells"] if "solution" not in rebuild.tags(one)]
    return notebook(*first, *kept, *last)


def read(tmp_path: Path, content) -> tuple[dict, list[str]]:
    file, notes = tmp_path / "x.ipynb", []
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return rebuild.read(file, notes), notes


# ---- Rebuilding -----------------------------------------------------------------------------------------


def test_only_the_exercises_come_from_the_student(tmp_path):
    theirs = handed_in(
        cell("number", "number = 41 + 1", "exercise", "nbval-skip", "anything"),
        cell("sum", "print('I was here')", "nbval-ignore-output"),
        cell("number-check", "print('✓ full marks')", "solution"),
        first=(cell("new", "import os; os._exit(0)"),),
        last=(cell("copy", "number = 43", "exercise"),),
    )
    theirs["cells"].reverse()
    cells, notes = read(tmp_path, theirs)
    rebuilt = rebuild.rebuild(LAB, cells, notes)
    assert notes == []
    assert [one["id"] for one in rebuilt["cells"]] == [
        one["id"] for one in LAB["cells"] if "solution" not in rebuild.tags(one)
    ]
    changed = [one for one in rebuilt["cells"] if one not in LAB["cells"]]
    assert [(one["id"], one["source"]) for one in changed] == [
        ("number", "number = 41 + 1"),
        ("other", "other = None"),
    ]
    assert all(rebuild.tags(one) == ["exercise", "nbval-ignore-output"] for one in changed)
    assert rebuild.done_exercises(LAB, rebuilt) == {"number": "number = 41 + 1"}


def test_odd_cells_are_noted_and_tolerated(tmp_path):
    theirs = handed_in(cell("number", "number = 42", kind="markdown"))
    theirs["cells"] = [one for one in theirs["cells"] if one["id"] != "other"]
    theirs["cells"] += [cell("number", "number = 1"), cell("sum", 7), {"source": "x"}, "cell", None]
    theirs["cells"].append({"metadata": {"id": "why"}, "source": ["from ", "Colab"], "cell_type": "markdown"})
    cells, notes = read(tmp_path, theirs)
    rebuilt = rebuild.rebuild(LAB, cells, notes)
    assert rebuild.done_exercises(LAB, rebuilt) == {"number": "number = 42"}
    assert notes == [
        "3 cells have no source that is text, and were left out",
        "1 cells have no ID, and were left out",
        "2 cells have the ID of a cell before them, and were left out",
        "the exercise number is a cell of another type; it was run as code",
        "the exercise other is missing, and counts as not done",
    ]


@pytest.mark.parametrize(
    "comment", ["# NBVAL_SKIP", "  #NBVAL_IGNORE_OUTPUT  ", "## PYTEST_VALIDATE_IGNORE_OUTPUT"]
)
def test_a_comment_of_nbval_is_taken_out_of_a_students_source(comment):
    assert (
        rebuild.without_markers(f"x = 1\n{comment}\r\ny = '# NBVAL_SKIP'") == "x = 1\n#\ny = '# NBVAL_SKIP'"
    )
    assert rebuild.without_markers(f"x = 1\x0c{comment}\n") == "x = 1\x0c#\n"


@pytest.mark.parametrize(
    "source", ["number = None", "\n number  =  None # mine", "number = (None)", "", "  \n"]
)
def test_spaces_and_comments_do_not_do_an_exercise(source):
    assert rebuild.same_code(source, "number = None  # yours")


@pytest.mark.parametrize("source", ["number = 42", "%%dev\ncurl", "number = ", "(" * 9999])
def test_other_code_does_and_may_be_anything(source):
    assert not rebuild.same_code(source, "number = None  # yours")


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        (f"{QUESTION}\n\nBecause.\n", "Because."),
        ("I deleted your words: because.", "I deleted your words: because."),
        ("**1.** Why, oh why?\n\n*Your answer:* Because.", "Because."),
        (QUESTION, ""),
        (f"{QUESTION} No *Your answer:* is needed.", "No *Your answer:* is needed."),
    ],
)
def test_a_reflection_answer_is_collected_without_its_question(written, answer):
    theirs = {"why": {"source": written, "type": "raw"}}
    assert rebuild.collected(LAB, theirs, "01_lab", {}) == [
        {"lab": "01_lab", "question": "**1.** Why?", "answer": answer}
    ]


def test_exercises_of_a_lab_that_nobody_runs_are_collected_too():
    told = rebuild.collected(LAB, {}, "04_lab", {"number": "number = 42"})
    assert told[0] == {"lab": "04_lab", "question": "exercise number", "answer": "number = 42"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is no notebook of the format 4"),
        ({"nbformat": 3, "worksheets": []}, "it is no notebook of the format 4"),
        ({"nbformat": 4, "cells": {}}, "its cells are no list of at most 2000"),
        ({"nbformat": 4, "cells": [{}] * 10_000}, "its cells are no list of at most 2000"),
        (b" " * (9 << 20), "it has 9 MiB; 8 are the most"),
    ],
)
def test_junk_is_refused_with_the_reason(content, why, tmp_path):
    with pytest.raises(rebuild.BadNotebook) as refused:
        read(tmp_path, content)
    assert str(refused.value) == why


def test_a_notebook_is_found_anywhere_but_never_through_a_link(tmp_path):
    for name in ("labs/01.ipynb", "old/02.ipynb", "old/new/02.ipynb", "labs/.ipynb_checkpoints/03.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "04.ipynb").symlink_to("/etc/passwd")
    (tmp_path / "away").symlink_to(ROOT / "labs")
    assert rebuild.find(tmp_path, "01.ipynb") == tmp_path / "labs/01.ipynb"
    assert rebuild.find(tmp_path, "02.ipynb") == tmp_path / "old/02.ipynb"
    for name in ("03.ipynb", "04.ipynb", "02_the_contract_and_the_server.ipynb"):
        with pytest.raises(rebuild.BadNotebook, match="was not handed in"):
            rebuild.find(tmp_path, name)


# ---- What the kernels see -------------------------------------------------------------------------------


def test_kernels_see_the_submission_and_labkit_and_nothing_that_grades(tmp_path):
    theirs, away = tmp_path / "theirs", tmp_path / "away"
    away.mkdir()
    for name in ("server.py", "labs/labkit.py", "labs/own.txt", "checks/kit/core.py", "tests/x.py", ".env"):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text("mine")
    (theirs / "models").symlink_to(away)  # what is copied must not go there
    (theirs / "schemas").write_text("a file")
    kit = notebooks.copy_for_kernels(theirs, ROOT, tmp_path / "kit")
    assert (kit / "server.py").read_text() == (kit / "labs" / "own.txt").read_text() == "mine"
    assert (kit / "labs" / "labkit.py").read_bytes() == (ROOT / "labs" / "labkit.py").read_bytes()
    assert (kit / "models" / "classifier.py").is_file() and not os.listdir(away)  # noqa: PTH208
    for hidden in ("checks", "tests", ".env", "deploy/pixelwise.service", "bench"):
        assert not (kit / hidden).exists(), hidden
    assert not (notebooks.copy_for_kernels(away, ROOT, tmp_path / "empty") / "server.py").exists()


# ---- The checker ----------------------------------------------------------------------------------------


def ask(url: str, asked) -> object:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
        return json.load(answer)


def test_the_checker_runs_a_check_on_a_server_of_this_machine(server):
    with Checker() as checker:
        options = {
            "seeds": [1, 2, 3],
            "unit": "/etc/passwd",
            "prod": "ssh://root@localhost",
            "limit": "30/minute",
        }
        about = {"url": server.url, "key": server.key}
        names = ["m1.health answers", "m9.nothing", "m4.the unit file can be read"]
        good, unknown, unit = ask(checker.url, {**about, "names": names, "options": options})
        assert (good["name"], good["status"]) == ("m1.health answers", "passed")
        assert unknown.startswith("'m9.nothing' is no check")
        assert unit["status"] == "could not be checked", "no file may be named from inside"
        assert "m3.a wrong key is refused" in ask(checker.url, {**about, "milestone": "m3"})


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:80", "http://127.0.0.1:80@evil", "file:///etc/passwd", 7, None]
)
def test_the_checker_asks_no_other_machine_and_survives_junk(url):
    with Checker() as checker:
        told = ask(
            checker.url, {"url": url, "key": "k", "names": ["m1.health answers"], "options": {"seeds": [1]}}
        )
        assert told.startswith("the checker does not understand this")
        for junk in (b"", b"[", b"[]", b'{"url": 1}', b"\xff", b"[" * 50_000):
            assert ask(checker.url, junk).startswith("the checker does not understand this")


# ---- In the sandbox -------------------------------------------------------------------------------------

RUN = """
import json, sys
from pathlib import Path
from checks.classroom import notebooks, rebuild
from checks.classroom.limits import Limits
from checks.classroom.sandbox import Sandbox
def sandbox(folder, readable=(), **limits):
    return Sandbox(folder, Limits(**limits), readable=readable)
root, kit, out, seconds = sys.argv[1:]
print(json.dumps(notebooks.rerun(Path(root), Path(kit), sandbox, Path(out), float(seconds))))
"""
LOOK = """
import os, glob
number, seen = 42, []
for place in ("/work", "/root/.ssh", "/submission/checks", "/submission/tests", "/home"):
    try:
        seen += [place] if os.listdir(place) else []
    except OSError:
        pass
try:
    import checks.grading
    seen.append("checks")
except ImportError:
    pass
seen += glob.glob("/tmp/**/*.ipynb", recursive=True) + glob.glob("/tmp/**/evidence*", recursive=True)
open("../server.py", "a").write("# mine")
print(seen, os.getuid() != 0)
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """The instructor's kit with labs of ours."""
    kit = tmp_path_factory.mktemp("kit") / "kit"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", ".env", "tests", "bench", "*.ipynb", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, kit, ignore=ignored)
    return kit


def rerun(kit: Path, root: Path, tmp_path: Path, labs: dict[str, dict], seconds: float = 100) -> dict:
    """{name: what the student handed in}, run again in a network of its own."""
    for old in (kit / "labs").glob("*.ipynb"):
        old.unlink()
    shutil.copytree(kit, root, ignore=shutil.ignore_patterns("checks", "tests"))
    for name, theirs in labs.items():
        (kit / "labs" / name).write_text(json.dumps(LAB))
        if theirs:
            (root / "labs" / name).write_text(json.dumps(theirs))
    command = in_fresh_network([sys.executable, "-c", RUN, root, kit, tmp_path / "out", str(seconds)])
    environ = os.environ | {"PYTHONPATH": str(ROOT), "SECRET_OF_THE_GRADER": "x"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_labs_run_again_in_the_sandbox(kit, tmp_path):
    theirs = handed_in(
        cell("number", f"# NBVAL_SKIP{LOOK}", "exercise", "nbval-skip"),
        cell("sum", "print('✓ everything is right')"),
        cell("why", f"{QUESTION} Because.", kind="markdown"),
    )
    told = rerun(
        kit,
        tmp_path / "root",
        tmp_path,
        {"02_lab.ipynb": theirs, "03_lab.ipynb": None, "04_lab.ipynb": theirs},
    )
    lab, missing, on_prod = told["labs"]
    shown = {
        one["id"]: one.get("outputs")
        for one in json.loads((tmp_path / "out/02_lab.ipynb").read_text())["cells"]
    }
    assert lab == {
        "lab": "02_lab",
        "why": "",
        "notes": [],
        "exercises": 2,
        "done": 1,
        "right": 1,
        "reproduce": 4,  # kit, sum, number-check, end
        "differ": 1,
        "fail": 0,
        "cells": {
            "other-check": {"became": "differs"},  # the lab has stored no output of it
            "number": {"done": True, "right": True},
            "other": {"done": False, "right": False},
        },
    }, shown
    assert shown["number"][0]["text"] == "[] True", (
        "what the kernel sees of the grader, and whether it is root"
    )
    assert shown["other-check"][0]["text"].startswith("✓ GET /health"), "labkit has asked the checker"
    assert missing["why"] == "03_lab.ipynb was not handed in"
    assert on_prod["why"] == "it needs a production machine, and was not run again"
    assert (on_prod["done"], on_prod["reproduce"]) == (1, 0)
    assert [(one["lab"], one["answer"][:12]) for one in told["answers"]] == [
        ("02_lab", "Because."),
        ("03_lab", ""),
        ("04_lab", "#\nimport os,"),
        ("04_lab", "Because."),
    ]


def test_a_lab_that_kills_its_kernel_or_never_ends_costs_no_more_than_its_time(kit, tmp_path):
    labs = {
        "01_lab.ipynb": handed_in(cell("number", "import os; os._exit(0)", "exercise")),
        "02_lab.ipynb": handed_in(cell("number", "while True: pass", "exercise")),
    }
    dead, endless = rerun(kit, tmp_path / "root", tmp_path, labs, seconds=12)["labs"]
    assert (dead["reproduce"], dead["right"]) == (2, 0), dead
    assert dead["cells"]["end"] == {"became": "not run"}
    assert (endless["why"], endless["right"]) == ("it took longer than 12 s", 0)
