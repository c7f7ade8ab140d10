"""Training images that stayed hard, and how often each image was shown: for the report."""

import torch
from torch import Tensor

import data

LISTED = 30  # images


def listed(selection: dict[str, Tensor]) -> list[int]:
    """The indices of the training images of the highest loss when last shown, the highest first, by what a checkpoint
    keeps of a Selection."""
    losses = selection["losses"].nan_to_num(posinf=0)  # infinite: never shown
    return losses.topk(min(LISTED, len(losses))).indices.tolist()


def describe(
    indices: list[int], selection: dict[str, Tensor], training: data.Images, classes: tuple[str, ...]
) -> list[tuple[str, int]]:
    """(label, times shown) of each of some training images."""
    return [(classes[training.labels[index]], int(selection["shown"][index])) for index in indices]


def shown(selection: dict[str, Tensor]) -> str:
    """How often the training images were shown, in words."""
    counts = selection["shown"].float()
    low, median, high, most = torch.stack([counts.quantile(share) for share in (0, 0.5, 0.99, 1)]).int().tolist()
    if low == most:
        return f"Every image was shown {low} time{'s' * (low != 1)}."
    return (
        f"Half of the images were shown {median} times or less, at the least {low}; one in a hundred {high} times or "
        f"more, at the most {most}."
    )
