"""Labs whose authors want points and do not know the answer: none of them gains any."""

import json
import os
import subprocess
import sys

from made_forgeries import FORGERIES, MEND, START
from made_labs import ROOT, cell, notebook
from tree import copy_of_the_kit

from checks.classroom import notebooks
from checks.classroom.sandbox import in_fresh_network

RUN = """
import json, sys
from pathlib import Path
from checks.classroom import exercises, labs
root, scratch = map(Path, sys.argv[1:])
made = json.load(sys.stdin)
exercises.EXERCISES = tuple(exercises.Exercise("00", name, name, "x") for name in made["done"])
exercises.STANDS_ON["00"] = ()
task = {"kit": str(root), "instructor": str(root), "machine": str(root)}
task |= {"limits": {"seconds": 100}, "cell_seconds": 20}
told = []
labs.Lab(task, made | {"ours": str(scratch / "00_made.ipynb"), "lab": "00_made"}, scratch, told.append).run()
print("\\n" + json.dumps(told))
"""


def test_no_forgery_gains_a_point_and_no_honest_answer_between_them_loses_one(tmp_path):
    assert len(FORGERIES) >= 40
    theirs = copy_of_the_kit(tmp_path / "theirs")
    for notebook_ in (theirs / "labs").glob("*.ipynb"):  # a student's have no solutions
        notebook_.unlink()
    root = notebooks.copy_for_kernels(theirs, ROOT, tmp_path / "kit")
    written, checks = {"first": "x = 41"}, []
    for number, (name, source) in enumerate(FORGERIES.items()):
        written[name] = f"NAME, FILE = {name!r}, {str(tmp_path)!r}\n{source}"
        if number % 10 == 9 and number < 50:  # behind them are those that end their kernel
            written[f"honest {number}"] = "x = 41"
    cells = [{"source": START, "of": "", "first": True, "last": True}]
    for number, (name, source) in enumerate(written.items()):
        wanted = 41 if source == "x = 41" else 987_650_000 + number
        checks.append(cell(f"{name}-check", f"expect(x, equals={wanted})"))
        cells.append({"source": source, "of": name, "first": True, "last": True})
        cells.append({"source": MEND, "of": "", "first": True, "last": True})
    (tmp_path / "00_made.ipynb").write_text(json.dumps(notebook(*checks)))
    command = in_fresh_network([sys.executable, "-c", RUN, root, tmp_path])
    done = subprocess.run(
        command,
        input=json.dumps({"cells": cells, "done": list(written)}),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = {one["exercise"]: one for one in json.loads(done.stdout.splitlines()[-1])}
    assert set(told) == set(written)
    gained = {name: told[name] for name in FORGERIES if told[name]["right"]}
    assert gained == {}
    lost = {name: told[name] for name in set(written) - set(FORGERIES) if not told[name]["right"]}
    assert lost == {}, "\n".join(map(str, told.values()))
    assert told["a display hook that answers"]["received"] == "True", "it was asked, and not believed"
    assert told["the solutions in the kit"]["received"] == "0", "there are none"
    assert told["not a number"]["received"] == "nan and inf are no numbers here", "not even leaves"
