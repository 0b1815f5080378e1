"""What a check is: a function with points, needs and a hint, whose docstring is the sentence a student reads.

A check takes what it asks by the names of its arguments (`api`, `digits`, `prod`, `unit`), returns None when
the server keeps its promise, and raises Failed, with what was expected and received, when it does not. It
raises CannotCheck when it found out nothing: that is never graded as wrong.
"""

import functools
import inspect
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PASSED, FAILED, UNSTABLE, UNCHECKED = "passed", "failed", "unstable", "could not be checked"
SECONDS = 10  # a check may take this long, unless it says otherwise


class Failed(Exception):
    """The server broke a promise. received, expected: what stands in the report; evidence: the exchange."""

    def __init__(self, received: str, expected: str, exchange=None):
        super().__init__(f"received {received}, expected {expected}")
        self.received, self.expected, self.exchange = received, expected, exchange


class CannotCheck(Exception):
    """Nothing was found out: the server is gone, or a tool or an option is missing. The message says what."""


class Gone(CannotCheck):
    """The server no longer answers. curl: the line that shows it."""


# ---- Declaring checks -----------------------------------------------------------------------------------


@dataclass
class Check:
    name: str  # "m2.a pixel of 256 is refused"
    number: float  # its place in the report, stable across runs: milestone and place in its files
    sentence: str
    function: Callable
    points: float
    stretch: bool
    needs: tuple[str, ...]
    hint: str
    seconds: float
    last: bool = False  # runs although the server is gone: to say so
    late: bool = False  # uses up a budget, or waits for a window to end: runs when others have asked
    waits: bool = False  # waits for a whole window: comes early, so that others can be asked meanwhile
    only: Callable[[dict], bool] | None = None  # where it applies; elsewhere it is not even planned

    @property
    def milestone(self) -> str:
        return self.name.partition(".")[0]

    @functools.cached_property
    def takes(self) -> tuple[str, ...]:
        """What it is given: the names of its arguments."""
        return tuple(inspect.signature(self.function).parameters)


def points(number: float, *, stretch: bool = False):
    """What a check is worth; a stretch check is not needed to pass the milestone."""
    return _mark(points=number, stretch=stretch)


def needs(*names: str):
    """Names of checks that must have passed before, with their milestone where it is another ("m1.…")."""
    return _mark(needs=names)


def hint(text: str):
    """What a student may look at after a failure."""
    return _mark(hint=text)


def at_most(seconds: float):
    """The time limit of a check that needs more than SECONDS."""
    return _mark(seconds=seconds)


def only(where: Callable[[dict], bool]):
    """Where the check applies: a question about what is given. Elsewhere it is neither run nor counted."""
    return _mark(only=where)


def even_when_gone(function):
    """For the check that says whether the server survived."""
    return _mark(last=True)(function)


def late(function):
    """For the checks that use up a budget or wait for its window to end: where all clients share one, any
    other check behind them would have to wait for a minute."""
    return _mark(late=True)(function)


def waits(function):
    """For the check that waits for a whole window: the sooner it does, the sooner a class is graded."""
    return _mark(waits=True)(function)


def _mark(**values):
    def decorate(function):
        function.__dict__.setdefault("check", {}).update(values)
        return function

    return decorate


def is_check(function) -> bool:
    return inspect.isfunction(function) and "check" in function.__dict__


def declared(function, place: int) -> Check:
    """The Check that a decorated test function declares; `place` counts those of its milestone from 1."""
    milestone = re.search(r"(m\d)_\w+$", function.__module__)[1]
    marks = function.check

    def whole(name: str) -> str:
        return name if re.match(r"m\d\.", name) else f"{milestone}.{name}"

    return Check(
        name=whole(function.__name__.removeprefix("test_").replace("_", " ")),
        number=int(milestone[1:]) + place / 100,
        sentence=inspect.getdoc(function).strip(),
        function=function,
        points=marks["points"],
        stretch=marks["stretch"],
        needs=tuple(map(whole, marks.get("needs", ()))),
        hint=marks.get("hint", ""),
        seconds=marks.get("seconds", SECONDS),
        last=marks.get("last", False),
        late=marks.get("late", False),
        waits=marks.get("waits", False),
        only=marks.get("only"),
    )


