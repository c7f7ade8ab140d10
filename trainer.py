"""The state of a training: model, optimizer, schedule, EMA and history, what a checkpoint keeps of them, and one step.

Every draw of an epoch comes from generators seeded by (seed, epoch), so a run that resumes at an epoch's end needs no
generator's state. The loop itself is in train.py.
"""

import copy
import dataclasses
import functools
import math
import time
from collections.abc import Iterator
from typing import Any

from support import UserError, identity, processes, sanity

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.optim.swa_utils import update_bn

import augmentation
import data
import model as models
from recipes import Recipe
from selection import Selection

WHITENING_IMAGES = 500  # some 30,000 patches with ink
BATCH_IMAGES = 256  # in one forward pass, at most


def derive_seed(seed: int, epoch: int, *part: int) -> int:
    """The seed of the draws of an epoch, or of a part of them; epoch 0 draws the initial weights."""
    return int(np.random.SeedSequence((seed, epoch, *part)).generate_state(1)[0])


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's torch optimizer, fused."""
    settings = {"weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "adagrad":
        return torch.optim.Adagrad(model.parameters(), recipe.learning_rate, **settings)
    momentum = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, **momentum, **settings)
    for parameter in model.parameters():  # torch leaves them uninitialised when the first update is skipped
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def build_scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer, images: int) -> LRScheduler:
    """The recipe's torch schedule for epochs of so many images, stepped per batch, a plateau per epoch. Raises
    UserError for too few steps."""
    steps_per_epoch, steps = recipe.steps(images)
    if recipe.schedule == "plateau":
        names = "factor", "patience", "threshold", "min_lr"
        return ReduceLROnPlateau(optimizer, **{name: getattr(recipe, f"plateau_{name}") for name in names})
    if recipe.schedule == "one_cycle":
        names = "div_factor", "final_div_factor", "cycle_momentum"
        settings = {name: getattr(recipe, name) for name in names} | {"pct_start": float(recipe.pct_start)}
        try:
            return OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, **settings)
        except ZeroDivisionError as error:
            raise UserError(
                f"one_cycle cannot rise within {recipe.pct_start} of {steps} step{'s' * (steps > 1)}: "
                "use more epochs, a smaller batch_size or another pct_start"
            ) from error
    gamma = recipe.gamma if recipe.schedule == "step" else 1.0
    return StepLR(optimizer, recipe.step_size * steps_per_epoch, gamma)


def identify(architecture: str, dataset: str) -> dict[str, Any]:
    """The identity of an architecture for a data set (see support/identity.py). Raises UserError unless it is sound
    (see support/sanity.py)."""
    shape, num_classes = data.get_dataset(dataset).input_shape, len(data.get_dataset(dataset).classes)
    build = functools.partial(models.build, architecture, num_classes)
    sanity.check(f"{architecture!r} in model.py", build, shape, num_classes)
    return identity.identify(build, shape)


