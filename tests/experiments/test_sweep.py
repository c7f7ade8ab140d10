"""Sweeps: some with real trainings on small data, most with a script in the place of train.py that makes results up."""

import collections
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from support import UserError, cli

import optuna
import pytest
import spawned
from optuna.trial import TrialState

import data
import results
from experiments import records, study, sweep

PATH = os.pathsep.join([*sys.path, str(Path(spawned.__file__).parent)])

# Takes train.py's flags and writes a run's results: 99 % less what the learning rate is off 0.4, and the seed.
MADE_UP = """
import json, os, pathlib, sys, time
import made_up, results
flags = dict(zip([flag for flag in sys.argv[1:] if flag.startswith("--")], sys.argv[1:]))
given = dict(flag[2:].split("=", 1) for flag in sys.argv[1:] if "=" in flag)
value = lambda name: sys.argv[sys.argv.index(name) + 1]
lr, seed, out = float(given.get("learning-rate", 0.4)), int(value("--seed")), pathlib.Path(value("--out"))
assert given["holdout"] == "True"
if lr > 5:
    sys.exit("train.py: the loss became nan in epoch 1")
if not results.path(out).exists():
    with open("log", "a") as log:
        log.write(f"{out.name} {os.getppid()}\\n")
    time.sleep(float(os.environ.get("SLEEP", 0)))
    accuracy = 99 - abs(lr - 0.4) - 0.01 * seed + 0.001 * (seed * lr * 1000 % 7)
    run = made_up.run(accuracy, seed, recipe={"name": "fast", "holdout": True})
    run = {key.replace("final_test", "final_validation"): value for key, value in run.items()}
    results.write(out, run)
"""

