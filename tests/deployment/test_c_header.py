"""The C header computes what ONNX computes, whatever the network is made of, and its folder builds and tests itself."""

import itertools
import os
import re
import shutil
import subprocess

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from deployment import c_header, network, onnx_format, pictures, quantize
from deployment.onnx_format import Unavailable
from model import ARCHITECTURES, Normalize, build

pytestmark = pytest.mark.process

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, c_header.COMPILERS)), reason=f"no C compiler: none of {', '.join(c_header.COMPILERS)}"
)


FIT_PICTURES = """
#include <stdio.h>
#include "fit.h"

int main(void)
{
    static uint8_t ink[SIDE * SIDE], pixels[784];
    while (fread(ink, 1, sizeof ink, stdin) == sizeof ink) {
        if (!fit(ink, SIDE, SIDE, pixels))
            return 1;
        fwrite(pixels, 1, sizeof pixels, stdout);
    }
    return 0;
}
"""


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


def write(folder, content, pixels):
    """The header's figures, of a self-test with ten of the images."""
    digits, classes = dict(enumerate(pixels[:10])), list("0123456789")
    return c_header.write(folder / "mnist20k.h", content, pixels, digits, "a test", classes)


def compared(content, pixels, folder):
    """(probabilities by ONNX, by C) of images."""
    write(folder, content, pixels)
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
    figures = write(tmp_path, exported(deployable(model, mnist), tmp_path), pixels)
    text = path.read_text()
    assert re.findall(r"#include (.*)", text) == ["<stdint.h>"]
    assert not re.search(r"\b(malloc|calloc|free|printf|exp|expf|double)\(", text)
    assert "static inline int mnist20k_predict(const uint8_t pixels[784], float probabilities[10])" in text
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear)))
    assert f"int8_t mnist20k_weights[{1 + weights + 24 * 2 * 2}]" in text  # a copy of the image; the mean
    assert weights < figures["constant_bytes"] < 35_000
    assert figures["buffer_bytes"] < 30_000
    assert 30 * weights < figures["multiply_adds"] < 100 * weights  # a weight is used at many places
    constants = '-DMNIST20K_CONST=__attribute__((section(".elsewhere")))'
    for name in ("one", "two"):
        source = f'#include "mnist20k.h"\nint {name}(const uint8_t *pixels);\n'
        source += f"int {name}(const uint8_t *pixels) {{ return mnist20k_predict(pixels, 0); }}\n"
        (tmp_path / f"{name}.c").write_text(source)
        c_header.compile_c("-O2", constants, "-c", tmp_path / f"{name}.c", "-o", tmp_path / f"{name}.o")
        assert b".elsewhere" in (tmp_path / f"{name}.o").read_bytes()
    (tmp_path / "main.c").write_text(
        "int one(const unsigned char *), two(const unsigned char *);\n"
        "int main(void) { static unsigned char pixels[784]; return one(pixels) != two(pixels); }\n"
    )
    c_header.compile_c(*(tmp_path / name for name in ("one.o", "two.o", "main.c")), "-o", tmp_path / "both")
    assert subprocess.run([tmp_path / "both"]).returncode == 0  # NULL where no probabilities are wanted


@pytest.fixture
def firmware(mnist, tmp_path):
    """The folder of an untrained network that tells whether its ten digits are read as it reads them."""
    content, pixels = exported(deployable(build("default", 10), mnist), tmp_path), mnist[1].pixels[:300].numpy()
    logits = network.session(rounded(content)).run(["logits"], {"pixels": pixels})[0]
    margins = -np.diff(np.sort(logits)[:, -2:]).ravel()
    digits = {int(logits[index].argmax()): pixels[index] for index in margins.argsort()[::-1]}
    c_header.write(tmp_path / "mnist20k.h", content, pixels, digits, "a test", list("0123456789"))
    return tmp_path / "firmware", len(digits)


