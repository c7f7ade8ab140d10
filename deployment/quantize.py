"""A network as integer arithmetic, for processors without much memory: weights of 8 bits, activations of 16.

`Graph` turns an ONNX graph into steps of one kind: a convolution, the largest sum in each window of a pool, a factor
and a shift of each channel, and a function of single values. Means, padding and copies are convolutions with equal
weights; a function is a bound or a table of what onnxruntime computes.

A weight is an int8 times a scale of its output channel, an activation an int16 times a scale of its map, from the
largest value on the calibration images; sums are exact in 32 bits. This is the 16x8 scheme of TensorFlow Lite,
symmetric, so that zero is zero (Jacob et al., arXiv 1712.05877).
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper

from deployment import network
from deployment.onnx_format import Unavailable

WEIGHT_LIMIT, ACTIVATION_LIMIT, SUM_LIMIT = 2**7 - 1, 2**15 - 1, 2**31 - 1
HEADROOM = 1.1  # above the largest value on the calibration images
BATCH_IMAGES = 100
TABLE_SIZE = 513  # values of a function; between them it is a straight line, and beyond them the last one goes on
VIEWS = ("Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # the same numbers in their order
FUNCTIONS = (  # of single values; constants beside them are for all, or of each channel
    *("Abs", "Add", "BatchNormalization", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid"),
    *("HardSwish", "LeakyRelu", "Mish", "Mul", "Neg", "PRelu", "Pow", "QuickGelu", "Relu", "Selu", "Sigmoid"),
    *("Softplus", "Softsign", "Sqrt", "Sub", "Tanh"),
)
COMBINATIONS = {"Add": "+", "Mul": "*"}  # of two maps
Array, Attributes = np.ndarray, dict[str, Any]


class Window(NamedTuple):
    """Where a step looks for each output: a window's size, steps, and padding above and to the left, [down, across]."""

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


ONE_PLACE = Window()


@dataclasses.dataclass
class Step:
    """A map of integers, and what makes it: function(largest convolution × factor [+ or × a second map] + shift)."""

    inputs: list[str]  # of two, the second may have a single value for each channel
    places: tuple[int, int]  # rows and columns of the convolution, before the pool
    weight: Array  # [C, in / groups, height, width], float
    window: Window = ONE_PLACE
    groups: int = 1
    pool: Window = ONE_PLACE
    factor: Array | float = 1.0  # of each channel, as `shift` for activations: c_header has the integers' scales
    shift: Array | float = 0.0
    combine: str = ""  # + or *
    low: float = -np.inf
    high: float = np.inf
    table: Array | None = None  # of the function, at TABLE_SIZE places from -reach to reach
    reach: float = 1.0
    shape: tuple[int, int, int] = (0, 0, 0)  # (C, H, W) of the map
    largest: float = 0.0
    limit: int = ACTIVATION_LIMIT
    offset: int = 0  # in the buffer

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def scale(self) -> float:
        """What the map's integers are multiplied by to be activations."""
        return max(HEADROOM * self.largest, 1e-6) / self.limit