def documentation_is_on(given: dict) -> bool:
    """Whether the server runs with DEBUG=true."""
    return bool(given.get("api") and given["api"].debug)


def documentation_is_off(given: dict) -> bool:
    """Whether the server runs with DEBUG=false."""
    return bool(given.get("api") and not given["api"].debug)


def there_are_several_addresses(given: dict) -> bool:
    """Whether the server can be asked as several clients: on loopback."""
    return bool(given.get("api") and given["api"].own_addresses)


def plan_of(check: Check) -> dict:
    """What a report knows of a check before it runs."""
    return {
        name: getattr(check, name)
        for name in ("name", "number", "milestone", "sentence", "points", "stretch")
    }


def applying(checks: list[Check], given: dict) -> list[Check]:
    """The checks that make sense for what is given."""
    return [check for check in checks if not check.only or check.only(given)]


def in_any_order(checks: list[Check], seed) -> list[Check]:
    """The checks shuffled, so that no server learns their order; then the late ones, and the last.

    Who waits does so when some have been asked: a server must not know what comes in its first minute."""
    random_ = random.Random(f"{seed} order")
    places = {check.name: random_.random() for check in checks}

    def place(check: Check) -> float:
        return random_.uniform(0.1, 0.4) if check.waits else places[check.name]

    return sorted(checks, key=lambda check: (check.last, check.late, place(check)))


def checks_of(*modules) -> list[Check]:
    """The checks of the files of one milestone, in the order in which they stand there."""
    found = []
    for module in modules:
        functions = [function for function in vars(module).values() if is_check(function)]
        own = [function for function in functions if function.__module__ == module.__name__]
        found += sorted(own, key=lambda function: function.__code__.co_firstlineno)
    return [declared(function, place) for place, function in enumerate(found, 1)]


# ---- Running them ---------------------------------------------------------------------------------------


@dataclass
class Result:
    """The outcome of one check; `schemas/checks/report.json` describes its JSON form."""

    name: str
    number: float
    milestone: str
    sentence: str
    points: float
    stretch: bool
    status: str
    earned: float
    seconds: float
    received: str = ""
    expected: str = ""
    reason: str = ""  # why it could not be checked, or why it is unstable
    hint: str = ""
    curl: str = ""
    evidence: list[dict] = field(default_factory=list)  # the exchanges of the failed run, the last one last


