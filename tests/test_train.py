import dataclasses
import functools
import json
import math
import shutil
import signal
import time

from support import UserError, cli, files

import pytest
import spawned
import states
import torch

import checkpoint
import data
import model
import recipes
import results
import train
import verdict
from evaluate import evaluate
from trainer import Trainer

GATE = 98.0  # percent after one epoch; the published gate is 95


def timed(seconds, save, *arguments, **named):
    start = time.perf_counter()
    save(*arguments, **named)
    seconds.append(time.perf_counter() - start)


def test_one_epoch_of_the_default_on_the_real_data_passes_the_gate(mnist_folder, tmp_path, capsys, monkeypatch):
    saving = []
    for module in (checkpoint, results):
        monkeypatch.setattr(module, "save", functools.partial(timed, saving, module.save))
    train.main(["--epochs", "1", "--data", str(mnist_folder), "--out", str(tmp_path)])
    result = results.load(tmp_path)
    assert result["final_test_accuracy"] >= GATE
    assert min(result["per_class_accuracy"].values()) >= 95
    assert result["total_parameters"] < verdict.PARAMETER_LIMIT
    assert len(saving) == 2
    assert sum(saving) < 0.02 * result["training_time"]
    assert "1/1" in capsys.readouterr().out
    deployable, state = checkpoint.load_model(tmp_path, "cpu")
    evaluation = evaluate(deployable, data.load("mnist", mnist_folder, "test"), tuple(state["classes"]))
    assert evaluation.accuracy == result["final_test_accuracy"]


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_trains(name, train_small, tmp_path):
    few = ("--finder-num-iter", 20, "--validation-images", 650)  # 400 to train on
    assert train_small("--recipe", name, "--epochs", 1, *few)[0] == 0
    result = results.load(tmp_path / "run")
    assert result["finished"]
    assert all(math.isfinite(value) for value in result["history"][0].values())


def test_results_hold_what_the_contract_names(two_epochs):
    text = results.results_path(two_epochs).read_text()
    result = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not strict JSON"))
    assert result["recipe"] == dataclasses.asdict(recipes.get_recipe("default", epochs=2, batch_size=100))
    assert [result[key] for key in ("schema", "finished", "seed", "total_epochs")] == [results.SCHEMA, True, 0, 2]
    assert result["final_test_accuracy"] == result["history"][-1]["test_accuracy"]
    low, high = result["final_test_accuracy_ci95"]
    assert low < result["final_test_accuracy"] < high
    assert set(result["per_class_accuracy"]) == set("0123456789")
    figures = {f"{part}_{figure}" for part in ("train", "val", "test") for figure in ("loss", "accuracy")}
    assert set(result["history"][0]) == {"epoch", "lr", "seconds"} | figures
    seconds = result["preparation_seconds"] + sum(entry["seconds"] for entry in result["history"])
    assert result["training_time"] == pytest.approx(seconds)
    assert {"python", "torch", "numpy", "platform", "cpu", "device", "threads", "commit"} <= set(result["environment"])
    best = max(result["history"], key=lambda entry: (entry["val_accuracy"], -entry["val_loss"], entry["epoch"]))
    assert checkpoint.load(checkpoint.checkpoint_dir(two_epochs) / "best_model.pt")["epoch"] == best["epoch"]


def test_a_seed_decides_the_weights(train_small, two_epochs, tmp_path):
    for seed in (0, 1):
        train_small("--epochs", 2, "--seed", seed, out=str(seed))
    same, other = (checkpoint.load_newest(tmp_path / seed) for seed in "01")
    states.assert_equal(same, checkpoint.load_newest(two_epochs))
    assert not torch.equal(same["model"]["0.weight"], other["model"]["0.weight"])


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """A folder for runs that several tests look at, each trained by the first of them."""
    return tmp_path_factory.mktemp("whole")


PREPARED = ("default", "--whitening", "true", "--batch-norm-images", 500)  # by the images, at both ends
RESUMED = [(recipe, stops) for recipe in (("default",), PREPARED) for stops in ((2,), (1, 2, 3))]
OTHERS = ("erav3", "mnist-ops", "mnist-experiment-aug")  # momentum with the learning rate, one that drops, Adagrad


