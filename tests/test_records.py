import dataclasses
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up import put, run

import cli
import lock
import recipes
import records

FOLDER = Path(records.__file__).parent / records.RECORDS


def committed():
    return records.read(FOLDER) | json.loads((FOLDER / f"{records.PUBLISHED}.json").read_bytes())


def test_the_interval_of_a_mean_uses_students_t():
    low, high = records.mean_interval([99.0, 100.0, 101.0])
    assert round(high - 100, 3) == round(4.303 / 3**0.5, 3)
    assert round(100 - low, 3) == round(4.303 / 3**0.5, 3)
    assert records.mean_interval([99.0]) is None
    low, high = records.mean_interval([0.0, 2.0] * 13)
    assert round((high - low) / 2 / (statistics.stdev([0.0, 2.0] * 13) / 26**0.5), 2) == 2.06  # 25 degrees of freedom


def test_a_record_sums_up_the_seeds_of_a_recipe(tmp_path):
    accuracies = [99.5, 99.6, 99.55]
    put(tmp_path, {f"default-seed{seed}": run(value, seed) for seed, value in enumerate(accuracies)})
    put(tmp_path, {"erav3-seed0": run(99.0), "default-seed7": run(0, 7, finished=False), "default-mine": run(1.0)})
    found = records.record("default", tmp_path)
    assert [entry["seed"] for entry in found["runs"]] == [0, 1, 2]
    assert found["mean"] == pytest.approx(99.55)
    assert found["deviation"] == pytest.approx(statistics.stdev(accuracies))
    assert found["mean_ci95"][0] < 99.55 < found["mean_ci95"][1]


def test_runs_of_different_recipes_are_not_summed_up(tmp_path):
    put(tmp_path, {"default-seed0": run(99.5), "default-seed1": run(99.5, 1, recipe={"name": "default", "epochs": 3})})
    with pytest.raises(ValueError, match="differ in recipe"):
        records.record("default", tmp_path)
    put(tmp_path, {"default-seed1": run(99.5, 1, network="another")})
    with pytest.raises(ValueError, match="differ in network"):
        records.record("default", tmp_path)
    with pytest.raises(ValueError, match="no finished run of recipe 'fast'"):
        records.record("fast", tmp_path)


def test_seeds_are_trained_side_by_side_and_a_finished_one_is_not_trained_again(
    mnist_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    flags = ["--epochs", "1", "--jobs", "2", "--data", str(mnist_folder), "--device", "cpu"]
    assert records.main(["fast", *flags, "--seeds", "1"]) == 0
    path = tmp_path / "results" / "fast-seed0" / "results.json"
    before = path.stat().st_mtime_ns
    assert records.main(["fast", *flags, "--seeds", "3"]) == 0
    assert path.stat().st_mtime_ns == before
    found = json.loads((tmp_path / records.RECORDS / "fast.json").read_bytes())
    assert [run["seed"] for run in found["runs"]] == [0, 1, 2]
    assert found["mean"] > 98
    assert capsys.readouterr().out.count("seed 2") == 1


def test_all_published_recipes_share_a_record(mnist_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "PUBLISHED", ("fast", "mnist-7824"))
    flags = ["--epochs", "1", "--seeds", "1", "--jobs", "2", "--data", str(mnist_folder), "--device", "cpu"]
    assert records.main([records.PUBLISHED, *flags]) == 0
    found = json.loads((tmp_path / records.RECORDS / "published.json").read_bytes())
    assert found == {name: records.record(name) for name in ("fast", "mnist-7824")}


def test_a_training_that_cannot_start_ends_all_of_them(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        records.main(["fast", "--epochs", "0", "--seeds", "4", "--jobs", "2"])
    assert stop.value.code == 2
    assert "epochs must be between 1 and 100,000" in capfd.readouterr().err
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "cause"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_all_trainings_with_one_line(mnist_folder, tmp_path, inject, number, cause):
    command = [sys.executable, records.__file__, "fast", "--seeds", "2", "--jobs", "2", "--data", str(mnist_folder)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while len(list(tmp_path.glob("results/*/.lock"))) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    inject("signal to trainings side by side")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    assert process.communicate()[1] == f"records.py: stopped by {cause}; {cli.GO_ON}\n"
    assert process.returncode == 128 + number
    for seed in (0, 1):
        with lock.held(tmp_path / "results" / f"fast-seed{seed}"):  # no process is left
            pass


def test_committed_records_add_up():
    for record in committed().values():
        accuracies = [entry["final_test_accuracy"] for entry in record["runs"]]
        assert record["mean"] == pytest.approx(statistics.mean(accuracies))
        assert json.dumps(record, allow_nan=False)


def test_committed_records_are_of_the_recipes_as_they_are_now():
    assert committed().keys() >= {*recipes.OWN, *recipes.PUBLISHED}
    for name, record in committed().items():
        assert record["recipe"] == dataclasses.asdict(recipes.recipe(name))
