"""models/classifier.py: the hand-over, the digest, and the prepared form of every kind of artefact."""

import hashlib
import importlib
import io
import os
import pickle
import re
import resource
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models import classifier

SAMPLES = np.load(classifier.MODELS / "samples.npz")
PICTURES = st.integers(0, 8).flatmap(lambda count: arrays(np.uint8, (count, 28, 28)))


def estimator(name: str, *words, **options):
    """This estimator of scikit-learn ("neural_network.MLPClassifier"), imported by who needs one: it takes a
    second, and every worker reads this file."""
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(f"sklearn.{module}"), kind)(*words, **options)


def train(model, names: str):
    """The course's pipeline around `model`, trained on the samples whose label is in `names`."""
    wanted = np.isin(SAMPLES["labels"], list(names))
    ink = (SAMPLES["images"][wanted].reshape(-1, 784) > 128).astype(float)
    steps = [("binarise", estimator("preprocessing.Binarizer", threshold=0.5)), ("model", model)]
    return estimator("pipeline.Pipeline", steps).fit(ink, SAMPLES["labels"][wanted])


def mlp(*layers: int, **options):
    return estimator("neural_network.MLPClassifier", layers, max_iter=8, random_state=0, **options)


def logistic(rounds: int = 300):
    return estimator("linear_model.LogisticRegression", max_iter=rounds)