# A sweep as a process of its own, whose trainings are made up.
PROCESS = f"""
import pathlib, sys
import results
from support import cli
from experiments import records, study, sweep
records.TRAIN = ["-c", {MADE_UP!r}]
sweep.FOLDER = pathlib.Path("results/sweeps")
study.HEARTBEAT, study.GRACE = 1, 3
sys.argv = ["sweep.py", *sys.argv[1:]]
sys.exit(cli.run(lambda: sweep.main(sys.argv[1:]), sweep.RESUME))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, where a sweep finds made-up trainings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", PATH)
    monkeypatch.setattr(sweep, "FOLDER", Path("results/sweeps"))
    monkeypatch.setattr(records, "TRAIN", ["-c", MADE_UP])
    return tmp_path


def write(text, name="mine.toml"):
    Path(name).write_text(f'recipe = "fast"\nholdout = 50\n{text}')
    return name


def start(*flags, **environment):
    place = {**os.environ, **environment}
    command = [sys.executable, "-c", PROCESS, *map(str, flags)]
    return subprocess.Popen(command, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def trained():
    """[(run, process that trained it)], as the made-up trainings wrote them down."""
    return [line.split() for line in Path("log").read_text().splitlines()] if Path("log").exists() else []


def trials(name="mine"):
    """The trials of the newest study in the database that a sweep has by default."""
    url = f"sqlite:///results/sweeps/{name}.db"
    return optuna.load_study(study_name=optuna.get_all_study_names(url)[-1], storage=url).trials


def states(name="mine"):
    return collections.Counter(trial.state for trial in trials(name))


def test_candidates_are_trained_on_held_out_images_and_the_test_images_never_loaded(
    small_folder, place, monkeypatch, capsys
):
    folder = shutil.copytree(small_folder, place / "small")
    for name in data.FILES["test"]:
        (data.DATASETS["mnist"].raw_dir(folder) / name).write_bytes(b"not to be read")
    script = Path(spawned.__file__).with_name("killed_run.py")
    monkeypatch.setattr(records, "TRAIN", [str(script), str(folder)])
    flags = [write("seeds = 2\n[grid]\nepochs = [1]\nlearning_rate = [0.4, 0.001]\n"), "--data", str(folder)]
    flags += ["--device", "cpu", "--jobs", "2"]
    assert sweep.main(flags) == 0
    output = capsys.readouterr().out
    assert "| epochs=1, learning_rate=0.4 " in output
    runs = {path: path.stat().st_mtime_ns for path in place.glob("results/sweeps/*/*/results.json")}
    assert len(runs) == 4
    found = results.read(min(runs).parent)
    assert found["recipe"]["holdout"]
    assert "final_test_accuracy" not in found
    accuracies = [list(trial.intermediate_values.values()) for trial in trials()]
    assert [trial.value for trial in trials()] == [pytest.approx(sum(both) / 2) for both in accuracies]
    assert trials()[0].value > trials()[1].value

    assert sweep.main(flags) == 0
    assert {path: path.stat().st_mtime_ns for path in runs} == runs


GRID = "seeds = 2\n[grid]\nlearning_rate = [0.2, 0.3, 0.4, 0.5]\n"


def test_two_processes_share_the_work_of_one_study(place):
    processes = [start(write(GRID), "--jobs", "1", SLEEP="1") for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    runs = [run for run, _ in trained()]
    assert len(runs) == len(set(runs)) == 8  # all, and none twice
    assert {int(process) for _, process in trained()} == {process.pid for process in processes}
    assert states()[TrialState.COMPLETE] == 4
    rankings = [output[output.index("| candidate") :] for output, _ in outputs]
    assert rankings[0] == rankings[1]
    assert "best: learning_rate=0.4" in rankings[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_goes_on_where_it_was(place, monkeypatch, capsys, inject, number):
    file = write(GRID)
    process = start(file, "--jobs", "1", SLEEP="1")
    while len(trained()) < 4:  # the second seed of the second candidate
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    inject("signal to a sweep")
    process.send_signal(number)
    errors = process.communicate()[1]
    if number == signal.SIGINT:
        assert (process.returncode, errors) == (130, f"sweep.py: stopped by Ctrl-C; {sweep.RESUME}\n")
        assert states()[TrialState.RUNNING] == 0
    time.sleep(1)  # the made-up training that was under way knows of no parent
    finished = {path.parent.name for path in place.glob("results/sweeps/*/*/results.json")}
    before = len(trained())
    monkeypatch.setattr(study, "HEARTBEAT", 1)
    monkeypatch.setattr(study, "GRACE", 3)
    assert sweep.main([file, "--jobs", "1"]) == 0
    assert states()[TrialState.COMPLETE] == 4
    assert not states()[TrialState.RUNNING]
    assert not finished & {run for run, _ in trained()[before:]}
    assert "best: learning_rate=0.4" in capsys.readouterr().out


def test_what_is_added_to_the_file_alone_is_trained(place):
    assert sweep.main([write("seeds = 1\n[grid]\nlearning_rate = [0.1, 0.2]\n"), "--jobs", "2"]) == 0
    assert sweep.main([write("seeds = 2\n[grid]\nlearning_rate = [0.1, 0.2]\n"), "--jobs", "2"]) == 0
    assert sweep.main([write("seeds = 2\n[grid]\nlearning_rate = [0.1, 0.2, 0.3]\n"), "--jobs", "2"]) == 0
    runs = [run for run, _ in trained()]
    assert len(runs) == len(set(runs)) == 6
    assert states() == {TrialState.COMPLETE: 3}


def test_a_candidate_that_three_seeds_show_to_be_worse_is_given_up(place, capsys):
    assert sweep.main([write("seeds = 5\n[grid]\nlearning_rate = [0.4, 3.0]\n"), "--jobs", "1"]) == 0
    assert [len(trial.intermediate_values) for trial in trials()] == [5, 3]
    assert states() == {TrialState.COMPLETE: 1, TrialState.PRUNED: 1}
    output = capsys.readouterr().out
    assert "3, pruned" in output
    assert "comparisons: 1; not told apart" in output


def test_optuna_looks_for_candidates_in_ranges(place):
    ranges = "[ranges]\nlearning_rate = {low = 0.01, high = 1.0, log = true}\nbatch_size = {low = 64, high = 512}\n"
    assert sweep.main([write(f"seeds = 1\ntrials = 3\n{ranges}"), "--jobs", "1"]) == 0
    assert states() == {TrialState.COMPLETE: 3}
    assert len({trial.params["learning_rate"] for trial in trials()}) == 3
    assert all(0.01 <= trial.params["learning_rate"] <= 1 for trial in trials())
    assert all(type(trial.params["batch_size"]) is int for trial in trials())
    assert sweep.main([write(f"seeds = 1\ntrials = 4\n{ranges}"), "--jobs", "1"]) == 0
    assert states() == {TrialState.COMPLETE: 4}


def test_what_optuna_had_picked_when_it_was_stopped_is_trained_by_the_next_command(place, monkeypatch, inject):
    file = write("seeds = 1\ntrials = 2\n[ranges]\nlearning_rate = {low = 0.01, high = 1.0}\n")

    def stop(*_):
        inject("Ctrl-C in a search")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(study.Worker, "train_seeds", stop)
        sweep.main([file])
    assert states() == {TrialState.FAIL: 1, TrialState.WAITING: 2}
    assert sweep.main([file, "--jobs", "1"]) == 0
    assert states() == {TrialState.FAIL: 1, TrialState.COMPLETE: 2}
    picked = trials()[0].params
    assert [trial.params for trial in trials()].count(picked) == 2


def test_a_candidate_that_fails_is_named_and_the_others_are_ranked(place, inject, capsys):
    inject("loss that is not finite")
    assert sweep.main([write("seeds = 2\n[grid]\nlearning_rate = [9.0, 0.4]\n"), "--jobs", "1"]) == 0
    output = capsys.readouterr().out
    reason = "fast seed 0 failed: train.py: the loss became nan in epoch 1"
    assert f"failed: learning_rate=9: {reason}\n" in output
    assert "best: learning_rate=0.4\n" in output
    with pytest.raises(UserError, match="no candidate is done yet; failed: learning_rate=8"):
        sweep.main([write("seeds = 1\n[grid]\nlearning_rate = [8.0]\n")])


def test_a_candidate_that_two_processes_put_into_the_queue_is_trained_once(place, monkeypatch, inject):
    inject("candidate put into the queue twice")
    open_study = study.open_study

    def open_twice(*arguments):
        found = open_study(*arguments)
        found.enqueue_trial({"learning_rate": 0.1}, user_attrs={"candidate": 1})
        return found

    monkeypatch.setattr(study, "open_study", open_twice)
    file = write("seeds = 1\n[grid]\nlearning_rate = [9.0, 0.1]\n")
    for again in (0, 1):  # the one that fails is tried again, as itself
        assert sweep.main([file, "--jobs", "1"]) == 0
        assert states() == {TrialState.COMPLETE: 1, TrialState.FAIL: 2 + 2 * again}
        assert len(trained()) == 1
        assert {trial.params["learning_rate"] for trial in trials() if trial.params} == {9.0, 0.1}


def test_show_ranks_and_makes_nothing(place, capsys):
    file = write("seeds = 1\n[grid]\nlearning_rate = [0.1]\n")
    with pytest.raises(UserError, match=r"there is no study mine-fast-.* in sqlite:///results/sweeps/mine.db yet"):
        sweep.main([file, "--show"])
    assert not Path("results").exists()
    assert sweep.main([file, "--jobs", "1"]) == 0
    trained_before = trained()
    capsys.readouterr()
    assert sweep.main([file, "--show"]) == 0
    assert "best: learning_rate=0.1" in capsys.readouterr().out
    assert trained() == trained_before
    with pytest.raises(UserError, match="there is no study mine-default-"):
        sweep.main([file, "--show", "--recipe", "default"])


@pytest.mark.parametrize("url", ["nonsense", "a://b:c/d", "nosuchdb://host/x", "sqlite:////proc/nowhere/x.db"])
def test_a_database_that_cannot_be_used_is_one_line(place, inject, url):
    inject("database that cannot be used")
    with pytest.raises(UserError) as error:
        sweep.main([write("[[list]]\n"), "--storage", url])
    assert "\n" not in str(error.value)
    assert not trained()


def test_a_password_is_not_shown():
    assert study.hide_password("postgresql://me:secret@host/x") == "postgresql://me:***@host/x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[grid]\nepoch = [1]", "mine.toml: epoch=1: a recipe has no field 'epoch'"),
        ('[grid]\narchitecture = ["resnet"]', "'resnet'"),
        ("[grid]\nepochs = [1", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_line_and_status_2(place, capsys, inject, text, said):
    inject("faulty sweep file")
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: sweep.main([write(text)]))
    errors = capsys.readouterr().err
    assert stop.value.code == 2
    assert said in errors
    assert errors.count("\n") == 1
    assert not Path("results").exists()
