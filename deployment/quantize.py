"""A network as integer arithmetic, for processors without much memory: weights of 8 bits, activations of 16.

`quantize` turns an ONNX graph into steps, each a loop over maps of integers. A weight is an int8 times a scale of its
output channel, an activation an int16 times a scale of its map, from the largest value on the calibration images; sums
are exact in 32 bits. This is the 16x8 scheme of TensorFlow Lite, symmetric, so that zero is zero (Jacob et al., arXiv
1712.05877). Max pooling runs inside the convolution before it, whose own output is never stored.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from support import UserError

import numpy as np
import onnx

from deployment import onnx_format

WEIGHT_LIMIT, ACTIVATION_LIMIT, SUM_LIMIT = 2**7 - 1, 2**15 - 1, 2**31 - 1
HEADROOM = 1.1  # above the largest value on the calibration images
BATCH_IMAGES = 100
VIEWS = ("Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze")  # the same numbers in the same order
IN_PLACE = ("affine", "add", "multiply", "sigmoid")
Array = np.ndarray


class Unavailable(UserError):
    """This network, or this machine, cannot have a C header."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Where a step looks for each output: a window's size, steps, padding above and to the left, and dilation, each
    [down, across]."""

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclasses.dataclass
class Map:
    """Integers of shape (C, H, W); each times `scale` is an activation, clipped at low and high."""

    shape: tuple[int, int, int]
    largest: float
    limit: int = ACTIVATION_LIMIT
    low: float = -np.inf
    high: float = np.inf
    offset: int = 0  # of its place in the buffer

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def scale(self) -> float:
        return max(HEADROOM * self.largest, 1e-6) / self.limit


@dataclasses.dataclass
class Step:
    """A loop that makes the map `output`, from its channel `first` on, of others. An output is clipped after it was
    multiplied by its channel's `factor`, and `shift` was added."""

    function: str  # affine, convolve, pool_max, pool_average, add, multiply or sigmoid
    inputs: list[str]
    output: str
    factor: Array  # of activations, as `shift`: scales are left to the C
    shift: Array
    weight: Array | None = None  # [out, in / groups, height, width], float
    groups: int = 1
    window: Window = Window()
    pool: Window = Window()
    first: int = 0
    counts_padding: bool = False  # in an average


class Graph:
    """The steps and maps of an ONNX graph; shapes and largest values are measured on calibration images, bytes
    [N, 1, H, W]. Raises Unavailable for an operator that has no step."""

    def __init__(self, content: bytes, pixels: Array):
        graph = onnx.load_from_string(content).graph
        self.constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        self.nodes = [node for node in graph.node if node.op_type != "Softmax"]
        self.maps = measure(content, self.nodes, pixels)
        self.aliases: dict[str, str] = {}
        self.steps: list[Step] = []
        for node in self.nodes:
            if node.op_type in VIEWS:
                self.aliases[node.output[0]] = node.input[0]
            elif node.op_type in OPERATORS:
                attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
                OPERATORS[node.op_type](self, node, attributes)
            else:
                raise unknown(node)
        self.output = self.root("logits")

    def root(self, name: str) -> str:
        """The map that a name stands for."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def reads(self, name: str) -> int:
        """How many operators read a map, or a view of it."""
        readers = [node for node in self.nodes if node.op_type not in VIEWS]
        return sum(self.root(each) == self.root(name) for node in readers for each in node.input)

    def is_private(self, name: str) -> bool:
        """Whether a map is read once, and as it was made."""
        return self.reads(name) == 1 and self.maps[name].low == -np.inf and self.maps[name].high == np.inf

    def append(self, function: str, node: onnx.NodeProto, factor: Any = 1.0, shift: Any = 0.0, **more: Any) -> None:
        """Append a step whose inputs are those of a node that are no constants."""
        inputs, output = [self.root(name) for name in node.input if name and name not in self.constants], node.output[0]
        if not {*inputs, output} <= self.maps.keys():
            raise unknown(node)
        made = self.maps[output]
        if function in IN_PLACE and any(self.maps[name].shape != made.shape for name in inputs):
            raise unknown(node)
        channels = made.shape[0]
        self.steps.append(Step(function, inputs, output, spread(factor, channels), spread(shift, channels), **more))

    def constant(self, node: onnx.NodeProto, index: int, default: Any = None) -> Any:
        """A constant input of a node."""
        if len(node.input) <= index or not node.input[index]:
            return default
        if node.input[index] not in self.constants:
            raise unknown(node)
        return self.constants[node.input[index]]


def spread(value: Any, channels: int) -> Array:
    """A value for each channel, of one for all or one for each."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64).reshape(-1), channels)