def make(folder, *arguments):
    """(exit status, output) of make in the folder, with warnings as errors; without the calling make's flags."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", folder, "CFLAGS=-O2 -Werror", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    return ended.returncode, ended.stdout + ended.stderr


@needs_compiler
def test_the_folder_builds_and_its_self_test_fails_for_a_digit_that_is_read_otherwise(firmware):
    folder, count = firmware
    status, output = make(folder)
    assert status == 0, output
    assert make(folder, "CFLAGS=-Dmain=other")[0] != 0  # compiled again, with other flags
    assert make(folder)[0] == 0
    ended = subprocess.run([folder / "selftest"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"{count} of {count}\n")
    path = folder / "digits.h"
    label = re.search(r"\n    {(\d), {", path.read_text())[1]
    path.write_text(path.read_text().replace(f"    {{{label}, {{", f"    {{{(int(label) + 1) % 10}, {{"))
    assert make(folder)[0] == 0
    ended = subprocess.run([folder / "selftest"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, f"{count - 1} of {count}\n")


@pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="no C compiler for Cortex-M, or no machine: arm-none-eabi-gcc, qemu-system-arm",
)
def test_every_cortex_m_reads_the_digits_and_a_class_needs_no_floating_point(firmware, mnist):
    folder, count = firmware
    status, output = make(folder, "check", "size")
    assert status == 0, output
    assert output.count(f"{count} of {count}\n") == 6  # five of Cortex-M, and this machine
    assert len(re.findall(r"[1-9]\d+ instructions per image", output)) == 5
    assert len(re.findall(r"\d{5}\t +0\t +\d{4,5}\t", output)) == 5  # text, no data, bss
    images = mnist[1].pixels[:5].numpy().tobytes()
    expected = subprocess.run([folder / "selftest", "-"], input=images, capture_output=True).stdout
    qemu = [
        "qemu-system-arm",
        "-M",
        "microbit",
        "-display",
        "none",
        "-serial",
        "null",
        "-monitor",
        "null",
        "-icount",
        "0",
    ]
    qemu += ["-semihosting-config", "enable=on,target=native,arg=m0,arg=-", "-kernel", folder / "build" / "m0.elf"]
    assert subprocess.run(qemu, input=images, capture_output=True).stdout == expected  # the probabilities' very bits
    source = '#include "mnist20k.h"\nint f(const uint8_t *); int f(const uint8_t *p) { return mnist20k_predict(p, 0); }'
    (folder / "class.c").write_text(source)
    compiler = ["arm-none-eabi-gcc", "-O2", "-mthumb", "-mcpu=cortex-m0", "-c", "class.c"]
    subprocess.run(compiler, cwd=folder, check=True)
    symbols = subprocess.run(["arm-none-eabi-nm", "class.o"], cwd=folder, capture_output=True, text=True).stdout
    assert " f\n" in symbols
    assert not re.search("__aeabi_(f|d|i2|ui2)", symbols)


@needs_compiler
@pytest.mark.parametrize("side", [28, 64, 100, 301])
def test_a_grey_picture_is_brought_to_what_the_network_reads_as_pictures_are(tmp_path, side):
    """Within one grey level of pictures.fitted, where nothing has to be enlarged."""
    (tmp_path / "main.c").write_text(FIT_PICTURES)
    strict = "-Wconversion", "-Wsign-conversion", "-Wframe-larger-than=2048"
    c_header.compile_c(
        *strict, f"-DSIDE={side}", f"-I{c_header.FIRMWARE}", tmp_path / "main.c", "-o", tmp_path / "main"
    )
    drawn, generator = np.zeros((30, side, side), np.uint8), np.random.default_rng(side)
    for picture in drawn:
        middle = generator.uniform(0.05, 0.95, (3, 2))
        points = np.vstack([middle, generator.uniform(0, 0.1, 2), generator.uniform(0.85, 1, 2)]) * side
        cv2.polylines(picture, [points.astype(int).reshape(-1, 1, 2)], False, 255, side // 12, cv2.LINE_AA)
    drawn[15:] |= drawn[15:, :, ::-1]  # the centre of what is symmetric often lies between two places
    ended = subprocess.run([tmp_path / "main"], input=drawn.tobytes(), capture_output=True, check=True)
    fitted = np.frombuffer(ended.stdout, np.uint8).reshape(-1, 28, 28).astype(int)
    expected = [pictures.fitted(pictures.trimmed(ink / np.float32(255)), 20, True) for ink in drawn]
    assert np.abs(fitted - expected).max() <= 1
    blank = subprocess.run([tmp_path / "main"], input=bytes(side * side), capture_output=True)
    assert blank.returncode == 1


def test_maps_lie_as_close_as_they_can():
    """A chain of maps needs as much memory as its two largest neighbours."""
    sizes = [784, 784, 676, 1152, 576, 512, 288, 192, 48, 10]
    names = list(map(str, range(len(sizes))))
    steps = {
        name: quantize.Step(names[index - 1 : index] if index else [], (1, 1), np.ones(1), shape=(1, 1, size))
        for index, (name, size) in enumerate(zip(names, sizes, strict=True))
    }
    assert quantize.place_maps(steps, names[-1]) == 676 + 1152
    for first, second in itertools.pairwise(steps.values()):
        assert first.offset + first.size <= second.offset or second.offset + second.size <= first.offset


def test_without_a_compiler_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match="no C compiler to verify it with: install gcc or clang"):
        c_header.compile_c("x.c")
