from support import identity

import pytest
import torch.nn.functional as functional
from torch import nn


class Net(nn.Module):
    """A model whose text is always the same, whatever it computes."""

    def __init__(self, compute, bias=0.1):
        super().__init__()
        self.first, self.last, self.spare = nn.Conv2d(1, 4, 3), nn.Linear(4, 10), nn.BatchNorm2d(4)
        nn.init.constant_(self.last.bias, bias)
        self.compute = compute

    def forward(self, images):
        return self.last(self.compute(self, self.first(images)))

    def dropped(self, maps, share=0.1):
        return functional.dropout(maps, share, self.training)


def plain(net, maps):
    return net.dropped(maps.relu()).mean((2, 3))


OTHERS = {
    "activation": lambda: Net(lambda net, maps: net.dropped(functional.gelu(maps)).mean((2, 3))),
    "dropout": lambda: Net(lambda net, maps: net.dropped(maps.relu(), 0.3).mean((2, 3))),
    "pool": lambda: Net(lambda net, maps: net.dropped(maps.relu()).amax((2, 3))),
    "scale": lambda: Net(lambda net, maps: net.dropped(2 * maps.relu()).mean((2, 3))),
    "sum": lambda: Net(lambda net, maps: net.dropped(maps.relu() + maps).mean((2, 3))),
    "BatchNorm": lambda: Net(lambda net, maps: net.dropped(net.spare(maps).relu()).mean((2, 3))),
    "first weights": lambda: Net(plain, bias=0.2),
}


@pytest.mark.parametrize("change", OTHERS)
def test_a_model_that_computes_something_else_is_another_though_its_text_is_the_same(inject, change):
    saved, again, other = (
        identity.identify(build, (1, 28, 28)) for build in (lambda: Net(plain), lambda: Net(plain), OTHERS[change])
    )
    inject("model that has changed")
    assert again == saved
    assert identity.is_same(saved, again)
    assert other["layers"] == saved["layers"]
    assert not identity.is_same(other, saved)
