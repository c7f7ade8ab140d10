from support import UserError

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

import model
import recipes
import trainer
from reporting import rules


@pytest.fixture
def mine(monkeypatch):
    """Puts an architecture into model.py, and gives a recipe that trains it."""

    def put(entry, **changes):
        monkeypatch.setitem(model.ARCHITECTURES, "mine", entry)
        return recipes.Recipe(**({"architecture": "mine", "learning_rate": 0.01, "batch_size": 64} | changes))

    return put


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_model_of_every_recipe_trains(name):
    rule = rules.training_rule(recipes.get_recipe(name))
    assert rule.passed, rule
    assert "and the last one, of" in rule.measured


def layers(*last):
    """A small model, with other last layers."""
    return nn.Sequential(nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), *last)


class Model(nn.Module):
    """A model whose forward pass ends as it is told."""

    def __init__(self, end):
        super().__init__()
        self.layers, self.end = layers(nn.Flatten()), end

    def forward(self, images):
        return self.end(self, self.layers(images))


def keep(self, logits):
    self.kept = logits * 2
    return logits


REFUSED = [
    (lambda num_classes: layers(nn.Flatten(), nn.LazyLinear(num_classes)), {}, "has a lazy layer"),
    (layers(nn.Flatten()), {}, "must be a function or a class that makes a model, got a Sequential"),
    (lambda num_classes: None, {}, "must return an nn.Module, got None: is a return missing?"),
    (lambda: layers(nn.Flatten()), {}, "must take one argument, the number of classes"),
    (lambda num_classes: Model(lambda self, logits: None), {}, "got None: is a return missing?"),
    (lambda num_classes: Model(lambda self, logits: (logits, logits)), {}, "got a tuple of 2: return the logits alone"),
    (lambda num_classes: layers(nn.Flatten(), nn.Linear(10, 11)), {}, "must return logits [2, 10] for 2 images"),
    (lambda num_classes: layers(), {}, "got [2, 10, 1, 1]"),
    (
        lambda num_classes: nn.Sequential(nn.Conv2d(1, 10, 28), nn.BatchNorm2d(10), nn.Flatten()),
        {"batch_size": 59_949},
        "the last batch of an epoch has 1 image, too few for BatchNorm",
    ),
    (
        lambda num_classes: nn.Sequential(nn.Conv2d(1, 10, 28), nn.BatchNorm2d(10), nn.Flatten()),
        {"batch_size": 1},
        "too few for BatchNorm",
    ),
    (
        lambda num_classes: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), View(), nn.Linear(4 * 26 * 26, num_classes)),
        {},
        "use reshape or flatten: images are channels_last",
    ),
    (lambda num_classes: Model(keep), {"ema_decay": 0.9}, ""),
    (lambda num_classes: Model(lambda self, logits: logits.detach()), {}, "leave out detach()"),
    (lambda num_classes: nn.Sequential(nn.AdaptiveAvgPool2d((2, 5)), nn.Flatten()), {}, "has no trainable parameters"),
    (lambda num_classes: Model(lambda self, logits: logits / 0), {}, "not finite"),
    (lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), {"whitening": True}, "whitening needs an nn"),
    (
        lambda num_classes: nn.Sequential(
            nn.Conv2d(1, 20, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10)
        ),
        {"whitening": True},
        "whitening fills at most 18 channels",
    ),
]


class View(nn.Module):
    def forward(self, images):
        return images.view(len(images), -1)


@pytest.mark.parametrize(("entry", "changes", "named"), REFUSED)
def test_a_model_that_would_not_train_is_refused_in_a_line_that_says_what_to_do(mine, inject, entry, changes, named):
    inject("model that does not train")
    rule = rules.training_rule(mine(entry, **changes))
    if named:
        assert not rule.passed
        assert named in rule.measured
        assert "\n" not in rule.measured


@pytest.mark.parametrize(
    "end",
    [
        lambda self, logits: logits.softmax(1),
        lambda self, logits: logits.sigmoid(),
        lambda self, logits: functional.relu(logits),
    ],
)
def test_outputs_that_are_no_logits_are_a_warning(mine, capsys, inject, end):
    inject("model that does not train")
    assert rules.training_rule(mine(lambda num_classes: Model(end))).passed
    assert "warning: no output is negative" in capsys.readouterr().err


def test_logits_and_log_probabilities_are_none(mine, capsys):
    for end in (lambda self, logits: logits, lambda self, logits: logits.log_softmax(1)):
        assert rules.training_rule(mine(lambda num_classes, end=end: Model(end))).passed
    assert capsys.readouterr().err == ""


def test_a_bug_is_told_with_its_place(mine, inject):
    def broken(self, logits):
        return logits[0, 99, 7]

    inject("model that does not train")
    assert "IndexError" in rules.training_rule(mine(lambda num_classes: Model(broken))).measured


def test_a_bug_of_a_model_keeps_its_traceback_in_training(mine, inject):
    """It is where the check's one line points to."""

    def broken(self, logits):
        raise ValueError("not a user's fault")

    inject("bug in a model")
    mine(lambda num_classes: Model(broken))
    with pytest.raises(ValueError, match="not a user's fault") as error:
        trainer.identify("mine", "mnist")
    assert not isinstance(error.value, UserError)


def test_what_the_check_lets_through_trains(mine, small_mnist, tmp_path, monkeypatch):
    """An nn.Module class with functional layers, as README says."""

    class Net(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.convolution, self.batch_norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
            self.linear = nn.Linear(8, num_classes)

        def forward(self, images):
            images = functional.max_pool2d(functional.relu(self.batch_norm(self.convolution(images))), 2)
            return self.linear(functional.dropout(images.mean((2, 3)), 0.1, self.training))

    recipe = mine(Net)
    assert all(rule.passed for rule in rules.check(recipe))
    trained = trainer.Trainer(recipe, 0, torch.device("cpu"), small_mnist[0])
    assert trained.total_parameters == rules.count_parameters(Net(10))
