"""The zip with everybody's submissions that Moodle or Canvas lets one download, as it is.

What an LMS packed is told from what a student packed by its names, and unpacked as `unzip` does it, with the
times of the files. What the students put in it is looked at later, an entry at a time (intake.py).
"""

import contextlib
import os
import shutil
import time
import zipfile
from pathlib import Path

from checks.classroom.archives import BROKEN
from checks.classroom.handed_in import CANVAS, MOODLE, Usage, is_clutter
from checks.classroom.limits import size, visible


def is_download(file: Path) -> bool:
    """Whether this is a zip in which an LMS named everything after students."""
    if not file.is_file() or not zipfile.is_zipfile(file):
        return False
    with contextlib.suppress(*BROKEN, OSError, ValueError), zipfile.ZipFile(file) as opened:
        names = {name.partition("/")[0] for name in opened.namelist()} - {""}
        names = {name for name in names if not is_clutter(name)}
        return bool(names) and any(all(map(form.fullmatch, names)) for form in (MOODLE, CANVAS))
    return False


def unpacked(file: Path, into: Path) -> Path:
    """The folder of a class, from an LMS's zip. into: a folder with nothing in it. Raises Usage where it
    cannot be unpacked, or there is no room for it."""
    try:
        with zipfile.ZipFile(file) as opened:
            whole, free = sum(info.file_size for info in opened.infolist()), shutil.disk_usage(into).free
            if whole > free // 2:
                raise Usage(
                    f"{file} holds {size(whole)}, and {into} has {size(free)} left: set TMPDIR to a folder "
                    "on a larger disk, or unpack it yourself and name the folder"
                )
            for info in opened.infolist():
                written = opened.extract(info, into)
                if not info.is_dir():
                    written_at = time.mktime((*info.date_time, 0, 0, -1))  # a zip knows local time only
                    os.utime(written, (written_at, written_at))
    except (*BROKEN, OSError, ValueError, OverflowError) as problem:
        raise Usage(
            f"{file} cannot be unpacked ({visible(str(problem))[:200]}): download it again, or unpack it "
            "yourself and name the folder"
        ) from None
    return into
