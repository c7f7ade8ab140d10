"""Evaluation: the newest checkpoint of a run on the 10,000 test images.

    python evaluate.py results/default-seed0 [--data data] [--device auto]

Prints accuracy with its interval, loss, accuracy per digit, the confusion matrix and the misclassified images. The
weights are those deployed (averaged, where the run averages), in float32, one view of each image.
"""

import dataclasses
import sys

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


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model makes of N labelled images: logits [N, 10] and labels [N], on the CPU."""

    logits: torch.Tensor
    labels: torch.Tensor

    @property
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

    @property
    def confusion(self):
        """[10, 10] counts: a row a true digit, a column a predicted one."""
        return torch.bincount(10 * self.labels + self.predictions, minlength=100).view(10, 10)

    @property
    def per_class_accuracy(self):
        """{"0": percent, … "9": percent} of each digit's images; digits without images are left out."""
        counts = self.confusion
        return {
            str(digit): 100 * counts[digit, digit].item() / total
            for digit, total in enumerate(counts.sum(1).tolist())
            if total
        }

    @property
    def misclassified(self):
        """Indices of the images whose prediction is wrong."""
        return (self.predictions != self.labels).nonzero().flatten().tolist()


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
    rows = [" ".join(f"{count or '·':>6}" for count in row) for row in evaluation.confusion.tolist()]
    wrong = [
        f"{index} ({evaluation.labels[index]}→{evaluation.predictions[index]})" for index in evaluation.misclassified
    ]
    lines = [
        f"accuracy {evaluation.accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f}), loss {evaluation.loss:.4f}",
        "",
    ]
    lines += ["digit  correct  predicted as" + "".join(f"{digit:>{4 if digit == 0 else 7}}" for digit in range(10))]
    accuracies = evaluation.per_class_accuracy
    lines += [
        f"{digit:>5}  {accuracies.get(str(digit), float('nan')):6.2f}%        {row}" for digit, row in enumerate(rows)
    ]
    lines += ["", f"{len(wrong)} misclassified, as index (true→predicted):"]
    lines += ["  ".join(wrong[start : start + 8]) for start in range(0, len(wrong), 8)]
    return "\n".join(lines)


def main(argv=None):
    parser = cli.Parser(description="Evaluate the newest checkpoint of a run on the test images.")
    parser.add_argument("run", help="the run's folder, such as results/default-seed0")
    parser.add_argument("--data", default="data", help="the folder of MNIST (default: data)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    arguments = parser.parse_args(argv)
    device = environment.pick_device(arguments.device)
    model, normalisation, state = load_model(arguments.run, device)
    _, test = data.load(arguments.data, device)
    count = parameter_count(model)
    print(f"{arguments.run}: recipe {state['recipe']['name']}, {count:,} parameters, epoch {state['epoch']}")
    print(report(evaluate(model, test, normalisation)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
