"""The benchmark's arithmetic and words. No test here depends on how fast anything is."""

import contextlib
import itertools
import math
import signal
import subprocess
import sys

from support import cli, processor

import pytest
import torch

import model as models
import recipes
import results
from experiments import benchmark, lightning_loop, published, tables
from experiments.busy_loops import busy_loops
from experiments.stopwatch import WARM_UP_BATCHES, Stopwatch

FOUND = {
    "speeds": {
        "erav3": {"elsewhere": [100.0, 80.0, 90.0], "here": [45.0, 44.0, 60.0]},
        "pytorch/examples": {"elsewhere": [50.0, 45.0, 60.0]},
        "fast": {"here": [4.0, 5.0, 3.0]},
    },
    "whole": [{"training_time": seconds, "command": seconds + 5, "accuracy": 99.4} for seconds in (9.0, 10.0, 8.0)],
    "parts": {
        "fast": {
            "augmentation": 0.5,
            "forward": 1.5,
            "backward": 2.0,
            "optimizer": 0.0,
            "EMA": 0.0,
            "total": 4.25,
            "evaluation": 0.3,
            "checkpoint": 0.02,
        }
    },
    "scaling": [[1, 1, [7.0, 6.0, 8.0]], [1, 2, [4.0]], [2, 1, [4.5]]],
    "busy": [
        {"threads": 1, "alone": [9000.0], "beside": [7000.0]},
        {"threads": 2, "alone": [12_000.0, 11_000.0], "beside": [5000.0, 6000.0]},
    ],
    "images": 60_000,
    "parameters": {"erav3": 19_098, "pytorch/examples": 1_199_882, "fast": 17_874},
    "epochs": {"pytorch/examples": 14},
    "environment": {"cpu": "a processor", "cores": 2, "torch": "2.10", "precision": "float32"},
}


