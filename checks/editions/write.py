"""Writes both editions into a folder."""

import json
import re
import shutil
from pathlib import Path

from checks.editions.files import files_of, is_for_students
from checks.editions.strip import strip
from checks.editions.tables import EDITS, STUBS, UNIT, ReleaseError, open_gate


def write_editions(root: Path, out: Path) -> None:
    """Write both editions into the folder out. Raises ReleaseError where a source is not as expected."""
    names = files_of(root)
    for name in names:
        _copy(root / name, out / "instructor" / name)
        if is_for_students(name):
            _copy(root / name, out / "student" / name)
    student = out / "student"
    statements = {name: open_gate(name, *gate) for name, gate in STUBS.items()}
    (student / "server.py").write_bytes(strip((root / "server.py").read_bytes(), statements))
    (student / "deploy" / "pixelwise.service").write_text(UNIT, encoding="utf-8")
    workflow = student / ".github" / "workflows" / "classroom.yml"
    workflow.parent.mkdir(parents=True)
    shutil.copy2(Path(__file__).with_name("classroom.yml"), workflow)
    for lab in sorted((student / "labs").glob("*.ipynb")):
        lab.write_text(student_lab(lab.read_text(encoding="utf-8")), encoding="utf-8")
    for name, pattern, new in EDITS:
        text = (student / name).read_text(encoding="utf-8")
        text, count = re.subn(pattern, new, text)
        if not count:
            raise ReleaseError(
                f"{name} has nothing like {pattern}: correct EDITS in checks/editions/tables.py"
            )
        (student / name).write_text(text, encoding="utf-8")
    for edition in ("student", "instructor"):
        for file in sorted((out / edition).rglob("*.md")):
            for link in re.findall(r"\]\((?!\w+:|#)([^)#]+)", file.read_text(encoding="utf-8")):
                if not (file.parent / link).exists():
                    where = file.relative_to(out)
                    raise ReleaseError(f"{where} links to {link}, which is not there: see EDITS and STUDENTS")


def student_lab(text: str) -> str:
    """The notebook without its solution cells, never run."""
    notebook = json.loads(text)
    notebook["cells"] = [
        cell for cell in notebook["cells"] if "solution" not in cell["metadata"].get("tags", [])
    ]
    return json.dumps(never_run(notebook), indent=1, ensure_ascii=False) + "\n"


def never_run(notebook: dict) -> dict:
    """The notebook, whose outputs and execution counts are taken away."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return notebook


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)
