"""Networks as students write them: each trains and then reads one picture, or is refused before it is trained, in one
line that names the cure."""

import re

import pytest
import torch
import torch.nn.functional as functional
from PIL import Image
from torch import nn

import model
import recipes
from deployment import export, onnx_format, predict
from reporting import rules


class Net(nn.Module):
    """Two convolutions and a head, with more parts, and between them what is done with the maps, [N, 16, 5, 5]."""

    def __init__(self, features, end=None, **parts):
        super().__init__()
        self.convolution1, self.convolution2 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.norm, self.dropout, self.head = nn.BatchNorm2d(8), nn.Dropout(0.1), nn.Linear(16, 10)
        self.features, self.end = features, end
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, images):
        maps = functional.max_pool2d(functional.relu(self.norm(self.convolution1(images))), 2)
        maps = functional.max_pool2d(functional.relu(self.convolution2(maps)), 2)
        logits = self.head(self.dropout(self.features(self, maps)))
        return self.end(self, logits) if self.end else logits


class NoSuper(nn.Module):
    def __init__(self, num_classes):
        self.convolution1 = nn.Conv2d(1, 8, 3)


def mean(net, maps):
    return maps.mean((2, 3))


def made_late(net, maps):
    if not hasattr(net, "late"):
        net.late = nn.Conv2d(16, 16, 1)
    return net.late(maps).mean((2, 3))


def more():
    return nn.Conv2d(16, 16, 3, padding=1)


def zero_head():
    head = nn.Linear(16, 10)
    nn.init.zeros_(head.weight)
    return head


SOUND = {
    "plain": lambda _: Net(mean),
    "log_softmax": lambda _: Net(mean, lambda net, logits: logits.log_softmax(1)),
    "shared": lambda _: Net(lambda net, maps: mean(net, net.more(net.more(maps))), more=more()),
    "residual": lambda _: Net(lambda net, maps: mean(net, net.more(maps).add_(maps)), more=more()),
    "flow": lambda _: Net(lambda net, maps: mean(net, maps) if maps.mean() > 0.5 else 0.9 * mean(net, maps)),
    "view": lambda _: Net(lambda net, maps: maps.view(-1, 400), head=nn.Linear(400, 10)),
    "excitation": lambda _: Net(
        lambda net, maps: mean(net, maps * net.excitation(mean(net, maps))[:, :, None, None]),
        excitation=nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Sigmoid()),
    ),
    "attention": lambda _: Net(
        lambda net, maps: net.attention(*[maps.flatten(2).transpose(1, 2)] * 3)[0].mean(1),
        attention=nn.MultiheadAttention(16, 2, batch_first=True),
    ),
    "keeps maps": lambda _: Net(lambda net, maps: setattr(net, "seen", maps) or mean(net, maps)),
    "weight_norm": lambda _: Net(mean, head=nn.utils.parametrizations.weight_norm(nn.Linear(16, 10))),
    "zero head": lambda _: Net(mean, head=zero_head()),
}
REFUSED = {
    "F.dropout needs training=self.training": lambda _: Net(
        lambda net, maps: functional.dropout(mean(net, maps), 0.25)
    ),
    "nothing may be drawn there": lambda _: Net(lambda net, maps: mean(net, maps) + torch.rand(16)),
    "in training, got a tuple: return the logits": lambda _: Net(
        mean, lambda net, logits: (logits, logits) if net.training else logits
    ),
    ": give nn.Linear as many inputs": lambda _: Net(lambda net, maps: mean(net, maps)[:, : 8 if net.training else 16]),
    "must return logits [1, 10] for 1 image [1, 1, 28, 28], got [10]": lambda _: Net(
        lambda net, maps: functional.adaptive_avg_pool2d(maps, 1).squeeze()
    ),
    "in self.blocks that are neither trained nor saved: layers belong into nn.ModuleList": lambda _: Net(
        lambda net, maps: mean(net, net.blocks[1](net.blocks[0](maps))),
        blocks=[more(), nn.BatchNorm2d(16)],
        head=zero_head(),
    ),
    "in self.parts that are neither trained nor saved": lambda _: Net(
        lambda net, maps: mean(net, net.parts["again"](maps)), parts={"again": more()}
    ),
    "in self.gain that are neither trained nor saved": lambda _: Net(
        lambda net, maps: mean(net, maps) * net.gain, gain=torch.rand(16)
    ),
    "make them all in __init__": lambda _: Net(made_late),
    "use parametrizations.weight_norm": lambda _: Net(mean, head=nn.utils.weight_norm(nn.Linear(16, 10))),
    "begin __init__ with super().__init__()": NoSuper,
    "softmax and mean go over dim 1 and later": lambda _: Net(mean, lambda net, logits: logits.log_softmax(0)),
    "BatchNorm needs its running statistics": lambda _: Net(mean, norm=nn.BatchNorm2d(8, track_running_stats=False)),
    "x = x + y instead of x += y": lambda _: Net(lambda net, maps: mean(net, maps.add_(net.more(maps))), more=more()),
}


