"""The mistakes of a run as its report shows them: a confusion matrix whose cells choose among them, and each image with
what it was taken for, and what came next.

    mistakes.listed(evaluation)
"""

from typing import NamedTuple

from evaluate import Evaluation, Mistake
from reporting import classes, plots
from reporting.classes import ClassAccuracy


class Shown(Mistake):
    """A mistake, the indices of its true and its predicted class, and the most probable class besides the latter."""

    classes: tuple[int, int]
    runner_up: str
    runner_up_confidence: float


class Confusion(NamedTuple):
    """A confusion matrix, [true][predicted]; the mistakes of each row, of each column, and of the cell that has most;
    and {name: accuracy} of the classes that have images."""

    counts: list[list[int]]
    rows: list[int]
    columns: list[int]
    most: int
    accuracies: dict[str, ClassAccuracy]


def listed(evaluation: Evaluation) -> list[Shown]:
    """The mistakes that are shown, the most confident first: plots.SHOWN at most."""
    return [shown(evaluation, index) for index in evaluation.misclassified[: plots.SHOWN]]


def shown(evaluation: Evaluation, index: int) -> Shown:
    """What an image was taken for, and the class that came next."""
    true, predicted = evaluation.labels[index].item(), evaluation.predictions[index].item()
    others = evaluation.logits[index].softmax(0)
    others[predicted] = -1
    return {
        **evaluation.mistake(index),
        "classes": (true, predicted),
        "runner_up": evaluation.classes[others.argmax()],
        "runner_up_confidence": others.max().item(),
    }


def confusion(evaluation: Evaluation) -> Confusion:
    """The confusion matrix of an evaluation."""
    counts = evaluation.confusion
    wrong = counts - counts.diag().diag()
    accuracies = {each.name: each for each in classes.accuracies(counts.tolist(), evaluation.classes)}
    return Confusion(counts.tolist(), wrong.sum(1).tolist(), wrong.sum(0).tolist(), wrong.max().item(), accuracies)
