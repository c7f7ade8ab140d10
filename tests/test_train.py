import contextlib
import dataclasses
import functools
import json
import math
import shutil
import signal
import time

from support import UserError, cli, devices, files

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


@pytest.fixture
def saving_seconds(monkeypatch):
    """The seconds of every save and every results.json."""
    seconds = []

    def timed(save, *arguments, **named):
        start = time.perf_counter()
        save(*arguments, **named)
        seconds.append(time.perf_counter() - start)

    for module, name in ((checkpoint, "save"), (results, "write")):
        monkeypatch.setattr(module, name, functools.partial(timed, getattr(module, name)))
    return seconds


def test_one_epoch_of_the_default_on_the_real_data_passes_the_gate(mnist_folder, tmp_path, capsys, saving_seconds):
    assert train.main(["--epochs", "1", "--data", str(mnist_folder), "--out", str(tmp_path)]) == 0
    found = results.read(tmp_path)
    assert found["final_test_accuracy"] >= GATE
    assert min(found["per_class_accuracy"].values()) >= 95
    assert found["total_parameters"] < verdict.PARAMETER_LIMIT
    assert len(saving_seconds) == 2
    assert sum(saving_seconds) < 0.02 * found["training_time"]
    assert "1/1" in capsys.readouterr().out
    deployable, state = checkpoint.load_model(tmp_path, "cpu")
    evaluation = evaluate(deployable, data.load("mnist", mnist_folder, "test"), tuple(state["classes"]))
    assert evaluation.accuracy == found["final_test_accuracy"]


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_trains(name, train_small, tmp_path):
    few = ("--finder-num-iter", 20, "--validation-images", 650)  # 400 to train on
    assert train_small("--recipe", name, "--epochs", 1, *few)[0] == 0
    found = results.read(tmp_path / "run")
    assert found["finished"]
    assert all(math.isfinite(value) for value in found["history"][0].values())


def test_results_hold_what_the_contract_names(train_small, tmp_path):
    train_small("--epochs", 2, "--seed", 3)
    text = (tmp_path / "run" / "results.json").read_text()
    found = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not strict JSON"))
    assert found["recipe"] == dataclasses.asdict(recipes.get_recipe("default", epochs=2, batch_size=100))
    assert (found["schema"], found["finished"], found["seed"], found["total_epochs"]) == (results.SCHEMA, True, 3, 2)
    assert found["final_test_accuracy"] == found["history"][-1]["test_accuracy"]
    low, high = found["final_test_accuracy_ci95"]
    assert low < found["final_test_accuracy"] < high
    assert set(found["per_class_accuracy"]) == set("0123456789")
    figures = {f"{part}_{figure}" for part in ("train", "val", "test") for figure in ("loss", "accuracy")}
    assert set(found["history"][0]) == {"epoch", "lr", "seconds"} | figures
    seconds = found["preparation_seconds"] + sum(entry["seconds"] for entry in found["history"])
    assert found["training_time"] == pytest.approx(seconds)
    assert {"python", "torch", "numpy", "platform", "cpu", "device", "threads", "commit"} <= set(found["environment"])


def test_a_run_stopped_between_its_last_checkpoint_and_its_results_gets_them(train_small, tmp_path):
    train_small("--epochs", 2)
    path = tmp_path / "run" / "results.json"
    whole = results.read(tmp_path / "run")
    path.unlink()
    train_small("--epochs", 2)
    assert results.read(tmp_path / "run") == whole


def test_a_seed_decides_the_weights(train_small, tmp_path):
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        train_small("--epochs", 2, "--seed", seed, out=folder)
    a, b, c = (checkpoint.load_newest(tmp_path / folder) for folder in "abc")
    states.assert_equal(a, b)
    assert not torch.equal(a["model"]["0.weight"], c["model"]["0.weight"])


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """A folder for runs that several tests look at, each trained by the first of them."""
    return tmp_path_factory.mktemp("whole")


STOPS = [(2,), (1, 2, 3)]
MORE_STOPS = [(1,), (3,), (1, 2)]
OTHERS = ("erav3", "mnist-ops", "mnist-experiment-aug")  # momentum with the learning rate, one that drops, Adagrad


@pytest.mark.parametrize(
    ("name", "stops"),
    [(name, stops) for name in ("default", "fast") for stops in STOPS]
    + [pytest.param(name, stops, marks=pytest.mark.slow) for name in ("default", "fast") for stops in MORE_STOPS]
    + [pytest.param(name, (1, 2, 3), marks=pytest.mark.slow) for name in OTHERS],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    train_small, whole_runs, tmp_path, monkeypatch, inject, name, stops
):
    settings = ("--recipe", name, "--epochs", 4, "--finder-num-iter", 20)
    whole = whole_runs / name
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


