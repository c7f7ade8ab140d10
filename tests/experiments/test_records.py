import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from support import UserError, cli, files

import pytest
import spawned
from made_up import put, run

import recipes
import results
from experiments import records, tables


def committed():
    published = json.loads((tables.RECORDS / f"{records.PUBLISHED}.json").read_bytes())
    return tables.read_records() | published


@pytest.fixture
def small_records(small_folder, tmp_path, monkeypatch):
    """Runs records.main on the small data, in an empty folder; train.py is started as a process, as ever."""
    script = Path(spawned.__file__).with_name("killed_run.py")
    monkeypatch.setattr(records, "TRAIN", [str(script), str(small_folder)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    return lambda *flags: records.main([*flags, "--data", str(small_folder), "--device", "cpu"])


def test_a_record_sums_up_the_seeds_of_a_recipe(tmp_path):
    accuracies = [99.5, 99.6, 99.55]
    put(tmp_path, {f"default-seed{seed}": run(value, seed) for seed, value in enumerate(accuracies)})
    put(tmp_path, {"erav3-seed0": run(99.0), "default-seed7": run(0, 7, finished=False), "default-mine": run(1.0)})
    found = records.summarize(recipes.get_recipe("default"), tmp_path)
    assert [entry["seed"] for entry in found["runs"]] == [0, 1, 2]
    assert found["mean"] == pytest.approx(99.55)
    assert found["deviation"] == pytest.approx(statistics.stdev(accuracies))
    assert found["mean_ci95"][0] < 99.55 < found["mean_ci95"][1]


def test_runs_of_different_recipes_are_not_summed_up(tmp_path):
    put(tmp_path, {"default-seed0": run(99.5), "default-seed1": run(99.5, 1, recipe={"name": "default", "epochs": 3})})
    with pytest.raises(ValueError, match="differ in recipe"):
        records.summarize(recipes.get_recipe("default"), tmp_path)
    put(tmp_path, {"default-seed1": run(99.5, 1, identity={"layers": "other", "calls": "", "logits": []})})
    with pytest.raises(ValueError, match="differ in model"):
        records.summarize(recipes.get_recipe("default"), tmp_path)
    with pytest.raises(ValueError, match="no finished run of recipe 'fast'"):
        records.summarize(recipes.get_recipe("fast"), tmp_path)


def test_seeds_are_trained_side_by_side_and_a_finished_one_is_not_trained_again(small_records, tmp_path, capsys):
    flags = ["fast", "--epochs", "1", "--jobs", "2"]
    assert small_records(*flags, "--seeds", "1") == 0
    path = tmp_path / "results" / "fast-epochs1-seed0" / "results.json"
    before = path.stat().st_mtime_ns
    assert small_records(*flags, "--seeds", "2") == 0
    assert path.stat().st_mtime_ns == before
    found = json.loads((tmp_path / "results" / "fast-epochs1.json").read_bytes())
    assert not (tmp_path / results.RECORDS / "fast.json").exists()
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert found["environment"]["threads"] == max(1, (os.cpu_count() or 1) // 2)
    assert capsys.readouterr().out.count("seed 1") == 1


def test_all_published_recipes_share_a_record(tmp_path, monkeypatch):
    """Their trainings are those of train_all; here each has been made already."""
    monkeypatch.chdir(tmp_path)
    made = {name: run(99.0, recipe={"name": name}) for name in recipes.PUBLISHED}
    trained = []

    def train_all(trainings, jobs, threads, flags):
        for recipe, seed in trainings:
            trained.append((recipe.name, seed))
            put(tmp_path / "results", {f"{recipe.name}-seed{seed}": made[recipe.name]})
            yield made[recipe.name]

    monkeypatch.setattr(records, "train_all", train_all)
    assert records.main([records.PUBLISHED, "--seeds", "1"]) == 0
    assert trained == [(name, 0) for name in recipes.PUBLISHED]
    found = json.loads((tmp_path / results.RECORDS / "published.json").read_bytes())
    assert found == {name: records.summarize(recipes.get_recipe(name)) for name in recipes.PUBLISHED}


def test_a_training_that_fails_ends_all_of_them_with_its_reason(small_records, tmp_path, monkeypatch):
    failing = "import sys, time; time.sleep(60 * ('--seed' in sys.argv and '1' in sys.argv)); sys.exit('no such thing')"
    monkeypatch.setattr(records, "TRAIN", ["-c", failing])
    start = time.monotonic()
    with pytest.raises(UserError, match="fast seed 0 failed: no such thing"):
        small_records("fast", "--seeds", "4", "--jobs", "2")
    assert time.monotonic() - start < 30  # seed 1 was stopped, the others were not started
    assert not list(tmp_path.glob("results/fast*"))


RECORDS = f"""
import pathlib, sys
import results
results.RUNS, results.RECORDS = pathlib.Path("results"), pathlib.Path("results/records")  # as records finds them
from experiments import records
from support import cli
records.TRAIN = [{str(Path(spawned.__file__).with_name("killed_run.py"))!r}, sys.argv[1], "--epochs=9999"]
sys.argv = ["records.py", *sys.argv[2:], "--data", sys.argv[1]]
sys.exit(cli.run(lambda: records.main(sys.argv[1:]), cli.RESUME))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "cause"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_all_trainings_with_one_line(small_folder, tmp_path, inject, number, cause):
    command = [sys.executable, "-c", RECORDS, str(small_folder), "fast", "--seeds", "2", "--jobs", "2"]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=place, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(tmp_path.glob("results/*/.lock"))) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    inject("signal to trainings side by side")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    assert process.communicate()[1] == f"records.py: stopped by {cause}; {cli.RESUME}\n"
    assert process.returncode == 128 + number
    for seed in (0, 1):
        with files.lock(tmp_path / "results" / f"fast-epochs9999-seed{seed}"):  # no process is left
            pass


def test_a_record_of_more_seeds_is_not_replaced_nor_by_one_of_a_changed_recipe(tmp_path, monkeypatch, capsys, inject):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / results.RECORDS / "fast.json"
    files.write_json(path, {"runs": [{}] * 10})
    inject("record that would be replaced", 2)
    assert records.record_path("fast", {"runs": [{}] * 3}, is_own=True) == results.RUNS / "fast.json"
    assert "has more seeds, 10, and is kept" in capsys.readouterr().out
    assert records.record_path("fast-epochs1", {"runs": [{}] * 20}, is_own=False) == results.RUNS / "fast-epochs1.json"
    assert records.record_path("fast", {"runs": [{}] * 10}, is_own=True) == results.RECORDS / "fast.json"


def test_runs_that_could_not_be_summed_up_are_told_before_any_is_trained(tmp_path, monkeypatch, inject):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "results", {"default-seed0": run(99.5)})
    inject("runs that cannot be compared")
    with pytest.raises(UserError, match="was trained with threads 2, those to come would be with 1: JOBS=1"):
        records.check_earlier(recipes.get_recipe("default"), 3, 1)
    records.check_earlier(recipes.get_recipe("default"), 1, 1)  # nothing is to be trained


def test_committed_records_add_up():
    for record in committed().values():
        accuracies = [entry["final_test_accuracy"] for entry in record["runs"]]
        assert record["mean"] == pytest.approx(statistics.mean(accuracies))
        assert json.dumps(record, allow_nan=False)


def test_committed_records_are_of_the_recipes_as_they_are_now():
    assert committed().keys() >= {*recipes.OWN, *recipes.PUBLISHED}
    for name, record in committed().items():
        assert record["recipe"] == dataclasses.asdict(recipes.get_recipe(name))
