"""checks/report/journal.py and files.py: whole after a crash, and written again by a command."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from made_reports import FORMATS, ROOT, built, failure, header, journal, names_in, result, shown

from checks.kit.core import FAILED, PASSED, UNCHECKED
from checks.report import journal as journals
from checks.report import terminal
from checks.report.__main__ import main
from checks.report.files import write_all

# ---- The journal ----------------------------------------------------------------------------------------


def test_each_result_is_on_disk_as_soon_as_it_is_written(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((tmp_path / "results.jsonl").read_bytes()))
    journal(tmp_path, [result(1.01), failure(1.02)])
    assert [content.count(b"\n") for content in synced] == [1, 2, 3, 4]


def test_a_new_journal_makes_an_earlier_one_empty(tmp_path):
    journal(tmp_path, [result(1.01), result(1.02)])
    report = journals.read(journal(tmp_path, [result(2.01)]))
    assert [one["number"] for one in report["results"]] == [2.01]


def test_the_journal_makes_its_folder(tmp_path):
    assert journal(tmp_path / "a" / "b", [result()]).exists()


def test_a_line_torn_anywhere_costs_no_result_but_its_own(tmp_path):
    path = journal(tmp_path, [result(1.01), failure(1.02, received="é\x1b")])
    whole = path.read_bytes()
    second = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for length in range(second, len(whole) + 1):
        path.write_bytes(whole[:length])
        report = journals.read(path)
        statuses = [one["status"] for one in report["results"]]
        written = whole[:length].count(b"\n") + (whole[length : length + 1] == b"\n")
        assert statuses == [PASSED, FAILED if written >= 3 else UNCHECKED]
        assert report["complete"] is (written == 4)


def test_blocks_of_zeros_after_a_power_cut_are_a_torn_line(tmp_path):
    path = journal(tmp_path, [result(1.01)], finish=False)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert journals.read(path)["results"][0]["status"] == PASSED


def test_a_run_that_was_cut_off_says_so_everywhere_and_blames_no_check(tmp_path):
    planned = [result(1.01), result(1.02), result(2.01)]
    report = journals.read(journal(tmp_path, planned[:1], planned, finish=False))
    assert report["finished"] is None and report["complete"] is False
    assert [one["status"] for one in report["results"]] == [PASSED, UNCHECKED, UNCHECKED]
    assert report["results"][1]["reason"] == "the grading was cut off before this check"
    assert report["points"] == 6 and report["earned"] == 2
    for name, write in FORMATS.items():
        assert "cut off" in write(report), name
    assert "cut off" in shown(terminal.table(report))


def test_a_whole_run_is_not_called_cut_off():
    report = built(result(1.01), failure(1.02))
    assert report["complete"] is True
    assert all("cut off" not in write(report) for write in FORMATS.values())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "does not begin like a journal"),
        ("[]\n", "does not begin like a journal"),
        ('{"pixelwise_report": 2}\n', "does not begin like a journal"),
        ('{"pixelwise_report": 1}\n', "is damaged"),
        ("HEADER\n{torn\n{}\n", "is damaged in line 2"),
        ("HEADER\n{}\n", "is damaged"),
        ("HEADER\n3\n", "is damaged"),
        ('HEADER\n{"finished": 3}\n', "is damaged"),
        ('HEADER\n{"name": "\\u001b[31m"}\n', "is damaged"),
        ("HEADER\nRESULT, \"status\": \"wonderful\"}\n", "is damaged"),
        ("HEADER\nRESULT, \"evidence\": [3]}\n", "is damaged"),
        ("HEADER\nRESULT, \"points\": \"two\"}\n", "is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_journal_is_refused_in_one_line_with_the_remedy(tmp_path, capsys, content, says):
    content = content.replace("HEADER", json.dumps({"pixelwise_report": 1, **header()}))
    (tmp_path / "results.jsonl").write_text(content.replace("RESULT", json.dumps(asdict(result()))[:-1]))
    problem = refused(capsys, tmp_path)
    assert says in problem and problem.endswith(": grade again\n") and problem.count("\n") == 1
    assert problem.replace("\n", "").isprintable()
    assert names_in(tmp_path) == ["results.jsonl"]


# ---- Files and the command ------------------------------------------------------------------------------


def refused(capsys, *arguments) -> str:
    """What `python -m checks.report` says when it exits with 2."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def rebuild(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "checks.report", str(folder)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=600)


def test_the_command_writes_the_reports_again_after_a_crash(tmp_path):
    planned = [result(1.01), failure(1.02), result(2.01)]
    folder = tmp_path / "Übung"  # which an ASCII terminal cannot show
    path = journal(folder, planned[:2], planned, finish=False)
    path.write_bytes(path.read_bytes() + b'{"name": "m2.che')
    ran = rebuild(folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "2/6" in ran.stdout and "failed: 1.02" in ran.stdout and "cut off" in ran.stdout
    assert names_in(folder) == sorted([*FORMATS, "results.jsonl"])
    assert json.loads((folder / "report.json").read_text()) == journals.read(path)


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("--help",)])
def test_a_wrong_call_shows_the_usage(arguments, capsys):
    assert refused(capsys, *arguments).startswith("usage: python -m checks.report DIR")


def test_a_folder_without_a_grading_is_named(tmp_path, capsys):
    problem = refused(capsys, tmp_path / "nowhere")
    assert problem.endswith("/nowhere/results.jsonl is missing: name the folder of a grading\n")


def test_a_folder_that_cannot_be_written_is_named_and_left_clean(tmp_path, capsys):
    journal(tmp_path, [result()])
    (tmp_path / "report.md").mkdir()
    problem = refused(capsys, tmp_path)
    assert problem.count("\n") == 1 and "Is a directory: name a folder" in problem
    assert names_in(tmp_path) == ["report.json", "report.md", "results.jsonl"]


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    before = built(result())
    files = write_all(before, tmp_path)
    assert [file.name for file in files] == list(FORMATS)
    contents = {file: file.read_bytes() for file in files}

    def full(path, text, **options):
        with path.open("w") as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_all(built(failure()), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == contents
