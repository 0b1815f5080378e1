"""The exercises of the labs: what each is worth, and how it is judged where its kernel is not to be trusted.

The *value* of an exercise leaves the kernel as plain data, and the instructor's own cells judge it in a
process that never ran a line of the student's. What an exercise asked a server is asked again, by us, of a
server of ours: its answer counts, and not the one that the kernel tells of. Shell lines run on a machine of
their own.
"""

from dataclasses import dataclass

PLACE = 10  # the number of the milestone lab00 in reports; the others follow


@dataclass(frozen=True)
class Exercise:
    """An exercise, by its lab and the ID of its cell, and the sentence that a report has for it.

    value: the name that the instructor's cells know its value by. told: the expression that the kernel is
    asked for, where that is another. cells: those of the instructor's that judge it, the last of them by a
    check. way: what our side makes of the data first: nothing ("plain"); a request is sent again, to our
    "echo" or "server"; settings "start" a server; "shell" lines run on a machine for practice; a "unit" file
    or the fourth "route" is built; for "wire", what our server was asked is all that counts. wire: the
    servers that its code asks, by their names: while it runs, ours stand in their place. before: a cell of
    ours before it does. also: what has to be true as well. human: why only a human can judge it; it is worth
    nothing then.
    """

    lab: str
    name: str
    sentence: str
    value: str = ""
    points: float = 1
    told: str = ""
    cells: tuple[str, ...] = ()
    way: str = "plain"
    wire: tuple[str, ...] = ()
    before: str = ""
    also: str = ""
    human: str = ""

    @property
    def milestone(self) -> str:
        return f"lab{self.lab}"

    @property
    def full_name(self) -> str:
        return f"{self.milestone}.{self.name}"

    @property
    def title(self) -> str:
        return f"Exercise {self.name}: {self.sentence}"

    @property
    def number(self) -> float:
        """Its place in a report: 10.03 is the third of lab 00."""
        return PLACE + int(self.lab) + (1 + of_lab(self.lab).index(self)) / 100

    @property
    def judged_by(self) -> tuple[str, ...]:
        return self.cells or (f"{self.name}-check",)


