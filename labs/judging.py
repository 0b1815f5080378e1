"""Self-checks, and the hints below them: what is asked of an answer, and how a student gets unstuck.

expect(answer, status=401)               # judges an answer of yours
check("m3.a wrong key is refused")       # runs a check of checks/ on the running server
hint("03.wrong-key")                     # one more hint for an exercise; after its ✓, a model answer
"""

import base64
import functools
import hashlib
import html
import itertools
import json
import re
import subprocess
import sys
import tomllib
import zlib

from record import Shown, remember
from running import (
    REPO,
    SERVER,
    Server,
    last_trouble,
    masked,
    nearest,
    plain_environment,
)

# ---- Self-checks ----------------------------------------------------------------------------------------

MARKS = {"passed": "✓", "failed": "✗", "unstable": "✗", "could not be checked": "?"}
COLOURS = {"✓": "var(--jp-success-color1,green)", "✗": "var(--jp-error-color1,red)"}
COLOURS["?"] = "var(--jp-warn-color1,orange)"


class Verdict(Shown):
    """What a self-check found: true only if all of it passed."""

    def __init__(self, findings: list[tuple[str, str, dict]], exercise: str = ""):
        self.passed = bool(findings) and all(mark == "✓" for mark, _, _ in findings)
        lines, blocks = [], []
        for mark, sentence, more in findings:
            more = {name: masked(text) for name, text in more.items() if text}
            lines += [f"{mark} {sentence}", *[f"    {name}: {text}" for name, text in more.items()]]
            colour = COLOURS[mark]
            told = "".join(f"<br><i>{name}:</i> {html.escape(text)}" for name, text in more.items())
            told = re.sub("<i>try:</i> (.*)", r"<i>try:</i> <code>\1</code>", told)
            blocks.append(
                f'<p style="border-left:4px solid {colour};padding-left:1em">'
                f'<b style="color:{colour}">{mark}</b> {html.escape(sentence)}{told}</p>'
            )
        if exercise:
            remember(exercises=[exercise] if self.passed else [])
            told = Hints.of(exercise).after(self.passed)
            lines += [] if self.passed else [f'stuck? hint("{exercise}") helps, a step at a time']
            blocks.append(told)
        super().__init__("\n".join(lines), text_html="".join(blocks))

    def __bool__(self):
        return self.passed


seeds = itertools.count(1)  # every check asks from an address, and with digits, of its own


def check(*names: str, server: Server | None = None, exercise: str = "", **options) -> Verdict:
    """Run checks of checks/ on the running server, or on `server`; options: see checks.grading.given_for.
    A name such as "server.hit" tests that function of server.py alone, without HTTP (see pieces.py).
    exercise: the one that this is the check of, such as "04.who": for its hints."""
    functions = [name.removeprefix("server.") for name in names if name.startswith("server.")]
    findings = [finding for name in functions for finding in tried_alone(name)]
    names = [name for name in names if not name.startswith("server.")]
    server = server or Server.current
    if functions and not names:
        return Verdict(findings, exercise)
    if not server:
        return Verdict([("?", "there is no server yet: run the cell with Server() first", {})])
    if down := server.down():
        return Verdict([("?", down, {})])
    options.setdefault("limit", server.settings["RATE_LIMIT"].replace("off", "30/minute"))
    for result in server.grade(names, seeds, options):
        if isinstance(result, str):
            findings.append(("?", result, {}))
            continue
        curl = re.sub(r" --interface \S+", "", result.curl).replace("$SECRET_API_KEY", "$KEY")
        curl = re.sub(rf"'{server.url}([^']*)'", r'"$URL\1"', curl).replace(server.url, "$URL")
        more = {"expected": result.expected, "received": result.received, "why": result.reason}
        if re.match(r"5\d\d\b", result.received):
            more["the log says"] = server.trouble()
        findings.append((MARKS[result.status], result.sentence, more | {"hint": result.hint, "try": curl}))
        if result.status == "passed":
            remember(checks={result.name: result.points})
    return Verdict(findings, exercise)


# where the kernel cannot reach a server itself: a line of JSON for every order, {"names", "given", "seed"}
GRADER = """
import dataclasses, json, sys
from checks import grading
for line in sys.stdin:
    order, results = json.loads(line), []
    session = grading.session(grading.all_checks(), grading.given_for(**order["given"]), order["seed"])
    for name in order["names"]:
        try:
            found = [session.run(grading.find(name).name)]
        except LookupError as problem:
            found = [str(problem.args[0])]
        else:
            failed = [one for one in session.results.values() if one.status in ("failed", "unstable")]
            found += failed[:1] if found[0].status == "could not be checked" else []
        results += [one for one in found if one not in results]
    told = [one if isinstance(one, str) else dataclasses.asdict(one) for one in results]
    print(json.dumps(told), flush=True)
"""


