import math

import pytest
import torch

import data
import evaluate
import recipes
import run as runs
import train

FIRST = torch.tensor([0])


def start(recipe, images, seed=0):
    return runs.Run(recipe, seed, torch.device("cpu"), *images)


def test_one_cycle_is_stepped_once_a_batch_and_reaches_its_peak(small_mnist):
    run = start(recipes.recipe("erav3", epochs=2), small_mnist)
    rates = []
    run.optimizer.register_step_pre_hook(lambda *_: rates.append(run.rate))
    run.advance()
    run.advance()
    assert len(rates) == 2 * math.ceil(1000 / 128)
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == pytest.approx(0.1, rel=0.02)
    assert rates[-1] < 0.01


@pytest.mark.parametrize(("epochs", "batch_size", "warmup"), [(2, 1000, 0.5), (5, 1000, 0.2), (4, 1000, 0.25)])
def test_one_cycle_over_too_few_steps_is_refused_with_the_remedy(small_mnist, epochs, batch_size, warmup):
    changes = {"epochs": epochs, "batch_size": batch_size, "warmup": warmup}
    with pytest.raises(ValueError, match=rf"one_cycle cannot rise within {warmup} of {epochs} steps: take more epochs"):
        start(recipes.recipe("default", **changes), small_mnist)


def test_one_cycle_without_a_rise_or_of_one_step_is_no_fault(small_mnist):
    for changes in ({"warmup": 0, "batch_size": 500}, {"batch_size": 1000}):
        run = start(recipes.recipe("default", epochs=1, **changes), small_mnist)
        run.advance()
        assert run.finished


def test_step_drops_the_rate_after_its_epochs(small_mnist):
    run = start(recipes.recipe("mnist-ops", epochs=4, step_epochs=2, learning_rate=0.05), small_mnist)
    for _ in range(4):
        run.advance()
    assert [entry["lr"] for entry in run.history] == pytest.approx([0.05, 0.05, 0.005, 0.005])


def test_a_plateau_of_the_validation_loss_drops_the_rate(small_mnist, monkeypatch):
    losses = iter([0.5, 0.4, 0.41, 0.399, 0.4, 0.3, 0.2])  # .399 is not lower by the threshold

    def loss(found):  # of the test images it grows, which is to change nothing
        return next(losses) if len(found.labels) == data.VALIDATION_IMAGES else 9.0

    monkeypatch.setattr(evaluate.Evaluation, "loss", property(loss))
    changes = {"schedule": "plateau", "learning_rate": 0.1, "plateau_patience": 1, "plateau_minimum": 0.005}
    run = start(recipes.recipe("mnist-7824", epochs=7, batch_size=500, **changes), small_mnist)
    for _ in range(7):
        run.advance()
    assert [entry["lr"] for entry in run.history] == pytest.approx([0.1] * 4 + [0.01] * 3)


def test_the_rate_on_a_plateau_does_not_fall_below_its_minimum(small_mnist, monkeypatch):
    monkeypatch.setattr(evaluate.Evaluation, "loss", property(lambda _: 1.0))
    changes = {"schedule": "plateau", "learning_rate": 0.1, "plateau_patience": 0, "plateau_minimum": 0.005}
    run = start(recipes.recipe("mnist-7824", epochs=5, batch_size=500, **changes), small_mnist)
    for _ in range(5):
        run.advance()
    assert [entry["lr"] for entry in run.history] == pytest.approx([0.1, 0.1, 0.01, 0.005, 0.005])


def test_an_update_of_the_optimizer_is_torchs_own(small_mnist):
    run = start(recipes.recipe("default"), small_mnist)
    assert isinstance(run.optimizer, torch.optim.SGD)
    assert run.optimizer.defaults["nesterov"]
    assert isinstance(start(recipes.recipe("mnist-experiment-aug"), small_mnist).optimizer, torch.optim.Adagrad)


def test_the_average_is_exponential_and_includes_batch_norm(small_mnist):
    recipe = recipes.recipe("default", average_decay=0.9, average_steps=1, epochs=1, batch_size=500)
    run = start(recipe, small_mnist)
    seen = []
    run.optimizer.register_step_post_hook(
        lambda *_: seen.append({name: value.detach().clone() for name, value in run.model.state_dict().items()})
    )
    run.train_epoch(1)
    assert len(seen) == 2
    for name, value in run.deployed.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.9 * seen[0][name] + 0.1 * seen[1][name])


def test_bfloat16_trains_too(small_mnist):
    run = start(recipes.recipe("default", precision="bfloat16", epochs=1, batch_size=500), small_mnist)
    loss, _ = run.train_epoch(1)
    assert math.isfinite(loss)
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())


def test_the_best_is_by_validation_then_loss_then_the_later(small_mnist):
    run = start(recipes.recipe("default"), small_mnist)
    figures = [(98, 0.1), (100, 0.3), (100, 0.2), (100, 0.2), (96, 0.0)]
    run.history = [
        {"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss}
        for epoch, (accuracy, loss) in enumerate(figures, 1)
    ]
    assert run.best["epoch"] == 4


@pytest.mark.parametrize(
    ("accuracies", "losses", "threshold", "phrase"),
    [
        ([98], [0.1], 0, "new best: the first"),
        ([96, 98, 100], [0.1, 0.05, 0.2], 0, "new best: 100 > 98 %"),
        ([98, 98], [0.1, 0.05], 0, "new best: loss 0.05 ≤ 0.1"),
        ([98, 98], [0.1, 0.1], 0, "new best: loss 0.1 ≤ 0.1"),
        ([100, 98], [0.1, 0.05], 0, "not best: 98 < 100 %"),
        ([98, 98], [0.1, 0.2], 0, "not best: loss 0.2 > 0.1"),
        ([96], [0.1], 98, "not kept: validation below 98 %"),
        ([98], [0.1], 98, "new best: the first"),
        ([100, 100], [0.00118, 0.00122], 0, "not best: loss 0.00122 > 0.00118"),
    ],
)
def test_a_phrase_tells_why_a_network_is_kept_as_the_best_or_not(small_mnist, accuracies, losses, threshold, phrase):
    run = start(recipes.recipe("default", best_threshold=threshold), small_mnist)
    run.history = [
        {"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]
    assert train.best_phrase(run) == phrase
    assert run.is_best == (phrase.startswith("new best"))


def test_a_poisoned_image_stops_before_the_update(small_mnist, monkeypatch, inject):
    inject("poisoned image")
    run = start(recipes.recipe("default"), small_mnist)
    poison = data.Normalisation.__call__
    monkeypatch.setattr(data.Normalisation, "__call__", lambda *parts: poison(*parts).index_fill(0, FIRST, math.nan))
    with pytest.raises(FloatingPointError):
        run.train_epoch(1)
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())
