"""How long a lab takes: an estimate, computed from its notebook, so that no table of minutes can rot.

python labs/minutes.py                   # each lab, and what its minutes are made of
"""

import json
import sys
from pathlib import Path

WORDS_A_MINUTE = 150  # of prose, by somebody whose first language it may not be, and who tries to understand
CELL = 0.5  # a code cell: read it, have an idea of what it prints, run it, look
EXERCISE = 4  # and its check, with a hint or a second try
FUNCTION = 12  # of server.py: read what it shall do, write it, run its small tests, again
REFLECTION = 5  # three to six sentences
RECALL = 0.5  # a question at the end: answer, then open
LONGER = {"06.design": 10, "06.route": 15}  # exercises that are no small ones
WAITING = {"04": 4}  # for a machine: set up, break, reboot


def parts(lab: str, cells: list[dict]) -> dict[str, float]:
    """What the minutes of a lab, such as "03", are made of. cells: those of its notebook, its title aside."""
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and "solution" not in tags(cell)]
    exercises = [f"{lab}.{cell['id']}" for cell in code if "exercise" in tags(cell)]
    functions = [cell for cell in code if cell["id"].startswith("yours-") and cell["id"].endswith("-check")]
    return {
        "reading": sum(len(text.split()) for text in texts) / WORDS_A_MINUTE,
        "cells": CELL * len(code),
        "exercises": sum(LONGER.get(name, EXERCISE) for name in exercises),
        "functions": FUNCTION * len(functions),
        "reflections": REFLECTION * sum("reflection" in tags(cell) for cell in cells),
        "questions": RECALL * sum(text.count("<summary>") for text in texts),
        "waiting": WAITING.get(lab, 0),
    }


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def minutes(lab: str, cells: list[dict]) -> int:
    """The estimate for a lab, up to the next five minutes; cells as `parts` wants them."""
    return -int(-sum(parts(lab, cells).values()) // 5) * 5


def cells_of(file: Path) -> list[dict]:
    """The cells of a notebook, without the title: that is where the minutes stand."""
    return json.loads(file.read_text(encoding="utf-8"))["cells"][1:]


if __name__ == "__main__":
    for file in sorted(Path(__file__).parent.glob("[0-9][0-9]_*.ipynb")):
        lab, cells = file.name[:2], cells_of(file)
        made = ", ".join(f"{what} {of:.0f}" for what, of in parts(lab, cells).items() if of)
        sys.stdout.write(f"{file.stem}: {minutes(lab, cells)} ({made})\n")
