"""The labs: their form, that they run with the outputs they store, and that they notice a false claim.

Lab 04 needs a production machine: its run and its claims are in test_lab04.py.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tree import copy_of_the_kit

from checks.editions.strip import strip
from checks.editions.tables import STUBS, open_gate

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "labs"
sys.path.insert(0, str(FOLDER))

import store  # noqa: E402  (labs/ is no package)

NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
NEEDS_PROD = [name for name in NOTEBOOKS if name.startswith("04")]
ON_DEV = [name for name in NOTEBOOKS if name not in NEEDS_PROD]
TAGS = {"exercise", "solution", "reflection", "raises-exception"}
SANITIZE = FOLDER / "sanitize.cfg"
OWN_SETTINGS = ("SECRET_API_KEY", "PORT", "HOST", "DEBUG", "RATE_LIMIT", "PIXELWISE_SERVER", "ECHO_URL")
OWN_SETTINGS += ("PYTEST_ADDOPTS",)
PROGRESS = tempfile.TemporaryDirectory(
    prefix="pixelwise-progress-"
)  # of the labs that run here, no developer's


def cells_of(name: str) -> list:
    return nbformat.read(FOLDER / name, as_version=4).cells


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def output_text(cell) -> str:
    """What a cell shows, as text."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(texts)


# ---- Their form -----------------------------------------------------------------------------------------

each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


@each_notebook
def test_a_lab_opens_at_once_and_is_of_the_format_with_ids(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert len(text.encode()) < 100_000, "a student loads it over a slow net"
    assert notebook.metadata == store.METADATA, "store it with labs/store.py, so that files do not churn"


@each_notebook
def test_its_cells_have_ids_that_mean_something_and_known_tags(name):
    for cell in cells_of(name):
        assert re.fullmatch(r"[a-z]+[a-z0-9]*(-[a-z0-9]+)*", cell.id) and not re.search(r"[0-9]{3}", cell.id)
        assert not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]+)*", cell.id), f"{cell.id} was made by a program"
        assert set(tags(cell)) <= TAGS, f"{cell.id}: no other tags"
        assert cell.metadata.keys() <= {"tags"}, f"{cell.id}: no timestamps"


@each_notebook
def test_a_code_cell_has_at_most_eight_lines_and_shows_at_most_ten(name):
    for cell in cells_of(name):
        if cell.cell_type == "code":
            assert 1 <= len(cell.source.splitlines()) <= 8, cell.id
            assert len(output_text(cell).rstrip("\n").splitlines()) <= 10, f"{cell.id} shows too much"
            assert max(map(len, cell.source.splitlines())) <= 110, cell.id


@each_notebook
def test_every_code_cell_was_run_in_order_and_none_failed(name):
    code = [cell for cell in cells_of(name) if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        if "raises-exception" not in tags(cell):
            assert not [output for output in cell.outputs if output.output_type == "error"], cell.id


@each_notebook
def test_no_cell_is_spared_the_comparison(name):
    cells = cells_of(name)
    for before, cell in zip([None, *cells], cells):
        assert not re.search(r"(?i)nbval[-_]", cell.source + " ".join(tags(cell))), cell.id
        if "raises-exception" in tags(cell):
            assert before.cell_type == "markdown" and "exception" in before.source, f"{cell.id}: say why"
        assert "PYTEST_VALIDATE_IGNORE_OUTPUT" not in cell.source, cell.id


@each_notebook
def test_an_exercise_is_followed_by_its_solution_and_its_check(name):
    cells = cells_of(name)
    ids = [cell.id for cell in cells]
    for place, cell in enumerate(cells):
        if "exercise" in tags(cell):
            assert cells[place + 1].id == f"{cell.id}-solution" and "solution" in tags(cells[place + 1])
            check = ids.index(f"{cell.id}-check")
            assert 0 < check - place <= 4, f"{cell.id}: its check stands too far away"
            assert re.match(r"(expect|check)\(", cells[check].source), f"{cells[check].id} is no self-check"
        if "solution" in tags(cell):
            assert "exercise" in tags(cells[place - 1]), f"{cell.id} solves no exercise"
        if "reflection" in tags(cell):
            assert cell.cell_type == "markdown" and cell.source.endswith("*Your answer:*"), cell.id


@each_notebook
def test_a_self_check_is_the_last_thing_in_its_cell(name):
    for cell in cells_of(name):
        if cell.cell_type == "code" and re.search(r"(?m)^(expect|check)\(", cell.source):
            assert isinstance(last := ast.parse(cell.source).body[-1], ast.Expr), cell.id
            assert last.value.func.id in ("expect", "check"), f"{cell.id}: it would show nothing"
            assert cell.source.count("expect(") + cell.source.count("check(") == 1, cell.id


@each_notebook
def test_its_head_and_foot_come_from_the_table_and_it_closes_with_questions_and_words(name):
    cells = cells_of(name)
    number = store.place_of(name)
    assert cells[0].source == store.title(number) and cells[0].id == "title"
    assert cells[-1].source == store.footer(number) and cells[-1].id == "footer"
    assert [cell.id for cell in cells[-5:-1]] == ["progress", "recall", "words", "next"]
    assert cells[-5].source == f'progress("{name[:2]}")'


def test_the_overview_comes_from_the_table():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == store.readme()


@pytest.mark.parametrize(("step", "lab", "cells"), store.COURSE)
def test_the_table_of_the_course_names_cells_that_are_there(step, lab, cells):
    [name] = [name for name in NOTEBOOKS if name.startswith(lab)]
    assert set(cells.split()) <= {cell.id for cell in cells_of(name)}, step


def test_a_text_makes_the_notebook_that_makes_it():
    for name in NOTEBOOKS:
        made, notebook = store.from_text(store.to_text(FOLDER / name))
        cells = cells_of(name)
        assert made == name
        assert [(one.id, one.cell_type, tags(one)) for one in notebook.cells] == [
            (one.id, one.cell_type, tags(one)) for one in cells
        ]
        assert [one.source for one in notebook.cells[1:-1]] == [one.source for one in cells[1:-1]]


# ---- That they run --------------------------------------------------------------------------------------


def environment(**more) -> dict:
    kept = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS}
    return kept | {"PIXELWISE_PROGRESS": f"{PROGRESS.name}/progress.json"} | more


