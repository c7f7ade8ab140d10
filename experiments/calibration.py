"""Calibration: how far the probabilities of a recipe's networks can be believed, from images that were held out.

`fit` finds on the 10,000 held-out training images of a hold-out run, never on test images, a temperature that makes
probabilities what they say (Guo et al., arXiv 1706.04599), and the sureness (deployment/network.py) below which a
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
from deployment import network
from evaluate import Evaluation, evaluate, load_tested

TEMPERATURES = np.geomspace(0.1, 5, 400).tolist()
ANSWERED = 0.985  # of the held-out images


def evaluated(run: Path, data_dir: Path, temperature: float = 1.0) -> tuple[Evaluation, np.ndarray | None]:
    """(evaluation, the detector's probabilities [N, 3], None where images are no handwriting) of a run."""
    model, state = checkpoint.load_model(run)
    images = load_tested(state, data_dir, "cpu")
    evaluation = dataclasses.replace(evaluate(model, images, tuple(state["classes"])), temperature=temperature)
    is_written = state["recipe"]["dataset"] == network.HANDWRITING
    return evaluation, network.detector().read(images.pixels[:, 0].numpy()) if is_written else None


def fit(evaluation: Evaluation, kinds: np.ndarray | None) -> dict[str, float]:
    """{"temperature": that of the least loss, "threshold": the sureness that ANSWERED of the images have}."""
    losses = [functional.cross_entropy(evaluation.logits / each, evaluation.labels).item() for each in TEMPERATURES]
    temperature = TEMPERATURES[np.argmin(losses)]
    confidences = dataclasses.replace(evaluation, temperature=temperature).confidences.numpy()
    threshold = np.quantile(network.sureness(confidences, kinds), 1 - ANSWERED)
    return {"temperature": temperature, "threshold": float(threshold)}


def measure(run: Path, data_dir: Path, fitted: dict[str, float]) -> dict[str, Any]:
    """How a calibrated run does on its test images, in percent: its expected calibration error; how many it answers,
    and how many of these are right; and the accuracy of each share of evaluate.ANSWERED."""
    evaluation, kinds = evaluated(run, data_dir, fitted["temperature"])
    answered = network.sureness(evaluation.confidences.numpy(), kinds) >= fitted["threshold"]
    right = (evaluation.predictions == evaluation.labels).numpy()[answered]
    return {
        "calibration_error": round(evaluation.calibration_error, 4),
        "answered": round(100 * float(answered.mean()), 2),
        "answered_accuracy": round(100 * float(right.mean()), 4),
        "coverage": [round(accuracy, 4) for accuracy in evaluation.coverage],
    }
