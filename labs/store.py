"""For authors of labs: writes notebooks from text, runs them, and stores their outputs. See AUTHORING.md.

    python labs/store.py                        # run every lab (04 needs prod), store outputs, README.md and
                                                # answers.json
    python labs/store.py labs/02_*.ipynb        # only these
    python labs/store.py --write 02.txt         # make the notebook of a text, then run and store it
    python labs/store.py --text labs/02_*.ipynb # print a notebook as such a text, to edit it

A text starts with the notebook's file name; then every cell starts with a line `%% id`, or `%% id markdown`,
and tags may follow. The cells `title` and `footer` are made from the table LABS below.
"""

import argparse
import ast
import base64
import json
import re
import sys
import zlib
from pathlib import Path

import minutes
import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}

# ---- The table of the labs: their headers, their links and README.md are made of it ----------------

LABS = (
    {
        "file": "00_catch_up.ipynb",
        "title": "Catch up",
        "goals": [
            "name the three layers of a working machine: code, settings, artefact",
            "tell from a message which of them is missing",
            "restore each, and prove that it works",
            "say what git reset --hard destroys, and how to keep it",
        ],
        "needs": "block 4, or a fresh clone",
    },
    {
        "file": "01_http_rest_and_curl.ipynb",
        "title": "HTTP, REST and curl",
        "goals": [
            "take a request and its response apart, line by line",
            "say the same thing with curl, by hand and with requests",
            "choose verb and status for an endpoint",
            "show what it means that a server is stateless",
        ],
        "needs": "nothing but this kit",
    },
    {
        "file": "02_the_contract_and_the_server.ipynb",
        "title": "The contract and the server",
        "goals": [
            "read a JSON Schema, and predict what it refuses",
            "find your way through server.py, and through its log",
            "send a handwritten digit with curl and with requests",
            "say who notices when a contract drifts",
        ],
        "needs": "lab 01",
    },
    {
        "file": "03_keys_and_limits.ipynb",
        "title": "Keys and limits",
        "goals": [
            "provoke and read 401, 422 and 429",
            "say which gate answers first, and why",
            "write a client that waits as it is told",
            "say why the key travels in a header",
        ],
        "needs": "lab 02",
    },
    {
        "file": "04_from_dev_to_production.ipynb",
        "title": "From dev to production",
        "goals": ["run the service under systemd", "kill it, and read in the journal how it came back"],
        "needs": "lab 03, and prod: a virtual machine, or `deploy/box/box up`",
    },
    {
        "file": "05_answer_for_it.ipynb",
        "title": "Answer for it",
        "goals": [
            "say what the service is still missing",
            "say what a stolen key and a shared address mean",
            "answer for the decisions of this block",
        ],
        "needs": "lab 03; lab 04 for some of the questions",
    },
    {
        "file": "06_a_fourth_endpoint.ipynb",
        "title": "A fourth endpoint",
        "goals": [
            "design an endpoint before any code",
            "build it, and have it graded",
            "say what a schema cannot see",
        ],
        "needs": "lab 03",
    },
)


COURSE = (  # each step of the course text, and the cells that lead through it
    (
        "Catch up to v0.3: tags, reset, `.env`, artefact, `predict.py`",
        "00",
        "fetch settings-copy artefact-pull proof",
    ),
    ("The tag map, a fork, the environment, dev only", "00", "tag-map own-folder environment dev-only"),
    ("Request and response, stateless", "01", "sent received stateless-many"),
    ("Methods, REST, status codes", "01", "verbs pick-verb status-wild whose-turn"),
    ("curl and httpbin; JSON", "01", "first-get post-json json-read repair-json"),
    ("Figure 1, the stack and its names", "02", "figure-way way-names"),
    ("Install, pin, run in the foreground", "02", "pins foreground"),
    ("Models, path operation, response model", "02", "schema-read server-classify answer-what accepted-what"),
    ("`/docs`, `/redoc`, one specification", "02", "docs one-document quiet"),
    ("A body for Swagger; `/docs` and curl compared", "02", "json-text docs-and-curl"),
    ("The contract is the product", "02", "drift-change books"),
    ("The key, in a header, and its button", "03", "authenticate-intro query button"),
    ("The rate limit, forty requests, 429", "03", "hit-what figure-window loop retry-ask"),
    ("Three gates in a row", "03", "figure-gates guess order-server"),
    ("systemd, the unit file", "04", "who again harden keep"),
    ("The block of `setup-server.sh`; push, pull, install", "04", "push pull setup install-block"),
    ("status, stop, kill, journal", "04", "figure-life status stop kill kill-journal since-read"),
    ("The first request across the network", "04", "first-loop first-digit"),
    ("Timers, limits, ordering, sockets, gunicorn", "04", "systemd-more socket-setup hang-why"),
    ("What is missing: memory", "05", "memory memory-restart"),
    ("Where a limit belongs: application or proxy", "05", "proxy-limits"),
    ("Which gate is the hardest to pass?", "05", "stolen hardest-limit reflection-6"),
    ("Self-reflection, recap", "05", "reflection-1 collected recap"),
    ("A fourth endpoint", "06", "design operation route take-over"),
    ("The next block: persistence", "06", "next"),
)

