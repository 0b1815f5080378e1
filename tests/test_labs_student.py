"""The labs of the student edition: untouched they earn nothing; worked in order they say what is stored."""

import ast
import re

import nbformat
import pytest
from nbclient import NotebookClient
from test_labs import ON_DEV, OWN_SETTINGS, output_text, tags
from test_labs_claims import CONTRACT, HTTP, KEYS, REFLECT
from tree import copy_of_the_kit

from checks.editions.strip import strip
from checks.editions.tables import STUBS, open_gate


def with_open_gates(server: str) -> str:
    """server.py as a student gets it: it works, checks nothing, and its log says so."""
    gates = {name: open_gate(name, *gate) for name, gate in STUBS.items()}
    return strip(server.encode(), gates).decode()


SERVERS = {
    "whole": lambda text: text,
    "with open gates": with_open_gates,
    "broken": lambda text: text + "\nthis is no Python\n",
    "dead": lambda text: "import sys\nsys.exit('the server is dead')\n",
    "nonsense": lambda text: (
        """
import os, sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<b>hello</b> \\xff")
    do_POST = do_GET
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listening on http://127.0.0.1:%d with" % server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
"""
    ),
}


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("name", ON_DEV)
def test_an_untouched_student_edition_runs_without_a_crash_and_earns_nothing(
    name, kind, tmp_path, monkeypatch
):
    root = copy_of_the_kit(tmp_path / "kit")
    text = (root / "server.py").read_text(encoding="utf-8")
    (root / "server.py").write_text(SERVERS[kind](text), encoding="utf-8")
    notebook = nbformat.read(root / "labs" / name, as_version=4)
    exercises = {cell.id for cell in notebook.cells if "exercise" in tags(cell)}
    notebook.cells = [cell for cell in notebook.cells if "solution" not in tags(cell)]
    for name in OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(root / "labs"))
    earned = {cell.id for cell in notebook.cells if cell.cell_type == "code" and "✓" in output_text(cell)}
    assert not earned & {f"{exercise}-check" for exercise in exercises}
    if kind != "whole":
        assert not {cell for cell in earned if cell.startswith("yours-")}
    if kind in ("broken", "dead"):
        assert not earned


MOMENTS = {  # lab: {the first cell after which a function of server.py is written: the function}
    HTTP: {},
    CONTRACT: {"server-answer": "answer", "server-accepted": "accepted_pixels"},
    KEYS: {"authenticate-promise": "authenticate", "hit-promise": "hit"},
    REFLECT: {},
}


def source_of(function: str, server: str) -> str:
    nodes = [node for node in ast.walk(ast.parse(server)) if getattr(node, "name", "") == function]
    return ast.get_source_segment(server, nodes[0], padded=True)


def marks(cell) -> list[str]:
    """The lines of a self-check, as far as they say what holds and what does not."""
    return re.findall(r"(?m)^[✓✗?] .*", output_text(cell))


def test_a_student_works_the_labs_in_order_and_every_check_says_what_is_stored(tmp_path, monkeypatch):
    """From a server whose gates are open; each function is written when its lab asks for it."""
    root = copy_of_the_kit(tmp_path / "kit")
    whole = (root / "server.py").read_text(encoding="utf-8")
    (root / "server.py").write_text(with_open_gates(whole), encoding="utf-8")
    for name in OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for lab, moments in MOMENTS.items():
        notebook = nbformat.read(root / "labs" / lab, as_version=4)
        for cell in [cell for cell in notebook.cells if cell.id in moments]:
            function = moments[cell.id]
            now = source_of(function, (root / "server.py").read_text(encoding="utf-8"))
            write = (
                f"file, now, then = {str(root / 'server.py')!r}, {now!r}, {source_of(function, whole)!r}\n"
            )
            write += "text = open(file).read()\nprint(open(file, 'w').write(text.replace(now, then)))"
            cell.source = f"{write}\n{cell.source}"
        stored = {cell.id: marks(cell) for cell in notebook.cells if cell.cell_type == "code"}
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(root / "labs"))
        seen = {cell.id: marks(cell) for cell in notebook.cells if cell.cell_type == "code"}
        assert seen == stored, lab
    assert (root / "server.py").read_text(encoding="utf-8") == whole
