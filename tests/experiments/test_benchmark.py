"""The benchmark's arithmetic and words. No test here depends on how fast anything is."""

import contextlib
import itertools
import subprocess
import sys

from support import cli, devices

import pytest
import torch

import recipes
import results
from experiments import benchmark, records, tables

BENCH = {
    "speeds": {
        "erav3": {"elsewhere": [100.0, 80.0, 90.0], "here": [45.0, 44.0, 60.0]},
        "pytorch/examples": {"elsewhere": [50.0, 45.0, 60.0]},
        "mine": {"here": [4.0, 5.0, 3.0]},
    },
    "whole": [{"training_time": seconds, "command": seconds + 5, "accuracy": 99.4} for seconds in (9.0, 10.0, 8.0)],
    "busy": [
        {"processes": 1, "threads": 1, "alone": [9000.0], "beside": [7000.0]},
        {"processes": 1, "threads": 2, "spin_count": 1000, "alone": [12_000.0, 11_000.0], "beside": [5000.0]},
        {"processes": 1, "threads": 2, "spin_count": 10_000, "alone": [10_500.0], "beside": [6500.0]},
        {"processes": 1, "threads": 2, "spin_count": 100_000, "alone": [10_000.0], "beside": [8000.0]},
    ],
    "arithmetic": {"operations": 0.27e12, "peak": 300e9},
    "images": 60_000,
    "parameters": {"erav3": 19_098, "pytorch/examples": 1_199_882, "mine": 17_874},
    "epochs": {"pytorch/examples": 14},
    "environment": {
        **{"cpu": "a processor", "capability": "AVX2", "cores": 2, "torch": "2.10", "precision": "float32"},
        "commit": "0123-dirty",
    },
}


def test_the_seconds_of_a_slice_are_those_behind_the_first_batches(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))  # a second a batch
    first, taken = [1000] * benchmark.WARM_UP_BATCHES, []
    epochs = [[(None, [0] * images) for images in epoch] for epoch in (first, [10, 20], [30, 40])]
    assert benchmark.time_slice(lambda take: taken.extend(take(epochs)), 2.5) == 3 / 60
    assert [len(labels) for _, labels in taken] == [*first, 10, 20, 30]


def test_the_report_names_every_system_and_figure():
    text = tables.render("speed", {"bench": BENCH})
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    cells = {first: rest for first, *rest in lines}
    assert cells["`erav3`"] == ["19,098", "90.0 (80.0 to 100.0)", "45.0 (44.0 to 60.0)", "2.0", "1,333"]
    assert cells["`pytorch/examples`"] == ["1,199,882", "50.0 (45.0 to 60.0)", "", "", ""]
    assert cells["`mine`"] == ["17,874", "", "4.0 (3.0 to 5.0)", "", "15,000"]
    assert cells["images/s of `fast`"] == ["alone", "beside 2 busy loops"]
    assert cells["1 process × 1 thread"] == ["9,000", "7,000"]
    assert cells["1 process × 2 threads, GOMP_SPINCOUNT=1000"] == ["11,500 (11,000 to 12,000)", "5,000"]
    assert "`GOMP_SPINCOUNT=10000` serves best" in text  # 100,000 is more than a tenth slower alone
    assert "\na processor, AVX2, 2 cores, torch 2.10, float32. Measured with uncommitted changes in the code" in text
    assert "trains in 9.0 (8.0 to 10.0) s" in text
    assert "15 epochs of `erav3` as published would take 1,350 s, **150 times as long**" in text  # of 90 s, and 9 s
    assert "14 epochs of `pytorch/examples`'s mnist as published would take 700 s, **78 times as long**" in text
    assert "extrapolated from slices of some seconds of their training, 3 of each." in text
    assert "are 0.27 TFLOP, forward and backward. At the 300 GFLOP/s" in text
    assert "would take 0.90 s: the training reaches **10 % of that peak**" in text  # of 9 s
    quick = tables.render("speed", {"bench": BENCH | {"whole": [], "busy": []}})
    assert not any(words in quick for words in ("times as long", "images/s of `fast`", "GOMP_SPINCOUNT"))


