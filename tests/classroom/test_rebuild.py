"""checks/classroom/rebuild.py: of a student come the exercises alone."""

import json

import pytest
from made_labs import LAB, QUESTION, ROOT, cell, handed_in, notebook, read
from nbval.plugin import comment_markers

from checks.classroom import rebuild
from checks.classroom.cells import tags


def test_only_the_exercises_come_from_the_student(tmp_path):
    theirs = handed_in(
        cell("number", "number = 41 + 1", "exercise", "nbval-skip", "anything"),
        cell("sum", "print('I was here')", "nbval-ignore-output"),
        cell("number-check", "print('✓ full marks')", "solution"),
        first=(cell("new", "import os; os._exit(0)"),),
        last=(cell("copy", "number = 43", "exercise"),),
    )
    theirs["cells"].reverse()
    cells, notes = read(tmp_path, theirs)
    rebuilt = rebuild.rebuild(LAB, cells, notes)
    assert notes == []
    assert [one["id"] for one in rebuilt["cells"]] == [
        one["id"] for one in LAB["cells"] if "solution" not in tags(one)
    ]
    changed = [one for one in rebuilt["cells"] if one not in LAB["cells"]]
    assert [(one["id"], one["source"]) for one in changed] == [
        ("number", "number = 41 + 1"),
        ("other", "other = None"),
    ]
    assert all(tags(one) == ["exercise", "nbval-ignore-output"] for one in changed)
    assert rebuild.done_exercises(LAB, rebuilt) == {"number": "number = 41 + 1"}


def test_an_exercise_in_two_cells_is_one_and_a_helper_above_it_is_part_of_it(tmp_path):
    theirs = handed_in(cell("number", "half = 21"))
    place = [one["id"] for one in theirs["cells"]].index("number")
    theirs["cells"].insert(place + 1, cell("mine", "number = twice(half)"))
    theirs["cells"].insert(place, cell("help", "def twice(one):\n    return 2 * one"))
    theirs["cells"].insert(place + 5, cell("scratch", "print('nothing to do with it')"))
    cells, notes = read(tmp_path, theirs)
    rebuilt = rebuild.rebuild(LAB, cells, notes)
    of = {one["id"]: one["metadata"]["of"] for one in rebuilt["cells"] if "of" in one["metadata"]}
    assert of == {
        **{"number-above-1": "number", "number": "number", "number-below-1": "number"},
        **{"other": "other", "other-below-1": "other"},
    }
    assert rebuild.done_exercises(LAB, rebuilt) == {"number": "half = 21\n\nnumber = twice(half)"}


def test_shell_lines_beside_an_exercise_are_not_run_unless_they_are_the_answer():
    lab = notebook(cell("loop", "%%dev\n# for …", "exercise"))
    beside = {"type": "code", "above": [], "below": ["%%dev\ncurl $URL"]}
    for source, ids, done in (
        ("%%dev\n# for …", ["loop", "loop-below-1"], {"loop": "%%dev\ncurl $URL"}),
        ("%%dev\nfor", ["loop"], {"loop": "%%dev\nfor"}),
    ):
        rebuilt = rebuild.rebuild(lab, {"loop": beside | {"source": source}}, [])
        assert [one["id"] for one in rebuilt["cells"]] == ids
        assert rebuild.done_exercises(lab, rebuilt) == done


@pytest.mark.parametrize(
    ("beside", "runs"),
    [
        ("%%dev\ncurl $URL", False),
        ("%%bash\ncurl $URL", False),
        ("# look\n!curl $URL\n!ls", False),
        ("%%time\nhelp = 1", True),
        ("%%capture\nhelp = 1", True),
        ("!ls\nhelp = 1", True),
        ("%pwd", True),
    ],
)
def test_a_helper_under_a_magic_runs_and_a_cell_of_shell_does_not(beside, runs):
    lab = notebook(cell("number", "number = None", "exercise"))
    theirs = {"type": "code", "source": "number = help", "above": [beside], "below": []}
    rebuilt = rebuild.rebuild(lab, {"number": theirs}, [])
    assert [one["source"] for one in rebuilt["cells"][:-1]] == [beside] * runs


def test_odd_cells_are_noted_and_tolerated(tmp_path):
    theirs = handed_in(cell("number", "number = 42", kind="markdown"))
    theirs["cells"] = [one for one in theirs["cells"] if one["id"] != "other"]
    theirs["cells"] += [cell("number", "number = 1"), cell("sum", 7), {"source": "x"}, "cell", None]
    theirs["cells"].append({"metadata": {"id": "why"}, "source": ["from ", "Colab"], "cell_type": "markdown"})
    cells, notes = read(tmp_path, theirs)
    rebuilt = rebuild.rebuild(LAB, cells, notes)
    assert rebuild.done_exercises(LAB, rebuilt) == {"number": "number = 42"}
    assert notes == [
        "3 cells have no source that is text, and were left out",
        "the exercise number is a cell of another type; it was run as code",
        "the exercise other is missing, and counts as not done",
    ]


