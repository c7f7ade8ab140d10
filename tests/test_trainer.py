"""A training under way: its schedule, its EMA, and its steps, on the processor."""

import contextlib
import math
import types

from support import UserError, cuda_graphs, progress

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import data
import evaluate
import model
import recipes
import results
import train
import trainer as trainers
from trainer import Trainer

CPU = torch.device("cpu")
LOOKS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::unique")


def start(name, images, seed=0, kind=Trainer, **changes):
    return kind(recipes.get_recipe(name, **changes), seed, CPU, images[0])


@pytest.fixture
def run(small_mnist, tmp_path):
    """Trains a trainer to its end."""

    def to_the_end(trainer):
        train.train(trainer, small_mnist[1], tmp_path, lambda: None)
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


@pytest.mark.parametrize(("epochs", "batch_size", "pct_start"), [(2, 1000, 0.5), (5, 1000, 0.2), (4, 1000, 0.25)])
def test_one_cycle_over_too_few_steps_is_refused_with_the_remedy(small_mnist, epochs, batch_size, pct_start):
    changes = {"epochs": epochs, "batch_size": batch_size, "pct_start": pct_start}
    with pytest.raises(ValueError, match=rf"one_cycle cannot rise within {pct_start} of {epochs} steps: use more epo"):
        start("default", small_mnist, **changes)


def test_one_cycle_without_a_rise_or_of_one_step_is_no_fault(small_mnist, run):
    for changes in ({"pct_start": 0, "batch_size": 500}, {"batch_size": 1000}):
        assert len(run(start("default", small_mnist, epochs=1, **changes)).history) == 1


def test_step_drops_the_learning_rate_after_its_epochs(small_mnist, run):
    trainer = run(start("mnist-ops", small_mnist, architecture="default", epochs=4, step_size=2, learning_rate=0.05))
    assert [entry["lr"] for entry in trainer.history] == pytest.approx([0.05, 0.05, 0.005, 0.005])


def test_a_plateau_of_the_validation_loss_drops_the_learning_rate(small_mnist, run, monkeypatch):
    losses = iter([0.5, 0.4, 0.41, 0.399, 0.4, 0.3, 0.2])  # .399 is not lower by the threshold

    def loss(evaluation):  # of the test images it grows, which is to change nothing
        return next(losses) if len(evaluation.labels) == 50 else 9.0

    monkeypatch.setattr(evaluate.Evaluation, "loss", property(loss))
    changes = {"schedule": "plateau", "learning_rate": 0.1, "plateau_patience": 1, "plateau_min_lr": 0.005}
    trainer = run(start("mnist-7824", small_mnist, architecture="fast", epochs=7, batch_size=500, **changes))
    assert [entry["lr"] for entry in trainer.history] == pytest.approx([0.1] * 4 + [0.01] * 3)


def test_the_learning_rate_on_a_plateau_does_not_fall_below_its_minimum(small_mnist, run, monkeypatch):
    monkeypatch.setattr(evaluate.Evaluation, "loss", property(lambda _: 1.0))
    changes = {"schedule": "plateau", "learning_rate": 0.1, "plateau_patience": 0, "plateau_min_lr": 0.005}
    trainer = run(start("mnist-7824", small_mnist, architecture="fast", epochs=5, batch_size=500, **changes))
    assert [entry["lr"] for entry in trainer.history] == pytest.approx([0.1, 0.1, 0.01, 0.005, 0.005])


def test_the_optimizer_is_torchs_own(small_mnist):
    trainer = start("default", small_mnist)
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert trainer.optimizer.defaults["nesterov"]
    assert isinstance(start("mnist-experiment-aug", small_mnist).optimizer, torch.optim.Adagrad)


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


def test_bfloat16_trains_too(small_mnist, run):
    trainer = run(start("default", small_mnist, precision="bfloat16", epochs=1, batch_size=500))
    assert math.isfinite(trainer.history[0]["train_loss"])
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


