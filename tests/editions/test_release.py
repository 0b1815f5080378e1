"""The editions: what students get and what not, and that a failed proof leaves nothing."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checks.classroom import marks
from checks.editions import files, proof, release, strip, tables, write
from checks.editions.job import Job
from checks.kit import grading
from checks.release import main

ROOT = Path(__file__).resolve().parents[2]


# ---- The editions ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def editions(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("editions")
    write.write_editions(ROOT, out)
    return out


def code(notebook: Path, tag: str = "") -> list[dict]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    return [cell for cell in cells if not tag or tag in cell["metadata"].get("tags", [])]


def test_the_instructor_edition_is_the_kit_byte_for_byte(editions):
    names = files.files_of(ROOT)
    assert {"server.py", "tests/editions/test_release.py", "checks/release.py", ".ci/run"} <= set(names)
    made = {
        str(path.relative_to(editions / "instructor"))
        for path in (editions / "instructor").rglob("*")
        if path.is_file()
    }
    assert made == set(names)
    for name in names:
        assert (editions / "instructor" / name).read_bytes() == (ROOT / name).read_bytes()
        assert os.access(editions / "instructor" / name, os.X_OK) == os.access(ROOT / name, os.X_OK)


def test_a_student_gets_no_answers_no_tests_and_no_tools_of_instructors(editions):
    student = editions / "student"
    names = {str(path.relative_to(student)) for path in student.rglob("*") if path.is_file()}
    assert {"README.md", "server.py", "checks/test_m3_keys_and_limits.py", "deploy/box/box"} <= names
    for hidden in ("tests", "bench", ".ci", ".git", "checks/release.py", "checks/grade.py", "labs/store.py"):
        assert not (student / hidden).exists(), hidden
    for hidden in ("labs/reflections.toml", "checks/read.py", "checks/reading", "checks/classroom"):
        assert (ROOT / hidden).exists() and not (student / hidden).exists(), hidden
    bodies = strip.strip((ROOT / "server.py").read_bytes(), dict.fromkeys(tables.STUBS, "pass"))
    lines = set((ROOT / "server.py").read_text().splitlines()) - set(bodies.decode().splitlines())
    answers = {line.strip() for line in lines if len(line.strip()) > 40}
    for notebook in (ROOT / "labs").glob("*.ipynb"):
        answers |= {"".join(cell["source"]) for cell in code(notebook, "solution")}
    answers |= {told["model"] for told in marks.questions().values()}
    assert len(answers) > 15
    for name in names:
        if not name.endswith((".npz", ".pkl", ".png")):
            text = (student / name).read_text(encoding="utf-8")
            if name.endswith(".ipynb"):
                text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
            assert not [answer for answer in answers if answer in text and len(answer) > 40], name


def test_what_a_student_reads_speaks_of_nothing_that_is_not_there(editions):
    student = editions / "student"
    for name in ("README.md", "checks/README.md", "labs/README.md", "CHANGELOG.md", "pytest.ini"):
        text = (student / name).read_text(encoding="utf-8")
        assert not re.search(
            r"\b(tests|bench)/|release\.py|AUTHORING|checks\.(grade|read\b)|reflections\.toml"
            r"|<!-- instr|all tests",
            text,
        ), name
    readme = (student / "README.md").read_text(encoding="utf-8")
    for function in tables.STUBS:
        assert f"| `{function}` in `server.py` |" in readme


def test_the_labs_of_a_student_have_every_stub_no_solution_and_no_output(editions):
    for original in (ROOT / "labs").glob("*.ipynb"):
        if not (editions / "student" / "labs" / original.name).exists():
            continue  # not in git yet
        made = code(editions / "student" / "labs" / original.name)
        ids = [cell["id"] for cell in code(original) if "solution" not in cell["metadata"].get("tags", [])]
        assert [cell["id"] for cell in made] == ids
        assert not [cell for cell in made if cell["outputs"] or cell["execution_count"]]


def prepare(kit: Path) -> None:
    """As after a first start of its server, which takes a second longer."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copytree(ROOT / "models" / ".prepared", kit / "models" / ".prepared", dirs_exist_ok=True)


