"""Classes: how well each is read, from a confusion matrix, with the interval that its number of images allows.

classes.accuracies(evaluation.confusion.tolist(), evaluation.classes)
"""

from collections.abc import Sequence
from typing import NamedTuple

from support.intervals import wilson_interval


class ClassAccuracy(NamedTuple):
    """Of a class: its images, how many of them are read right, that in percent, and [low, high] of its 95 %
    interval."""

    name: str
    images: int
    right: int
    accuracy: float
    interval: list[float]


def accuracies(counts: list[list[int]], names: Sequence[str]) -> list[ClassAccuracy]:
    """The accuracy of each class that has images, from counts whose rows are the true classes (Wilson's interval)."""
    found = []
    for index, (name, row) in enumerate(zip(names, counts, strict=True)):
        if images := sum(row):
            accuracy = 100 * row[index] / images
            found.append(ClassAccuracy(name, images, row[index], accuracy, wilson_interval(accuracy, images)))
    return found