@pytest.mark.parametrize(
    "comment", ["# NBVAL_SKIP", "  #NBVAL_IGNORE_OUTPUT  ", *(f"## {one}" for one in comment_markers)]
)
def test_a_comment_of_nbval_is_taken_out_of_a_students_source(comment):
    assert (
        rebuild.without_markers(f"x = 1\n{comment}\r\ny = '# NBVAL_SKIP'") == "x = 1\n#\ny = '# NBVAL_SKIP'"
    )
    assert rebuild.without_markers(f"x = 1\x0c{comment}\n") == "x = 1\x0c#\n"


@pytest.mark.parametrize(
    "source", ["number = None", "\n number  =  None # mine", "number = (None)", "", "  \n"]
)
def test_spaces_and_comments_do_not_do_an_exercise(source):
    assert rebuild.same_code(source, "number = None  # yours")


@pytest.mark.parametrize("source", ["number = 42", "%%dev\ncurl", "number = ", "(" * 9999])
def test_other_code_does_and_may_be_anything(source):
    assert not rebuild.same_code(source, "number = None  # yours")


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        (f"{QUESTION}\n\nBecause.\n", "Because."),
        ("I deleted your words: because.", "I deleted your words: because."),
        ("**1.** Why, oh why?\n\n*Your answer:* Because.", "Because."),
        (QUESTION, ""),
        (f"{QUESTION} No *Your answer:* is needed.", "No *Your answer:* is needed."),
    ],
)
def test_a_reflection_answer_is_collected_without_its_question(written, answer):
    theirs = {"why": {"source": written, "type": "raw"}}
    assert rebuild.collected(LAB, theirs, "01_lab", {}) == [
        {"lab": "01_lab", "id": "why", "question": "**1.** Why?", "answer": answer}
    ]


def test_exercises_of_a_lab_that_nobody_runs_are_collected_too():
    told = rebuild.collected(LAB, {}, "04_lab", {"number": "number = 42"})
    of = {"lab": "04_lab", "id": "number"}
    assert told[0] == of | {"question": "exercise number", "answer": "number = 42"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"", "it is empty"),
        (
            b'{"cells": [\n<<<<<<< HEAD\n{"source": "a"}\n=======\n{"source": "b"}\n>>>>>>> theirs\n]}',
            "it has a merge conflict in it (<<<<<<<): keep one of the two sides, and hand it in again",
        ),
        (b"<<<<<<< are no conflict", "it is not JSON"),
        (
            '{"nbformat": 4, "cells": "Übung"}'.encode("latin-1"),
            "it is not UTF-8: open it in Jupyter, save it, and hand it in again",
        ),
        (b"[]", "it is no notebook of the format 4"),
        ({"nbformat": 3, "worksheets": []}, "it is no notebook of the format 4"),
        ({"nbformat": 4, "cells": {}}, "its cells are no list of at most 2000"),
        ({"nbformat": 4, "cells": [{}] * 10_000}, "its cells are no list of at most 2000"),
        (b" " * (9 << 20), "it has 9 MiB; 8 are the most"),
    ],
)
def test_junk_is_refused_with_the_reason(content, why, tmp_path):
    with pytest.raises(rebuild.BadNotebook) as refused:
        read(tmp_path, content)
    assert str(refused.value) == why


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_notebook_that_an_editor_of_windows_saved_is_read_like_any_other(encoding, tmp_path):
    theirs = json.dumps(handed_in(cell("number", "number = 42  # für dich")), ensure_ascii=False)
    cells, notes = read(tmp_path, theirs.replace("\n", "\r\n").encode(encoding))
    assert cells["number"]["source"] == "number = 42  # für dich" and notes == []


def test_half_a_character_in_an_answer_can_be_written_down(tmp_path):
    cells, _ = read(tmp_path, handed_in(cell("number", "number = 42  # \ud83d")))
    assert cells["number"]["source"].encode() == b"number = 42  # ?"


def test_a_notebook_is_found_anywhere_but_never_through_a_link(tmp_path):
    for name in ("labs/01.ipynb", "old/02.ipynb", "old/new/02.ipynb", "labs/.ipynb_checkpoints/03.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "04.ipynb").symlink_to("/etc/passwd")
    (tmp_path / "away").symlink_to(ROOT / "labs")
    notes = []
    assert rebuild.find(tmp_path, "01.ipynb", notes) == tmp_path / "labs/01.ipynb" and not notes
    assert rebuild.find(tmp_path, "02.ipynb", notes) == tmp_path / "old/02.ipynb"
    assert notes == ["there is more than one; not looked at: old/new/02.ipynb"]
    for name in ("03.ipynb", "04.ipynb", "05_reflect_and_extend.ipynb"):
        with pytest.raises(rebuild.BadNotebook, match="was not handed in"):
            rebuild.find(tmp_path, name, notes)


@pytest.mark.parametrize(
    "theirs",
    ["01_http_rest (1).ipynb", "01_http_rest_Müller.ipynb", "ada 01-HTTP-rest.ipynb", "01_http.ipynb"],
)
def test_a_notebook_is_found_under_the_names_that_browsers_and_students_give_it(tmp_path, theirs):
    notes = []
    for name in (theirs, "02_the_contract.ipynb"):
        (tmp_path / name).write_text("{}")
    assert rebuild.find(tmp_path, "01_http_rest.ipynb", notes) == tmp_path / theirs
    assert notes == [f"{theirs} was taken for 01_http_rest.ipynb"]