def grade_with_the_script(kit: Path, *words: str) -> subprocess.CompletedProcess:
    """`bash setup-server.sh test` in a student's folder, with the packages that are here already"""
    (kit / ".venv").symlink_to(sys.prefix)
    prepare(kit)
    script = (kit / "setup-server.sh").read_text(encoding="utf-8")
    called = ("install_packages", "install_python_packages")
    script = script.replace('\nmain "$@"', "".join(f"\n{name}() {{ :; }}" for name in called) + '\nmain "$@"')
    (kit / "setup-server.sh").write_text(script, encoding="utf-8")
    command = ["bash", kit / "setup-server.sh", "test", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert "/6] Your server, graded" in done.stdout, done.stdout + done.stderr
    assert not list(kit.glob(".setup.*"))
    return done


def test_a_student_grades_the_own_server_with_the_test_command(editions, tmp_path):
    shutil.copytree(editions / "student", tmp_path / "kit")
    done = grade_with_the_script(tmp_path / "kit", "--milestone", "m4")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "✓ 4." in done.stdout and "✗ 4." in done.stdout, done.stdout


# ---- Which files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_git", [True, False])
def test_secrets_and_caches_are_never_copied(in_git, tmp_path):
    for name in (
        ".env",
        ".venv/lib/x.py",
        "a/__pycache__/b.pyc",
        "server.py",
        "a/b.py",
        "a/.ipynb_checkpoints/c",
        "own/d",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("# comment\nown/\n")
    if in_git:
        for arguments in (["init", "-q"], ["add", "-f", "."], ["rm", "-q", "--cached", "own/d"]):
            subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
        (tmp_path / "new.py").write_text("x")
    assert files.files_of(tmp_path) == [".gitignore", "a/b.py", "server.py"]
    assert files.left_out(tmp_path) == (["new.py"] if in_git else [])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- Nothing half-written -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem", [tables.ReleaseError("the proof failed"), KeyboardInterrupt(), OSError(28, "full")]
)
def test_after_a_failed_proof_there_are_no_editions(problem, tmp_path, monkeypatch):
    def fails(editions, tell):
        assert (editions / "student" / "server.py").is_file()
        raise problem

    monkeypatch.setattr(release, "prove", fails)
    with pytest.raises(type(problem)):
        release.release(ROOT, tmp_path / "out", print)
    assert names_in(tmp_path) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, monkeypatch):
    left = tmp_path / ".out.release-4194305"  # over the highest possible process ID
    (left / "student").mkdir(parents=True)
    monkeypatch.setattr(release, "prove", lambda editions, tell: None)
    release.release(ROOT, tmp_path / "out", print)
    assert names_in(tmp_path) == ["out"]
    assert names_in(tmp_path / "out") == ["instructor", "student"]


