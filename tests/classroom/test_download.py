"""checks/classroom/download.py: the zip that an LMS made of a class is graded as it is."""

import shutil
import time
import zipfile
from pathlib import Path

import lms
import pytest
from submissions import hand_in

from checks import grade
from checks.classroom import download
from checks.classroom.handed_in import Usage, find_submissions
from checks.likeness import main as likeness

ROOM = shutil.disk_usage("/")._replace(free=30)


def packed(folder: Path, file: Path, at=(2026, 11, 3, 12, 0, 2)) -> Path:
    """A zip of all files in a folder, each of this time."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                opened.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), at), path.read_bytes())
    return file


def made_class(folder: Path, shape: str) -> Path:
    work = {name: hand_in(folder.parent / "made", name, f"{name} = 1") for name in ("ada", "ben", "cem")}
    lms.as_download(folder, work, shape)
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shape", ["moodle", "flat", "canvas"])
def test_the_zip_of_a_class_holds_whom_its_folder_holds_with_the_times_of_their_files(tmp_path, shape):
    folder = made_class(tmp_path / "class", shape)
    file = packed(folder, tmp_path / "Block 5-4711.zip")
    assert download.is_download(file)
    (tmp_path / "into").mkdir()
    found = find_submissions(download.unpacked(file, tmp_path / "into"))
    assert list(found) == list(find_submissions(folder)) and len(found) == 3
    for one in found.values():
        assert all("into" in path.parts for _, path in one.parts)
    times = {path.stat().st_mtime for path in (tmp_path / "into").rglob("*") if path.is_file()}
    assert times == {time.mktime((2026, 11, 3, 12, 0, 2, 0, 0, -1))}


@pytest.mark.parametrize(
    "names",
    [
        ["server.py", "models/a.pkl"],
        ["server.py", "digits_1_2_x.py", "scores_3_4_y.csv"],
        ["Ada_12_assignsubmission_file_/b.zip", "server.py"],
        ["__MACOSX/x"],
        [],
    ],
)
def test_what_a_student_packed_is_no_class(tmp_path, names):
    (tmp_path / "one.zip").write_bytes(lms.zipped(dict.fromkeys(names, "x")))
    assert not download.is_download(tmp_path / "one.zip")


def test_what_is_no_zip_is_no_class(tmp_path):
    (tmp_path / "Ada_12_assignsubmission_file_x.zip").write_text("no zip")
    (tmp_path / "cut.zip").write_bytes(lms.zipped({"Ada_12_assignsubmission_file_/b.zip": "x"})[:-30])
    assert not any(map(download.is_download, [*tmp_path.iterdir(), tmp_path, tmp_path / "missing"]))


def test_where_it_cannot_be_unpacked_it_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "into").mkdir()
    data = lms.zipped({"Ada_12_assignsubmission_file_/b.txt": "x" * 1000})
    (tmp_path / "class.zip").write_bytes(data[:60] + b"\xff" * 9 + data[69:])
    with pytest.raises(Usage, match="download it again, or unpack it"):
        download.unpacked(tmp_path / "class.zip", tmp_path / "into")
    (tmp_path / "class.zip").write_bytes(data)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: ROOM)
    with pytest.raises(Usage, match="set TMPDIR to a folder on a larger disk"):
        download.unpacked(tmp_path / "class.zip", tmp_path / "into")


def test_nothing_is_written_outside_of_the_folder(tmp_path):
    names = ["../Ada_1_assignsubmission_file_x", "Ada_12_assignsubmission_file_/../../up.txt"]
    (tmp_path / "class.zip").write_bytes(lms.zipped(dict.fromkeys(names, "x")))
    (tmp_path / "into").mkdir()
    download.unpacked(tmp_path / "class.zip", tmp_path / "into")
    assert {path.name for path in tmp_path.iterdir()} == {"class.zip", "into"}


def test_a_zip_of_a_class_is_graded_as_one_and_read_for_likeness(tmp_path, monkeypatch, capsys):
    file = packed(made_class(tmp_path / "class", "moodle"), tmp_path / "class.zip")
    seen = []
    monkeypatch.setattr(grade, "command_class", lambda path, *_: seen.append(names_in(path)) or 0)
    assert grade.main([str(file), "--out", str(tmp_path / "out")]) == 0
    assert seen == [names_in(tmp_path / "class")]
    monkeypatch.setattr(grade, "command_one", lambda path, *_: seen.append(path) or 0)
    assert grade.main([str(file), "--as", "one"]) == 0 and seen[1:] == [file]
    assert likeness([str(file), "-o", str(tmp_path / "page.html")]) == 0
    assert "3 could not be compared" in capsys.readouterr().out