@pytest.mark.parametrize(
    ("recipe", "stops"), RESUMED + [pytest.param((name,), (1, 2, 3), marks=pytest.mark.slow) for name in OTHERS]
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    train_small, whole_runs, tmp_path, monkeypatch, inject, recipe, stops
):
    settings = ("--recipe", *recipe, "--epochs", 4, "--finder-num-iter", 20)
    whole = whole_runs / "".join(map(str, recipe))
    if not whole.exists():
        train_small(*settings, out=whole)
    save = checkpoint.save

    def stop_after_saving(run, state, best):
        save(run, state, best)
        if state["epoch"] in stops:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop_after_saving)
    for _ in stops:
        inject("stop after a checkpoint")
        with pytest.raises(KeyboardInterrupt):
            train_small(*settings)
    monkeypatch.setattr(checkpoint, "save", save)
    assert f"resuming after epoch {stops[-1]} of 4" in train_small(*settings)[1]
    states.assert_same_run(tmp_path / "run", whole)


def test_a_finished_run_is_shown_and_not_touched_without_overwrite(train_small, finished):
    path = results.results_path(finished)
    before = path.read_bytes(), path.stat().st_mtime_ns
    status, output, _ = train_small("--epochs", 2)
    assert status == 0
    assert "finished already" in output
    assert output.splitlines()[-1] == f"next: make report RUN={finished}"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert train_small("--epochs", 1, "--overwrite")[0] == 0
    assert path.stat().st_mtime_ns != before[1]


@pytest.mark.parametrize("left", ["everything", "checkpoints", "results"])
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (("--epochs", 3), "epochs"),
        (("--batch-size", 50), "batch_size"),
        (("--learning-rate", 0.1), "learning_rate"),
        (("--seed", 1), "seed"),
        (("--architecture", "erav3"), "architecture"),
        (("--recipe", "erav3"), "name"),
    ],
)
def test_another_recipe_or_seed_in_the_same_folder_is_refused_by_name(
    train_small, finished, inject, changes, field, left
):
    if left == "checkpoints":
        results.remove(finished)
    if left == "results":
        checkpoint.remove(finished)
        results.save(finished, results.load(finished) | {"finished": False})
    before = states.names(finished)
    inject("run of another recipe")
    with pytest.raises(ValueError, match=rf"holds a run with {field} .*--overwrite"):
        train_small("--epochs", 2, *changes)
    assert states.names(finished) == before


@pytest.mark.parametrize("has_results", [True, False])
def test_a_network_that_changed_since_is_refused(train_small, finished, monkeypatch, has_results):
    if not has_results:
        results.remove(finished)
    monkeypatch.setitem(model.ARCHITECTURES, "default", model.ARCHITECTURES["mnist-ops"])
    with pytest.raises(ValueError, match=r"'default' has changed in model\.py"):
        train_small("--epochs", 2)
    with pytest.raises(ValueError, match="'default' has changed"):
        checkpoint.load_model(finished, "cpu")


STOPPED = {signal.SIGTERM: ("SIGTERM", 143), signal.SIGINT: ("Ctrl-C", 130)}
ACTS = {signal.SIGTERM: spawned.terminate, signal.SIGINT: spawned.interrupt}


def assert_stopped(ended, number):
    """A process ended as asked, with a line that says how to go on."""
    name, status = STOPPED[number]
    assert ended[0] == status
    assert ended[2] == f"train.py: stopped by {name}; {cli.RESUME}\n"


@pytest.mark.parametrize("number", STOPPED)
def test_a_signal_in_training_stops_it_and_it_goes_on(launch, whole, tmp_path, inject, number):
    training = launch("--epochs", 6)
    training.wait_for("2/6")
    inject("signal in training")
    training.signal(number)
    assert_stopped(training.end(), number)
    assert launch("--epochs", 6).end()[0] == 0
    states.assert_same_run(tmp_path / "run", whole[0])