def test_seconds_an_epoch_are_those_of_the_images_seen_after_the_first_batches(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("experiments.stopwatch.time.perf_counter", lambda: next(clock))  # a second a batch
    warm = []
    stopwatch = Stopwatch(2.5, on_warm=lambda: warm.append(next(clock)))
    batches = [1000] * WARM_UP_BATCHES + [10, 20, 30]
    assert [stopwatch.add(images) for images in batches] == [False] * (len(batches) - 1) + [True]
    assert warm == [0]
    assert stopwatch.seconds_for(600) == pytest.approx(3 / 60 * 600)


def test_a_slice_is_over_after_so_many_batches():
    stopwatch = Stopwatch(math.inf, 2)
    assert [stopwatch.add(1) for _ in range(WARM_UP_BATCHES + 2)].index(True) == WARM_UP_BATCHES + 1


def test_the_headline_compares_medians_of_whole_trainings():
    text = tables.render("headline", FOUND)
    assert "trains in 9.0 (8.0 to 10.0) s" in text
    assert "15 epochs of `erav3` as published take 1,350 s: **150 times as long**" in text  # of 90 s, and 9 s
    assert "14 epochs of `pytorch/examples`'s mnist as published take 700 s: **78 times as long**" in text


def rows(text):
    """{first cell: the other cells} of all tables in a text."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells}


def test_the_report_names_every_system_part_and_figure():
    text = tables.render("speed", FOUND)
    assert "150 times as long" in text
    found = rows(text)
    assert found["`erav3`"] == ["19,098", "90.0 (80.0 to 100.0)", "45.0 (44.0 to 60.0)", "2.0", "1,333"]
    assert found["`pytorch/examples`"] == ["1,199,882", "50.0 (45.0 to 60.0)", "", "", ""]
    assert found["`fast`"] == ["17,874", "", "4.0 (3.0 to 5.0)", "", "15,000"]
    assert found["everything else"] == ["0.25"]
    assert found["1 process × 1 thread"] == ["7.0 (6.0 to 8.0)", "1.00"]
    assert found["1 process × 2 threads"] == ["4.0", "1.75"]
    assert found["2 processes × 1 thread"] == ["4.5", "1.56"]
    assert found["images/s of `fast`"] == ["alone", "beside 2 busy loops"]
    assert found["2 threads"] == ["11,500 (11,000 to 12,000)", "5,500 (5,000 to 6,000)"]


def test_a_quick_report_leaves_out_what_was_not_measured():
    text = tables.render("speed", FOUND | {"whole": [], "scaling": [], "busy": []})
    assert "times as long" not in text
    assert not {"an epoch of `fast`", "images/s of `fast`"} & rows(text).keys()


def test_the_parts_of_a_step_are_within_the_whole(small_mnist, mnist_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results.RECORDS.mkdir(parents=True)
    bench = benchmark.Bench(str(mnist_folder), quick=True)
    spent = bench.parts("default")
    inside = [spent[part] for part in ("augmentation", "forward", "backward", "optimizer", "EMA")]
    assert all(seconds > 0 for seconds in inside)
    assert sum(inside) < spent["total"]
    assert not list(results.RECORDS.iterdir())


def test_every_published_system_is_trained_its_own_way(mnist_folder):
    assert published.TRANSFORMS.keys() == set(recipes.PUBLISHED)
    stopwatch = Stopwatch(math.inf, 1)
    published.train("mnist-7824", str(mnist_folder), stopwatch)
    assert stopwatch.images == 64
    erav3 = recipes.get_recipe("erav3")
    images, labels = next(iter(published.loader(erav3, published.TRANSFORMS["erav3"], str(mnist_folder))))
    assert images.shape == (128, 1, 28, 28)
    assert labels.max() < 10


def test_pytorchs_example_is_trained_its_own_way(mnist_folder, monkeypatch):
    model = published.examples_model()
    assert models.count_parameters(model) == 1_199_882
    monkeypatch.setattr(published, "examples_model", lambda: model)
    before, stopwatch = model[0].weight.clone(), Stopwatch(math.inf, 1)
    published.train_examples(str(mnist_folder), stopwatch)
    assert stopwatch.images == 64
    assert not torch.equal(model[0].weight, before)


def test_lightning_trains_the_same_recipe(mnist_folder):
    stopwatch = Stopwatch(math.inf, 2)
    lightning_loop.train("default", str(mnist_folder), stopwatch)
    assert (stopwatch.count, stopwatch.images) == (2, 2 * recipes.get_recipe("default").batch_size)


@pytest.fixture
def bench(small_mnist, mnist_folder):
    """A quick benchmark whose slices are as short as can be."""
    bench = benchmark.Bench(str(mnist_folder), quick=True)
    bench.limit = 0
    return bench


def feed(stopwatch):
    """A training of ten images a batch, and no work."""
    while not stopwatch.add(10):
        pass


def test_every_system_takes_its_turn(bench, monkeypatch):
    turns = []

    def trained(where):
        return lambda *arguments: turns.append((arguments[0], where)) or feed(arguments[-1])

    class Fed:
        def __init__(self, name):
            self.run = lambda stopwatch: trained("here")(name, stopwatch)

    monkeypatch.setattr(published, "train", trained("elsewhere"))
    monkeypatch.setattr(published, "train_examples", lambda data_dir, stopwatch: feed(stopwatch))
    monkeypatch.setattr(lightning_loop, "train", trained("elsewhere"))
    monkeypatch.setattr(bench, "trainer", Fed)
    bench.rounds = 2
    speeds = bench.speeds()
    both, own = {*recipes.PUBLISHED, "lightning"}, set(benchmark.OWN)
    assert {name for name, ways in speeds.items() if ways.keys() == {"elsewhere", "here"}} == both
    assert {name for name, ways in speeds.items() if ways.keys() == {"here"}} == own
    assert speeds.keys() - both - own == {"pytorch/examples"}
    assert all(len(seconds) == 2 for ways in speeds.values() for seconds in ways.values())
    assert turns[: len(turns) // 2] == turns[len(turns) // 2 :]
    assert turns[:2] == [("erav3", "elsewhere"), ("erav3", "here")]


def test_all_recipes_are_timed_on_the_same_images(bench, monkeypatch):
    fashion = recipes.Recipe(name="fashion", dataset="fashion-mnist")
    monkeypatch.setitem(recipes.RECIPES, "fashion", fashion)
    assert bench.trainer("fashion").recipe.dataset == "mnist"


def test_scaling_goes_by_powers_of_two_up_to_the_cores(bench, monkeypatch):
    monkeypatch.setattr(processor, "cores", lambda: 6)
    monkeypatch.setattr(bench, "train", lambda name, *place, epochs: ({"training_time": place}, 0))
    places = [(1, 1), (1, 2), (2, 1), (1, 4), (4, 1)]
    assert bench.scaling("fast") == [(*place, [place]) for place in places]


def test_images_a_second_are_measured_alone_and_beside_busy_loops_in_turns(bench, monkeypatch):
    running, turns = [0], []

    @contextlib.contextmanager
    def loops(count):
        running.append(count)
        yield
        running.pop()

    def seconds(train):
        turns.append((torch.get_num_threads(), running[-1]))
        return bench.count / len(turns)

    monkeypatch.setattr(processor, "cores", lambda: 2)
    monkeypatch.setattr(benchmark, "busy_loops", loops)
    monkeypatch.setattr(bench, "seconds_per_epoch", seconds)
    before, bench.rounds = torch.get_num_threads(), 2
    found = bench.busy("fast")
    assert turns == 2 * [(1, 0), (2, 0), (1, 2), (2, 2)]
    assert found[0] == {"threads": 1, "alone": pytest.approx([1, 5]), "beside": pytest.approx([3, 7])}
    assert found[1] == {"threads": 2, "alone": pytest.approx([2, 6]), "beside": pytest.approx([4, 8])}
    assert torch.get_num_threads() == before


def test_busy_loops_run_until_the_measurement_ends_however_it_ends():
    with pytest.raises(KeyboardInterrupt), busy_loops(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
        raise KeyboardInterrupt
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2


def test_busy_loops_end_when_the_benchmark_is_killed():
    code = "import time, experiments.busy_loops as b\nwith b.busy_loops(1): print(flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=cli.ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
        assert process.communicate(timeout=60) == (b"", None)  # until the loop, which has the same output, has ended