def test_a_finished_run_is_shown_and_not_touched_without_overwrite(train_small, tmp_path):
    first = train_small("--epochs", 1)[1].splitlines()
    path = tmp_path / "run" / "results.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    status, output, _ = train_small("--epochs", 1)
    assert status == 0
    assert "finished already" in output
    assert output.splitlines()[-1] == first[-1]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert train_small("--epochs", 1, "--overwrite")[0] == 0
    assert path.stat().st_mtime_ns != before[1]


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (("--epochs", 3), "epochs"),
        (("--batch-size", 50), "batch_size"),
        (("--learning-rate", 0.1), "learning_rate"),
        (("--seed", 1), "seed"),
        (("--architecture", "erav3"), "architecture"),
        (("--recipe", "fast"), "name"),
    ],
)
def test_another_recipe_or_seed_in_the_same_folder_is_refused_by_name(
    train_small, whole_runs, tmp_path, inject, changes, field, finished
):
    if not (whole_runs / "other").exists():
        train_small("--epochs", 2, out=whole_runs / "other")
    shutil.copytree(whole_runs / "other", tmp_path / "run")
    inject("run of another recipe")
    if not finished:
        (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(ValueError, match=rf"holds a run with {field} .*--overwrite"):
        train_small("--epochs", 2, *changes)
    assert checkpoint.load_newest(tmp_path / "run")["epoch"] == 2


def test_an_unfinished_run_without_checkpoints_is_not_silently_replaced_by_another(train_small, tmp_path, inject):
    train_small("--epochs", 2)
    results.write(tmp_path / "run", results.read(tmp_path / "run") | {"finished": False})
    checkpoint.remove(tmp_path / "run")
    inject("run of another recipe")
    with pytest.raises(ValueError, match="holds a run with seed 0, this one has 1"):
        train_small("--epochs", 2, "--seed", 1)


@pytest.mark.parametrize("finished", [True, False])
def test_a_network_that_changed_since_is_refused(train_small, tmp_path, monkeypatch, finished):
    train_small("--epochs", 2)
    if not finished:
        (tmp_path / "run" / "results.json").unlink()
    monkeypatch.setitem(model.ARCHITECTURES, "default", model.mnist_ops)
    with pytest.raises(ValueError, match=r"'default' has changed in model\.py"):
        train_small("--epochs", 2)
    with pytest.raises(ValueError, match="'default' has changed"):
        checkpoint.load_model(tmp_path / "run", "cpu")


STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


def assert_stopped(ended, number):
    """A process ended as asked, with a line that says how to go on."""
    status, _, errors = ended
    assert status == STATUS[number]
    assert errors == f"train.py: stopped by {NAMES[number]}; {cli.RESUME}\n"


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_in_training_stops_it_and_it_goes_on(launch, whole, tmp_path, inject, number):
    training = launch("--epochs", 6)
    training.wait_for("2/6")
    inject("signal in training")
    training.signal(number)
    assert_stopped(training.end(), number)
    assert launch("--epochs", 6).end()[0] == 0
    states.assert_same_run(tmp_path / "run", whole[0])


@pytest.mark.parametrize("act", [spawned.terminate, spawned.interrupt])
def test_a_signal_in_evaluation_stops_a_training(launch, inject, act):
    inject("signal in evaluation")
    ended = launch("--epochs", 2, fault=spawned.InEvaluation(act)).end()
    assert_stopped(ended, signal.SIGTERM if act is spawned.terminate else signal.SIGINT)


@pytest.mark.parametrize("moment", [20, 30, 40, pytest.param(90, marks=pytest.mark.slow)])
@pytest.mark.parametrize("act", [spawned.terminate, spawned.interrupt])
def test_a_signal_in_saving_stops_a_training_and_leaves_no_half_a_file(launch, tmp_path, inject, act, moment):
    inject("signal in saving")
    ended = launch("--epochs", 3, fault=spawned.SavingLines(moment, act)).end()
    assert_stopped(ended, signal.SIGTERM if act is spawned.terminate else signal.SIGINT)
    assert not list((tmp_path / "run").rglob(f".*{files.SUFFIX}"))
    assert launch("--epochs", 3).end()[0] == 0


@pytest.mark.parametrize("number", STATUS)
def test_a_second_signal_ends_at_once(launch, inject, number):
    training = launch("--epochs", 2, fault=spawned.hang)
    training.wait_for("hanging")
    training.signal(number)
    training.wait_for("hanging again")
    inject("second signal")
    training.signal(number)
    assert training.end()[0] == -number


def test_damaged_results_are_written_again_from_the_checkpoints(train_small, tmp_path, inject):
    train_small("--epochs", 2)
    path = tmp_path / "run" / "results.json"
    whole = path.read_text()
    for damage in (whole[:100], "", "[]", "{}", whole.replace(f'"schema": {results.SCHEMA}', '"schema": 0')):
        path.write_text(damage)
        inject("damaged results.json")
        status, _, errors = train_small("--epochs", 2)
        assert status == 0
        assert f"warning: {path} " in errors
        assert path.read_text() == whole
    checkpoint.remove(tmp_path / "run")
    path.write_text("{}")
    with pytest.raises(ValueError, match="remove it, or train again with --overwrite"):
        train_small("--epochs", 2)


@pytest.mark.parametrize(
    ("changes", "error"),
    [(("--batch-size", 1001), ValueError), (("--learning-rate", 1e20, "--schedule", "constant"), UserError)],
)
def test_overwrite_keeps_the_old_run_until_the_new_one_has_an_epoch(train_small, tmp_path, inject, changes, error):
    train_small("--epochs", 2)
    before = results.read(tmp_path / "run")
    inject("new run that fails")
    with pytest.raises(error):
        train_small("--epochs", 2, "--overwrite", *changes)
    assert results.read(tmp_path / "run") == before
    assert list(checkpoint.epochs(tmp_path / "run")) == [1, 2]
    assert train_small("--epochs", 1, "--overwrite")[0] == 0
    assert list(checkpoint.epochs(tmp_path / "run")) == [1]


@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=[pytest.mark.slow] * (moment % 2)) for moment in range(1, 8)]
)
def test_a_run_whose_removal_is_stopped_does_not_pass_as_the_new_one(
    train_small, whole_runs, tmp_path, monkeypatch, inject, moment
):
    if not (whole_runs / "replaced").exists():
        train_small("--epochs", 2, out=whole_runs / "replaced")
    shutil.copytree(whole_runs / "replaced", tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "notes.txt").write_text("mine")
    left = [moment]

    def stop_at(call):
        def stopping(*arguments, **named):
            left[0] -= 1
            if left[0] == 0:
                inject("stop while a run is replaced")
                raise KeyboardInterrupt
            return call(*arguments, **named)

        return stopping

    with monkeypatch.context() as patch:
        for name in ("unlink", "replace", "rmdir"):
            patch.setattr(checkpoint.Path, name, stop_at(getattr(checkpoint.Path, name)))
        with contextlib.suppress(KeyboardInterrupt):
            train_small("--epochs", 2, "--overwrite")
    assert left[0] <= 0
    run = tmp_path / "run"
    assert list(checkpoint.epochs(run)) in ([1, 2], [])
    train_small("--epochs", 2, "--overwrite")
    assert list(checkpoint.epochs(run)) == [1, 2]
    assert (run / "checkpoints" / "notes.txt").read_text() == "mine"
    assert not (run / ".replaced").exists()


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
        train_small("--epochs", 3)
    assert not list((tmp_path / "run").iterdir())