@pytest.fixture
def put(monkeypatch):
    """Puts a network into model.py and a recipe for it into recipes.py, as `mine`; returns the recipe."""

    def put_in(network):
        monkeypatch.setitem(model.ARCHITECTURES, "mine", network)
        monkeypatch.setitem(recipes.RECIPES, "mine", recipes.Recipe(name="mine", architecture="mine"))
        return recipes.RECIPES["mine"]

    return put_in


@pytest.mark.parametrize("network", SOUND)
def test_a_sound_network_trains_and_reads_a_picture(put, train_small, tmp_path, mnist, capsys, network):
    assert rules.training_rule(put(SOUND[network])).passed
    status, output, errors = train_small("--recipe", "mine", "--epochs", 1)
    assert (status, errors) == (0, "")
    assert ("contiguous layout" in output) == (network == "view")
    Image.fromarray(mnist[1].pixels[0, 0].numpy()).resize((280, 280)).save(tmp_path / "digit.png")
    if network == "flow":  # what reads is an exported network, which this cannot be
        with pytest.raises(onnx_format.Unavailable, match="cannot be traced"):
            export.main([str(tmp_path / "run"), "--quick", "--data", str(tmp_path)])
        return
    export.main([str(tmp_path / "run"), "--quick", "--data", str(tmp_path)])
    assert predict.main([str(tmp_path / "digit.png"), "--run", str(tmp_path / "run")]) == 0
    assert "digit.png" in capsys.readouterr().out


@pytest.mark.process
@pytest.mark.parametrize(
    ("network", "missing"),
    [
        ("view", ""),
        ("excitation", ""),
        ("attention", "no mnist20k.h: it has no step for the operator"),
        ("flow", "no model.onnx: it cannot be traced: .*, at test_networks.py:[0-9]+: no if and no loop may depend on"),
    ],
)
def test_what_formats_a_network_can_have_are_written_whatever_the_others(
    put, train_small, tmp_path, capsys, network, missing
):
    put(SOUND[network])
    assert train_small("--recipe", "mine", "--epochs", 1)[0] == 0
    export.main([str(tmp_path / "run")])
    errors = capsys.readouterr().err
    assert re.search(missing, errors)
    assert ("warning" in errors) == bool(missing)
    written = {path.name for path in (tmp_path / "run" / "export").iterdir()}
    assert {"model.safetensors", "export.json"} <= written
    assert ("model.onnx" in written) == (network != "flow")


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("cure", REFUSED)
def test_an_unsound_network_is_refused_alike_by_its_check_and_before_training(put, train_small, inject, cure):
    recipe = put(REFUSED[cure])
    inject("network that is not sound")
    rule = rules.training_rule(recipe)
    assert not rule.passed
    assert cure in rule.measured
    status, _, errors = train_small("--recipe", "mine")
    assert status == 2
    assert f": {rule.measured} (see --help)\n" in errors
    assert errors.count("\n") == 1
