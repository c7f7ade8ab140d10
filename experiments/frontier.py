"""The frontier of accuracy for a number of parameters: what is asked of this project's recipes, and what others claim.

The claims are the best figures found, each with how it was picked: nearly all of them on the test images.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a recipe is asked for: its limits, the mean test accuracy, in percent, the one that counts at the least, and
    how many seeds are to reach it too."""

    parameters: int
    epochs: int
    accuracy: float
    least: float
    seeds: int = 0

    def reaching(self, record: dict[str, Any]) -> int:
        """How many seeds of a record have the least."""
        return sum(run["final_test_accuracy"] >= self.least for run in record["runs"])

    def mark(self, record: dict[str, Any]) -> str:
        """How a record meets it: ✓, only at the `least`, or ✗."""
        fits = record["total_parameters"] <= self.parameters and record["total_epochs"] <= self.epochs
        if not fits or self.reaching(record) < self.seeds or record["mean"] < self.least:
            return "✗"
        return "✓" if record["mean"] >= self.accuracy else "least"


@dataclasses.dataclass(frozen=True)
class Claim:
    """An accuracy, in percent of MNIST's test images, that someone has published for a number of parameters."""

    system: str
    parameters: int
    accuracy: float
    picked: str


GOALS = {
    "default": Goal(19_999, 19, 99.70, 99.62),
    "fast": Goal(19_999, 19, 99.40, 99.40, seeds=8),
    "under8k": Goal(7_999, 19, 99.58, 99.48),
    "under5k": Goal(4_999, 19, 99.50, 99.42),
    "under1500": Goal(1_500, 100, 99.25, 99.05),
    "under700": Goal(697, 100, 99.00, 98.70),
    "fashion": Goal(7_659, 60, 91.0, 90.2),
}
MODELS, EPOCH, RUN = "the best of many models", "the best epoch", "one run, or not said"
CLAIMS = (
    Claim("JoshWarn/Parameter-Efficient-MNIST", 697, 99.0, MODELS),
    Claim("e2eml's leaderboard of parameter efficiency", 1_398, 99.0, RUN),
    Claim("Ethiraj & Bolla 2022, Training Efficient CNNs", 1_500, 99.2, EPOCH),
    Claim("a student project", 6_720, 99.53, EPOCH),
    Claim("mnist-7824", 7_824, 99.42, EPOCH),
    Claim("a student project", 15_794, 99.59, EPOCH),
    Claim("mnist-experiment", 18_592, 99.43, RUN),
    Claim("erav3", 19_098, 99.42, EPOCH),
)
