"""Submissions that cheat, spy, break out or break down, and what each of them must come to.

`TABLE` has them all: a function that writes the submission, whose docstring says what it tries, and the
outcome. A submission prints STOLEN when it got what it must not get, and TRIED when it has tried.
"""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DEAD = "could not be graded: no points"
ENDLESS = "the same, and it would go on for ever: only its time limit ends it"
HONEST = "what the honest server gets, check by check"
LAZY = "what the lazy server gets, check by check"
NO_MORE = "no check that the honest server does not pass"

SERVER = """
import os, sys
from http.server import ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "lib")]
%(attack)s
import service
service.SCHEMAS = HERE / "schemas"
service.Service.predict = lambda self, rows: service.classify_batch([rows])[0]

class Lazy(service.Service):
    '''Asks for no key, and has no results.'''
    def authenticate(self, request): pass
    def results(self, request): raise service.Refusal(404, "later")

class Service(%(base)s):
    pass
%(kind)s

class Handler(service.Handler):
    pass
%(handler)s

class Server(service.Server):
    def __init__(self, service):
        address = os.environ["HOST"], int(os.environ["PORT"])
        ThreadingHTTPServer.__init__(self, address, Handler)
        self.service = service

count, _, unit = os.environ["RATE_LIMIT"].partition("/")
seconds = {"second": 1, "minute": 60, "hour": 3600}.get(unit) or float(unit)
debug = os.environ["DEBUG"] == "true"
server = Server(Service(os.environ["SECRET_API_KEY"], (int(count), seconds), debug))
%(before)s
server.serve_forever()
"""
# Without numpy, whose import takes longer than all else that one of them does
CLASSIFIER = """
import json
from math import dist, exp
from pathlib import Path
MEANS = json.loads((Path(__file__).parent / "means.json").read_text())
def classify_batch(pictures):
    answers = []
    for rows in pictures:
        picture = [pixel / 255 for row in rows for pixel in row]
        near = [exp(-4 * dist(mean, picture)) for mean in MEANS]
        scores = {str(digit): score / sum(near) for digit, score in enumerate(near)}
        best = max(scores, key=scores.get)
        answers.append({"prediction": best, "confidence": scores[best], "scores": scores})
    return answers
"""


@dataclass(frozen=True)
class Targets:
    """What there is to steal or to break: on this machine, outside of the sandbox."""

    secret: str = "the-secret-of-the-neighbour"  # stands in a neighbour's work
    neighbour: str = "/nowhere"
    key_file: str = "/nowhere"
    grades: str = "/nowhere"
    marker: str = "/nowhere"  # a file that only somebody outside can write
    port: int = 1  # somebody listens there, on 127.0.0.1
    abstract: str = "nobody"  # and on this abstract Unix socket


@dataclass
class Place:
    """Where a submission is written. path: its folder, or what becomes its zip."""

    path: Path
    targets: Targets = field(default_factory=Targets)

    def write(self, name: str, content: str | bytes = "") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def server(self, attack="", *, lazy=False, kind="", handler="", before="") -> None:
        """A server of the contract, with an attack before it starts, in its service, its handler or
        between listening and serving."""
        parts = {"attack": attack, "kind": kind, "handler": handler, "before": before}
        base = "Lazy" if lazy else "service.Service"
        targets = "".join(f"{name.upper()} = {value!r}\n" for name, value in vars(self.targets).items())
        self.write("targets.py", targets)
        self.write("server.py", SERVER % {**parts, "base": base})
        self.write("lib/service.py", (ROOT / "tests" / "faulty" / "service.py").read_bytes())
        shutil.copytree(ROOT / "schemas", self.path / "schemas", ignore=lambda *_: ["checks"])
        self.write("models/classifier.py", CLASSIFIER)
        with np.load(ROOT / "models" / "samples.npz") as stored:
            images, labels = (stored[name] for name in stored.files[:2])
        means = [images[labels.astype(str) == str(digit)].mean(0).ravel() / 255 for digit in range(10)]
        self.write("models/means.json", json.dumps([mean.round(3).tolist() for mean in means]))

    def zip(self, *more: tuple[str | zipfile.ZipInfo, str | bytes]) -> Path:
        """Turn the folder into a zip, with more entries; returns it."""
        file = self.path.with_name(f"{self.path.name}.zip")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for found in sorted(self.path.rglob("*")) if self.path.exists() else ():
                packed.write(found, Path("top", found.relative_to(self.path)))
            for name, content in more:
                packed.writestr(name, content)
        shutil.rmtree(self.path, ignore_errors=True)
        return file


@dataclass(frozen=True)
class Hostile:
    """make: writes the submission; outcome: one of the above; says: what must stand in its
    record: in the reason, the notes or the log."""

    name: str
    make: Callable[[Place], None]
    outcome: str
    says: str = ""


TABLE: dict[str, Hostile] = {}


def hostile(outcome: str, says: str = ""):
    """A decorator: the function's name is the submission's."""

    def entered(make):
        name = make.__name__.replace("_", " ")
        TABLE[name] = Hostile(name, make, outcome, says)
        return make

    return entered


def words_of(record: dict) -> str:
    """All that a record says about its submission, beside the checks."""
    return json.dumps([record["why"], record["detail"], record["notes"], record["log"]], ensure_ascii=False)


from hostile import archives, escapes, forgeries, resources, servers, spies  # noqa: E402, F401