def test_a_folder_with_something_in_it_is_refused_with_the_remedy(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main([str(tmp_path)]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert f"rm -r {tmp_path}" in capsys.readouterr().err
    assert names_in(tmp_path) == ["mine"]


def test_without_a_folder_it_says_how_it_is_called(capsys):
    assert main([]) == main(["--help"]) == 2
    assert "usage: python -m checks.release OUT" in capsys.readouterr().err


# ---- The proof ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proven(editions, tmp_path_factory, warm_python) -> tuple[list[str], Path]:
    """The proof of every release, without the documentation, and with one untouched lab, for test_labs.py
    runs them all: what it told, and the student edition in which it has worked all labs."""
    folder, told = tmp_path_factory.mktemp("proven"), []

    def tell(text: str) -> None:
        told.append(text)
        if text.startswith("graded the worked edition"):
            [worked] = folder.glob("editions/.proof-*/worked")
            shutil.copytree(worked, folder / "worked")

    shutil.copytree(editions, folder / "editions")
    for edition in ("instructor", "student"):
        prepare(folder / "editions" / edition)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(warm_python.kernels))
        patch.setattr(sys, "executable", str(warm_python.program))
        patch.setattr(proof, "MODES", ("false",))
        patch.setattr(proof, "UNTOUCHED", "01*.ipynb")
        shown = [name for name in tables.GIFTS if "openapi" in name or "pages are there" in name]
        patch.setattr(proof, "GIFTS", {name for name in tables.GIFTS if name not in shown})
        proof.prove(folder / "editions", tell)
    assert not list((folder / "editions").rglob("__pycache__"))
    return told, folder / "worked"


def test_both_editions_are_what_they_have_to_be_and_all_labs_can_be_worked(proven):
    told = "\n".join(proven[0])
    assert "every answer of both editions is JSON" in told
    assert re.search(r"has 0 of the \d\d exercise points", told)
    assert re.search(r"has all of them, and [1-9]\d* points of m5", told)
    assert "labs of the student edition: 0 of 34 points; labs of the worked edition: 34 of 34 points" in told
    worked = re.findall(r"worked labs/(\d\d).*", told)
    assert (
        worked == ["00", "01", "02", "03", "04", "05", "06"]
        and "04_from_dev_to_production.ipynb, without" in told
    )


def test_what_a_student_writes_in_lab_06_ends_up_in_their_server_and_the_test_command_counts_m5(
    proven, tmp_path
):
    shutil.copytree(proven[1], tmp_path / "kit")
    assert '@app.route("/version"' in (tmp_path / "kit" / "server.py").read_text(encoding="utf-8")
    done = grade_with_the_script(tmp_path / "kit", "-k", "m5")  # no --milestone: m5 counts by itself
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ 5." in done.stdout and "✗" not in done.stdout, done.stdout
    assert re.search(r"m5 .* 9/9 ", done.stdout), done.stdout


def test_the_proof_fails_where_a_student_is_stuck_or_is_given_a_point(editions, monkeypatch, tmp_path):
    """with no servers, and with labs that only seem to be run"""

    def stuck(student, instructor, problems):
        problems.append("labs/02, cell x: does not end with ✓")
        yield from ()

    for name, value in (("work", stuck), ("MODES", ()), ("GIFTS", {}), ("UNTOUCHED", "01*.ipynb")):
        monkeypatch.setattr(proof, name, value)
    said = json.dumps({"cells": {"pick-verb-check": "✓ it is"}, "stopped": ""})
    monkeypatch.setattr(proof, "run_lab", lambda title, lab: Job(title, ["-c", f"print({said!r})"], tmp_path))
    with pytest.raises(tables.ReleaseError) as failed:
        proof.prove(editions, print)
    assert "labs/02, cell x: does not end with ✓" in str(failed.value)
    assert "cell pick-verb-check: says ✓ with nothing written. It printed:\n    ✓ it is" in str(failed.value)


def test_the_proof_fails_where_labs_have_points_too_early_or_lack_some_in_the_end():
    def said(student: str, worked: str) -> list[str]:
        return proof.judge_labs({"student": student, "worked": worked}, told.append)

    none, some, every = (f"…\nlabs: {count} of 34 points\n" for count in (0, 33, 34))
    told = []
    assert said(none, every) == [] and told == [
        "labs of the student edition: 0 of 34 points; labs of the worked edition: 34 of 34 points"
    ]
    assert said(some, every)[0].startswith("student edition: labs have points with nothing written")
    assert said(none, some)[0].startswith("worked edition: labs lack points")
    assert said(none, "Traceback")[0].startswith("the labs of the worked edition were not judged:\nTraceback")
    broken = "No module named checks.labs"
    assert len(said(broken, broken)) == 2, "that is no missing sandbox"
    missing = "the labs cannot be judged here: bwrap missing"
    assert said(missing, missing) == [] and told[-1].endswith("bwrap missing")


def results(**statuses: str) -> dict:
    """What five gradings would have said: all is passed, but in the untouched student edition all fails."""
    checks = grading.all_checks()
    made = {}
    for edition, debug in (
        ("instructor", "false"),
        ("instructor", "true"),
        ("student", "false"),
        ("student", "true"),
        ("worked", "true"),
    ):
        usual = "failed" if edition == "student" else "passed"
        made[edition, debug] = [
            {
                "name": check.name,
                "points": check.points,
                "reason": "",
                "received": "a 500",
                "status": statuses.get(edition, {}).get(check.name)
                or ("passed" if check.name in tables.GIFTS else usual),
            }
            for check in checks
            if edition == "worked" or check.milestone != "m5"
        ]
    return made


def test_the_proof_fails_where_the_instructor_loses_or_the_student_gets_a_point():
    assert proof.judge(results(), print) == []
    (lost,) = set(proof.judge(results(instructor={"m1.health answers": "unstable"}), print)[:1])
    assert lost.startswith("instructor edition, DEBUG=false: m1.health answers: unstable")
    exercise = next(one["name"] for one in results()["student", "true"] if one["name"] not in tables.GIFTS)
    won = proof.judge(results(student={exercise: "passed"}), print)
    assert won[0] == f"student edition, DEBUG=false: {exercise} is passed with nothing written"
    gift = next(iter(tables.GIFTS))
    assert proof.judge(results(student={gift: "failed"}), print) == [
        f"GIFTS names {gift}, which the student edition does not pass"
    ]


def test_the_proof_fails_where_the_worked_edition_has_not_all_points():
    lost = "m3.exactly the limit is admitted"
    problems = proof.judge(results(worked={lost: "failed"}), print)
    assert f"worked edition, DEBUG=true: {lost}: failed, a 500" in problems
    for missing, said in ((lost, f"{lost} was not graded"), ("m5.", "lab 06 is not graded by m5")):
        made = results()
        graded = made["worked", "true"]
        made["worked", "true"] = [one for one in graded if not one["name"].startswith(missing)]
        (problem,) = proof.judge(made, print)
        assert problem.startswith("worked edition: ") and said in problem
