"""The network as C99, for microcontrollers: the header mnist20k.h, a folder firmware/ around it that builds and tests
itself, and what it computes when it is compiled.

`write` makes them of an ONNX file, and `measured` runs them on images. Nothing else makes one self-contained C99 file
with int8 weights: onnx2c and emx-onnx-cgen keep float weights and buffers, emlearn's networks and TinyMaix need a
library of their own, ExecuTorch and TensorFlow Lite Micro a C++ runtime.
"""

import math
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from support import UserError, files

import jinja2
import numpy as np

from deployment.onnx_format import Unavailable
from deployment.quantize import TABLE_SIZE, WEIGHT_LIMIT, Array, Graph

FIRMWARE = Path(__file__).with_name("firmware")
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
COMPILERS = ("cc", "gcc", "clang")
BYTES = {"weights": 1, "channels": 8, "tables": 2 * TABLE_SIZE, "steps": 80}  # of each
FRACTION = 2**8  # parts of an activation, before it is rounded


def fixed_point(values: Array) -> tuple[list[int], int]:
    """(integers, shift): values times 2 to the power of the shift, the largest with 30 bits."""
    shift = int(np.clip(30 - np.frexp(np.abs(values).max())[1], 15, 62))
    return np.rint(np.ldexp(values, shift)).clip(-(2**31), 2**31 - 1).astype(int).tolist(), shift


def arrays(graph: Graph) -> dict[str, list]:
    """The arrays of the header by name: the steps' scales are those of the integers that they read and write."""
    weights, channels, tables, steps = [], [], [], []
    for step in filter(lambda step: step.inputs, graph.steps.values()):
        first, second = (graph.steps[name] for name in (step.inputs[0], step.inputs[-1]))
        scale = np.maximum(np.abs(step.weight).max((1, 2, 3)), 1e-30) / WEIGHT_LIMIT  # of each channel
        unit, middle, table = step.scale, 0, -1
        if step.table is not None:
            integers = np.rint(step.table / step.scale).astype(int).tolist()
            unit, middle = 2 * step.reach / (TABLE_SIZE - 1), TABLE_SIZE // 2
            tables += [integers] if integers not in tables else []
            table = tables.index(integers)
        factors = step.factor * first.scale * scale / unit * (second.scale * 2**15 if step.combine == "*" else 1)
        added = second.scale / unit if step.combine == "+" else 0
        (*multipliers, second_multiplier), shift = fixed_point(np.append(factors, added) * FRACTION)
        biases = np.rint(np.broadcast_to(step.shift / unit + middle, scale.shape) * FRACTION)
        second_stride = second.shape[0] if second.shape == step.shape else 0
        places = first.offset, second.offset, step.offset, len(weights), len(channels)
        bounds = max(step.low / step.scale, -step.limit), min(step.high / step.scale, step.limit)
        combination = table, f"'{step.combine}'" if step.combine else 0, second_stride, shift, second_multiplier
        shapes = *first.shape, *step.shape, *step.places, step.groups
        windows = (f"{{{', '.join(map(str, np.ravel(window)))}}}" for window in (step.window, step.pool))
        steps.append([*places, *shapes, *map(round, bounds), *windows, *combination])
        weights += np.rint(step.weight / scale[:, None, None, None]).astype(int).transpose(0, 2, 3, 1).ravel().tolist()
        channels += zip(multipliers, biases.clip(-(2**31), 2**31 - 1).astype(int).tolist(), strict=True)
    return {"weights": weights, "channels": channels, "tables": tables, "steps": steps}


def write(
    path: Path, content: bytes, calibration: Array, digits: dict[int, Array], title: str, classes: list[str]
) -> dict[str, Any]:
    """Write the header of an ONNX file's content, and the folder firmware/ beside it; {figure: its value}.
    `calibration` are training images, bytes [N, 1, H, W], and `digits` {class index: bytes [1, H, W]} what the
    self-test reads. Raises Unavailable for a network with an operator that has no step."""
    graph = Graph(content, calibration)
    steps, facts = graph.steps.values(), arrays(graph)
    figures = {
        "constant_bytes": sum(size * len(facts[name]) for name, size in BYTES.items()),
        "buffer_bytes": 2 * graph.buffer_size,
        "multiply_adds": sum(each.weight.size * math.prod((*each.shape[1:], *each.pool.size)) for each in steps),
    }
    facts |= figures | {"image": graph.steps["pixels"], "logits": graph.steps[graph.output], "fraction": FRACTION}
    facts |= {"title": title, "classes": classes, "digits": digits}
    for source in FIRMWARE.iterdir():
        template = jinja2.Template(source.read_text(encoding="utf-8"), keep_trailing_newline=True)
        text = template.render(facts)
        files.replace_file(path.parent / "firmware" / source.name.removesuffix(".jinja"), text.encode())
    files.replace_file(path, files.read(path.parent / "firmware" / path.name))
    return figures


def measured(path: Path, pixels: Array, num_classes: int) -> tuple[Array, bool]:
    """(probabilities [N, num_classes] of bytes [N, 1, H, W], whether the self-test passes) by the firmware beside a
    header, compiled with warnings as errors. Raises UserError where it does not compile, Unavailable without a
    compiler."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "selftest"
        compile_c("-O3", *(path.parent / "firmware" / name for name in ("main.c", "network.c")), "-o", program)
        tested = subprocess.run([program], capture_output=True)
        ended = subprocess.run([program, "-"], input=pixels.tobytes(), capture_output=True, check=True)
    return np.frombuffer(bytearray(ended.stdout), np.float32).reshape(-1, num_classes), tested.returncode == 0


def compile_c(*arguments: Any) -> None:
    """Run the C compiler. Raises UserError with what it says, Unavailable where there is none."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if not compiler:
        raise Unavailable("there is no C compiler to verify it with: install gcc or clang")
    ended = subprocess.run([compiler, *FLAGS, *map(str, arguments)], capture_output=True, text=True)
    if ended.returncode:
        raise UserError(f"{compiler} could not compile mnist20k.h: {ended.stderr.strip()[:500]}")
