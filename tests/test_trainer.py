"""A training under way: its schedule, its EMA, and its steps, on the processor."""

import math
import types

from support import UserError, identity, progress

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import data
import evaluate
import model
import recipes
import train
import trainer as trainer_module
from trainer import Trainer

CPU = torch.device("cpu")


def start(name, images, seed=0, **changes):
    return Trainer(recipes.get_recipe(name, **changes), seed, CPU, images[0])


@pytest.fixture
def run(small_mnist):
    """Trains a trainer to its end."""

    def to_the_end(trainer):
        train.train(trainer, small_mnist[1], lambda evaluation: None)
        return trainer

    return to_the_end


def test_one_cycle_is_stepped_once_a_batch_and_reaches_its_peak(small_mnist, run):
    trainer = start("erav3", small_mnist, architecture="default", epochs=2)
    lrs = []
    trainer.optimizer.register_step_pre_hook(lambda *_: lrs.append(trainer.lr))
    run(trainer)
    assert len(lrs) == 2 * math.ceil(1000 / 128)
    assert lrs[0] == pytest.approx(0.1 / 25)
    assert max(lrs) == pytest.approx(0.1, rel=0.02)
    assert lrs[-1] < 0.01


@pytest.mark.parametrize(("epochs", "pct_start"), [(2, 0.5), (5, 0.2), (4, 0.25)])
def test_one_cycle_over_too_few_steps_is_refused_with_the_remedy(small_mnist, epochs, pct_start):
    with pytest.raises(ValueError, match=rf"one_cycle cannot rise within {pct_start} of {epochs} steps: use more epo"):
        start("default", small_mnist, epochs=epochs, batch_size=1000, pct_start=pct_start)
    for changes in ({"pct_start": 0, "batch_size": 500}, {"batch_size": 1000}):  # without a rise, or of one step
        assert start("default", small_mnist, epochs=1, **changes).lr > 0


def test_step_drops_the_learning_rate_after_its_epochs(small_mnist, run):
    trainer = run(start("mnist-ops", small_mnist, architecture="default", epochs=4, step_size=2, learning_rate=0.05))
    assert [entry["lr"] for entry in trainer.history] == pytest.approx([0.05, 0.05, 0.005, 0.005])


def test_a_plateau_of_the_validation_loss_drops_the_learning_rate_down_to_its_minimum(small_mnist, run, monkeypatch):
    losses = iter([0.5, 0.4, 0.41, 0.399, 0.5, 0.5, 0.5])  # 0.399 is not lower by the threshold

    def loss(evaluation):  # of the test images it grows, which is to change nothing
        return next(losses) if len(evaluation.labels) == 50 else 9.0

    monkeypatch.setattr(evaluate.Evaluation, "loss", property(loss))
    changes = {"schedule": "plateau", "learning_rate": 0.1, "plateau_patience": 1, "plateau_min_lr": 0.005}
    trainer = run(start("mnist-7824", small_mnist, architecture="default", epochs=7, batch_size=500, **changes))
    assert [entry["lr"] for entry in trainer.history] == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.005])


def test_the_ema_is_exponential_and_includes_batch_norm(small_mnist, run):
    trainer = start("default", small_mnist, ema_decay=0.9, ema_every=1, epochs=1, batch_size=500)
    seen = []
    trainer.optimizer.register_step_post_hook(
        lambda *_: seen.append({name: value.detach().clone() for name, value in trainer.model.state_dict().items()})
    )
    run(trainer)
    assert len(seen) == 2
    for name, value in trainer.eval_model[1].state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.9 * seen[0][name] + 0.1 * seen[1][name])


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_batch_norm_takes_the_statistics_of_images_as_they_are_and_training_goes_on_as_without(
    small_mnist, run, ema_decay
):
    changes = {"ema_decay": ema_decay, "epochs": 2, "batch_size": 500, "degrees": 45}
    plain, exact = (run(start("default", small_mnist, **changes, batch_norm_images=images)) for images in (0, 300))
    for one, other in zip(plain.model.parameters(), exact.model.parameters(), strict=True):
        assert one.equal(other)
    normalize, network = exact.eval_model
    maps = network[:2](normalize(exact.train_images[:300].to_float()))  # up to the first BatchNorm
    torch.testing.assert_close(network[2].running_mean, maps.mean((0, 2, 3)), atol=1e-4, rtol=0)
    assert not plain.eval_model[1][2].running_mean.allclose(network[2].running_mean, atol=1e-3)


def test_on_a_processor_there_is_float32_alone(small_mnist):
    with pytest.raises(UserError, match="precision bfloat16 is for a GPU: on a processor use float32"):
        start("default", small_mnist, precision="bfloat16")


