"""checks/classroom/cells.py: cells are found in every form in which editors save a notebook."""

import copy
import json

import pytest
from made_labs import LAB, QUESTION, ROOT, cell, handed_in, notebook, read

from checks.classroom import rebuild
from checks.classroom.cells import matched, source_of, tags

THEIRS = handed_in(cell("number", "number = 42"), cell("why", f"{QUESTION} Because.", kind="markdown"))
BY_PLACE = "2 of its exercises and answers were found by their text and place, not by an ID"


def without_ids(lab: dict) -> dict:
    """As an old editor saves it (nbformat 4.4)."""
    return lab | {
        "nbformat_minor": 4,
        "cells": [{k: v for k, v in one.items() if k != "id"} for one in lab["cells"]],
    }


def with_new_ids(lab: dict) -> dict:
    return lab | {"cells": [one | {"id": f"cell-{n}"} for n, one in enumerate(lab["cells"])]}


def colab(lab: dict) -> dict:
    cells = [one | {"metadata": {"id": one["id"]}} for one in lab["cells"]]
    return without_ids(lab | {"cells": cells})


def told(cells: dict, notes: list) -> tuple[dict, list[str]]:
    """({exercise: what was done}, answers)."""
    done = rebuild.done_exercises(LAB, rebuild.rebuild(LAB, cells, notes))
    return done, [one["answer"] for one in rebuild.collected(LAB, cells, "01", {})]


@pytest.mark.parametrize(
    ("saved", "notes"),
    [(lambda lab: lab, []), (colab, []), (without_ids, 3), (with_new_ids, 3)],
    ids=["as it is", "Colab", "without IDs", "with new IDs"],
)
def test_exercises_and_answers_are_found_however_it_was_saved(tmp_path, saved, notes):
    cells, noted = read(tmp_path, saved(THEIRS))
    assert told(cells, []) == ({"number": "number = 42"}, ["Because."])
    assert noted == ([BY_PLACE.replace("2", str(notes))] if notes else [])


@pytest.mark.parametrize("saved", [lambda lab: lab, without_ids, with_new_ids])
def test_an_answer_in_the_cells_below_its_question_is_found(tmp_path, saved):
    below = [cell("new", "Because.", kind="markdown"), cell("more", "And so on.", kind="raw")]
    theirs = handed_in(last=(*below, cell("code", "1 + 1"), cell("no answer", "x", kind="markdown")))
    assert told(read(tmp_path, saved(theirs))[0], [])[1] == ["Because.\n\nAnd so on."]


def test_an_answer_in_its_place_is_not_mixed_with_what_stands_below(tmp_path):
    theirs = notebook(*THEIRS["cells"], cell("new", "My notes.", kind="markdown"))
    assert told(read(tmp_path, theirs)[0], [])[1] == ["Because."]


def test_of_a_copied_exercise_the_one_that_was_worked_counts(tmp_path):
    theirs = handed_in(last=(cell("number", "number = 42"),))
    assert told(read(tmp_path, theirs)[0], [])[0] == {"number": "number = 42"}


def test_own_cells_between_those_of_the_lab_are_not_taken_for_exercises(tmp_path):
    cells = without_ids(THEIRS)["cells"]
    mine = {"cell_type": "code", "source": "print('mine')", "metadata": {}}
    theirs = notebook(mine, *(one for each in cells for one in (each, mine)))
    assert told(read(tmp_path, theirs)[0], [])[0] == {"number": "number = 42"}


def test_another_notebook_gives_nothing(tmp_path):
    theirs = notebook(*(cell(f"c{n}", f"number = {n}") for n in range(9)))
    cells, notes = read(tmp_path, theirs)
    assert told(cells, []) == ({}, [""]) and not notes


@pytest.mark.parametrize("lab", sorted((ROOT / "labs").glob("*.ipynb")), ids=lambda lab: lab.stem[:2])
@pytest.mark.parametrize("saved", [without_ids, with_new_ids])
def test_every_exercise_of_the_real_labs_is_found_without_ids(tmp_path, lab, saved):
    original = json.loads(lab.read_text(encoding="utf-8"))
    theirs = copy.deepcopy(original)
    theirs["cells"] = [one for one in theirs["cells"] if "solution" not in tags(one)]
    wanted = {}
    for number, one in enumerate(theirs["cells"]):
        if "exercise" in tags(one):
            one["source"] = wanted[one["id"]] = f"worked = {number}"
        elif "reflection" in tags(one):
            one["source"] = wanted[one["id"]] = source_of(one) + f" Because {number}."
    file, notes = tmp_path / "x.ipynb", []
    file.write_text(json.dumps(saved(theirs)))
    cells = matched(original, rebuild.read(file, notes), notes)
    assert {name: cells.get(name, {}).get("source") for name in wanted} == wanted
