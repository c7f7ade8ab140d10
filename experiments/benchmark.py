"""The benchmark: this project beside the published systems, in one run, on the same machine and images.

    python -m experiments.benchmark [--quick] [--data data]     tables, and results/records/bench.json

The way each system is trained elsewhere and this project's way take turns, for seconds at a time and in several rounds,
so that a machine whose speed drifts drifts for all. Seconds per epoch are those of all training images at the speed of
such a slice. A training passes its epochs, iterables of batches (images, labels), through `take`, which ends with the
slice.

Elsewhere is what others write: PIL transforms image by image, a DataLoader, and torch's defaults. The published systems
that are recipes here have two workers and look at the loss in every step, as their progress bars do. pytorch/examples'
mnist has no workers, and prints every tenth loss. The recipe `default` is trained as one writes it with PyTorch
Lightning: logger, progress bar and checkpoints are off; EMA and selection are left out. So are the published schedules,
on which the speed does not depend.
"""

import contextlib
import functools
import itertools
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from support import cli, devices, files

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms
from tqdm import tqdm

import data
import environment
import model as models
import recipes
import results
import train
from experiments import records, tables
from trainer import Trainer, build_scheduler

Take = Callable[[Iterable[Iterable[tuple]]], Iterator[tuple]]
WORKERS = 2
EXAMPLES, LIGHTNING, LIGHTNING_RECIPE = "pytorch/examples", "lightning", "default"
EPOCHS = {EXAMPLES: 14, LIGHTNING: recipes.RECIPES[LIGHTNING_RECIPE].epochs}
TO_TENSOR = transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))
TRANSFORMS = {
    "erav3": [
        transforms.RandomRotation(15),
        transforms.RandomAffine(0, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=5),
        transforms.ColorJitter(brightness=0.2, contrast=0.2),
    ],
    "mnist-ops": [transforms.RandomRotation(18), transforms.RandomAffine(0, scale=(0.8, 1.2))],
    "mnist-7824": [],
    "skeleton-510k": [],
    "mnist-experiment": [transforms.RandomRotation(7, fill=1)],
    "mnist-experiment-aug": [  # new pixels are black here: filling from the nearest border is not in torchvision
        transforms.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=math.degrees(0.1))
    ],
}
ENDLESS = 1000  # epochs, of which a slice is timed
WARM_UP_BATCHES = 3  # wait for loaders and caches: not timed
OWN = ("default", "fast")  # the others are for size, not for speed
HERE = {name: name for name in (*recipes.PUBLISHED, *OWN)} | {LIGHTNING: LIGHTNING_RECIPE}  # {system: its recipe}
SPIN_COUNTS = 1000, 10_000, 100_000
BUSY_LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))"  # ends with its parent, too


def build(name: str, augmentation: list, data_dir: str) -> tuple[DataLoader, nn.Module, torch.optim.Optimizer]:
    """A recipe's DataLoader, of images augmented by these transforms of torchvision, its model and its optimizer."""
    recipe, steps = recipes.get_recipe(name), [*augmentation, *TO_TENSOR]
    if recipe.random_erasing:
        steps.append(transforms.RandomErasing(recipe.random_erasing))
    images = datasets.MNIST(data_dir, transform=transforms.Compose(steps))
    training = Subset(images, range(len(images) - recipe.validation_images))
    loader = DataLoader(training, recipe.batch_size, shuffle=True, num_workers=WORKERS)
    model = models.build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))
    if recipe.optimizer == "adagrad":
        return loader, model, torch.optim.Adagrad(model.parameters(), recipe.learning_rate)
    settings = {"weight_decay": recipe.weight_decay, "nesterov": recipe.nesterov}
    return loader, model, torch.optim.SGD(model.parameters(), recipe.learning_rate, recipe.momentum, **settings)


def examples_model() -> nn.Module:
    """The network of pytorch/examples' mnist, 1,199,882 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )


def build_examples(data_dir: str) -> tuple[DataLoader, nn.Module, torch.optim.Optimizer]:
    """The same of pytorch/examples' mnist, with its own settings for a CPU, where it does not shuffle."""
    loader, model = DataLoader(datasets.MNIST(data_dir, transform=transforms.Compose(TO_TENSOR)), 64), examples_model()
    return loader, model, torch.optim.Adadelta(model.parameters(), 1.0)


