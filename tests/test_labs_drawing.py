"""labs/drawing.py: what becomes of ink, and what a student sees of it. In a browser: test_labs_browser.py."""

import sys
from pathlib import Path

import numpy as np
import pytest

LABS = Path(__file__).resolve().parent.parent / "labs"
sys.path.insert(0, str(LABS))

import drawing  # noqa: E402  (labs/ is no package)
import labkit  # noqa: E402

SAMPLES = np.load(labkit.ROOT / "models/samples.npz")["images"]


def area(side: int = 224, **parts) -> np.ndarray:
    ink = np.zeros((side, side), dtype=np.uint8)
    for top, bottom, left, right in parts.values():
        ink[top:bottom, left:right] = 255
    return ink


def box_of(digit) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_no_ink_is_a_blank_picture():
    blank = drawing.digit_from(area())
    assert blank.shape == (28, 28) and blank.dtype == np.uint8 and not blank.any()


def test_ink_is_scaled_into_twenty_pixels_in_its_proportions_and_centred():
    upright = drawing.digit_from(area(one=(10, 210, 30, 60)))
    assert box_of(upright) == (4, 24, 13, 16) and upright.max() == 255
    assert box_of(drawing.digit_from(area(dash=(100, 110, 20, 220)))) == (14, 15, 4, 24)


def test_neither_the_place_nor_the_size_of_the_drawing_matters():
    small, large = area(one=(5, 45, 5, 25)), area(one=(20, 220, 100, 200))
    assert (drawing.digit_from(small) == drawing.digit_from(large)).all()
    assert (drawing.digit_from(np.roll(small, 90, axis=(0, 1))) == drawing.digit_from(small)).all()


def test_the_centre_of_mass_and_not_the_middle_comes_into_the_middle():
    heavy = drawing.digit_from(area(foot=(180, 200, 60, 160), stem=(20, 200, 105, 115)))
    rows, columns = drawing.centre_of_mass(heavy)
    assert abs(rows - 14.5) <= 0.5 and abs(columns - 14.5) <= 0.5
    assert box_of(heavy)[0] < 4, "it reaches further up than down, as its foot is heavy"


@pytest.mark.parametrize("turns", range(4))
def test_it_stays_in_the_picture_where_nearly_all_of_the_ink_is_at_one_end(turns):
    ink = area(foot=(200, 220, 0, 220))
    ink[0, 100] = 1
    digit = drawing.digit_from(np.rot90(ink, turns))
    assert digit.shape == (28, 28) and digit.max() == 255


def test_each_new_pixel_is_the_mean_of_what_it_covers():
    assert (drawing.shares(4, 2) == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]).all()
    assert np.allclose(drawing.shares(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
    for old, new in ((224, 20), (7, 20), (1, 1)):
        assert np.allclose(drawing.shares(old, new).sum(axis=1), 1)


def test_one_dot_is_a_picture_too():
    assert drawing.digit_from(area(dot=(3, 4, 3, 4))).max() == 255


def test_a_line_too_thin_for_a_pixel_is_one_pixel_wide():
    assert box_of(drawing.digit_from(area(hair=(100, 101, 10, 210)))) == (14, 15, 4, 24)


def test_a_digit_of_mnist_drawn_large_stays_itself_nearly():
    away = [
        np.abs(drawing.digit_from(np.kron(one, np.ones((8, 8)))).astype(int) - one).mean() for one in SAMPLES
    ]
    assert np.mean(away) < 3, "of 255"


@pytest.fixture(scope="module")
def server():
    started = labkit.Server()
    yield started
    started.stop()


def test_until_somebody_draws_there_is_the_sample_and_after_clear_again(server):
    drawn = drawing.draw(server, SAMPLES[42])
    assert (drawn.digit == SAMPLES[42]).all()
    drawn.take(area(one=(10, 210, 100, 120)).tobytes())
    assert box_of(drawn.digit)[:2] == (4, 24)
    drawn.take(bytes(224 * 224))
    assert (drawn.digit == SAMPLES[42]).all()


def test_the_widget_asks_the_server_and_shows_what_chart_shows(server):
    drawn = drawing.draw(server, SAMPLES[42])
    data = drawn._repr_mimebundle_()[0]
    assert data["text/plain"].startswith("A place to draw.")
    assert "application/vnd.jupyter.widget-view+json" in data
    assert drawn.widget.pixels == SAMPLES[42].tobytes() and "<b>4</b>" in drawn.widget.answer
    drawn.widget.ink = area(one=(10, 210, 100, 120)).tobytes()
    assert drawn.widget.pixels == drawn.digit.tobytes() != SAMPLES[42].tobytes()
    widget = drawn.widget
    assert drawn._repr_mimebundle_()[0] == data and drawn.widget is widget, "the same drawing, shown again"


def test_a_refusal_is_shown_as_it_is_and_a_dead_server_too(server):
    drawn, key = drawing.draw(server, SAMPLES[42]), server.key
    server.key = "wrong"
    assert "HTTP/1.1 401 Unauthorized" in drawn.ask()
    server.key = key
    other = labkit.Server()
    other.stop()
    assert "HTTP/1.1 0 No Answer" in drawing.draw(other, SAMPLES[42]).ask()
    server.use()


def test_without_widgets_there_is_a_text_and_the_sample(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    assert drawing.draw(server, SAMPLES[42])._repr_mimebundle_()[0].keys() == {"text/plain"}


def test_what_runs_in_the_browser_asks_no_network():
    code = (LABS / "drawing.js").read_text(encoding="utf-8")
    assert "import " not in code and "http" not in code and "fetch" not in code
