"""The learning-rate finder: an exponential range test on the recipe's own training path (Smith 2017, "Cyclical Learning
Rates for Training Neural Networks"). `make find-lr` shows one, `make train LR=auto` trains at what it suggests.

The learning rate rises from step to step, on the recipe's batches, augmentation, precision and momentum, until the loss
diverges; all of it on a copy of the model.
"""

import copy
import dataclasses
import itertools
import math
import time
from typing import Any

from support import UserError

import numpy as np
import torch

from trainer import Trainer, derive_seed

END_LR = 10.0
MEMORY = 10  # steps that the moving average of the loss looks back, at least,
MEMORY_SHARE = 0.05  # and as a share of the test: the finer its steps, the less each says
DIVERGED = 3.0  # times the lowest smoothed loss, where the test stops


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The learning rates of a range test, the loss at each, the same smoothed over `memory` steps, and its seconds."""

    lrs: list[float]
    losses: list[float]
    smoothed: list[float]
    memory: float
    seconds: float

    @property
    def suggestions(self) -> dict[str, float]:
        """{rule: learning rate}. steepest: where the smoothed loss falls fastest over the logarithm of the learning
        rate, once it is smoothed at all; valley: the middle of the longest fall, much as in fastai; minimum_over_10: a
        tenth of the learning rate of the lowest loss. Raises UserError when the loss never fell."""
        lowest = int(np.argmin(self.smoothed))
        if lowest < 2:
            raise UserError(
                f"the loss never fell between the learning rates {self.lrs[0]:.3g} and {self.lrs[-1]:.3g}: "
                "the range test needs a lower finder_start_lr"
            )
        slopes = np.gradient(self.smoothed[: lowest + 1], np.log(self.lrs[: lowest + 1]))
        first = min(round(self.memory), lowest // 2)
        return {
            "steepest": self.lrs[first + int(np.argmin(slopes[first:]))],
            "valley": self.lrs[valley(self.smoothed)],
            "minimum_over_10": self.lrs[lowest] / 10,
        }

    @property
    def lr(self) -> float:
        """The suggestion to train at: the steepest."""
        return self.suggestions["steepest"]

    def summary(self) -> dict[str, Any]:
        """The suggestion and where it comes from, for results.json."""
        return {"lr": self.lr, "suggestions": self.suggestions, "steps": len(self.lrs), "seconds": self.seconds}


def valley(losses: list[float]) -> int:
    """The index in the middle of the longest decreasing subsequence of the losses."""
    lengths = [1] * len(losses)
    for index, loss in enumerate(losses):
        lengths[index] += max((lengths[before] for before in range(index) if losses[before] > loss), default=0)
    end = int(np.argmax(lengths))
    start = max(0, end - lengths[end])
    return start + (end - start) // 2


def find_lr(trainer: Trainer) -> None:
    """Train at the learning rate that a range test suggests. Raises UserError when the loss never fell."""
    test = range_test(trainer)
    trainer.use_lr(test.lr)
    trainer.lr_finder = test.summary()
    trainer.preparation_seconds += test.seconds


def range_test(trainer: Trainer) -> RangeTest:
    """A range test of a copy of the model, from the recipe's finder_start_lr to END_LR or until the loss diverges,
    at the momentum of the cycle's peak."""
    start, recipe, trial = time.perf_counter(), trainer.recipe, copy.copy(trainer)
    trial.model, trial.selection = copy.deepcopy((trainer.model, trainer.selection))
    trial.use_lr(recipe.learning_rate)
    (group,) = trial.optimizer.param_groups
    if "base_momentum" in group:
        group["momentum"] = group["base_momentum"]
    memory = max(MEMORY, MEMORY_SHARE * recipe.finder_num_iter)
    decay = 1 - 1 / memory
    lrs, losses, smoothed, average = [], [], [], 0.0
    trial.model.train()
    torch.manual_seed(derive_seed(trainer.seed, 0))
    batches = itertools.chain.from_iterable(trial.batches(epoch) for epoch in itertools.count(1))
    for lr in np.geomspace(recipe.finder_start_lr, END_LR, recipe.finder_num_iter).tolist():
        group["lr"] = lr
        loss = trial.step(next(batches))[0].item()
        if not math.isfinite(loss):
            break
        average = decay * average + (1 - decay) * loss
        lrs.append(lr)
        losses.append(loss)
        smoothed.append(average / (1 - decay ** len(lrs)))  # without the bias of its start
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    return RangeTest(lrs, losses, smoothed, memory, time.perf_counter() - start)
