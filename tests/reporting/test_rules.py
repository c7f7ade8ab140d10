import pytest
import torch
import torch.nn.functional as functional
from torch import nn

import model
import recipes
from reporting import rules


@pytest.fixture
def mine(monkeypatch):
    """Puts an architecture into model.py, and gives a recipe that trains it."""

    def put(entry, **changes):
        monkeypatch.setitem(model.ARCHITECTURES, "mine", entry)
        return recipes.Recipe(**({"architecture": "mine", "learning_rate": 0.01, "batch_size": 64} | changes))

    return put


def layers(*last):
    """A small model, with other last layers."""
    return nn.Sequential(nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), *last)


class Model(nn.Module):
    """A model whose forward pass ends as it is told."""

    def __init__(self, end):
        super().__init__()
        self.layers, self.end = layers(nn.Flatten()), end

    def forward(self, images):
        return self.end(self.layers(images))


def ending(end):
    return lambda num_classes: Model(end)


def of(*parts):
    return lambda num_classes: nn.Sequential(*parts)


ONE_PIXEL = of(nn.Conv2d(1, 10, 28), nn.BatchNorm2d(10), nn.Flatten())
WIDE = of(nn.Conv2d(1, 20, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10))
REFUSED = [
    (lambda num_classes: layers(nn.Flatten(), nn.LazyLinear(num_classes)), {}, "has a lazy layer"),
    (layers(nn.Flatten()), {}, "must be a function or a class that makes a model, got a Sequential"),
    (lambda num_classes: None, {}, "must return an nn.Module, got None: is a return missing?"),
    (lambda: layers(nn.Flatten()), {}, "must take one argument, the number of classes"),
    (ending(lambda logits: None), {}, "got a NoneType: return the logits"),
    (ending(lambda logits: (logits, logits)), {}, "got a tuple: return the logits, and nothing else"),
    (ending(lambda logits: logits[:, :9]), {}, "must return logits [2, 10] for 2 images"),
    (lambda num_classes: layers(), {}, "got [2, 10, 1, 1]"),
    (ONE_PIXEL, {"batch_size": 59_949}, "the last batch of an epoch has 1 image, too few for BatchNorm"),
    (ONE_PIXEL, {"batch_size": 1}, "too few for BatchNorm"),
    (ending(lambda logits: logits.detach()), {}, "leave out detach()"),
    (of(nn.AdaptiveAvgPool2d((2, 5)), nn.Flatten()), {}, "has no trainable parameters"),
    (ending(lambda logits: logits / 0), {}, "not finite"),
    (of(nn.Flatten(), nn.Linear(784, 10)), {"whitening": True}, "whitening needs an nn"),
    (WIDE, {"whitening": True}, "whitening fills at most 18 channels"),
    (ending(lambda logits: logits[0, 99, 7]), {}, "IndexError: too many indices"),
]


@pytest.mark.parametrize(("entry", "changes", "named"), REFUSED)
def test_a_model_that_would_not_train_is_refused_in_a_line_that_says_what_to_do(mine, inject, entry, changes, named):
    inject("model that does not train")
    rule = rules.training_rule(mine(entry, **changes))
    assert not rule.passed
    assert named in rule.measured
    assert "\n" not in rule.measured


@pytest.mark.parametrize(
    ("end", "warnings"),
    [
        (lambda logits: logits.softmax(1), 1),
        (torch.sigmoid, 1),
        (functional.relu, 1),
        (lambda logits: logits, 0),
        (lambda logits: logits.log_softmax(1), 0),
    ],
)
def test_outputs_that_are_no_logits_are_a_warning(mine, capsys, inject, end, warnings):
    inject("model that does not train", warnings)
    assert rules.training_rule(mine(ending(end))).passed
    assert capsys.readouterr().err.count("warning: no output is negative") == warnings


def test_a_model_of_ones_own_that_keeps_the_rules_and_trains_passes(mine):
    checked = rules.all_rules(mine(ending(lambda logits: logits)))
    assert all(rule.passed for rule in checked)
    assert [rule.name for rule in checked][::5] == ["trainable parameters", "training"]
