"""Evaluation: the newest checkpoint of a run on the test images of its data set.

    python evaluate.py results/default-seed0 [--data data] [--device auto]

Prints accuracy with its interval, loss, calibration, accuracy per class, the confusion matrix and the misclassified
images, and writes them to evaluation.json in the run's folder. The weights are those deployed (the EMA's, where the
recipe has one), in float32, one view of each image. A hold-out run is evaluated on its validation images.
"""

import dataclasses
import functools
import math
import textwrap
from pathlib import Path
from typing import Any

from support import cli, devices, files, intervals
from support.table import terminal_table

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

import checkpoint
import data
import results
from model import count_parameters

BATCH_IMAGES = 500  # in one forward pass: small enough for the widest model here
BINS = 15  # of confidence, as in Guo et al.
ANSWERED = tuple(1 - part / 200 for part in range(21))  # shares of the images, from all down to nine tenths


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's output for N labelled images: logits [N, num_classes] and labels [N], on the CPU, and the class names.
    Confidences are those of logits divided by a temperature (Guo et al., arXiv 1706.04599), the loss of logits as they
    are."""

    logits: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    temperature: float = 1.0

    @functools.cached_property
    def predictions(self) -> Tensor:
        """Class indices, [N]."""
        return self.logits.argmax(1)

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy in percent."""
        return 100 * (self.predictions == self.labels).sum().item() / len(self.labels)

    @property
    def accuracy_ci95(self) -> list[float]:
        """[low, high] of the accuracy in percent."""
        return intervals.wilson_interval(self.accuracy, len(self.labels))

    @property
    def loss(self) -> float:
        """Mean cross-entropy, without label smoothing."""
        return functional.cross_entropy(self.logits, self.labels).item()

    @functools.cached_property
    def confusion(self) -> Tensor:
        """Counts, [num_classes, num_classes]: a row per true class, a column per predicted one."""
        size = len(self.classes)
        return torch.bincount(size * self.labels + self.predictions, minlength=size**2).view(size, size)

    @functools.cached_property
    def by_class(self) -> dict[str, tuple[int, int, float, list[float]]]:
        """{class name: (images, those read right, that in percent, [low, high] of its 95 % interval)}; classes without
        images are left out."""
        by_class = {}
        counts = zip(self.classes, self.confusion.sum(1).tolist(), self.confusion.diagonal().tolist(), strict=True)
        for name, images, right in counts:
            if images:
                accuracy = 100 * right / images
                by_class[name] = images, right, accuracy, intervals.wilson_interval(accuracy, images)
        return by_class

    @property
    def per_class_accuracy(self) -> dict[str, float]:
        """{class name: percent} of each class's images."""
        return {name: accuracy for name, (_, _, accuracy, _) in self.by_class.items()}

    @functools.cached_property
    def confidences(self) -> Tensor:
        """The probability given to each prediction, [N]."""
        return (self.logits / self.temperature).softmax(1).amax(1)

    @functools.cached_property
    def misclassified(self) -> list[int]:
        """Indices of the images whose prediction is wrong, the most confident first."""
        wrong = (self.predictions != self.labels).nonzero().flatten()
        return wrong[self.confidences[wrong].argsort(descending=True, stable=True)].tolist()

    @functools.cached_property
    def reliability(self) -> list[tuple[float, float, float]]:
        """Confidence against accuracy in bins, [(mean confidence, accuracy, share of the images)] of each that has
        images, all in percent."""
        bins, right = (self.confidences * BINS).long().clamp(max=BINS - 1), (self.predictions == self.labels).double()
        parts = [bins == index for index in bins.unique()]
        means = [(self.confidences[part].double().mean(), right[part].mean(), part.double().mean()) for part in parts]
        return [tuple(100 * value.item() for value in each) for each in means]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error in percent (Guo et al.)."""
        return sum(abs(confidence - accuracy) * share for confidence, accuracy, share in self.reliability) / 100

    @property
    def coverage(self) -> list[float]:
        """The accuracy in percent of those images, shares of ANSWERED, that have most confidence."""
        right = (self.predictions == self.labels)[self.confidences.argsort(descending=True)].double()
        return [100 * right[: max(1, round(share * len(right)))].mean().item() for share in ANSWERED]

    def mistake(self, index: int) -> dict[str, Any]:
        """The true and the predicted class of an image, and the probability of the prediction."""
        return {
            "index": index,
            "true": self.classes[self.labels[index]],
            "predicted": self.classes[self.predictions[index]],
            "confidence": self.confidences[index].item(),
        }

    def summary(self) -> dict[str, Any]:
        """All of it as plain values, for evaluation.json."""
        return {
            "images": len(self.labels),
            "accuracy": self.accuracy,
            "accuracy_ci95": self.accuracy_ci95,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "per_class_accuracy": self.per_class_accuracy,
            "confusion": self.confusion.tolist(),
            "misclassified": [self.mistake(index) for index in self.misclassified],
        }


@torch.no_grad()
def evaluate(model: nn.Module, images: data.Images, classes: tuple[str, ...]) -> Evaluation:
    """Evaluate a model that maps pixels in 0..1 to logits. It is left in evaluation mode."""
    model.eval()
    logits = [model(part) for part in images.to_float().split(BATCH_IMAGES)]
    return Evaluation(torch.cat(logits).float().cpu(), images.labels.cpu(), classes)


def evaluate_run(model: nn.Module, state: dict[str, Any], images: data.Images) -> Evaluation:
    """Evaluate the model of a run with this checkpoint state, its confidences by the temperature of its recipe's
    record."""
    evaluation = evaluate(model, images, tuple(state["classes"]))
    return dataclasses.replace(evaluation, temperature=results.calibration(state["recipe"]["name"])["temperature"])


def load_images(state: dict[str, Any], data_dir: Path | str, device: torch.device) -> tuple[data.Images, data.Images]:
    """(training images, evaluated images) of the run with this checkpoint state."""
    images = data.load(state["recipe"]["dataset"], data_dir, "train", device)
    training, validation = data.split(images, state["recipe"]["validation_images"], state["seed"])
    return training, validation if state["recipe"]["holdout"] else load_tested(state, data_dir, device)


def load_tested(state: dict[str, Any], data_dir: Path | str, device: torch.device | str) -> data.Images:
    """The images on which the run with this checkpoint state is evaluated."""
    if state["recipe"]["holdout"]:
        return load_images(state, data_dir, device)[1]
    return data.load(state["recipe"]["dataset"], data_dir, "test", device)


def format_evaluation(evaluation: Evaluation) -> str:
    """The evaluation as text."""
    low, high = evaluation.accuracy_ci95
    summary = (
        f"accuracy {evaluation.accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f}), loss {evaluation.loss:.4f}, "
        f"calibration error {evaluation.calibration_error:.2f} %"
    )
    rows = [
        [name, f"{evaluation.per_class_accuracy.get(name, math.nan):.2f} %", *(str(count or "·") for count in counts)]
        for name, counts in zip(evaluation.classes, evaluation.confusion.tolist(), strict=True)
    ]
    mistakes = [evaluation.mistake(index) for index in evaluation.misclassified]
    texts = [f"{mistake['index']} ({format_mistake(mistake)})" for mistake in mistakes]
    width = max(map(len, texts), default=0) + 2
    listed = textwrap.wrap("".join(text.replace(" ", "\xa0").ljust(width) for text in texts), min(120, cli.columns()))
    head = f"{len(texts)} misclassified, the most confident first, as index (true→predicted, confidence):"
    names = [name[: 7 if cli.columns() > 120 else 4] for name in evaluation.classes]
    table = terminal_table(["true \\ predicted", "correct", *names], rows)
    return "\n".join([summary, "", table, "", head, *listed]).replace("\xa0", " ")


def format_mistake(mistake: dict[str, Any]) -> str:
    """true→predicted, and the probability of the prediction."""
    return f"{mistake['true']}→{mistake['predicted']} {100 * mistake['confidence']:.0f} %"


def evaluate_named(argv: list[str] | None) -> tuple[Path, Evaluation, data.Images]:
    """Evaluate the run named on the command line, print its figures and write evaluation.json. Returns the run's
    folder, the evaluation and the images."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "run", type=results.find_run, help="the run's folder, its name in results/, or a checkpoint file"
    )
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    device = devices.prepare(arguments.device)
    model, state = checkpoint.load_model(arguments.run, device)
    run_dir, images = checkpoint.locate(arguments.run)[0], load_tested(state, arguments.data, device)
    facts = {"recipe": state["recipe"]["name"], "seed": state["seed"], "epoch": state["epoch"]}
    print(
        f"{arguments.run}: recipe {facts['recipe']}, seed {facts['seed']}, {count_parameters(model):,} parameters, "
        f"epoch {facts['epoch']}, {len(images):,} {'held-out' if state['recipe']['holdout'] else 'test'} images"
    )
    evaluation = evaluate_run(model, state, images)
    print(format_evaluation(evaluation))
    path = run_dir / "evaluation.json"
    files.write_json(path, facts | evaluation.summary())
    print(f"\n{path}")
    return run_dir, evaluation, images


def main(argv: list[str] | None = None) -> None:
    evaluate_named(argv)


if __name__ == "__main__":
    cli.run(main)
