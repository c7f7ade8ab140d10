"""The benchmark: this project beside the published systems, in one run, on the same machine and images.

    python benchmark.py [--quick] [--data data]     a table, results/records/bench.json and bench.png

Of every recipe the way it was published (published.py) and this project's way take turns, for seconds at a time and in
several rounds, so that a machine whose speed drifts drifts for all. Seconds an epoch are those of 59,950 images at the
speed of such a slice; the first batches, which wait for loaders and caches, are left out.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

import augmentation
import checkpoint
import cli
import data
import environment
import model as networks
import pictures
import recipes
import records
import results
import run as runs
from layers import parameter_count

RECORD = records.RECORDS / "bench.json"
PICTURE = records.RECORDS / "bench.png"
ENDLESS = 1000  # epochs, of which a slice is looked at
OUTSIDE = ("evaluation", "checkpoint")  # of an epoch's seconds
WARM_UP_BATCHES = 3
PUBLISHED_EPOCHS = 15  # of erav3, as its report says
PEAK_SIZES = {"float32": 1024, "bfloat16": 256}  # of the matrices; small where the processor has to emulate


def seconds_an_epoch(counts, images, limit):
    """Seconds for so many images at the speed of a training, given as an iterator over the images of its batches, over
    at least one batch and `limit` seconds."""
    for _ in range(WARM_UP_BATCHES):
        next(counts)
    seen, start = 0, time.perf_counter()
    while time.perf_counter() - start < limit or not seen:
        seen += next(counts)
    return (time.perf_counter() - start) / seen * images


class Bench:
    """The benchmark under way: MNIST, and how long to look."""

    def __init__(self, folder, quick):
        self.folder, self.images, self.test = folder, *data.load(folder)
        self.count = len(self.images) - data.VALIDATION_IMAGES
        self.quick = quick
        self.rounds, self.limit, self.batches = (1, 0.5, 20) if quick else (3, 2.5, 60)

    def run(self, name):
        """A run of the recipe on the CPU, and what it trains, batch by batch without end."""
        run = runs.Run(recipes.recipe(name, epochs=ENDLESS), 0, torch.device("cpu"), self.images, self.test)

        def counts():
            for epoch in range(1, run.recipe.epochs + 1):
                yield from run.train_batches(epoch)

        return run, counts()

    def speeds(self):
        """{recipe: {"published": [seconds an epoch, a round], "here": […]}}, the two in turn."""
        import published  # with torchvision and PIL, seconds that making a README need not wait for

        found = {name: {"published": [], "here": []} for name in published.TRANSFORMS}
        found |= {name: {"here": []} for name in recipes.OWN}
        for turn in range(self.rounds):
            for name, ways in found.items():
                say(f"round {turn + 1} of {self.rounds}: {name}")
                if "published" in ways:
                    batches = published.train(name, self.folder)
                    ways["published"].append(seconds_an_epoch(batches, self.count, self.limit))
                    batches.close()  # its loader's processes end here
                ways["here"].append(seconds_an_epoch(self.run(name)[1], self.count, self.limit))
        return found

    def parts(self, name):
        """Where the time goes: {part: seconds an epoch} of training, all of it as "total"; and the seconds of one
        evaluation on the test images and of one checkpoint."""
        run, counts = self.run(name)
        spent = dict.fromkeys(("augmentation", "forward", "backward", "optimizer", "average"), 0.0)

        def timed(owner, method, part):
            original = getattr(owner, method)

            def call(*arguments, **options):
                start = time.perf_counter()
                try:
                    return original(*arguments, **options)
                finally:
                    spent[part] += time.perf_counter() - start

            return mock.patch.object(owner, method, call)

        for _ in range(WARM_UP_BATCHES):
            next(counts)
        with (
            timed(augmentation, "augment", "augmentation"),
            timed(run.model, "forward", "forward"),
            timed(torch.Tensor, "backward", "backward"),
            timed(run.optimizer, "step", "optimizer"),
            timed(runs.Average, "update", "average"),
        ):
            start = time.perf_counter()
            seen = sum(next(counts) for _ in range(self.batches))
            spent["total"] = time.perf_counter() - start
        found = {part: seconds / seen * self.count for part, seconds in spent.items()}
        found["evaluation"] = clock(lambda: run.evaluate(self.test))
        with tempfile.TemporaryDirectory(dir=records.RECORDS) as folder:
            found["checkpoint"] = clock(lambda: checkpoint.save(folder, run.state() | {"epoch": 1}, best=True))
        return found

    def operations(self, name):
        """Floating-point operations of a training step for each image, as torch counts them: two a multiply-add."""
        run = self.run(name)[0]
        images, labels, _ = next(run.batches(1))
        with FlopCounterMode(display=False) as counter:
            run.step(images, labels, len(labels))
        return counter.get_total_flops() / len(labels)

    def train(self, name, processes=1, threads=None, **fields):
        """(results, seconds of the whole command) of a training from start to end, as processes of their own."""
        flags = [f"--{field}={value}" for field, value in fields.items()]
        place = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        launcher = ["parallel.py", str(processes)] if processes > 1 else []
        with tempfile.TemporaryDirectory(dir=results.RUNS, prefix=".bench-") as folder:
            command = [sys.executable, *launcher, "train.py", "--recipe", name, "--data", self.folder, "--out", folder]
            start = time.perf_counter()
            done = subprocess.run([*command, "--device=cpu", *flags], env=place, capture_output=True, text=True)
            if done.returncode:
                raise OSError(f"the training of {name} failed: {done.stderr.strip()}")
            return results.read(folder), time.perf_counter() - start

    def scaling(self, name):
        """[processes, threads of each, seconds an epoch] of a training on one core, and on all cores both ways."""
        cores, found = min(os.cpu_count() or 1, 32), []
        cores = 2 ** int(math.log2(cores))  # so that the processes can share every batch
        for processes, threads in dict.fromkeys(((1, 1), (1, cores), (cores, 1))):
            say(f"{name} in {processes} processes of {threads} threads")
            run, _ = self.train(name, processes, threads, epochs=1)
            found.append([processes, threads, run["training_time"]])
        return found

    def measure(self):
        """The record."""
        found = {"speeds": self.speeds(), "whole": [], "scaling": []}
        for turn in range(0 if self.quick else self.rounds):
            say(f"whole training of fast, {turn + 1} of {self.rounds}")
            run, wall = self.train("fast", seed=turn)
            found["whole"].append(
                {"training_time": run["training_time"], "command": wall, "accuracy": run["final_test_accuracy"]}
            )
        for name in recipes.OWN:
            say(f"where the time of {name} goes")
            found.setdefault("parts", {})[name] = self.parts(name)
            found.setdefault("operations", {})[name] = self.operations(name)
        found["peaks"] = {name: peak(getattr(torch, name), size) for name, size in PEAK_SIZES.items()}
        if not self.quick:
            found["scaling"] = self.scaling("fast")
        say("")
        return found | {
            "images": self.count,
            "parameters": {
                name: parameter_count(networks.build(recipes.recipe(name).architecture)) for name in found["speeds"]
            },
            "environment": environment.describe(torch.device("cpu"), self.run("default")[0].precision),
        }


def clock(call):
    """Seconds of a call: the median of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak(kind, size):
    """FLOP/s of a square matrix product, the fastest form of arithmetic that a processor has."""
    one, other = torch.rand(2, size, size).to(kind)
    return 2 * size**3 / min(clock(lambda: one @ other) for _ in range(3))


