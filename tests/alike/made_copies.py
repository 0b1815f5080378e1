"""A class that is made up, with known copies; the originals are servers of our own tests."""

import ast
import json
import random
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '</code></details><script>alert(1)</script><img src=x onerror="alert(2)">\x1b[31m\u202e\0 & &amp;'
LAB = "05_answer_for_it.ipynb"
THOUGHT = """When the process dies at night nobody is awake, so the service manager has to bring it back by
itself, and the journal has to tell me in the morning what it was that killed it, or else it
dies again tomorrow. I would write a line for every restart, and look at them before breakfast,
since a loop of restarts looks healthy from afar."""


def server(name: str) -> str:
    """A server of tests/ that no student has."""
    return (ROOT / "tests" / name).read_text(encoding="utf-8")


class Renamed(ast.NodeTransformer):
    """Gives another name to whatever has been given one here; docstrings go, and layout with them."""

    def __init__(self, tree: ast.AST):
        defined = {node.name for node in ast.walk(tree) if isinstance(node, DEFINITIONS)}
        defined |= {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        defined |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        self.names = {name: f"other_{place}" for place, name in enumerate(sorted(defined))}

    def visit(self, node):
        for field in ("id", "name", "arg", "attr"):
            if isinstance(name := getattr(node, field, None), str):
                setattr(node, field, self.names.get(name, name))
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def renamed(text: str) -> str:
    """The same with other names, quotes and line breaks, and without comments and docstrings."""
    tree = ast.parse(text)
    return ast.unparse(Renamed(tree).visit(tree))


def reordered(text: str) -> str:
    """The same with its functions and methods in another order, and a remark before each."""
    tree = ast.parse(text)
    for node in [tree, *ast.walk(tree)]:
        if isinstance(node, ast.Module | ast.ClassDef):
            moved = [one for one in node.body if isinstance(one, DEFINITIONS)]
            random.Random(1).shuffle(moved)
            node.body = [one for one in node.body if one not in moved] + moved
    lines = ast.unparse(tree).split("\n")
    return "\n".join(f"{line}  # my own remark {number}" for number, line in enumerate(lines))


def function_of(text: str, name: str) -> str:
    """One function of it."""
    found = next(one for one in ast.walk(ast.parse(text)) if getattr(one, "name", "") == name)
    return ast.get_source_segment(text, found)


def by_the_hints(number: int) -> str:
    """The kit's server with the functions as the hints and the model answers have them, and a little more."""
    own = {
        1: "\ndef motto():\n    return random.choice(['slow', 'steady'])\n",
        2: "\nfor word in sys.argv:\n    print(len(word) * '-', word)\n",
        3: "\nif len(sys.argv) > 3:\n    sys.exit('too many words')\n",
        4: "\nwith open('notes.txt', 'a') as notes:\n    notes.write('started')\n",
    }
    return (ROOT / "server.py").read_text(encoding="utf-8") + own[number]


def giant() -> str:
    """Megabytes of code."""
    return "".join(f"def f{number}(a):\n    return a[{number}] + {number}\n" for number in range(60_000))


def answered(text: str) -> str:
    """Lab 05 with this answer to its first question."""
    lab = json.loads((ROOT / "labs" / LAB).read_text(encoding="utf-8"))
    lab["cells"] = [cell for cell in lab["cells"] if "solution" not in cell["metadata"].get("tags", [])]
    cell = next(cell for cell in lab["cells"] if cell["id"] == "reflection-1")
    cell["source"] = "".join(cell["source"]) + "\n\n" + text
    return json.dumps(lab)


# what is the same in two: who, and which part of it is at least theirs together
COPIES = {
    ("ada", "ben"): "all of it",
    ("cleo", "dan"): "all of it, with other names",
    ("eve", "finn"): "all of it, in another order and with other remarks",
    ("kim", "lea"): "all of it, and one does not even compile",
    ("gina", "hugo"): "one function",
    ("quin", "ruth"): "an answer",
    ("<b>olaf", "paul"): "a text that is no friend of pages",
}
HONEST = ("ines", "jon")  # both solved it by the hints
ODD = {"moe": "", "ned": giant()}


def files_of_the_class() -> dict[str, dict[str, str]]:
    """{student: {file: content}}."""
    gina, hugo = server("hostile_server.py"), server("classroom/lms.py")
    kim = server("stand_in/prod_machine.py")
    trap = "".join(
        f"trap = {'[' * n}{HOSTILE!r}, {n} + len({'{' * n}{'}' * n}){']' * n}\n" for n in range(1, 9)
    )
    trap += f"# {HOSTILE}\n"
    servers = {
        "ada": server("correct/fastapi_contract.py"),
        "ben": server("correct/fastapi_contract.py"),
        "cleo": server("correct/flask_contract.py"),
        "dan": renamed(server("correct/flask_contract.py")),
        "eve": server("faulty/service.py"),
        "finn": reordered(server("faulty/service.py")),
        "gina": gina,
        "hugo": f"{hugo}\n\n{function_of(gina, 'handle')}\n",
        "ines": by_the_hints(1),
        "jon": by_the_hints(2),
        "kim": kim,
        "lea": kim.replace("def ", "def def (", 1),
        "<b>olaf": trap,
        "paul": f"# mine\n{trap}",
        "quin": by_the_hints(3),
        "ruth": by_the_hints(4),
        **ODD,
    }
    files = {name: {"server.py": text} for name, text in servers.items()}
    files["ben"] = {"app/main.py": servers["ben"]}
    files["quin"][f"labs/{LAB}"] = answered(THOUGHT)
    files["ruth"][f"labs/{LAB}"] = answered(THOUGHT.upper().replace(",", " -").replace("breakfast", "LUNCH"))
    files["ines"][f"labs/{LAB}"] = answered("It restarts; `systemctl status` says so.")
    files["jon"][f"labs/{LAB}"] = answered("systemd starts it again after two seconds, as RestartSec says.")
    return files


def make(folder: Path) -> Path:
    """Write the class; one of them is a zip."""
    for name, files in files_of_the_class().items():
        for file, text in files.items():
            target = folder / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    shutil.make_archive(str(folder / "ben"), "zip", folder / "ben")
    shutil.rmtree(folder / "ben")
    return folder
