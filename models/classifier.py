"""The classifier that the block before hands over: pixels in, prediction out.

    from models.classifier import classify_batch
    classify_batch(images)        # uint8, shape (N, 28, 28)
    [{"prediction": "7", "confidence": 0.98, "scores": {"0": 0.001, …, "9": 0.004}}, …]

The model is an artefact on disk: a scikit-learn Pipeline over (N, 784) floats in {0, 1}, pickled by
joblib. A pickle can run any code, so nothing is unpickled before its SHA-256 digest was checked.
A pipeline of Binarizer and LogisticRegression or MLPClassifier is then *prepared*: its weights are
stored once as plain arrays behind a seal in `.prepared/<digest>.npz`, which is loaded in milliseconds,
without unpickling and without scikit-learn, and made again where it does not hold. Any other pipeline
is served through its own `predict_proba`.
"""

import functools
import hashlib
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

MODELS = Path(__file__).resolve().parent
DEFAULT_ARTEFACT = MODELS / "digit_classifier_v1.pkl"
BINARISE_ABOVE = 128  # a pixel is ink (1.0) when its grey value is greater than this, else paper (0.0)
TOLERANCE = 1e-9  # the prepared arithmetic may differ from the pipeline's predict_proba by this much


class ArtefactError(ValueError):
    """The artefact is missing, not the one that its digest promises, or not a digit classifier."""


class Classifier:
    """A loaded model.

    classes: the class names in the order of the columns of `predict_proba`, for example "0" … "9".
    predict_proba: maps (N, 784) in {0, 1}, or {False, True} where `prepared`, to (N, len(classes)), rows
    summing to 1; both float64, as scikit-learn has it.
    prepared: True where plain arrays do the arithmetic, False where the pipeline does.
    """

    def __init__(self, classes: list[str], predict_proba: Callable[[np.ndarray], np.ndarray], prepared: bool):
        self.classes = classes
        self.predict_proba = predict_proba
        self.prepared = prepared

    def classify_batch(self, images: np.ndarray) -> list[dict]:
        """Classify N pictures.

        images: uint8, shape (N, 28, 28), 0 is paper and 255 is ink.
        Returns N dicts: `prediction` (str, one of the classes), `confidence` (float, its score) and
        `scores` (dict of every class to a float; they sum to 1). The scores are rounded to nine decimals, so
        that every processor and every BLAS gives the same.
        Raises ValueError for any other dtype or shape.
        """
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            raise ValueError("images must be a numpy array of dtype uint8")
        if images.ndim != 3 or images.shape[1:] != (28, 28):
            raise ValueError(f"images must have the shape (N, 28, 28), not {images.shape}")
        if not len(images):
            return []
        ink = images.reshape(-1, 784) > BINARISE_ABOVE
        if not self.prepared:
            ink = ink.astype(np.float64)
        return [self._answer(row) for row in self.predict_proba(ink)]

    def _answer(self, row: np.ndarray) -> dict:
        best, scores = int(row.argmax()), row.astype(np.float64, copy=False).round(9).tolist()
        scores_by_class = dict(zip(self.classes, scores))
        return {"prediction": self.classes[best], "confidence": scores[best], "scores": scores_by_class}


def classify_batch(images: np.ndarray) -> list[dict]:
    """Classify N pictures with the artefact that the environment's MODEL_PATH names, else the one that
    ships; it is loaded at the first call. See `Classifier.classify_batch`; raises ArtefactError too."""
    path = MODELS.parent / os.environ.get("MODEL_PATH", DEFAULT_ARTEFACT)
    return _load_once(path, os.environ.get("MODEL_SHA256")).classify_batch(images)


