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
from deployment import export, predict
from reporting import rules


class Net(nn.Module):
    """Two convolutions and a head, whose parts say how they differ."""

    def __init__(self, num_classes):
        super().__init__()
        self.convolution1, self.convolution2 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.norm, self.dropout, self.head = nn.BatchNorm2d(8), nn.Dropout(0.1), nn.Linear(16, num_classes)

    def maps(self, images):  # [N, 16, 5, 5]
        images = functional.max_pool2d(functional.relu(self.norm(self.convolution1(images))), 2)
        return functional.max_pool2d(functional.relu(self.convolution2(images)), 2)

    def features(self, images):
        return self.maps(images).mean((2, 3))

    def forward(self, images):
        return self.head(self.dropout(self.features(images)))


class LogSoftmax(Net):
    def forward(self, images):
        return super().forward(images).log_softmax(1)


class Shared(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.again = nn.Conv2d(16, 16, 3, padding=1)

    def features(self, images):
        maps = self.maps(images)
        for _ in range(3):
            maps = functional.relu(self.again(maps))
        return maps.mean((2, 3))


class Residual(Shared):
    def features(self, images):
        maps = self.maps(images)
        more = self.again(maps)
        more += maps
        return more.mean((2, 3))


class ResidualInPlace(Shared):
    def features(self, images):
        maps = self.maps(images)
        maps += self.again(maps)
        return maps.mean((2, 3))


class Flow(Net):
    def features(self, images):
        features = super().features(images)
        return features * 0.9 if features.mean() > 0.5 else features


class View(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.head = nn.Linear(16 * 25, num_classes)

    def features(self, images):
        return self.maps(images).view(-1, 16 * 25)


class ViewOfSize(Net):
    def features(self, images):
        return super().features(images).view(int(images.size(0)), 16)


class Excitation(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.excitation = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Sigmoid())

    def features(self, images):
        maps = self.maps(images)
        return (maps * self.excitation(maps.mean((2, 3)))[:, :, None, None]).mean((2, 3))


class Attention(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def features(self, images):
        places = self.maps(images).flatten(2).transpose(1, 2)
        return self.attention(places, places, places)[0].mean(1)


class Keeper(Net):
    def features(self, images):
        self.seen = self.maps(images)  # for a look at them
        return self.seen.mean((2, 3))


class Reparametrized(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.head = nn.utils.parametrizations.weight_norm(self.head)


class ZeroHead(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        nn.init.zeros_(self.head.weight)


class ForgottenTraining(Net):
    def features(self, images):
        return functional.dropout(super().features(images), 0.25)


class Noise(Net):
    def features(self, images):
        return super().features(images) + torch.rand(16)


class Auxiliary(Net):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class FailsInTraining(Net):
    def features(self, images):
        return super().features(images)[:, : 8 if self.training else 16]


class Squeeze(Net):
    def features(self, images):
        return functional.adaptive_avg_pool2d(self.maps(images), 1).squeeze()


class ListOfLayers(ZeroHead):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.blocks = [nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)]

    def features(self, images):
        maps = self.maps(images)
        for block in self.blocks:
            maps = block(maps)
        return maps.mean((2, 3))


class DictionaryOfLayers(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.parts = {"again": nn.Conv2d(16, 16, 3, padding=1)}

    def features(self, images):
        return self.parts["again"](self.maps(images)).mean((2, 3))


class PlainTensor(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.gain = torch.rand(16)

    def features(self, images):
        return super().features(images) * self.gain


class MadeInForward(Net):
    def features(self, images):
        if not hasattr(self, "late"):
            self.late = nn.Conv2d(16, 16, 1)
        return self.late(self.maps(images)).mean((2, 3))


class OldWeightNorm(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.head = nn.utils.weight_norm(self.head)


class NoSuper(Net):
    def __init__(self, num_classes):
        self.convolution1 = nn.Conv2d(1, 8, 3)


class OverTheBatch(Net):
    def forward(self, images):
        return super().forward(images).log_softmax(0)


class StatisticsOfTheBatch(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)


class Mistaken(Net):
    def features(self, images):
        return self.maps(images).flatten(1)


SOUND = [
    *(Net, LogSoftmax, Shared, Residual, Flow, View, ViewOfSize, Excitation, Attention, Keeper),
    *(Reparametrized, ZeroHead),
]
REFUSED = {
    ForgottenTraining: "F.dropout needs training=self.training",
    Noise: "nothing may be drawn there",
    Auxiliary: "in training, got a tuple of 2: return the logits alone",
    FailsInTraining: ": give nn.Linear as many inputs",
    Squeeze: "must return logits [1, 10] for 1 image [1, 1, 28, 28], got [10]",
    ListOfLayers: "in self.blocks that are neither trained nor saved: layers belong into nn.ModuleList",
    DictionaryOfLayers: "in self.parts that are neither trained nor saved",
    PlainTensor: "in self.gain that are neither trained nor saved",
    MadeInForward: "make them all in __init__",
    OldWeightNorm: "use parametrizations.weight_norm",
    NoSuper: "begin __init__ with super().__init__()",
    OverTheBatch: "softmax and mean go over dim 1 and later",
    StatisticsOfTheBatch: "BatchNorm needs its running statistics",
    ResidualInPlace: "x = x + y instead of x += y",
    Mistaken: "give nn.Linear as many inputs as the layers before it have outputs",
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
    assert rules.training_rule(put(network)).passed
    status, output, errors = train_small("--recipe", "mine", "--epochs", 1)
    assert (status, errors) == (0, "")
    assert ("contiguous layout" in output) == (network is View)
    Image.fromarray(mnist[1].pixels[0, 0].numpy()).resize((280, 280)).save(tmp_path / "digit.png")
    assert predict.main([str(tmp_path / "digit.png"), "--run", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert "digit.png" in capsys.readouterr().out


@pytest.mark.process
@pytest.mark.parametrize(
    ("network", "missing"),
    [
        (View, ""),
        (Excitation, ""),
        (Attention, "no mnist20k.h: it has no step for the operator"),
        (Flow, "no model.onnx: it cannot be traced: .*, at test_networks.py:[0-9]+: no if and no loop may depend on"),
    ],
)
def test_what_formats_a_network_can_have_are_written_whatever_the_others(
    put, train_small, tmp_path, capsys, network, missing
):
    put(network)
    assert train_small("--recipe", "mine", "--epochs", 1)[0] == 0
    export.main([str(tmp_path / "run")])
    errors = capsys.readouterr().err
    assert re.search(missing, errors)
    assert ("warning" in errors) == bool(missing)
    written = {path.name for path in (tmp_path / "run" / "export").iterdir()}
    assert {"model.safetensors", "export.json"} <= written
    assert ("model.onnx" in written) == (network is not Flow)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("network", REFUSED)
def test_an_unsound_network_is_refused_alike_by_its_check_and_before_training(put, train_small, inject, network):
    recipe = put(network)
    inject("network that is not sound")
    rule = rules.training_rule(recipe)
    assert not rule.passed
    assert REFUSED[network] in rule.measured
    status, _, errors = train_small("--recipe", "mine")
    assert status == 2
    assert f": {rule.measured} (see --help)\n" in errors
    assert errors.count("\n") == 1
