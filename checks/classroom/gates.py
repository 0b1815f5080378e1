"""The gates of a server, asked again later and at another start: are they where they were?"""

from collections.abc import Iterator

from checks.kit.core import FAILED, PASSED, UNSTABLE, Check, Result, Session

GATES = (  # what a server with open gates fails, in a few requests
    "m2.a word among the pixels is refused",
    "m3.a missing key is refused",
    "m3.a wrong key is refused",
    "m3.exactly the limit is admitted",
)
LIMIT = GATES[-1]
LATER = "asked again in the end; it was right at first"
ANOTHER_START = "with DEBUG=true; it was right before, when it was started with DEBUG=false"
SHARED = "m3.every client has a budget of its own"
OTHER_KEY = (
    "the server refuses the key that it was started with: SECRET_API_KEY stood in its environment and in its "
    ".env, and it takes another key. Read SECRET_API_KEY, and write no key into the source"
)


def gates_first(checks: list[Check]) -> list[Check]:
    """The checks, with the gates in front: they are asked in a server's first seconds, and again later."""
    return sorted(checks, key=lambda check: check.name not in GATES[:-1])


def asked_again(session: Session, milestones: set[str], when: str) -> Iterator[Result]:
    """Ask the gates that have held so far, and give the results of those that do not hold any more.
    when: LATER or ANOTHER_START, in which the limit is asked as well."""
    for name in GATES if when == ANOTHER_START else GATES[:-1]:
        before = session.results.get(name)
        waits = name == LIMIT and not _has_passed(session, SHARED)  # for minutes, until others' windows end
        if before and before.status == PASSED and before.milestone in milestones and not waits:
            del session.results[name]
            again = session.run(name)
            if again.status in (FAILED, UNSTABLE):
                again.received += f", {when}"
                yield again
            else:  # what could not be checked now was right before
                session.results[name] = before


def _has_passed(session: Session, name: str) -> bool:
    return name in session.results and session.results[name].status == PASSED


def refuses_its_key(results: dict[str, Result]) -> bool:
    """Whether the very key that the server was given does not open it."""
    asked = results.get("m2.a digit is classified")
    return bool(asked and asked.status == FAILED and asked.received.startswith(("401", "403")))
