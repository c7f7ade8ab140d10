"""A step, on the processor: what a CUDA graph asks of it, and what it does with a loss that is not finite."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import data
import model
import recipes
import step

LOOKS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::unique")


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


def start(name):
    recipe = recipes.recipe(name, batch_size=100)
    torch.manual_seed(0)
    network = model.build(recipe.architecture).to(memory_format=torch.channels_last).train()
    return step.Step(recipe, network, step.make_optimizer(recipe, network), "float32")


@pytest.fixture
def batches(mnist):
    images = mnist[0][:1000]
    return list(data.batches(images, 100, data.Normalisation.of(images), torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ["default", "fast"])
def test_a_step_looks_at_no_value_and_has_the_same_shapes_whatever_the_images(name, batches):
    update = start(name)
    noted = []
    for images, labels in (batches[0], batches[1], (torch.zeros_like(batches[0][0]), batches[2][1])):
        with Watch() as watch:
            update(images, labels, 100)
        noted.append(watch.seen)
    assert any("convolution" in operation for operation, _ in noted[0])
    assert not [operation for operation, _ in noted[0] if operation.startswith(LOOKS)]
    assert noted[0] == noted[1] == noted[2]


def test_the_watch_sees_a_look():
    with Watch() as watch:
        torch.ones(()).item()
    assert watch.seen[-1][0].startswith(LOOKS)


@pytest.mark.parametrize("after", [0, 3])
def test_a_loss_that_is_not_finite_changes_no_weight_and_stays_in_the_sum(batches, after):
    update = start("default")
    for images, labels in batches[:after]:
        update(images, labels, 100)
    before = [weight.detach().clone() for weight in update.model.parameters()]
    update(torch.full_like(batches[0][0], torch.nan), batches[0][1], 100)
    assert all(map(torch.equal, before, update.model.parameters()))
    assert not update.total_loss.isfinite()


def test_an_update_is_the_one_that_torch_makes_from_the_mean_loss(batches):
    update, (images, labels) = start("default"), batches[0]
    reference = start("default").model
    optimizer = torch.optim.SGD(reference.parameters(), 0.3, 0.9, weight_decay=1e-3, nesterov=True)
    for _ in range(2):
        torch.manual_seed(1)  # dropout
        update(images, labels, 100)
        torch.manual_seed(1)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(reference(images), labels, label_smoothing=0.1).backward()
        optimizer.step()
    for ours, theirs in zip(update.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_frozen_layer_stays_as_it_is(batches):
    update = start("fast")
    model.whiten(update.model, batches[0][0])
    first = next(update.model.parameters())
    before = first.clone()
    for images, labels in batches:
        update(images, labels, 100)
    assert first.equal(before)
