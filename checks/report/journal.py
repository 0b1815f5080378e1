"""The journal of a grading: every result is on disk the moment it is known, so that a crash loses nothing."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import jsonschema_rs

from checks.kit.core import Result
from checks.report.model import build, clean, now

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas" / "checks" / "report.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)


class BadJournal(Exception):
    """A journal that no report can be made of. The message is a sentence with the remedy."""


class Journal:
    """The results of a grading that runs, one JSON line each, on disk before the next check begins.

    header: {"url": …, "seed": …, "started": ISO 8601, "versions": {…}, "planned": [{"name", "number",
    "milestone", "sentence", "points", "stretch"}, …]}. Opening it makes an earlier journal empty.
    """

    def __init__(self, path: Path, header: dict):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w", encoding="ascii", newline="\n")
        self._append({"pixelwise_report": 1, **header})

    def write(self, result: Result) -> None:
        self._append(asdict(result))

    def finish(self) -> None:
        """Say that the grading came to its end; nothing can be written after that."""
        self._append({"finished": now()})
        self.file.close()

    def _append(self, entry: dict) -> None:
        # ASCII, so that a line torn anywhere is still text and a lone surrogate is no problem
        self.file.write(json.dumps(entry, ensure_ascii=True) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def read(path: Path) -> dict:
    """The report of a journal, also of one that a crash cut off. Raises BadJournal, or OSError."""
    entries = _entries(path)
    header = entries[0] if entries else None
    if not isinstance(header, dict) or header.get("pixelwise_report") != 1:
        raise BadJournal(f"{path} does not begin like a journal of the checks: grade again")
    try:
        finished = [entry["finished"] for entry in entries[1:] if "finished" in entry]
        results = [Result(**entry) for entry in entries[1:] if "finished" not in entry]
        report = build(header, results, finished[-1] if finished else None)
        VALIDATOR.validate(report)
    except (TypeError, KeyError, AttributeError, ValueError, jsonschema_rs.ValidationError) as error:
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        raise BadJournal(f"{path} is damaged ({clean(message)[:200]}): grade again") from None
    return report


def _entries(path: Path) -> list:
    if not path.exists():
        raise BadJournal(f"{path} is missing: name the folder of a grading")
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    entries = []
    for place, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            if place < len(lines):
                raise BadJournal(f"{path} is damaged in line {place}: grade again") from None
    return entries  # without the last line, if a crash tore it
