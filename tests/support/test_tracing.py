from support import tracing

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

import model
import trainer

IMAGES = torch.zeros(2, 1, 28, 28)


class Net(nn.Module):
    """A model whose text is always the same, whatever it computes."""

    compute = None

    def __init__(self, num_classes):
        super().__init__()
        self.first, self.last, self.spare = nn.Conv2d(1, 4, 3), nn.Linear(4, num_classes), nn.BatchNorm2d(4)

    def forward(self, images):
        return self.last(type(self).compute(self, self.first(images)))


def of(compute):
    return type("Net", (Net,), {"compute": compute})


PLAIN = of(lambda self, x: functional.dropout(functional.relu(x), 0.1, self.training).mean((2, 3)))
OTHERS = {
    "activation": of(lambda self, x: functional.dropout(functional.gelu(x), 0.1, self.training).mean((2, 3))),
    "dropout": of(lambda self, x: functional.dropout(functional.relu(x), 0.3, self.training).mean((2, 3))),
    "pool": of(lambda self, x: functional.dropout(functional.relu(x), 0.1, self.training).amax((2, 3))),
    "scale": of(lambda self, x: functional.dropout(2 * functional.relu(x), 0.1, self.training).mean((2, 3))),
    "sum": of(lambda self, x: functional.dropout(functional.relu(x) + x, 0.1, self.training).mean((2, 3))),
    "BatchNorm": of(
        lambda self, x: functional.dropout(functional.relu(self.spare(x)), 0.1, self.training).mean((2, 3))
    ),
}


class OtherWeights(PLAIN):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        nn.init.zeros_(self.last.bias)


OtherWeights.__name__ = "Net"


def identify(monkeypatch, entry):
    monkeypatch.setitem(model.ARCHITECTURES, "net", entry)
    return trainer.identify("net", "mnist")


@pytest.mark.parametrize("change", [*OTHERS, "first weights"])
def test_a_model_that_computes_something_else_is_another_though_its_text_is_the_same(monkeypatch, inject, change):
    saved = identify(monkeypatch, PLAIN)
    assert identify(monkeypatch, PLAIN) == saved
    other = identify(monkeypatch, OTHERS.get(change, OtherWeights))
    inject("model that has changed")
    assert other["layers"] == saved["layers"]
    calls = other["calls"] == saved["calls"]
    assert not (calls and model.is_close(other["logits"], saved["logits"], trainer.LOGITS_TOLERANCE))


def test_calls_are_those_of_layers_and_of_functions_with_what_they_were_given():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(676, 10))
    calls = tracing.trace(network, IMAGES)
    assert [call.function for call in calls] == ["conv2d", "relu", "flatten", "linear"]
    assert (calls[0].input, calls[0].output) == ((2, 1, 28, 28), (2, 4, 13, 13))
    assert "(2, 2)" in str(calls[0])
    dropout = tracing.trace(of(PLAIN.compute)(10), IMAGES)[2]
    assert (dropout.argument("p", 1, 0.5), dropout.argument("training", 2, None)) == (0.1, True)
    assert dropout.argument("inplace", 3, False) is False


def test_a_trace_is_the_same_in_every_process():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    assert "0x" not in " ".join(map(str, tracing.trace(network, IMAGES)))
