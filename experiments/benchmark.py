"""The benchmark: this project beside the published systems, in one run, on the same machine and images.

    python -m experiments.benchmark [--quick] [--data data]     tables, and results/records/bench.json

The way each system is trained elsewhere and this project's way take turns, for seconds at a time and in several rounds;
docs/speed.md says what is timed. Seconds per epoch are those of all training images at the speed of such a slice. A
training passes its epochs, iterables of batches (images, labels), through `take`, which ends with the slice. Elsewhere
the published schedules are left out: the speed does not depend on them.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import logging
import multiprocessing
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
from torch.utils.flop_counter import FlopCounterMode
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
EXAMPLES, LIGHTNING, LIGHTNING_RECIPE = "pytorch/examples", "lightning", "default"
TO_TENSOR = transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))
WARM_UP_BATCHES = 3  # wait for loaders and caches: not timed
# {system: its recipe}; the other recipes are for size, not for speed
HERE = {name: name for name in (*recipes.PUBLISHED, "default", "fast")} | {LIGHTNING: LIGHTNING_RECIPE}
PRODUCT = 2048  # rows and columns of the matrices whose product stands for what the processor can do
SPIN_COUNTS = 1000, 10_000, 100_000
BUSY_LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))"  # ends with its parent, too


def build(name: str, augmentation: str, data_dir: str) -> tuple[DataLoader, nn.Module, torch.optim.Optimizer]:
    """A recipe's DataLoader, of images augmented in torchvision.transforms' words, its model and its optimizer."""
    recipe, steps = recipes.get_recipe(name), [*models.read_calls(augmentation, transforms), *TO_TENSOR]
    if recipe.random_erasing:
        steps.append(transforms.RandomErasing(recipe.random_erasing))
    images = datasets.MNIST(data_dir, transform=transforms.Compose(steps))
    training = Subset(images, range(len(images) - recipe.validation_images))
    loader = DataLoader(training, recipe.batch_size, shuffle=True, num_workers=2)
    model = models.build(recipe.architecture, len(images.classes))
    sgd = functools.partial(torch.optim.SGD, momentum=recipe.momentum, nesterov=recipe.nesterov)
    optimizer = {"sgd": sgd, "adagrad": torch.optim.Adagrad}[recipe.optimizer]
    return loader, model, optimizer(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)


def build_examples(data_dir: str) -> tuple[DataLoader, nn.Module, torch.optim.Optimizer]:
    """The same of pytorch/examples' mnist, with its own settings for a CPU, where it does not shuffle."""
    images, model = datasets.MNIST(data_dir, transform=transforms.Compose(TO_TENSOR)), models.build(EXAMPLES, 10)
    return DataLoader(images, 64), model, torch.optim.Adadelta(model.parameters(), 1.0)


def train_as_published(builder: Callable[[str], tuple], look_every: int, data_dir: str, take: Take) -> None:
    """Train what a builder makes, looking at the loss every so many steps: 1 for a progress bar, 10 where it prints."""
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
        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=recipe.label_smoothing)

        def configure_optimizers(self) -> tuple[list, list]:
            return [optimizer], [schedule]

    recipe = recipes.RECIPES[LIGHTNING_RECIPE]
    shift, scale = (recipe.translate, recipe.translate), (1 - recipe.scale, 1 + recipe.scale)
    augmentation = f"RandomAffine({recipe.degrees}, {shift}, {scale}, {recipe.shear})"
    loader, model, optimizer = build(recipe.name, augmentation, data_dir)
    schedule = {"scheduler": build_scheduler(recipe, optimizer, len(loader.dataset)), "interval": "step"}
    module = Module()
    module.model = model  # which Lightning then looks after
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what devices there are, and tips
    with warnings.catch_warnings(action="ignore"):  # advises more workers
        lightning.Trainer(accelerator="cpu", max_epochs=1, **off).fit(module, take(itertools.repeat(loader)))


BUILDERS = {name: functools.partial(build, name, system["transforms"]) for name, system in recipes.SYSTEMS.items()}
SYSTEMS = {name: functools.partial(train_as_published, builder, 1) for name, builder in BUILDERS.items()}
SYSTEMS |= {EXAMPLES: functools.partial(train_as_published, build_examples, 10), LIGHTNING: train_with_lightning}


def time_slice(training: Callable[[Take], None], limit: float) -> float:
    """The seconds that an image takes in a slice of a training, of so many seconds after the warm-up."""
    images, seconds = 0, 0.0

    def take(epochs: Iterable[Iterable[tuple]]) -> Iterator[tuple]:
        nonlocal images, seconds
        batches = itertools.chain.from_iterable(epochs)
        yield from itertools.islice(batches, WARM_UP_BATCHES)
        start = time.perf_counter()
        for batch in batches:
            yield batch  # and go on once it has been trained on
            images, seconds = images + len(batch[1]), time.perf_counter() - start
            if seconds > limit:
                return

    training(take)
    return seconds / images