def saved(pipeline, folder: Path, name: str = "digit_classifier_v1.pkl") -> tuple[Path, str]:
    """The path and digest of the pipeline on disk."""
    joblib.dump(pipeline, folder / name, compress=3)
    return folder / name, hashlib.sha256((folder / name).read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Prepared forms go to a folder of this test's own."""
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(classifier, "MODELS", tmp_path / "models")
    return tmp_path


@pytest.fixture(scope="module")
def course_releases() -> dict:
    """The three kinds of artefact that the course hands out: v1.0, v1.1 and v2.0."""
    with pytest.warns():  # eight rounds are few
        return {
            "v1.0": train(logistic(), "123456789"),
            "v1.1": train(mlp(256, 128), "123456789"),
            "v2.0": train(mlp(256, 128), "0123456789"),
        }


@pytest.mark.parametrize("release", ["v1.0", "v1.1", "v2.0"])
def test_the_prepared_form_gives_the_pipelines_own_scores_to_1e_9(release, course_releases, tmp_path):
    pipeline = course_releases[release]
    model = classifier.load(*saved(pipeline, tmp_path))
    assert model.prepared
    assert model.classes == pipeline.classes_.tolist()

    @settings(max_examples=60, deadline=None)
    @given(PICTURES)
    def same(images):
        answers = model.classify_batch(images)
        expected = (
            pipeline.predict_proba((images.reshape(-1, 784) > 128).astype(float)) if len(images) else []
        )
        assert len(answers) == len(images)
        for answer, row in zip(answers, expected):
            assert np.abs(np.array(list(answer["scores"].values())) - row).max() <= 1e-9
            assert list(answer["scores"]) == pipeline.classes_.tolist()
            assert answer["confidence"] == max(answer["scores"].values())
            assert answer["scores"][answer["prediction"]] == answer["confidence"]
            assert abs(sum(answer["scores"].values()) - 1) <= 1e-6

    same()
    everyone = model.classify_batch(SAMPLES["images"])
    one_by_one = [model.classify_batch(image[None])[0] for image in SAMPLES["images"]]
    for together, alone in zip(everyone, one_by_one):
        assert together["scores"] == pytest.approx(alone["scores"], abs=1e-12)


def test_the_shipped_artefact_scores_like_its_own_pipeline_and_knows_the_samples():
    path = classifier.DEFAULT_ARTEFACT
    model = classifier.load(path, classifier.listed_digest(path))
    pipeline = joblib.load(path)
    assert model.prepared
    assert model.classes == list("0123456789")
    assert path.stat().st_size <= 2.5e6
    ink = (SAMPLES["images"].reshape(-1, 784) > 128).astype(float)
    answers = model.classify_batch(SAMPLES["images"])
    scores = np.array([list(answer["scores"].values()) for answer in answers])
    assert np.abs(scores - pipeline.predict_proba(ink)).max() <= 1e-9
    assert sum(a["prediction"] == label for a, label in zip(answers, SAMPLES["labels"])) >= 97


def test_sums_of_the_shipped_first_weights_are_exact_in_half_the_memory():
    path = classifier.DEFAULT_ARTEFACT
    weights = classifier.prepare(joblib.load(path))[1]
    assert weights.dtype == np.float32
    everything = np.ones((1, 784))
    for signs in (1, np.sign(weights)):  # the columns' sums, and the largest sums that can occur
        exact = everything @ (weights.astype(float) * signs)
        assert np.array_equal(everything.astype(np.float32) @ (weights * signs).astype(np.float32), exact)


def test_weights_whose_sums_need_more_digits_stay_as_they_are():
    exact = np.full((784, 3), 2.0**14)  # 784 of them need less than 24 bits
    assert classifier._sums_are_exact_in_float32(exact)
    assert classifier._sums_are_exact_in_float32(np.zeros((784, 3)))
    fine = exact.copy()
    fine[5, 1] = 2.0**14 + 0.5
    assert not classifier._sums_are_exact_in_float32(fine)
    assert not classifier._sums_are_exact_in_float32(np.full((784, 3), 0.1))


@pytest.mark.parametrize(
    "model",
    [
        lambda: estimator("ensemble.RandomForestClassifier", 10, random_state=0),
        lambda: mlp(8, activation="tanh"),
        lambda: estimator("multiclass.OneVsRestClassifier", logistic(100)),
        lambda: estimator("pipeline.make_pipeline", estimator("preprocessing.StandardScaler"), logistic(100)),
    ],
    ids=["RandomForestClassifier", "MLPClassifier", "OneVsRestClassifier", "Pipeline"],
)
@pytest.mark.filterwarnings("ignore")
def test_any_other_pipeline_is_served_through_predict_proba(model, tmp_path):
    pipeline = train(model(), "0123456789")
    served = classifier.load(*saved(pipeline, tmp_path))
    assert not served.prepared
    assert not (classifier.MODELS / ".prepared").exists()
    ink = (SAMPLES["images"].reshape(-1, 784) > 128).astype(float)
    scores = [list(answer["scores"].values()) for answer in served.classify_batch(SAMPLES["images"])]
    assert np.array_equal(np.array(scores), pipeline.predict_proba(ink).round(9))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("names", ["37", "123"])
def test_few_classes_are_legal(names, tmp_path):
    for model in (logistic(100), mlp(4)):
        pipeline = train(model, names)
        answer = classifier.load(*saved(pipeline, tmp_path)).classify_batch(SAMPLES["images"][:1])[0]
        assert list(answer["scores"]) == list(names)
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-9)


def test_a_threshold_that_changes_the_ink_is_not_prepared():
    pipeline = train(logistic(), "0123456789")
    assert classifier.prepare(pipeline) is not None
    pipeline.set_params(binarise__threshold=1.5)  # now no pixel is ink
    assert classifier.prepare(pipeline) is None


def test_a_very_sure_pipeline_does_not_overflow(tmp_path):
    pipeline = train(logistic(), "0123456789")
    pipeline.named_steps["model"].coef_ *= 10_000
    model = classifier.load(*saved(pipeline, tmp_path))
    assert model.prepared
    assert {answer["confidence"] for answer in model.classify_batch(SAMPLES["images"])} == {1.0}


