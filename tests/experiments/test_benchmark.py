"""The benchmark's arithmetic and words. No test here depends on how fast anything is."""

import itertools

import pytest

import recipes
import results
from experiments import benchmark, published, tables
from reporting import plots

FOUND = {
    "speeds": {
        "erav3": {"published": [100.0, 80.0, 90.0], "here": [45.0, 44.0, 60.0]},
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
    "scaling": [[1, 1, 7.0], [1, 2, 4.0], [2, 1, 4.5]],
    "images": 60_000,
    "parameters": {"erav3": 19_098, "fast": 17_874},
    "environment": {"cpu": "a processor", "cores": 2, "torch": "2.10", "precision": "float32"},
}


def test_seconds_an_epoch_are_those_of_the_images_seen_after_the_first_batches(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))  # a second a look
    batches = iter([1000] * benchmark.WARM_UP_BATCHES + [10, 20, 30])
    assert benchmark.time_slice(batches, 600, 3.5) == pytest.approx(5 / 60 * 600)


def test_the_headline_compares_medians_of_whole_trainings():
    text = tables.render("headline", FOUND)
    assert "trains in 9.0 (8.0 to 10.0) s" in text
    assert "take 1,350 s: **150 times as long**" in text  # 15 epochs of 90 s, and 9 s


def test_the_report_names_every_recipe_part_and_figure():
    text = tables.render("speed", FOUND)
    for part in (
        "90.0 (80.0 to 100.0)",
        " 2.0 |",  # times faster
        "15,000",  # images a second
        "150 times as long",
        "2 processes of 1 thread 4.5 s",
    ):
        assert part in text
    assert [line.split()[-2] for line in text.splitlines() if line.startswith("| everything else")] == ["0.25"]


def test_a_quick_report_leaves_out_what_was_not_measured():
    text = tables.render("speed", FOUND | {"whole": [], "scaling": []})
    assert "times as long" not in text
    assert "processes" not in text


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
    batches = published.train("mnist-7824", str(mnist_folder))
    assert next(batches) == 64
    batches.close()
    images, labels = next(iter(published.loader(recipes.get_recipe("erav3"), str(mnist_folder))))
    assert images.shape == (128, 1, 28, 28)
    assert labels.max() < 10


def test_the_picture_is_drawn(tmp_path):
    plots.save(tmp_path / "bench.png", plots.speeds, FOUND)
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
