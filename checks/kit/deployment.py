"""Where the service lives on a production machine of the course, and what of it is not to be seen."""

import os
import re

SERVICE = "pixelwise.service"
FOLDER = "/opt/pixelwise"
VENV = f"{FOLDER}/.venv/"
ENV = f"{FOLDER}/.env"
LONGEST_PAUSE = 5  # seconds that RestartSec may be


def is_path(path: str, wanted: str) -> bool:
    """Whether an absolute path names the same place as `wanted`."""
    return path.startswith("/") and os.path.normpath(path) == wanted


def is_in_venv(path: str) -> bool:
    """Whether a program is one of the service's own virtual environment."""
    return os.path.normpath(path).startswith(VENV)


def sets_the_key(text: str) -> bool:
    """Whether a unit file gives a key away: any in an assignment, what looks like a real one in a comment."""
    for line in text.split("\n"):
        comment = line.lstrip().startswith(("#", ";"))
        if re.search(r"SECRET_API_KEY *= *[\"']?[\w.+/=-]" + ("{12}" if comment else ""), line):
            return True
    return False
