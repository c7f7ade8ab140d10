"""The benchmark: this project beside the published systems, in one run, on the same machine and images.

    python -m experiments.benchmark [--quick] [--data data]     tables, results/records/bench.json and bench.png

The way each system is trained elsewhere (published.py, lightning_loop.py) and this project's way take turns, for
seconds at a time and in several rounds, so that a machine whose speed drifts drifts for all. Seconds per epoch are
those of all training images at the speed of such a slice.
"""

import contextlib
import functools
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
from experiments import published, records, tables
from experiments.busy_loops import busy_loops
from experiments.stopwatch import Stopwatch
from trainer import Trainer

ENDLESS = 1000  # epochs, of which a slice is looked at
LIGHTNING = "lightning"
OWN = ("default", "fast")  # the others are for size, not for speed
HERE = {**{name: name for name in (*recipes.PUBLISHED, *OWN)}, LIGHTNING: "default"}  # {system: its recipe}


class SliceTrainer(Trainer):
    """A trainer that stops where a stopwatch says so."""

    class Done(Exception):
        """The slice is over."""

    def batches(self, epoch: int) -> Iterator[tuple]:
        for batch in itertools.chain.from_iterable(
            super(SliceTrainer, self).batches(n) for n in itertools.count(epoch)
        ):
            yield batch
            if self.stopwatch.add(batch[-1]):
                raise self.Done

    def run(self, stopwatch: Stopwatch) -> None:
        """Train until the slice is over."""
        self.stopwatch = stopwatch
        with contextlib.suppress(self.Done):
            train.train(self, None, Path(), lambda: None)


class Bench:
    """The benchmark under way: the images, and how long to look."""

    def __init__(self, data_dir: str, quick: bool):
        self.data_dir, self.quick = data_dir, quick
        dataset = recipes.Recipe().dataset
        self.images, self.test = (data.load(dataset, data_dir, part) for part in ("train", "test"))
        self.count = len(self.images) - recipes.Recipe().validation_images
        self.rounds, self.limit, self.batches = (1, 0.5, 20) if quick else (3, 2.5, 60)

    def trainer(self, name: str) -> SliceTrainer:
        """A recipe about to be trained on the CPU, on the images that all have here."""
        recipe = recipes.get_recipe(name, epochs=ENDLESS, dataset=recipes.Recipe().dataset)
        return SliceTrainer(recipe, 0, torch.device("cpu"), self.images)

    def seconds_per_epoch(self, training: Callable[[Stopwatch], None]) -> float:
        """Those of a training, at the speed of a slice."""
        stopwatch = Stopwatch(self.limit)
        training(stopwatch)
        return stopwatch.seconds_for(self.count)

    def speeds(self) -> dict[str, dict[str, list[float]]]:
        """{system: {"elsewhere": [seconds per epoch, a round each], "here": […]}}, the two in turns."""
        from experiments import lightning_loop  # seconds that a mistyped flag need not wait for

        elsewhere = {name: functools.partial(published.train, name) for name in recipes.PUBLISHED} | {
            published.EXAMPLES: published.train_examples,
            LIGHTNING: functools.partial(lightning_loop.train, HERE[LIGHTNING]),
        }
        speeds = {name: {} for name in dict.fromkeys((*elsewhere, *HERE))}
        for turn in range(self.rounds):
            for name, ways in speeds.items():
                say(f"round {turn + 1} of {self.rounds}: {name}")
                if name in elsewhere:
                    training = functools.partial(elsewhere[name], self.data_dir)
                    ways.setdefault("elsewhere", []).append(self.seconds_per_epoch(training))
                if name in HERE:
                    training = self.trainer(HERE[name]).run
                    ways.setdefault("here", []).append(self.seconds_per_epoch(training))
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
        stopwatch = Stopwatch(math.inf, self.batches, lambda: spent.update(dict.fromkeys(spent, 0.0)))
        with (
            timed(augmentation, "augment", "augmentation"),
            timed(trainer.model, "forward", "forward"),
            timed(torch.Tensor, "backward", "backward"),
            timed(models.EMA, "update", "EMA"),
        ):
            trainer.run(stopwatch)
        parts = {part: seconds / stopwatch.images * self.count for part, seconds in spent.items()}
        parts["total"] = stopwatch.seconds_for(self.count)
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

    def scaling(self, name: str) -> list[tuple[int, int, list[float]]]:
        """(processes, threads of each, [seconds of an epoch, a round each]) of a training on one core, two and so on,
        by threads and by processes."""
        counts = [2**power for power in range(min(processor.cores(), 32).bit_length())]  # processes share a batch
        places = dict.fromkeys(place for count in counts for place in ((1, count), (count, 1)))
        scaling = [(*place, []) for place in places]
        for turn in range(self.rounds):
            for processes, threads, seconds in scaling:
                say(f"round {turn + 1} of {self.rounds}: {name} in {processes} processes of {threads} threads")
                seconds.append(self.train(name, processes, threads, epochs=1)[0]["training_time"])
        return scaling

    def busy(self, name: str) -> list[dict[str, Any]]:
        """[{"threads": …, "alone": [images/s, a round each], "beside": […]}] of a training with one thread and with
        all, alone and beside as many busy loops as there are cores."""
        rows = [{"threads": count, "alone": [], "beside": []} for count in sorted({1, processor.cores()})]
        for turn in range(self.rounds):
            for way, loops in (("alone", 0), ("beside", processor.cores())):
                with busy_loops(loops):
                    for row in rows:
                        say(f"round {turn + 1} of {self.rounds}: {name} with {row['threads']} threads, {way}")
                        torch.set_num_threads(row["threads"])
                        row[way].append(self.count / self.seconds_per_epoch(self.trainer(name).run))
        devices.prepare()
        return rows

    def measure(self) -> dict[str, Any]:
        """The record."""
        bench = {"speeds": self.speeds(), "whole": [], "parts": {}, "scaling": [], "busy": []}
        for turn in range(0 if self.quick else self.rounds):
            say(f"whole training of fast, {turn + 1} of {self.rounds}")
            run, wall = self.train("fast", seed=turn)
            figures = {"training_time": run["training_time"], "accuracy": run["final_test_accuracy"]}
            bench["whole"].append(figures | {"command": wall})
        for name in OWN:
            say(f"where the time of {name} goes")
            bench["parts"][name] = self.parts(name)
        if not self.quick:
            bench |= {"scaling": self.scaling("fast"), "busy": self.busy("fast")}
        say("")
        return bench | {
            "images": self.count,
            "parameters": {name: self.trainer(recipe).total_parameters for name, recipe in HERE.items()}
            | {published.EXAMPLES: models.count_parameters(published.examples_model())},
            "epochs": {  # of what has no record
                published.EXAMPLES: published.EXAMPLES_EPOCHS,
                LIGHTNING: recipes.RECIPES[HERE[LIGHTNING]].epochs,
            },
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
        path = cli.project_path(str(results.RECORDS / "bench.json"))
        files.write_json(path, bench)
        print(f"\n{path}, {tables.draw('bench.png', path.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
