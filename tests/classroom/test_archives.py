"""Archives of every kind are unpacked by what they are, with the limits of a zip; what cannot be is named."""

import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.classroom import archives, intake
from checks.classroom.archives import SubmissionError
from checks.classroom.intake import fetch
from checks.classroom.limits import visible

libarchive = pytest.importorskip("libarchive", reason="apt-get install libarchive13")
ROOT = Path(__file__).resolve().parents[2]
SERVER = {"ada/server.py": b"x" * 40, "ada/models/a.pkl": b"y"}


def made(path: Path, files: dict[str, bytes] = SERVER, kind: str = "") -> Path:
    """An archive with these files, of the kind that the name (or kind) says."""
    kind = kind or path.name.partition(".")[2]
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
    elif kind == "rar":
        path.write_bytes(rar(files))
    else:
        form, filter_ = {"7z": ("7zip", None), "tar": ("ustar", None)}.get(kind, ("ustar", kind[4:]))
        filter_ = {"gz": "gzip", "bz2": "bzip2", "zst": "zstd"}.get(filter_, filter_)
        with libarchive.file_writer(str(path), form, filter_) as packed:
            for name, content in files.items():
                packed.add_file_from_memory(name, len(content), content)
    return path


def rar(files: dict[str, bytes]) -> bytes:
    """A RAR 5 archive whose files are stored, as its technical note describes it: no free tool writes one."""

    def number(value: int) -> bytes:
        """A vint: seven bits a byte, the lowest first."""
        rest = [value >> shift & 127 for shift in range(0, max(1, value.bit_length()), 7)]
        return bytes([*(one | 128 for one in rest[:-1]), rest[-1]])

    def block(head: bytes, data: bytes = b"") -> bytes:
        head = number(len(head)) + head
        return struct.pack("<I", zlib.crc32(head)) + head + data

    made = b"Rar!\x1a\x07\x01\x00" + block(number(1) + number(0) + number(0))
    for name, content in files.items():
        head = [2, 2, len(content), 4, len(content), 0o100644]  # a file with data and a CRC-32
        told = b"".join(map(number, head)) + struct.pack("<I", zlib.crc32(content))
        made += block(told + number(0) + number(1) + number(len(name)) + name.encode(), content)
    return made + block(number(5) + number(0) + number(0))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def refusal(tmp_path: Path, source) -> str:
    with pytest.raises(SubmissionError) as refused:
        fetch(source, tmp_path / "into")
    assert not (tmp_path / "into").exists()
    return str(refused.value)


KINDS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "7z", "rar")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_arrives_whatever_packed_it_and_whatever_it_is_called(tmp_path, kind):
    for number, name in enumerate((f"ada.{kind}", "block5.zip")):  # a tar called .zip
        got = fetch(made(tmp_path / name, kind=kind), tmp_path / f"into{number}")
        assert files_of(got.root) == {"server.py": b"x" * 40, "models/a.pkl": b"y"} and got.notes == ()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_in_a_folder_or_in_an_archive_is_unpacked_too(tmp_path, kind):
    (tmp_path / "ada").mkdir()
    inner = made(tmp_path / "ada" / f"work.{kind}")
    assert set(files_of(fetch(tmp_path / "ada", tmp_path / "into1").root)) == {"server.py", "models/a.pkl"}
    outer = made(tmp_path / "ada.zip", {"top/work." + kind: inner.read_bytes(), "top/Bericht.pdf": b"%PDF"})
    assert set(files_of(fetch(outer, tmp_path / "into2").root)) == {"server.py", "models/a.pkl"}
    (tmp_path / "moodle").mkdir()
    outer.rename(tmp_path / "moodle" / "block5.zip")  # a folder a student, and a zip in the zip in it
    assert set(files_of(fetch(tmp_path / "moodle", tmp_path / "into3").root)) == {"server.py", "models/a.pkl"}


def test_an_archive_beside_a_server_stays_as_it_is(tmp_path):
    data = made(tmp_path / "data.zip").read_bytes()
    got = fetch(made(tmp_path / "ada.zip", {"server.py": b"x", "data.zip": data}), tmp_path / "into")
    assert files_of(got.root) == {"server.py": b"x", "data.zip": data}