class Trainer:
    """A recipe and a seed being trained on the training images of its data set, some of which are held out.

    Raises UserError when the recipe does not fit the images or the device, or when its architecture makes no model."""

    def __init__(self, recipe: Recipe, seed: int, device: torch.device, images: data.Images):
        if recipe.precision != "float32" and device.type == "cpu":
            raise UserError(f"precision {recipe.precision} is for a GPU: on a processor use float32")
        self.recipe, self.seed, self.device = recipe, seed, device
        start = time.perf_counter()
        self.train_images, self.validation_images = data.split(images, recipe.validation_images, seed)
        self.normalize = models.Normalize(*data.normalization(self.train_images))
        self.preparation_seconds = time.perf_counter() - start
        count = len(self.train_images)
        if recipe.batch_size > count:
            raise UserError(f"batch_size must be at most {count:,}, all training images, got {recipe.batch_size:,}")
        processes.check_batches(count, recipe.batch_size)
        dataset = data.get_dataset(recipe.dataset)
        self.classes, self.input_shape = dataset.classes, dataset.input_shape
        self.identity = identify(recipe.architecture, recipe.dataset)
        torch.manual_seed(derive_seed(seed, 0))
        model = models.build(recipe.architecture, len(self.classes))
        self.memory_format = identity.memory_format(model, self.input_shape)
        self.model = model.to(device, memory_format=self.memory_format)
        self.total_parameters = models.count_parameters(self.model)
        self.check_last_batch((count - 1) % recipe.batch_size + 1)
        self.ema = models.EMA(self.model, recipe.ema_decay) if recipe.ema_decay else None
        self.selection = Selection(recipe, count, device, processes.all_reduce)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing, reduction="none")
        self.use_lr(recipe.learning_rate)
        self.lr_finder: dict[str, Any] | None = None  # the summary of a range test
        self.history: list[dict[str, float]] = []
        self.environment: dict[str, Any] = {}  # of the start, as train.py describes it
        if recipe.whitening:
            start = time.perf_counter()
            models.whiten(self.model, self.normalize(self.train_images[:WHITENING_IMAGES].to_float()))
            # Signs of eigenvectors differ between processors.
            self.model.load_state_dict(processes.broadcast(self.model.state_dict()))
            self.preparation_seconds += time.perf_counter() - start

    def check_last_batch(self, images: int) -> None:
        """Raise UserError when the last batch of an epoch, with this many images, is too small for the model's
        BatchNorm."""
        if images // processes.world_size() > 1:
            return
        try:
            with torch.no_grad():
                copy.deepcopy(self.model).train()(torch.zeros(1, *self.input_shape, device=self.device))
        except ValueError as error:
            raise UserError(
                f"the last batch of an epoch has {images} image{'s' * (images > 1)}, too few for BatchNorm on a map of "
                f"one pixel: use another batch_size than {self.recipe.batch_size} ({error})"
            ) from error

    def use_lr(self, learning_rate: float) -> None:
        """Create the optimizer and the schedule anew, with this learning rate."""
        recipe = dataclasses.replace(self.recipe, learning_rate=learning_rate)
        self.optimizer = build_optimizer(recipe, self.model)
        self.scheduler = build_scheduler(recipe, self.optimizer, len(self.train_images))

    @property
    def lr(self) -> float:
        """The present learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def eval_model(self) -> nn.Module:
        """The deployable model, from pixels in 0..1 to logits, with the EMA's weights if the recipe has an EMA."""
        return nn.Sequential(self.normalize, self.ema.model if self.ema else self.model)

    def batches(self, epoch: int) -> Iterator[data.Batch]:
        """The batches of an epoch, augmented and normalized. Each must be given to `step` before the next is drawn."""
        order = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
        draws = torch.Generator().manual_seed(derive_seed(self.seed, epoch, 1 + processes.rank()))

        def prepare(images: Tensor) -> Tensor:
            return self.normalize(augmentation.augment(images, self.recipe, self.normalize.mean, draws))

        place, rounds = (processes.rank(), processes.world_size()), self.selection.rounds(epoch, order)
        return data.batches(self.train_images, self.recipe.batch_size, prepare, rounds, *place)

    def step(self, batch: data.Batch) -> tuple[Tensor, Tensor]:
        """Update the weights with a batch, unless its loss is not finite. Returns the mean loss of the whole batch,
        [], and the logits, [B, num_classes]; nothing waits for the device."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            logits = self.model(batch.images)
            losses = self.criterion(logits, batch.labels)  # [B]
            loss = losses.sum() / batch.size
        loss.backward()
        self.selection.note(batch.index, losses)
        loss = processes.all_reduce_gradients(self.model, loss)
        self.optimizer.found_inf = 1 - loss.isfinite().float()  # torch's fused optimizers skip the update at 1
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, logits

    def seed_dropout(self, epoch: int) -> None:
        """Seed torch's global generators, from which dropout draws, for an epoch."""
        torch.manual_seed(derive_seed(self.seed, epoch, 1 + processes.rank()))

    def average_processes(self) -> None:
        """Average BatchNorm's statistics over the processes: all else is the same in all of them."""
        ema = models.float_tensors(self.ema.model) if self.ema else []
        processes.average(models.float_tensors(self.model) + ema)

    def update_batch_norm(self) -> None:
        """Recompute BatchNorm's statistics from training images without augmentation, for the model that is
        evaluated: the images it was trained on were augmented and, with selection, harder than those it will see (Wu
        & Johnson, arXiv 2105.07576, section 4.3; Touvron et al., arXiv 1906.06423)."""
        if self.recipe.batch_norm_images:
            images = self.train_images[: self.recipe.batch_norm_images].to_float()
            parts = math.ceil(len(images) / BATCH_IMAGES)  # of one size: torch takes the mean of their statistics
            update_bn(images.tensor_split(parts), self.eval_model)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to resume the run or to load its model, as plain values and tensors."""
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "identity": self.identity,
            "classes": list(self.classes),
            "input_shape": list(self.input_shape),
            "seed": self.seed,
            "epoch": len(self.history),
            "normalize": {"mean": self.normalize.mean, "std": self.normalize.std},
            "preparation_seconds": self.preparation_seconds,
            "lr_finder": self.lr_finder,
            "model": self.model.state_dict(),
            "ema": self.ema.model.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "selection": self.selection.state_dict(),
            "history": self.history,
            "environment": self.environment,
            "logits": identity.probe(self.eval_model, self.input_shape).tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state that `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.model.load_state_dict(state["ema"])
            self.ema.is_empty = False
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.selection.load_state_dict(state["selection"])
        self.preparation_seconds = state["preparation_seconds"]
        self.lr_finder = state["lr_finder"]
        self.history = state["history"]