def test_arithmetic_that_differs_from_the_pipeline_is_not_prepared(monkeypatch):
    pipeline = train(logistic(), "0123456789")
    honest = classifier._forward
    monkeypatch.setattr(classifier, "_forward", lambda layers, ink: honest(layers, ink) + 1e-8)
    assert classifier.prepare(pipeline) is None


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((28, 28), np.uint8),
        np.zeros((1, 784), np.uint8),
        np.zeros((1, 28, 27), np.uint8),
        np.zeros((1, 1, 28, 28), np.uint8),
        np.zeros((1, 28, 28), np.int64),
        np.zeros((1, 28, 28), np.float64),
        np.zeros((1, 28, 28), bool),
        [[[0] * 28] * 28],
        None,
    ],
    ids=lambda images: f"{getattr(images, 'dtype', type(images).__name__)}{getattr(images, 'shape', '')}",
)
def test_another_shape_or_dtype_is_a_value_error(images):
    with pytest.raises(ValueError, match="images must"):
        classifier.classify_batch(images)


def test_ink_begins_above_128():
    model = classifier.Classifier(
        ["paper", "ink"], lambda ink: np.c_[1 - ink[:, 0], ink[:, 0]], prepared=True
    )
    images = np.zeros((2, 28, 28), np.uint8)
    images[:, 0, 0] = (128, 129)
    assert [answer["prediction"] for answer in model.classify_batch(images)] == ["paper", "ink"]
    assert model.classify_batch(images[:0]) == []


class Trap:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_nothing_is_unpickled_before_its_digest_was_checked(tmp_path):
    trap, mark = tmp_path / "trap.pkl", tmp_path / "mark"
    trap.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(classifier.ArtefactError, match="MODEL_SHA256"):
        classifier.load(trap, "0" * 64)
    assert not mark.exists()
    with pytest.raises(classifier.ArtefactError, match="not a digit classifier"):
        classifier.load(trap, hashlib.sha256(trap.read_bytes()).hexdigest())
    assert mark.exists()  # so the trap works


def test_a_missing_artefact_names_the_remedy(tmp_path):
    with pytest.raises(classifier.ArtefactError, match="set MODEL_PATH"):
        classifier.load(tmp_path / "none.pkl", "0" * 64)


@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_for_other_pictures_is_refused(tmp_path):
    wrong = logistic(100).fit(np.eye(64), ["a", "b"] * 32)
    with pytest.raises(classifier.ArtefactError, match="not a digit classifier"):
        classifier.load(*saved(wrong, tmp_path))


def test_scores_that_are_not_one_a_class_are_refused(tmp_path):
    pipeline = train(logistic(), "123")
    pipeline.named_steps["model"].classes_ = pipeline.classes_[:2]
    with pytest.raises(classifier.ArtefactError, match="one score a class"):
        classifier.load(*saved(pipeline, tmp_path))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    pipeline = train(logistic(), "123")
    pipeline.named_steps["model"].intercept_[1] = np.nan
    with pytest.raises(classifier.ArtefactError, match="one score a class"):
        classifier.load(*saved(pipeline, tmp_path))


def test_the_digest_is_looked_up_beside_the_artefact_and_in_models(tmp_path):
    sums = "a" * 64 + "  one.pkl\n" + "B" * 64 + " *two.pkl\n" + "c" * 63 + "  short.pkl\nnonsense\n"
    (tmp_path / "SHA256SUMS").write_text(sums)
    assert classifier.listed_digest(tmp_path / "one.pkl") == "a" * 64
    assert classifier.listed_digest(tmp_path / "two.pkl") == "B" * 64
    (classifier.MODELS / "SHA256SUMS").write_text("d" * 64 + "  three.pkl\n")
    assert classifier.listed_digest(tmp_path / "three.pkl") == "d" * 64
    for name in ("short.pkl", "none.pkl"):
        with pytest.raises(classifier.ArtefactError, match="or set MODEL_SHA256"):
            classifier.listed_digest(tmp_path / name)


