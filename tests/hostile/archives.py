"""Submissions that are dangerous to unpack."""

import os
import random
import stat
import zipfile
from pathlib import Path

from hostile import DEAD, HONEST, hostile


@hostile(HONEST, says="leads out of the folder")
def zip_slip(place):
    """names that lead out of the folder, in every spelling"""
    place.server()
    marker = place.targets.marker
    names = [
        "../evil.py",
        "a/../../evil.py",
        "../" * 20 + marker.lstrip("/"),
        marker,
        "C:\\evil.py",
        "..\\evil.py",
    ]
    place.zip(*((name, "STOLEN") for name in names))


@hostile(HONEST, says="a link to something")
def zip_with_links(place):
    """links to /etc/shadow, and one that leads out, with a file to be written through it"""
    place.server("""
for name in ("shadow", "out/evil", "out"):
    if os.path.lexists(HERE / name) and (HERE / name).is_file(): print("STOLEN:", (HERE / name).read_text())
""")
    marker = place.targets.marker
    place.zip(
        link("top/shadow", "/etc/shadow"),
        link("top/out", str(Path(marker).parent)),
        ("top/out/" + Path(marker).name, "STOLEN"),
        link("top/loop", "loop"),
    )


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, str]:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


@hostile(HONEST, says="a link to something")
def folder_with_links(place):
    """links in a folder: to /etc/shadow, to the root, to itself; and a pipe, which blocks whoever reads it"""
    place.server("""
for name in ("shadow", "root", "loop"):
    if os.path.exists(HERE / name): print("STOLEN:", name)
""")
    for name, target in {
        "shadow": "/etc/shadow",
        "root": "/",
        "loop": "loop",
        "n": place.targets.neighbour,
    }.items():
        (place.path / name).symlink_to(target)
    os.mkfifo(place.path / "pipe")


@hostile(DEAD, says="a bomb")
def zip_bomb(place):
    """more zeros than anybody may hand in, in next to no bytes"""
    place.server()
    file = place.zip()
    more = zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED, compresslevel=1)
    with more as packed, packed.open("top/zeros", "w") as opened:
        for _ in range(128):
            opened.write(bytes(1 << 20))


@hostile(DEAD, says="files and folders")
def zip_of_many_files(place):
    """more files than a file system likes"""
    place.server()
    place.zip(*((f"top/{n % 7}/{n}", "") for n in range(6000)))


@hostile(DEAD, says="a password")
def encrypted_zip(place):
    """a zip with a password, so that nobody can look inside"""
    place.server()
    file = place.zip()
    data = bytearray(file.read_bytes())
    at = data.find(b"PK\1\2")
    while at >= 0:
        data[at + 8] |= 1
        at = data.find(b"PK\1\2", at + 4)
    file.write_bytes(data)


@hostile(DEAD, says="zip")
def broken_zip(place):
    """a zip of which half got lost"""
    place.server()
    file = place.zip()
    file.write_bytes(file.read_bytes()[:2000])


@hostile(DEAD, says="zip")
def noise_that_is_called_a_zip(place):
    """random bytes"""
    place.path.with_name(f"{place.path.name}.zip").write_bytes(random.Random(1).randbytes(20_000))


@hostile(HONEST, says="second one with this name")
def zip_with_two_of_a_name(place):
    """the same names twice: one for the reader, one for the grader"""
    place.server()
    place.zip(("top/server.py", "print('STOLEN')"), ("top/SERVER.PY", ""), ("top/targets.py/x", ""))


@hostile(HONEST, says="left out")
def folder_of_odd_names(place):
    """names that are too long, too deep, not UTF-8, or steer a terminal"""
    place.server()
    place.write("x" * 200 + ".py")
    place.write("/".join("d" * 30) + "/deep.py")
    for name in (
        b"not-utf8-\xff\xfe",
        b"line\nbreak",
        b"\x1b]0;owned\x07",
        b"<img src=x onerror=alert(1)>",
        "‮yp".encode(),
    ):
        Path(os.fsdecode(os.fsencode(place.path) + b"/" + name)).touch()
