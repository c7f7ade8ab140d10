"""The C header computes what ONNX computes, whatever the network is made of."""

import re
import shutil
import subprocess

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from deployment import c_header, network, onnx_format, quantize
from deployment.onnx_format import Unavailable
from model import ARCHITECTURES, Normalize, build

pytestmark = pytest.mark.process

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, c_header.COMPILERS)), reason=f"no C compiler: none of {', '.join(c_header.COMPILERS)}"
)


class Everything(nn.Module):
    """Sums, products and concatenation of maps, groups, strides, gaps, a ring of zeros, bounds and functions, also of
    a map that is read twice; then linear layers on a flattened map, with BatchNorm between."""

    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 5, stride=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=(4, 2), dilation=(4, 2), groups=8, bias=False)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.wide = nn.Conv2d(24, 12, (3, 1), groups=2)
        self.hidden = nn.Linear(12 * 5 * 7, 20)
        self.hidden_norm = nn.BatchNorm1d(20)
        self.head = nn.Linear(20, num_classes, bias=False)

    def forward(self, images):
        stem = functional.silu(self.stem(functional.pad(images, (2, 2, 2, 2))))
        block = functional.relu6(self.norm(functional.relu(self.pointwise(self.depthwise(stem)))))
        excited = block * functional.sigmoid(self.squeeze(block.mean((2, 3), keepdim=True)))
        pooled = functional.max_pool2d(functional.leaky_relu(stem + excited), 3, 2, 1)
        blurred = functional.hardswish(functional.avg_pool2d(pooled, 3, 1, 1))
        blurred = functional.relu(torch.cat([blurred, pooled, -blurred], dim=1))
        features = functional.dropout(functional.gelu(self.wide(blurred)).flatten(1), 0.1, self.training)
        return self.head(functional.tanh(self.hidden_norm(self.hidden(features))) * 0.5 - 1)


@torch.no_grad()
def deployable(model, mnist):
    """A model with statistics and weights as after a training, so that no part of it is idle, and logits spread like a
    trained model's."""
    generator, spread = torch.Generator().manual_seed(1), nn.BatchNorm1d(10)
    layers = nn.Sequential(Normalize(0.13, 0.31), model, spread)
    for module in layers.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = None  # a plain mean
            if module.affine:
                module.weight.uniform_(-1.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
    spread.weight.fill_(2.0)
    layers.train()(mnist[0][:500].to_float())
    return layers.eval()


def rounded(content):
    """An ONNX file with weights that are what their eight bits say."""
    model = onnx.load_from_string(content)
    constants = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight = onnx.numpy_helper.to_array(constants[node.input[1]])
            scale = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True) / 127
            values = (np.rint(weight / scale) * scale).astype(np.float32)
            constants[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(values, node.input[1]))
    return model.SerializeToString()


def exported(model, folder):
    """The content of a model's ONNX file."""
    onnx_format.write(folder / "model.onnx", model, (1, 28, 28), {"recipe": "mine"})
    return (folder / "model.onnx").read_bytes()


def compared(content, pixels, folder):
    """(probabilities by ONNX, by C) of images."""
    c_header.write(folder / "mnist20k.h", content, pixels, "a test", list("0123456789"))
    expected = network.session(content).run(["probabilities"], {"pixels": pixels})[0]
    return expected, c_header.measured(folder / "mnist20k.h", pixels, 10)[0]


@needs_compiler
@pytest.mark.parametrize("build_model", [Everything, ARCHITECTURES["default"]])
def test_but_for_the_rounding_of_weights_the_header_computes_what_onnx_computes(build_model, mnist, tmp_path):
    torch.manual_seed(0)
    pixels = mnist[1].pixels[:300].numpy()
    expected, probabilities = compared(
        rounded(exported(deployable(build_model(10), mnist), tmp_path)), pixels, tmp_path
    )
    assert probabilities.sum(1) == pytest.approx(np.ones(len(pixels)), abs=1e-5)
    assert expected.std(0).min() > 0.03  # every class depends on the image
    assert np.abs(probabilities - expected).max() < 0.01


def test_an_operator_that_the_header_lacks_is_named(mnist, tmp_path):
    model = nn.Sequential(nn.ConvTranspose2d(1, 1, 2), nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(Unavailable, match=r"operator ConvTranspose as .* it knows Abs,.* Conv,"):
        quantize.Graph(exported(deployable(model, mnist), tmp_path), mnist[0].pixels[:10].numpy())


@needs_compiler
def test_sums_stay_within_32_bits(tmp_path):
    """The largest sums there are: every weight and every activation at its limit, with one sign."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10, bias=False))
    for layer in (model[1], model[3]):
        layer.weight.data.fill_(1.0)
    model[1].bias.data.zero_()
    model[3].weight.data[1:] = -1.0
    pixels = np.full((20, 1, 28, 28), 255, dtype=np.uint8)
    expected, probabilities = compared(
        exported(nn.Sequential(Normalize(0.0, 1.0), model).eval(), tmp_path), pixels, tmp_path
    )
    assert probabilities == pytest.approx(expected, abs=1e-3)


@needs_compiler
def test_the_header_compiles_strictly_in_several_files_and_allocates_nothing(mnist, tmp_path):
    path, model, pixels = tmp_path / "mnist20k.h", build("default", 10), mnist[0].pixels[:50].numpy()
    sizes = c_header.write(path, exported(deployable(model, mnist), tmp_path), pixels, "t", ["a"] * 10)
    text = path.read_text()
    assert re.findall(r"#include (.*)", text) == ["<stdint.h>"]
    assert not re.search(r"\b(malloc|calloc|free|printf|exp|expf|double)\(", text)
    assert "static inline int mnist20k_predict(const uint8_t pixels[784], float probabilities[10])" in text
    weights = [module.weight.numel() for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    lengths = list(map(int, re.findall(r"int8_t mnist20k_weight_\d+\[(\d+)\]", text)))
    assert sizes["weight_bytes"] == sum(lengths)
    assert lengths == [1, *weights[:-1], weights[-1] // 10 * 2 * 2, weights[-1]]  # a copy of the image; the mean
    assert sizes["weight_bytes"] + sizes["table_bytes"] < 35_000
    assert sizes["buffer_bytes"] < 30_000
    objects = [tmp_path / "one.o", tmp_path / "two.o"]
    for each in objects:
        c_header.compile_c(f"-DENTRY={each.stem}", "-c", c_header.MEASURE, f"-I{tmp_path}", "-o", each)
    (tmp_path / "main.c").write_text(
        "int one(const unsigned char *, float *), two(const unsigned char *, float *);\n"
        "int main(void) { static unsigned char pixels[784]; return one(pixels, 0) != two(pixels, 0); }\n"
    )
    c_header.compile_c(*objects, tmp_path / "main.c", "-o", tmp_path / "both")
    assert subprocess.run([tmp_path / "both"]).returncode == 0  # NULL where no probabilities are wanted


def test_without_a_compiler_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match="no C compiler to verify it with: install gcc or clang"):
        c_header.compile_c("x.c")
