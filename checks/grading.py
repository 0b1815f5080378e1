"""Grading from Python, as the labs do it: `run("m3.wrong key", url, key)` runs a single check."""

from checks.kit.grading import all_checks, find, given_for, planned, run, session

__all__ = ["all_checks", "find", "given_for", "planned", "run", "session"]
