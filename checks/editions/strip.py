"""Takes the bodies of some functions out of a source, and changes no other byte of it."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable

from checks.editions.tables import ReleaseError


def strip(source: bytes, stubs: dict[str, str]) -> bytes:
    """The source of a module, where one statement stands for the body of every function that stubs names.

    stubs: {"function" or "Class.method": statement}. Decorators, signature and docstring stay, and so does
    every byte outside of the bodies. A body ends with its last statement and the comments below it that are
    indented more than its `def`. Raises ReleaseError where a function is missing.
    """
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", source)
    missing, cuts, until = dict(stubs), [], 0
    for name, node in functions(ast.parse(source)):
        if name in stubs:
            missing.pop(name, None)
            if node.lineno > until:  # else it is inside a function that is replaced already
                until = node.end_lineno
                cuts.append((node, stubs[name]))
    if missing:
        raise ReleaseError(
            f"there is no function {', '.join(missing)}: correct STUBS in checks/editions/tables.py"
        )
    tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
    for node, statement in reversed(cuts):
        lines = _with_stub(lines, node, statement.encode(), tokens)
    return b"".join(lines)


def functions(node: ast.AST, prefix: str = "") -> Iterable[tuple[str, ast.AST]]:
    """All functions with their names, an outer one before those inside it: "f", "Class.method", "f.inner"."""
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}."
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name[:-1], child
        yield from functions(child, name)


def _with_stub(lines: list[bytes], node, statement: bytes, tokens: list) -> list[bytes]:
    """The lines with the statement in place of the body of one function."""
    # where the head ends: after the colon of the signature, or after the docstring
    line, column, inline = _after_colon(node, tokens)
    first = node.body[0]
    separator = b" "
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        line, column, separator = first.end_lineno, first.end_col_offset, b"; "
    head, rest = lines[line - 1][:column], lines[line - 1][column:]
    ending = re.search(rb"(\r\n|\r|\n|)\Z", lines[node.end_lineno - 1])[0]
    if not inline and re.fullmatch(rb"[ \t\f]*(#.*)?[\r\n]*", rest):
        indent = re.match(rb"[ \t\f]*", lines[first.lineno - 1])[0]
        kept = head + rest
        if not kept.endswith((b"\n", b"\r")):  # a docstring that ends the file
            kept += b"\n"
        stub = kept + indent + statement + ending
    else:
        stub = head + separator + statement + ending
    last = _last_line(lines, node)
    return [*lines[: line - 1], stub, *lines[last:]]


def _after_colon(node, tokens: list) -> tuple[int, int, bool]:
    """Line and column (in bytes) behind the colon of a signature, and whether the body stands on its line."""
    start = (node.lineno, 0)
    if node.returns:
        start = (node.returns.end_lineno, node.returns.end_col_offset)
    depth = 0
    for place, token in enumerate(tokens):
        begin = (token.start[0], len(token.line[: token.start[1]].encode()))
        if token.type != tokenize.OP or begin < start or token.start[0] < node.lineno:
            continue
        if token.string in "([{":
            depth += 1
        elif token.string in ")]}":
            depth -= not node.returns
        elif token.string == ":" and (depth == 0 or node.returns):
            following = next(one for one in tokens[place + 1 :] if one.type != tokenize.COMMENT)
            return token.end[0], begin[1] + 1, following.type != tokenize.NEWLINE
    raise AssertionError("a function without a colon")


def _last_line(lines: list[bytes], node) -> int:
    """The number of the last line of a function: comments below it that are indented more belong to it."""
    last, outer = node.end_lineno, _width(lines[node.lineno - 1])
    for number in range(node.end_lineno + 1, len(lines) + 1):
        line = lines[number - 1]
        if line.strip() and not line.lstrip().startswith(b"#"):
            break
        if line.strip() and _width(line) > outer:
            last = number
        elif line.strip():
            break
    return last


def _width(line: bytes) -> int:
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())