@pytest.mark.parametrize("name", benchmark.SYSTEMS)
def test_every_system_is_trained_its_own_way(name, mnist_folder, monkeypatch):
    models, before, build = [], [], benchmark.models.build
    monkeypatch.setattr(benchmark.models, "build", lambda *a: models.append(build(*a)) or models[0])

    def take(epochs):
        before.extend(weights.clone() for weights in models[0].parameters())
        for images, labels in itertools.islice(itertools.chain.from_iterable(epochs), 2):
            assert (images.shape, labels.shape) == ((len(labels), 1, 28, 28), (len(labels),))
            yield images, labels

    benchmark.SYSTEMS[name](str(mnist_folder), take)
    assert not any(map(torch.equal, before, models[0].parameters()))
    assert benchmark.SYSTEMS.keys() >= set(recipes.PUBLISHED)


def test_the_arithmetic_of_a_training_is_that_of_its_layers(mnist_folder, monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "fast", recipes.get_recipe("fast", batch_size=100))
    bench = benchmark.Bench(str(mnist_folder), quick=True)
    layers = {(8, 1 * 9): 24**2, (16, 8 * 9): 12**2, (32, 16 * 9): 16, (32, 32 * 4): 9, (48, 32 * 4): 4, (10, 48): 1}
    forward = [2 * filters * size * places for (filters, size), places in layers.items()]
    # Backward as much again for the weights and for the inputs, but nothing for the frozen first layer.
    expected = forward[0] + 2 * forward[1] + 3 * sum(forward[2:])
    shown = bench.count * recipes.RECIPES["fast"].epochs
    assert bench.operations("fast") == pytest.approx(expected * shown, rel=1e-6)
    assert benchmark.peak() > 1e9


class Timed(benchmark.Bench):
    """Two rounds of a benchmark whose trainings take no time: what took its turn."""

    def __init__(self):
        self.data_dir, self.count, self.rounds, self.limit, self.took = "data", 60_000, 2, 0, []

    def trainer(self, name):
        return name

    def time_elsewhere(self, name):
        return benchmark.time_slice(lambda take: benchmark.SYSTEMS[name](self.data_dir, take), self.limit)

    def train_fast(self, *flags, **place):
        self.took.append(tuple(place.values()))
        return {"training_time": self.count / len(self.took)}


def test_every_system_and_every_count_of_threads_takes_its_turn(monkeypatch):
    bench = Timed()

    def trained(where):
        return lambda name, take: bench.took.append((where, name)) or list(take([[(0, [0])] * 9]))

    monkeypatch.setattr(benchmark, "SYSTEMS", {"both": trained("elsewhere"), "theirs": trained("elsewhere")})
    monkeypatch.setattr(benchmark, "HERE", {"both": "both", "mine": "mine"})
    monkeypatch.setattr(benchmark, "train_here", trained("here"))
    speeds = bench.speeds()
    assert bench.took == 2 * [("elsewhere", "data"), ("here", "both"), ("elsewhere", "data"), ("here", "mine")]
    counts = {name: {way: len(seconds) for way, seconds in ways.items()} for name, ways in speeds.items()}
    assert counts == {"both": {"elsewhere": 2, "here": 2}, "theirs": {"elsewhere": 2}, "mine": {"here": 2}}

    bench.took, beside = [], []
    monkeypatch.setattr(devices, "cores", lambda: 2)
    monkeypatch.setattr(benchmark, "busy_loops", lambda count: contextlib.nullcontext(beside.append(count)))
    rows = bench.busy()
    places = [(1, 1), *((1, 2, count) for count in benchmark.SPIN_COUNTS), (2, 1)]
    assert bench.took == 4 * places
    assert beside == 2 * [*[0] * 5, *[2] * 5]
    assert [row["alone"] for row in rows] == [pytest.approx([turn, turn + 10]) for turn in range(1, 6)]
    assert [row["beside"] for row in rows] == [pytest.approx([turn, turn + 10]) for turn in range(6, 11)]


MADE_UP = """
import os, sys, made_up, results
assert os.environ["GOMP_SPINCOUNT"] == "77"
results.save(sys.argv[sys.argv.index("--out") + 1], made_up.run(99.5))
"""


@pytest.mark.process
def test_a_whole_training_is_a_process_with_the_spin_count_that_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "TRAIN", ["-c", MADE_UP])
    monkeypatch.setattr(results, "RUNS", tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{cli.ROOT}:{cli.ROOT / 'tests'}")
    figures = benchmark.Bench.train_fast(Timed(), spin_count=77)
    assert figures["accuracy"] == 99.5
    assert figures["command"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.process
def test_busy_loops_end_when_the_benchmark_is_killed():
    code = "import time, experiments.benchmark as b\nwith b.busy_loops(1): print(flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=cli.ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
        assert process.communicate(timeout=60) == (b"", None)  # until the loop, which has the same output, has ended