def start_nbval(names: list[str], root: Path = ROOT, *options: str, **environ: str) -> subprocess.Popen:
    """`pytest --nbval` on these labs of the kit in `root`, as the issue has it."""
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "nbval.plugin", "--nbval"]
    command += [*[f"labs/{name}" for name in names], "-p", "no:cacheprovider", *options]
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment(**environ), **pipes)


def failing_cells(output: str, folder: Path) -> list[str]:
    """The IDs of the cells that nbval says failed."""
    failed = re.findall(r"(?m)^FAILED labs/(\S+)::Cell (\d+)", output)
    return [code_cells(folder / name)[int(number)].id for name, number in failed]


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def assert_passed(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, (failing_cells(output, FOLDER), output[-6000:])


def test_the_labs_pass_twice_in_any_order_and_side_by_side():
    both = [start_nbval(ON_DEV), start_nbval(ON_DEV[::-1])]
    for process in both:
        assert_passed(process)
    assert_passed(start_nbval(ON_DEV))


# ---- That they notice -----------------------------------------------------------------------------------

CATCH_UP = "00_catch_up.ipynb"
HTTP = "01_http_rest_and_curl.ipynb"
CONTRACT = "02_the_contract_and_the_server.ipynb"
KEYS = "03_keys_and_limits.ipynb"
REFLECT = "05_reflect_and_extend.ipynb"
REQUEST = "schemas/classify.request.json"
CLAIMS = [  # lab, file, what stands there, what makes a claim of the lab false, the first cell that notices
    (CATCH_UP, ".gitignore", ".env\n", "", "ignored"),
    (CATCH_UP, "models/classifier.py", "cannot read the artefact", "there is no artefact", "proof-code"),
    (CATCH_UP, ".env.example", "RATE_LIMIT=30/minute", "", "settings-new"),
    (CATCH_UP, "server.py", "== EXAMPLE_KEY and not settings.debug", "is None", "settings-copy"),
    (CATCH_UP, "setup-server.sh", 'step "Model release"', 'step "Model"', "artefact-steps"),
    (CATCH_UP, "models/classifier.py", "if digest != sha256.lower():", "if False:", "incident-artefact"),
    (HTTP, "labs/labkit.py", '"Serving on"', '"Hidden at"', "start"),
    (HTTP, "server.py", '"/classify", ["POST"]', '"/classify", ["PUT"]', "pick-verb-try"),
    (HTTP, "server.py", '"/results", ["GET", "HEAD"]', '"/results", ["GET", "HEAD", "DELETE"]', "wrong-verb"),
    (HTTP, "server.py", '404: "there is nothing', '404: "there is something', "status-ours"),
    (HTTP, "models/classifier.py", ": scores[best],", ": os.getpid() / 1e9,", "stateless-many"),
    (CONTRACT, REQUEST, '"maximum": 255', '"maximum": 127', "schema-read"),
    (CONTRACT, REQUEST, '"additionalProperties": false', '"additionalProperties": true', "judge-more"),
    (CONTRACT, "server.py", '"ok" if ok else', '"fine" if ok else', "health"),
    (CONTRACT, "server.py", "{status} {took:.1f}ms", "{took:.1f}ms", "log"),
    (CONTRACT, "server.py", 'for path in ("/docs", "/redoc")', 'for path in ("/docs",)', "docs"),
    (CONTRACT, "schemas/openapi.json", '"health.response.json"', '"error.json"', "docs-check"),
    (CONTRACT, "server.py", '"minItems": f"{shown} is too short', '"minItems": f"{shown} is', "wrong-shape"),
    (CONTRACT, "server.py", '"type": "json_invalid"', '"type": "broken"', "python-is-not-json"),
    (CONTRACT, "server.py", "is greater than the maximum of", "is over", "refused-show"),
    (CONTRACT, "models/classifier.py", '"confidence": scores[best]', '"confidence": 1.0', "json-text-send"),
    (CONTRACT, "server.py", "if settings.debug:\n", "if True:\n", "quiet"),
    (
        KEYS,
        "server.py",
        "raise HTTPError(401, detail",
        "raise HTTPError(403, detail",
        "yours-authenticate-check",
    ),
    (KEYS, "server.py", "r={left};", "r={left - 1};", "budget"),
    (KEYS, "server.py", "return int(count), {", "return min(int(count), 20), {", "order-server"),
    (KEYS, "server.py", '.partition("?")[0][:200]', '.partition("!")[0][:200]', "query"),
    (KEYS, "server.py", '"RATE_LIMIT", "30/minute"', '"RATE_LIMIT", "20/minute"', "forty-default"),
    (KEYS, "server.py", "max(1, math.ceil(end - now))", "math.floor(end - now)", "yours-hit-check"),
    (KEYS, "server.py", "if settings.trusted_proxy and", "if peer or", "forged"),
    (REFLECT, "server.py", '"note": "persistence not yet implemented"', '"note": "soon"', "memory"),
    (REFLECT, "server.py", "used += cost", "used += cost + 1", "memory-restart"),
    (REFLECT, "server.py", "it is nested deeper than", "it is deeper than", "nested"),
    (REFLECT, "schemas/health.response.json", '"enum": ["ok",', '"enum": ["fine",', "route-check"),
]


def first_to_notice(root: Path, name: str) -> tuple[list[str], str]:
    process = start_nbval([name], root, "-x")
    output, _ = process.communicate(timeout=600)
    return failing_cells(output, root / "labs"), output


@pytest.fixture(scope="module")
def noticed(tmp_path_factory):
    """For every claim, what nbval says once it is false; two at a time."""
    with ThreadPoolExecutor(2) as pool:
        futures = []
        for lab, file, old, new, _ in CLAIMS:
            root = copy_of_the_kit(tmp_path_factory.mktemp("claim") / "kit")
            text = (root / file).read_text(encoding="utf-8")
            assert old in text, f"{file} no longer has {old!r}"
            (root / file).write_text(text.replace(old, new), encoding="utf-8")
            futures.append(pool.submit(first_to_notice, root, lab))
        yield futures


@pytest.mark.parametrize("number", range(len(CLAIMS)), ids=[f"{c[0][:2]}-{c[4]}" for c in CLAIMS])
def test_a_lab_whose_claim_is_false_fails_at_that_claim(noticed, number):
    cells, output = noticed[number].result()
    assert cells == [CLAIMS[number][4]], output[-3000:]


# ---- The student edition --------------------------------------------------------------------------------


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


# ---- What is masked -------------------------------------------------------------------------------------

SHOWN = """
from labkit import *
server = Server()
import labkit
labkit.dev("", "curl -si -d 1 $URL/classify; curl -sv $URL/health 2>&1 | grep curl")
print(server.url)
show_code("authenticate")
server.log()
import prodkit, time
print(prodkit.timeline([(-1, time.time() % 9, "up")], 10))
remember([f"00.{time.time()}"], {f"m{time.time()}": 1})
print(progress("00").data["text/html"])
"""
STABLE = """HTTP/1.1 429 Too Many Requests
Retry-After: 60
RateLimit-Policy: "default";q=30;w=60
{"status":"ok","model_version":"v1"}
<time> INFO 127.0.0.1 GET /health 200 <ms> <id>
{"prediction":"7","confidence":0.9999654146243999}
28 rows of 28 integers from 0 to 255"""


@pytest.fixture(scope="module")
def real_outputs() -> list[str]:
    """What two runs of the same lines print."""
    outputs = []
    for _ in range(2):
        command = [sys.executable, "-c", SHOWN]
        done = subprocess.run(
            command, cwd=FOLDER, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
        time.sleep(1.1)  # the Date header has whole seconds
    return outputs


def sanitize_rules() -> dict[str, tuple[str, str]]:
    text = SANITIZE.read_text(encoding="utf-8")
    return {
        title: (old, new) for title, old, new in re.findall(r"\[(.+)\]\nregex: (.*)\nreplace: (.*)", text)
    }


@pytest.mark.parametrize("title", sanitize_rules())
def test_each_rule_of_the_sanitize_file_masks_something_real_and_nothing_stable(title, real_outputs):
    regex, replacement = sanitize_rules()[title]
    for output in real_outputs:
        assert re.search(regex, output), f"[{title}] matches nothing in\n{output}"
    assert re.sub(regex, replacement, STABLE) == STABLE


def test_what_the_rules_mask_is_all_that_differs(real_outputs):
    assert real_outputs[0] != real_outputs[1]
    for regex, replacement in sanitize_rules().values():
        real_outputs = [re.sub(regex, replacement, output) for output in real_outputs]
    assert real_outputs[0] == real_outputs[1]
