"""labs/lost.py: after a restart of the kernel, a lab says which cell to run."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from tree import from_setup

ROOT = Path(__file__).resolve().parent.parent
LABS = ROOT / "labs"
sys.path.insert(0, str(LABS))

import lost  # noqa: E402  (labs/ is no package)


def in_lab(monkeypatch, name: str) -> None:
    monkeypatch.chdir(LABS)
    monkeypatch.setenv("JPY_SESSION_NAME", str(LABS / name))


def test_a_lost_name_leads_to_the_cell_that_makes_it(monkeypatch):
    in_lab(monkeypatch, "03_keys_and_limits.ipynb")
    assert lost.maker_of("ask") == "def ask(one=None, **changes):"
    assert lost.maker_of("server") == "server = Server()"
    assert lost.maker_of("groupby") == "import json" and lost.maker_of("nonsense") == ""


def test_where_the_lab_cannot_be_read_or_is_not_known_no_cell_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert lost.maker_of("ask") == ""
    for name in ("gone.ipynb", "broken.ipynb"):
        (tmp_path / "broken.ipynb").write_text("no JSON")
        monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / name))
        assert lost.maker_of("ask") == ""


def test_every_shell_cell_of_a_lab_has_a_cell_that_brings_it(monkeypatch):
    for file in LABS.glob("0*.ipynb"):
        in_lab(monkeypatch, file.name)
        cells = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
        for magic, module in lost.MAGICS.items():
            if any(source.startswith(f"%%{magic}") for source in cells):
                assert lost.maker_of(module) in {source.partition("\n")[0] for source in cells}, (file, magic)


@pytest.fixture(scope="module")
def ipython(tmp_path_factory, warm_python):
    """A folder for IPython with the startup file that `bash setup-server.sh labs` writes into .venv."""
    folder = tmp_path_factory.mktemp("ipython")
    from_setup("quiet_jupyter", VENV=folder / "venv")
    (folder / "profile_default").mkdir()
    (folder / "venv/etc/ipython/startup").rename(folder / "profile_default/startup")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(warm_python.kernels))
        yield folder


def outputs(ipython: Path, folder: Path, *cells: str, session: str = "02_the_contract_and_the_server.ipynb"):
    """What each of these cells prints in a kernel that has just started."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    environ = {"IPYTHONDIR": str(ipython), "JPY_SESSION_NAME": str(LABS / session)}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", allow_errors=True)
    client.execute(cwd=str(folder), env={**os.environ, **environ})
    return ["".join(o.get("text", "") or o.get("ename", "") for o in cell.outputs) for cell in notebook.cells]


def test_a_kernel_that_started_anew_says_which_cell_to_run_before_any_import(ipython):
    name, dev, prod, after, known = outputs(
        ipython, LABS, "server.url", "%%dev\ncurl", "%%prod\nls", "import labkit", "%%dev\necho here"
    )
    assert "The cell that begins with `server = Server()` makes it: run that one." in name
    assert "%%dev is not known yet. The cell that begins with `import json` brings it: run that one." in dev
    assert "Run All Above Selected Cell" in name and "Run All Above Selected Cell" in dev
    assert "%%prod is not known yet. No cell of this lab brings it." in prod
    assert after == "" and known == "here\n"


def test_the_cells_of_labs_00_and_04_are_stood_in_for_too(ipython):
    [told] = outputs(ipython, LABS, "%%practice\nls", session="00_catch_up.ipynb")
    assert "The cell that begins with `from dotenv import dotenv_values` brings it" in told
    [told] = outputs(ipython, LABS, "%%prod\nls", session="04_from_dev_to_production.ipynb")
    assert "The cell that begins with `from labkit import check, expect, figure, progress` brings it" in told


def test_a_notebook_elsewhere_notices_nothing(ipython, tmp_path):
    told, dev, goes_on = outputs(ipython, tmp_path, "nonsense", "%%dev\nls", "print('fine')")
    assert told == "NameError" and "run that one" not in dev and goes_on == "fine\n"
