"""Evaluation: the newest checkpoint of a run on the 10,000 test images.

    python evaluate.py results/default-seed0 [--data data] [--device auto]

Prints accuracy with its interval, loss, calibration, accuracy per digit, the confusion matrix and the misclassified
images, and writes them to the run's folder: evaluation.json, per_class.png, confusion.png, misclassified.png. The
weights are those deployed (averaged, where the run averages), in float32, one view of each image.
"""

import dataclasses
import functools
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as functional

import checkpoint
import cli
import data
import environment
import model as networks
import results
from layers import parameter_count

BATCH_IMAGES = 500  # forward at once: small enough for the widest network here
BINS = 15  # of confidence, as in Guo et al.
SHOWN = 500  # misclassified images in a picture, at most


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model makes of N labelled images: logits [N, 10] and labels [N], on the CPU."""

    logits: torch.Tensor
    labels: torch.Tensor

    @functools.cached_property
    def predictions(self):
        return self.logits.argmax(1)

    @property
    def accuracy(self):
        """Top-1 accuracy in percent."""
        return 100 * (self.predictions == self.labels).sum().item() / len(self.labels)

    @property
    def loss(self):
        """Mean cross-entropy, without label smoothing."""
        return functional.cross_entropy(self.logits, self.labels).item()

    @functools.cached_property
    def confusion(self):
        """[10, 10] counts: a row a true digit, a column a predicted one."""
        return torch.bincount(10 * self.labels + self.predictions, minlength=100).view(10, 10)

    @functools.cached_property
    def per_class_accuracy(self):
        """{"0": percent, … "9": percent} of each digit's images; digits without images are left out."""
        counts = self.confusion
        return {
            str(digit): 100 * counts[digit, digit].item() / total
            for digit, total in enumerate(counts.sum(1).tolist())
            if total
        }

    @functools.cached_property
    def confidences(self):
        """The probability that each prediction is given, [N]."""
        return self.logits.softmax(1).amax(1)

    @functools.cached_property
    def misclassified(self):
        """Indices of the images whose prediction is wrong, the most confident ones first."""
        wrong = (self.predictions != self.labels).nonzero().flatten()
        return wrong[self.confidences[wrong].argsort(descending=True, stable=True)].tolist()

    @property
    def calibration_error(self):
        """Expected calibration error in percent: how far confidence and accuracy are apart, on average over images in
        bins of equal confidence (Guo et al., arXiv 1706.04599)."""
        bins = (self.confidences * BINS).long().clamp(max=BINS - 1)
        gaps = self.confidences.double() - (self.predictions == self.labels).double()
        return (
            100 * torch.zeros(BINS, dtype=torch.double).index_add_(0, bins, gaps).abs().sum().item() / len(self.labels)
        )

    def summary(self):
        """All of it as plain values, for evaluation.json."""
        mistakes = [
            {
                "index": index,
                "true": self.labels[index].item(),
                "predicted": self.predictions[index].item(),
                "confidence": self.confidences[index].item(),
            }
            for index in self.misclassified
        ]
        return {
            "images": len(self.labels),
            "accuracy": self.accuracy,
            "accuracy_ci95": results.wilson_interval(self.accuracy, len(self.labels)),
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "per_class_accuracy": self.per_class_accuracy,
            "confusion": self.confusion.tolist(),
            "misclassified": mistakes,
        }


@torch.no_grad()
def evaluate(model, images, normalisation):
    """An Evaluation of `model` (left in evaluation mode) on Images of its device."""
    model.eval()
    parts = normalisation(images.floats()).contiguous(memory_format=torch.channels_last).split(BATCH_IMAGES)
    return Evaluation(torch.cat([model(part) for part in parts]).float().cpu(), images.labels.cpu())


def load_model(run, device):
    """(model in evaluation mode, its Normalisation, checkpoint state) from a run's newest checkpoint. Raises
    FileNotFoundError without one."""
    state = checkpoint.load_newest(run)
    if state is None:
        raise FileNotFoundError(
            f"no checkpoint in {checkpoint.checkpoint_folder(run)}: make train (OVERWRITE=1 where they were removed)"
        )
    model = networks.build(state["recipe"]["architecture"])
    if str(model) != state["network"]:
        raise ValueError(f"{run} holds a run of another network: {state['recipe']['architecture']!r} has changed since")
    model.load_state_dict(checkpoint.deployed_weights(state))
    return (
        model.to(device, memory_format=torch.channels_last).eval(),
        data.Normalisation(**state["normalisation"]),
        state,
    )


def report(evaluation):
    """The evaluation as text."""
    low, high = results.wilson_interval(evaluation.accuracy, len(evaluation.labels))
    lines = [
        f"accuracy {evaluation.accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f}), loss {evaluation.loss:.4f}, "
        f"calibration error {evaluation.calibration_error:.2f} %",
        "",
    ]
    lines += ["digit   correct   taken for" + "".join(f"{digit:>6}" for digit in range(10))]
    for digit, counts in enumerate(evaluation.confusion.tolist()):
        cells = "".join(f"{count or '·':>6}" for count in counts)
        lines += [f"{digit:>5}  {evaluation.per_class_accuracy.get(str(digit), math.nan):6.2f} %            {cells}"]
    wrong = [f"{index} ({mistake(evaluation, index)})" for index in evaluation.misclassified]
    lines += ["", f"{len(wrong)} misclassified, the most confident first, as index (true→predicted, confidence):"]
    lines += [
        "  ".join(f"{text:<20}" for text in wrong[start : start + 6]).rstrip() for start in range(0, len(wrong), 6)
    ]
    return "\n".join(lines)


def mistake(evaluation, index):
    """What an image was taken for: true→predicted, and how confidently."""
    pair = f"{evaluation.labels[index]}→{evaluation.predictions[index]}"
    return f"{pair} {100 * evaluation.confidences[index]:.0f} %"


def mistakes(evaluation, images):
    """The misclassified ones of Images, [N, 28, 28] in 0..1, at most SHOWN, and what each was taken for."""
    shown = evaluation.misclassified[:SHOWN]
    return images.levels[shown, 0].cpu() / 255, [mistake(evaluation, index) for index in shown]


def draw(evaluation, images, folder):
    """Draw the evaluation of Images into pictures in a folder; returns their paths."""
    import pictures  # matplotlib takes a second to import

    drawn = {
        "per_class.png": (pictures.per_class, evaluation.per_class_accuracy),
        "confusion.png": (pictures.confusion, evaluation.confusion),
        "misclassified.png": (pictures.digits, *mistakes(evaluation, images), 10),
    }
    for name, picture in drawn.items():
        pictures.save(folder / name, *picture)
    return [folder / name for name in drawn]


def main(argv=None):
    parser = cli.Parser(description="Evaluate the newest checkpoint of a run on the test images.")
    parser.add_argument("run", type=Path, help="the run's folder, such as results/default-seed0")
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    device = environment.pick_device(arguments.device)
    model, normalisation, state = load_model(arguments.run, device)
    _, test = data.load(arguments.data, device)
    name, count = state["recipe"]["name"], parameter_count(model)
    print(f"{arguments.run}: recipe {name}, seed {state['seed']}, {count:,} parameters, epoch {state['epoch']}")
    found = evaluate(model, test, normalisation)
    print(report(found))
    written = [arguments.run / "evaluation.json", *draw(found, test, arguments.run)]
    results.write(written[0], {"recipe": name, "seed": state["seed"], "epoch": state["epoch"]} | found.summary())
    print(f"\n{', '.join(map(str, written))}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
