"""Shows who of a class worked alike: `python -m checks.likeness SUBMISSIONS -o GRADES` writes likeness.html.

SUBMISSIONS is what `python -m checks.grade` takes as a class, for grades hold no sources. Nothing that was
handed in is run. Where a roster.csv lies beside the page, members of a group are not compared.
Exit status: 0 the page is written, whatever it shows; 2 a wrong call.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from checks.alike.page import likeness_page
from checks.alike.pairs import pairs
from checks.alike.work import Given, works_of
from checks.classroom.download import is_download, unpacked
from checks.classroom.handed_in import Usage, find_submissions, is_class
from checks.classroom.records import write
from checks.course.roster import FILE, roster_of
from checks.course.tables import Unclear
from checks.report.files import cannot_write
from checks.report.terminal import for_any_terminal, in_utf8

ROOT = Path(__file__).resolve().parents[1]
LEAST = 20  # passages that two alone have, or more that others have too: less happens by chance
MOST = 60  # pairs that are shown


def class_in(folder: Path) -> dict:
    """`find_submissions`. Raises Usage."""
    if not folder.is_dir():
        raise Usage(
            f"{folder} is no folder, and no zip as Moodle or Canvas makes it: name everybody's submissions"
        )
    if any(folder.glob("*/record.json")):
        raise Usage(f"{folder} holds grades, and no sources: name the folder that was graded")
    if not is_class(folder):
        raise Usage(f"{folder} is one submission: name the folder that holds everybody's")
    return find_submissions(folder)


def groups_in(folder: Path, submissions) -> dict[str, str]:
    """{student: group} by the roster in this folder, if there is one. Raises Usage."""
    if not (folder / FILE).exists():
        return {}
    groups = {}
    try:
        roster = roster_of(folder)
    except Unclear as problem:
        raise Usage(str(problem)) from None
    for name in submissions:
        with contextlib.suppress(Unclear):
            groups[name] = roster.whose(name)[0].group
    return groups


def main(arguments: list[str]) -> int:
    """Compare, and write the page; the exit status stands above."""
    for_any_terminal()
    parser = argparse.ArgumentParser("python -m checks.likeness", description="Who of a class worked alike?")
    parser.add_argument("submissions", type=Path, help="a class, as checks.grade takes it: a folder or a zip")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="the page to write, or the folder of the grades"
    )
    asked = parser.parse_args(arguments)
    out = asked.out / "likeness.html" if asked.out.is_dir() else asked.out
    scratch = tempfile.TemporaryDirectory(prefix="pixelwise-likeness-")
    try:
        folder = asked.submissions
        submissions = class_in(unpacked(folder, Path(scratch.name)) if is_download(folder) else folder)
        groups = groups_in(out.parent, submissions)
        works, problems = works_of(submissions, Given(ROOT))
        found = pairs(works, LEAST, MOST, groups)
        compared = len(works) * (len(works) - 1) // 2
        write(out, likeness_page(works, found, problems, compared))
    except Usage as problem:
        print(problem, file=sys.stderr)
        return 2
    except OSError as problem:
        print(cannot_write(problem, out), file=sys.stderr)
        return 2
    finally:
        scratch.cleanup()
    print(f"{len(works)} students, {compared} pairs, {len(found)} of them to look at: {out}")
    if problems:
        print(f"{len(problems)} could not be compared; the page says why")
    return 0


if __name__ == "__main__":
    in_utf8()
    sys.exit(main(sys.argv[1:]))
