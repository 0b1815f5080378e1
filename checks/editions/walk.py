"""The student's way through the labs, in the order of the course: what is written when, and if it counts.

An exercise is filled with the solution of the instructor edition before its lab is run, and a function of
server.py in the moment in which its lab asks for it. So every lab meets a server that knows no more than was
taught by then.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from checks.editions.job import Job
from checks.editions.strip import functions
from checks.editions.tables import ASKED, MOMENTS, NEEDS_PROD, ON_PURPOSE, ReleaseError

RUN = Path(__file__).with_name("run_lab.py")
NO_PROD = {"PROD_HOST": "255.255.255.255"}  # the address of no machine: lab 04 has to cope, and harms nobody
CHECK = re.compile(r"(?m)^(expect|check)\(")
BAD = re.compile(r"(?m)^[✗?] .*")

# ---- What is written ------------------------------------------------------------------------------------


def work(student: Path, instructor: Path, problems: list[str]) -> Iterator[Job]:
    """Work all labs in the folder `student`: a job for each, in order, up to the first in which something is
    not as it has to be: then `problems` says what."""
    for lab in sorted((student / "labs").glob("*.ipynb")):
        fill(lab, instructor / "labs" / lab.name)
        writes = functions_of(lab, student / "server.py", instructor / "server.py")
        machine = ", without its machine" if any(place[:2] == lab.name[:2] for place in NEEDS_PROD) else ""
        job = run_lab(f"worked labs/{lab.name}{machine}", lab, writes)
        yield job
        problems += stuck(lab, job.text())
        if problems:
            return


def run_lab(title: str, lab: Path, writes: dict | None = None, **environ: str) -> Job:
    """A job that runs a lab of a kit, with `writes` for run_lab.py. environ: PROD_HOST, if there is one."""
    command = ["-P", RUN, f"labs/{lab.name}", json.dumps(writes or {})]
    return Job(title, command, lab.parents[1], **NO_PROD | environ)


def fill(lab: Path, ours: Path) -> None:
    """Write the solutions of our notebook into the exercises of the student's, and what the text asks for."""
    solved = {cell["id"]: cell["source"] for cell in cells_of(ours) if "solution" in _tags(cell)}
    notebook = json.loads(lab.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        place = f"{lab.name[:2]}.{cell['id']}"
        if "exercise" in _tags(cell):
            if f"{cell['id']}-solution" not in solved:
                raise ReleaseError(f"{ours.name} has no solution of its exercise {cell['id']}")
            cell["source"] = solved[f"{cell['id']}-solution"]
        elif place in ASKED:
            old, new = ASKED[place]
            if old not in (source := "".join(cell["source"])):
                raise ReleaseError(f"{place} has no {old}: correct ASKED in checks/editions/tables.py")
            cell["source"] = source.replace(old, new)
    lab.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def functions_of(lab: Path, server: Path, ours: Path) -> dict[str, list[str]]:
    """The functions of server.py that this lab asks for: {cell: [file, the open gate, our function]}."""
    writes, ids = {}, {cell["id"] for cell in cells_of(lab)}
    for name, (at, cell) in MOMENTS.items():
        if at == lab.name[:2]:
            if cell not in ids:
                raise ReleaseError(
                    f"{lab.name} has no cell {cell}: correct MOMENTS in checks/editions/tables.py"
                )
            writes[cell] = [str(server), _function(name, server), _function(name, ours)]
    return writes


def _function(name: str, file: Path) -> str:
    source = file.read_text(encoding="utf-8")
    nodes = dict(functions(ast.parse(source)))
    return ast.get_source_segment(source, nodes[name], padded=True)


def cells_of(lab: Path) -> list[dict]:
    return json.loads(lab.read_text(encoding="utf-8"))["cells"]


def _tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


# ---- Whether it counts ----------------------------------------------------------------------------------


def stuck(lab: Path, told: str, machine: bool = False) -> list[str]:
    """What is wrong with a lab that was worked: each cell with a check ends in ✓ and nothing else, but those
    that fail on purpose, and those that need a machine where there is none."""
    cells, problems = _read(lab, told)
    for cell in cells_of(lab):
        place, printed = f"{lab.name[:2]}.{cell['id']}", cells.get(cell["id"])
        if printed is None:
            continue
        is_check, bad = CHECK.search("".join(cell["source"])), BAD.search(printed)
        if place in NEEDS_PROD and not machine:
            right = "✓" not in printed or bad
            wanted = "cannot be passed without a machine"
        elif place in ON_PURPOSE:
            right, wanted = bad, "has to fail: see ON_PURPOSE in checks/editions/tables.py"
        elif is_check:
            right, wanted = "✓" in printed and not bad, "does not end with ✓"
        else:
            right = not bad or not machine and any(one[:2] == lab.name[:2] for one in NEEDS_PROD)
            wanted = "goes wrong"
        if not right:
            problems.append(_about(lab, cell["id"], wanted, printed))
    return problems


def given_away(lab: Path, told: str) -> list[str]:
    """What is wrong with a lab that was run with nothing written: an error, or an exercise that is passed."""
    cells, problems = _read(lab, told)
    exercises = {cell["id"] for cell in cells_of(lab) if "exercise" in _tags(cell)}
    for cell, printed in cells.items():
        if "✓" in printed and (cell.removesuffix("-check") in exercises or cell.startswith("yours-")):
            problems.append(_about(lab, cell, "says ✓ with nothing written", printed))
    return problems


def unsolved(student: Path, machine: bool = False) -> list[str]:
    """What progress() does not count once all labs that are there were worked: the names of exercises."""
    file, asked = student / ".progress.json", set()
    kept = json.loads(file.read_text(encoding="utf-8"))["exercises"] if file.exists() else []
    for lab in sorted((student / "labs").glob("*.ipynb")):
        for cell in cells_of(lab):
            if machine or f"{lab.name[:2]}.{cell['id']}" not in NEEDS_PROD:
                asked |= set(re.findall(r'exercise="([\w.-]+)"', "".join(cell["source"])))
    return sorted(asked - set(kept))


def _read(lab: Path, told: str) -> tuple[dict[str, str], list[str]]:
    """What each cell printed, by its ID, and what is wrong with the run itself."""
    try:
        run = json.loads(told.splitlines()[-1])
        cells, stopped = run["cells"], run["stopped"]
    except (ValueError, IndexError, KeyError, TypeError):
        return {}, [f"labs/{lab.name} could not be run:\n{told[-2000:]}"]
    if not stopped:
        return cells, []
    last = list(cells)[-1] if cells else "(none)"
    return cells, [_about(lab, last, "is an error cell", stopped)]


def _about(lab: Path, cell: str, what: str, printed: str) -> str:
    lines = "".join(f"\n    {line}" for line in printed.splitlines()[-12:] or ["(nothing)"])
    return f"labs/{lab.name}, cell {cell}: {what}. It printed:{lines}"
