import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reporting.model_summary import layer_table, layers

IMAGE = (1, 28, 28)


class Functional(nn.Module):
    """A network whose own code calls functions, between layers and writing over their outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, (3, 5)), nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding="same")

    def forward(self, images):
        return nn.functional.relu_(self.last(nn.functional.max_pool2d(self.first(images), 2))).mean((2, 3))


def test_receptive_fields_of_a_published_network_are_the_published_ones():
    """skeleton-510k's convolutions and pool."""
    sizes = [3, 3, 3, 2, 1, 3, 3, 3, 3, 3]
    parts = [nn.MaxPool2d(2) if size == 2 else nn.Conv2d(1, 1, size) for size in sizes]
    fields = [row["receptive field"] for row in layers(nn.Sequential(*parts), IMAGE)]
    assert fields == [(size, size) for size in (3, 5, 7, 8, 8, 12, 16, 20, 24, 28)]


START = [nn.Conv2d(1, 1, 3), nn.AvgPool2d(2), nn.ReLU()]


@pytest.mark.parametrize(
    "parts",
    [
        [nn.Conv2d(1, 1, 2), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 2)],
        [nn.Conv2d(1, 1, (3, 5), dilation=2), nn.AvgPool2d(2), nn.Conv2d(1, 1, (4, 1), dilation=(1, 3))],
        [*START, nn.Flatten(), nn.Linear(169, 1)],
        [*START, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(1, 1)],
        [*START, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(4, 3), nn.Linear(3, 1)],
        [*START, nn.Conv2d(1, 1, 1, stride=2), nn.AdaptiveAvgPool2d((2, 3)), nn.Conv2d(1, 1, 1)],
    ],
)
def test_the_receptive_field_is_what_the_gradient_reaches(parts):
    network, image = nn.Sequential(*parts).eval(), torch.rand(1, *IMAGE, requires_grad=True)
    for weight in network.parameters():
        nn.init.constant_(weight, 0.1)  # nothing is cut off
    network(image).flatten()[0].backward()
    reached = image.grad[0, 0].nonzero()
    expected = tuple((reached.amax(0) - reached.amin(0) + 1).tolist())
    any_place = any(isinstance(part, nn.AdaptiveMaxPool2d) for part in parts)  # can be the maximum
    assert layers(network, IMAGE)[-1]["receptive field"] == ((28, 28) if any_place else expected)


def test_functions_that_a_network_calls_are_rows_and_every_size_is_the_one_made_by_hand():
    network = Functional()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, pool, last, relu, mean = (tuple(row.values()) for row in layers(network, IMAGE))
    assert first == ("Conv2d 1→4", (3, 5), (1, 1), (0, 0), IMAGE, (4, 26, 24), 4 * 15 + 4, (3, 5), 4 * 15 * 26 * 24)
    assert pool[1:] == (None, None, None, (4, 26, 24), (4, 13, 12), 0, (4, 6), 0)
    assert last[1:] == ((3, 3), (1, 1), (2, 2), (4, 13, 12), (8, 13, 12), 8 * 9 + 8, (12, 14), 8 * 9 * 13 * 12)
    assert [row[0] for row in (pool, last, relu, mean)] == ["max_pool2d()", "Conv2d 4→8", "relu_()", "mean()"]
    assert mean[5] == (8,)
    assert network.training
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *IMAGE))
    total = layer_table(network, IMAGE).splitlines()[-1].replace(",", "")
    assert [int(cell) for cell in total.split() if cell.isdigit()] == [144, counter.get_total_flops() // 2]
    network.first.weight.requires_grad_(False)  # not trained, so not counted
    assert layers(network, IMAGE)[0]["parameters"] == 4