def train_here(trainer: Trainer, take: Take) -> None:
    """Train this project's way, in the loop of train.py."""
    batches = take(map(trainer.batches, itertools.count(1)))
    trainer.batches = lambda epoch: batches
    train.train(trainer, None, on_epoch_end=lambda evaluation: None, max_steps=sys.maxsize)


def peak() -> float:
    """Floating-point operations a second in products of two float32 matrices, on all threads: the best of some."""
    matrix, seconds = torch.rand(PRODUCT, PRODUCT), []
    for _ in range(10):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return 2 * PRODUCT**3 / min(seconds)


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy, ended at the end of the context."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY_LOOP, str(os.getpid())]))
            stack.callback(loop.kill)
        yield


class Bench:
    """The benchmark under way: the images, how often each thing is timed, and the seconds of a slice."""

    def __init__(self, data_dir: str, quick: bool):
        self.data_dir = data_dir
        self.images = data.load(recipes.Recipe().dataset, data_dir, "train")
        self.count = len(self.images) - recipes.Recipe().validation_images
        self.rounds, self.limit = (1, 0.5) if quick else (3, 2.5)
        self.others = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def turns(self, things: Iterable) -> Iterable:
        """Each of some things to be timed, round after round."""
        return tqdm(list(things) * self.rounds, unit="turn", disable=None)

    def trainer(self, name: str) -> Trainer:
        """A recipe about to be trained on the CPU, on the images that all have here."""
        recipe = recipes.get_recipe(name, epochs=1000, dataset=recipes.Recipe().dataset)  # a slice is timed
        return Trainer(recipe, 0, torch.device("cpu"), self.images)

    def operations(self, name: str) -> float:
        """Floating-point operations that a recipe's whole training takes in convolutions and matrix products, forward
        and backward, without evaluation and statistics."""
        trainer = self.trainer(name)
        with FlopCounterMode(display=False) as counter:
            _, logits = trainer.step(next(trainer.batches(1)))
        return counter.get_total_flops() / len(logits) * self.count * recipes.RECIPES[name].epochs

    def time_elsewhere(self, name: str) -> float:
        """The seconds that an image takes in a slice of a published system's training: in a process of its own, which
        has torch's settings and malloc's, not those of `devices.prepare`."""
        return self.others.submit(time_slice, functools.partial(SYSTEMS[name], self.data_dir), self.limit).result()

    def speeds(self) -> dict[str, dict[str, list[float]]]:
        """{system: {"elsewhere": [seconds per epoch, a round each], "here": […]}}, the two in turns."""
        speeds = {name: {} for name in SYSTEMS | HERE}
        for name in self.turns(speeds):
            if name in SYSTEMS:
                speeds[name].setdefault("elsewhere", []).append(self.time_elsewhere(name) * self.count)
            if name in HERE:
                seconds = time_slice(functools.partial(train_here, self.trainer(HERE[name])), self.limit)
                speeds[name].setdefault("here", []).append(seconds * self.count)
        return speeds

    def train_fast(self, *flags: str, processes: int = 1, threads: int = 0, spin_count: int = 0) -> dict[str, float]:
        """{"training_time": …, "accuracy": …, "command": seconds of all of it} of a training of `fast` from start to
        end, in so many processes of so many threads, which wait for each other for so many turns."""
        variables = {"GOMP_SPINCOUNT": str(spin_count)} if spin_count else {}
        with tempfile.TemporaryDirectory(dir=results.RUNS, prefix=".bench-") as folder:
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
            with busy_loops(loops):
                epoch = self.train_fast("--epochs=1", **place)
            row["beside" if loops else "alone"].append(self.count / epoch["training_time"])
        return rows


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description="Measure this project beside the published systems.")
    parser.add_data()
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute; writes no record")
    parser.add_argument("--dirty", action="store_true", help="even of code that has changed since its commit")
    arguments = parser.parse_args(argv)
    if not arguments.quick and not arguments.dirty:
        records.refuse_uncommitted(environment.commit())
    devices.prepare()
    bench = Bench(arguments.data, arguments.quick)
    record = {
        "speeds": bench.speeds(),
        "whole": [] if arguments.quick else [bench.train_fast(f"--seed={seed}") for seed in range(bench.rounds)],
        "busy": [] if arguments.quick else bench.busy(),
        "arithmetic": {"operations": bench.operations("fast"), "peak": peak()},
        "images": bench.count,
        "parameters": {name: bench.trainer(recipe).total_parameters for name, recipe in HERE.items()}
        | {EXAMPLES: models.count_parameters(models.build(EXAMPLES, 10))},
        "epochs": {EXAMPLES: 14, LIGHTNING: recipes.RECIPES[LIGHTNING_RECIPE].epochs},  # of what has no record
        "environment": environment.describe(torch.device("cpu"), recipes.Recipe().precision),
    }
    print(tables.render("speed", {"bench": record}))
    if not arguments.quick:
        path = results.RECORDS / "bench.json"
        files.write_json(path, record)
        print(f"\n{path}\nnext: make readme")


if __name__ == "__main__":
    cli.run(main)