def test_an_image_poisoned_on_the_way_stops_and_the_last_checkpoint_stands(train_small, tmp_path, monkeypatch, inject):
    train_small("--epochs", 3, out="whole")
    # Of an epoch one chunk is augmented, two sets of images are evaluated, and the saved model is probed.
    forward, broken = model.Normalize.forward, iter([False] * 4 + [True] * 100)

    def poison(normalize, images):
        images = forward(normalize, images)
        return images.index_fill(0, torch.tensor([0]), math.nan) if next(broken) else images

    inject("poisoned image")
    with monkeypatch.context() as patch:
        patch.setattr(model.Normalize, "forward", poison)
        with pytest.raises(UserError, match="became nan in epoch 2: stopped; what was saved is whole"):
            train_small("--epochs", 3)
    assert list(checkpoint.epochs(tmp_path / "run")) == [1]
    assert len(results.read(tmp_path / "run")["history"]) == 1
    assert train_small("--epochs", 3)[0] == 0
    states.assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_an_update_that_breaks_the_model_at_an_epochs_end_is_not_saved(train_small, tmp_path, monkeypatch):
    def linear(num_classes):  # without BatchNorm, which would hide it
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, num_classes))

    monkeypatch.setitem(model.ARCHITECTURES, "linear", linear)
    with pytest.raises(UserError):
        train_small("--architecture", "linear", "--epochs", 2, "--learning-rate", 1e38, "--batch-size", 1000)
    assert not checkpoint.epochs(tmp_path / "run")


def test_best_model_is_the_best_epochs(train_small, tmp_path):
    train_small("--epochs", 3)
    history = results.read(tmp_path / "run")["history"]
    best = max(history, key=lambda entry: (entry["val_accuracy"], -entry["val_loss"], entry["epoch"]))
    saved = checkpoint.load(checkpoint.checkpoint_dir(tmp_path / "run") / "best_model.pt")
    assert saved["epoch"] == best["epoch"]


def test_an_infinite_rate_stops_before_the_update(train_small, small_mnist, tmp_path, inject):
    inject("infinite loss")
    with pytest.raises(UserError, match=r"the loss became .* in epoch 1"):
        train_small("--epochs", 2, "--learning-rate", 1e20, "--schedule", "constant")
    assert not checkpoint.epochs(tmp_path / "run")


def test_a_batch_larger_than_the_data_is_refused(train_small):
    with pytest.raises(ValueError, match="batch_size must be at most 1,000"):
        train_small("--batch-size", 1001)


def test_precision_follows_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    for flags, expected in (("avx2 avx512f", "float32"), ("avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16")):
        monkeypatch.setattr(devices, "cpuinfo", lambda _, flags=flags: flags)
        assert devices.resolve_precision("auto", cpu) == expected
    assert devices.resolve_precision("float32", cpu) == "float32"