def load(path: Path, sha256: str) -> Classifier:
    """Load the artefact at `path`, whose SHA-256 digest must be `sha256` (64 hex digits).

    Uses the prepared form if there is one; otherwise unpickles the artefact, prepares it if it can, and
    keeps the prepared form for the next start if the folder `.prepared` can be written.
    Raises ArtefactError where the file is missing, has another digest or is no such pipeline.
    """
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256.lower():
        raise ArtefactError(
            f"{path} has the SHA-256 digest {digest[:12]}…, not the expected {sha256[:12].lower()}…: "
            "restore it with git checkout, or pull the release again, or correct MODEL_SHA256"
        )
    arrays = _read_prepared(digest)
    if arrays is None:
        pipeline = _unpickle(content, path)
        arrays = prepare(pipeline)
        if arrays is None:
            return Classifier(
                [str(name) for name in pipeline.classes_], pipeline.predict_proba, prepared=False
            )
        _keep_prepared(digest, arrays)
    classes, *layers = arrays
    return Classifier(classes.tolist(), functools.partial(_forward, layers), prepared=True)


@functools.cache
def _load_once(path: Path, sha256: str | None) -> Classifier:
    return load(path, sha256 or listed_digest(path))


def listed_digest(path: Path) -> str:
    """The digest that SHA256SUMS, beside the artefact or in models/, lists for it. Raises ArtefactError."""
    for folder in (path.parent, MODELS):
        try:
            lines = (folder / "SHA256SUMS").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            digest, _, name = line.partition(" ")
            if name.strip().removeprefix("*") == path.name and re.fullmatch(r"[0-9a-fA-F]{64}", digest):
                return digest
    raise ArtefactError(
        f"no SHA256SUMS lists {path.name[:80]}: correct MODEL_PATH, or set MODEL_SHA256 to the digest "
        "that the publisher of the file names (sha256sum prints that of the file that is here)"
    )


def can_classify(model: Classifier) -> bool:
    """Classify a blank picture, now, with scores that can be; the log says why when it fails."""
    try:
        scores = model.classify_batch(np.zeros((1, 28, 28), dtype=np.uint8))[0]["scores"]
        if not _plausible(scores.values()):
            raise ValueError("the scores are not from 0 to 1 with a sum of 1")
        return True
    except Exception:
        logging.getLogger("pixelwise").exception("the model cannot classify a blank picture")
        return False


def model_version(path: str) -> str:
    """The version that the artefact's name ends in: v1.1 for …_v1_1.pkl; without one, the whole name."""
    found = re.search(r"_(v\d+(?:_\d+)*)$", Path(path).stem)
    return found[1].replace("_", ".") if found else Path(path).stem


# ---- Preparing: from a pipeline to plain arrays ---------------------------------------------------------


def prepare(pipeline) -> list[np.ndarray] | None:
    """The pipeline as [classes, weights 1, biases 1, weights 2, …] (float64; the first weights float32
    where that loses nothing), or None where it is of another kind or where the arithmetic on these arrays
    differs from `predict_proba` by over 1e-9."""
    if "sklearn" not in sys.modules:
        return None  # the artefact has loaded without it; to import it takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import Binarizer

    *before, model = [step for _, step in getattr(pipeline, "steps", [("model", pipeline)])]
    if not all(type(step) is Binarizer and 0 <= step.threshold < 1 for step in before):
        return None  # a Binarizer with such a threshold leaves {0, 1} as it is; anything else might not
    if type(model) is LogisticRegression and len(model.classes_) > 2:
        layers = [model.coef_.T, model.intercept_]
    elif type(model) is MLPClassifier and model.activation == "relu" and model.out_activation_ == "softmax":
        layers = [array for pair in zip(model.coefs_, model.intercepts_) for array in pair]
    else:
        return None
    layers = [np.ascontiguousarray(layer, dtype=np.float64) for layer in layers]
    if _sums_are_exact_in_float32(layers[0]):
        layers[0] = layers[0].astype(np.float32)
    trial = _trial()
    if not np.allclose(_forward(layers, trial), pipeline.predict_proba(trial), rtol=0, atol=TOLERANCE):
        return None
    return [np.array([str(name) for name in pipeline.classes_]), *layers]


def _trial() -> np.ndarray:
    """Ink of 64 pictures, from all paper to nearly all ink, to try a model with."""
    noise = hashlib.shake_256().digest(64 * 784)  # to import numpy.random takes 10 ms of a start, and 2 MB
    grey = np.frombuffer(noise, np.uint8).reshape(64, 784)
    return (grey < np.linspace(0, 255, 64)[:, None]).astype(np.float64)


