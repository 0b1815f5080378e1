"""The figures of the labs: each is shown in a lab, says what it shows, and has the colours of the theme."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import labkit  # noqa: E402  (labs/ is no package)

FILES = sorted((LABS / "pictures").glob("*.svg"))
each_figure = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@each_figure
def test_a_figure_is_shown_in_one_lab_at_least(file):
    shown = f'figure(\\"{file.stem}\\")'
    assert [lab.name for lab in LABS.glob("*.ipynb") if shown in lab.read_text(encoding="utf-8")]


@each_figure
def test_a_figure_says_in_words_what_it_shows(file):
    drawn = ElementTree.parse(file).getroot()
    title, told = (drawn.find(f"{{http://www.w3.org/2000/svg}}{name}") for name in ("title", "desc"))
    assert (
        drawn.get("role") == "img" and drawn.get("aria-labelledby") == f"{title.get('id')} {told.get('id')}"
    )
    assert labkit.figure(file.stem)._repr_mimebundle_()[0] == {
        "text/plain": told.text,
        "text/html": file.read_text(encoding="utf-8"),
    }
    assert len(told.text.split()) >= 20


@each_figure
def test_a_figure_has_the_colours_of_the_theme_and_shrinks_with_the_window(file):
    text = file.read_text(encoding="utf-8")
    colours = set(re.findall(r'(?:fill|stroke)="(.*?)"', text))
    assert all(colour in ("none", "currentColor") or colour.startswith("var(--jp-") for colour in colours)
    assert "max-width:100%" in text and "viewBox" in text and "<script" not in text


@each_figure
def test_a_figure_in_a_narrow_window_scrolls_before_its_words_are_too_small_to_read(file):
    text = file.read_text(encoding="utf-8")
    width, least = (int(re.search(rf"{name}(\d+)", text)[1]) for name in ('" width="', "min-width:"))
    words = int(re.search(r"font:(\d+)px", text)[1])
    assert words * least / width >= 9.9, "pixels"


def test_a_figure_that_is_not_there_is_said():
    assert labkit.figure("nothing").data["text/plain"] == "(there is no picture 'nothing' here)"