def tried_alone(function: str) -> list[tuple[str, str, dict]]:
    """What pieces.py finds out about one function of server.py, in a process of its own."""
    command = [sys.executable, REPO / "labs" / "pieces.py", SERVER, function]
    try:
        done = subprocess.run(
            command, env=plain_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        tried = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return [("?", f"{function} does not come to an end within a minute", {})]
    except ValueError:
        why = last_trouble(done.stderr) or (done.stderr.splitlines() or ["it says nothing"])[-1]
        return [("?", f"{function} cannot be tried alone: {masked(why)}", {})]
    return [("✗" if wrong else "✓", sentence, {"received": wrong}) for sentence, wrong in tried]


def checks_for(milestone: str, server: Server | None = None) -> list[str]:
    """The names of the checks of a milestone that make sense for the running server, or for `server`."""
    server = server or Server.current
    from checks import grading

    given = grading.given_for(url=server.url, key=server.key) if server else {}
    return [check.name for check in grading.planned(grading.all_checks(), given, (milestone,))]


def expect(
    value, *, status: int | None = None, equals=None, sealed: str = "", because: str = "", exercise: str = ""
) -> Verdict:
    """Judge what you made in a cell: an answer's status, or a value. What is still None never passes.

    sealed: in place of `equals`, the seal of the value (see `seal`), which does not give it away.
    exercise: the one that this is the check of, such as "00.old-key": for its hints.
    """
    because = f": {because}" if because else ""
    status_of = getattr(value, "status_code", None)
    told = f"status {status_of}" if status_of is not None else repr(value)[:80]
    if status is not None:
        right, wanted, found = status_of == status, f"status {status}", f"your answer has status {status}"
    elif sealed:
        right, wanted, found = seal(value) == sealed, "another value", f"it is {repr(value)[:80]}"
    else:
        same = value == equals  # for arrays this is no bool, and no success
        right, wanted, found = isinstance(same, bool) and same, repr(equals), f"it is {equals!r}"
    if right and value is not None:
        return Verdict([("✓", found + because, {})], exercise)
    more = {"received": "None", "hint": "replace None in the exercise above"}
    if value is not None:
        more = {"received": told, "hint": other_kind(value, status, equals)}
    return Verdict([("✗", f"wanted: {wanted}{because}", more)], exercise)


def seal(value) -> str:
    """Twelve digits that tell whether two values are the same, and not what they are."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def other_kind(value, status: int | None, equals) -> str:
    """What to say of a value that is of another kind than the wanted one, or nothing."""
    if status is not None:
        return (
            "" if hasattr(value, "status_code") else f"{kind(value)}; the whole answer of `client` is wanted"
        )
    if hasattr(value, "status_code") and not hasattr(equals, "status_code"):
        return "that is a response; its status is .status_code, and its text .text"
    if equals is not None and type(value) is not type(equals):
        return f"{kind(value)}; {kind(equals).removeprefix('that is ')} is wanted"
    return ""


def kind(value) -> str:
    names = {str: "a text", int: "a whole number", float: "a fraction", bool: "True or False", list: "a list"}
    names |= {dict: "a dict", tuple: "a tuple", bytes: "bytes", set: "a set"}
    name = type(value).__name__
    return f"that is {names[type(value)]} ({name})" if type(value) in names else f"that is of the type {name}"


# ---- Hints ----------------------------------------------------------------------------------------------


class Hints:
    """What hints.toml has for one exercise, and the model answer; asked for a step at a time."""

    files = (REPO / "labs" / "hints.toml", REPO / "labs" / "answers.json")

    def __init__(self, exercise: str):
        lab, _, name = exercise.partition(".")
        known = read_hints()
        self.exercise, self.known = exercise, name in known[0].get(lab, {})
        found = known[0].get(lab, {}).get(name, {})
        self.hints, self.why = found.get("hints", []), found.get("why", "")
        self.sealed = known[1].get(exercise, "")
        self.asked, self.done = 0, False

    @classmethod
    @functools.cache  # so that it knows what was asked before
    def of(cls, exercise: str) -> "Hints":
        return cls(exercise)

    @property
    def answer(self) -> str:
        return zlib.decompress(base64.b64decode(self.sealed)).decode() if self.sealed else ""

    def after(self, passed: bool) -> str:
        """HTML to open under a check: what is left of the hints, or after success the model answer."""
        self.done |= passed
        if self.done:
            code = f"<pre>{html.escape(self.answer)}</pre>" if self.answer else ""
            return folded("a model answer, and why it is one", code + html.escape(self.why))
        inner = ""
        for number, text in reversed(list(enumerate(self.hints, 1))):
            inner = folded(f"hint {number} of {len(self.hints)}", f"<p>{html.escape(text)}</p>{inner}")
        return inner


def folded(summary: str, inner: str) -> str:
    return f'<details style="padding-left:1em"><summary>{summary}</summary>{inner}</details>'


@functools.cache
def read_hints() -> tuple[dict, dict]:
    """Both files, or nothing of one that is not there: then there are no hints, and the lab goes on."""
    read = []
    for file, parse in zip(Hints.files, (tomllib.loads, json.loads)):
        try:
            read.append(parse(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            read.append({})
    return tuple(read)


def hint(exercise: str):
    """Print one hint more for an exercise, such as "01.pick-verb"; after its ✓, a model answer."""
    asked = Hints.of(exercise)
    if not asked.known:
        names = [f"{lab}.{name}" for lab, names in read_hints()[0].items() for name in names]
        print(f"there are no hints for {exercise!r}{nearest(exercise, names)}")
    elif asked.done:
        print(f"{asked.answer}\n{asked.why}" if asked.answer else asked.why)
    else:
        asked.asked = min(asked.asked + 1, len(asked.hints))
        print(f"{asked.asked} of {len(asked.hints)}: {asked.hints[asked.asked - 1]}")
