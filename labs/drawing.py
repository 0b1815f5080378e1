"""A place to draw a digit, for lab 02: what the mouse draws becomes 28 x 28 pixels, and the server's answer.

    drawn = draw(server, sample)             # until somebody draws, the sample stands in its place
    drawn.digit                              # the pixels that the model gets

drawing.js is what runs in the browser; it sends its ink here, and this side asks the server, with the key.
"""

import html
import io
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np
from labkit import Server, chart, client
from record import Shown

SIZE, BOX = 28, 20  # MNIST's digits: scaled into a box of 20 x 20, in a picture of 28 x 28,
MIDDLE = 14.5  # whose middle is that of the pixel (14, 14)


def digit_from(ink) -> np.ndarray:
    """Make of an area of any size (0 is paper, 255 is ink) what MNIST makes of it: 28 x 28 of uint8.

    What has ink is cut out and scaled, in its proportions, into 20 x 20, each new pixel being the mean of
    what it covers; then it is moved so that its centre of mass is in the middle. (LeCun, Cortes, Burges: "The
    MNIST database of handwritten digits".) No ink makes a blank picture.
    """
    ink, picture = np.asarray(ink, dtype=float), np.zeros((SIZE, SIZE))
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return picture.astype(np.uint8)
    part = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(BOX * side / max(part.shape))) for side in part.shape)
    small = shares(part.shape[0], height) @ part @ shares(part.shape[1], width).T
    top, left = (
        round(np.clip(MIDDLE - centre, 0, SIZE - side))
        for centre, side in zip(centre_of_mass(small), small.shape)
    )
    picture[top : top + height, left : left + width] = small
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def shares(old: int, new: int) -> np.ndarray:
    """(new, old): how much each of `old` equal pieces of a line counts in each of `new` means."""
    edges, pieces = np.linspace(0, old, new + 1), np.arange(old)
    covered = np.minimum(edges[1:, None], pieces + 1) - np.maximum(edges[:-1, None], pieces)
    return np.clip(covered, 0, None) * new / old


def centre_of_mass(picture) -> tuple[float, float]:
    """Where the ink is in the mean, row and column, in pixels from the top left corner."""
    weights = picture.sum()
    middles = (np.arange(side) + 0.5 for side in picture.shape)
    return tuple(
        float((picture.sum(axis=1 - axis) * middle).sum() / weights) for axis, middle in enumerate(middles)
    )


class Drawing(Shown):
    """What was drawn last, or the sample: `digit` has its pixels."""

    def __init__(self, server: Server, sample):
        self.server, self.sample = server, np.asarray(sample, dtype=np.uint8)
        self.digit, self.widget = self.sample, None
        super().__init__(
            "A place to draw. Until you do, or where there is none, a sample stands in its place."
        )

    def take(self, ink: bytes):
        """Make the digit of the square of ink that the browser sent; of none, the sample again."""
        side = round(len(ink) ** 0.5)
        drawn = np.frombuffer(ink, dtype=np.uint8)[: side * side].reshape(side, side)
        self.digit = digit_from(drawn) if drawn.any() else self.sample

    def ask(self) -> str:
        """HTML: the scores as `chart` draws them, or the answer as `show_answer` prints it."""
        request = {"headers": {"X-API-Key": self.server.key}, "json": {"pixels": self.digit.tolist()}}
        with redirect_stdout(io.StringIO()) as printed:
            shown = chart(client.post(self.server.url + "/classify", **request))
        return shown.data["text/html"] if shown else f"<pre>{html.escape(printed.getvalue())}</pre>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        with suppress(ImportError):  # then the text will do
            self.widget = self.widget or canvas(self)
            self.data |= dict(self.widget._repr_mimebundle_()[0]) | self.data
        return self.data, self.metadata


def draw(server: Server, sample) -> Drawing:
    """A place to draw, whose digit `server` classifies; `sample` (28 x 28) stands in until somebody does."""
    return Drawing(server, sample)


def canvas(drawing: Drawing):
    """The widget: the browser writes `ink`, and reads `pixels` and `answer`."""
    import anywidget  # half a second: only for those who draw
    import traitlets

    class Canvas(anywidget.AnyWidget):
        _esm = Path(__file__).with_name("drawing.js")
        ink = traitlets.Bytes().tag(sync=True, from_json=lambda sent, _: bytes(sent))
        pixels = traitlets.Bytes().tag(sync=True)
        answer = traitlets.Unicode().tag(sync=True)

        @traitlets.observe("ink")
        def show(self, _=None):
            drawing.take(self.ink)
            self.pixels, self.answer = drawing.digit.tobytes(), drawing.ask()

    widget = Canvas()
    widget.show()
    return widget