class Graph:
    """The steps of an ONNX graph by the maps that they make, in their order, the image first; `buffer_size` elements
    hold all maps. Shapes and largest values are measured on calibration images, bytes [N, 1, H, W]. Raises Unavailable
    for an operator that has no step."""

    def __init__(self, content: bytes, pixels: Array):
        self.model = onnx.load_from_string(content)
        self.constants = {each.name: onnx.numpy_helper.to_array(each) for each in self.model.graph.initializer}
        self.values = self.measured(pixels)
        image = Step([], (0, 0), np.zeros(0), shape=pixels.shape[1:], largest=255 / HEADROOM, limit=255)
        self.steps = {"pixels": image}  # a byte is its own integer
        nodes, self.output = self.nodes()
        self.readers = collections.Counter(name for node in nodes for name in node.input)
        for node in nodes:
            inputs = [name for name in node.input if name in self.values]
            require(node, inputs and node.op_type in OPERATORS)
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            self.add(node.output[0], OPERATORS[node.op_type](self, node, inputs, attributes), node)
        self.buffer_size = place_maps(self.steps, self.output)

    def add(self, name: str, step: Step, node: NodeProto) -> None:
        """Add a step whose map has the shape and the range of what a node makes."""
        first, output = self.steps[step.inputs[0]], node.output[0]
        first.limit = min(first.limit, SUM_LIMIT // (WEIGHT_LIMIT * step.weight[0].size))  # sums have 32 bits
        step.shape, step.largest = self.shape(output), float(self.values[output].max())
        if step.table is not None:  # in the map's own units
            step.largest = np.abs(step.table).max() / HEADROOM
        self.steps[name] = step

    def session(self, nodes: Iterable[NodeProto], source: onnx.ValueInfoProto) -> onnxruntime.InferenceSession:
        """A session of onnxruntime that puts out all that nodes make of one value."""
        results = [onnx.ValueInfoProto(name=name) for node in nodes for name in node.output]
        graph = helper.make_graph(nodes, "nodes", [source], results, self.model.graph.initializer)
        versions = [*self.model.opset_import, helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=self.model.ir_version)
        return network.session(model.SerializeToString())

    def measured(self, pixels: Array) -> dict[str, Array]:
        """{name: the largest absolute value at each place} of what the graph makes of each image."""
        session = self.session(self.model.graph.node, *self.model.graph.input)
        values = {"pixels": np.full(pixels.shape[1:], 255.0)}
        for start in range(0, len(pixels), BATCH_IMAGES):
            arrays = session.run(None, {"pixels": pixels[start : start + BATCH_IMAGES]})
            for output, array in zip(session.get_outputs(), arrays, strict=True):
                values[output.name] = np.maximum(values.get(output.name, 0), np.abs(np.atleast_1d(array)).max(0))
        return values

    def shape(self, name: str) -> tuple[int, int, int]:
        """(C, H, W) of what the graph makes of an image."""
        return (*self.values[name].shape, 1, 1)[:3]

    def nodes(self) -> tuple[list[NodeProto], str]:
        """(the nodes that the logits are made of, the value that has the logits), without views. SiLU, written as
        x · sigmoid(x) by torch's exporter, is one node, of onnxruntime's QuickGelu."""
        views, sigmoids, nodes = {}, {}, []
        for node in self.model.graph.node:
            node.input[:] = [views.get(name, name) for name in node.input]
            source, output = node.input[0], node.output[0]
            if node.op_type in VIEWS:
                shape = self.shape(source) if source in self.values else ()
                require(node, self.shape(output) in (shape, (np.prod(shape), 1, 1)))
                views[output] = source
                continue
            if node.op_type == "Sigmoid":
                sigmoids[output] = source
            elif node.op_type == "Mul" and sigmoids.get(node.input[1]) == source:
                node = helper.make_node("QuickGelu", [source], [output], domain="com.microsoft", alpha=1.0)
            nodes.append(node)
        logits = views.get("logits", "logits")
        read = {logits, *(name for node in nodes for name in node.input)}
        return [node for node in nodes if node.output[0] in read], logits

    def constant(self, node: NodeProto, index: int, default: Any = None) -> Any:
        """A constant input of a node."""
        if len(node.input) <= index or not node.input[index]:
            return default
        require(node, node.input[index] in self.constants)
        return self.constants[node.input[index]].astype(np.float64)

    def spread(self, name: str, places: tuple[int, int], window: Window = ONE_PLACE, weight: float = 1.0) -> Step:
        """A convolution of each channel by itself, with equal weights."""
        channels = self.shape(name)[0]
        return Step([name], places, np.full((channels, 1, *window.size), weight), window, channels)

    def open_step(self, name: str, is_open: bool) -> Step:
        """The step that makes a map, if it is open for more and nothing else reads the map; else one that copies it."""
        is_free = is_open and self.readers[name] == 1 and self.steps[name].inputs
        return self.steps.pop(name) if is_free else self.spread(name, self.shape(name)[1:])

    def function(self, node: NodeProto, inputs: list[str], _: Attributes) -> Step:
        """A function of single values, as onnxruntime computes it: a factor and a shift, bounds, or a table."""
        if node.op_type in COMBINATIONS and len(inputs) == 2:
            return self.combination(node, inputs)
        (name,), (output,) = inputs, node.output
        largest, shape = self.values[name], self.shape(name)
        reach = 2.0 ** np.ceil(np.log2(HEADROOM * float(largest.max()) + 1e-6))  # so that bends at round values are met
        grid = np.linspace(-reach, reach, TABLE_SIZE)[:, None]
        pixels = np.broadcast_to(grid, (TABLE_SIZE, shape[0])).reshape(TABLE_SIZE, -1, *[1] * (largest.ndim - 1))
        session = self.session([node], helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        values = session.run(None, {name: pixels.astype(np.float32)})[0].reshape(TABLE_SIZE, -1).astype(np.float64)
        require(node, shape == self.shape(output) and values.shape[1] == shape[0] and np.isfinite(values).all())
        slope, shift = (values[-1] - values[0]) / (2 * reach), values[TABLE_SIZE // 2]
        low, high = values.min(), values.max()
        is_line = np.allclose(values, grid * slope + shift, atol=1e-5 * np.abs(values).max())
        require(node, is_line or (values == values[:, :1]).all())  # the same for all channels
        source = self.steps[name]
        is_linear = source.table is None and (source.low, source.high) == (-np.inf, np.inf)
        step = self.open_step(name, is_linear and not (is_line and source.combine == "+"))
        if is_line:
            step.factor, step.shift = step.factor * slope, step.shift * slope + shift
        elif np.allclose(values, grid.clip(low, high)):
            step.low, step.high = (low if low > -reach else -np.inf), (high if high < reach else np.inf)
        else:
            step.table, step.reach = values[:, 0], reach
        return step

    def combination(self, node: NodeProto, inputs: list[str]) -> Step:
        """The sum or the product of two maps, of which one may have a single value for each channel."""
        inputs = sorted(inputs, key=lambda name: -np.prod(self.shape(name)))
        shape, second = map(self.shape, inputs)
        require(node, self.shape(node.output[0]) == shape and second in (shape, (shape[0], 1, 1)))
        return dataclasses.replace(self.spread(inputs[0], shape[1:]), inputs=inputs, combine=COMBINATIONS[node.op_type])

    def concatenation(self, node: NodeProto, inputs: list[str], attributes: Attributes) -> Step:
        """Channels behind each other: each map is copied to the place of its own, and those before it are added."""
        require(node, attributes["axis"] == 1 and inputs == list(node.input))
        (channels, *places), end, before = self.shape(node.output[0]), 0, []
        for name in inputs:
            start, end = end, end + self.shape(name)[0]
            weight = np.eye(channels)[:, start:end, None, None]
            step = Step([name, *before], tuple(places), weight, combine="+" * len(before))
            before = [f"{node.output[0]} to {end}"]
            self.add(before[0], step, node)
        return self.steps.pop(before[0])

    def convolution(self, node: NodeProto, inputs: list[str], attributes: Attributes) -> Step:
        """Conv, and Gemm and MatMul with a constant matrix: convolutions whose window is the whole map."""
        shape, weight, places = self.shape(inputs[0]), self.constant(node, 1), (1, 1)
        if node.op_type == "Conv":
            require(node, weight.ndim == 4)
            down, across = attributes.pop("dilations", (1, 1))  # a window with gaps is a larger one with zeros
            weight = np.kron(weight, np.eye(down, 1) @ np.eye(1, across))[..., : 1 - down or None, : 1 - across or None]
            window, places = window_of(node, attributes, weight.shape[2:]), self.shape(node.output[0])[1:]
        else:
            rows = weight if attributes.get("transB") else weight.T
            require(node, rows.shape[1:] == (np.prod(shape),))
            weight, window = rows.reshape(-1, *shape), Window(shape[1:])
        groups, shift = attributes.get("group", 1), self.constant(node, 2, 0.0)
        return Step(inputs, places, weight, window, groups, shift=shift)

    def max_pool(self, node: NodeProto, inputs: list[str], attributes: Attributes) -> Step:
        source = self.steps[inputs[0]]  # where it is increasing, its largest convolution makes its largest output
        is_increasing = np.all(source.factor >= 0) and (source.table is None or (np.diff(source.table) >= 0).all())
        step = self.open_step(inputs[0], is_increasing and source.pool == ONE_PLACE and not source.combine)
        return dataclasses.replace(step, pool=window_of(node, attributes, attributes["kernel_shape"]))

    def average_pool(self, node: NodeProto, inputs: list[str], attributes: Attributes) -> Step:
        """AveragePool, and the means over height and width."""
        window = Window(self.shape(inputs[0])[1:])
        if node.op_type == "AveragePool":
            window = window_of(node, attributes, attributes["kernel_shape"])
            is_mean = attributes.get("count_include_pad") or not any(attributes.get("pads", ()))
            require(node, is_mean and not attributes.get("ceil_mode"))
        elif node.op_type == "ReduceMean":
            require(node, set(self.constant(node, 1, np.zeros(0)) % 4) == {2, 3})
        return self.spread(inputs[0], self.shape(node.output[0])[1:], window, 1 / np.prod(window.size))

    def pad(self, node: NodeProto, inputs: list[str], attributes: Attributes) -> Step:
        """Zeros around a map, or a map without its outer rings."""
        require(node, attributes.get("mode", b"constant") == b"constant" and not self.constant(node, 2, 0))
        window = Window(padding=tuple(self.constant(node, 1).astype(int)[2:4]))
        return self.spread(inputs[0], self.shape(node.output[0])[1:], window)


OPERATORS: dict[str, Callable[[Graph, NodeProto, list[str], Attributes], Step]] = {
    **dict.fromkeys(FUNCTIONS, Graph.function),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "ReduceMean"), Graph.average_pool),
    **dict.fromkeys(("Conv", "Gemm", "MatMul"), Graph.convolution),
    "Concat": Graph.concatenation,
    "MaxPool": Graph.max_pool,
    "Pad": Graph.pad,
}


def require(node: NodeProto, condition: Any) -> None:
    """Raises Unavailable for a node that has no step."""
    if not condition:
        known = ", ".join(sorted({*OPERATORS, *VIEWS}))
        raise Unavailable(
            f"it has no step for the operator {node.op_type} as {node.output[0]!r} uses it; it knows {known}"
        )


def window_of(node: NodeProto, attributes: Attributes, size: Any) -> Window:
    """The window of a convolution or a pool. Rows and columns at its end are left to the shape of the output."""
    require(node, len(size) == 2 and set(attributes.get("dilations", [1])) == {1})
    pairs = size, attributes.get("strides", (1, 1)), attributes.get("pads", (0, 0))[:2]
    return Window(*map(tuple, pairs))


def place_maps(steps: dict[str, Step], output: str) -> int:
    """Give every map the lowest place in the buffer where nothing lies while it is in use, those first that are in use
    when most is (Pisarchyk & Lee, arXiv 2001.03288: greedy by breadth); how long the buffer is."""
    made = {name: moment for moment, name in enumerate(steps)}
    last_read = {name: made[reader] for reader, step in steps.items() for name in step.inputs} | {output: len(steps)}
    lives = {name: slice(made[name], last_read[name] + 1) for name in steps}
    breadth = np.zeros(len(steps) + 1, int)
    for name, life in lives.items():
        breadth[life] += steps[name].size
    placed: list[str] = []
    for name in sorted(steps, key=lambda name: (sorted(breadth[lives[name]])[::-1], steps[name].size), reverse=True):
        step = steps[name]
        others = [steps[each] for each in placed if made[each] <= last_read[name] and made[name] <= last_read[each]]
        for other in sorted(others, key=lambda other: other.offset):
            if other.offset < step.offset + step.size:
                step.offset = max(step.offset, other.offset + other.size)
        placed.append(name)
    return max(step.offset + step.size for step in steps.values())