class Session:
    """One grading of one server: what the checks are given, and the results so far.

    given: {"api": …, "digits": …, …}; a check whose argument is missing here could not be checked.
    """

    def __init__(
        self, checks: list[Check], given: dict, seed: int, publish: Callable[[Result], None] = print
    ):
        self.checks = {check.name: check for check in checks}
        self.given, self.seed, self.publish = given, seed, publish
        self.results: dict[str, Result] = {}
        self.lock = threading.RLock()
        self.problems: dict[str, Exception] = {}  # for those who ask for a traceback
        self.gone = ""  # why nothing more can be asked

    def run(self, name: str) -> Result:
        """Run a check once its needs have passed; each check runs once a session."""
        with self.lock:
            if name not in self.results:
                check = self.checks[name]
                blocked = self._blocked_by(check)
                self.results[name] = result = unchecked(check, blocked) if blocked else self._run(check)
                self.publish(result)
            return self.results[name]

    def _blocked_by(self, check: Check) -> str:
        for name in check.needs:
            needed = self.run(name)
            if needed.status != PASSED:
                return f'it needs "{needed.sentence}", which {_verb(needed.status)}'
        for argument in check.takes:
            if self.given.get(argument) is None:
                return MISSING[argument]
        return self.gone if "api" in check.takes and not check.last else ""

    def _run(self, check: Check) -> Result:
        """Run it; again, where it did not pass while this machine stood still, which is nobody's fault."""
        for _ in range(3):
            with Pulse() as pulse:
                result = self._believed(check)
            if result.status == PASSED or self.gone or not pulse.stopped:
                break
        return result

    def _believed(self, check: Check) -> Result:
        """Run it; a check that fails runs once more, in a fresh state, before it is believed."""
        first = self._attempt(check)
        if first.status != FAILED:
            return first
        second = self._attempt(check)
        if second.status == FAILED:
            return second
        first.status = UNSTABLE
        first.reason = "it failed, and passed when it was run again: the server does not always do the same"
        if second.status == UNCHECKED:
            first.reason = f"it failed, and could not be run again: {second.reason}"
        return first

    def _attempt(self, check: Check) -> Result:
        random.seed(f"{self.seed} {check.name}")  # the same choices in every run with this seed
        arguments = {name: self.given[name] for name in check.takes}
        for value in arguments.values():
            if hasattr(value, "begin"):
                value.begin(check)
        began, exchanges = time.monotonic(), []
        try:
            check.function(**arguments)
            status, told = PASSED, {}
        except Failed as problem:
            self.problems[check.name] = problem
            status, told = FAILED, {"received": problem.received, "expected": problem.expected}
            exchanges = [problem.exchange] if problem.exchange else []
        except CannotCheck as problem:
            status, told = UNCHECKED, {"reason": str(problem)}
            if isinstance(problem, Gone):
                self.gone = told["reason"] = f"the server is gone: {problem}"
        except Exception as problem:  # a check that breaks has found out nothing
            status, told = (
                UNCHECKED,
                {"reason": f"the check itself broke ({problem!r:.200}): tell its authors"},
            )
            self.problems[check.name] = problem
        api = arguments.get("api")
        told = {name: api.hide(text) if api else text for name, text in told.items()}
        result = _result(check, status, seconds=time.monotonic() - began, **told)
        if status == FAILED:
            exchanges = exchanges or (api.exchanges[-1:] if api else [])
            result.evidence = [exchange.as_evidence() for exchange in exchanges]
            typed = getattr(arguments.get("prod"), "last", "")  # the line for ssh
            result.curl = typed or (exchanges[-1].as_curl() if exchanges else "")
        return result


class Pulse:
    """Feels, within a `with`, whether this machine runs: a thread ought to wake ten times a second.

    A virtual machine that is paused, a laptop that sleeps and a machine that swaps let every clock go on, and
    every server time out. stopped: whether there was a second without a beat.
    """

    def __enter__(self):
        self.stopped, self._over = False, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def _beat(self) -> None:
        over, last = False, time.monotonic()
        while not over:
            over = self._over.wait(0.1)
            last, before = time.monotonic(), last
            self.stopped |= last - before > 1.1

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


MISSING = {
    "api": "it needs the address of the server: --url http://…",
    "prod": "it needs the production machine: --prod ssh://produser@…",
    "unit": "it needs the unit file: --unit deploy/pixelwise.service",
    "digits": "the digits are missing",
}


def _verb(status: str) -> str:
    return {FAILED: "failed", UNSTABLE: "is unstable", UNCHECKED: "could not be checked"}[status]


def unchecked(check: Check, reason: str) -> Result:
    """The result of a check that was not run."""
    return _result(check, UNCHECKED, reason=reason)


def _result(check: Check, status: str, seconds: float = 0.0, **told) -> Result:
    return Result(
        **plan_of(check),
        status=status,
        earned=check.points if status == PASSED else 0,
        seconds=round(seconds, 3),
        hint=check.hint if status in (FAILED, UNSTABLE) else "",
        **told,
    )
