"""The exercises of the real labs, judged: what is wrong earns nothing, of whatever kind it is.

All of them are judged in one process, that has the instructor's cells and no kernel; the values come to it as
they leave a kernel, in the words of teller.py.
"""

import decimal
import fractions
import http
import itertools
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest
import requests
from made_labs import ROOT

from checks.classroom import exercises, plain, teller
from checks.classroom.sandbox import in_fresh_network

JUDGE = """
import json, sys
from pathlib import Path
from checks.classroom import exercises, labs, notebooks, plain
kit, scratch = Path(sys.argv[1]), Path(sys.argv[2])
machine = notebooks.copy_for_practice(kit, scratch / "machine")
task = {"instructor": str(kit), "machine": str(machine), "kit": str(machine), "limits": {}}
asked, told, judges = json.load(sys.stdin), [], {}
for name, text in asked:
    one = exercises.BY_NAME[name]
    if one.lab not in judges:
        (ours,) = (kit / "labs").glob(f"{one.lab}_*.ipynb")
        lab = {"lab": ours.stem, "ours": str(ours), "cells": [], "done": []}
        judges[one.lab] = labs.Lab(task, lab, scratch, lambda told: None)
    try:
        value = plain.received(text.replace("$THE_KEY", judges[one.lab].key))
        told.append(judges[one.lab].judge.judge(one, value))
    except plain.NotPlain as problem:
        told.append([False, str(problem)])
for one in judges.values():
    one.judge.close()
print("\\n" + json.dumps(told))
"""
URL, KEY = "http://127.0.0.1:4321", {"X-API-Key": "$THE_KEY"}
BLANK = [[0] * 28 for _ in range(28)]
DARK = {"pixels": [[256, *row[1:]] if not number else row for number, row in enumerate(BLANK)]}
PUT = {"params": {"digit": 7}, "headers": {"X-Course": "pixelwise"}, "json": {"label": "seven"}}


def asked(method: str, path: str, **more):
    """The answer of a server to this request, of which nothing but the request counts."""
    request = requests.Request(method, URL + path, **more).prepare()
    return SimpleNamespace(request=request, status_code=299, text="anything")


def asked_by_httpx(method: str, path: str, **more):
    return SimpleNamespace(request=httpx.Request(method, URL + path, **more))


def server(**settings):
    return SimpleNamespace(raw_log=print, settings={"DEBUG": "true", "RATE_LIMIT": "30/minute"} | settings)


