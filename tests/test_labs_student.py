"""The labs of the student edition: untouched, they earn nothing, whatever the server is.

With the server that a student gets, and worked in order: that is the proof of the editions, in
editions/test_release.py.
"""

import nbformat
import pytest
from nbclient import NotebookClient
from test_labs import ON_DEV, OWN_SETTINGS, output_text, tags
from tree import copy_of_the_kit

from checks.editions.strip import strip
from checks.editions.tables import STUBS, open_gate


def with_open_gates(server: str) -> str:
    """server.py as a student gets it: it works, checks nothing, and its log says so."""
    gates = {name: open_gate(name, *gate) for name, gate in STUBS.items()}
    return strip(server.encode(), gates).decode()


SERVERS = {
    "whole": lambda text: text,
    "broken": lambda text: text + "\nthis is no Python\n",
    "dead": lambda text: "import sys\nsys.exit('the server is dead')\n",
    "nonsense": lambda text: (
        """
import os, sys, http.server
if sys.argv[1:]:
    sys.exit()  # --check, for which a lab would wait
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
    name, kind, tmp_path, monkeypatch, warm_python
):
    root = copy_of_the_kit(tmp_path / "kit")
    text = (root / "server.py").read_text(encoding="utf-8")
    (root / "server.py").write_text(SERVERS[kind](text), encoding="utf-8")
    notebook = nbformat.read(root / "labs" / name, as_version=4)
    exercises = {cell.id for cell in notebook.cells if "exercise" in tags(cell)}
    notebook.cells = [cell for cell in notebook.cells if "solution" not in tags(cell)]
    for name in OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_PATH", str(warm_python.kernels))
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(root / "labs"))
    earned = {cell.id for cell in notebook.cells if cell.cell_type == "code" and "✓" in output_text(cell)}
    assert not earned & {f"{exercise}-check" for exercise in exercises}
    if kind != "whole":
        assert not {cell for cell in earned if cell.startswith("yours-")}
    if kind in ("broken", "dead"):
        assert not earned
