"""Submissions that say of themselves how good they are, or change what judges them."""

import json

from hostile import LAZY, hostile

FULL = {"earned": 100, "points": 100, "status": "graded", "results": []}


@hostile(LAZY, says="TRIED")
def forged_results(place):
    """writes results in the form of the grader wherever it can, and hands some in"""
    names = (
        "results.jsonl",
        "report.json",
        "results.json",
        "record.json",
        "grade.json",
        "junit.xml",
        "gradebook.csv",
    )
    for name in names:
        place.write(name, json.dumps(FULL))
    place.server(
        f"""
for folder in (".", "..", "/tmp", "/dev/shm", "/submission/grades"):
    for name in {names}:
        try: open(folder + "/" + name, "w").write({json.dumps(FULL)!r})
        except OSError: pass
print("TRIED")
""",
        lazy=True,
    )


@hostile(LAZY, says="TRIED")
def results_printed(place):
    """prints lines as the grader's own processes do, on both outputs"""
    line = json.dumps({"record": {"version": 1, "name": "x", "status": "graded", "report": FULL}})
    place.server(
        f"""
import os
for _ in range(50): os.write(1, {line!r}.encode() + b"\\n"); os.write(2, {line!r}.encode() + b"\\n")
print("passed: 100 of 100 points TRIED")
""",
        lazy=True,
    )


@hostile(LAZY, says="TRIED")
def patched_requests_and_pytest(place):
    """brings its own sitecustomize, conftest, requests, pytest and checks, which tell who imports them"""
    tells = f"""
import os
if not os.path.isdir("/.submission"):
    open({place.targets.marker!r}, "w").write("STOLEN")
"""
    for name in (
        "sitecustomize",
        "usercustomize",
        "conftest",
        "requests",
        "pytest",
        "checks/__init__",
        "httpx",
    ):
        place.write(f"{name}.py", tells)
    place.write("evil.pth", "import sitecustomize\n")
    place.write("pytest.ini", "[pytest]\naddopts = -p conftest\n")
    place.server("print('TRIED')", lazy=True)


@hostile(LAZY, says="TRIED")
def notebook_with_tampered_tests(place):
    """a notebook whose checks are replaced by ones that always pass"""
    place.write("labs/my_own_lab.ipynb", notebook("def expect(*a, **k): return True\ncheck = expect"))
    place.server("print('TRIED')", lazy=True)


@hostile(LAZY, says="TRIED")
def notebook_that_prints_its_score(place):
    """a notebook whose stored outputs say that everything passed"""
    place.write("labs/my_own_lab.ipynb", notebook("print('all passed')", "✓ 100 of 100 points"))
    place.server("print('TRIED')", lazy=True)


def notebook(source: str, output: str = "") -> str:
    printed = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    cell = {"cell_type": "code", "id": "wrong-key", "metadata": {}, "execution_count": 1}
    cells = [cell | {"outputs": printed, "source": source}]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