def test_several_files_of_a_student_are_one_submission(tmp_path):
    (tmp_path / "Cy_3_server.py").write_text("x")
    (tmp_path / "Cy_3_work.zip").write_bytes(made(tmp_path / "a.zip", {"labs/1.ipynb": b"{}"}).read_bytes())
    parts = [("server.py", tmp_path / "Cy_3_server.py"), ("work.zip", tmp_path / "Cy_3_work.zip")]
    assert set(files_of(fetch(parts, tmp_path / "into").root)) == {"server.py", "work.zip"}
    parts = [("main.py", tmp_path / "Cy_3_server.py"), ("more/x.py", tmp_path / "Cy_3_server.py")]
    assert set(files_of(fetch(parts, tmp_path / "into2").root)) == {"main.py", "more/x.py"}


@pytest.mark.parametrize(
    ("name", "home"),
    [("Abgabe 12:11", "Abgabe 12_11"), ("block5 ", "block5"), ("a|b?", "a_b_")],
)
def test_a_folder_whose_name_some_systems_refuse_is_called_otherwise(tmp_path, name, home):
    got = fetch(made(tmp_path / "ada.zip", {f"{name}/server.py": b"x"}), tmp_path / "into")
    assert files_of(tmp_path / "into") == {f"{home}/server.py": b"x"} and got.root.name == home
    assert got.notes == (f"the folder {name!r} is {home!r} here: some systems refuse its name",)


# ---- What is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_archive_is_named_also_where_it_lies_in_a_folder(tmp_path, kind):
    (tmp_path / "ada").mkdir()
    file = made(tmp_path / "ada" / f"work.{kind}", {"server.py": os.urandom(5000)})
    file.write_bytes(file.read_bytes()[:-4000])
    assert f"work.{kind}: " in (told := refusal(tmp_path, tmp_path / "ada")) and "broken" in told
    assert archives.AGAIN in refusal(tmp_path, file)


def test_a_server_beside_a_damaged_archive_is_taken_with_a_note(tmp_path):
    (tmp_path / "ada").mkdir()
    made(tmp_path / "ada" / "b.zip")
    (tmp_path / "ada" / "a.rar").write_bytes(b"Rar!\x1a\x07\x00")
    got = fetch(tmp_path / "ada", tmp_path / "into")
    assert set(files_of(got.root)) == {"server.py", "models/a.pkl"}
    assert "left out a.rar: the archive is broken" in got.notes[0]


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "7z"])
def test_a_bomb_is_refused_whatever_packed_it(tmp_path, kind):
    assert "bomb" in refusal(tmp_path, made(tmp_path / f"a.{kind}", {"zeros": bytes(12 << 20)}))
    # also where nobody would have read it
    packages = {".venv/zeros": bytes(12 << 20), "server.py": b"x"}
    assert "bomb" in refusal(tmp_path, made(tmp_path / f"b.{kind}", packages))


@pytest.mark.parametrize("kind", ["tar.gz", "7z", "rar"])
def test_the_limits_of_a_zip_are_those_of_every_archive(tmp_path, monkeypatch, kind):
    many = made(tmp_path / f"a.{kind}", {f"{n}": os.urandom(9000) for n in range(12)})
    monkeypatch.setattr(intake, "MAX_BYTES", 100_000)
    assert "unpacked" in refusal(tmp_path, many)
    monkeypatch.setattr(intake, "MAX_FILES", 10)
    assert "10 files" in refusal(tmp_path, made(tmp_path / f"b.{kind}", {f"{n}": b"" for n in range(11)}))
    monkeypatch.setattr(archives, "MAX_ARCHIVE", 10)
    assert "of more than 10 bytes" in refusal(tmp_path, many)