def unknown(node: onnx.NodeProto) -> Unavailable:
    """The error about a node that has no step."""
    return Unavailable(
        f"it has no step for the operator {node.op_type} as {node.output[0]!r} uses it; it knows "
        f"{', '.join(sorted({*OPERATORS, *VIEWS}))}"
    )


def measure(content: bytes, nodes: list[onnx.NodeProto], pixels: Array) -> dict[str, Map]:
    """{name: map} of every value of a graph that is one for each image."""
    model = onnx.load_from_string(content)
    names = [name for node in nodes for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnx_format.session(model.SerializeToString())
    largest = dict.fromkeys(names, 0.0)
    for start in range(0, len(pixels), BATCH_IMAGES):
        values = dict(zip(names, session.run(names, {"pixels": pixels[start : start + BATCH_IMAGES]}), strict=True))
        largest = {name: max(largest[name], float(np.abs(value).max())) for name, value in values.items()}
    maps = {"pixels": Map(pixels.shape[1:], 255 / HEADROOM, limit=255)}  # a byte is its own integer
    for name, value in values.items():
        if value.ndim in (2, 4):
            maps[name] = Map((*value.shape[1:], 1, 1)[:3], largest[name])
    return maps


def arithmetic(graph: Graph, node: onnx.NodeProto, _: dict[str, Any]) -> None:
    """Add, Sub, Mul and Div of a map and a constant; Add and Mul of two maps."""
    is_constant = [name in graph.constants for name in node.input]
    if not any(is_constant):
        if node.op_type not in ("Add", "Mul"):
            raise unknown(node)
        graph.append({"Add": "add", "Mul": "multiply"}[node.op_type], node)
        return
    value = graph.constant(node, is_constant.index(True)).astype(np.float64)
    if value.size not in (1, graph.maps[node.output[0]].shape[0]) or (is_constant[0] and node.op_type == "Div"):
        raise unknown(node)
    shift_sub = (-1, value) if is_constant[0] else (1, -value)
    affine(graph, node, *{"Add": (1, value), "Sub": shift_sub, "Mul": (value, 0), "Div": (1 / value, 0)}[node.op_type])


def affine(graph: Graph, node: onnx.NodeProto, factor: Any, shift: Any) -> None:
    """A step; together with the affine one before it where nothing else reads that."""
    graph.append("affine", node, factor, shift)
    *_, before, step = [None, None, *graph.steps]
    if before and before.function == "affine" and step.inputs == [before.output] and graph.is_private(before.output):
        step.inputs, step.shift = before.inputs, before.shift * step.factor + step.shift
        step.factor = before.factor * step.factor
        graph.steps.pop(-2)


def batch_normalization(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    weight, bias, mean, variance = (graph.constant(node, index).astype(np.float64) for index in range(1, 5))
    factor = weight / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    affine(graph, node, factor, bias - mean * factor)


def convolution(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    weight, bias = graph.constant(node, 1), graph.constant(node, 2, 0.0)
    pads = attributes.get("pads", [0, 0, 0, 0])
    if weight.ndim != 4 or pads[:2] != pads[2:]:
        raise unknown(node)
    window = window_of(node, attributes, weight.shape[2:])
    graph.append("convolve", node, 1.0, bias, weight=weight, window=window, groups=attributes.get("group", 1))


def dense(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """Gemm and MatMul with a constant matrix: a convolution whose window is the whole map."""
    matrix, source = graph.constant(node, 1), graph.maps.get(graph.root(node.input[0]))
    rows = matrix if attributes.get("transB") else matrix.T
    if attributes.get("transA") or matrix.ndim != 2 or source is None or rows.shape[1] != source.size:
        raise unknown(node)
    weight = attributes.get("alpha", 1.0) * rows.reshape(-1, *source.shape)
    bias = attributes.get("beta", 1.0) * graph.constant(node, 2, np.zeros(1))
    graph.append("convolve", node, 1.0, bias, weight=weight, window=Window(source.shape[1:]))


def pooling(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """MaxPool, in the convolution before it where nothing else reads that; AveragePool."""
    window = window_of(node, attributes, attributes["kernel_shape"])
    before, name = graph.steps[-1], graph.root(node.input[0])
    if node.op_type == "AveragePool":
        graph.append("pool_average", node, window=window, counts_padding=bool(attributes.get("count_include_pad")))
    elif before.function == "convolve" and before.output == name and graph.reads(name) == 1 and before.pool == Window():
        before.pool, before.output = window, node.output[0]
        graph.maps[before.output].low, graph.maps[before.output].high = graph.maps[name].low, graph.maps[name].high
    else:
        graph.append("pool_max", node, window=window)


def global_average(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """GlobalAveragePool, and ReduceMean over height and width."""
    axes = [2, 3] if node.op_type == "GlobalAveragePool" else sorted(graph.constant(node, 1, np.zeros(0)) % 4)
    shape = graph.maps[graph.root(node.input[0])].shape
    if list(axes) != [2, 3]:
        raise unknown(node)
    graph.append("pool_average", node, window=Window(shape[1:], shape[1:]))


def pad(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """Zeros around a map, or a map without its outer rings: a window of one place that may lie outside."""
    above, left = (int(each) for each in graph.constant(node, 1)[2:4])
    if attributes.get("mode", b"constant") != b"constant" or np.any(graph.constant(node, 2, 0)):
        raise unknown(node)
    graph.append("pool_average", node, window=Window(padding=(above, left)), counts_padding=True)


def concatenate(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """Maps one after another, as channels of one."""
    if attributes["axis"] not in (1, -3):
        raise unknown(node)
    first = 0
    for name in map(graph.root, node.input):
        channels = graph.maps[name].shape[0]
        graph.steps.append(
            Step("affine", [name], node.output[0], spread(1, channels), spread(0, channels), first=first)
        )
        first += channels


def clip(graph: Graph, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """Relu and Clip: a bound of the map where it is made, or of a copy where something reads it as it was."""
    low = 0.0 if node.op_type == "Relu" else float(graph.constant(node, 1, -np.inf))
    high = np.inf if node.op_type == "Relu" else float(graph.constant(node, 2, np.inf))
    clipped, name = graph.maps[node.output[0]], graph.root(node.input[0])
    if graph.reads(name) > 1 or name == "pixels":
        graph.append("affine", node)
    else:
        graph.aliases[node.output[0]] = name
        graph.maps[name].largest, clipped = clipped.largest, graph.maps[name]
    clipped.low, clipped.high = max(clipped.low, low), min(clipped.high, high)


def sigmoid(graph: Graph, node: onnx.NodeProto, _: dict[str, Any]) -> None:
    graph.append("sigmoid", node)


def window_of(node: onnx.NodeProto, attributes: dict[str, Any], size: Any) -> Window:
    """The window of a convolution or a pool."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise unknown(node)
    padding = attributes.get("pads", [0, 0, 0, 0])[:2]
    pairs = (size, attributes.get("strides", (1, 1)), padding, attributes.get("dilations", (1, 1)))
    if any(len(pair) != 2 for pair in pairs):
        raise unknown(node)
    return Window(*(tuple(map(int, pair)) for pair in pairs))


OPERATORS: dict[str, Callable] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), arithmetic),
    **dict.fromkeys(("Gemm", "MatMul"), dense),
    **dict.fromkeys(("Relu", "Clip"), clip),
    **dict.fromkeys(("MaxPool", "AveragePool"), pooling),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), global_average),
    "BatchNormalization": batch_normalization,
    "Concat": concatenate,
    "Conv": convolution,
    "Pad": pad,
    "Sigmoid": sigmoid,
}


def quantize(content: bytes, pixels: Array) -> tuple[Graph, int]:
    """(a graph's steps and maps, elements of the buffer that holds all maps). `content` is an ONNX file's, `pixels` are
    the calibration images, bytes [N, 1, H, W]."""
    graph = Graph(content, pixels)
    for step in graph.steps:
        if step.weight is not None:  # no sum of products may leave 32 bits
            source = graph.maps[step.inputs[0]]
            source.limit = min(source.limit, SUM_LIMIT // (WEIGHT_LIMIT * step.weight[0].size))
    return graph, place(graph)


def place(graph: Graph) -> int:
    """Give every map the lowest place in the buffer where nothing lies that is still to be read; how long it is."""
    last = {name: index for index, step in enumerate(graph.steps) for name in step.inputs}
    last[graph.output] = len(graph.steps)
    placed = {"pixels"}
    for index, step in enumerate(graph.steps):
        made = graph.maps[step.output]
        if step.output not in placed:  # a map of several steps has its place already
            replaced = {name for name in step.inputs if step.function in IN_PLACE and last[name] == index}
            replaced = {name for name in replaced if graph.maps[name].size == made.size}
            living = [graph.maps[name] for name in placed - replaced if last.get(name, -1) >= index]
            for other in sorted(living, key=lambda other: other.offset):
                if made.offset + made.size > other.offset:
                    made.offset = max(made.offset, other.offset + other.size)
            placed.add(step.output)
    return max(graph.maps[name].offset + graph.maps[name].size for name in placed)
