"""`python -m checks.read GRADES` as a process that starts at once: forked from one with all imports done."""

import multiprocessing
import os
import sys
from pathlib import Path

from checks import read

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", __name__])  # each of them imports what this process runs, too


def run(grades: Path, output) -> None:
    with open(output.fileno(), "w", encoding="utf-8", closefd=False) as sys.stdout:
        sys.stderr = sys.stdout
        sys.exit(read.main([str(grades)]))


def start(grades: Path):
    """The process, and what it prints as a file."""
    printed, output = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=run, args=(grades, output))
    process.start()
    output.close()
    return process, os.fdopen(os.dup(printed.fileno()))
