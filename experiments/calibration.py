"""Calibration: how far the probabilities of a recipe's networks can be believed, from images that were held out.

`calibrate` evaluates a hold-out run on its 10,000 held-out training images, never on test images: a temperature that
makes probabilities what they say (Guo et al., arXiv 1706.04599), and the probability below which a network of this
recipe gives no answer (Chow, On optimum recognition error and reject tradeoff, 1970). Both stand in the record, and
from there in every exported network.
"""

import dataclasses
from pathlib import Path
from typing import Any

from support import cli  # noqa: F401 (before torch)

import numpy as np
import torch.nn.functional as functional

import checkpoint
from evaluate import Evaluation, evaluate, load_tested
from recipes import Recipe

TEMPERATURES = np.geomspace(0.1, 5, 400).tolist()
ANSWERED = 0.99  # of the held-out images: the detector refuses more (experiments/detector.py)


def held_out(recipe: Recipe) -> Recipe:
    """A recipe as its hold-out run has it."""
    return dataclasses.replace(recipe, holdout=True, validation_images=10_000)


def calibrate(run: Path, data_dir: Path) -> dict[str, float]:
    """{"temperature", "threshold"} of a hold-out run."""
    model, state = checkpoint.load_model(run)
    return fit(evaluate(model, load_tested(state, data_dir, "cpu"), tuple(state["classes"])))


def measure(run: Path, data_dir: Path, fitted: dict[str, float]) -> dict[str, Any]:
    """How a calibrated run does on its test images, in percent: its expected calibration error; how many it answers,
    and how many of these are right; and that accuracy for each share of evaluate.ANSWERED."""
    model, state = checkpoint.load_model(run)
    evaluation = evaluate(model, load_tested(state, data_dir, "cpu"), tuple(state["classes"]))
    evaluation = dataclasses.replace(evaluation, temperature=fitted["temperature"])
    answered = evaluation.confidences >= fitted["threshold"]
    right = (evaluation.predictions == evaluation.labels)[answered]
    return {
        "calibration_error": round(evaluation.calibration_error, 4),
        "answered": 100 * answered.double().mean().item(),
        "answered_accuracy": round(100 * right.double().mean().item(), 4),
        "coverage": [round(accuracy, 4) for accuracy in evaluation.coverage],
    }


def fit(evaluation: Evaluation) -> dict[str, float]:
    """{"temperature", "threshold"} of an evaluation."""

    def loss(temperature: float) -> float:
        return functional.cross_entropy(evaluation.logits / temperature, evaluation.labels).item()

    temperature = min(TEMPERATURES, key=loss)
    confidences = (evaluation.logits / temperature).softmax(1).amax(1)
    return {"temperature": temperature, "threshold": confidences.quantile(1 - ANSWERED).item()}
