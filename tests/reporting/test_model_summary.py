import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import model
from reporting.model_summary import layer_table, layers

IMAGE = (1, 28, 28)


def test_the_count_is_the_one_made_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10, bias=False))
    assert model.count_parameters(network) == (4 * 9 + 4) + 2 * 4 + 4 * 10
    network[0].weight.requires_grad_(False)
    assert model.count_parameters(network) == 4 + 2 * 4 + 4 * 10


def test_receptive_fields_of_the_baseline_are_the_published_ones():
    fields = [row.receptive_field for row in layers(model.build("skeleton-510k", 10), IMAGE) if row.kernel]
    assert fields == [(size, size) for size in (3, 5, 7, 8, 8, 12, 16, 20, 24, 28)]


@pytest.mark.parametrize("kernel", [2, 3, 5, (3, 5), (4, 1)])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
def test_the_receptive_field_is_what_the_gradient_reaches(kernel, dilation):
    network = nn.Sequential(
        nn.Conv2d(1, 1, kernel, dilation=dilation), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 2)
    )
    image = torch.zeros(1, *IMAGE, requires_grad=True)
    network(image)[0, 0, 0, 0].backward()
    reached = image.grad[0, 0].nonzero()
    assert layers(network, IMAGE)[-1].receptive_field == tuple((reached.amax(0) - reached.amin(0) + 1).tolist())


@pytest.mark.parametrize(
    "last",
    [
        [nn.Flatten(), nn.Linear(169, 1)],
        [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(1, 1)],
        [nn.AdaptiveAvgPool2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(4, 3), nn.Linear(3, 1)],
        [nn.Conv2d(1, 1, 1, stride=2), nn.AdaptiveAvgPool2d((2, 3)), nn.Conv2d(1, 1, 1)],
    ],
)
def test_the_receptive_field_of_the_last_layers_too(last):
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AvgPool2d(2), nn.ReLU(), *last)
    for weight in network.parameters():
        nn.init.constant_(weight, 0.1)  # nothing is cut off
    image = torch.rand(1, *IMAGE, requires_grad=True)
    network.eval()(image).flatten()[0].backward()
    reached = image.grad[0, 0].nonzero()
    field = layers(network, IMAGE)[-1].receptive_field
    if any(isinstance(layer, nn.AdaptiveMaxPool2d) for layer in last):
        assert field == (28, 28)  # any place can be the maximum
    else:
        assert field == tuple((reached.amax(0) - reached.amin(0) + 1).tolist())


def test_the_layer_table_names_shapes_and_adds_up():
    rows = layers(model.build("erav3", 10), IMAGE)
    assert rows[0].input == (1, 28, 28)
    assert rows[-1].output == (10,)
    assert sum(row.parameters for row in rows) == 19_098
    assert "19,098" in layer_table(model.build("erav3", 10), IMAGE).splitlines()[-1]


def test_the_table_leaves_the_network_as_it_was():
    network = model.build("erav3", 10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers(network, IMAGE)
    assert network.training
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", model.ARCHITECTURES)
def test_multiply_adds_are_half_of_torchs_own_count_of_operations(name):
    network = model.build(name, 10).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *IMAGE))
    assert 2 * sum(row.multiply_adds for row in layers(network, IMAGE)) == counter.get_total_flops()


def test_grouped_and_dilated_convolutions_are_counted_too():
    network = nn.Sequential(nn.Conv2d(1, 4, (3, 5)), nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding="same"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *IMAGE))
    rows = layers(network, IMAGE)
    assert 2 * sum(row.multiply_adds for row in rows) == counter.get_total_flops()
    assert rows[1].padding == (2, 2)
    assert rows[1].receptive_field == (7, 9)