def test_an_archive_in_an_archive_has_no_limits_of_its_own(tmp_path, monkeypatch):
    inner = made(tmp_path / "work.zip", {f"{n}": os.urandom(9000) for n in range(12)}).read_bytes()
    outer = made(tmp_path / "a.zip", {"work.zip": inner})
    monkeypatch.setattr(intake, "MAX_BYTES", len(inner) + 20_000)  # no longer counted once it is unpacked
    assert len(files_of(fetch(outer, tmp_path / "fits").root)) == 12
    monkeypatch.setattr(intake, "MAX_BYTES", len(inner) + 100)
    assert "unpacked" in refusal(tmp_path, made(tmp_path / "b.zip", {"work.zip": inner, "x": bytes(9000)}))


def test_links_and_names_that_lead_out_are_left_out_of_a_tar(tmp_path):
    file = tmp_path / "a.tar.gz"
    with tarfile.open(file, "w:gz") as packed:
        for name, kind, target in [
            ("./top/server.py", tarfile.REGTYPE, ""),
            ("top/again.py", tarfile.LNKTYPE, "top/server.py"),
            ("top/beside.py", tarfile.SYMTYPE, "server.py"),
            ("top/shadow", tarfile.SYMTYPE, "/etc/shadow"),
            ("top/passwd", tarfile.LNKTYPE, "/etc/passwd"),
            ("top/pipe", tarfile.FIFOTYPE, ""),
            ("top/null", tarfile.CHRTYPE, ""),
            ("../evil", tarfile.REGTYPE, ""),
            ("/evil", tarfile.REGTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, 0o6777
            packed.addfile(info)
    got = fetch(file, tmp_path / "into")
    assert files_of(got.root) == dict.fromkeys(["server.py", "again.py", "beside.py"], b"")
    assert len(got.notes) == 6
    assert (got.root / "server.py").stat().st_mode & 0o7777 == 0o755


def test_no_format_that_reads_other_files_is_known(tmp_path):
    """mtree names files of the machine that unpacks it."""
    (tmp_path / "secret").write_text("secret")
    file = tmp_path / "a.tar"
    file.write_text(f"#mtree\nserver.py type=file size=6 contents={tmp_path}/secret\n")
    assert "not a zip" in refusal(tmp_path, file)
    packed = tmp_path / "b.tar.gz"
    subprocess.run(["gzip", "-c", file], check=True, stdout=packed.open("wb"))
    assert "broken" in refusal(tmp_path, packed)


def test_where_most_of_too_much_is_it_is_said(tmp_path, monkeypatch):
    files = {f"ada/my-env/lib/{n}.py": os.urandom(2000) for n in range(30)} | {"ada/server.py": b"x"}
    monkeypatch.setattr(intake, "MAX_FILES", 20)
    assert "20 files and folders, most of it in ada/my-env/: hand in your own work only" in refusal(
        tmp_path, made(tmp_path / "a.tar.gz", files)
    )
    monkeypatch.setattr(archives, "MAX_ARCHIVE", 50_000)
    assert "48.83 KiB, most of it in ada/my-env/: hand in" in refusal(
        tmp_path, made(tmp_path / "a.zip", files)
    )


def test_without_the_library_zips_are_taken_and_the_rest_says_what_is_missing(tmp_path):
    made(tmp_path / "a.zip"), made(tmp_path / "b.tar.gz")
    program = """
import sys
from pathlib import Path
sys.modules["libarchive"] = None
from checks.classroom.intake import SubmissionError, fetch
print(fetch(sys.argv[1] + "/a.zip", Path(sys.argv[1], "x")).root.name)
try:
    fetch(sys.argv[1] + "/b.tar.gz", Path(sys.argv[1], "y"))
except SubmissionError as problem:
    print(problem, problem.again)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    name, told = done.stdout.splitlines()
    assert name == "ada" and told.endswith(" apt-get install libarchive13, or unpack it by hand True")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=60), st.floats(0, 1))
def test_a_damaged_archive_is_taken_or_refused_and_nothing_else(kind, damage, share):
    with tempfile.TemporaryDirectory() as around:
        file = made(Path(around, f"a.{kind}"))
        data = bytearray(file.read_bytes())
        at = int(share * len(data))
        data[at : at + len(damage)] = damage
        file.write_bytes(data)
        try:
            assert files_of(fetch(file, Path(around, "into")).root)
        except SubmissionError as refused:
            assert not Path(around, "into").exists() and str(refused) == visible(str(refused))
