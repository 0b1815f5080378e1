"""checks/classroom/handed_in.py: who handed in what is found, and it survives the way."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
from submissions import hand_in

from checks.classroom import handed_in, the_class
from checks.classroom.handed_in import find_submissions


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


@pytest.mark.parametrize(
    ("entry", "who", "dated"),
    [
        ("Ada Lovelace_4711_assignsubmission_file_", "Ada Lovelace_4711", False),
        ("team 7_12_assignsubmission_file_", "team 7_12", False),
        ("Default group_assignsubmission_file_", "Default group", False),  # Moodle, of who is in no group
        ("ada_4711", "ada_4711", True),
    ],
)
def test_the_times_of_files_that_an_lms_packed_are_not_those_of_handing_in(tmp_path, entry, who, dated):
    hand_in(tmp_path, entry, "x")
    (found,) = find_submissions(tmp_path).items()
    assert (found[0], found[1].dated) == (who, dated)
    assert handed_in.is_class(tmp_path)


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


def test_a_worker_gets_no_more_of_a_large_file_than_shows_that_it_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(handed_in, "MAX_BYTES", 1000)
    monkeypatch.setattr(handed_in, "MAX_ARCHIVE", 100)
    folder = hand_in(tmp_path, "ada", "x" * 5000)
    (tmp_path / "ben.zip").write_bytes(bytes(5000))
    assert [len(content) for *_, content in handed_in.pack(folder)] == [0, 1001]
    assert [len(content) for *_, content in handed_in.pack(tmp_path / "ben.zip")] == [101]


# ---- A class, and who is in it --------------------------------------------------------------------------


def files(folder: Path, *names: str) -> Path:
    """Files with these names; one that ends in "/" is a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir(exist_ok=True)
        else:
            (folder / name).write_text("x")
    return folder


def found_in(folder: Path) -> dict[str, list[str]]:
    """{student: what of theirs there is, or why it cannot be graded}."""
    return {
        name: one.why or [f"{inside or 'all'}: {path.name}" for inside, path in one.parts]
        for name, one in find_submissions(folder).items()
    }


@pytest.mark.parametrize(
    "stray",
    ["script.py", "notes.ipynb", "server.py", "main.py"],
)
def test_a_stray_file_makes_no_submission_of_a_class(tmp_path, stray):
    files(tmp_path, *(f"{name}/server.py" for name in ("ada", "ben")), "cy.zip", "dee.tar.gz", stray)
    assert handed_in.is_class(tmp_path)
    assert "put what a student handed in into a folder with their name" in found_in(tmp_path)[stray]


@pytest.mark.parametrize(
    "names",
    [
        ("server.py", "old/server.py", "example/app.py", "README.md"),
        ("server.py", "labs/01.ipynb", "models/a.pkl", "deploy/x.service", *(f"{n}.zip" for n in range(9))),
        ("app/main.py", "app/x/main.py", "Dockerfile"),
        ("01.ipynb", "02.ipynb", "pictures/1.png"),
    ],
)
def test_a_submission_with_folders_and_old_copies_is_no_class(tmp_path, names):
    assert not handed_in.is_class(files(tmp_path, *names))


def test_the_download_of_moodle_with_a_folder_a_student(tmp_path):
    files(
        tmp_path,
        "Ada Lovelace_4711_assignsubmission_file_/block5.zip",
        "Müller, Jörg_4712_assignsubmission_file/server.py",
        "Müller, Jörg_4712_assignsubmission_onlinetext/onlinetext.html",
    )
    assert handed_in.is_class(tmp_path)
    assert found_in(tmp_path) == {
        "Ada Lovelace_4711": ["all: Ada Lovelace_4711_assignsubmission_file_"],
        "Müller, Jörg_4712": [
            "all: Müller, Jörg_4712_assignsubmission_file",
            "onlinetext: Müller, Jörg_4712_assignsubmission_onlinetext",
        ],
    }


