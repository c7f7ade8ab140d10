"""The C header computes what ONNX computes, whatever the network is made of."""

import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from deployment import c_header, onnx_format, quantize
from model import ARCHITECTURES, Normalize, build

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")


class Branches(nn.Module):
    """Sums, products, concatenation, groups, dilation, strides, SiLU, ReLU6, averages with padding."""

    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 5, stride=2, padding=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(16, 12, (3, 1), groups=2)
        self.head = nn.Linear(12, num_classes)

    def forward(self, images):
        stem = functional.silu(self.stem(images))
        block = functional.relu6(self.norm(self.pointwise(self.depthwise(stem))))
        both = torch.cat([stem + block, functional.avg_pool2d(block, 3, 1, 1)], dim=1)
        pooled = functional.max_pool2d(functional.relu(both), 3, 2, 1)
        return self.head(functional.dropout(self.wide(pooled).mean((2, 3)), 0.1, self.training))


class Dense(nn.Module):
    """A map that is flattened in front of linear layers, with BatchNorm between; a ring of zeros, a bound below."""

    def __init__(self, num_classes):
        super().__init__()
        self.convolution = nn.Conv2d(1, 6, 3)
        self.hidden = nn.Linear(6 * 14 * 14, 20)
        self.norm = nn.BatchNorm1d(20)
        self.head = nn.Linear(20, num_classes, bias=False)

    def forward(self, images):
        maps = functional.max_pool2d(functional.relu(self.convolution(functional.pad(images, (1, 1, 1, 1)))), 2)
        return self.head(functional.relu(self.norm(self.hidden(maps.flatten(1)))) * 0.5 - 1)


class Unknown(nn.Module):
    """An activation that the header does not have."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(784, num_classes)

    def forward(self, images):
        return self.head(functional.softplus(images.flatten(1)))


class Standardize(nn.Module):
    """Logits as spread over the images as a trained model's."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("mean", logits.mean(0))
        self.register_buffer("std", logits.std(0))

    def forward(self, logits):
        return 2 * (logits - self.mean) / self.std


@torch.no_grad()
def deployable(model, mnist):
    """A model with statistics and weights as after a training, so that no part of it is idle."""
    generator, images = torch.Generator().manual_seed(1), mnist[0][:500].to_float()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = None  # a plain mean
            if module.affine:
                module.weight.uniform_(-1.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
    layers = nn.Sequential(Normalize(0.13, 0.31), model)
    layers.train()(images)
    return nn.Sequential(*layers, Standardize(layers.eval()(images))).eval()


def rounded(content):
    """An ONNX file with weights that are what their eight bits say."""
    model = onnx.load_from_string(content)
    constants = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight = onnx.numpy_helper.to_array(constants[node.input[1]])
            integers, scale = c_header.quantized(weight.reshape(*weight.shape, *[1] * (4 - weight.ndim)))
            shape = np.array([*weight.shape, 1, 1])[:4]
            values = integers.reshape(shape[[0, 2, 3, 1]]).transpose(0, 3, 1, 2) * scale[:, None, None, None]
            constants[node.input[1]].CopyFrom(
                onnx.numpy_helper.from_array(values.reshape(weight.shape).astype(np.float32), node.input[1])
            )
    return model.SerializeToString()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a model, and returns the content of the ONNX file."""

    def export(model):
        path = tmp_path_factory.mktemp("onnx") / "model.onnx"
        onnx_format.write(path, model, (1, 28, 28), {"recipe": "mine"})
        return path.read_bytes()

    return export


def compared(content, pixels, folder):
    """(probabilities by ONNX, by C) of images."""
    c_header.write(folder / "mnist20k.h", content, pixels, "a test", list("0123456789"))
    expected = onnx_format.session(content).run(["probabilities"], {"pixels": pixels})[0]
    return expected, c_header.outputs(folder / "mnist20k.h", pixels, 10)[0]


@needs_compiler
@pytest.mark.parametrize("build_model", [Branches, Dense, *map(ARCHITECTURES.get, ("fast", "erav3"))])
def test_but_for_the_rounding_of_weights_the_header_computes_what_onnx_computes(build_model, exported, mnist, tmp_path):
    torch.manual_seed(0)
    pixels = mnist[1].pixels[:300].numpy()
    expected, found = compared(rounded(exported(deployable(build_model(10), mnist))), pixels, tmp_path)
    assert found.sum(1) == pytest.approx(np.ones(len(pixels)), abs=1e-5)
    assert expected.std(0).min() > 0.03  # every class depends on the image
    assert np.abs(found - expected).max() < 0.01


def test_an_operator_that_the_header_lacks_is_named(exported, mnist):
    with pytest.raises(quantize.Unavailable, match=r"no step for the operator Softplus as .* it knows Add, .*Conv"):
        quantize.quantize(exported(deployable(Unknown(10), mnist)), mnist[0].pixels[:10].numpy())


def test_maps_that_live_at_the_same_time_have_places_of_their_own(exported, mnist):
    graph, length = quantize.quantize(exported(deployable(Branches(10), mnist)), mnist[0].pixels[:100].numpy())
    last = {name: index for index, step in enumerate(graph.steps) for name in step.inputs}
    for index, step in enumerate(graph.steps):
        made = graph.maps[step.output]
        assert made.offset + made.size <= length
        for name in (name for name in last if last[name] > index and name != step.output):
            other = graph.maps[name]
            if any(before.output == name for before in graph.steps[:index]):
                assert made.offset + made.size <= other.offset or other.offset + other.size <= made.offset
    assert length < sum(made.size for made in graph.maps.values()) / 2


@needs_compiler
def test_sums_stay_within_32_bits(exported, tmp_path):
    """The largest sums there are: every weight and every activation at its limit, with one sign."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10, bias=False))
    for layer in (model[1], model[3]):
        layer.weight.data.fill_(1.0)
    model[1].bias.data.zero_()
    model[3].weight.data[1:] = -1.0
    pixels = np.full((20, 1, 28, 28), 255, dtype=np.uint8)
    expected, found = compared(exported(nn.Sequential(Normalize(0.0, 1.0), model).eval()), pixels, tmp_path)
    assert found == pytest.approx(expected, abs=1e-3)


@needs_compiler
def test_the_header_compiles_strictly_in_several_files_and_allocates_nothing(exported, mnist, tmp_path):
    path = tmp_path / "mnist20k.h"
    sizes = c_header.write(
        path, exported(deployable(build("default", 10), mnist)), mnist[0].pixels[:50].numpy(), "t", ["a"] * 10
    )
    text = path.read_text()
    assert re.findall(r"#include (.*)", text) == ["<stdint.h>"]
    assert not re.search(r"\b(malloc|calloc|free|printf|exp|expf|double)\(", text)
    assert "static inline int mnist20k_predict(const uint8_t pixels[784], float probabilities[10])" in text
    assert sizes["weight_bytes"] == 19_066 - 2 * 120 - 10  # all but those of BatchNorm, and biases
    compiled = c_header.compiled_sizes(path)
    if compiled:  # GNU's size is there
        assert compiled["flash_bytes"] < 40_000
        assert compiled["memory_bytes"] < 30_000
    for name in ("one.c", "two.c"):
        (tmp_path / name).write_text(c_header.ENTRY.replace("entry(", f"{name[:3]}_entry("))
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    c_header.run(*c_header.FLAGS, *(tmp_path / name for name in ("one.c", "two.c", "main.c")), "-o", tmp_path / "both")


def test_without_a_compiler_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(quantize.Unavailable, match="no C compiler to verify it with: install gcc or clang"):
        c_header.run(Path("x.c"))