def train_as_published(builder: Callable[[str], tuple], look_every: int, data_dir: str, take: Take) -> None:
    """Train what a builder makes, looking at the loss of every so many steps."""
    loader, model, optimizer = builder(data_dir)
    for step, (images, labels) in enumerate(take(itertools.repeat(loader))):
        optimizer.zero_grad()
        loss = functional.nll_loss(torch.log_softmax(model(images), 1), labels)
        loss.backward()
        optimizer.step()
        if step % look_every == 0:
            loss.item()


def train_with_lightning(data_dir: str, take: Take) -> None:
    """Train a recipe with Lightning's Trainer."""
    import lightning.pytorch as lightning  # seconds that a mistyped flag need not wait for

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            images, labels = batch
            return functional.cross_entropy(self.model(images), labels, label_smoothing=recipe.label_smoothing)

        def configure_optimizers(self) -> dict:
            scheduler = build_scheduler(recipe, optimizer, len(loader.dataset))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    recipe = recipes.RECIPES[LIGHTNING_RECIPE]
    scale = 1 - recipe.scale, 1 + recipe.scale
    augmentation = [transforms.RandomAffine(recipe.degrees, (recipe.translate,) * 2, scale, recipe.shear)]
    loader, model, optimizer = build(recipe.name, augmentation, data_dir)
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what devices there are, and tips
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advises more workers
        trainer = lightning.Trainer(accelerator="cpu", max_epochs=1, **off)
        trainer.fit(Module(), take(itertools.repeat(loader)))


BUILDERS = {name: functools.partial(build, name, augmentation) for name, augmentation in TRANSFORMS.items()}
SYSTEMS = {name: functools.partial(train_as_published, builder, 1) for name, builder in BUILDERS.items()}
SYSTEMS |= {EXAMPLES: functools.partial(train_as_published, build_examples, 10), LIGHTNING: train_with_lightning}


class Slice:
    """A slice of a training, of so many seconds after the warm-up: its images, and the seconds they took."""

    def __init__(self, limit: float):
        self.limit, self.images, self.seconds = limit, 0, 0.0

    def take(self, epochs: Iterable[Iterable[tuple]]) -> Iterator[tuple]:
        """The batches (images, labels, …) of a training, epoch after epoch, until the slice is over."""
        for count, batch in enumerate(itertools.chain.from_iterable(epochs), 1):
            yield batch  # and go on once it has been trained on
            if count <= WARM_UP_BATCHES:
                start = time.perf_counter()
                continue
            self.images, self.seconds = self.images + len(batch[1]), time.perf_counter() - start
            if self.seconds > self.limit:
                return


def train_here(trainer: Trainer, take: Take) -> None:
    """Train this project's way, in the loop of train.py."""
    batches = take(map(trainer.batches, itertools.count(1)))
    trainer.batches = lambda epoch: batches
    train.train(trainer, None, on_epoch_end=lambda evaluation: None, max_steps=sys.maxsize)


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[list[subprocess.Popen]]:
    """So many processes that each keep a core busy, ended at the end of the context."""
    with contextlib.ExitStack() as stack:
        loops = []
        for _ in range(count):
            loops.append(stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY_LOOP, str(os.getpid())])))
            stack.callback(loops[-1].kill)
        yield loops