def spread(values, form):
    """The median of some values, with the smallest and the largest where there are several."""
    middle = form.format(statistics.median(values))
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})" if len(values) > 1 else middle


def headline(found):
    """{name: number} of what the benchmark is about: the whole training of `fast` beside the 15 epochs of erav3."""
    published_seconds = PUBLISHED_EPOCHS * statistics.median(found["speeds"]["erav3"]["published"])
    fast = statistics.median(run["training_time"] for run in found["whole"])
    return {"published": published_seconds, "fast": fast, "ratio": published_seconds / fast}


def speed_table(found):
    """A row for each recipe: seconds an epoch as published and here, how many times faster, and images a second."""
    rows = []
    for name, ways in found["speeds"].items():
        here, there = ways["here"], ways.get("published")
        rows.append(
            [
                f"`{name}`",
                f"{found['parameters'][name]:,}",
                spread(there, "{:.1f}") if there else "",
                spread(here, "{:.1f}"),
                f"{statistics.median(there) / statistics.median(here):.1f}" if there else "",
                f"{found['images'] / statistics.median(here):,.0f}",
            ]
        )
    head = ["recipe", "parameters", "seconds an epoch, as published", "here", "times faster", "images/s here"]
    return results.table(head, rows)


def part_table(found):
    """A row for each part of the work: its seconds in an epoch of this project's recipes."""

    def column(spent):
        inside = {part: seconds for part, seconds in spent.items() if part not in ("total", *OUTSIDE)}
        rest = {"all else": spent["total"] - sum(inside.values()), "an epoch": spent["total"]}
        return inside | rest | {f"{part}, once": spent[part] for part in OUTSIDE}

    columns = {name: column(spent) for name, spent in found["parts"].items()}
    parts = next(iter(columns.values()))
    rows = [[part, *(f"{spent[part]:.2f}" for spent in columns.values())] for part in parts]
    return results.table(["seconds of", *(f"`{name}`" for name in columns)], rows)