DESIGN = {
    **{"method": "GET", "path": "/version", "key": False, "summary": "Which model?", "request": None},
    "response": {"model_version": {"type": "string"}, "model_sha256": {"type": "string"}},
    "statuses": {"200": "The version.", "500": "Our fault."},
}
WHO = """[Service]
User=produser
WorkingDirectory=/opt/pixelwise
EnvironmentFile=/opt/pixelwise/.env
Environment=HOST=0.0.0.0
ExecStart=/opt/pixelwise/.venv/bin/python server.py"""
RIGHT = [  # one of each way in which a value is judged; tests/classroom/honest has hundreds more
    ("00.survivors", [".env", "notes.txt"]),
    ("00.one-file", "git restore README.md"),
    ("00.repair-settings", "sed -i 's/^PORT=.*/PORT=8000/' .env"),
    ("01.own-header", asked("GET", "/headers", headers={"x-digit": "7"})),
    ("01.translate", asked_by_httpx("PUT", "/anything?digit=7", headers=PUT["headers"], json=PUT["json"])),
    ("02.refused", asked("POST", "/classify", headers=KEY, json=DARK)),
    ("03.guess", (401, 415, 429)),
    ("04.who", WHO),
    ("05.proxy", server(RATE_LIMIT="1/hour", TRUSTED_PROXY="127.0.0.1")),
    ("06.design", DESIGN),
]
PASTED = ("02.refused", asked("POST", "/classify", headers={"X-API-Key": "of-my-env"}, json=DARK))
WRONG = [
    PASTED,
    ("00.survivors", ["README.md", "notes.txt"]),
    ("00.survivors", ".env notes.txt"),
    ("00.one-file", "git reset --soft HEAD"),
    ("00.one-file", ["git", "restore", "README.md"]),
    ("00.old-key", "change-me"),
    ("00.repair-code", "echo 'import sys; sys.exit(0)' | tee server.py > models/predict.py"),
    ("00.repair-code", 'echo \'{"readme": ""}\' > /proc/$PPID/fd/1; kill -9 $PPID'),
    ("00.repair-artefact", "cd models && sha256sum *.pkl > SHA256SUMS"),
    ("00.repair-settings", "cp .env.example .env"),
    ("01.split-body", "HTTP/1.1 200 OK"),
    ("01.own-header", asked("GET", "/headers")),
    ("01.own-header", {"headers": {"X-Digit": "7"}}),
    ("01.repair-json", {"digits": [1, 2, 3], "ok": True}),
    ("01.pick-verb", {"/classify": "DELETE", "/results": "GET", "/health": "GET"}),
    ("01.pick-verb", {"/classify": "POST", "@127.0.0.1/": "GET"}),
    ("01.whose-turn", ["nobody"] * 5),
    ("01.translate", asked("POST", "/anything", **PUT)),
    ("02.too-dark", {"pixels": BLANK}),
    ("02.json-text", "[[0]*28 for _ in range(28)]"),
    ("02.refused", asked("POST", "/classify", headers=KEY, json={"pixels": BLANK})),
    ("02.refused", SimpleNamespace(status_code=422)),
    ("02.own-digit", asked("POST", "/classify", headers=KEY, json=DARK)),
    ("03.wrong-key", asked("POST", "/classify", headers=KEY, json={"pixels": BLANK})),
    ("03.lacking", asked("POST", "/classify", json={})),
    ("03.guess", [401, 422, 429]),
    ("03.found", [True, True]),
    ("04.who", WHO.replace("produser", "root")),
    ("04.again", "Restart=no"),
    ("04.harden", "ProtectHome=yes"),
    ("05.proxy", server(RATE_LIMIT="1/hour", TRUSTED_PROXY="10.0.0.1")),
    ("05.rotate", "a-new-key"),
    ("06.design", DESIGN | {"method": "POST", "statuses": {"200": "Thanks."}}),
    ("06.design", DESIGN | {"path": "/../../etc/passwd"}),
]
NOTHING = [(name, None) for name in exercises.BY_NAME if not exercises.BY_NAME[name].human]


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> list:
    """[right, what was wanted] for all of RIGHT, WRONG and NOTHING."""
    told = [(f"lab{name}", value) for name, value in RIGHT + WRONG] + NOTHING
    asked = [(name, *teller.Told(lambda: value)._repr_mimebundle_().values()) for name, value in told]  # noqa: B023
    command = in_fresh_network([sys.executable, "-c", JUDGE, ROOT, tmp_path_factory.mktemp("judge")])
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        **{"args": command, "input": json.dumps(asked), "env": environ, "capture_output": True, "text": True},
        **{"timeout": 590, "check": False},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_right_earns_its_points_beside_what_is_wrong(judged):
    assert [(name, told[1]) for (name, _), told in zip(RIGHT, judged) if not told[0]] == []


def test_what_is_wrong_earns_nothing(judged):
    told = judged[len(RIGHT) :]
    assert [(name, value) for (name, value), one in zip(WRONG, told) if one[0]] == []


def test_who_wrote_a_key_of_their_own_into_a_notebook_is_told_what_to_write(judged):
    told = [wanted for _, wanted in judged[len(RIGHT) : len(RIGHT) + len(WRONG)]]
    assert [one for one, wanted in zip(WRONG, told) if "server.key" in wanted] == [PASTED]


def test_what_is_left_at_none_earns_nothing(judged):
    told = judged[len(RIGHT) + len(WRONG) :]
    assert len(told) == len(NOTHING) and not any(right for right, _ in told)


# ---- What cannot leave its kernel -----------------------------------------------------------------------


def left(value):
    """What is known of a value out here."""
    return plain.received(teller.Told(lambda: value)._repr_mimebundle_()[plain.KIND])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (print, "it is of the type builtin_function_or_method: give a number, a text, True or False, or a "),
        ({200: "ok"}, 'the names in a dict have to be texts, such as "200"'),
        (float("nan"), "nan and inf are no numbers here"),
        ([decimal.Decimal("Infinity")], "nan and inf are no numbers here"),
        (itertools.count(), "it has more than 20000 parts"),
        (
            asked("POST", "/classify", data=iter([b"{}"])),
            "the body of its request is gone: send it with json=",
        ),
        (server(MODEL_PATH="mine.pkl"), "a server with this MODEL_PATH is not started here: leave it out"),
    ],
)
def test_what_cannot_leave_its_kernel_is_told_with_what_to_do(value, said):
    with pytest.raises(plain.NotPlain, match=re.escape(said)):
        left(value)


def test_a_whole_number_stays_one_whatever_its_type_and_a_part_of_one_becomes_a_decimal():
    told = left(
        [fractions.Fraction(8, 2), decimal.Decimal("4"), http.HTTPStatus.OK, fractions.Fraction(1, 2)]
    )
    assert told == [4, 4, 200, 0.5] and [type(one) for one in told] == [int, int, int, float]
