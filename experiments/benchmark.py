"""The benchmark: this project beside the published systems, in one run, on the same machine and images.

    python -m experiments.benchmark [--quick] [--data data]     tables, results/records/bench.json and bench.png

The way each recipe was published (published.py) and this project's way take turns, for seconds at a time and in several
rounds, so that a machine whose speed drifts drifts for all. Seconds per epoch are those of all training images at the
speed of such a slice; the first batches, which wait for loaders and caches, are left out.
"""

import contextlib
import itertools
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from support import cli, devices, files, processor

import torch

import augmentation
import checkpoint
import data
import environment
import model as models
import recipes
import results
import train
from evaluate import evaluate
from experiments import records, tables
from reporting import plots
from trainer import Trainer

RECORD = results.RECORDS / "bench.json"
PLOT = results.RECORDS / "bench.png"
ENDLESS = 1000  # epochs, of which a slice is looked at
WARM_UP_BATCHES = 3


class SliceTrainer(Trainer):
    """A trainer that stops after a slice: `seconds` and `seen` (images) are those behind its warm-up."""

    class Done(Exception):
        """The slice is over."""

    on_warm: Callable[[], None] = staticmethod(lambda: None)  # called when the warm-up is over

    def batches(self, epoch: int) -> Iterator[tuple]:
        endless = itertools.chain.from_iterable(super(SliceTrainer, self).batches(n) for n in itertools.count(epoch))
        yield from itertools.islice(endless, WARM_UP_BATCHES)
        self.on_warm()
        start, self.seen = time.perf_counter(), 0
        for index, batch in enumerate(endless, 1):
            yield batch
            self.seen, self.seconds = self.seen + batch[-1], time.perf_counter() - start  # it has been trained on
            if self.seconds > self.limit or index == self.max_batches:
                raise self.Done

    def run(self, limit: float, max_batches: float = math.inf) -> float:
        """Train a slice; returns the seconds per epoch at its speed."""
        self.limit, self.max_batches = limit, max_batches
        with contextlib.suppress(self.Done):
            train.train(self, None, Path(), lambda: None)
        return self.seconds / self.seen * len(self.train_images)


def time_slice(counts: Iterator[int], images: int, limit: float) -> float:
    """Seconds for so many images at the speed of a training, given as an iterator over the sizes of its batches."""
    for _ in range(WARM_UP_BATCHES):
        next(counts)
    seen, start = 0, time.perf_counter()
    while time.perf_counter() - start < limit or not seen:
        seen += next(counts)
    return (time.perf_counter() - start) / seen * images


