"""What a student has done so far: kept in one file across kernels, and shown where they are.

remember(["00.survivors"])               # an exercise that has just turned ✓
progress("03")                           # what is done of a lab, and of all of them
"""

import fcntl
import html
import json
import os
import re
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parent.parent
sys.path.append(str(REPO))
try:
    from checks.report.model import TITLES  # of the milestones
except ImportError:  # where a class is graded, checks/ is elsewhere
    TITLES = {}
ROOT = Path(os.environ.get("PIXELWISE_SERVER", REPO / "server.py")).resolve().parent


class Shown:
    """Something for Jupyter to show: text for all, and a picture or HTML for those who can."""

    def __init__(self, text: str, metadata=None, **data):
        self.data = {"text/plain": text} | {name.replace("_", "/"): value for name, value in data.items()}
        self.metadata = metadata or {}

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.data, self.metadata


PROGRESS = Path(os.environ.get("PIXELWISE_PROGRESS", ROOT / ".progress.json"))  # outlives the kernel


def remembered() -> dict:
    """What was passed and predicted so far:
    {"exercises": ["01.pick-verb", …], "checks": {name: points}, "predictions": {name: word}}."""
    try:
        kept = json.loads(PROGRESS.read_text(encoding="utf-8"))
        told = {"exercises": list(kept["exercises"]), "checks": dict(kept["checks"])}
        return told | {"predictions": dict(kept.get("predictions", {}))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"exercises": [], "checks": {}, "predictions": {}}


def remember(exercises=(), checks=None, predictions=None):
    """Add what was just passed or said; where nothing can be written there is no progress, and no error."""
    with one_at_a_time():  # two labs may be open
        kept = remembered()
        now = {
            "exercises": sorted({*kept["exercises"], *exercises}),
            "checks": kept["checks"] | (checks or {}),
        }
        now["predictions"] = kept["predictions"] | (predictions or {})
        if now != kept and PROGRESS.name:
            new = PROGRESS.with_name(f"{PROGRESS.name}.{os.getpid()}")
            try:
                new.write_text(json.dumps(now, indent=1), encoding="utf-8")
                new.replace(PROGRESS)  # in one step, since another lab may read it
                write_page()
            except OSError:
                new.unlink(missing_ok=True)


@contextmanager
def one_at_a_time():
    """Wait until no other kernel adds something to the record; where nothing can be locked, do not."""
    with ExitStack() as held:
        with suppress(OSError):
            folder = os.open(PROGRESS.parent, os.O_RDONLY)
            held.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield


class Lab(NamedTuple):
    """What a notebook asks of a student."""

    file: str
    title: str
    exercises: list[str]
    predictions: list[str]


def all_labs() -> dict[str, Lab]:
    """Each lab that can be read, by its number."""
    labs = {}
    for file in sorted((REPO / "labs").glob("[0-9][0-9]_*.ipynb")):
        try:
            cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
            sources = ["".join(cell["source"]) for cell in cells]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        number, text = file.name[:2], "\n".join(sources)
        exercises, predictions = (
            list(dict.fromkeys(re.findall(rf'{before}"({number}\.[\w-]+)"', text)))
            for before in ("exercise=", r"\bpredict\(")
        )
        title = sources[0].partition("\n")[0].removeprefix("# ")
        labs[number] = Lab(file.name, title, exercises, predictions)
    return labs


def bar(done: int, of: int) -> str:
    return f'<progress value="{done}" max="{of}" style="width:5em"></progress>'


def points_of(milestone: str, kept: dict) -> float:
    return sum(worth for name, worth in kept["checks"].items() if name.startswith(milestone))


def progress(lab: str) -> Shown:
    """Where you are: this lab in words, and for those who can see it a table of all labs and milestones."""
    kept, labs = remembered(), all_labs()
    if lab not in labs:
        return Shown(f"the notebook of lab {lab} cannot be read, so there is no progress to show")
    exercises = labs[lab].exercises
    still = [name for name in exercises if name not in kept["exercises"]]
    later = [one.title for number, one in labs.items() if number > lab][:1]
    text = f"{labs[lab].title}: {len(exercises) - len(still)} of {len(exercises)} exercises done. "
    text += f"Still open: {', '.join(still)}" if still else f"Next: {(later or ['you are through'])[0]}"
    rows = []
    for one in labs.values():
        done, of = len({*one.exercises} & {*kept["exercises"]}), len(one.exercises)
        link = f'<a href="{one.file}">{html.escape(one.title)}</a>'
        rows.append(f"{link}</td><td>{bar(done, of)}</td><td>{done} of {of}")
    for milestone in sorted({name[:2] for name in kept["checks"]}):
        points = points_of(milestone, kept)
        rows.append(f"{milestone}</td><td>points so far, from the checks of the labs</td><td>{points:g}")
    table = "".join(f"<tr><td>{row}</td></tr>" for row in rows)
    return Shown(text, text_html=f"<p>{html.escape(text)}</p><table>{table}</table>")


# ---- The page -------------------------------------------------------------------------------------------


def page() -> str:
    """The labs, exercises, milestones and points so far, and what is next, as Markdown."""
    kept, labs = remembered(), all_labs()
    rows = []
    for lab in labs.values():
        done, of = len({*lab.exercises} & {*kept["exercises"]}), len(lab.exercises)
        said = len([name for name in lab.predictions if kept["predictions"].get(name)])
        told = f"{done} of {of}{' ✓' if done == of else ''}"
        rows.append(
            f"| [{lab.title}]({lab.file}) | {bar(done, of)} {told} | {said} of {len(lab.predictions)} |"
        )
    milestones = [f"| {name} {title} | {points_of(name, kept):g} |" for name, title in TITLES.items()]
    return PAGE.format(
        next=what_is_next(kept, labs),
        labs="\n".join(rows),
        milestones="\n".join(milestones),
        total=f"{points_of('m', kept):g}",
    )


def what_is_next(kept: dict, labs: dict[str, Lab]) -> str:
    """The first lab with an exercise that is open, and those that are."""
    for lab in labs.values():
        still = [name for name in lab.exercises if name not in kept["exercises"]]
        link = f"[{lab.title}]({lab.file})"
        if still and len(still) < len(lab.exercises):
            names = ", ".join(f"`{name.partition('.')[2]}`" for name in still)
            return f"**Go on with {link}.** Still open there: {names}"
        if still:
            return f"**{'Next' if any(kept.values()) else 'Begin here'}: {link}**"
    return "**All exercises are done.** `bash setup-server.sh test` in a terminal grades your own server."


PAGE = """# Your progress

{next}

| lab | exercises | predicted |
|---|---|---|
{labs}

| milestone | points so far |
|---|---|
{milestones}
| all | **{total}** |

Points so far are those of the checks that turned ✓ in a lab. [All labs, with minutes and goals](README.md)
"""


def page_file() -> Path:
    """Among the labs, where JupyterLab sees it; for a record elsewhere, beside that."""
    return (
        REPO / "labs" / "PROGRESS.md"
        if PROGRESS.resolve() == ROOT / ".progress.json"
        else PROGRESS.with_suffix(".md")
    )


def write_page():
    """Write the page, in one step; where that is not allowed, there is none."""
    new = page_file().with_name(f".{page_file().name}.{os.getpid()}")
    try:
        new.write_text(page(), encoding="utf-8")
        new.replace(page_file())
    except OSError:
        new.unlink(missing_ok=True)


if __name__ == "__main__":
    write_page()
