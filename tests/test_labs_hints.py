"""The hints of the labs: each exercise has them, nobody sees one unasked, a model answer comes after ✓."""

import re
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import judging  # noqa: E402  (labs/ is no package)
import labkit  # noqa: E402
import store  # noqa: E402

HINTS = tomllib.loads((LABS / "hints.toml").read_text(encoding="utf-8"))
NAMES = [f"{lab}.{name}" for lab, exercises in HINTS.items() for name in exercises]
ANSWERS = store.model_answers()


@pytest.fixture(autouse=True)
def nothing_was_asked_before():
    yield
    judging.Hints.of.cache_clear()


def cells(lab: str) -> list:
    return [c for file in LABS.glob(f"{lab}_*.ipynb") for c in nbformat.read(file, as_version=4).cells]


def html_of(verdict) -> str:
    return verdict._repr_mimebundle_()[0]["text/html"]


def text_of(verdict) -> str:
    return verdict._repr_mimebundle_()[0]["text/plain"]


def test_every_exercise_and_every_function_to_write_has_hints_and_nothing_else_has():
    exercises = {
        f"{lab}.{cell.id}"
        for lab in HINTS
        for cell in cells(lab)
        if "exercise" in cell.metadata.get("tags", [])
    }
    assert set(NAMES) == exercises | set(store.WRITTEN)


@pytest.mark.parametrize("name", NAMES)
def test_an_exercise_has_three_hints_of_growing_help_and_says_why_its_answer_is_one(name):
    lab, _, exercise = name.partition(".")
    told = HINTS[lab][exercise]
    assert len(set(told["hints"])) == 3 and told["why"] and told.keys() == {"hints", "why"}
    assert all(len(text) <= 160 for text in (*told["hints"], told["why"])), "one line of a screen"
    answer = ANSWERS[name]
    assert all(answer not in text for text in told["hints"]), "nearly the code, and not the code"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in store.WRITTEN])
def test_the_check_of_an_exercise_knows_its_hints_and_shows_no_answer_above_its_run(name):
    lab, _, exercise = name.partition(".")
    [check] = [cell.source for cell in cells(lab) if cell.id == f"{exercise}-check"]
    assert f'exercise="{name}"' in check
    [solution] = [cell.source for cell in cells(lab) if cell.id == f"{exercise}-solution"]
    literal = re.fullmatch(r"\w+ = ((?:\[.*\]|\".*\"|\{.*\}|\d+))", solution)
    assert not literal or literal[1] not in check, f"{exercise}-check says what is to be found out"


def test_the_stored_answers_are_those_of_the_solution_cells_and_of_the_server():
    assert {name: judging.Hints(name).answer for name in NAMES} == ANSWERS


def test_hints_come_one_by_one_and_the_last_one_stays(capsys):
    for _ in range(4):
        labkit.hint("01.pick-verb")
    hints = HINTS["01"]["pick-verb"]["hints"]
    shown = [f"{number} of 3: {text}" for number, text in zip((1, 2, 3, 3), (*hints, hints[2]))]
    assert capsys.readouterr().out.splitlines() == shown


def test_a_failed_check_offers_the_hints_folded_and_a_passed_one_the_model_answer(capsys):
    failed = labkit.expect(None, equals=[401], exercise="03.guess")
    nudge, _, last = HINTS["03"]["guess"]["hints"]
    assert text_of(failed).endswith('stuck? hint("03.guess") helps, a step at a time')
    assert nudge not in text_of(failed) and "guess = [401, 415, 429]" not in html_of(failed)
    assert html_of(failed).count("<details") == 3 and html_of(failed).index(nudge) < html_of(failed).index(
        last
    )
    passed = labkit.expect([401], equals=[401], exercise="03.guess")
    assert "guess = [401, 415, 429]" in html_of(passed) and "stuck" not in text_of(passed)
    labkit.hint("03.guess")
    assert capsys.readouterr().out == f"{ANSWERS['03.guess']}\n{HINTS['03']['guess']['why']}\n"


def test_a_name_that_has_no_hints_leads_to_the_nearest_one(capsys):
    labkit.hint("03.gues")
    assert capsys.readouterr().out == "there are no hints for '03.gues'; did you mean 03.guess?\n"


def test_without_the_file_of_hints_a_lab_goes_on(monkeypatch, tmp_path, capsys):
    judging.read_hints.cache_clear()
    monkeypatch.setattr(judging.Hints, "files", (tmp_path / "hints.toml", tmp_path / "answers.json"))
    assert "<details" not in html_of(labkit.expect(1, equals=2, exercise="03.guess"))
    labkit.hint("03.guess")
    assert capsys.readouterr().out == "there are no hints for '03.guess'\n"
    judging.read_hints.cache_clear()
