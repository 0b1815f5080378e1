"""What an exercise needs of the student's other cells: an import at the top, a helper, a table of their own.

A notebook that is rebuilt from the instructor's has none of these, and whoever adds `import re` to the first
cell is right to do so. Only statements that give a name which the exercise uses, and which no cell of ours
gives, are taken; nothing is run here. Of the instructor's own cells, too, only those are run that an exercise
may need.
"""

import ast
import builtins
import contextlib
import re
from collections.abc import Iterator

MOST = 200_000  # characters of cells that are looked at
GIVE = ast.Name | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DEEPEST = 5  # a helper of a helper of …
SHOWS = {"answered", "by_hand", "chart", "check", "complaints", "expect", "field", "figure", "gaps", "hint"}
SHOWS |= {"predict", "print", "progress", "reflections", "show", "show_answer", "show_code"}
METHODS = {"link", "log"}  # of a server: they show something as well


def needed(sources: list[str], above: list[str], given: set[str]) -> str:
    """The statements above, in their order, that give the names which these sources use and nobody gives.

    above: the sources of the student's cells above, from the top; given: the names that there are anyway.
    """
    given = given | set(dir(builtins))
    wanted = used(sources) - given
    statements = list(_last_of(above)) if wanted else []
    found = {}
    for depth in range(DEEPEST):
        for place, statement in enumerate(statements):  # the last one first
            gives = _gives(statement)
            perhaps = wanted and depth and "*" in gives  # nothing else gave the name
            if place not in found and (gives & wanted or perhaps):
                with contextlib.suppress(RecursionError):
                    found[place] = ast.unparse(statement)
                    wanted = (wanted - gives) | (used([found[place]]) - given)
    return "\n".join(found[place] for place in sorted(found, reverse=True))


def _last_of(sources: list[str]) -> Iterator[ast.stmt]:
    """The statements of these cells, the last one first."""
    left = MOST
    for source in reversed(sources):
        left -= len(source)
        if left < 0:
            return
        yield from reversed(_statements(source))


def used(sources: list[str]) -> set[str]:
    """The names that these sources use, and do not give themselves."""
    nodes = [node for source in sources for one in _statements(source) for node in ast.walk(one)]
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    return loaded - own - {name for node in nodes if isinstance(node, GIVE) for name in _gives(node)}


def names_of(sources: list[str]) -> set[str]:
    """The names that these sources give."""
    return {name for source in sources for one in _statements(source) for name in _gives(one)}


def _statements(source: str) -> list[ast.stmt]:
    """The statements of a cell, without its magics and shell lines; none where it is no Python."""
    for python in (source, re.sub(r"(?m)^[ \t]*[%!].*$|^\w+ *= *[%!].*$", "", source)):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.parse(python).body
    return []


def _gives(statement: ast.AST) -> set[str]:
    """The names that a statement gives."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(one.asname or one.name).partition(".")[0] for one in statement.names}
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    nodes = list(ast.walk(statement))
    passing = {
        name.id
        for node in nodes
        if isinstance(node, ast.comprehension)
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }
    given = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return given - passing


# ---- Which cells are run ---------------------------------------------------------------------------------


def to_run(rebuilt: dict) -> list[dict]:
    """The cells of a rebuilt notebook that exercises may stand on: {"source", "of", "first", "last"}; of: the
    exercise that the cell belongs to, of which it is the first or the last. Cells of ours that only show
    something are left out, and so is all behind the last exercise."""
    made = []
    for cell in rebuilt["cells"]:
        of = cell["metadata"].get("of", "")
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and (of or not only_shows(source)):
            made.append({"id": cell["id"], "source": source, "of": of})
    for number, cell in enumerate(made):
        cell["first"] = not number or made[number - 1]["of"] != cell["of"]
        cell["last"] = number + 1 == len(made) or made[number + 1]["of"] != cell["of"]
    while made and not made[-1]["of"]:
        made.pop()
    return made


def without(cells: list[dict], left_out: tuple[str, ...]) -> list[dict]:
    """The cells but those to be left out, unless one gives a name that an exercise uses, and nothing else
    gives it: a student may stand on any cell."""
    kept = [cell for cell in cells if cell["of"] or cell["id"] not in left_out]
    given = names_of([cell["source"] for cell in kept])
    wanted = used([cell["source"] for cell in kept if cell["of"]]) - given
    return [cell for cell in cells if cell in kept or wanted & names_of([cell["source"]])]


def only_shows(source: str) -> bool:
    """Whether a cell of ours leaves nothing behind that an exercise could stand on."""
    if source.startswith("%%"):
        return not source.startswith("%%practice")
    for statement in ast.parse(source).body:
        called = getattr(getattr(statement, "value", None), "func", None)
        shows = isinstance(statement, ast.Expr) and (
            getattr(called, "id", "") in SHOWS or getattr(called, "attr", "") in METHODS
        )
        if not shows:
            return False
    return True
