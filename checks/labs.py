"""What the labs of one folder are worth: `python -m checks.labs FOLDER`, a line an exercise, then the sum.

It is the part of `checks.grade` that is about the labs: for who writes an exercise, and for the proof of the
editions. Exit status: 0 all points; 1 not all; 2 a wrong call, or no sandbox on this machine.
"""

import os
import sys
import tempfile
from pathlib import Path

from checks.classroom.limits import Limits, SandboxError
from checks.classroom.notebooks import rerun
from checks.classroom.sandbox import in_fresh_network, is_possible
from checks.report.model import total
from checks.report.terminal import explanation, for_any_terminal, line

ROOT = Path(__file__).resolve().parents[1]
INSIDE = "PIXELWISE_IN_A_NETWORK_OF_ITS_OWN"


def main(arguments: list[str]) -> int:
    """Judge the labs of a folder; the exit status stands above."""
    from rich.console import Console

    for_any_terminal()
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m checks.labs FOLDER (a folder with labs/ in it)", file=sys.stderr)
        return 2
    if INSIDE not in os.environ:
        try:
            is_possible()
            command = in_fresh_network([sys.executable, "-m", "checks.labs", *arguments])
        except SandboxError as problem:
            print(f"the labs cannot be judged here: {problem}", file=sys.stderr)
            return 2
        os.execvpe(command[0], command, os.environ | {INSIDE: "yes"})
    with tempfile.TemporaryDirectory(prefix="pixelwise-labs-") as out:
        results = rerun(Path(arguments[0]).resolve(), ROOT, Limits(), Path(out))["results"]
    console = Console(highlight=False)
    for result in results:
        console.print(line(result), soft_wrap=True)
        if result.status != "passed":
            console.print(explanation(result), soft_wrap=True)
    earned, points = (total([vars(one) for one in results], name) for name in ("earned", "points"))
    print(f"labs: {earned:g} of {points:g} points")
    return 0 if earned == points else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
