"""Opens a page for who reads the answers of a graded class: `python -m checks.read GRADES`."""

import argparse
import os
import signal
import sqlite3
import sys
import webbrowser
from pathlib import Path

from checks.classroom.marks import FILE
from checks.reading.site import NothingToRead, serve
from checks.report.files import cannot_write
from checks.report.terminal import for_any_terminal, in_utf8


def opened(address: str) -> None:
    """Print the address, and open it where there is a screen."""
    print(
        f"{address}\nThis machine alone can open it. Every mark is kept at once; Ctrl-C ends the page.",
        flush=True,
    )
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
        webbrowser.open(address)


def main(arguments: list[str]) -> int:
    """Serve the page until Ctrl-C. 0: done; 2: there is nothing to read, or it cannot be served."""
    for_any_terminal()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
    parser = argparse.ArgumentParser("python -m checks.read", description="Read the answers of a class.")
    parser.add_argument("grades", type=Path, help="the folder of a graded class")
    parser.add_argument("--port", type=int, default=0, help="a port to listen on (default: a free one)")
    asked = parser.parse_args(arguments)
    if not any(asked.grades.glob("*/record.json")):
        print(
            f"{asked.grades} holds no grades: name the folder of `python -m checks.grade --out`",
            file=sys.stderr,
        )
        return 2
    try:
        serve(asked.grades, asked.port, opened)
    except NothingToRead as problem:
        print(problem, file=sys.stderr)
        return 2
    except sqlite3.Error as problem:
        print(
            f"{asked.grades / FILE}: {problem}: see that you may write it, on a local disk", file=sys.stderr
        )
        return 2
    except OSError as problem:
        print(cannot_write(problem, asked.grades), file=sys.stderr)
        return 2
    print(f"`python -m checks.gradebook {asked.grades}` brings the marks into the gradebook and the reports")
    return 0


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
