"""A model's layers as a table: shapes, parameters, receptive field and multiply-adds, as an image meets them.

A row is a layer, or a torch function that the model's own code calls. Receptive fields are measured: they are the
pixels that the gradient of one output value reaches. Multiply-adds are torch's own count.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from support.tracing import first_tensor

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from model import count_parameters
from results import markdown_table

HEAD = ["layer", "kernel", "stride", "padding", "input", "output", "parameters", "receptive field", "multiply-adds"]
IMAGES = 64  # of noise: at every place some image gets a gradient through pools and ReLUs
FEATURES = 8  # of a flat output that are looked at: each may see another part of the image
NOT_SEEN = "not seen"  # a receptive field: no gradient comes through


@dataclasses.dataclass(frozen=True)
class Layer:
    """A row of the table. Shapes are without the batch; sizes are (height, width), None where a layer has none."""

    name: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    padding: tuple[int, int] | None
    receptive_field: tuple[int, int] | None  # pixels of the image that one output value depends on
    multiply_adds: int  # per image


class Operations(TorchDispatchMode):
    """Counts the operations of what runs, by torch's own formulas: two for a multiply-add."""

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        result = function(*arguments, **keywords)
        formula = flop_registry.get(function.overloadpacket)
        self.total += formula(*arguments, **keywords, out_val=result) if formula else 0
        return result


class Layers(TorchFunctionMode):
    """Collects a row for each layer without layers of its own, and for each torch function that is called outside of
    those, while a model is run on images."""

    def __init__(self, images: Tensor, operations: Operations):
        super().__init__()
        self.images, self.operations, self.rows = images, operations, []
        self.depth, self.before = 0, 0  # of layers that are running; operations before the one at hand

    def enter(self, *_: Any) -> None:
        """A layer starts."""
        self.depth, self.before = self.depth + 1, self.operations.total

    def leave(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        """A layer ends."""
        self.add(describe(module), arguments, output, window(module), count_parameters(module))
        self.depth -= 1

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        before = self.operations.total
        output = function(*arguments, **(keywords or {}))
        name = getattr(function, "__name__", "")
        if self.depth == 0 and not name.startswith("_") and is_map(output):
            self.depth, self.before = 1, before  # what is called to measure is no layer
            self.add(f"{name}()", arguments, output, (None, None, None), 0)
            self.depth = 0
        return output

    def add(self, name: str, arguments: tuple, output: Any, sizes: tuple, parameters: int) -> None:
        """Add a row. It is measured at once: a later layer may write over its output."""
        multiply_adds = (self.operations.total - self.before) // 2 // len(self.images)
        source, result = first_tensor(list(arguments)), first_tensor(output)
        shapes = tuple(source.shape[1:]) if source is not None else (), tuple(result.shape[1:])
        self.rows.append(Layer(name, *shapes, parameters, *sizes, receptive_field(self.images, result), multiply_adds))


def is_map(output: Any) -> bool:
    """Whether an output has values for each image."""
    tensor = first_tensor(output)
    return tensor is not None and tensor.dim() > 1 and len(tensor) == IMAGES


def layers(model: nn.Module, input_shape: tuple[int, int, int]) -> list[Layer]:
    """The layers in the order in which images of that shape, [C, H, W], pass them, in evaluation mode."""
    device = next(model.parameters()).device
    noise = torch.rand(IMAGES, *input_shape, generator=torch.Generator().manual_seed(0))
    images = noise.to(device).requires_grad_()
    leaves = [module for module in model.modules() if not list(module.children())]
    with running(model), Operations() as operations, Layers(images, operations) as found:
        hooks = [leaf.register_forward_pre_hook(found.enter) for leaf in leaves]
        hooks += [leaf.register_forward_hook(found.leave) for leaf in leaves]
        try:
            model(images)
        finally:
            for hook in hooks:
                hook.remove()
    return found.rows


@contextlib.contextmanager
def running(model: nn.Module) -> Iterator[None]:
    """Let a model evaluate, with gradients, whatever its surroundings, and put it back."""
    was_training = model.training
    try:
        with torch.enable_grad():
            model.eval()
            yield
    finally:
        model.train(was_training)


def receptive_field(images: Tensor, output: Tensor) -> tuple[int, int] | None:
    """(height, width) of the pixels that one value of an output reaches back to; None where no gradient comes
    through."""
    if not output.requires_grad:
        return None
    if output.dim() == 4:  # all channels see the same pixels
        place = output[:, :, output.shape[2] // 2, output.shape[3] // 2]
        # Filters of both signs, as whitening makes them, would cancel in a plain sum.
        values = [place * torch.arange(1, place.shape[1] + 1, device=place.device)]
    else:
        flat = output.flatten(1)
        values = [flat[:, index] for index in range(0, flat.shape[1], max(1, flat.shape[1] // FEATURES))]
    extents = [
        extent(torch.autograd.grad(value.sum(), images, retain_graph=True, allow_unused=True)[0]) for value in values
    ]
    return max((found for found in extents if found), default=None)


def extent(gradient: Tensor | None) -> tuple[int, int] | None:
    """(height, width) of the box around all that is not zero in a gradient [N, C, H, W]."""
    reached = gradient.abs().amax((0, 1)).nonzero() if gradient is not None else []
    return tuple((reached.amax(0) - reached.amin(0) + 1).tolist()) if len(reached) else None


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a torch layer's setting, which may be one number for both."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def window(module: nn.Module) -> tuple:
    """(kernel, stride, padding) of a layer, each a pair, None where it has no window."""
    if not hasattr(module, "kernel_size"):
        return None, None, None
    kernel, dilation = pair(module.kernel_size), pair(getattr(module, "dilation", 1))
    same = tuple((size - 1) * gap // 2 for size, gap in zip(kernel, dilation, strict=True))
    padding = {"same": same, "valid": 0}.get(module.padding, module.padding) if hasattr(module, "padding") else 0
    return kernel, pair(module.stride), pair(padding)


def describe(module: nn.Module) -> str:
    """A layer's name, with its channels or its probability."""
    name = type(module).__name__
    if isinstance(module, nn.Conv2d):
        return f"{name} {module.in_channels}→{module.out_channels}"
    return f"{name} {module.p}" if isinstance(module, nn.modules.dropout._DropoutNd) else name


def cells(layer: Layer) -> list[str]:
    """A row of the layer table as text."""

    def size(shape: tuple[int, ...]) -> str:
        return "×".join(map(str, shape))

    def short(values: tuple[int, int] | None) -> str:
        return "" if values is None else str(values[0]) if values[0] == values[1] else size(values)

    return [
        layer.name,
        *map(short, (layer.kernel, layer.stride, layer.padding)),
        *map(size, (layer.input, layer.output)),
        f"{layer.parameters:,}",
        size(layer.receptive_field) if layer.receptive_field else NOT_SEEN,
        f"{layer.multiply_adds:,}",
    ]


def layer_table(model: nn.Module, input_shape: tuple[int, int, int]) -> str:
    """The layer table as text, one row per layer and the total."""
    rows = layers(model, input_shape)
    total = ["total", *[""] * 5, f"{count_parameters(model):,}", "", f"{sum(row.multiply_adds for row in rows):,}"]
    return markdown_table(HEAD, [*map(cells, rows), total])
