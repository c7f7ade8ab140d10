"""Robustness: how the committed networks read pictures as people have them, and test images that are corrupted.

    python -m experiments.robustness [--half development] [--data data]     results/records/robustness.json

Pictures are those of experiments/handwriting.py, by the people that are held back, and UCI's optdigits as scikit-learn
ships them, 8 × 8 pixels of 13 other writers, enlarged to 160 on a white page of 240. The best network reads them,
by the functions of make predict. Test images, corrupted by experiments/corruptions.py, are read by the network of each
recipe.
"""

import functools
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.metadata import version
from itertools import product
from typing import Any

from support import UserError, cli, devices, files

import cv2
import numpy as np

import data
import environment
import results
from deployment import network, pictures
from deployment.network import Network
from experiments import handwriting, tables
from experiments.corruptions import CURVES, MNIST_C

SEED = 0
PAGE, ENLARGED = 240, 160  # pixels
PACKAGES = "onnxruntime", "opencv-python-headless", "scikit-learn"

Run = tuple[str, float | None]  # of images: the kind of corruption, and its level
Drawing = Callable[[], tuple[str, bytes]]  # of a picture: what it shows, and the file's content


def optdigits() -> list[Drawing]:
    """UCI's optdigits as pictures."""
    from sklearn.datasets import load_digits  # a second that no other command waits for

    def drawing(pixels: np.ndarray, label: int) -> tuple[str, bytes]:
        ink = cv2.resize(pixels / 16, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)
        page = np.pad(255 * (1 - np.clip(ink, 0, 1)), (PAGE - ENLARGED) // 2, constant_values=255)
        return str(label), cv2.imencode(".png", page.astype(np.uint8))[1].tobytes()

    digits = load_digits()
    return [functools.partial(drawing, *each) for each in zip(digits.images, digits.target, strict=True)]


def drawings(half: str) -> dict[str, list[Drawing]]:
    """The pictures of each kind, of a half of the people's."""
    people, drawn = [handwriting.Person(seed) for seed in handwriting.HALVES[half]], {}
    for kind, count in handwriting.EACH.items():
        drawn[kind] = [functools.partial(handwriting.draw, kind, *each) for each in product(people, range(count))]
    return drawn | {"optdigits": optdigits()}


def outcome(reader: Network, drawing: Drawing) -> dict[str, bool]:
    """What comes of a picture: it was read `right` or `wrong` (in its digits), or was `unsure` or `refused`; the best
    guess is right, however sure (`guessed`), also in the gaps between words (`spaced`)."""
    label, content = drawing()
    try:
        digits = pictures.read(content, "", reader)
    except UserError:
        digits = []
    text = "".join(digit.before + reader.classes[digit.probabilities.argmax()] for digit in digits)
    is_right, is_sure = "".join(text.split()) == label.replace("_", ""), all(digit.is_sure for digit in digits)
    return {
        "right": is_sure and is_right,
        "wrong": is_sure and not is_right and bool(digits),
        "unsure": not is_sure,
        "refused": not digits,
        "guessed": is_right,
        "spaced": text == label.replace("_", " "),
    }


def read_pictures(reader: Network, half: str, pool: Executor) -> dict[str, dict[str, int]]:
    """{kind: {"n": how many pictures, outcome: how many}}."""
    counts = {}
    for kind, several in drawings(half).items():
        outcomes = list(pool.map(functools.partial(outcome, reader), several))
        counts[kind] = {"n": len(outcomes)} | {name: sum(each[name] for each in outcomes) for name in outcomes[0]}
    return counts


def read_corrupted(readers: list[Network], dataset: str, data_dir: str, pool: Executor) -> dict[Run, dict[str, float]]:
    """{(kind, level): {recipe: accuracy in percent}} of a data set's test images, as they are and corrupted. Widths of
    strokes, and MNIST-C, are of handwriting alone."""
    images = data.load(dataset, data_dir, "test")
    pixels, labels = images.pixels[:, 0].numpy() / np.float32(255), images.labels.numpy()

    def accuracies(corrupt: Callable[..., np.ndarray], *level: float) -> dict[str, float]:
        corrupted = np.clip(corrupt(pixels, *level, np.random.default_rng(SEED)), 0, 1)
        seen = np.rint(255 * corrupted).astype(np.uint8)
        return {each.name: round(100 * float((each.read(seen).argmax(1) == labels).mean()), 2) for each in readers}

    is_written = dataset == network.HANDWRITING
    runs = {("plain", None): pool.submit(accuracies, lambda images, _: images)}
    for kind, (levels, corrupt) in CURVES.items():
        if is_written or kind != "stroke":
            runs |= {(kind, level): pool.submit(accuracies, corrupt, level) for level in levels}
    for kind, corrupt in MNIST_C.items() if is_written else ():
        runs[f"MNIST-C, {kind}", None] = pool.submit(accuracies, corrupt)
    return {run: accuracy.result() for run, accuracy in runs.items()}


def measure(half: str, data_dir: str) -> dict[str, Any]:
    """The record: the machine, what came of the pictures, and accuracies under corruptions."""
    cv2.setNumThreads(1)  # pictures are read side by side
    device = devices.prepare()
    records = [Network(path, path.stem) for path in results.RECORDS.glob("*.onnx") if path != network.DETECTOR]
    records.sort(key=lambda each: -each.facts["accuracy"])
    corrupted: dict[Run, dict[str, float]] = {}
    with ThreadPoolExecutor(devices.threads()) as pool:
        for dataset in dict.fromkeys(each.facts["dataset"] for each in records):
            readers = [each for each in records if each.facts["dataset"] == dataset]
            for run, accuracy in read_corrupted(readers, dataset, data_dir, pool).items():
                corrupted.setdefault(run, {}).update(accuracy)
        best = next(each for each in records if each.reads_digits)
        read = read_pictures(best, half, pool)
    return {
        "environment": environment.describe(device, "float32") | {name: version(name) for name in PACKAGES},
        "seed": SEED,
        "reader": best.name,
        "half": half,
        "people": len(handwriting.HALVES[half]),
        "pictures": read,
        "corrupted": [{"kind": kind, "level": level, "accuracy": each} for (kind, level), each in corrupted.items()],
    }


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    halves = {"choices": handwriting.HALVES, "default": "held_back"}
    parser.add_argument("--half", **halves, help="of the people (default: %(default)s)")
    parser.add_data()
    arguments = parser.parse_args(argv)
    record = measure(arguments.half, arguments.data)
    files.write_json(results.RECORDS / "robustness.json", record)
    print(tables.render("handwriting", {"robustness": record}))


if __name__ == "__main__":
    cli.run(main)
