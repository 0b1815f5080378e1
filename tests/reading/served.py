"""`python -m checks.read GRADES` as a process that starts at once: forked from one with long imports done."""

import multiprocessing
import os
import sys
from pathlib import Path

from checks import read

FORKS = multiprocessing.get_context("forkserver")
# what takes seconds to import; Python 3.11 does not find modules of this folder here, and says nothing
FORKS.set_forkserver_preload(["pytest", "sklearn.feature_extraction.text", "scipy.cluster.hierarchy"])


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
