"""labs/pieces.py: the small tests of single functions pass for ours, and each of them notices its fault."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_labs_student import with_open_gates

from checks.editions.tables import STUBS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "labs"))

import judging  # noqa: E402  (labs/ is no package)
import labkit  # noqa: E402
import pieces  # noqa: E402
import running  # noqa: E402

FAULTS = [  # function, what stands there, the fault, the piece that notices
    ("answer", "return orjson.dumps(declared)", "return orjson.dumps(declared).decode()", "json_in_bytes"),
    ("answer", '    response.content_type = "application/json"\n', "", "json_in_bytes"),
    ("answer", "if field in body}", "if field in body} | body", "drops_what_is_not"),
    ("answer", "    validator(name).validate(declared)\n", "", "lets_nothing_wrong"),
    ("accepted_pixels", ".reshape(1, 28, 28)", ".reshape(28, 28)", "become_an_array"),
    ("accepted_pixels", "raise HTTPError(422, [explain(error)])", "raise HTTPError(422)", "another_size"),
    ("accepted_pixels", "document = parse_json(body)", "document = json.loads(body)", "no_json"),
    ("authenticate", "if not hmac", "if hmac", "alone_passes"),
    ("authenticate", '.encode("latin-1")', ".encode('ascii')", "refused_alike"),
    ("authenticate", '"send the API key of', 'f"{sent} is not the API key of', "refused_alike"),
    ("authenticate", "www_authenticate=", "authenticate=", "says_what_is_asked"),
    ("hit", "used + cost <= self.count", "used + cost < self.count", "as_many_as"),
    ("hit", "math.ceil(end - now)", "int(end - now)", "rounded_up"),
    ("hit", "max(1, math.ceil(end - now))", "math.ceil(end - now - 0.2)", "rounded_up"),
    ("hit", "if end <= now:", "end += used >= self.count\n            if end <= now:", "does_not_make"),
    ("hit", "if admitted and cost:", "if admitted:\n                cost = 1", "look_costs"),
    ("hit", "now = self.clock()", 'now, client = self.clock(), "all"', "own_window"),
    ("hit", "self._make_room(client)", "pass", "bounded"),
    ("hit", "with self.lock:", "if True:", "under_the_lock"),
]  # fmt: skip


@pytest.fixture
def tried(tmp_path, warm_python):
    """`tried(text, function)`: what pieces.py finds out about a function of this server.py: what is wrong, by
    the piece."""
    for name in ("schemas", "models", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)

    def tried(text: str, function: str) -> dict[str, str]:
        (tmp_path / "server.py").write_text(text, encoding="utf-8")
        command = [warm_python.program, ROOT / "labs" / "pieces.py", tmp_path / "server.py", function]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        found = dict(json.loads(done.stdout)).values()
        return dict(zip([piece.__name__ for piece in pieces.PIECES[function]], found))

    return tried


WHOLE = (ROOT / "server.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("function", pieces.PIECES)
def test_every_piece_passes_for_our_function_and_none_for_an_open_gate(tried, function):
    assert not any(tried(WHOLE, function).values())
    assert all(tried(with_open_gates(WHOLE), function).values())


def test_there_are_pieces_for_every_function_that_students_write():
    assert pieces.PIECES.keys() == {name.rpartition(".")[2] for name in STUBS}


@pytest.mark.parametrize(("function", "old", "new", "noticed"), FAULTS)
def test_a_fault_is_noticed_by_the_piece_that_is_meant_for_it(tried, function, old, new, noticed):
    head, mark, tail = WHOLE.partition(f"def {function}(")
    assert old in tail
    wrong = tried(head + mark + tail.replace(old, new, 1), function)
    assert any(what and noticed in name for name, what in wrong.items()), wrong


def test_where_the_function_raised_is_named(tried):
    text = WHOLE.replace("    declared = {", "    declared = nonsense + {")
    number = next(n for n, line in enumerate(text.splitlines(), 1) if "nonsense" in line)
    told = tried(text, "answer")["answer_is_json_in_bytes"]
    assert told == f"NameError: name 'nonsense' is not defined (server.py, line {number})"


def test_a_check_shows_the_sentences_of_the_pieces_without_a_server(monkeypatch, tmp_path):
    monkeypatch.setattr(labkit.Server, "current", None)
    verdict = labkit.check("server.authenticate")
    told = verdict._repr_mimebundle_()[0]["text/plain"].splitlines()
    assert verdict and told == [f"✓ {piece.__doc__}" for piece in pieces.PIECES["authenticate"]]
    (tmp_path / "server.py").write_text("def answer((", encoding="utf-8")
    monkeypatch.setattr(judging, "SERVER", tmp_path / "server.py")
    monkeypatch.setattr(running, "ROOT", tmp_path)
    told = labkit.check("server.answer")._repr_mimebundle_()[0]["text/plain"]
    assert told.startswith("? answer cannot be tried alone: SyntaxError") and "server.py, line 1" in told
