"""Fetches a submission that is a git repository: its last commit, and nothing that it could run here."""

import os
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from checks.classroom.archives import MAX_BYTES, SubmissionError
from checks.classroom.limits import visible

GIT_SECONDS = 120


def is_url(text: str) -> bool:
    """Whether it is an address that git may know, rather than a path."""
    return bool(re.match(r"[a-z][a-z0-9+.-]*:(//|:)|[\w.-]+@[\w.-]+:", text, re.IGNORECASE))


def clone(url: str, folder: Path, protocols: str) -> str:
    """Clone the last commit only, and say which it is. Raises SubmissionError.

    Hooks, submodules, filters, templates and the instructor's own configuration stay out; nobody is asked for
    a password.
    """
    shown = visible(re.sub(r"//[^/@]*@", "//", url))[:200]  # without a token
    scheme = (urlsplit(url).scheme if "://" in url else "ssh" if "::" not in url else "").lower()
    if scheme not in protocols.split(":") or url.startswith("-"):
        raise SubmissionError(
            f"{shown} cannot be cloned: give an address that begins with https:// or ssh://"
        )
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "SSH_AUTH_SOCK") if name in os.environ}
    variables |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }
    git = [
        "git",
        "-c",
        f"core.hooksPath={os.devnull}",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.askPass=true",
    ]
    clone = [
        "clone",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-recurse-submodules",
        "--template=",
        "--",
        url,
    ]
    limited = ["prlimit", f"--fsize={4 * MAX_BYTES}"]
    process = subprocess.Popen(
        [*limited, *git, *clone, str(folder)],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=GIT_SECONDS)
    except BaseException as problem:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(problem, subprocess.TimeoutExpired):
            raise SubmissionError(
                f"{shown} was not cloned within {GIT_SECONDS} s: is it very large?"
            ) from None
        raise
    if process.returncode:
        reason = visible(re.sub(r"//[^/@\s]*@", "//", errors.decode("utf-8", "replace"))).strip().splitlines()
        fatal = (
            [line for line in reason if line.startswith("fatal:")] + reason + [f"status {process.returncode}"]
        )
        reason = fatal[0][:200]
        raise SubmissionError(f"{shown} cannot be cloned ({reason}): is it public, and spelled right?")
    head = subprocess.run(
        [*git, "-C", str(folder), "rev-parse", "HEAD"], env=variables, capture_output=True, text=True
    )
    return f"commit {head.stdout.strip()[:40] or 'unknown'} of {shown}"