def test_max_steps_ends_a_training_after_so_many_steps_of_its_first_epoch(small_mnist):
    trainer, steps, evaluations = start("default", small_mnist, batch_size=100), [], []
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    train.train(trainer, None, evaluations.append, max_steps=3)
    assert (len(steps), len(trainer.history), len(evaluations)) == (3, 1, 1)
    assert len(evaluations[0].labels) == len(trainer.validation_images)


@pytest.fixture
def some_batches(mnist):
    """Ten normalized batches of 100 images."""
    images = mnist[0][:1000]
    return list(data.batches(images, 100, model.Normalize(*data.normalization(images)), [torch.arange(1000)]))


@pytest.mark.parametrize("after", [0, 3])
def test_a_loss_that_is_not_finite_changes_no_weight_and_stops_at_the_epochs_end(
    small_mnist, some_batches, run, monkeypatch, inject, after
):
    trainer, weights = start("default", small_mnist, epochs=1, batch_size=100), []
    poisoned = some_batches[3]._replace(images=torch.full_like(some_batches[3].images, torch.nan))

    def given(epoch):
        yield from some_batches[:after]
        weights.extend(weight.detach().clone() for weight in trainer.model.parameters())
        yield poisoned

    monkeypatch.setattr(trainer, "batches", given)
    inject("poisoned image")
    with pytest.raises(UserError, match="the loss became nan in epoch 1"):
        run(trainer)
    assert all(map(torch.equal, weights, trainer.model.parameters()))
    assert not trainer.history


def test_an_update_is_the_one_that_torch_makes_from_the_mean_loss(small_mnist, some_batches):
    trainer, reference = (start("default", small_mnist, batch_size=100, label_smoothing=0.1) for _ in range(2))
    theirs = reference.model
    optimizer = torch.optim.SGD(theirs.parameters(), trainer.lr, 0.9, weight_decay=1e-3, nesterov=True)
    for batch in some_batches[:2]:
        torch.manual_seed(1)  # dropout
        trainer.model.train()
        trainer.step(batch)
        torch.manual_seed(1)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs.train()(batch.images), batch.labels, label_smoothing=0.1).backward()
        optimizer.step()
    for mine, other in zip(trainer.model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer", "ignore:Seems like `optimizer.step")
@pytest.mark.parametrize(
    ("name", "changes"), [("default", {}), ("default", {"whitening": True}), ("erav3", {}), ("mnist-ops", {})]
)
def test_no_step_or_evaluation_mixes_the_processor_with_a_gpu(monkeypatch, name, changes):
    """On fake tensors of a GPU, which know their device and shape, as far as the first look at a value: at the end of
    the epoch. The engine of autograd needs a real GPU, so the gradients are made up."""
    build = model.build
    monkeypatch.setattr(trainer_module, "identify", lambda *_: {})  # looks at values, once
    monkeypatch.setattr(identity, "memory_format", lambda *_: torch.channels_last)  # likewise

    def build_on_gpu(*arguments):
        with torch.device("cuda"):
            return build(*arguments)

    def backward(_):
        for weight in trainer.model.parameters():
            weight.grad = torch.empty_like(weight)

    monkeypatch.setattr(model, "build", build_on_gpu)
    copier = types.SimpleNamespace(deepcopy=lambda _: build_on_gpu(name, 10))
    monkeypatch.setattr(model, "copy", copier)  # fake tensors copy their mode along
    monkeypatch.setattr(model, "whiten", lambda *_: None)  # looks at values, once
    monkeypatch.setattr(data, "normalization", lambda _: (0.1, 0.3))  # likewise
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *_, **__: module)  # fake tensors cannot be swapped
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 1000)
    with FakeTensorMode():
        pixels = torch.empty(1050, 1, 28, 28, dtype=torch.uint8, device="cuda")
        images = data.Images(pixels, torch.empty(1050, dtype=torch.long, device="cuda"))
        recipe = recipes.get_recipe(name, batch_size=100, find_lr=False, **changes)
        trainer = Trainer(recipe, 0, torch.device("cuda"), images)
        plain_step, steps = trainer.optimizer.step, []

        def step():
            """Without the fused kernel, which knows no fake tensors, and its way to skip an update."""
            steps.append(trainer.optimizer.found_inf.device.type)
            del trainer.optimizer.found_inf
            plain_step()

        trainer.optimizer.param_groups[0] |= {"fused": False, "foreach": True}
        trainer.optimizer.step = step
        with pytest.raises(DataDependentOutputException):
            train.train(trainer, images, lambda evaluation: None)
        assert steps == ["cuda"] * 10  # none of which looks at a value, so a GPU is never waited for
        evaluation = evaluate.evaluate(trainer.eval_model, images, trainer.classes)
        assert (evaluation.logits.shape, evaluation.logits.device.type) == ((1050, 10), "cpu")
        with pytest.raises(RuntimeError, match="device"):  # a mix would be seen
            trainer.model(torch.empty(2, 1, 28, 28))
