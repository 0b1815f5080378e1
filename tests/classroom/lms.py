"""A fake class as Moodle and Canvas let one download it, half of it odd; what becomes of each is known."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

SERVER = "print('hello')\n"
NO_SERVER = "no server was found"
FOUND = ""  # taken in, with a server
MAX_FILES = 500  # what a test sets the limit to: nine archives with thousands of files take half a minute


def zipped(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as packed:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


GOOD = zipped({"block5/server.py": SERVER, "block5/models/a.pkl": "x"})
# {what is odd: (name of the uploaded file, its content, the start of why it cannot be graded or FOUND)}
ODD = {
    "a zip in the zip": ("block5.zip", zipped({"work.zip": GOOD}), FOUND),
    "a tar.gz": ("block5.tar.gz", tarred({"block5/server.py": SERVER}), FOUND),
    "a tar called zip": ("block5.zip", tarred({"server.py": SERVER}), FOUND),
    "a colon in the folder": ("block5.zip", zipped({"Abgabe 12:11/server.py": SERVER}), FOUND),
    "a space after the folder": ("block5.zip", zipped({"block5 /server.py": SERVER}), FOUND),
    "a report beside it": ("b.zip", zipped({"Bericht.pdf": "%PDF", "work/server.py": SERVER}), FOUND),
    "in src": ("b.zip", zipped({"src/server.py": SERVER, "deploy/x.service": "x"}), FOUND),
    "in backend": ("b.zip", zipped({"backend/app/main.py": "app = FastAPI()\n"}), FOUND),
    "from a Mac": ("b.zip", zipped({"b/server.py": SERVER, "__MACOSX/b/._server.py": "x"}), FOUND),
    "a lone server": ("server.py", SERVER.encode(), FOUND),
    "an environment": (
        "b.zip",
        zipped({"server.py": SERVER} | {f"venv/lib/{n}.py": "x" for n in range(550)}),
        FOUND,
    ),
    "many files": (
        "b.zip",
        zipped({"server.py": SERVER} | {f"work/my-env/{n}.py": "x" for n in range(550)}),
        f"more than {MAX_FILES} files and folders, most of it in work/my-env/: hand in your own work only",
    ),
    "broken": ("b.zip", GOOD[:-60], "it is not a zip, or a broken one"),
    "an empty rar": ("b.rar", b"Rar!\x1a\x07\x00", "the archive is broken"),
    "a bomb": ("b.zip", zipped({"server.py": SERVER, "zeros": bytes(30 << 20)}), "the zip is a bomb"),
    "a text file": ("b.zip", zipped({"main.py.txt": SERVER}), f"{NO_SERVER} (looked for"),
    "a page": ("onlinetext.html", b"<p>sorry</p>", f"{NO_SERVER} (looked for"),
    "two servers": ("b.zip", zipped({"v1/server.py": SERVER, "v2/server.py": SERVER}), "there are 2 servers"),
    "nothing": ("b.zip", zipped({}), "there are no files in it"),
    "a password": (
        "b.zip",
        GOOD.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"),
        "the zip has a pass",
    ),
}


def _placed(folder: Path, shape: str, student: str, login: str, number: int, name: str) -> tuple[str, Path]:
    """What a student is called in a download of this shape, and where their file of this name lies.
    student: for Moodle; login: for Canvas, which adds _LATE to it."""
    if shape == "canvas":
        who = f"{login.removesuffix('_LATE')}_{100 + number}"
        return who, folder / f"{login}_{100 + number}_{9000 + number}_{name}"
    who = f"{student}_{4000 + number}"
    told = f"{who}_assignsubmission_file_"
    file = folder / told / name if shape == "moodle" else folder / f"{told}{name}"
    file.parent.mkdir(exist_ok=True)
    return who, file


def make_class(folder: Path, count: int, shape: str) -> dict[str, str]:
    """Write a download of so many students; returns {student: FOUND or the start of why not}.

    shape: "moodle" (a folder a student), "flat" (Moodle without folders) or "canvas". Every second is odd.
    """
    folder.mkdir(parents=True)
    odd, known = list(ODD.values()), {}
    for number in range(count):
        name, data, why = odd[number // 2 % len(odd)] if number % 2 else ("block5.zip", GOOD, FOUND)
        login, late = f"lovelaceada{number:03}", "_LATE" if number % 3 else ""
        who, file = _placed(folder, shape, f"Ada Ö. Lovelace {number:03}", f"{login}{late}", number, name)
        file.write_bytes(data)
        # where the archive lies in a folder, it is named with its file
        known[who] = f"{name}: {why}" if why and shape == "moodle" and _is_refused_whole(why) else why
    (folder / ".DS_Store").touch()
    (folder / "roster.csv").write_text("name\nAda\n")
    (folder / "linked").symlink_to(folder)
    with (folder / "huge.zip").open("wb") as file:
        file.truncate(12 << 30)
    os.mkfifo(folder / "pipe")
    known |= {
        "roster.csv (handed in)": "it is neither a folder nor an archive",
        "linked": "linked is a link",
        "huge": "a zip of more than 50 MiB",
        "pipe": "pipe is neither a file nor a folder",
    }
    return known


def as_download(folder: Path, students: dict[str, Path], shape: str) -> dict[str, str]:
    """Pack submissions as a download of this shape, every second one oddly; returns {student there: here}."""
    folder.mkdir(parents=True)
    names = {}
    for number, (student, source) in enumerate(students.items()):
        files = {
            path.relative_to(source).as_posix(): path.read_bytes()
            for path in sorted(source.rglob("*"))
            if path.is_file()
        }
        ways = {  # of packing it
            "block5.zip": lambda files=files: zipped(files),
            "block5.tar.gz": lambda files=files: tarred({f"block5 /{name}": files[name] for name in files}),
            "Block5.zip": lambda files=files: zipped({f"Abgabe 12:11/{name}": files[name] for name in files}),
            "again.zip": lambda files=files: zipped({"Bericht.pdf": "%PDF", "block5.zip": zipped(files)}),
        }
        name = list(ways)[(number // 2 % 3 + 1) if number % 2 else 0]
        who, file = _placed(folder, shape, student, f"student{number:03}_LATE", number, name)
        file.write_bytes(ways[name]())
        names[who] = student
    return names


def _is_refused_whole(why: str) -> bool:
    return not why.startswith((NO_SERVER, "there are"))
