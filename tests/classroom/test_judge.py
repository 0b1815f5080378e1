"""The exercises of the real labs, judged: honest work in all its shapes earns its points, what is wrong does
not.

All of them are judged in one process, that has the instructor's cells and no kernel; the values come to it as
they leave a kernel, in the words of teller.py.
"""

import json
import os
import subprocess
import sys
from collections import OrderedDict
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import requests
from made_labs import ROOT

from checks.classroom import exercises, teller
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
ROUTE = """
    @app.route("/version", ["GET", "HEAD"])
    def version_of_the_model():
        digest = settings.model_sha256 or listed_digest(ROOT / settings.model_path)
        return answer("version.response", {"model_version": version, "model_sha256": digest})
"""
WHO = """[Service]
User=produser
WorkingDirectory=/opt/pixelwise
EnvironmentFile=/opt/pixelwise/.env
Environment=HOST=0.0.0.0
ExecStart=/opt/pixelwise/.venv/bin/python server.py"""
HONEST = [  # exercise, its value in a shape that a student may give it
    ("00.survivors", [".env", "notes.txt"]),
    ("00.survivors", ("notes.txt", ".env")),
    ("00.survivors", {".env", "notes.txt"}),
    ("00.survivors", np.array([".env", "notes.txt"])),
    ("00.one-file", "git restore README.md"),
    ("00.one-file", "  git checkout HEAD -- ./README.md\n"),
    ("00.old-key", "the-key-that-your-clients-know"),
    ("00.repair-code", "git checkout models/classifier.py"),
    ("00.repair-artefact", "cd models && cp ../../digit-models/*.pkl ."),
    ("00.repair-settings", "grep -v '^PORT=' .env > new; echo 'PORT=\"8000\"' >> new; mv new .env"),
    ("01.split-body", "User-agent: *\nDisallow: /deny\n"),
    ("01.split-body", np.str_("User-agent: *\nDisallow: /deny\n")),
    ("01.own-header", asked("GET", "/headers", headers={"x-digit": "7"})),
    ("01.own-header", asked_by_httpx("GET", "/headers", headers={"X-Digit": "7"})),
    ("01.repair-json", '{"digits": [1, 2, 3], "ok": true}'),
    ("01.repair-json", b'\n{ "ok" : true, "digits" : [1,2,3] }'),
    ("01.pick-verb", {"/classify": "POST", "/results": "GET", "/health": "HEAD"} | {"/health": "GET"}),
    ("01.pick-verb", OrderedDict({"/health": "GET", "/classify": "POST", "/results": "GET"})),
    ("01.whose-turn", ["nobody", "client", "client", "client", "server"]),
    ("01.translate", asked("PUT", "/anything", **PUT)),
    ("01.translate", asked_by_httpx("PUT", "/anything?digit=7", headers=PUT["headers"], json=PUT["json"])),
    ("02.too-dark", {"pixels": [*BLANK[:3], [0] * 17 + [256] + [0] * 10, *BLANK[4:]]}),
    ("02.too-dark", {"pixels": np.array(DARK["pixels"])}),
    ("02.json-text", json.dumps({"pixels": BLANK})),
    ("02.json-text", json.dumps({"pixels": BLANK}, indent=2).encode()),
    ("02.refused", asked("POST", "/classify", headers=KEY, json=DARK)),
    ("02.own-digit", asked("POST", "/classify", headers=KEY, json={"pixels": BLANK})),
    ("03.wrong-key", asked("POST", "/classify", headers={"X-API-Key": "wrong"}, json={"pixels": BLANK})),
    ("03.lacking", asked("POST", "/classify", headers=KEY, json={})),
    ("03.guess", (401, 415, 429)),
    ("03.guess", np.array([401, 415, 429])),
    ("03.found", (False, True)),
    ("03.found", [np.False_, np.True_]),
    ("04.who", WHO),
    ("04.again", "\nRestartSec=3s\nRestart=always\n"),
    ("05.proxy", server(RATE_LIMIT="1/hour", TRUSTED_PROXY="127.0.0.1")),
    ("05.rotate", "0123456789abcdef" * 3),
    ("06.design", DESIGN),
    ("06.route", ROUTE),
]
WRONG = [
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
    """[right, what was wanted] for all of HONEST, WRONG and NOTHING."""
    told = [(f"lab{name}", value) for name, value in HONEST + WRONG] + NOTHING
    asked = [(name, *teller.Told(lambda: value)._repr_mimebundle_().values()) for name, value in told]  # noqa: B023
    command = in_fresh_network([sys.executable, "-c", JUDGE, ROOT, tmp_path_factory.mktemp("judge")])
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        **{"args": command, "input": json.dumps(asked), "env": environ, "capture_output": True, "text": True},
        **{"timeout": 590, "check": False},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_honest_work_loses_nothing_whatever_its_shape(judged):
    assert len(HONEST) >= 30
    lost = [(name, told[1]) for (name, _), told in zip(HONEST, judged) if not told[0]]
    assert lost == []


def test_what_is_wrong_earns_nothing(judged):
    told = judged[len(HONEST) :]
    assert [(name, value) for (name, value), one in zip(WRONG, told) if one[0]] == []


def test_what_is_left_at_none_earns_nothing(judged):
    told = judged[len(HONEST) + len(WRONG) :]
    assert len(told) == len(NOTHING) and not any(right for right, _ in told)
