"""Takes a submission in: copies a folder, unpacks a zip or clones a repository."""

import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path


class SubmissionError(Exception):
    """Nothing could be taken in; says what is wrong and what the student can do."""


@dataclass(frozen=True)
class Submission:
    name: str
    root: Path  # where server.py would be
    notes: tuple[str, ...] = ()  # what was left out, and why


def fetch(source: str | Path, into: Path) -> Submission:
    """Copy the submission to the new folder `into`. Raises SubmissionError."""
    path = Path(source)
    if path.is_dir():
        shutil.copytree(path, into)
    elif path.is_file():
        zipfile.ZipFile(path).extractall(into)
    else:
        subprocess.run(["git", "clone", "--depth=1", str(source), into], check=True)
    return Submission(path.stem, into)
