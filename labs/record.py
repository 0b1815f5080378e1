"""What a student has done so far: kept in one file across kernels, and shown where they are.

remember(["00.survivors"])               # an exercise that has just turned ✓
progress("03")                           # what is done of a lab, and of all of them
"""

import html
import json
import os
import re
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
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
    kept = remembered()
    now = {"exercises": sorted({*kept["exercises"], *exercises}), "checks": kept["checks"] | (checks or {})}
    now["predictions"] = kept["predictions"] | (predictions or {})
    if now != kept and PROGRESS.name:
        new = PROGRESS.with_name(f"{PROGRESS.name}.{os.getpid()}")
        try:
            new.write_text(json.dumps(now, indent=1), encoding="utf-8")
            new.replace(PROGRESS)  # in one step, since two labs may be open
        except OSError:
            new.unlink(missing_ok=True)


def all_labs() -> dict[str, tuple[str, str, list[str]]]:
    """For each lab that can be read, by its number: its file, its title, and its exercises."""
    labs = {}
    for file in sorted((REPO / "labs").glob("[0-9][0-9]_*.ipynb")):
        try:
            cells = [
                "".join(cell["source"]) for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]
            ]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        title = cells[0].partition("\n")[0].removeprefix("# ")
        found = re.findall(rf'exercise="({file.name[:2]}\.[\w-]+)"', "\n".join(cells))
        labs[file.name[:2]] = (file.name, title, list(dict.fromkeys(found)))
    return labs


def progress(lab: str) -> Shown:
    """Where you are: this lab in words, and for those who can see it a table of all labs and milestones."""
    kept, labs = remembered(), all_labs()
    if lab not in labs:
        return Shown(f"the notebook of lab {lab} cannot be read, so there is no progress to show")
    file, title, exercises = labs[lab]
    still = [name for name in exercises if name not in kept["exercises"]]
    later = [f"{title}" for number, (_, title, _) in labs.items() if number > lab][:1]
    text = f"{title}: {len(exercises) - len(still)} of {len(exercises)} exercises done. "
    text += f"Still open: {', '.join(still)}" if still else f"Next: {(later or ['you are through'])[0]}"
    rows = []
    for file, title, exercises in labs.values():
        done = len([name for name in exercises if name in kept["exercises"]])
        bar = f'<progress value="{done}" max="{len(exercises)}"></progress>'
        rows.append(
            f'<a href="{file}">{html.escape(title)}</a></td><td>{bar}</td><td>{done} of {len(exercises)}'
        )
    for milestone in sorted({name[:2] for name in kept["checks"]}):
        points = sum(worth for name, worth in kept["checks"].items() if name[:2] == milestone)
        rows.append(f"{milestone}</td><td>points so far, from the checks of the labs</td><td>{points:g}")
    table = "".join(f"<tr><td>{row}</td></tr>" for row in rows)
    return Shown(text, text_html=f"<p>{html.escape(text)}</p><table>{table}</table>")