class Bench:
    """The benchmark under way: the images, and how long to look."""

    def __init__(self, data_dir: str, quick: bool):
        self.data_dir, self.quick = data_dir, quick
        dataset = recipes.Recipe().dataset
        self.images, self.test = (data.load(dataset, data_dir, part) for part in ("train", "test"))
        self.count = len(self.images) - recipes.Recipe().validation_images
        self.rounds, self.limit, self.batches = (1, 0.5, 20) if quick else (3, 2.5, 60)

    def trainer(self, name: str) -> SliceTrainer:
        """A recipe about to be trained on the CPU."""
        return SliceTrainer(recipes.get_recipe(name, epochs=ENDLESS), 0, torch.device("cpu"), self.images)

    def speeds(self) -> dict[str, dict[str, list[float]]]:
        """{recipe: {"published": [seconds per epoch, a round each], "here": […]}}, the two in turns."""
        from experiments import published  # with torchvision and PIL, seconds that making a README need not wait for

        speeds = {name: {"published": [], "here": []} for name in published.TRANSFORMS}
        speeds |= {name: {"here": []} for name in recipes.OWN}
        for turn in range(self.rounds):
            for name, ways in speeds.items():
                say(f"round {turn + 1} of {self.rounds}: {name}")
                if "published" in ways:
                    batches = published.train(name, self.data_dir)
                    ways["published"].append(time_slice(batches, self.count, self.limit))
                    batches.close()  # its loader's processes end here
                ways["here"].append(self.trainer(name).run(self.limit))
        return speeds

    def parts(self, name: str) -> dict[str, float]:
        """{part: seconds per epoch} of training, with all of it as "total", of one evaluation and of one checkpoint."""
        trainer = self.trainer(name)
        spent = dict.fromkeys(("augmentation", "forward", "backward", "optimizer", "EMA"), 0.0)

        def timed(owner: Any, method: str, part: str) -> Any:
            original = getattr(owner, method)

            def call(*arguments, **options):
                start = time.perf_counter()
                try:
                    return original(*arguments, **options)
                finally:
                    spent[part] += time.perf_counter() - start

            return mock.patch.object(owner, method, call)

        def clock_optimizer(sign: int) -> Callable:
            return lambda *_: spent.update(optimizer=spent["optimizer"] + sign * time.perf_counter())

        trainer.optimizer.register_step_pre_hook(clock_optimizer(-1))
        trainer.optimizer.register_step_post_hook(clock_optimizer(1))
        trainer.on_warm = lambda: spent.update(dict.fromkeys(spent, 0.0))
        with (
            timed(augmentation, "augment", "augmentation"),
            timed(trainer.model, "forward", "forward"),
            timed(torch.Tensor, "backward", "backward"),
            timed(models.EMA, "update", "EMA"),
        ):
            total = trainer.run(math.inf, self.batches)
        parts = {part: seconds / trainer.seen * self.count for part, seconds in spent.items()} | {"total": total}
        parts["evaluation"] = clock(lambda: evaluate(trainer.eval_model, self.test, trainer.classes))
        with tempfile.TemporaryDirectory(dir=results.RECORDS) as folder:
            state = trainer.state_dict() | {"epoch": 1}
            parts["checkpoint"] = clock(lambda: checkpoint.save(folder, state, best=True))
        return parts

    def train(self, name: str, processes: int = 1, threads: int | None = None, **fields: Any) -> tuple[dict, float]:
        """(results, seconds of the whole command) of a training from start to end, as processes of their own."""
        with tempfile.TemporaryDirectory(dir=results.RUNS, prefix=".bench-") as folder:
            flags = ["--recipe", name, "--data", self.data_dir, "--out", folder, "--device", "cpu"]
            flags += [f"--{field}={value}" for field, value in fields.items()]
            start = time.perf_counter()
            with records.start_training(flags, threads or processor.threads(), processes) as process:
                records.finish_training(process, name)
            return results.read(folder), time.perf_counter() - start

    def scaling(self, name: str) -> list[tuple[int, int, float]]:
        """(processes, threads of each, seconds per epoch) of a training on one core, and on all cores both ways."""
        cores, scaling = 2 ** int(math.log2(min(processor.cores(), 32))), []  # so that processes can share a batch
        for processes, threads in dict.fromkeys(((1, 1), (1, cores), (cores, 1))):
            say(f"{name} in {processes} processes of {threads} threads")
            scaling.append((processes, threads, self.train(name, processes, threads, epochs=1)[0]["training_time"]))
        return scaling

    def measure(self) -> dict[str, Any]:
        """The record."""
        bench = {"speeds": self.speeds(), "whole": [], "parts": {}, "scaling": []}
        for turn in range(0 if self.quick else self.rounds):
            say(f"whole training of fast, {turn + 1} of {self.rounds}")
            run, wall = self.train("fast", seed=turn)
            figures = {"training_time": run["training_time"], "accuracy": run["final_test_accuracy"]}
            bench["whole"].append(figures | {"command": wall})
        for name in recipes.OWN:
            say(f"where the time of {name} goes")
            bench["parts"][name] = self.parts(name)
        if not self.quick:
            bench["scaling"] = self.scaling("fast")
        say("")
        return bench | {
            "images": self.count,
            "parameters": {name: self.trainer(name).total_parameters for name in bench["speeds"]},
            "environment": environment.describe(torch.device("cpu"), self.trainer("default").precision),
        }


def clock(call: Callable[[], Any]) -> float:
    """Seconds of a call: the median of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def say(text: str) -> None:
    """Tell what is being measured, where a person is watching."""
    if sys.stderr.isatty():
        print(f"\r{text:60}", end="" if text else "\r", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="Measure this project beside the published systems.")
    parser.add_data()
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute; writes no record")
    arguments = parser.parse_args(argv)
    devices.prepare()
    bench = Bench(arguments.data, arguments.quick).measure()
    print(tables.render("speed", bench))
    if not arguments.quick:
        files.write_json(RECORD, bench)
        plots.save(PLOT, plots.speeds, bench)
        print(f"\n{RECORD}, {PLOT}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