class Bench:
    """The benchmark under way: the images, how often each thing is timed, and the seconds of a slice."""

    def __init__(self, data_dir: str, quick: bool):
        self.data_dir, self.quick = data_dir, quick
        self.images = data.load(recipes.Recipe().dataset, data_dir, "train")
        self.count = len(self.images) - recipes.Recipe().validation_images
        self.rounds, self.limit = (1, 0.5) if quick else (3, 2.5)

    def turns(self, things: Iterable) -> Iterable:
        """Each of some things to be timed, round after round."""
        return tqdm(list(things) * self.rounds, unit="turn", disable=None)

    def trainer(self, name: str) -> Trainer:
        """A recipe about to be trained on the CPU, on the images that all have here."""
        recipe = recipes.get_recipe(name, epochs=ENDLESS, dataset=recipes.Recipe().dataset)
        return Trainer(recipe, 0, torch.device("cpu"), self.images)

    def speeds(self) -> dict[str, dict[str, list[float]]]:
        """{system: {"elsewhere": [seconds per epoch, a round each], "here": […]}}, the two in turns."""
        speeds = {name: {} for name in (*SYSTEMS, *OWN)}
        for name in self.turns(speeds):
            trainings = {"elsewhere": functools.partial(SYSTEMS[name], self.data_dir)} if name in SYSTEMS else {}
            if name in HERE:
                trainings["here"] = functools.partial(train_here, self.trainer(HERE[name]))
            for way, training in trainings.items():
                timed = Slice(self.limit)
                training(timed.take)
                speeds[name].setdefault(way, []).append(timed.seconds / timed.images * self.count)
        return speeds

    def train_fast(
        self, *flags: str, processes: int = 1, threads: int = 0, spin_count: int = 0, loops: int = 0
    ) -> dict[str, float]:
        """{"training_time": …, "accuracy": …, "command": seconds of all of it} of a training of `fast` from start to
        end, in so many processes of so many threads, which wait for each other for so many turns, beside busy loops."""
        variables = {"GOMP_SPINCOUNT": str(spin_count)} if spin_count else {}
        with tempfile.TemporaryDirectory(dir=results.RUNS, prefix=".bench-") as folder, busy_loops(loops):
            flags = ["--recipe", "fast", "--data", str(self.data_dir), "--out", folder, "--device", "cpu", *flags]
            start = time.perf_counter()
            with records.Training("fast", flags, threads or devices.threads(), processes, **variables) as training:
                training.wait()
                seconds = time.perf_counter() - start
                training.warnings()
            run = results.load(folder)
        return {"training_time": run["training_time"], "accuracy": run["final_test_accuracy"], "command": seconds}

    def busy(self) -> list[dict[str, Any]]:
        """[{"processes": …, "threads": of each, "spin_count": …, "alone": [images/s, a round each], "beside": […]}] of
        an epoch of `fast` on one core and on all, alone and beside as many busy loops as there are cores."""
        cores = devices.cores()
        places = [{"processes": 1, "threads": 1}]
        if cores > 1:
            places += [{"processes": 1, "threads": cores, "spin_count": count} for count in SPIN_COUNTS]
            places += [{"processes": cores, "threads": 1}]
        rows = [place | {"alone": [], "beside": []} for place in places]
        for loops, (place, row) in self.turns(itertools.product((0, cores), zip(places, rows, strict=True))):
            epoch = self.train_fast("--epochs=1", **place, loops=loops)
            row["beside" if loops else "alone"].append(self.count / epoch["training_time"])
        return rows

    def measure(self) -> dict[str, Any]:
        """The record. A quick one has no whole trainings."""
        return {
            "speeds": self.speeds(),
            "whole": [] if self.quick else [self.train_fast(f"--seed={seed}") for seed in range(self.rounds)],
            "busy": [] if self.quick else self.busy(),
            "images": self.count,
            "parameters": {name: self.trainer(recipe).total_parameters for name, recipe in HERE.items()}
            | {EXAMPLES: models.count_parameters(examples_model())},
            "epochs": EPOCHS,  # of what has no record
            "environment": environment.describe(torch.device("cpu"), recipes.Recipe().precision),
        }


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description="Measure this project beside the published systems.")
    parser.add_data()
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute; writes no record")
    parser.add_argument("--dirty", action="store_true", help="even of code that has changed since its commit")
    arguments = parser.parse_args(argv)
    if not arguments.quick and not arguments.dirty:
        records.refuse_uncommitted(environment.commit())
    devices.prepare()
    bench = Bench(arguments.data, arguments.quick).measure()
    print(tables.render("speed", {"bench": bench}))
    if not arguments.quick:
        path = cli.project_path(str(results.RECORDS / "bench.json"))
        files.write_json(path, bench)
        print(f"\n{path}\nnext: make readme")


if __name__ == "__main__":
    cli.run(main)
