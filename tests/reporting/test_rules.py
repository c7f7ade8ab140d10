import pytest
from torch import nn

import data
import model
from reporting import rules

MNIST = data.DATASETS["mnist"]
FIT = "input 1×28×28 to output 10"


@pytest.mark.parametrize("name", [name for name in model.ARCHITECTURES if name != "skeleton-510k"])
def test_every_network_but_the_baseline_keeps_all_rules(name):
    assert all(rule.passed for rule in rules.check(model.build(name, 10), MNIST))


@pytest.mark.parametrize(
    ("broken", "layers"),
    [
        ("trainable parameters", [nn.Linear(10, 2000), nn.Linear(2000, 10)]),
        ("BatchNorm", [nn.BatchNorm2d]),
        ("dropout", [nn.Dropout]),
        ("global average pooling", [nn.AdaptiveAvgPool2d]),
        (FIT, [nn.Linear(10, 11)]),
    ],
)
def test_each_rule_can_break_alone(broken, layers):
    """Layers are added to a network that keeps all rules; a class takes its layers out instead."""
    sound = [nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    sound = [layer for layer in sound if type(layer) not in layers]
    if nn.AdaptiveAvgPool2d in layers:
        sound = [*sound[:-1], nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    network = nn.Sequential(*sound, *(layer for layer in layers if isinstance(layer, nn.Module)))
    assert [rule.name for rule in rules.check(network, MNIST) if not rule.passed] == [broken]


def test_a_network_that_cannot_take_an_image_breaks_a_rule_without_a_traceback():
    *_, fit = rules.check(nn.Sequential(nn.Conv2d(3, 10, 3)), MNIST)
    assert not fit.passed
    assert fit.name == FIT
    assert fit.measured.startswith("an image is refused: ")


def test_the_limit_itself_breaks_the_rule():
    assert rules.parameter_rule(nn.Linear(19_999, 1, bias=False)).passed
    assert not rules.parameter_rule(nn.Linear(20_000, 1, bias=False)).passed
