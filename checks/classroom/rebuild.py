"""Notebooks rebuilt: the instructor's cells in the instructor's order, found in a submission.

Of a student come only the sources of the cells tagged `exercise`, with what these need (an import at the top,
a helper), and the words of those tagged `reflection`; the outputs to compare with are the instructor's. So
nothing else that a student adds, copies, moves, retypes or tags has a say, nor in which order they ran it.
"""

import ast
import contextlib
import json
import os
import re
import stat
import textwrap
from collections.abc import Iterator
from pathlib import Path

from checks.classroom.cells import ANSWER, source_of, tags
from checks.classroom.needs import names_of, needed

LARGEST = 8 << 20  # bytes of a notebook
MOST_CELLS = 2000
LONGEST = 20_000  # characters of a source or an answer
MARKER = re.compile(r"#\s*[A-Z]+_[A-Z]")  # how each of nbval's begins
SHELL = re.compile(r"\s*%%(dev|practice|prod|bash|sh|script|system|sx)\b")  # magics of a cell of shell


# ---- What was handed in --------------------------------------------------------------------------------


class BadNotebook(Exception):
    """A file is no notebook that can be read; the message says why."""


def find(root: Path, name: str, notes: list[str]) -> Path:
    """The notebook of this name, or "01_… (1).ipynb", "01_…_Surname.ipynb", "01_….ipynb": in labs/, else
    wherever it is. Never through a link. Raises BadNotebook; notes get which of several it is."""
    stem = _plain(name.removesuffix(".ipynb"))
    ranked = []
    for path in regular_files(root, ".ipynb"):
        if path.suffix == ".ipynb" and ".ipynb_checkpoints" not in path.parts:
            theirs = _plain(path.stem)
            likeness = [path.name == name, stem in theirs, theirs.startswith(stem[:3])]  # "01_"
            if any(likeness):
                ranked.append((likeness.index(True), path.parent != root / "labs", len(path.parts), path))
    if not ranked:
        raise BadNotebook(f"{name} was not handed in")
    found = min(ranked)
    if found[3].name != name:
        notes.append(f"{found[3].name} was taken for {name}")
    if others := [path.relative_to(root).as_posix() for *_, path in sorted(ranked) if path != found[3]]:
        notes.append(f"there is more than one; not looked at: {', '.join(others)[:200]}")
    return found[3]


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", stem.lower())


def regular_files(root: Path, end: str = "") -> Iterator[Path]:
    """Every regular file below root whose name ends so; links are not followed."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in (".git", ".venv", "node_modules"))
        for name in sorted(name for name in names if name.endswith(end)):
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def read(path: Path, notes: list[str]) -> list[dict]:
    """The cells of a notebook, {"id" or None, "source", "type"} each. Raises BadNotebook; notes get what is
    odd."""
    size = path.lstat().st_size
    if size > LARGEST:
        raise BadNotebook(f"it has {size >> 20} MiB; {LARGEST >> 20} are the most")
    try:
        content = path.read_bytes()
        notebook = json.loads(content)  # UTF-16, and a byte order mark, are read like UTF-8
    except (ValueError, RecursionError) as problem:
        raise BadNotebook(_why_not_json(content, problem)) from None
    except OSError as problem:
        raise BadNotebook(f"it cannot be read: {problem.strerror}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise BadNotebook("it is no notebook of the format 4")
    cells = notebook.get("cells")
    if not isinstance(cells, list) or len(cells) > MOST_CELLS:
        raise BadNotebook(f"its cells are no list of at most {MOST_CELLS}")
    found = []
    for cell in cells:
        name, source = _name_and_source(cell)
        if source is not None:
            found.append({"id": name, "source": source[:LONGEST], "type": str(cell.get("cell_type"))})
    if broken := len(cells) - len(found):
        notes.append(f"{broken} cells have no source that is text, and were left out")
    return found


def _why_not_json(content: bytes, problem: Exception) -> str:
    """What a file is that is not JSON, with the remedy where there is one."""
    if not content.strip():
        return "it is empty"
    if all(
        re.search(rb"^" + mark * 7 + rb"(?= |\r?$)", content, re.MULTILINE) for mark in (b"<", b"=", b">")
    ):
        return "it has a merge conflict in it (<<<<<<<): keep one of the two sides, and hand it in again"
    if isinstance(problem, UnicodeDecodeError):
        return "it is not UTF-8: open it in Jupyter, save it, and hand it in again"
    return "it is not JSON"


def _name_and_source(cell) -> tuple[str | None, str | None]:
    """ID and source of a cell; None for what is not there. Colab writes the ID into the metadata."""
    if not isinstance(cell, dict):
        return None, None
    source, metadata = cell.get("source"), cell.get("metadata")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    name = cell.get("id") or (metadata.get("id") if isinstance(metadata, dict) else None)
    if isinstance(source, str):
        source = source.encode("utf-8", "replace").decode()  # half a character that no file can hold
    return (name if isinstance(name, str) else None), (source if isinstance(source, str) else None)


# ---- Rebuilding ----------------------------------------------------------------------------------------


def rebuild(original: dict, handed_in: dict[str, dict], notes: list[str]) -> dict:
    """The instructor's notebook without its solutions, with the student's sources in its exercises."""
    cells, given = [], set()
    for cell in original["cells"]:
        if "solution" in tags(cell):
            continue
        cell = dict(cell)
        if "exercise" in tags(cell):
            theirs = handed_in.get(cell["id"])
            if theirs is None and handed_in:
                notes.append(f"the exercise {cell['id']} is missing, and counts as not done")
            if theirs and theirs["type"] != "code":
                notes.append(f"the exercise {cell['id']} is a cell of another type; it was run as code")
            if theirs:
                theirs = _without_shell(theirs, source_of(cell))
                own = [*theirs.get("above", ()), theirs["source"], *theirs.get("below", ())]
                more = needed(own, theirs.get("before", []), given)
                given |= names_of([*own, more])
                theirs |= {"above": [more] * bool(more) + list(theirs.get("above", ()))}
                cell["source"] = without_markers(theirs["source"])
            cell["metadata"] = {
                "tags": ["exercise", "nbval-ignore-output"],
                "of": cell["id"],
            }  # it prints freely
            cells += _own_cells(cell, "above", theirs)
            cells.append(cell)
            cells += _own_cells(cell, "below", theirs)
            continue
        if cell["cell_type"] == "code":
            given |= names_of([source_of(cell)])
        if "pytest checks" in source_of(cell):
            cell["metadata"] = {"tags": ["nbval-skip"]}  # the sandbox has no checks/
        cells.append(cell)
    return original | {"cells": cells}


def _without_shell(theirs: dict, stub: str) -> dict:
    """A student's exercise without the cells of shell lines beside it, which leave no value, and may ask a
    server once more; they stay beside a stub that nobody has touched, for the answer may be there."""
    if same_code(theirs["source"], stub):
        return dict(theirs)
    own = {where: theirs.get(where, ()) for where in ("above", "below")}
    return theirs | {
        where: [source for source in sources if not _is_shell(source)] for where, sources in own.items()
    }


def _is_shell(source: str) -> bool:
    """Whether a cell has nothing but lines of shell."""
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#")]
    return bool(SHELL.match(source)) or all(line.startswith("!") for line in lines)


def _own_cells(cell: dict, where: str, theirs: dict | None) -> list[dict]:
    """The student's own cells above or below an exercise, which belong to it."""
    return [
        {
            **{
                "id": f"{cell['id']}-{where}-{number}",
                "cell_type": "code",
                "source": without_markers(source),
            },
            **{"metadata": {"tags": ["nbval-ignore-output"], "of": cell["id"]}},
            **{"outputs": [], "execution_count": None},
        }
        for number, source in enumerate((theirs or {}).get(where, ()), 1)
    ]


