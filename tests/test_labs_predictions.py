"""The predictions of the labs: asked before a cell, kept, answered after it, and given away by none."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import predictions  # noqa: E402  (labs/ is no package)
import record  # noqa: E402

TOLD = predictions.texts()
WIDGET = "application/vnd.jupyter.widget-view+json"


def calls(function: str) -> dict[str, tuple[str, int, list]]:
    """Of each call in the labs, by the prediction: its lab, its place among the cells, and its arguments."""
    found = {}
    for file in sorted(LABS.glob("0*.ipynb")):
        for place, cell in enumerate(nbformat.read(file, as_version=4).cells):
            if cell.cell_type != "code" or cell.source.startswith("%%"):
                continue
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function:
                    name, *more = node.args
                    assert name.value not in found, f"{name.value} is asked twice"
                    found[name.value] = (file.name[:2], place, more)
    return found


ASKED, ANSWERED = calls("predict"), calls("answered")


@pytest.fixture
def kept(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(record, "PROGRESS", tmp_path / "progress.json")
    return tmp_path / "progress.json"


def text_of(shown) -> str:
    return shown._repr_mimebundle_()[0]["text/plain"]


@pytest.mark.parametrize("lab", [f"0{number}" for number in range(6)])
def test_each_lab_asks_for_two_predictions_at_least(lab):
    assert sum(name.startswith(lab) for name in ASKED) >= 2


def test_every_prediction_is_asked_and_then_answered_in_its_own_lab():
    assert ASKED.keys() == ANSWERED.keys() == TOLD.keys()
    for name, (lab, place, _) in ASKED.items():
        assert lab == ANSWERED[name][0] == name[:2] and place < ANSWERED[name][1] <= place + 4, name


@pytest.mark.parametrize("name", TOLD)
def test_what_is_right_is_one_of_the_choices_and_the_reason_is_a_sentence_or_two(name):
    choices = [choice.value for choice in ASKED[name][2]]
    assert not choices or TOLD[name]["right"] in choices
    assert TOLD[name].keys() == {"right", "because"} and TOLD[name]["because"].endswith(".")
    assert len(TOLD[name]["because"]) <= 160, "one line of a screen"


def test_the_stored_labs_are_of_a_run_without_a_prediction_and_hold_no_widget():
    for file in LABS.glob("0*.ipynb"):
        text = file.read_text(encoding="utf-8")
        assert WIDGET not in text and "You said" not in text
        assert text.count('"You made no prediction;') == sum(name[:2] == file.name[:2] for name in ASKED)


def test_what_is_right_is_what_the_finished_server_did():
    for file in LABS.glob("0*.ipynb"):
        told = [
            line for line in file.read_text(encoding="utf-8").splitlines() if "You made no prediction" in line
        ]
        assert [line for line in told if "once all is right" in line] == [], file.name


def test_a_prediction_is_kept_for_the_next_kernel_beside_what_was_passed_before(kept):
    record.remember(["00.survivors"], {"m1.health answers": 2})
    predictions.predict("02.which-gate", "401", "422", mine="422")
    assert record.remembered()["predictions"] == {"02.which-gate": "422"}
    assert record.remembered()["exercises"] == ["00.survivors"]
    assert predictions.predict("02.which-gate", "401", "422").buttons().value == "422"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, 'You made no prediction; it is "401": the gates ask'),
        ("401", 'You said "401", and it is "401": the gates ask'),
        ("422", 'You said "422", but it is "401": the gates ask'),
        ("", 'You made no prediction; it is "401": the gates ask'),
    ],
)
def test_the_answer_compares_what_was_said_and_says_why(kept, said, told):
    if said is not None:
        predictions.predict("02.which-gate", "401", "422", mine=said)
    assert text_of(predictions.answered("02.which-gate")).startswith(told)
    assert (
        told.replace('"', "&quot;").partition("&")[0]
        in predictions.answered("02.which-gate").data["text/html"]
    )


def test_what_the_own_server_did_counts_and_what_is_right_is_said_as_well(kept):
    predictions.predict("03.no-key", "200", "401", mine="200")
    told = text_of(predictions.answered("03.no-key", 200))
    assert told.startswith('You said "200", and it is "200" here, and "401" once all is right: the server')


def test_a_click_on_a_button_is_kept_and_so_is_a_word(kept):
    predictions.predict("02.which-gate", "401", "422").buttons().value = "401"
    predictions.predict("05.hardest-limit").buttons().value = " 40 "
    assert record.remembered()["predictions"] == {"02.which-gate": "401", "05.hardest-limit": "40"}
    assert predictions.predict("02.which-gate", "403").buttons().value is None  # the choices were changed


def test_it_is_shown_as_buttons_and_as_text_where_there_are_none(kept, monkeypatch):
    asked = predictions.predict("02.which-gate", "401", "422")
    assert asked._repr_mimebundle_()[0].keys() == {"text/plain", WIDGET}
    assert text_of(asked).startswith("Your prediction: 401 · 422\nNo buttons here?")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert predictions.predict("02.which-gate", "401", "422")._repr_mimebundle_()[0].keys() == {"text/plain"}


def test_without_its_file_an_answer_says_so_and_nothing_breaks(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(predictions, "FILE", tmp_path / "none.toml")
    predictions.texts.cache_clear()
    assert (
        text_of(predictions.answered("02.which-gate"))
        == "nothing is known about the prediction '02.which-gate'"
    )
    predictions.texts.cache_clear()


def test_no_cell_gives_the_answer_away_above_its_own_run():
    for file in LABS.glob("0*.ipynb"):
        for cell in nbformat.read(file, as_version=4).cells:
            for name in re.findall(r'answered\("([\w.-]+)"', cell.source):
                assert TOLD[name]["because"] not in cell.source


def test_the_file_is_valid_toml_with_names_of_labs():
    assert set(tomllib.loads(predictions.FILE.read_text(encoding="utf-8"))) == {f"0{n}" for n in range(7)}
