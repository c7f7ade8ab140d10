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
import safetensors.torch
import spawned
import torch
from made_up import put, run
from torch import nn

import environment
import model
import recipes
import results
from experiments import records, tables, weights

SMALL_TRAINING = str(Path(spawned.__file__).with_name("killed_run.py"))
DEFAULT = recipes.get_recipe("default")


@pytest.fixture
def small_records(small_folder, tmp_path, monkeypatch):
    """Runs records.main on the small data, in an empty folder; train.py is started as a process, as ever."""
    monkeypatch.setattr(records, "TRAIN", [SMALL_TRAINING, str(small_folder)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    return lambda *flags: records.main([*flags, "--data", str(small_folder), "--device", "cpu"])


@pytest.mark.process
def test_seeds_are_trained_side_by_side_and_a_finished_one_is_not_trained_again(small_records, tmp_path, capsys):
    flags = ["default", "--epochs", "1", "--jobs", "2"]
    small_records(*flags, "--seeds", "1")
    path = tmp_path / "results" / "default-epochs1-seed0" / "results.json"
    before = path.stat().st_mtime_ns
    small_records(*flags, "--seeds", "2")
    assert path.stat().st_mtime_ns == before
    record = json.loads((tmp_path / "results" / "default-epochs1.json").read_bytes())
    assert not (tmp_path / results.RECORDS / "default.json").exists()
    assert [run["seed"] for run in record["runs"]] == [0, 1]
    assert record["environment"]["threads"] == max(1, (os.cpu_count() or 1) // 2)
    assert capsys.readouterr().out.count("seed 1") == 1


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes records.main find every training done, by a run of 99 % and a hundredth a seed, and calibrates and exports
    nothing; returns what it asked to be trained."""
    monkeypatch.chdir(tmp_path)
    trained = []

    def train_all(trainings, jobs, threads, flags):
        for recipe, seed in trainings:
            trained.append((recipe.name, seed))
            run_of_recipe = run(99 + seed / 100, seed, recipe={"name": recipe.name})
            put(results.RUNS, {f"{recipe.name}-seed{seed}": run_of_recipe})
            yield run_of_recipe

    monkeypatch.setattr(results, "RUNS", Path("results"))
    monkeypatch.setattr(results, "RECORDS", Path("results/records"))
    monkeypatch.setattr(records, "train_all", train_all)
    monkeypatch.setattr(records, "calibrate", lambda *_: None)
    return trained


def test_a_record_sums_up_the_seeds_of_a_recipe(made):
    put(results.RUNS, {"erav3-seed0": run(9.0), "default-seed7": run(0, 7, finished=False), "default-mine": run(1.0)})
    records.main(["default", "--dirty"])
    assert made == [("default", seed) for seed in range(3)]
    record = json.loads((results.RECORDS / "default.json").read_bytes())
    assert [entry["seed"] for entry in record["runs"]] == [0, 1, 2]
    assert record["mean"] == pytest.approx(99.01)
    assert record["deviation"] == pytest.approx(0.01)
    assert record["mean_ci95"] == pytest.approx([99.01 - 0.02484, 99.01 + 0.02484], abs=1e-5)  # 4.303 × 0.01 / √3


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": {"name": "default", "epochs": 3}}, "recipe"),
        ({"identity": {"layers": "other", "calls": "", "logits": []}}, "model"),
        ({"environment": run(0)["environment"] | {"threads": 1}}, "threads, 2 and 1: JOBS=1, or THREADS=2, or"),
        ({"environment": run(0)["environment"] | {"cpu": "another"}}, "cpu, a processor and another"),
        ({"environment": run(0)["environment"] | {"commit": "another"}}, "commit"),
    ],
)
def test_runs_that_differ_are_not_summed_up_and_no_more_are_trained(made, inject, changes, named):
    inject("runs that cannot be compared")
    put(results.RUNS, {"default-seed2": run(99.5, 2, **changes)})
    with pytest.raises(UserError, match=f"differ in {named}.* OVERWRITE=1"):
        records.main(["default", "--dirty"])
    assert len(made) == 1
    records.main(["default", "--dirty", "--seeds", "2"])  # without it
    records.main(["default", "--dirty", "--overwrite"])


def test_weights_of_all_seeds_share_a_file_that_says_what_they_are(tmp_path):
    networks = [model.build("default", 10) for _ in range(3)]
    states = [{"identity": {"layers": "some"}, "normalize": {"mean": 0.1 * seed, "std": 0.3}} for seed in range(3)]
    facts = {"recipe": {"name": "default"}, "environment": {"commit": "0123"}}
    record = facts | {"runs": [{"seed": seed} for seed in range(3)]}
    path = tmp_path / "default.safetensors"
    deployed = [nn.Sequential(nn.Identity(), network.to(memory_format=torch.channels_last)) for network in networks]
    weights.write_weights(path, record, list(zip(deployed, states, strict=True)))
    with safetensors.safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["record"])
    normalize = [state["normalize"] for state in states]
    facts |= {"seeds": [0, 1, 2], "identity": states[0]["identity"], "normalize": normalize}
    assert said == facts | {"sums": said["sums"]}
    tensors = safetensors.torch.load_file(path)
    for seed, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensors[name][seed], tensor)
    assert said["sums"] == weights.sums(tensors)
    assert len(set(said["sums"])) == 3


def test_all_published_recipes_share_a_record(made):
    records.main([records.PUBLISHED, "--seeds", "1", "--dirty"])
    assert made == [(name, 0) for name in recipes.PUBLISHED]
    record = json.loads((results.RECORDS / "published.json").read_bytes())
    assert record == {name: records.summarize(recipes.get_recipe(name), [0]) for name in recipes.PUBLISHED}


def test_a_record_is_of_committed_code(made, monkeypatch, inject):
    inject("record of uncommitted code", 2)
    monkeypatch.setattr(environment, "commit", lambda: "0123456789-dirty")
    with pytest.raises(UserError, match="of 0123456 with changes: commit or stash the changes, or give"):
        records.main(["default"])
    monkeypatch.setattr(environment, "commit", lambda: "0123456789")
    place = run(0)["environment"] | {"commit": "abcdefghij-dirty"}
    put(results.RUNS, {"default-seed0": run(99.5, environment=place)})
    with pytest.raises(UserError, match="this is of abcdefg with changes: train all again, OVERWRITE=1"):
        records.main(["default"])
    assert not made
    records.main(["default", "--overwrite"])
    records.main(["default", "--dirty"])


def test_a_record_of_more_seeds_is_not_replaced_nor_by_one_of_a_changed_recipe(made, capsys, inject):
    inject("record that would be replaced", 2)
    files.write_json(results.RECORDS / "default.json", {"runs": [{}] * 4})
    records.main(["default", "--dirty"])
    assert f"has more seeds, 4, and is kept\n{Path('results/default.json')}\n" in capsys.readouterr().out
    records.main(["default", "--dirty", "--seeds", "4"])
    assert len(json.loads((results.RECORDS / "default.json").read_bytes())["runs"]) == 4


@pytest.mark.process
def test_a_training_that_fails_ends_all_of_them_with_its_reason(small_records, tmp_path, monkeypatch):
    failing = "import sys, time; time.sleep(60 * ('1' in sys.argv)); sys.exit('no such thing')"
    monkeypatch.setattr(records, "TRAIN", ["-c", failing])
    start = time.monotonic()
    with pytest.raises(UserError, match="default seed 0 failed: no such thing"):
        small_records("default", "--seeds", "4", "--jobs", "2", "--dirty")
    assert time.monotonic() - start < 30  # seed 1 was stopped, the others were not started
    assert not list(tmp_path.glob("results/default*"))


RECORDS = f"""
import pathlib, sys
import results
results.RUNS, results.RECORDS = pathlib.Path("results"), pathlib.Path("results/records")  # as records finds them
from experiments import records
from support import cli
records.TRAIN = [{SMALL_TRAINING!r}, sys.argv[1], "--epochs=9999"]
sys.argv = ["records.py", *sys.argv[2:], "--data", sys.argv[1]]
cli.run(lambda: records.main(sys.argv[1:]), cli.RESUME)
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(("number", "cause"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_all_trainings_with_one_line(small_folder, tmp_path, inject, number, cause):
    command = [sys.executable, "-c", RECORDS, str(small_folder), "default", "--seeds", "2", "--jobs", "2", "--dirty"]
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
        with files.lock(tmp_path / "results" / f"default-epochs9999-seed{seed}"):  # no process is left
            pass


def test_committed_records_add_up_and_that_of_the_default_is_of_the_recipe_as_it_is():
    shown = tables.contents()
    for record in [*shown["records"].values(), *shown["published"].values()]:
        assert record["mean"] == pytest.approx(statistics.mean(run["final_test_accuracy"] for run in record["runs"]))
    assert recipes.from_stored(shown["records"]["default"]["recipe"]) == DEFAULT