@pytest.mark.parametrize("line", [0, 20, 40, pytest.param(90, marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", STOPPED)
def test_a_signal_in_evaluation_or_saving_stops_and_leaves_no_half_a_file(launch, tmp_path, inject, number, line):
    inject("signal in saving" if line else "signal in evaluation")
    act = ACTS[number]
    fault = spawned.AtLine(line, act) if line else spawned.Before(spawned.EVALUATION, act)
    assert_stopped(launch("--epochs", 2, fault=fault).end(), number)
    assert not list((tmp_path / "run").rglob(f".*{files.SUFFIX}"))
    assert launch("--epochs", 2).end()[0] == 0


@pytest.mark.parametrize("number", STOPPED)
def test_a_second_signal_ends_at_once(launch, inject, number):
    training = launch("--epochs", 2, fault=spawned.Before(spawned.END_OF_EPOCH, spawned.hang))
    training.wait_for("hanging")
    training.signal(number)
    training.wait_for("hanging again")
    inject("second signal")
    training.signal(number)
    assert training.end()[0] == -number


def test_missing_or_damaged_results_are_written_again_from_the_checkpoints(train_small, finished, inject):
    path = results.results_path(finished)
    whole = path.read_text()
    path.unlink()  # as when stopped between the last checkpoint and its results
    train_small("--epochs", 2)
    assert path.read_text() == whole
    for damage in (whole[:100], "", "[]", "{}", whole.replace(f'"schema": {results.SCHEMA}', '"schema": 0')):
        path.write_text(damage)
        inject("damaged results.json")
        status, _, errors = train_small("--epochs", 2)
        assert status == 0
        assert f"warning: {path} " in errors
        assert path.read_text() == whole
    checkpoint.remove(finished)
    path.write_text("{}")
    with pytest.raises(ValueError, match="remove it, or train again with --overwrite"):
        train_small("--epochs", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--batch-size", 1001), "batch_size must be at most 1,000"),
        (("--learning-rate", 1e20, "--schedule", "constant"), "the loss became .* in epoch 1"),
    ],
)
def test_overwrite_keeps_the_old_run_until_the_new_one_has_an_epoch(train_small, finished, inject, changes, message):
    before = results.load(finished)
    inject("new run that fails")
    with pytest.raises(UserError, match=message):
        train_small("--epochs", 2, "--overwrite", *changes)
    assert results.load(finished) == before
    assert list(checkpoint.epochs(finished)) == [1, 2]


@pytest.mark.parametrize("moment", range(1, 6))
def test_a_run_whose_removal_is_stopped_goes_on_as_itself(
    train_small, two_epochs, finished, monkeypatch, inject, moment
):
    unlink, left, notes = checkpoint.Path.unlink, [moment], finished / "checkpoints" / "notes.txt"
    notes.write_text("mine")

    def stop(path, **named):
        left[0] -= 1
        if left[0] == 0:
            inject("stop while a run is replaced")
            raise KeyboardInterrupt
        unlink(path, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.Path, "unlink", stop)
        train_small("--epochs", 2, "--overwrite")
    assert list(checkpoint.epochs(finished)) in ([1, 2], [1], [])
    train_small("--epochs", 2)
    assert notes.read_text() == "mine"
    notes.unlink()
    states.assert_same_run(finished, two_epochs)


def test_a_folder_that_is_removed_under_a_training_stops_it(train_small, tmp_path, monkeypatch, inject):
    average_processes = Trainer.average_processes

    def average_and_lose(trainer):
        average_processes(trainer)
        if len(trainer.history) == 1:  # the second epoch is trained
            inject("folder removed under a training")
            shutil.rmtree(tmp_path / "run")
            (tmp_path / "run").mkdir()

    monkeypatch.setattr(Trainer, "average_processes", average_and_lose)
    with pytest.raises(UserError, match="was removed while this process was at work in it"):
        train_small("--epochs", 2)
    assert not list((tmp_path / "run").iterdir())


def test_an_image_poisoned_on_the_way_stops_and_the_last_checkpoint_stands(
    train_small, two_epochs, tmp_path, monkeypatch, inject
):
    # Of an epoch one chunk is augmented, two sets of images are evaluated, and the saved model is probed.
    forward, broken = model.Normalize.forward, iter([False] * 4 + [True] * 100)

    def poison(normalize, images):
        images = forward(normalize, images)
        return images.index_fill(0, torch.tensor([0]), math.nan) if next(broken) else images

    inject("poisoned image")
    with monkeypatch.context() as patch:
        patch.setattr(model.Normalize, "forward", poison)
        with pytest.raises(UserError, match="became nan in epoch 2: stopped; what was saved is whole"):
            train_small("--epochs", 2)
    assert list(checkpoint.epochs(tmp_path / "run")) == [1]
    assert len(results.load(tmp_path / "run")["history"]) == 1
    assert train_small("--epochs", 2)[0] == 0
    states.assert_same_run(tmp_path / "run", two_epochs)


def test_an_update_that_breaks_the_model_at_an_epochs_end_is_not_saved(train_small, tmp_path, monkeypatch):
    def linear(num_classes):  # without BatchNorm, which would hide it
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, num_classes))

    monkeypatch.setitem(model.ARCHITECTURES, "linear", linear)
    with pytest.raises(UserError):
        train_small("--architecture", "linear", "--epochs", 2, "--learning-rate", 1e38, "--batch-size", 1000)
    assert not checkpoint.epochs(tmp_path / "run")
