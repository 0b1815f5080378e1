"""Prove the hand-over of the model without HTTP: classify the 100 digits that it never saw in training.

    python models/predict.py

Prints a few digits, some that it got wrong, and the score. Exits 1, with one line that says why, if fewer
than 95 in 100 are right or if the artefact or the samples cannot be loaded. Like the server, it follows
MODEL_PATH and MODEL_SHA256 where the environment sets them.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np
from classifier import ArtefactError, classify_batch

SAMPLES = Path(__file__).resolve().parent / "samples.npz"
PASS = 0.95
ABREAST = 3  # digits of 24 columns, side by side within 80
HALF_BLOCKS = np.array([" ", "▄", "▀", "█"])


def picture(image):
    """Draw the middle 24 columns of an image, uint8 (28, 28), as 14 lines of text: two pixels a character."""
    ink = image[:, 2:26] > 128
    return ["".join(line) for line in HALF_BLOCKS[2 * ink[0::2] + ink[1::2]]]


def print_digits(title, digits):
    """Print (image, answer, label) triples side by side under a title, each with the answer below."""
    columns = [
        [*picture(image), f"{answer['prediction']} ({answer['confidence']:.1%}), truly {label}"]
        for image, answer, label in digits
    ]
    if columns:
        print(f"\n{title}:\n")
        for line in zip(*columns, strict=True):
            print("  ".join(text.ljust(24) for text in line).rstrip())


def main():
    sys.stdout.reconfigure(errors="replace")  # a terminal without block characters shows ? instead
    try:
        with np.load(SAMPLES) as samples:
            images, labels = samples["images"], samples["labels"]
        answers = classify_batch(images)
    except ArtefactError as error:
        sys.exit(f"predict.py: {error}")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = type(error).__name__  # numpy's own words would advise to unpickle the file
        sys.exit(f"predict.py: cannot read {SAMPLES} ({reason}): restore it with git checkout")

    # A model may lack a class (v1.0 has no "0"): it is asked only for what it can know.
    classes = answers[0]["scores"].keys()
    known = [digit for digit in zip(images, answers, labels, strict=True) if digit[2] in classes]
    if not known:
        sys.exit(f"predict.py: the model has the classes {sorted(classes)}: none of them is a digit")
    wrong = [digit for digit in known if digit[1]["prediction"] != digit[2]]
    print_digits("Three of the samples", known[5 :: len(known) // ABREAST][:ABREAST])
    print_digits("Wrong", wrong[:ABREAST])

    print()
    if len(known) < len(labels):
        left_out = len(labels) - len(known)
        print(
            f"The model's classes are {', '.join(classes)}; {left_out} samples of other classes do not count."
        )
    right = len(known) - len(wrong)
    print(f"{right} of {len(known)} right")
    if right < PASS * len(known):
        sys.exit(f"predict.py: under {PASS:.0%}: do not serve this model; retrain it with models/train.py")


if __name__ == "__main__":
    main()
