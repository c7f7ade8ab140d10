"""Calibration: how far the probabilities of a recipe's networks can be believed, from images that were held out.

`calibrate` evaluates a hold-out run on its 10,000 held-out training images, never on test images: a temperature that
makes probabilities what they say (Guo et al., arXiv 1706.04599), and the sureness (deployment/network.py) below which a
network of this recipe gives no answer (Chow, On optimum recognition error and reject tradeoff, 1970). Both stand in the
record, and from there in every exported network.
"""

import dataclasses
from pathlib import Path
from typing import Any

from support import cli  # noqa: F401 (before torch)

import numpy as np
import torch.nn.functional as functional

import checkpoint
import data
from deployment import network
from evaluate import Evaluation, evaluate, load_tested
from recipes import Recipe

TEMPERATURES = np.geomspace(0.1, 5, 400).tolist()
ANSWERED = 0.985  # of the held-out images


def held_out(recipe: Recipe) -> Recipe:
    """A recipe as its hold-out run has it."""
    return dataclasses.replace(recipe, holdout=True, validation_images=10_000)


def fit_temperature(evaluation: Evaluation) -> float:
    """The temperature of the least loss."""

    def loss(temperature: float) -> float:
        return functional.cross_entropy(evaluation.logits / temperature, evaluation.labels).item()

    return min(TEMPERATURES, key=loss)


def sureness(evaluation: Evaluation, images: data.Images, dataset: str) -> np.ndarray:
    """How sure the evaluated network may be of each image, [N]."""
    pixels = images.pixels[:, 0].numpy() if dataset == network.HANDWRITING else None
    return network.sureness(evaluation.confidences.numpy(), pixels)


def calibrate(run: Path, data_dir: Path) -> dict[str, float]:
    """{"temperature", "threshold"} of a hold-out run."""
    model, state = checkpoint.load_model(run)
    images = load_tested(state, data_dir, "cpu")
    evaluation = evaluate(model, images, tuple(state["classes"]))
    evaluation = dataclasses.replace(evaluation, temperature=fit_temperature(evaluation))
    threshold = np.quantile(sureness(evaluation, images, state["recipe"]["dataset"]), 1 - ANSWERED)
    return {"temperature": evaluation.temperature, "threshold": float(threshold)}


def measure(run: Path, data_dir: Path, fitted: dict[str, float]) -> dict[str, Any]:
    """How a calibrated run does on its test images, in percent: its expected calibration error; how many it answers,
    and how many of these are right; and the accuracy of each share of evaluate.ANSWERED."""
    model, state = checkpoint.load_model(run)
    images = load_tested(state, data_dir, "cpu")
    evaluation = evaluate(model, images, tuple(state["classes"]))
    evaluation = dataclasses.replace(evaluation, temperature=fitted["temperature"])
    answered = sureness(evaluation, images, state["recipe"]["dataset"]) >= fitted["threshold"]
    right = (evaluation.predictions == evaluation.labels).numpy()[answered]
    return {
        "calibration_error": round(evaluation.calibration_error, 4),
        "answered": round(100 * float(answered.mean()), 2),
        "answered_accuracy": round(100 * float(right.mean()), 4),
        "coverage": [round(accuracy, 4) for accuracy in evaluation.coverage],
    }
