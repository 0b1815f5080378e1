"""The report in all formats, as files."""

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path

from checks.report.gradescope import gradescope
from checks.report.junit import junit
from checks.report.markdown import markdown
from checks.report.page import html


def write_all(report: dict, folder: Path, remarks: tuple[str, ...] = ()) -> list[Path]:
    """Write the report in all formats; returns the files, each whole or not there. Raises OSError.
    remarks: sentences that a reader must know first, on one line each (`clean`)."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.json": to_json(report),
        "report.md": markdown(report, remarks),
        "report.html": html(report, remarks),
        "junit.xml": junit(report),
        "results.json": to_json(gradescope(report, remarks)),
    }
    return [_write(folder / name, text) for name, text in texts.items()]


def prepare(folder: Path) -> None:
    """Make the folder, and see that it can be written, before hours of work depend on it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def cannot_write(problem: OSError, folder: Path) -> str:
    """One sentence on why files are not there, and what to do about it."""
    place = f"{problem.filename or folder}: {problem.strerror or problem}"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{place}: make room there, or name a folder on another disk"
    return f"{place}: name a folder that you may write"


def to_json(value: dict) -> str:
    """Indented, with a line end, and every character as it is."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    return path
