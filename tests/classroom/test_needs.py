"""checks/classroom/needs.py: an exercise takes along what it needs of the student's other cells."""

import json

import pytest
from made_labs import LAB, cell, handed_in, read

from checks.classroom import rebuild
from checks.classroom.needs import needed, to_run, without

TOP = "import re, math\nimport numpy as np\nfrom pathlib import Path as P"
HELPER = "def helper(a):\n    return a + STEP"


@pytest.mark.parametrize(
    ("exercise", "above", "taken"),
    [
        ("x = 42", [TOP], ""),
        ("x = re.sub('a', 'b', raw)", [TOP], "import re, math"),
        ("x = [np.array(P(one)) for one in raw]", [TOP], "import numpy as np\nfrom pathlib import Path as P"),
        ("import re\nx = re.sub('a', 'b', raw)", [TOP], ""),
        ("def solve(re): return re\nx = solve(1)", [TOP], ""),
        ("x = helper(1)", [HELPER, "STEP = 1"], f"{HELPER}\nSTEP = 1"),
        ("x = one", ["one = 1\ntwo = 2", "one = 3"], "one = 3"),
        ("x = ask(raw)", ["def ask(raw): return 7"], ""),
        ("x = len(raw)", ["len = 7", "y = 1"], ""),
        ("x = sqrt(4)", ["from math import *", "print(sqrt)"], "from math import *"),
        ("x = out[0]", ["%time\nout = [1]\n!ls", "%%dev\nout = 5 of $URL"], "out = [1]"),
        ("%%time\nx = re.escape('.')", [TOP], "import re, math"),
        ("x = row", ["y = [row for row in range(3)]"], ""),
        ("x = (", [TOP], ""),
        ("x = out", ["out = ("], ""),
        ("x = out", ["y = 1; " * 100_000, "out = 1"], "out = 1"),
        ("x = out", ["out = 1", "y = 1; " * 100_000], ""),
    ],
)  # fmt: skip
def test_what_gives_a_name_that_is_used_is_taken_along(exercise, above, taken):
    assert needed([exercise], above, {"raw", "ask", "x"}) == taken


def test_an_import_in_the_first_cell_and_a_helper_far_above_belong_to_the_exercise(tmp_path):
    theirs = handed_in(
        cell("kit", "from labkit import *\nimport re\nserver = Server()\nserver.stop()"),
        cell("number", "number = int(digits('<42>'))"),
        cell("other", "other = digits('<1>')"),
        first=(cell("mine", "def digits(text):\n    return re.sub('[<>]', '', text)\nprint('hello')"),),
    )
    cells, notes = read(tmp_path, theirs)
    rebuilt = rebuild.rebuild(LAB, cells, notes)
    told = [(one["of"], one["source"]) for one in to_run(rebuilt) if one["of"]]
    helper = "def digits(text):\n    return re.sub('[<>]', '', text)\nimport re"
    assert told == [
        ("number", helper),
        ("number", "number = int(digits('<42>'))"),
        ("other", "other = digits('<1>')"),
    ]
    assert sorted(rebuild.done_exercises(LAB, rebuilt)) == ["number", "other"]


def test_a_cell_that_is_left_out_is_run_where_an_exercise_uses_what_only_it_gives():
    cells = [
        {"id": "kit", "of": "", "source": "server = Server()"},
        {"id": "look", "of": "", "source": "answer = ask()"},
        {"id": "cafe", "of": "", "source": "cafe = server = Server()"},
        {"id": "one", "of": "one", "source": "answer = cafe\nbehind = answer, server"},
    ]
    assert [cell["id"] for cell in without(cells, ("look", "cafe"))] == ["kit", "cafe", "one"]
    cells[-1]["source"] = "behind = server"
    assert [cell["id"] for cell in without(cells, ("look", "cafe"))] == ["kit", "one"]


def test_in_which_order_cells_were_run_and_what_they_showed_then_has_no_say(tmp_path):
    mine = (cell("mine", "answer = 41"), cell("mine-too", "answer = 42"))
    theirs = json.loads(json.dumps(handed_in(cell("number", "number = answer"), first=mine)))
    once = rebuild.rebuild(LAB, read(tmp_path, theirs)[0], [])
    code = [one for one in theirs["cells"] if one["cell_type"] == "code"]
    for place, one in enumerate(code):
        one["execution_count"] = 99 - place
    assert rebuild.rebuild(LAB, read(tmp_path, theirs)[0], []) == once
    for place, one in enumerate(code):
        one["execution_count"] = (7, None, 3, 3, "x", -1, 2**70)[place % 7]
        one["outputs"] = [{"output_type": "error", "ename": "NameError", "evalue": "?", "traceback": []}]
    for odd in code[::2]:
        del odd["execution_count"]
    assert rebuild.rebuild(LAB, read(tmp_path, theirs)[0], []) == once
    assert json.dumps(once).count("NameError") == 0