def notes(found):
    """What is not in the tables, a paragraph each; less of it from a quick benchmark."""
    place, peaks = found["environment"], found["peaks"]
    achieved = {
        name: operations * found["images"] / statistics.median(found["speeds"][name]["here"])
        for name, operations in found["operations"].items()
    }
    lines = [
        "GFLOP/s: "
        + ", ".join(f"`{name}` {value / 1e9:.0f}" for name, value in achieved.items())
        + "; a matrix product reaches "
        + " and ".join(f"{value / 1e9:.3g} in {name}" for name, value in peaks.items())
        + ".",
        f"{place['cpu']}, {place['cores']} cores, torch {place['torch']}, {place['precision']}.",
    ]
    if found["scaling"]:
        scaling = [
            f"{processes} process{'es' * (processes > 1)} of {threads} thread{'s' * (threads > 1)} {seconds:.1f} s"
            for processes, threads, seconds in found["scaling"]
        ]
        lines.insert(0, f"An epoch of `fast` in {', in '.join(scaling)}.")
    if found["whole"]:
        head, (time, command, accuracy) = (
            headline(found),
            (
                spread([run[figure] for run in found["whole"]], form)
                for figure, form in (("training_time", "{:.1f}"), ("command", "{:.1f}"), ("accuracy", "{:.2f}"))
            ),
        )
        lines.insert(
            0,
            f"`fast` trains in {time} s, to {accuracy} % of the test images; with the start of Python, loading, "
            f"evaluation and checkpoints it takes {command} s. {PUBLISHED_EPOCHS} epochs of `erav3` as published take "
            f"{head['published']:,.0f} s: **{head['ratio']:.0f} times as long**.",
        )
    return lines


def report(found):
    """The record as text, for the terminal and the README."""
    return "\n\n".join([speed_table(found), part_table(found), *notes(found)])


def say(text):
    """Tell what is being measured, where a person is watching."""
    if sys.stderr.isatty():
        print(f"\r{text:60}", end="" if text else "\r", file=sys.stderr, flush=True)


def main(argv=None):
    parser = cli.Parser(description="Measure this project beside the published systems.")
    parser.add_data()
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute; writes no record")
    arguments = parser.parse_args(argv)
    torch.set_flush_denormal(True)  # as train.py does
    found = Bench(arguments.data, arguments.quick).measure()
    print(report(found))
    if not arguments.quick:
        results.write(RECORD, found)
        pictures.save(PICTURE, pictures.speeds, found)
        print(f"\n{RECORD}, {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