README = """# Labs

Seven notebooks, from a first `curl` to an endpoint of your own. `bash setup-server.sh labs` opens JupyterLab
on your progress, with the way to each of them. Read a paragraph, answer its question (in your head, or with
the buttons below it), then run the cell with Shift+Enter.

| lab | minutes | you will be able to | before it |
|---|---|---|---|
{rows}

{total} minutes in all, at most 90 a lab ([how they are counted](#how-the-minutes-are-counted)). Each lab
closes with questions that show what stayed. Under a check that failed are hints to open one by one;
`hint("01.pick-verb")` prints them. After the ✓ there is a model answer, and why it is one.
[labkit.py](labkit.py) is the little that the notebooks need beside Python: read it, it hides nothing.
(JupyterLab does not list such files, but these links open them: [running.py](running.py) starts the server,
[judging.py](judging.py) has the checks and hints, [record.py](record.py) keeps what you have done, and
[drawing.py](drawing.py) is the place to draw in lab 02.)
A cell that starts with `%%dev` runs its lines in a shell on this machine, one with `%%prod` on the production
machine, which `PROD_HOST` names:
`user@address`, or `box` ([prodkit.py](prodkit.py)).

## Where each step of the course is

| the course | lab | cells |
|---|---|---|
{course}

## How the minutes are counted

From the notebooks, so they change with them:

| minutes | for |
|---|---|
| 1 | {WORDS_A_MINUTE} words of prose: you read to understand, and perhaps not in your first language |
| {CELL:g} | a cell of code: an idea of what it prints, the run, a look |
| {EXERCISE} | an exercise, on top of its cells; {design} for the design in lab 06, {route} for its route |
| {FUNCTION} | a function of `server.py` that you write |
| {REFLECTION} | a question of lab 05 |
| {RECALL:g} | a question of *What stayed?* |
| {waiting} | the waits of lab 04 |

The sum goes up to the next five. Nobody stood beside you with a watch: if you need half as long again, that
is no bad sign.

For authors: [AUTHORING.md](AUTHORING.md).
"""


# ---- What is made from the table ------------------------------------------------------------------------


def place_of(file: str) -> int:
    """The number of a lab in LABS."""
    return [lab["file"] for lab in LABS].index(Path(file).name)


def link(lab: dict) -> str:
    return f"[{lab['file'][:2]} {lab['title']}]({lab['file']})"


def neighbours(number: int) -> str:
    """Links to the lab before, to the overview and to the lab after."""
    before = [f"← {link(LABS[number - 1])}"] if number else []
    after = [f"{link(LABS[number + 1])} →"] if number + 1 < len(LABS) else []
    return " · ".join([*before, "[all labs](README.md)", *after])


def title(number: int, takes: int) -> str:
    lab = LABS[number]
    goals = "\n".join(f"- {goal}" for goal in lab["goals"])
    head = f"# {lab['file'][:2]} · {lab['title']}\n\n{neighbours(number)}\n\n"
    return f"{head}**{takes} minutes.** Before it: {lab['needs']}. Afterwards you can\n\n{goals}"


def footer(number: int) -> str:
    return f"---\n{neighbours(number)}"


def readme() -> str:
    rows, total = [], 0
    for lab in LABS:
        takes = minutes.minutes(lab["file"][:2], minutes.cells_of(HERE / lab["file"]))
        rows.append(f"| {link(lab)} | {takes} | {'; '.join(lab['goals'])} | {lab['needs']} |")
        total += takes
    files = {lab["file"][:2]: lab["file"] for lab in LABS}
    course = "\n".join(
        f"| {step} | [{lab}]({files[lab]}) | {', '.join(f'`{cell}`' for cell in cells.split())} |"
        for step, lab, cells in COURSE
    )
    known = {"design": minutes.LONGER["06.design"], "route": minutes.LONGER["06.route"]}
    known |= {"waiting": minutes.WAITING["04"], "total": total, "course": course, "rows": "\n".join(rows)}
    return README.format(**vars(minutes), **known)


