"""The network as one C99 header, for microcontrollers: mnist20k.h, and what it computes when it is compiled.

`write` makes the header of an ONNX file, quantized with calibration images. `outputs` compiles it, as strictly as it
will have to pass, and runs it on images. Of what exists, nothing makes one self-contained C99 file with int8 weights:
onnx2c and emx-onnx-cgen keep float weights and buffers, emlearn's networks and TinyMaix need a library of their own,
ExecuTorch and TensorFlow Lite Micro a C++ runtime. So the operators are written here, once, as loops over tables.
"""

import dataclasses
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from support import UserError, files

import jinja2
import numpy as np

from deployment.quantize import WEIGHT_LIMIT, Graph, Map, Step, Unavailable, Window, quantize

FOLDER = Path(__file__).parent
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SIZE_FLAGS = ("-Os", "-fno-pic")
ENTRY = """#include "mnist20k.h"
int entry(const uint8_t *pixels, float *probabilities) { return mnist20k_predict(pixels, probabilities); }
"""


def wrapped(texts: list[str]) -> str:
    """The lines of a C array."""
    return "\n".join(f"    {', '.join(texts[start : start + 16])}," for start in range(0, len(texts), 16))


def integers(values: Any) -> str:
    return wrapped([str(int(value)) for value in values])


def floats(values: Any) -> str:
    """C's float literals of numbers, to the last bit."""
    texts = [f"{np.float32(value):.9g}" for value in values]
    return wrapped([f"{text if re.search('[.e]', text) else text + '.0'}f" for text in texts])


def quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(weights as int8, the scale of each output channel)."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(1).astype(np.float64)
    scale = np.where(largest > 0, largest, 1) / WEIGHT_LIMIT
    integers = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
    return integers.transpose(0, 2, 3, 1).reshape(-1), scale


def flat(window: Window) -> list[int]:
    """A window in the order of the C's fields."""
    return [each for pair in dataclasses.astuple(window) for each in pair]


def row(graph: Graph, step: Step, index: int) -> dict[str, Any]:
    """A step for the template: its scales are those of the integers that it reads and writes."""
    made, first = graph.maps[step.output], graph.maps[step.inputs[0]]
    second = graph.maps[step.inputs[-1]]
    weight, scale = (None, 1.0) if step.weight is None else quantized(step.weight)
    source_scale = first.scale * (second.scale if step.function == "multiply" else 1)
    unit = 1 if step.function == "sigmoid" else made.scale
    return {
        "index": index,
        "function": step.function,
        "groups": step.groups,
        "places": [first.offset, second.offset, made.offset + step.first],
        "shape": first.shape,
        "out_shape": made.shape,
        "stride": made.shape[0],
        "low": max(-made.limit, round(made.low / made.scale) if np.isfinite(made.low) else -made.limit),
        "high": min(made.limit, round(made.high / made.scale) if np.isfinite(made.high) else made.limit),
        "window": flat(step.window),
        "pool": flat(step.pool),
        "weight": weight,
        "factor": step.factor * source_scale * scale / unit,
        "shift": step.shift / made.scale,
        "second_factor": second_factor(step, second, made),
    }


def second_factor(step: Step, second: Map, made: Map) -> float:
    """What a step multiplies besides: the second map of a sum, the result of a sigmoid; whether an average counts the
    padding."""
    if step.function == "add":
        return second.scale / made.scale
    return 1 / made.scale if step.function == "sigmoid" else float(step.counts_padding)


def write(path: Path | str, content: bytes, calibration: np.ndarray, title: str, classes: list[str]) -> dict[str, int]:
    """Write the header of an ONNX file's content; {what: bytes} of weights, tables and buffer. `calibration` are
    training images, bytes [N, 1, H, W]. Raises Unavailable for a network with an operator that it does not have."""
    graph, buffer = quantize(content, calibration)
    rows = [row(graph, step, index) for index, step in enumerate(graph.steps)]
    sizes = {
        "weight_bytes": sum(len(each["weight"]) for each in rows if each["weight"] is not None),
        "table_bytes": sum(8 * len(each["factor"]) for each in rows),
        "buffer_bytes": 2 * buffer,
    }
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, loader=jinja2.FileSystemLoader(FOLDER), keep_trailing_newline=True
    )
    environment.filters |= {"integers": integers, "floats": floats}
    logits, shape = graph.maps[graph.output], graph.maps["pixels"].shape
    text = environment.get_template("mnist20k.h.jinja").render(
        title=title,
        classes=classes,
        shape=shape,
        pixels=int(np.prod(shape)),
        steps=rows,
        functions=sorted({each["function"] for each in rows}),
        buffer=buffer,
        logits=logits.offset,
        logits_scale=logits.scale,
        **sizes,
    )
    files.replace_file(path, text.encode())
    return sizes


def compiler() -> str:
    """The C compiler. Raises Unavailable where there is none."""
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if not found:
        raise Unavailable("there is no C compiler to verify it with: install gcc or clang")
    return found


def outputs(path: Path, pixels: np.ndarray, num_classes: int) -> tuple[np.ndarray, float]:
    """(probabilities [N, num_classes], microseconds per image) of a header, compiled with warnings as errors, for bytes
    [N, 1, H, W]. Raises UserError where it does not compile, Unavailable without a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "measure"
        sizes = (f"-DPIXELS={pixels[0].size}", f"-DCLASSES={num_classes}")
        run("-O3", *FLAGS, *sizes, f"-I{path.parent.resolve()}", FOLDER / "measure.c", "-o", program)
        ended = subprocess.run([program], input=pixels.tobytes(), capture_output=True, check=True)
    return np.frombuffer(bytearray(ended.stdout), np.float32).reshape(-1, num_classes), float(ended.stderr)


def compiled_sizes(path: Path) -> dict[str, int]:
    """{"flash_bytes", "memory_bytes"} of the header, compiled for size on this machine, as GNU's `size` counts code and
    constants, and memory; nothing without it."""
    size = shutil.which("size")
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "entry.c", Path(folder) / "entry.o"
        source.write_text(ENTRY)
        run(*SIZE_FLAGS, *FLAGS, f"-I{path.parent.resolve()}", "-c", source, "-o", binary)
        ended = subprocess.run([size, "--format=berkeley", binary], capture_output=True, text=True) if size else None
    if ended is None or ended.returncode:
        return {}
    text, initialized, zero = map(int, ended.stdout.splitlines()[1].split()[:3])
    return {"flash_bytes": text + initialized, "memory_bytes": initialized + zero}


def run(*arguments: Any) -> None:
    """Run the C compiler. Raises UserError with what it says."""
    command = [compiler(), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise UserError(f"{command[0]} could not compile mnist20k.h: {ended.stderr.strip()[:500]}")
