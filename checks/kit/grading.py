"""Puts a grading together: which checks, what they are given, and where the results go.

pytest (conftest.py), the labs (`run`) and whoever grades a class use the same Session.
"""

import importlib
import os
import random
import re
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path

from checks.kit.client import Api, diagnose
from checks.kit.core import Check, Result, Session, applying, checks_of
from checks.kit.digits import Digits
from checks.kit.fourth import documented
from checks.kit.machine import Prod
from checks.kit.unit import Unit

FILES = sorted(Path(__file__).parents[1].glob("test_m*.py"))
MILESTONES = {name: list(files) for name, files in groupby(FILES, lambda file: file.stem[5:7])}


def all_checks() -> list[Check]:
    """Every check of every milestone, in the order of the report.

    They are found as pytest finds them, by the names of their files: what a check is made of imports none.
    """
    return list(_found())


@cache
def _found() -> list[Check]:
    found = []
    for files in MILESTONES.values():
        found += checks_of(*(importlib.import_module(f"checks.{file.stem}") for file in files))
    return found


def in_order(names: Iterable[str]) -> list[str]:
    """Names of checks in the order of the report; those that are not known any more come last."""
    place = {check.name: number for number, check in enumerate(all_checks())}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def parse_limit(text: str) -> tuple[int, float]:
    """ "30/minute", "5/second", "100/hour" or "30/5.5" (seconds) as (requests, seconds), or ValueError."""
    found = re.fullmatch(r"([1-9]\d{0,8})/(second|minute|hour|\d+(?:\.\d+)?)", text)
    if not found or found[2].strip("0.") == "":
        raise ValueError(f"{text!r} is no rate limit: write N/second, N/minute, N/hour or N/SECONDS")
    seconds = {"second": 1, "minute": 60, "hour": 3600}.get(found[2])
    return int(found[1]), seconds or float(found[2])


def refuse_a_broken(key: str) -> None:
    """Raise ValueError, with the remedy, for a key that no server has: who typed or copied it slipped."""
    remedy = "give the server's SECRET_API_KEY alone, as it stands behind the = in .env"
    if wrong := re.search(r"[^!-~]", key):
        name = {"\r": "a carriage return", "\n": "the end of a line", " ": "a space"}.get(wrong[0])
        raise ValueError(f"the key has {name or ascii(wrong[0])} in it: {remedy}")
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        raise ValueError(f"the key stands in quotes, which are no part of it: {remedy}")


def given_for(
    *,
    url="",
    key="",
    limit="30/minute",
    debug=None,
    prod="",
    reboot=True,
    unit="",
    seed=0,
    tell=lambda text: None,
) -> dict:
    """What the checks are given, by the names of their arguments; what was not named is left out.
    Raises ValueError with the remedy where an address, a key, a limit or a file is none."""
    given = {"digits": Digits(seed)}
    refuse_a_broken(key)
    if url:
        given["api"] = Api(url, key, seed=seed, limit=parse_limit(limit), debug=debug, tell=tell)
    if prod:
        given["prod"] = Prod(prod, reboot=reboot)
    if unit:
        given["unit"] = Unit(Path(unit))
    return given


def session(checks: list[Check], given: dict, seed: int, publish=lambda result: None) -> Session:
    """A Session in which nothing is asked of a server that cannot be reached: then `gone` says why."""
    made = Session(checks, given, seed, publish)
    if given.get("api"):
        made.gone = diagnose(given["api"])
    return made


def find(name: str) -> Check:
    """The check with this name, or the only one of its milestone whose name has these words ("m3.wrong key").
    Raises LookupError, which lists the likely ones."""
    checks = all_checks()
    exact = [check for check in checks if check.name == name]
    milestone, _, words = name.partition(".")
    likely = exact or [
        check
        for check in checks
        if check.milestone == milestone and set(words.lower().split()) <= set(check.name[3:].split())
    ]
    if len(likely) == 1:
        return likely[0]
    names = [check.name for check in likely or checks if check.milestone == milestone or not likely]
    raise LookupError(
        f"{name!r} is {'no' if not likely else 'more than one'} check; there are: {', '.join(names)}"
    )


def run(name: str, url: str = "", key: str | None = None, *, seed: int | None = None, **options) -> Result:
    """Run one check, and those that it needs, and return its Result.

    name: as `find` takes it. key: else the environment's SECRET_API_KEY. options: those of `given_for`.
    Raises LookupError for an unknown name, and ValueError for a bad option.
    """
    check = find(name)
    seed = random.randrange(10**6) if seed is None else seed
    key = os.environ.get("SECRET_API_KEY", "") if key is None else key
    given = given_for(url=url, key=key, seed=seed, **options)
    return session(all_checks(), given, seed).run(check.name)


def planned(checks: list[Check], given: dict, milestones: tuple[str, ...] = ()) -> list[Check]:
    """The checks that can be run with what is given, and that make sense for it.

    milestones: only these. Without them, m5 is planned only where the server documents a fourth endpoint.
    """
    if not milestones:
        fourth = given.get("api") and documented(given["api"])
        milestones = ("m1", "m2", "m3", "m4", *(["m5"] if fourth else []))
    checks = [check for check in checks if check.milestone in milestones]
    able = [check for check in checks if given.keys() >= set(check.takes)]
    return applying(able, given)