def history(accuracies, losses):
    pairs = enumerate(zip(accuracies, losses, strict=True), 1)
    return [{"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss} for epoch, (accuracy, loss) in pairs]


def test_the_best_is_by_validation_then_loss_then_the_later():
    assert results.best_epoch(history([98, 100, 100, 100, 96], [0.1, 0.3, 0.2, 0.2, 0.0]))["epoch"] == 4


@pytest.mark.parametrize(
    ("accuracies", "losses", "threshold", "is_best"),
    [
        ([98], [0.1], 0, True),
        ([96, 98, 100], [0.1, 0.05, 0.2], 0, True),
        ([98, 98], [0.1, 0.05], 0, True),
        ([98, 98], [0.1, 0.1], 0, True),
        ([100, 98], [0.1, 0.05], 0, False),
        ([98, 98], [0.1, 0.2], 0, False),
        ([96], [0.1], 98, False),
        ([98], [0.1], 98, True),
    ],
)
def test_the_model_of_best_validation_accuracy_is_kept_and_starred(accuracies, losses, threshold, is_best):
    entries = history(accuracies, losses)
    assert results.is_best(entries, threshold) == is_best


class GivenBatches(Trainer):
    """A trainer on batches that a test gives it, `before` and `after` each of which something is done."""

    given, before, after = (), staticmethod(lambda: None), staticmethod(lambda: None)

    def batches(self, epoch):
        for images, labels in self.given:
            self.before()
            yield images, labels, torch.arange(len(labels)), len(labels)
            self.after()


@pytest.fixture
def some_batches(mnist):
    """Ten normalized batches of 100 images."""
    images = mnist[0][:1000]
    return list(data.batches(images, 100, data.normalization(images), [torch.arange(1000)]))


class Watch(TorchDispatchMode):
    """Notes every operation, with the shapes of what it gives."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        shapes = [tuple(part.shape) for part in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(part)]
        self.seen.append((function.name(), shapes))
        return result


@pytest.mark.parametrize("name", ["default", "fast"])
def test_a_step_looks_at_no_value_and_has_the_same_shapes_whatever_the_images(
    name, small_mnist, some_batches, run, monkeypatch
):
    """So a GPU is never waited for, and a CUDA graph can replay the step."""
    monkeypatch.setattr(progress, "LOOK_SECONDS", 1000)
    trainer = start(name, small_mnist, kind=GivenBatches, epochs=1, batch_size=100, ema_every=1)
    images, labels, *_ = some_batches[2]
    trainer.given = [batch[:2] for batch in some_batches[:2]] + [(torch.zeros_like(images), labels)]
    noted, watches = [], contextlib.ExitStack()
    trainer.before = lambda: noted.append(watches.enter_context(Watch()))
    trainer.after = watches.close
    run(trainer)
    first, *others = [watch.seen for watch in noted]
    assert any("convolution" in operation for operation, _ in first)
    assert not [operation for operation, _ in first if operation.startswith(LOOKS)]
    assert len(others) == 2
    assert all(other == first for other in others)


def test_the_watch_sees_a_look():
    with Watch() as watch:
        torch.ones(()).item()
    assert watch.seen[-1][0].startswith(LOOKS)


@pytest.mark.parametrize("after", [0, 3])
def test_a_loss_that_is_not_finite_changes_no_weight_and_stops_at_the_epochs_end(
    small_mnist, some_batches, run, inject, after
):
    trainer = start("default", small_mnist, kind=GivenBatches, epochs=1, batch_size=100)
    images, labels, *_ = some_batches[3]
    trainer.given = [batch[:2] for batch in some_batches[:after]] + [(torch.full_like(images, torch.nan), labels)]
    weights = []
    trainer.before = lambda: weights.append([weight.detach().clone() for weight in trainer.model.parameters()])
    inject("poisoned image")
    with pytest.raises(UserError, match="the loss became nan in epoch 1"):
        run(trainer)
    assert all(map(torch.equal, weights[-1], trainer.model.parameters()))
    assert not trainer.history


def test_an_update_is_the_one_that_torch_makes_from_the_mean_loss(small_mnist, some_batches, run):
    changes = {"schedule": "constant", "label_smoothing": 0.1, "ema_decay": 0.0}
    trainer, reference = (
        start("default", small_mnist, kind=GivenBatches, epochs=1, batch_size=100, **changes) for _ in range(2)
    )
    trainer.given = [batch[:2] for batch in some_batches[:2]]
    trainer.before = lambda: torch.manual_seed(1)  # dropout
    run(trainer)
    theirs = reference.model.train()
    optimizer = torch.optim.SGD(theirs.parameters(), 0.3, 0.9, weight_decay=1e-3, nesterov=True)
    for images, labels in trainer.given:
        torch.manual_seed(1)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
    for mine, other in zip(trainer.model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_a_frozen_layer_stays_as_it_is(small_mnist, run):
    trainer = start("fast", small_mnist, epochs=1, batch_size=100)
    first = next(trainer.model.parameters())
    before = first.clone()
    run(trainer)
    assert not first.requires_grad
    assert first.equal(before)


def test_the_deployable_model_takes_pixels_in_0_to_1(small_mnist):
    trainer = start("default", small_mnist)
    pixels = small_mnist[1][:10].to_float()
    mean, std = trainer.normalize.mean, trainer.normalize.std
    expected = trainer.ema.model.eval()((pixels - mean) / std)
    assert trainer.eval_model.eval()(pixels).equal(expected)


def test_a_cuda_graph_without_cuda_is_refused(small_mnist):
    with pytest.raises(ValueError, match="cuda_graph needs a CUDA device, this one is cpu"):
        start("default", small_mnist, cuda_graph=True)


def test_a_graphed_model_replays_the_first_batchs_shape_alone_and_keeps_the_statistics(monkeypatch):
    captured = []

    def graphed_callables(module, sample):
        module(*sample)  # torch warms up, which moves BatchNorm's statistics
        captured.append(module)
        return lambda images: "replayed"

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", graphed_callables)
    network = model.build("default", 10).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    graphed = cuda_graphs.GraphedModel(network)
    images = torch.rand(8, 1, 28, 28)
    assert graphed(images) == graphed(images) == "replayed"
    assert len(captured) == 1
    assert all(value.equal(before[name]) for name, value in network.named_buffers())
    assert graphed(images[:5]).shape == (5, 10)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer", "ignore:Seems like `optimizer.step")
@pytest.mark.parametrize("name", ["default", "fast", "erav3", "mnist-ops"])
def test_no_step_or_evaluation_mixes_the_processor_with_a_gpu(monkeypatch, tmp_path, name):
    """On fake tensors of a GPU, which know their device and shape, as far as the first look at a value: at the end of
    the epoch. The engine of autograd needs a real GPU, so the gradients are made up."""
    build = model.build
    monkeypatch.setattr(trainers, "identify", lambda *_: {})  # looks at values, once

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
    monkeypatch.setattr(data, "normalization", lambda _: model.Normalize(0.1, 0.3))  # likewise
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *_, **__: module)  # fake tensors cannot be swapped
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(progress, "LOOK_SECONDS", 1000)
    with FakeTensorMode():
        pixels = torch.empty(1050, 1, 28, 28, dtype=torch.uint8, device="cuda")
        images = data.Images(pixels, torch.empty(1050, dtype=torch.long, device="cuda"))
        changes = {"batch_size": 100, "find_lr": False}
        trainer = Trainer(recipes.get_recipe(name, **changes), 0, torch.device("cuda"), images)
        plain_step, steps = trainer.optimizer.step, []

        def step():
            """Without the fused kernel, which knows no fake tensors, and its way to skip an update."""
            steps.append(trainer.optimizer.found_inf.device.type)
            del trainer.optimizer.found_inf
            plain_step()

        trainer.optimizer.param_groups[0] |= {"fused": False, "foreach": True}
        trainer.optimizer.step = step
        with pytest.raises(DataDependentOutputException):
            train.train(trainer, images, tmp_path, lambda: None)
        assert steps == ["cuda"] * 10
        evaluation = evaluate.evaluate(trainer.eval_model, images, trainer.classes)
        assert (evaluation.logits.shape, evaluation.logits.device.type) == ((1050, 10), "cpu")
        with pytest.raises(RuntimeError, match="device"):  # a mix would be seen
            trainer.model(torch.empty(2, 1, 28, 28))
