"""Robustness: how the committed networks read pictures as people have them, and test images that are corrupted.

    python -m experiments.robustness [--half development] [--data data]     results/records/robustness.json

Pictures are those of experiments/handwriting.py, by the people that are held back, and UCI's optdigits as scikit-learn
ships them, 8 × 8 pixels of 13 other writers, enlarged to 160 on a white page of 240. The networks of all seeds of the
best record read them, by the functions of make predict. Test images, corrupted by experiments/corruptions.py, are read
by the network of each recipe.
"""

import functools
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files

import cv2
import numpy as np

import data
import environment
import recipes
import results
from deployment import network, onnx_format, pictures
from deployment.network import Network
from experiments import handwriting, tables
from experiments.corruptions import CORRUPTIONS
from experiments.weights import deployed, load_weights

SEED = 0
OUTCOMES = "right", "wrong", "guessed"
PAGE, ENLARGED = 240, 160  # pixels
PACKAGES = "onnxruntime", "opencv-python-headless", "scikit-learn"

Drawing = Callable[[], tuple[str, bytes]]  # of a picture: what it shows, and the file's content


def optdigit(pixels: np.ndarray, label: int) -> tuple[str, bytes]:
    """One of UCI's optdigits, float [8, 8] in 0..16, as a picture: what it shows, and the file's content."""
    ink = cv2.resize(pixels / 16, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)
    page = np.pad(255 * (1 - np.clip(ink, 0, 1)), (PAGE - ENLARGED) // 2, constant_values=255)
    return str(label), cv2.imencode(".png", page.astype(np.uint8))[1].tobytes()


def drawings(half: str) -> dict[str, list[Drawing]]:
    """The pictures of each kind, of a half of the people's."""
    from sklearn.datasets import load_digits  # a second that no other command waits for

    people, digits, drawn = [handwriting.Person(seed) for seed in handwriting.HALVES[half]], load_digits(), {}
    for kind, count in handwriting.EACH.items():
        drawn[kind] = [functools.partial(handwriting.draw, kind, *each) for each in product(people, range(count))]
    drawn["optdigits"] = [functools.partial(optdigit, *each) for each in zip(digits.images, digits.target, strict=True)]
    return drawn


def outcome(reader: Network, drawing: Drawing) -> dict[str, bool]:
    """What comes of a picture: its digits were read `right` or `wrong`, neither where it was refused or the network is
    not sure of all; and whether the best guess is right, however sure (`guessed`)."""
    label, content = drawing()
    try:
        digits = pictures.read(content, "", reader)
    except UserError:
        digits = []
    text = "".join(reader.classes[digit.probabilities.argmax()] for digit in digits)
    guessed, answered = text == label.replace("_", ""), bool(digits) and all(digit.is_sure for digit in digits)
    return {"right": answered and guessed, "wrong": answered and not guessed, "guessed": guessed}


def seeds_of(best: Network, folder: Path) -> list[Network]:
    """The networks of all seeds of the record whose first one is the best, exported into a folder."""
    record_path, record = best.path.with_suffix(".json"), results.load_record(best.name)
    recipe, shape = recipes.from_stored(record["recipe"]), data.get_dataset(best.facts["dataset"]).input_shape
    weights = load_weights(record_path, len(record["runs"]))
    for index, run in enumerate(record["runs"]):
        path = folder / f"{best.name}-seed{run['seed']}.onnx"
        onnx_format.write(path, deployed(recipe, weights, index), shape, best.facts | {"seed": run["seed"]})
    return [Network(path) for path in sorted(folder.iterdir())]


def accuracies(readers: list[Network], tested: dict[str, data.Images], run: tuple[str, Any]) -> dict[str, Any]:
    """A row of the record: the accuracy in percent of each network on its data set's test images, {data set: images},
    under a corruption of a kind and level."""
    (kind, level), accuracy = run, {}
    for dataset, images in tested.items():
        pixels = images.pixels[:, 0].numpy() / np.float32(255)
        corrupted = CORRUPTIONS[kind][1](pixels, level, np.random.default_rng(SEED))
        seen, labels = np.rint(255 * np.clip(corrupted, 0, 1)).astype(np.uint8), images.labels.numpy()
        for reader in readers:
            if reader.facts["dataset"] == dataset:
                accuracy[reader.name] = round(100 * float((reader.read(seen).argmax(1) == labels).mean()), 2)
    return {"kind": kind, "level": level, "accuracy": accuracy}


def measure(half: str, data_dir: str) -> dict[str, Any]:
    """The record: the machine, what came of the pictures, and accuracies under corruptions."""
    cv2.setNumThreads(1)  # pictures are read side by side
    device = devices.prepare()
    readers = network.records()
    datasets = dict.fromkeys(each.facts["dataset"] for each in readers)
    tested = {name: data.load(name, data_dir, "test") for name in datasets}
    runs = [(kind, level) for kind, (levels, _) in CORRUPTIONS.items() for level in levels]
    counts = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(devices.threads()) as pool:
        seeds = seeds_of(readers[0], Path(folder))
        for kind, several in drawings(half).items():
            each_of = [list(pool.map(functools.partial(outcome, reader), several)) for reader in seeds]
            shares = {
                name: [100 * np.mean([each[name] for each in outcomes]) for outcomes in each_of] for name in OUTCOMES
            }
            counts[kind] = {"n": len(several)} | {name: np.round(share, 2).tolist() for name, share in shares.items()}
        corrupted = list(pool.map(functools.partial(accuracies, readers, tested), runs))
    return {
        "environment": environment.describe(device, "float32") | {name: version(name) for name in PACKAGES},
        "seed": SEED,
        "reader": readers[0].name,
        "half": half,
        "people": len(handwriting.HALVES[half]),
        "pictures": counts,
        "corrupted": corrupted,
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