def test_a_prepared_model_loads_without_unpickling_and_without_what_is_slow_to_import(tmp_path):
    path, digest = saved(train(logistic(), "0123456789"), tmp_path)
    classifier.load(path, digest)
    code = f"""if True:
        import sys
        from pathlib import Path
        from models import classifier
        classifier.MODELS = Path({str(classifier.MODELS)!r})
        assert classifier.load(Path({str(path)!r}), {digest!r}).prepared
        print(sorted({{"sklearn", "joblib", "scipy", "numpy.random"}} & sys.modules.keys()))"""
    root = Path(classifier.__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_model_that_is_not_of_scikit_learn_loads_without_it(tmp_path):
    (tmp_path / "own.py").write_text(
        "from types import SimpleNamespace\n"
        "MODEL = SimpleNamespace(classes_='38', predict_proba=lambda ink: [[0.25, 0.75]] * len(ink))\n"
    )
    (tmp_path / "own.pkl").write_bytes(b"cown\nMODEL\n.")
    digest = hashlib.sha256(b"cown\nMODEL\n.").hexdigest()
    code = f"""if True:
        import sys
        from pathlib import Path
        from models import classifier
        sys.path.append({str(tmp_path)!r})
        model = classifier.load(Path({str(tmp_path / "own.pkl")!r}), {digest!r})
        print(model.prepared, "sklearn" in sys.modules)"""
    root = Path(classifier.__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"


@pytest.fixture(scope="module")
def ten_digits():
    return train(logistic(), "0123456789")


@pytest.fixture
def prepared_before(ten_digits, tmp_path):
    """The path and digest of an artefact, and the file of its prepared form."""
    path, digest = saved(ten_digits, tmp_path)
    assert classifier.load(path, digest).prepared
    return path, digest, classifier.MODELS / ".prepared" / f"{digest}.npz"


def npz(*arrays: np.ndarray) -> bytes:
    form = io.BytesIO()
    np.savez(form, *arrays)
    return form.getvalue()


TEN = np.array(list("0123456789"))
OTHER = (TEN, np.ones((784, 10)), np.zeros(10))
NO_NUMBERS = (TEN, np.full((784, 10), np.nan), np.zeros(10))
DAMAGES = {  # what stands in the file, made from the whole of it and the artefact's digest
    "empty": lambda whole, digest: b"",
    "torn": lambda whole, digest: whole[: len(whole) // 2],
    "no archive": lambda whole, digest: b"PK\x03\x04 not an archive",
    "without a seal": lambda whole, digest: whole[32:],
    "a bit of the seal": lambda whole, digest: bytes([whole[0] ^ 1]) + whole[1:],
    "a bit of the weights": lambda whole, digest: whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:],
    "weights that are no numbers": lambda whole, digest: npz(*NO_NUMBERS),
    "another form under the seal of this one": lambda whole, digest: whole[:32] + npz(*OTHER),
    "the form of another artefact": lambda whole, digest: sealed("0" * 64, npz(*OTHER)),
    "sealed, and no numbers": lambda whole, digest: sealed(digest, npz(*NO_NUMBERS)),
    "sealed, and no scores": lambda whole, digest: sealed(digest, npz(TEN, np.zeros((784, 10)))),
    "sealed, of another kind": lambda whole, digest: sealed(digest, npz(np.zeros(3))),
    "sealed, of no kind at all": lambda whole, digest: sealed(digest, npz()),
    "sealed, and pickled": lambda whole, digest: sealed(digest, npz(np.array([None]))),
    "sealed, and no archive": lambda whole, digest: sealed(digest, b"PK\x03\x04 not an archive"),
}


def sealed(digest: str, form: bytes) -> bytes:
    return classifier._seal(digest, form) + form


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_prepared_form_that_does_not_hold_is_made_again(damage, prepared_before):
    path, digest, file = prepared_before
    whole = file.read_bytes()
    expected = classifier.load(path, digest).classify_batch(SAMPLES["images"][:3])
    file.write_bytes(DAMAGES[damage](whole, digest))
    assert classifier.load(path, digest).classify_batch(SAMPLES["images"][:3]) == expected
    assert file.read_bytes() == whole
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_bit_that_flips_in_a_prepared_form_is_always_noticed(prepared_before):
    """Some flips make numpy raise what is neither an OSError nor a ValueError: NotImplementedError, say."""
    _, digest, file = prepared_before
    whole = file.read_bytes()
    for place in range(0, len(whole), 199):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert classifier._read_prepared(digest) is None, f"byte {place}"
    file.write_bytes(whole)
    assert classifier._read_prepared(digest) is not None


def test_a_full_disk_is_no_error_and_nothing_is_left_on_it(prepared_before):
    path, digest, file = prepared_before
    file.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # no file may grow beyond it
    try:
        assert classifier.load(path, digest).prepared
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(file.parent.iterdir()) == []


def test_nobody_else_may_write_where_prepared_forms_are_kept(ten_digits, tmp_path):
    before = os.umask(0)
    try:
        classifier.load(*saved(ten_digits, tmp_path))
    finally:
        os.umask(before)
    folder = classifier.MODELS / ".prepared"
    assert [place.stat().st_mode & 0o777 for place in (folder, *folder.iterdir())] == [0o755, 0o644]


def test_scores_are_rounded_to_nine_decimals_after_the_best_was_chosen():
    """So that the same picture gets the same bytes whatever the last digits of a processor's floats are."""
    close = np.array([[0.1, 0.45 - 2e-10, 0.45 + 2e-10]])
    for row in (close, close + 1e-13, close - 1e-13):
        model = classifier.Classifier(["a", "b", "c"], lambda ink, row=row: row, prepared=True)
        [answer] = model.classify_batch(SAMPLES["images"][:1])
        scores = {"a": 0.1, "b": 0.45, "c": 0.45}
        assert answer == {"prediction": "c", "confidence": 0.45, "scores": scores}
    single = classifier.Classifier(["a", "b"], lambda ink: np.array([[0.9, 0.1]], np.float32), prepared=False)
    scores = single.classify_batch(SAMPLES["images"][:1])[0]["scores"]
    assert [len(repr(score)) <= 11 for score in scores.values()] == [True, True]


@pytest.mark.parametrize(
    "row", [[float("nan"), 0.5], [0.5, float("nan")], [1.5, -0.5], [0.5, 0.4], [float("inf"), 0]], ids=str
)
def test_a_model_whose_scores_cannot_be_is_not_called_healthy(row, caplog):
    model = classifier.Classifier(["3", "8"], lambda ink: np.array([row]), prepared=False)
    assert not classifier.can_classify(model)
    assert "cannot classify a blank picture" in caplog.text
    assert classifier.can_classify(classifier.Classifier(["3"], lambda ink: np.ones((1, 1)), prepared=False))


def test_a_place_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (classifier.MODELS / ".prepared").write_text("a file where the folder should be")
    model = classifier.load(*saved(train(logistic(), "0123456789"), tmp_path))
    assert model.prepared
    assert model.classify_batch(SAMPLES["images"][:1])


def test_classify_batch_follows_the_environment(tmp_path, monkeypatch):
    path, digest = saved(train(logistic(), "123"), tmp_path)
    monkeypatch.setenv("MODEL_PATH", str(path))
    monkeypatch.setenv("MODEL_SHA256", digest)
    assert list(classifier.classify_batch(SAMPLES["images"][:1])[0]["scores"]) == list("123")
    monkeypatch.setenv("MODEL_SHA256", "0" * 64)
    with pytest.raises(classifier.ArtefactError):
        classifier.classify_batch(SAMPLES["images"][:1])


def test_predict_py_proves_the_hand_over_and_fails_on_a_poor_model(tmp_path):
    script = Path(classifier.__file__).parent / "predict.py"
    ran = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(re.search(r"(\d+) of 100 right", ran.stdout)[1]) >= 97
    ink = (SAMPLES["images"].reshape(-1, 784) > 128).astype(float)
    poor = logistic().fit(ink, np.roll(SAMPLES["labels"], 10))
    path, digest = saved(poor, tmp_path)
    environment = {"MODEL_PATH": str(path), "MODEL_SHA256": digest}
    ran = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    ran = subprocess.run(
        [sys.executable, script], env={"MODEL_PATH": "nowhere.pkl"}, capture_output=True, text=True
    )
    assert ran.returncode != 0
    assert "Traceback" not in ran.stderr
    assert "MODEL_" in ran.stderr
