"""Runs one lab, as a process of its own in the folder of a kit: `python -P run_lab.py labs/LAB.ipynb WRITES`.

WRITES: JSON, {cell: [file, old text, new text]}: what is changed in a file just before that cell is run.
Prints JSON: {"cells": {cell: what it printed}, "stopped": why the last of them was the last, or ""}.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

COLOURS = re.compile(r"\x1b\[[\d;]*m")


def run(lab: Path, writes: dict[str, list[str]], seconds: int = 300) -> dict:
    """Run its cells in order, until one of them fails; `seconds` is the longest that one may take."""
    notebook, reached, stopped = nbformat.read(lab, as_version=4), [], ""

    def before(cell, **_):
        reached.append(cell)
        if cell.id in writes:
            file, old, new = writes[cell.id]
            text = Path(file).read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise ValueError(f"{file} is no longer as it was when the lab began")
            Path(file).write_text(text.replace(old, new), encoding="utf-8")

    client = NotebookClient(notebook, timeout=seconds, kernel_name="python3", on_cell_execute=before)
    try:
        client.execute(cwd=str(lab.parent))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as problem:
        stopped = COLOURS.sub("", str(problem)).strip()[-600:]
    return {"cells": {cell.id: _printed(cell) for cell in reached}, "stopped": stopped}


def _printed(cell) -> str:
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(text.strip("\n") for text in texts if text)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), json.loads(sys.argv[2]))))