# ---- Model answers --------------------------------------------------------------------------------------

WRITTEN = {  # functions of server.py that students write, by the names that hints.toml has for them
    "02.answer": "answer",
    "02.accepted_pixels": "accepted_pixels",
    "03.authenticate": "authenticate",
    "03.hit": "hit",
}


def model_answers() -> dict[str, str]:
    """For every exercise its solution cell, and for every function that students write its source."""
    found = {}
    for lab in LABS:
        for cell in nbformat.read(HERE / lab["file"], as_version=4).cells:
            if "solution" in cell.metadata.get("tags", []):
                found[f"{lab['file'][:2]}.{cell.id.removesuffix('-solution')}"] = cell.source
    source = (HERE.parent / "server.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        for name in [name for name, function in WRITTEN.items() if function == getattr(node, "name", "")]:
            found[name] = ast.get_source_segment(source, node, padded=True)
    return found


def sealed(answers: dict[str, str]) -> str:
    """answers.json: packed, so that nobody reads an answer who only wants to see what the file is."""
    packed = {
        name: base64.b64encode(zlib.compress(text.encode(), 9)).decode() for name, text in answers.items()
    }
    return json.dumps(dict(sorted(packed.items())), indent=1) + "\n"


# ---- Text to notebook, and back -------------------------------------------------------------------------


def from_text(text: str):
    """The file name in the first line, and the notebook that the cells below it make."""
    file, *pieces = text.strip("\n").split("\n%% ")
    cells = [new_markdown_cell(id="title", source="")]
    for piece in pieces:
        head, _, source = piece.partition("\n")
        name, *tags = head.split()
        kind = new_markdown_cell if "markdown" in tags else new_code_cell
        tags = [tag for tag in tags if tag != "markdown"]
        cells.append(kind(id=name, source=source.strip("\n"), metadata={"tags": tags} if tags else {}))
    cells.append(new_markdown_cell(id="footer", source=""))
    return file.strip(), new_notebook(cells=cells)


def to_text(path: Path) -> str:
    """The reverse of from_text."""
    text = f"{path.name}\n"
    for cell in nbformat.read(path, as_version=4).cells[1:-1]:
        kind = ["markdown"] if cell.cell_type == "markdown" else []
        text += f"\n%% {' '.join([cell.id, *kind, *cell.metadata.get('tags', [])])}\n{cell.source}\n"
    return text


# ---- Run and store --------------------------------------------------------------------------------------


def stored(notebook, number: int):
    """The notebook with what the table says, and with nothing that changes from run to run."""
    notebook.cells[-1].source = footer(number)
    notebook.cells[0].source = title(number, minutes.minutes(LABS[number]["file"][:2], notebook.cells[1:]))
    notebook.metadata, notebook.nbformat, notebook.nbformat_minor = METADATA, 4, 5
    for count, cell in enumerate([cell for cell in notebook.cells if cell.cell_type == "code"], 1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            output.get("data", {}).pop(WIDGET, None)  # it lives as long as its kernel
            if "text/html" in output.get("data", {}):  # Jupyter shows no picture of a notebook not yet run
                kept = re.sub("(?s)<svg.*?</svg>", "<svg></svg>", output.data["text/html"])
                output.data["text/html"] = re.sub("<table>.*?</table>", "<table></table>", kept)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    return notebook


def execute(notebook, folder: Path = HERE):
    """Run all cells on a fresh kernel. Raises CellExecutionError where one fails."""
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", coalesce_streams=True)
    client.execute(cwd=str(folder))
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="notebooks, or texts with --write")
    parser.add_argument("--write", action="store_true", help="make the notebooks of these texts first")
    parser.add_argument("--text", action="store_true", help="print these notebooks as texts")
    options = parser.parse_args()
    if options.text:
        print("\n".join(to_text(file) for file in options.files), end="")
        return 0
    files = options.files or sorted(HERE.glob("*.ipynb"))
    for file in files:
        if options.write:
            name, notebook = from_text(file.read_text(encoding="utf-8"))
        else:
            name, notebook = file.name, nbformat.read(file, as_version=4)
        notebook = stored(execute(notebook), place_of(name))
        nbformat.validate(notebook)
        nbformat.write(notebook, HERE / name)
        print(f"{name}: {len(notebook.cells)} cells, {(HERE / name).stat().st_size / 1000:.1f} kB")
    (HERE / "README.md").write_text(readme(), encoding="utf-8")
    (HERE / "answers.json").write_text(sealed(model_answers()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