def _plausible(scores) -> bool:
    """Whether numbers can be the scores of one picture: none below 0, and 1 together. NaN cannot."""
    return min(scores) >= 0 and abs(sum(scores) - 1) <= 1e-6


def _sums_are_exact_in_float32(weights: np.ndarray) -> bool:
    """Whether all sums of these weights, down a column, are float32 numbers: then half the memory will do.

    They are where every weight is a multiple of a step so large that 2**24 steps reach any of the sums.
    """
    largest = np.abs(weights).sum(axis=0).max()
    steps = weights / 2.0 ** (np.ceil(np.log2(max(largest, 1e-30))) - 24)
    return bool((steps == np.rint(steps)).all())


def _forward(layers: list[np.ndarray], ink: np.ndarray) -> np.ndarray:
    """Scores (N, classes) of ink (N, 784) in {0, 1}: relu between the layers and softmax at the end."""
    weights, biases, *deeper = layers
    if len(ink) == 1:  # most of one picture is paper: skip its weights
        values = weights.take(ink[0].nonzero()[0], axis=0).sum(axis=0) + biases
    else:
        values = ink.astype(weights.dtype) @ weights + biases
    for weights, biases in zip(deeper[::2], deeper[1::2]):
        values = np.maximum(values, 0, out=values) @ weights
        values += biases
    values -= values.max(axis=-1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=-1, keepdims=True)
    return values.reshape(len(ink), -1)


# ---- Files ----------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactError(
            f"cannot read the artefact {str(path)[:200]} ({error.strerror}): set MODEL_PATH to a model file, "
            "or restore this one with git checkout or bash setup-server.sh"
        ) from None


def _unpickle(content: bytes, path: Path):
    import joblib

    try:
        pipeline = joblib.load(io.BytesIO(content))
        scores = np.asarray(pipeline.predict_proba(np.zeros((1, 784))))
    except Exception as error:
        raise ArtefactError(
            f"{path} is not a digit classifier that this scikit-learn can load ({type(error).__name__}): "
            "retrain it with models/train.py, or name another artefact in MODEL_PATH"
        ) from error
    if scores.shape != (1, len(pipeline.classes_)) or not _plausible(scores[0].tolist()):
        raise ArtefactError(f"{path} does not give one score a class: name another artefact in MODEL_PATH")
    return pipeline


def _seal(digest: str, stored: bytes | memoryview) -> bytes:
    """What stands before a stored form: the digest of the artefact's digest and of the form itself."""
    seal = hashlib.sha256(digest.encode())
    seal.update(stored)
    return seal.digest()


def _read_prepared(digest: str) -> list[np.ndarray] | None:
    """The stored form of the artefact with this digest, or None where there is none that holds: one that was
    made from it, that no bit of has changed since, and that gives scores."""
    with suppress(Exception):  # whatever may be wrong with a file, it can be made again
        content = (MODELS / ".prepared" / f"{digest}.npz").read_bytes()
        stored = io.BytesIO(content)
        if stored.read(32) == _seal(digest, memoryview(content)[32:]):
            with np.load(stored, allow_pickle=False) as named:
                arrays = list(named.values())
            if all(_plausible(row) for row in _forward(arrays[1:], _trial()).tolist()):
                return arrays
    return None


def _keep_prepared(digest: str, arrays: list[np.ndarray]) -> None:
    """Store the form in one step, so that no reader sees half a file; a place that is full, or read-only, is
    no error."""
    form = io.BytesIO()
    np.savez(form, *arrays)
    folder = MODELS / ".prepared"
    with suppress(OSError):
        folder.mkdir(mode=0o755, exist_ok=True)
        number, name = tempfile.mkstemp(suffix=".tmp", dir=folder)
        try:
            with os.fdopen(number, "wb") as stream:
                stream.write(_seal(digest, form.getvalue()) + form.getvalue())
            Path(name).chmod(0o644)
            Path(name).replace(folder / f"{digest}.npz")
        finally:
            Path(name).unlink(missing_ok=True)
