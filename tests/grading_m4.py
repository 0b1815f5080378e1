"""The checks of m4, and what they come to."""

import sys
from pathlib import Path

from checks import test_m4_machine, test_m4_unit
from checks.kit.core import UNCHECKED, Session, checks_of

CHECKS = checks_of(test_m4_machine, test_m4_unit)
ONLINE = [check for check in CHECKS if "prod" in check.function.__code__.co_varnames[:2]]
OFFLINE = [check for check in CHECKS if "unit" in check.function.__code__.co_varnames[:1]]
SSH = [sys.executable, "-I", "-S", str(Path(__file__).parent / "stand_in" / "ssh")]


def grade(checks, gone="", **arguments) -> dict:
    session = Session(checks, arguments, seed=1, publish=lambda result: None)
    session.gone = gone
    for check in checks:
        session.run(check.name)
    return {name.removeprefix("m4."): result for name, result in session.results.items()}


def names(results: dict, status: str) -> set[str]:
    return {name for name, result in results.items() if result.status == status}


def unasked(results: dict) -> set[str]:
    """The checks that could not be checked for a reason of their own, not for want of another check."""
    return {name for name in names(results, UNCHECKED) if not results[name].reason.startswith('it needs "')}


def the(name: str) -> str:
    return f"the unit file {name}"


VERIFY = the("passes systemd analyze verify")