def without_markers(source: str) -> str:
    """The source without the comments that tell nbval what not to compare."""
    if not MARKER.search(source):
        return source
    from nbval.plugin import comment_markers  # it takes longer than all the rest

    def is_marker(line: str) -> bool:
        line = line.strip()
        return line.startswith("#") and line.lstrip("#").strip() in comment_markers

    lines = source.splitlines(keepends=True)
    return "".join("#\n" if is_marker(line) else line for line in lines)


def done_exercises(original: dict, rebuilt: dict) -> dict[str, str]:
    """{ID: source} of the exercises that are not the stub any more; a cell of their own
    beside one counts where it has its name."""
    stubs = {cell["id"]: source_of(cell) for cell in original["cells"] if "exercise" in tags(cell)}
    names = {name: re.search(r"%%\w+|(?<=def )\w+|\w+(?= =)", stub) for name, stub in stubs.items()}
    written: dict[str, list[str]] = {}
    for cell in rebuilt["cells"]:
        source = source_of(cell)
        if of := cell["metadata"].get("of"):
            own = of != cell["id"] and names[of] and re.search(rf"(?<!\w){names[of][0]}\b", source)
            if own or (of == cell["id"] and not same_code(source, stubs[of])):
                written.setdefault(of, []).append(source)
    return {name: "\n\n".join(sources) for name, sources in written.items()}


def same_code(one: str, other: str) -> bool:
    """Whether two sources differ in nothing but comments and spaces."""
    if one.split() == other.split() or not one.strip():
        return True
    try:
        return ast.dump(ast.parse(textwrap.dedent(one))) == ast.dump(ast.parse(textwrap.dedent(other)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def collected(original: dict, handed_in: dict, lab: str, more: dict[str, str]) -> list[dict]:
    """The answers to the reflection questions, in the order of the lab; and `more`, exercises not run."""
    answers = []
    for cell in original["cells"]:
        asked = source_of(cell)
        if "reflection" in tags(cell):
            told = handed_in.get(cell["id"], {}).get("source", "")
            answer = told.removeprefix(asked) if told.startswith(asked) else told.rpartition(ANSWER)[2]
            question = " ".join(asked.removesuffix(ANSWER).split())
            answers.append({"lab": lab, "id": cell["id"], "question": question, "answer": answer.strip()})
        elif cell["id"] in more:
            question = f"exercise {cell['id']}"
            answers.append({"lab": lab, "id": cell["id"], "question": question, "answer": more[cell["id"]]})
    return answers
