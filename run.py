"""A run under way: the network, what updates it, and its history.

Every draw of an epoch comes from generators seeded by (seed, epoch), so a run that goes on from the state at an epoch's
end needs no generator's state.
"""

import copy
import dataclasses
import math
import time

import numpy as np
import torch
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from tqdm import tqdm

import augmentation
import data
import environment
import evaluate
import model as networks
import parallel
import results
import step
from layers import parameter_count

WHITENING_IMAGES = 500  # some 30,000 patches with ink
LOOK_SECONDS = 0.5  # between two looks at the loss: a look waits for the device


def epoch_seed(seed, epoch, *part):
    """The seed of the draws of one epoch, or of a part of them; epoch 0 draws the initial weights."""
    return int(np.random.SeedSequence((seed, epoch, *part)).generate_state(1)[0])


def make_schedule(recipe, optimizer, epoch_steps):
    """The recipe's torch schedule, from the optimizer's rate: to be stepped once a batch, a plateau once an epoch with
    the validation loss. Raises ValueError for a one_cycle of too few steps."""
    if recipe.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer,
            factor=recipe.plateau_factor,
            patience=recipe.plateau_patience,
            threshold=recipe.plateau_threshold,
            min_lr=recipe.plateau_minimum,
        )
    if recipe.schedule == "one_cycle":
        steps = recipe.epochs * epoch_steps
        try:
            return OneCycleLR(
                optimizer,
                recipe.learning_rate,
                total_steps=steps,
                pct_start=float(recipe.warmup),
                div_factor=recipe.start_divisor,
                final_div_factor=recipe.final_divisor,
                cycle_momentum=recipe.cycle_momentum,
            )
        except ZeroDivisionError as error:
            raise ValueError(
                f"one_cycle cannot rise within {recipe.warmup} of {steps} step{'s' * (steps > 1)}: "
                "take more epochs, a smaller batch_size or another warmup"
            ) from error
    drop = recipe.step_factor if recipe.schedule == "step" else 1.0
    return StepLR(optimizer, recipe.step_epochs * epoch_steps, drop)


def best(history):
    """The entry of best validation accuracy; ties go to the lower validation loss, then to the later epoch."""
    return max(history, key=lambda entry: (entry["val_accuracy"], -entry["val_loss"], entry["epoch"]))


def rates(recipe, epoch_steps):
    """The rate at every step of a training by a recipe's schedule, which must not be plateau."""
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], recipe.learning_rate, recipe.momentum)
    schedule, found = make_schedule(recipe, optimizer, epoch_steps), []
    for _ in range(recipe.epochs * epoch_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


class Average:
    """The exponential moving average of a network's weights and BatchNorm statistics, as a network. torch's
    AveragedModel is the same, but waits for the device at every update."""

    def __init__(self, model, decay):
        self.model, self.decay, self.empty = copy.deepcopy(model), decay, True
        self.averages, self.values = floats(self.model), floats(model)

    @torch.no_grad()
    def update(self):
        """Move towards the network averaged; the first update copies it."""
        torch._foreach_lerp_(self.averages, self.values, 1.0 if self.empty else 1 - self.decay)
        self.empty = False


def floats(model):
    """The weights and statistics of a network; the batch counts of BatchNorm are left out."""
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]