ON_PROD = "it needs a production machine: a human judges its code, which is in answers.md"
# not 30 a minute: on a busy machine forty requests may take longer
AN_HOUR = "server.settings['RATE_LIMIT'] = '30/hour'; server.restart()"
HEX = "len(new_key) == 48 and set(new_key.lower()) <= set('0123456789abcdef')"
_one = Exercise
EXERCISES = (
    _one("00", "survivors", "says which files outlive git reset --hard", "survivors"),
    _one("00", "one-file", "brings one file back with git", "command", way="shell"),
    _one("00", "old-key", "reads the old key out of a file of settings", "key"),
    _one("00", "repair-code", "repairs the code, and nothing else", "repair_1", way="shell"),
    _one("00", "repair-artefact", "repairs the artefact, and not its checksum", "repair_2", way="shell"),
    _one("00", "repair-settings", "repairs the settings, and keeps the key", "repair_3", way="shell"),
    _one("01", "split-body", "cuts the body out of a response", "body"),
    _one(
        *("01", "own-header", "sends a header of its own", "seen"),
        **{"way": "echo", "cells": ("own-header-show", "own-header-check")},
    ),
    _one(
        *("01", "repair-json", "repairs a text until it is JSON", "repaired"),
        cells=("repair-json-send", "repair-json-check"),
    ),
    _one(
        *("01", "pick-verb", "picks a verb for each path", "verbs"),
        cells=("pick-verb-try", "pick-verb-check"),
    ),
    _one(
        *("01", "whose-turn", "says for a status whose turn it is", "turns"),
        told="[whose_turn(status) for status in (200, 302, 401, 429, 503)]",
    ),
    _one(
        *("01", "translate", "translates a curl line into requests", "translated"),
        **{"way": "echo", "cells": ("translate-show", "translate-check")},
    ),
    _one("02", "too-dark", "makes a body with exactly one fault", "too_dark"),
    _one(
        *("02", "json-text", "writes a picture as JSON text", "text"),
        cells=("json-text-send", "json-text-check"),
    ),
    _one("02", "refused", "sends a body that is refused", "refused", way="server"),
    _one("02", "own-digit", "sends a digit of its own choice", "mine", way="server"),
    _one("03", "wrong-key", "asks with a wrong key", "wrong_key", way="server"),
    _one("03", "lacking", "provokes a 422 with the right key", "lacking", way="server"),
    _one("03", "guess", "says which gate answers first", "guess", cells=("guess-show", "guess-check")),
    _one("03", "found", "says what a log keeps of a key", "found"),
    _one(
        *("03", "loop", "asks forty times, until the limit", "loop"),
        **{"points": 2, "told": "0", "way": "wire", "wire": ("server",), "before": AN_HOUR},
    ),
    _one(
        *("03", "polite", "waits as it is told, and is served", "served"),
        **{"points": 2, "wire": ("short",), "before": "short = Server(RATE_LIMIT='5/second')"},
        also="short.raw_log().count(' 200 ') >= 8",
    ),
    _one("04", "who", "writes who runs what, where", "who", way="unit", cells=("who-file", "who-check")),
    _one(
        *("04", "again", "lets the service come back, whatever happened", "again"),
        **{"way": "unit", "cells": ("again-file", "again-check")},
    ),
    _one(
        *("04", "harden", "hardens the unit", "harden"),
        **{"way": "unit", "cells": ("harden-file", "harden-check")},
    ),
    _one("04", "polite", "stops the service politely", human=ON_PROD),
    _one("04", "reason", "finds the line of the journal that helps", human=ON_PROD),
    _one("04", "repair", "repairs a setting on prod", human=ON_PROD),
    _one(
        *("05", "proxy", "starts a server that believes its proxy", "behind"),
        **{"way": "start", "cells": ("proxy-show", "proxy-check")},
    ),
    _one(
        *("05", "rotate", "makes a new key", "new_key"),
        **{"cells": ("rotate-show", "rotate-check"), "also": HEX},
    ),
    _one("06", "design", "designs a fourth endpoint", "design", points=2),
    _one("06", "route", "writes its route, which passes m5", "route", points=3, way="route"),
)

STANDS_ON = {  # cells of the instructor's that our side runs first, or code of ours
    "00": (),
    "01": ("imports", "start", "serve"),
    "02": ("imports", "schema-read", "judge-make", "judge-more", "start"),
    "03": ("imports", "start", "ask-make"),
    "04": ("imports", "unit-frame", "who = again = harden = None"),
    "05": ("imports", "start"),
    "06": ("imports", "rules", "gaps", "design = None"),
}

# What no kernel runs, beside cells that only show something: it costs seconds, and no exercise of ours stands
# on it; where one of a student does, it is run all the same
LEFT_OUT = {
    "00": (
        *("look", "stash", "proof-code", "settings-new", "settings-check", "artefact-steps", "artefact-pull"),
        *("artefact-pickle", "proof", "one-file-run", "settings-fill", "settings-repo", "incident-code"),
        *("incident-artefact", "incident-settings", "repair-code-run", "repair-artefact-run"),
    ),
    "01": ("pick-verb-try", "wrong-verb", "status-ours", "stateless-many"),
    "02": ("yours-answer-restart", "yours-accepted-restart"),
    "03": (
        *("yours-authenticate-restart", "no-key", "yours-hit-restart", "order", "guess-show", "order-server"),
        *("query", "header-server", "forty", "budget", "loop-restart", "limit-server"),
    ),
    "04": ("prod",),
    "05": ("memory", "memory-restart", "address-start", "forged", "proxy-show", "proxy-server"),
    "06": ("copy", "schemas", "operation", "openapi", "promised"),
}


def of_lab(lab: str) -> list[Exercise]:
    """The exercises of a lab ("03"), in their order."""
    return [one for one in EXERCISES if one.lab == lab]


BY_NAME = {one.full_name: one for one in EXERCISES}
