"""Sweeps: one with real trainings on small data, the others with a script in the place of train.py that makes results
up."""

import collections
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

from support import UserError, cli, settings

import optuna
import pytest
import spawned
from optuna.trial import TrialState

import data
import results
from experiments import records, sweep

pytestmark = pytest.mark.process
PATH = os.pathsep.join([*sys.path, str(Path(spawned.__file__).parent)])

# Takes train.py's flags and writes a run's results: 99 % less what the learning rate is off 0.4, and the seed.
MADE_UP = """
import json, os, pathlib, sys, time
import made_up, recipes, results
given = dict(flag[2:].split("=", 1) for flag in sys.argv[1:] if "=" in flag)
value = lambda name: sys.argv[sys.argv.index(name) + 1]
own = recipes.RECIPES["default"].learning_rate  # which no flag says again
lr, seed, out = float(given.get("learning-rate", own)), int(value("--seed")), pathlib.Path(value("--out"))
assert given["holdout"] == "True"
if lr > 5:
    sys.exit("train.py: the loss became nan in epoch 1")
if not results.results_path(out).exists():
    with open("log", "a") as log:
        log.write(f"{out.name} {os.getppid()}\\n")
    time.sleep(float(os.environ.get("SLEEP", 0)))
    accuracy = 99 - abs(lr - 0.4) - 0.01 * seed + 0.001 * (seed * lr * 1000 % 7)
    run = made_up.run(accuracy, seed, recipe={"name": "default", "holdout": True})
    run = {key.replace("final_test", "final_validation"): value for key, value in run.items()}
    results.save(out, run)
"""

