"""Makes the reports of a grading again, also after a crash: `python -m checks.report DIR`."""

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from checks.report.files import cannot_write, write_all
from checks.report.journal import BadJournal, read
from checks.report.terminal import for_any_terminal, in_utf8, table


def main(arguments: list[str]) -> int:
    """Rebuild the reports of a folder. 0: done, whatever the grade; 2: nothing could be done."""
    for_any_terminal()
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m checks.report DIR (the folder with results.jsonl)", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    try:
        report = read(folder / "results.jsonl")
        files = write_all(report, folder)
    except BadJournal as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(cannot_write(error, folder), file=sys.stderr)
        return 2
    console = Console()
    console.print(table(report))
    for file in files:
        console.print(Text(str(file)), soft_wrap=True)
    return 0


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
