"""The network as one C99 header, for microcontrollers: mnist20k.h, and what it computes when it is compiled.

`write` makes the header of an ONNX file, quantized with calibration images. `measured` compiles it, as strictly as it
will have to pass, and runs it on images. Of what exists, nothing makes one self-contained C99 file with int8 weights:
onnx2c and emx-onnx-cgen keep float weights and buffers, emlearn's networks and TinyMaix need a library of their own,
ExecuTorch and TensorFlow Lite Micro a C++ runtime. So one step is written here, as loops over tables.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from support import UserError, files

import jinja2
import numpy as np

from deployment.onnx_format import Unavailable
from deployment.quantize import ACTIVATION_LIMIT, TABLE_SIZE, WEIGHT_LIMIT, Graph, Step

TEMPLATE, MEASURE = (Path(__file__).with_name(name) for name in ("mnist20k.h.jinja", "measure.c"))
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
COMPILERS = ("cc", "gcc", "clang")


def literals(values: Any) -> str:
    """Numbers as a C array's, sixteen a line; floats to the last bit."""
    texts = [str(value) if isinstance(value, int) else f"{np.float32(value):#.9g}f" for value in values]
    return "\n".join(f"    {', '.join(texts[start : start + 16])}," for start in range(0, len(texts), 16))


def quantized(values: np.ndarray, limit: int = WEIGHT_LIMIT) -> tuple[list[int], np.ndarray]:
    """(integers up to the limit, the scale of each output channel) of weights [out, in, height, width]."""
    largest = np.abs(values.reshape(len(values), -1)).max(1)
    scale = np.where(largest > 0, largest, 1).astype(np.float64) / limit
    integers = np.rint(values / scale[:, None, None, None]).astype(int)
    return integers.transpose(0, 2, 3, 1).reshape(-1).tolist(), scale


def row(graph: Graph, step: Step, tables: list[list[int]]) -> dict[str, Any]:
    """A step for the template: its scales are those of the integers that it reads and writes. Its table is added to
    `tables` where it is a new one."""
    first, second = (graph.steps[name] for name in (step.inputs[0], step.inputs[-1]))
    (weight, scale), unit, middle, gain, table = quantized(step.weight), step.scale, 0, 1.0, 0
    if step.table is not None:
        integers, (table_scale,) = quantized(step.table.reshape(1, -1, 1, 1), ACTIVATION_LIMIT)
        unit, middle, gain = 2 * step.reach / (TABLE_SIZE - 1), TABLE_SIZE // 2, table_scale / step.scale
        tables += [integers] if integers not in tables else []
        table = f"mnist20k_table_{tables.index(integers)}"
    return {
        "places": [first.offset, second.offset, step.offset],
        "shapes": [*first.shape, *step.shape, *step.places, step.groups],
        "bounds": [round(max(step.low / step.scale, -step.limit)), round(min(step.high / step.scale, step.limit))],
        "combine": f"'{step.combine}'" if step.combine else 0,
        "second_stride": second.shape[0] if second.shape == step.shape else 0,
        "windows": [np.ravel(step.window).tolist(), np.ravel(step.pool).tolist()],
        "weight": weight,
        "factor": step.factor * first.scale * scale / unit,
        "shift": step.shift / unit + np.full(len(scale), middle),
        "table": table,
        "scales": [second.scale / (unit if step.combine == "+" else 1), gain],
    }


def write(path: Path | str, content: bytes, calibration: np.ndarray, title: str, classes: list[str]) -> dict[str, int]:
    """Write the header of an ONNX file's content; {what: bytes} of weights, tables and buffer. `calibration` are
    training images, bytes [N, 1, H, W]. Raises Unavailable for a network with an operator that it does not have."""
    graph, tables = Graph(content, calibration), []
    rows = [row(graph, step, tables) for step in graph.steps.values() if step.inputs]
    sizes = {
        "weight_bytes": sum(len(each["weight"]) for each in rows),
        "table_bytes": sum(8 * len(each["factor"]) for each in rows) + 2 * TABLE_SIZE * len(tables),
        "buffer_bytes": 2 * graph.buffer_size,
    }
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), keep_trailing_newline=True)
    maps = {"image": graph.steps["pixels"], "logits": graph.steps[graph.output]}
    text = template.render(title=title, classes=classes, steps=rows, tables=tables, literals=literals, **maps, **sizes)
    files.replace_file(path, text.encode())
    return sizes


def measured(path: Path, pixels: np.ndarray, num_classes: int) -> tuple[np.ndarray, dict[str, float]]:
    """(probabilities [N, num_classes], {"microseconds_per_image"}) of a header, compiled with warnings as errors, for
    bytes [N, 1, H, W]. Raises UserError where it does not compile, Unavailable without a compiler."""
    source = [MEASURE, f"-I{path.parent.resolve()}", f"-DPIXELS={pixels[0].size}", f"-DCLASSES={num_classes}"]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "measure"
        compile_c("-O3", *source, "-o", program)
        ended = subprocess.run([program], input=pixels.tobytes(), capture_output=True, check=True)
    probabilities = np.frombuffer(bytearray(ended.stdout), np.float32).reshape(-1, num_classes)
    return probabilities, {"microseconds_per_image": float(ended.stderr)}


def compile_c(*arguments: Any) -> None:
    """Run the C compiler. Raises UserError with what it says, Unavailable where there is none."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if not compiler:
        raise Unavailable("there is no C compiler to verify it with: install gcc or clang")
    ended = subprocess.run([compiler, *FLAGS, *map(str, arguments)], capture_output=True, text=True)
    if ended.returncode:
        raise UserError(f"{compiler} could not compile mnist20k.h: {ended.stderr.strip()[:500]}")
