"""The learning-rate finder: an exponential range test on the recipe's own training path (Smith 2017, "Cyclical Learning
Rates for Training Neural Networks"). `make find-lr` shows one, `make train LR=auto` trains at what it suggests.

The learning rate rises from step to step, on the recipe's batches, augmentation, precision and momentum, until the loss
diverges; model, optimizer and selection are then put back.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support import UserError, processes

import numpy as np
import torch
from torch import Tensor

from trainer import Trainer, derive_seed

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
    """A range test from the recipe's finder_start_lr to its finder_end_lr, or to where the loss diverges."""
    start, recipe, (group,) = time.perf_counter(), trainer.recipe, trainer.optimizer.param_groups
    memory = max(MEMORY, MEMORY_SHARE * recipe.finder_num_iter)
    decay = 1 - 1 / memory
    lrs, losses, smoothed, average = [], [], [], 0.0
    with restored(trainer):
        trainer.model.train()
        torch.manual_seed(derive_seed(trainer.seed, 0))
        batches = itertools.chain.from_iterable(trainer.batches(epoch) for epoch in itertools.count(1))
        for lr in np.geomspace(recipe.finder_start_lr, recipe.finder_end_lr, recipe.finder_num_iter).tolist():
            group["lr"] = lr
            loss = update(trainer, *next(batches))
            if not math.isfinite(loss):
                break
            average = decay * average + (1 - decay) * loss
            lrs.append(lr)
            losses.append(loss)
            smoothed.append(average / (1 - decay ** len(lrs)))  # without the bias of its start
            if smoothed[-1] > DIVERGED * min(smoothed):
                break
    return RangeTest(lrs, losses, smoothed, memory, time.perf_counter() - start)


def update(trainer: Trainer, images: Tensor, labels: Tensor, index: Tensor, batch_size: int) -> float:
    """Train on a batch of `trainer.batches` unless its loss is not finite; returns the loss."""
    with trainer.autocast():
        losses = trainer.criterion(trainer.model(images), labels)
        loss = losses.sum() / batch_size
    loss.backward()
    trainer.selection.note(index, losses)
    total = processes.all_reduce_gradients(trainer.model, loss).item()
    if math.isfinite(total):
        trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return total


@contextmanager
def restored(trainer: Trainer) -> Iterator[None]:
    """Put back model, optimizer and selection after this context; within it the momentum is that of the cycle's
    peak."""
    optimizer_state = (value for state in trainer.optimizer.state.values() for value in state.values())
    states = *trainer.model.state_dict().values(), *optimizer_state, *trainer.selection.state_dict().values()
    tensors = [value for value in states if torch.is_tensor(value)]
    before = [value.clone() for value in tensors]
    (group,) = trainer.optimizer.param_groups
    settings = {name: group[name] for name in ("lr", "momentum") if name in group}
    if "base_momentum" in group:
        group["momentum"] = group["base_momentum"]
    try:
        yield
    finally:
        for value, kept in zip(tensors, before, strict=True):
            value.copy_(kept)
        group.update(settings)
