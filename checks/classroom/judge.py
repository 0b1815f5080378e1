"""The instructor's own cells, on values that came as plain data; no line of a student's runs here.

The kit's labkit is at work here, with servers of ours. What a cell of the instructor's does with a value,
such as asking a server with it, happens here, and its `expect` or `check` is what counts.
"""

import ast
import contextlib
import importlib
import io
import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path

from checks.classroom import exercises, machine
from checks.classroom.exercises import Exercise
from checks.classroom.plain import Asked, NotPlain, Started
from checks.kit import grading
from checks.kit.core import PASSED

SECONDS = 120  # that judging one exercise may take, on a busy machine
OWN_KEY = "a key that is written into a notebook opens nothing here: write server.key in its place"
LOG_SECONDS = 2  # in which a line of a server's log may come after its answer


class TooSlow(BaseException):
    """Judging took too long; no cell takes this for a fault of its own."""


class Judge:
    """Judges the exercises of one lab. kit: the instructor's; shell: runs lines on a machine for practice,
    which is made of the folder practice."""

    def __init__(self, kit: Path, lab: Path, key: str, shell, practice: Path, serve):
        self.cells = {
            cell["id"]: "".join(cell["source"])
            for cell in json.loads(lab.read_text(encoding="utf-8"))["cells"]
        }
        self.lab, self.shell, self.practice, self.serve = lab.name[:2], shell, practice, serve
        self.key, self.names = key, {"__name__": "__main__"}
        self.running = labkit_of(kit, key)
        self.ready = False

    def get_ready(self) -> None:
        """Run what the cells stand on, once."""
        if not self.ready:
            self.ready = True
            self.run("from labkit import *")
            for name in exercises.STANDS_ON[self.lab]:
                self.run(self.cells.get(name, name))

    def close(self) -> None:
        """Stop the servers."""
        for value in self.names.values():
            if isinstance(value, self.running.Server):
                value.stop()

    def lend(self, exercise: Exercise) -> dict[str, str]:
        """The addresses of our servers that stand in the place of the kernel's, by their names."""
        if not exercise.wire:
            return {}
        self.get_ready()
        self.run(self.cells.get(exercise.before, exercise.before))
        return {name: self.names[name].url for name in exercise.wire}

    def judge(self, exercise: Exercise, value) -> tuple[bool, str]:
        """Whether the value is right, and else what the check wanted. Raises TooSlow."""
        if value is None:
            return False, "a value in the place of None"
        signal.signal(signal.SIGALRM, _too_slow)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            self.get_ready()
            self.names[exercise.value] = getattr(self, f"from_{exercise.way}")(exercise, value)
            deadline = time.monotonic() + LOG_SECONDS
            while True:
                for name in exercise.judged_by:
                    verdict = self.run(self.cells[name])
                passed, wanted = _read(verdict)
                if passed or not exercise.wire or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            if passed and exercise.also and not eval(exercise.also, self.names):
                return False, f"that also {exercise.also}"
            return passed, wanted if passed or not self.has_another_key(value) else f"{wanted}; {OWN_KEY}"
        except NotPlain as problem:
            return False, str(problem)
        except Exception as problem:  # a value of another kind than the cells expect
            return False, f"a value of another kind: {type(problem).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def run(self, source: str):
        """Run a cell of the instructor's; returns the value of its last line."""
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(tree, "cell", "exec"), self.names)
            return eval(compile(ast.Expression(last.value), "cell", "eval"), self.names) if last else None

    # ---- What becomes of a value before a cell sees it ------------------------------------------------

    def from_plain(self, exercise: Exercise, value):
        if isinstance(value, Asked | Started):
            raise NotPlain(f"a plain value is wanted, and not {value!r}")
        return value

    def from_wire(self, exercise: Exercise, value) -> None:
        """What our server was asked is all that counts."""

    def from_server(self, exercise: Exercise, value):
        return self.sent_again(value, self.names["server"].url)

    def from_echo(self, exercise: Exercise, value):
        return self.sent_again(value, self.names["echo"].url)

    def has_another_key(self, value) -> bool:
        """Whether it is a request with a key that is not the one of our servers."""
        headers = value.headers if isinstance(value, Asked) else {}
        keys = [one for name, one in headers.items() if name.lower() == "x-api-key"]
        return keys not in ([], [self.key])

    def sent_again(self, value, url: str):
        """The answer of a server of ours to a request of theirs."""
        if not isinstance(value, Asked):
            raise NotPlain("the whole answer of `client` is wanted")
        client = self.running.client
        return client.request(
            value.method, url + value.path, headers=value.headers, data=value.body, allow_redirects=False
        )

    def from_start(self, exercise: Exercise, value):
        if not isinstance(value, Started):
            raise NotPlain("a Server(…) is wanted")
        return self.running.Server(**value.settings)

    def from_unit(self, exercise: Exercise, value):
        if not isinstance(value, str) or len(value) > 10_000 or "\0" in value:
            raise NotPlain("lines of a unit file are wanted, in a text")
        self.names["check"] = self.check_unit
        return value

    def check_unit(self, *names: str, unit: Path, exercise: str):
        """In the place of labkit's check, which would ask the production machine."""
        return self.verdict(grading.given_for(unit=str(unit)), [grading.find(name).name for name in names])

    def from_route(self, exercise: Exercise, value):
        if not isinstance(value, str) or len(value) > 20_000:
            raise NotPlain("the lines of a route are wanted, in a text")
        if self.names["design"] is None or self.names["gaps"](self.names["design"]):
            raise NotPlain("a design that leaves nothing open is wanted first")
        self.names |= {"route": value, "checks_for": lambda milestone: [milestone], "check": self.check_route}
        for name in ("copy", "schemas", "operation", "openapi", "route-build"):
            self.run(self.cells[name])
        return value

    def check_route(self, *names: str, exercise: str):
        """In the place of labkit's check: the server with the route in it runs in the sandbox."""
        with self.serve(Path(self.names["folder"]), self.running.KEY) as url:
            given = grading.given_for(url=url, key=self.running.KEY, debug=True)
            planned = grading.planned(grading.all_checks(), given, names)
            return self.verdict(given, [check.name for check in planned])

    def verdict(self, given: dict, names: list[str]):
        """What these checks find out, as labkit shows it."""
        session = grading.session(grading.all_checks(), given, 1)
        results = [session.run(name) for name in names]
        found = [("✓" if one.status == PASSED else "✗", one.sentence, {}) for one in results]
        return self.names["Verdict"](found)

    def from_shell(self, exercise: Exercise, value):
        if not is_lines(value):
            raise NotPlain("lines of shell are wanted, in a text")
        self.names |= machine.found(self.shell(exercise.name, value), self.practice)
        return value


def is_lines(value) -> bool:
    """Whether a value is lines of shell."""
    return isinstance(value, str) and len(value) <= machine.LONGEST and "\0" not in value


def _too_slow(*_):
    raise TooSlow


def _read(verdict) -> tuple[bool, str]:
    """Whether a verdict is passed, and what it wanted."""
    text = str(verdict.data["text/plain"])
    told = [
        line.removeprefix("✗ ").removeprefix("wanted: ") for line in text.splitlines() if line[:1] in "✗?"
    ]
    return verdict.passed is True, "; ".join(told)[:300]


def labkit_of(kit: Path, key: str):
    """The kit's module running.py; its servers have this key, and what is done is written nowhere."""
    os.environ["PIXELWISE_PROGRESS"] = ""
    if str(kit / "labs") not in sys.path:
        sys.path.insert(0, str(kit / "labs"))
    importlib.import_module("labkit")
    running = importlib.import_module("running")
    running.KEY = key
    return running


def new_key() -> str:
    """A key for our servers and theirs alike: so a request of theirs can be sent to ours as it is."""
    return secrets.token_hex(16)