class Run:
    """A recipe and a seed being trained. Raises ValueError when the recipe does not fit the images."""

    def __init__(self, recipe, seed, device, images, test):
        count = len(images) - data.VALIDATION_IMAGES
        if recipe.batch_size > count:
            raise ValueError(
                f"batch_size must be at most {count:,}, the number of training images, got {recipe.batch_size:,}"
            )
        parallel.check_batches(count, recipe.batch_size)
        self.recipe, self.seed, self.test = recipe, seed, test
        self.precision = environment.pick_precision(recipe.precision, device)
        self.environment = environment.describe(device, self.precision) | {"processes": parallel.count()}
        torch.manual_seed(epoch_seed(seed, 0))
        self.model = networks.build(recipe.architecture).to(device, memory_format=torch.channels_last)
        self.parameters = parameter_count(self.model)
        self.average = Average(self.model, recipe.average_decay) if recipe.average_decay else None
        self.epoch_steps = math.ceil(count / recipe.batch_size)
        self.make_updates(recipe.learning_rate)
        self.lr_finder = None  # what a range test found
        self.history = []

        start = time.perf_counter()
        self.training, self.validation = data.split(images, seed)
        self.normalisation = data.Normalisation.of(self.training)
        if recipe.whitening:
            networks.whiten(self.model, self.normalisation(self.training[:WHITENING_IMAGES].floats()))
            parallel.copy_first(self.model)  # the signs of the patterns are a processor's own
        self.preparation_seconds = time.perf_counter() - start

    def make_updates(self, learning_rate):
        """Make what updates the network, at this learning rate: optimizer, schedule and step."""
        recipe = dataclasses.replace(self.recipe, learning_rate=learning_rate)
        self.optimizer = step.make_optimizer(recipe, self.model)
        self.schedule = make_schedule(recipe, self.optimizer, self.epoch_steps)
        self.step = step.Step(recipe, self.model, self.optimizer, self.precision)

    def use(self, test):
        """Train at the rate that a lr_finder.RangeTest suggests; its seconds count."""
        self.lr_finder = test.summary()
        self.preparation_seconds += test.seconds
        self.make_updates(test.rate)

    @property
    def deployed(self):
        """The network as it is used: the average, where the recipe averages."""
        return self.average.model if self.average else self.model

    @property
    def finished(self):
        return len(self.history) == self.recipe.epochs

    @property
    def best(self):
        """The history's best entry, as `best` says."""
        return best(self.history)

    @property
    def is_best(self):
        """Whether the last epoch's network is to be kept as the best."""
        return self.best is self.history[-1] and self.best["val_accuracy"] >= self.recipe.best_threshold

    @property
    def rate(self):
        return float(self.optimizer.param_groups[0]["lr"])

    def batches(self, epoch):
        """The batches of an epoch, augmented and normalised: this process's part of each, and the size of the whole."""
        order = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        draws = torch.Generator().manual_seed(epoch_seed(self.seed, epoch, 1 + parallel.rank()))

        def prepare(images):
            return self.normalisation(augmentation.augment(images, self.recipe, self.normalisation.mean, draws))

        place, left, size = (parallel.rank(), parallel.count()), len(self.training), self.recipe.batch_size
        for images, labels in data.batches(self.training, size, prepare, order, *place):
            yield images, labels, min(size, left)
            left -= size

    def train_batches(self, epoch):
        """Train on the batches of an epoch; yields the number of images of each when it is done."""
        torch.manual_seed(epoch_seed(self.seed, epoch, 1 + parallel.rank()))  # dropout
        self.model.train()
        self.step.start_epoch()
        for index, (images, labels, count) in enumerate(self.batches(epoch)):
            self.step(images, labels, count)
            if self.recipe.schedule != "plateau":
                self.schedule.step()
            if self.average and index % self.recipe.average_steps == 0:
                self.average.update()
            yield count

    def train_epoch(self, epoch):
        """One pass over the training images: (mean loss, accuracy in percent) over its batches. Raises
        FloatingPointError when the loss is not finite."""
        seen, next_look = 0, time.monotonic() + LOOK_SECONDS
        with tqdm(
            total=len(self.training),
            desc=f"epoch {epoch}/{self.recipe.epochs}",
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=True if parallel.rank() else None,
        ) as bar:
            for count in self.train_batches(epoch):
                seen += count
                bar.update(count)
                if parallel.rank() == 0 and time.monotonic() > next_look:
                    loss = check_finite(self.step.total_loss.item(), epoch) / seen
                    bar.set_postfix(loss=f"{loss:.3f}", rate=f"{self.rate:.4f}", refresh=False)
                    next_look = time.monotonic() + LOOK_SECONDS
        loss = check_finite(self.step.total_loss.item(), epoch)
        self.unite()
        return loss / len(self.training), 100 * self.step.correct.item() / len(self.training)

    @torch.no_grad()
    def unite(self):
        """Add up what each process counted, and take the mean of their BatchNorm statistics: all else is the same in
        all of them."""
        statistics = floats(self.model) + (floats(self.average.model) if self.average else [])
        torch._foreach_div_(statistics, parallel.count())
        parallel.add_up([self.step.correct, *statistics])

    def advance(self):
        """Train the next epoch, evaluate it and add it to the history; returns the Evaluation on the test images, in
        process 0 alone."""
        epoch, rate, start = len(self.history) + 1, self.rate, time.perf_counter()
        loss, accuracy = self.train_epoch(epoch)
        seconds, test = time.perf_counter() - start, None
        entry = {"epoch": epoch, "lr": rate, "train_loss": loss, "train_accuracy": accuracy}
        if parallel.rank() == 0:
            validation, test = (self.evaluate(images) for images in (self.validation, self.test))
            for name, found in (("val", validation), ("test", test)):  # the last update may have been the fatal one
                entry |= {f"{name}_loss": check_finite(found.loss, epoch), f"{name}_accuracy": found.accuracy}
        if self.recipe.schedule == "plateau":
            self.schedule.step(parallel.share(entry.get("val_loss")))
        self.history.append(entry | {"seconds": seconds})
        return test

    def evaluate(self, images):
        """The Evaluation of the deployed network on Images."""
        return evaluate.evaluate(self.deployed, images, self.normalisation)

    def state(self):
        """All that the run needs to go on, as plain values and tensors."""
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "network": str(self.model),
            "seed": self.seed,
            "epoch": len(self.history),
            "normalisation": dataclasses.asdict(self.normalisation),
            "preparation_seconds": self.preparation_seconds,
            "lr_finder": self.lr_finder,
            "model": self.model.state_dict(),
            "averaged": self.average.model.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
        }

    def restore(self, state):
        """Go on from a state that `state` returned."""
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.model.load_state_dict(state["averaged"])
            self.average.empty = False
        self.optimizer.load_state_dict(state["optimizer"])
        step.place_rate(self.optimizer)
        self.schedule.load_state_dict(state["schedule"])
        self.preparation_seconds = state["preparation_seconds"]
        self.lr_finder = state["lr_finder"]
        self.history = state["history"]

    def results(self, test):
        """The content of results.json after the epoch whose Evaluation on the test images is `test`."""
        summary = {
            "schema": results.SCHEMA,
            "finished": self.finished,
            "recipe": dataclasses.asdict(self.recipe),
            "network": str(self.model),
            "seed": self.seed,
            "total_parameters": self.parameters,
            "total_epochs": self.recipe.epochs,
            "preparation_seconds": self.preparation_seconds,
            "training_time": self.preparation_seconds + sum(entry["seconds"] for entry in self.history),
        }
        if self.finished:
            summary |= {
                "final_test_accuracy": test.accuracy,
                "final_test_accuracy_ci95": results.wilson_interval(test.accuracy, len(test.labels)),
                "final_test_loss": test.loss,
            }
        if self.lr_finder:
            summary["lr_finder"] = self.lr_finder
        return summary | {
            "best_validation_accuracy": self.best["val_accuracy"],
            "per_class_accuracy": test.per_class_accuracy,
            "history": self.history,
            "environment": self.environment,
        }


def check_finite(loss, epoch):
    """The loss. Raises FloatingPointError when it is NaN or infinite: such a loss makes no update."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss} in epoch {epoch}: stopped; what was saved stands. "
            "Try a lower --learning-rate, with --overwrite"
        )
    return loss