# A sweep as a process of its own, whose trainings are made up.
PROCESS = f"""
import pathlib, sys
from support import cli
from experiments import records, sweep
records.TRAIN = ["-c", {MADE_UP!r}]
sweep.FOLDER = pathlib.Path("results/sweeps")
sweep.HEARTBEAT, sweep.GRACE = 1, 3
sys.argv = ["sweep.py", *sys.argv[1:]]
cli.run(lambda: sweep.main(sys.argv[1:]), sweep.RESUME)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, where a sweep finds made-up trainings, and others are given up after three seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", PATH)
    for name, value in {"FOLDER": Path("results/sweeps"), "HEARTBEAT": 1, "GRACE": 3}.items():
        monkeypatch.setattr(sweep, name, value)
    monkeypatch.setattr(records, "TRAIN", ["-c", MADE_UP])
    return tmp_path


def write(text):
    Path("mine.toml").write_text(f'recipe = "default"\nholdout = 50\n{text}')
    return "mine.toml"


def start(*flags):
    """A sweep of one training at a time, each of a second, as a process."""
    command, pipe = [sys.executable, "-c", PROCESS, *flags, "--jobs", "1"], subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | {"SLEEP": "1"}, stdout=pipe, stderr=pipe, text=True)


def train(text, *flags):
    """Sweep a file of this text, and return how many runs were trained for it."""
    before = len(trained())
    sweep.main([write(text), "--jobs", "1", *flags])
    return len(trained()) - before


def trained():
    """[(run, process that trained it)], as the made-up trainings wrote them down."""
    return [line.split() for line in Path("log").read_text().splitlines()] if Path("log").exists() else []


def newest_study():
    """The newest study in the database that a sweep has by default."""
    url = "sqlite:///results/sweeps/mine.db"
    return optuna.load_study(study_name=optuna.get_all_study_names(url)[-1], storage=url)


def states():
    return collections.Counter(trial.state for trial in newest_study().trials)


def test_candidates_are_trained_on_held_out_images_and_the_test_images_never_loaded(
    small_folder, place, monkeypatch, capsys
):
    folder = shutil.copytree(small_folder, place / "small")
    for name in data.FILES["test"]:
        (data.DATASETS["mnist"].raw_dir(folder) / name).write_bytes(b"not to be read")
    script = Path(spawned.__file__).with_name("killed_run.py")
    monkeypatch.setattr(records, "TRAIN", [str(script), str(folder)])
    file = write("seeds = 1\nema_decay = 0.0\n[grid]\nepochs = [1]\nlearning_rate = [0.4, 0.001]\n")
    flags = [file, "--data", str(folder), "--device", "cpu", "--jobs", "2"]
    sweep.main(flags)
    assert "| epochs=1, learning_rate=0.4 " in capsys.readouterr().out
    runs = {path: path.stat().st_mtime_ns for path in place.glob("results/sweeps/*/*/results.json")}
    assert len(runs) == 2
    run = results.load(min(runs).parent)
    assert run["recipe"]["holdout"]
    assert "final_test_accuracy" not in run
    trials = newest_study().trials
    assert [trial.value for trial in trials] == [trial.intermediate_values[0] for trial in trials]
    assert trials[0].value > trials[1].value

    sweep.main(flags)
    assert {path: path.stat().st_mtime_ns for path in runs} == runs


GRID = "seeds = 2\n[grid]\nlearning_rate = [0.2, 0.3, 0.4, 0.5]\n"
TWO = "seeds = 1\n[grid]\nlearning_rate = [0.1, 0.4]\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_two_processes_share_a_study_and_one_takes_up_what_the_other_was_training(place, inject, number):
    processes = [start(write(GRID)) for _ in range(2)]
    while len({process for _, process in trained()}) < 2:
        assert [process.poll() for process in processes] == [None, None], processes[0].stderr.read()
        time.sleep(0.05)
    inject("signal to a sweep")
    processes[0].send_signal(number)
    (_, errors), (output, _) = (process.communicate() for process in processes)
    if number == signal.SIGINT:
        errors = [line for line in errors.splitlines() if not line.startswith("waiting: ")]  # for their turns
        assert (processes[0].returncode, errors) == (130, [f"sweep.py: stopped by Ctrl-C; {sweep.RESUME}"])
    assert processes[1].returncode == 0
    assert "best: learning_rate=0.4" in output
    assert states() == {TrialState.FAIL: 1, TrialState.COMPLETE: 4}
    runs = [run for run, _ in trained()]
    assert len(set(runs)) == 8 and len(runs) <= 9  # none twice but what was under way
    assert train(GRID) == 0


def test_a_ctrl_c_in_the_midst_of_a_query_stops_as_any_other_and_a_drivers_warning_is_shown(place, monkeypatch, inject):
    write_state = optuna.storages.RDBStorage.set_trial_state_values

    def interrupted(storage, trial_id, state, values=None):
        if state == TrialState.COMPLETE:
            warnings.warn("of a driver", stacklevel=1)
            inject("Ctrl-C in a query")
            raise KeyboardInterrupt
        return write_state(storage, trial_id, state, values)

    with pytest.warns(match="of a driver"), pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", interrupted)
        train(TWO)
    assert train(TWO) == 1
    assert states() == {TrialState.FAIL: 1, TrialState.COMPLETE: 2}


def test_a_trial_whose_process_was_killed_before_its_first_heartbeat_is_taken_up(place, monkeypatch, inject, capsys):
    inject("trial without a heartbeat")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sweep, "train", lambda *_: sys.exit())
        train(TWO)
    assert states() == {TrialState.RUNNING: 1}
    assert train(TWO) == 2
    assert states() == {TrialState.FAIL: 1, TrialState.COMPLETE: 2}
    assert "waiting for a candidate" in capsys.readouterr().out


def test_what_is_added_to_the_file_alone_is_trained_without_a_warning(place, recwarn):
    assert train("seeds = 1\n[grid]\nlearning_rate = [0.1, 0.2]\n") == 2
    assert train("seeds = 2\n[grid]\nlearning_rate = [0.1, 0.2]\n") == 2
    assert train("seeds = 2\n[grid]\nlearning_rate = [0.1, 0.2, 0.3]\n") == 2
    assert states() == {TrialState.COMPLETE: 3}
    assert not recwarn.list


def test_a_candidate_that_three_seeds_show_to_be_worse_is_given_up(place, capsys):
    assert train("seeds = 5\n[grid]\nlearning_rate = [0.4, 3.0]\n") == 8
    assert states() == {TrialState.COMPLETE: 1, TrialState.PRUNED: 1}
    output = capsys.readouterr().out
    assert "3, pruned" in output
    assert "comparisons: 1; not told apart" in output


def test_optuna_looks_for_candidates_in_ranges_and_trains_what_it_had_picked_when_it_was_stopped(
    place, monkeypatch, inject
):
    ranges = "[ranges]\nlearning_rate = {low = 0.01, high = 1.0, log = true}\nbatch_size = {low = 64, high = 512}\n"

    def stop(*_, **__):
        inject("Ctrl-C in a search")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(records, "train_all", stop)
        train(f"seeds = 1\ntrials = 3\n{ranges}")
    assert states() == {TrialState.FAIL: 1}
    assert train(f"seeds = 1\ntrials = 3\n{ranges}") == 3
    picked = [trial.params for trial in newest_study().trials]
    assert picked[0] == picked[1]
    assert len({params["learning_rate"] for params in picked}) == 3
    assert all(0.01 <= params["learning_rate"] <= 1 and type(params["batch_size"]) is int for params in picked)
    assert train(f"seeds = 1\ntrials = 4\n{ranges}") == 1
    assert states() == {TrialState.FAIL: 1, TrialState.COMPLETE: 4}


def test_a_range_may_have_steps_or_choices_and_all_candidates_a_field_in_common(place):
    ranges = 'batch_size = {low = 64, high = 512, step = 64}\nschedule = ["one_cycle", "step"]\n'
    train(f"seeds = 1\ntrials = 4\nepochs = 0.5\n[ranges]\n{ranges}")
    picked = [trial.params for trial in newest_study().trials]
    assert len(picked) == 4
    assert all(params["batch_size"] % 64 == 0 and params["schedule"] in ("one_cycle", "step") for params in picked)
    assert all("-epochs0.5-" in run for run, _ in trained())


def test_a_candidate_that_fails_is_named_and_tried_again_by_the_next_command_and_the_others_are_ranked(
    place, inject, capsys
):
    inject("loss that is not finite")
    reason = "default seed 0 failed: train.py: the loss became nan in epoch 1"
    with pytest.raises(UserError, match=f"is done yet; failed: learning_rate=8: {reason}"):
        train("seeds = 1\n[grid]\nlearning_rate = [8.0]\n")
    for failures in (1, 2):
        train("seeds = 2\n[grid]\nlearning_rate = [9.0, 0.4]\n")
        assert states() == {TrialState.FAIL: failures, TrialState.COMPLETE: 1}
        output = capsys.readouterr().out
        assert f"failed: learning_rate=9: {reason}\n" in output
        assert "best: learning_rate=0.4\n" in output


def test_a_candidate_that_two_machines_took_stands_in_the_ranking_once(place, inject, capsys):
    inject("candidate taken twice")
    train(TWO)
    study, first = newest_study(), capsys.readouterr().out
    study.add_trial(study.trials[0])
    assert train(TWO) == 0
    assert first.endswith(capsys.readouterr().out.partition("\n")[2])


def test_show_ranks_and_trains_nothing(place, capsys):
    file = write("seeds = 1\n[[list]]\n[[list]]\nwhitening = false\nepochs = 3\n")
    with pytest.raises(UserError, match=r"no candidate of study mine-default-.* is done yet"):
        sweep.main([file, "--show"])
    assert not trained()
    sweep.main([file, "--jobs", "1"])
    capsys.readouterr()
    sweep.main([file, "--show"])
    output = capsys.readouterr().out
    assert "| the recipe as it is " in output
    assert "| whitening=false, epochs=3 " in output
    assert len(trained()) == 2
    with pytest.raises(UserError, match="no candidate of study mine-erav3-"):
        sweep.main([file, "--show", "--recipe", "erav3"])


@pytest.mark.parametrize(
    ("url", "status"),
    [("nonsense", 2), ("a://b:c/secret", 2), ("nosuchdb://me:secret@host/x", 1), ("sqlite:////proc/nowhere/x.db", 1)],
)
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(place, inject, capsys, url, status):
    inject("database that cannot be used")
    with pytest.raises(SystemExit, match=str(status)):
        cli.run(lambda: sweep.main([write("[[list]]\n"), "--storage", url]))
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "secret" not in errors
    assert not trained()


FAULTS = {
    "": "one of [grid], [[list]], [ranges] is needed, got none",
    "[grid]\nepochs = [1]\n[[list]]\nepochs = 1": "needed, got [grid] and [[list]]",
    "[grid]\nepoch = [1]": "epoch=1: a recipe has no field 'epoch'",
    "[grid]\nepochs = [1, 0]": "epochs=0: epochs must be between 0.001 and 100,000, got 0",
    "[grid]\nepochs = [2, 2]": "epochs=2 is there twice",
    "[grid]\nepochs = 3": "expected `array`, got `int`",
    "[grid]\nholdout = [false]": "holdout must be the same for all candidates",
    '[grid]\narchitecture = ["resnet"]': "'resnet'",
    "[[list]]\nmomentum = 0": "momentum=0: nesterov needs a momentum above 0",
    "[ranges]\nlearning_rate = {low = 0.1, high = 1}": "[ranges] need trials",
    "trials = 3\n[[list]]": "[grid] and [[list]] have theirs",
    "trials = 0\n[ranges]\nlearning_rate = {low = 0.1, high = 1}": "trials: expected `int` >= 1",
    "trials = 3\n[ranges]\nlearning_rate = {low = 1, high = 0.1}": "`low <= high` must hold, but got (low=1, high=0.1)",
    "trials = 3\n[ranges]\nlearning_rate = {low = 0, high = 1, log = true}": "learning_rate: `low > 0` must hold",
    "trials = 3\n[ranges]\nwhitening = {low = 0, high = 1}": "whitening must be of type bool, got 0",
    "trials = 3\n[ranges]\nlearning_rate = {low = 0.1}": "missing required field `high`",
    'recipe = "fat"\n[[list]]': "unknown recipe 'fat'; there are: default",
    "seeds = 0\n[[list]]": "seeds",
    "holdout = 0\n[[list]]": "validation_images must be between 1",
    "epochs = 0\n[[list]]": "epochs must be between 0.001",
    'trials = 3\n[ranges]\nschedule = ["cosine"]': "schedule must be one of constant",
    "seed = 3\n[[list]]": "unknown field `seed`",
    'name = "a/b"\n[[list]]': "name",
    "[grid\n": "is not valid TOML",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_of_the_file_is_one_line_before_anything_is_trained(place, inject, capsys, text):
    inject("faulty sweep file")
    Path("mine.toml").write_text('recipe = "default"\n' * ("recipe" not in text) + text)
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: sweep.main(["mine.toml"]))
    errors = capsys.readouterr().err
    assert stop.value.code == 2
    assert FAULTS[text] in errors
    assert "mine.toml" in errors or "resnet" in errors
    assert errors.count("\n") == 1
    assert not Path("results").exists()


def test_a_grid_is_every_combination():
    path = Path(sweep.__file__).parent / "sweeps" / "example.toml"
    example = sweep.Sweep(path.stem, **settings.load_config(path))
    pairs = [tuple(changes.values()) for changes in example.candidates]
    assert pairs == [(rate, start) for rate in (0.2, 0.4, 0.8) for start in (0.2, 0.4)]
    assert (example.name, example.recipe, example.seeds, example.trials) == ("example", "default", [0, 1, 2], 6)
