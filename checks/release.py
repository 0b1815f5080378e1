"""Makes the editions: `python -m checks.release OUT` writes OUT/student and OUT/instructor, and proves both.

The instructor edition is this folder as it is. The student edition is what editions/tables.py names of it,
where some functions are open gates, the unit file has only its sections, and the labs have neither solutions
nor outputs. What is not named there is not given away.

Before OUT appears, copies of both editions are graded and their labs are run: the instructor edition gets
full marks, the untouched student edition none of the exercise points, and nothing crashes. Then the labs are
worked in order on another copy, each exercise and function written when its lab asks for it: every check says
✓ at the end of its lab, and that edition gets all exercise points. Otherwise there is no OUT. Exit status: 0
done; 1 the proof failed, or a file is not as expected, and the last lines say which; 2 a wrong call.

`python -m checks.release --gradescope OUT.zip` packs the autograder that Gradescope takes, instead.
"""

import signal
import sys
import time
from pathlib import Path

from checks.editions.autograder import write_autograder
from checks.editions.release import release
from checks.editions.tables import ReleaseError
from checks.report.files import cannot_write
from checks.report.terminal import for_any_terminal, in_utf8

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    """Make the editions; the exit status stands above."""
    for_any_terminal()
    autograder = arguments[:1] == ["--gradescope"]
    arguments = arguments[autograder:]
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(
            "usage: python -m checks.release OUT (a new folder, for OUT/student and OUT/instructor)\n"
            "       python -m checks.release --gradescope OUT.zip",
            file=sys.stderr,
        )
        return 2
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)

    def leave(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    try:
        if autograder:
            write_autograder(ROOT, Path(arguments[0]))
            print(arguments[0])
            return 0
        release(ROOT, Path(arguments[0]), tell)
    except ReleaseError as problem:
        print(problem, file=sys.stderr)
        return 1
    except OSError as problem:
        print(cannot_write(problem, Path(arguments[0])), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    tell(f"{arguments[0]}/student and {arguments[0]}/instructor")
    return 0


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
