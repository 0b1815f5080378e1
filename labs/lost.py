"""After a restart of the kernel no name is known, and no %%dev: this says which cell to run, not what broke.

labkit uses it. `bash setup-server.sh labs` has IPython import it at its start, so that it is there before.
"""

import ast
import json
import os
from pathlib import Path

from IPython import get_ipython

MAGICS = {"dev": "labkit", "practice": "practice", "prod": "prodkit"}  # %%name: the module that brings it
AGAIN = "Did the kernel start anew? Then run the cells above first: menu Run, Run All Above Selected Cell."


def explain(shell, kind, problem, trace, tb_offset=None):
    """After a restart of the kernel no name is known: say so, in place of a traceback."""
    shell.showtraceback((kind, problem, trace), exception_only=True)
    cell = maker_of(getattr(problem, "name", ""))
    print(
        f"The cell that begins with `{cell}` makes it: run that one."
        if cell
        else "No cell of this lab makes it."
    )
    print(AGAIN)


def maker_of(name: str) -> str:
    """The first line of the cell that makes `name`, in the notebook that Jupyter says this is."""
    try:
        file = Path(os.environ["JPY_SESSION_NAME"])
        cells = json.loads(Path(file.name).read_text(encoding="utf-8"))["cells"]
    except (KeyError, OSError, ValueError):
        return ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and name in names_made(source):
            return source.partition("\n")[0]
    return ""


def names_made(source: str) -> set[str]:
    """The names that a cell of Python assigns, defines or imports (or imports from); none of a shell cell."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return made | {
        alias.asname or alias.name
        for node in nodes
        for alias in getattr(node, "names", [])
        if isinstance(alias, ast.alias)
    }


def stand_in(magic: str, module: str):
    """What %%magic does until its module is imported."""

    def tell(line: str, cell: str):
        cell_of_it = maker_of(module)
        told = f"The cell that begins with `{cell_of_it}` brings it: run that one."
        print(f"✗ %%{magic} is not known yet. {told if cell_of_it else 'No cell of this lab brings it.'}")
        print(AGAIN)

    return tell


def watch(shell):
    """Explain lost names, and stand in for the cells of shell lines until they are there."""
    shell.set_custom_exc((NameError,), explain)
    for magic, module in MAGICS.items():
        shell.register_magic_function(stand_in(magic, module), "cell", magic)


if shell := get_ipython():
    watch(shell)
