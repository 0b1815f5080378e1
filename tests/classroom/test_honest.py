"""Honest work in all its shapes: at least thirty ways to solve each exercise, and none of them loses a point.

All of them run in one kernel in the sandbox, each in the place of its exercise's cell in its lab; the values
leave it and are judged as ever. To spare the seconds that each start of a server takes, those of the judge
are threads of its process, those that an answer of lab 05 starts do not run, and what is judged on a machine,
by a unit file or by a server of its own is judged once for all that have the same value.
"""

import json
import os
import subprocess
import sys

from made_honest import IMPORTS, variants
from made_labs import ROOT
from tree import copy_of_the_kit

from checks.classroom import exercises, notebooks
from checks.classroom.needs import to_run, without
from checks.classroom.rebuild import rebuild
from checks.classroom.sandbox import in_fresh_network

AT_LEAST = 30


def lab_with_variants(path) -> dict:
    """The task for a lab in which all variants of its exercises stand; told to honest_labs.py."""
    original = json.loads(path.read_text(encoding="utf-8"))
    cells = {cell["id"]: cell for cell in original["cells"]}
    of = {one.name: one for one in exercises.of_lab(path.name[:2]) if not one.human}
    made, several = [], {}
    for cell in to_run(rebuild(original, {}, [])):
        if cell["of"] not in of:
            made += [] if cell["of"] else [cell]
            continue
        for number, sources in enumerate(variants(of[cell["of"]], cells)):
            name = f"{cell['of']} {number}"
            several[name] = "\n+++\n".join(sources)
            for place, source in enumerate(sources):
                first, last = not place, place + 1 == len(sources)
                made.append({"id": name, "source": source, "of": name, "first": first, "last": last})
    made = without(made, exercises.LEFT_OUT[path.name[:2]])
    return {"ours": str(path), "lab": path.stem, "cells": made, "variants": several, "imports": IMPORTS}


def test_no_honest_answer_loses_a_point(tmp_path):
    theirs = copy_of_the_kit(tmp_path / "theirs")
    for notebook in (theirs / "labs").glob("*.ipynb"):  # a student's have no solutions
        notebook.unlink()
    kit = notebooks.copy_for_kernels(theirs, ROOT, tmp_path / "kit")
    machine = notebooks.copy_for_practice(ROOT, tmp_path / "machine")
    labs = [lab_with_variants(path) for path in sorted((ROOT / "labs").glob("*.ipynb"))]
    task = {"kit": str(kit), "instructor": str(ROOT), "machine": str(machine), "labs": labs}
    done = subprocess.run(
        in_fresh_network([sys.executable, ROOT / "tests" / "classroom" / "honest_labs.py", tmp_path]),
        input=json.dumps(task | {"limits": {"seconds": 300}, "cell_seconds": 60}),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    written = {(lab["lab"][:2], name): source for lab in labs for name, source in lab["variants"].items()}
    assert {(one["lab"], one["exercise"]) for one in told} == set(written)
    lost = [(one, written[one["lab"], one["exercise"]]) for one in told if not one["right"]]
    assert lost == [], "\n\n".join(f"{one}\n{source}" for one, source in lost)


def test_each_exercise_has_thirty_variants_and_no_two_are_alike():
    for path in sorted((ROOT / "labs").glob("*.ipynb")):
        several = lab_with_variants(path)["variants"]
        assert len(set(several.values())) == len(several)
        for one in exercises.of_lab(path.name[:2]):
            assert one.human or sum(name.startswith(f"{one.name} ") for name in several) >= AT_LEAST, (
                one.title
            )
