"""A submission is taken in whole or not at all, and nothing in it reaches outside of its folder."""

import os
import stat
import subprocess
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.classroom import archives, intake
from checks.classroom.intake import Submission, SubmissionError, fetch, name_of
from checks.classroom.limits import visible

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")


def zip_of(path: Path, *entries: tuple) -> Path:
    """A zip of (name, content) or (name, content, mode)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode or [0o100644])[0] << 16
            packed.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """{relative path: content}; fails where there is anything but plain files and folders."""
    found = {}
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(where, name)
            mode = path.lstat().st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode), path
            assert stat.S_IMODE(mode) in (0o755, 0o644), path
            if stat.S_ISREG(mode):
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def taken(tmp_path: Path, *entries: tuple) -> tuple[dict[str, bytes], str]:
    """What arrives of a zip with these entries, and the notes."""
    got = fetch(zip_of(tmp_path / "ada.zip", *entries), tmp_path / "into")
    return files_of(got.root), "\n".join(got.notes)


def refusal(tmp_path: Path, file: Path) -> str:
    with pytest.raises(SubmissionError) as refused:
        fetch(file, tmp_path / "into")
    assert not (tmp_path / "into").exists()
    return str(refused.value)


# ---- What arrives -----------------------------------------------------------------------------------------


def test_a_folder_arrives_as_it_is_without_clutter_and_environments(tmp_path):
    folder = tmp_path / "ada"
    for name in ("server.py", "models/a.pkl", ".venv/lib/x.py", "__pycache__/x.pyc", ".git/config", ".env"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    got = fetch(folder, tmp_path / "into")
    assert got.name == "ada" and got.root == tmp_path / "into"
    assert set(files_of(got.root)) == {"server.py", "models/a.pkl", ".env"}
    assert got.notes == ("left out .venv: packages are not a part of the work: leave the folder out",)


def test_a_zip_of_a_folder_arrives_without_the_folder_around_it(tmp_path):
    arrived, notes = taken(tmp_path, ("ada/work/server.py", "x"), ("__MACOSX/ada/._server.py", "x"))
    assert (arrived, notes) == ({"server.py": b"x"}, "")


def test_the_folder_app_is_no_wrapping(tmp_path):
    assert taken(tmp_path, ("app/main.py", "x"))[0] == {"app/main.py": b"x"}


def test_a_program_stays_executable_and_nothing_else_of_the_mode_stays(tmp_path):
    got = fetch(
        zip_of(tmp_path / "a.zip", ("run.sh", "x", 0o106777), ("b", "x", 0o100600)), tmp_path / "into"
    )
    assert [stat.S_IMODE((got.root / name).stat().st_mode) for name in ("run.sh", "b")] == [0o755, 0o644]


def test_a_link_to_a_file_of_the_submission_becomes_a_copy(tmp_path):
    arrived, notes = taken(tmp_path, ("models/v1.pkl", "x"), ("models/latest.pkl", "v1.pkl", 0o120777))
    assert arrived == {"models/v1.pkl": b"x", "models/latest.pkl": b"x"} and not notes


def test_a_repository_arrives_with_its_last_commit_and_runs_none_of_its_hooks(tmp_path):
    work = tmp_path / "ada.git"
    work.mkdir()
    (work / "server.py").write_text("x")
    git = ["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "1"]):
        subprocess.run([*git, *command], check=True)
    got = fetch(f"file://{work}", tmp_path / "into", protocols="file")
    assert got.name == "ada" and set(files_of(got.root)) == {"server.py"}
    assert got.notes[0].startswith("commit ") and len(got.notes[0].split()[1]) == 40


# ---- What does not ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "..\\evil", "C:/evil", "a/..", "//evil"]
)
def test_a_name_that_leads_out_is_left_out(tmp_path, name):
    arrived, notes = taken(tmp_path, ("server.py", "x"), (name, "evil"))
    assert arrived == {"server.py": b"x"} and "leads out of the folder" in notes


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", ".", "sub", "loop", "nowhere", "\x1b[31m"])
def test_a_link_to_anything_else_is_left_out(tmp_path, target):
    entries = [("server.py", "x"), ("sub/a", "a"), ("loop", target, 0o120777), ("loop/x", "evil")]
    arrived, notes = taken(tmp_path, *entries)
    assert arrived["server.py"] == b"x" and arrived["sub/a"] == b"a"
    assert "loop" not in arrived and notes == visible(notes)


@pytest.mark.parametrize(
    "mode", [0o020666, 0o060666, 0o010666, 0o140666], ids=["char", "block", "pipe", "socket"]
)
def test_a_device_in_a_zip_is_left_out(tmp_path, mode):
    arrived, notes = taken(tmp_path, ("server.py", "x"), ("thing", "", mode))
    assert set(arrived) == {"server.py"} and "neither a file nor a folder" in notes


def test_a_folder_with_links_and_pipes_arrives_without_them_and_blocks_nobody(tmp_path):
    folder = tmp_path / "ada"
    folder.mkdir()
    (folder / "server.py").write_text("x")
    for name, target in {"shadow": "/etc/shadow", "root": "/", "loop": "loop", "copy": "server.py"}.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    got = fetch(folder, tmp_path / "into")
    assert files_of(got.root) == {"server.py": b"x", "copy": b"x"} and len(got.notes) == 4


@pytest.mark.parametrize(
    "name", ["\x1b]0;x\x07", "a\nb", "<b>", "x" * 121, "d/" * 300 + "x", "\u202eyp", " a", "\udcff"]
)
def test_an_odd_name_is_left_out_and_shown_plainly(tmp_path, name):
    folder = tmp_path / "ada"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("x")
    (folder / "server.py").write_text("x")
    got = fetch(folder, tmp_path / "into")
    assert set(files_of(got.root)) == {"server.py"}
    (note,) = got.notes
    assert note.startswith("left out") and note == visible(note) and note.encode()


def test_of_two_files_with_one_name_the_first_arrives_and_a_clash_of_case_is_told(tmp_path):
    arrived, notes = taken(
        tmp_path, ("a.py", "1"), ("a.py", "2"), ("A.py", "3"), ("a.py/b", "4"), ("a.py/", "")
    )
    assert arrived == {"a.py": b"1", "A.py": b"3"}
    assert "second one with this name" in notes and "one file on other systems" in notes


def test_there_are_never_more_than_a_page_of_notes(tmp_path):
    names = [(f"<{n}>", "") for n in range(500)]
    notes = taken(tmp_path, ("server.py", "x"), *names)[1]
    assert len(notes.splitlines()) == intake.MAX_NOTES + 1 and "480 notes more" in notes


# ---- What is refused --------------------------------------------------------------------------------------


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    bomb = zip_of(tmp_path / "a.zip", ("server.py", "x"), ("zeros", bytes(30 << 20)))
    assert "bomb" in refusal(tmp_path, bomb)


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path, monkeypatch):
    file = zip_of(tmp_path / "a.zip", ("zeros", os.urandom(100_000)))
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    file.write_bytes(data)
    assert "broken" in refusal(tmp_path, file)


def test_more_than_the_limit_is_refused_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "MAX_BYTES", 100_000)
    assert "unpacked" in refusal(
        tmp_path, zip_of(tmp_path / "a.zip", *[(f"{n}", os.urandom(9000)) for n in range(12)])
    )
    monkeypatch.setattr(intake, "MAX_FILES", 10)
    assert "10 files" in refusal(tmp_path, zip_of(tmp_path / "b.zip", *[(f"{n}", "") for n in range(11)]))
    assert "10 files" in refusal(tmp_path, zip_of(tmp_path / "c.zip", *[(f"{n}", "") for n in range(200)]))
    monkeypatch.setattr(archives, "MAX_ARCHIVE", 10)
    assert "a zip of more than" in refusal(tmp_path, tmp_path / "b.zip")


def test_the_limit_is_five_thousand_files(tmp_path):
    """what has a name that is too long is not written, and counts as well"""
    files = [("x" * 251, "")] * 5000
    assert "more than 5000 files" in refusal(tmp_path, zip_of(tmp_path / "a.zip", *files, ("y", "")))
    assert set(taken(tmp_path, *files[1:], ("y", ""))[0]) == {"y"}


def test_links_count_with_the_size_of_their_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "MAX_BYTES", 100_000)
    links = [(f"link{n}", "big", 0o120777) for n in range(50)]
    assert "unpacked" in refusal(tmp_path, zip_of(tmp_path / "a.zip", ("big", os.urandom(9000)), *links))


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"Rar!\x1a\7\0", bytes(100), b"PK\5\6" + bytes(18)])
def test_what_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    told = refusal(tmp_path, tmp_path / "a.zip")
    assert "zip" in told or "no files" in told


def test_a_password_and_a_rare_packing_are_refused(tmp_path):
    file = zip_of(tmp_path / "a.zip", ("server.py", "x"))
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    assert "has a password" in refusal(tmp_path, tmp_path / "b.zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("server.py", "x")
    assert "not every system reads" in refusal(tmp_path, file)


def test_nothing_at_all_is_refused(tmp_path):
    assert "no files" in refusal(tmp_path, zip_of(tmp_path / "a.zip", ("a/", "")))
    assert "name a folder, a zip" in refusal(tmp_path, tmp_path / "missing")


@pytest.mark.parametrize(
    "url",
    ["file:///etc", "ext::sh -c id", "http://example.com/x", "git://example.com/x", "fd::17", "HTTP://x/y"],
)
def test_only_https_and_ssh_are_cloned(tmp_path, url):
    assert "cannot be cloned" in refusal(tmp_path, url)


def test_the_token_in_an_address_is_not_told(tmp_path):
    told = refusal(tmp_path, "https://ada:ghp_secret@127.0.0.1:1/x.git")
    assert "secret" not in told and "127.0.0.1:1/x.git" in told


def test_a_folder_that_holds_something_is_not_written_into(tmp_path):
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "mine").write_text("x")
    with pytest.raises(FileExistsError):
        fetch(zip_of(tmp_path / "a.zip", ("server.py", "x")), tmp_path / "into")
    assert (tmp_path / "into" / "mine").read_text() == "x"


# ---- Whatever it is ---------------------------------------------------------------------------------------

part = st.sampled_from(
    ["..", ".", "", "a", "A", "b", "link", "C:", "\\", "..\\", "\x1b", "é", "e\u0301", "x" * 200]
)
name = st.one_of(st.lists(part, min_size=1, max_size=5).map("/".join), st.text(min_size=1, max_size=20))
mode = st.sampled_from([0, 0o100644, 0o104777, 0o040755, 0o120777, 0o020666, 0o010644])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            name, st.one_of(st.binary(max_size=20), name.map(lambda n: n.encode("utf-8", "ignore"))), mode
        ),
        max_size=8,
    )
)
def test_nothing_is_ever_written_outside_whatever_a_zip_holds(entries):
    with tempfile.TemporaryDirectory() as around, warnings.catch_warnings(action="ignore"):
        outside = Path(around)
        inner = outside / "1" / "2" / "3"
        inner.mkdir(parents=True)
        file = zip_of(outside / "a.zip", *entries)
        try:
            got = fetch(file, inner / "into")
        except SubmissionError as refused:
            assert not (inner / "into").exists() and str(refused) == visible(str(refused))
        else:
            assert isinstance(got, Submission) and files_of(got.root)
            assert all(note == visible(note) and "\n" not in note for note in got.notes)
            got.root.resolve().relative_to(inner / "into")
        outside_now = [str(one) for one in outside.rglob("*") if inner / "into" not in (one, *one.parents)]
        assert sorted(outside_now) == sorted(map(str, [file, outside / "1", outside / "1" / "2", inner]))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300))
def test_a_damaged_zip_is_taken_or_refused_and_nothing_else(damage, at):
    with tempfile.TemporaryDirectory() as around:
        file = zip_of(Path(around, "a.zip"), ("a/server.py", "x" * 50), ("a/b", "y" * 50, 0o120777))
        data = bytearray(file.read_bytes())
        data[at : at + len(damage)] = damage
        file.write_bytes(data)
        try:
            files_of(fetch(file, Path(around, "into")).root)
        except SubmissionError as refused:
            assert not Path(around, "into").exists() and str(refused) == visible(str(refused))


@given(st.text())
def test_a_name_is_fit_for_a_file_name_and_a_page(text):
    made = name_of(text)
    assert 0 < len(made) <= 80 and made == visible(made) and not set(made) & set("/\\<>&\"' \n:*?|")
    assert made not in (".", "..") and made.encode()
