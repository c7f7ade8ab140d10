"""A model's layers as a table: shapes, parameters, receptive field and multiply-adds."""

import dataclasses

import torch
from torch import Tensor, nn

from model import count_parameters
from results import markdown_table

HEAD = ["layer", "kernel", "stride", "padding", "input", "output", "parameters", "receptive field", "multiply-adds"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A row of the table. Shapes are without the batch; sizes are (height, width), None where a layer has none."""

    module: nn.Module
    input: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    padding: tuple[int, int] | None
    receptive_field: tuple[int, int]  # pixels of the image that one output value depends on
    multiply_adds: int  # per image, in convolutions and linear layers


def layers(model: nn.Module, input_shape: tuple[int, int, int]) -> list[Layer]:
    """The layers in the order in which an image of that shape, [C, H, W], passes them.

    The receptive field follows a chain of layers: r += (kernel - 1) * dilation * jump, jump *= stride
    (Dumoulin & Visin, arXiv 1603.07285, and Araujo et al., Distill 2019).
    """
    calls = []
    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda *call: calls.append(call)) for leaf in leaves]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape, device=next(model.parameters()).device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()

    rows, field, jump, places = [], (1, 1), (1, 1), (1, 1)
    for module, (before,), after in calls:
        kernel, stride, padding, dilation = window(module, before, after)
        seen = kernel or (places if isinstance(module, nn.Linear) else (1, 1))
        reach = [(size - 1) * gap for size, gap in zip(seen, dilation, strict=True)]
        field = tuple(old + far * pixels for old, far, pixels in zip(field, reach, jump, strict=True))
        jump = tuple(pixels * step for pixels, step in zip(jump, stride or (1, 1), strict=True))
        if after.dim() == 4:
            places = tuple(after.shape[2:])  # a linear layer sees all those of the last map
        elif isinstance(module, nn.Linear):
            places = (1, 1)
        shapes = tuple(before.shape[1:]), tuple(after.shape[1:])
        counts = count_parameters(module), kernel, stride, padding, field, multiply_adds(module, after)
        rows.append(Layer(module, *shapes, *counts))
    return rows


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a torch layer's setting, which may be one number for both."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def window(module: nn.Module, before: Tensor, after: Tensor) -> tuple:
    """(kernel, stride, padding, dilation) of a layer, each a pair; the first three are None where it has no window."""
    if isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        sizes = [(before.shape[axis], after.shape[axis]) for axis in (-2, -1)]
        widest = tuple(max(-(-(i + 1) * old // new) - i * old // new for i in range(new)) for old, new in sizes)
        return widest, tuple(old // new for old, new in sizes), (0, 0), (1, 1)
    if not hasattr(module, "kernel_size"):
        return None, None, None, (1, 1)
    kernel, stride, dilation = map(pair, (module.kernel_size, module.stride, getattr(module, "dilation", 1)))
    padding = module.padding
    if padding == "same":
        padding = tuple((size - 1) * gap // 2 for size, gap in zip(kernel, dilation, strict=True))
    return kernel, stride, pair(0 if padding == "valid" else padding), dilation


def multiply_adds(module: nn.Module, after: Tensor) -> int:
    """How often a convolution or linear layer multiplies and adds per image; other layers count 0."""
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        return 0
    return module.weight.numel() * after[0].numel() // module.weight.shape[0]  # all weights, at every place


def cells(layer: Layer) -> list[str]:
    """A row of the layer table as text."""
    name, module = type(layer.module).__name__, layer.module
    if isinstance(module, nn.Conv2d):
        name += f" {module.in_channels}→{module.out_channels}"
    if isinstance(module, nn.Dropout):
        name += f" {module.p}"

    def size(shape: tuple[int, ...]) -> str:
        return "×".join(map(str, shape))

    def short(values: tuple[int, int] | None) -> str:
        return "" if values is None else str(values[0]) if values[0] == values[1] else size(values)

    return [
        name,
        *map(short, (layer.kernel, layer.stride, layer.padding)),
        *map(size, (layer.input, layer.output)),
        f"{layer.parameters:,}",
        size(layer.receptive_field),
        f"{layer.multiply_adds:,}",
    ]


def layer_table(model: nn.Module, input_shape: tuple[int, int, int]) -> str:
    """The layer table as text, one row per layer and the total."""
    rows = layers(model, input_shape)
    total = ["total", *[""] * 5, f"{count_parameters(model):,}", "", f"{sum(row.multiply_adds for row in rows):,}"]
    return markdown_table(HEAD, [*map(cells, rows), total])