def test_the_download_of_moodle_without_folders(tmp_path):
    files(
        tmp_path,
        "Ada_1_assignsubmission_file_block5.zip",
        "Cy_3_assignsubmission_file_pixelwise.service",
        "Cy_3_assignsubmission_file_server.py",
    )
    assert handed_in.is_class(tmp_path)
    assert found_in(tmp_path) == {
        "Ada_1": ["all: Ada_1_assignsubmission_file_block5.zip"],
        "Cy_3": [
            "pixelwise.service: Cy_3_assignsubmission_file_pixelwise.service",
            "server.py: Cy_3_assignsubmission_file_server.py",
        ],
    }


def test_the_download_of_canvas_and_a_resubmission_that_stays_its_students(tmp_path):
    files(tmp_path, "lovelaceada_123_456_block5.zip", "turingalan_LATE_124_457_server.py")
    assert handed_in.is_class(tmp_path)
    assert found_in(tmp_path) == {
        "lovelaceada_123": ["all: lovelaceada_123_456_block5.zip"],
        "turingalan_124": ["server.py: turingalan_LATE_124_457_server.py"],
    }
    (tmp_path / "lovelaceada_123_456_block5.zip").rename(tmp_path / "lovelaceada_LATE_123_999_work-1.zip")
    assert found_in(tmp_path)["lovelaceada_123"] == ["all: lovelaceada_LATE_123_999_work-1.zip"]


def test_names_that_only_look_like_those_of_canvas_are_students_of_their_own(tmp_path):
    files(tmp_path, "block5_2026_1_ada.zip", "block5_2026_1_ben.zip")
    assert list(found_in(tmp_path)) == ["block5_2026_1_ada", "block5_2026_1_ben"]


def test_nothing_is_passed_over_and_no_entry_stops_the_others(tmp_path):
    files(tmp_path, "ada/server.py", "ada.zip", "ben.zip", "cy.7z", "index.html.zip", "roster.csv")
    files(tmp_path, ".DS_Store", "desktop.ini", "__MACOSX/._ben.zip", "eve (1).zip")
    (tmp_path / "dee").symlink_to(tmp_path / "ada")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "\udcffinn").mkdir()
    found = found_in(tmp_path)
    assert list(found) == sorted(
        ["ada", "ben", "cy", "dee", "index.html (handed in)", "pipe", "roster.csv (handed in)", "eve"]
        + ["\udcffinn"]
    )
    assert found["ada"] == "ada and ada.zip are the same student: keep the one that counts"
    assert found["dee"] == "dee is a link: put what it points to in its place"
    assert "neither a file nor a folder" in found["pipe"]
    assert "neither a folder nor an archive" in found["roster.csv (handed in)"]
    assert found["eve"] == ["all: eve (1).zip"] and found["cy"] == ["all: cy.7z"]


def test_what_is_huge_or_deep_has_a_digest_in_a_moment(tmp_path):
    with (tmp_path / "ada.zip").open("wb") as file:
        file.truncate(12 << 30)
    assert len(handed_in.HandedIn((("", tmp_path / "ada.zip"),)).digest()) < 64
    deep = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):  # 4,500 bytes: no system call takes the whole path
        os.mkdir("d" * 150, dir_fd=deep)
        deep, before = os.open("d" * 150, os.O_RDONLY, dir_fd=deep), deep
        os.close(before)
    os.close(os.open("server.py", os.O_WRONLY | os.O_CREAT, dir_fd=deep))
    os.close(deep)
    assert len(handed_in.HandedIn((("", tmp_path),)).digest()) == 64
    shutil.rmtree(tmp_path / ("d" * 150))


def test_what_cannot_be_read_or_has_gone_is_named_and_stops_nobody(tmp_path, monkeypatch):
    one = handed_in.HandedIn((("", hand_in(tmp_path, "ada", "x")),))
    task = {"parts": [("", str(tmp_path / "ada"))], "why": ""}
    assert the_class.looked_at(one)[0] == one and "packed" in the_class.packed(task)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    named, digest = the_class.looked_at(one)
    told = "it cannot be read (Permission denied): make it readable for the grader"
    assert named.why == told and len(digest) == 64
    assert the_class.packed(task)["why"] == told
