"""A network's layers, as a table: shapes, parameters, receptive field and multiply-adds.

layers.table(network)
"""

import dataclasses

import torch
from torch import nn

IMAGE = (1, 28, 28)


def parameter_count(model):
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A row of the layer table. Shapes are without the batch. What has a height and a width is (height, width); kernel,
    stride and padding are None where a layer has none."""

    module: nn.Module
    input: tuple
    output: tuple
    parameters: int
    kernel: tuple | None
    stride: tuple | None
    padding: tuple | None
    receptive_field: tuple  # pixels of the image that one output value depends on
    multiply_adds: int  # of one image, in convolutions and linear layers


def layers(model):
    """The layers in the order in which an image passes them, as a list of Layer.

    The receptive field follows a chain of layers: r += (kernel - 1) * dilation * jump, jump *= stride
    (Dumoulin & Visin, arXiv 1603.07285, and Araujo et al., Distill 2019).
    """
    calls = []
    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda *call: calls.append(call)) for leaf in leaves]
    try:
        was_training = model.training
        with torch.no_grad():
            model.eval()(torch.zeros(1, *IMAGE, device=next(model.parameters()).device))
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
        rows.append(
            Layer(
                module, *shapes, parameter_count(module), kernel, stride, padding, field, multiply_adds(module, after)
            )
        )
    return rows


def pair(value):
    """(height, width) of a torch layer's setting, which may be one number for both."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def window(module, before, after):
    """(kernel, stride, padding, dilation), each a pair, of a layer that looks at a window, else None but for the
    dilation."""
    if isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
        sizes = [(before.shape[axis], after.shape[axis]) for axis in (-2, -1)]
        widest = tuple(max(-(-(i + 1) * old // new) - i * old // new for i in range(new)) for old, new in sizes)
        return widest, tuple(old // new for old, new in sizes), (0, 0), (1, 1)
    if not hasattr(module, "kernel_size"):
        return None, None, None, (1, 1)
    kernel, stride, dilation = (
        pair(value) for value in (module.kernel_size, module.stride, getattr(module, "dilation", 1))
    )
    padding = module.padding
    if padding == "same":
        padding = tuple((size - 1) * gap // 2 for size, gap in zip(kernel, dilation, strict=True))
    return kernel, stride, pair(0 if padding == "valid" else padding), dilation


def multiply_adds(module, after):
    """How often a convolution or linear layer multiplies and adds for one image; other layers count 0."""
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        return 0
    return module.weight.numel() * after[0].numel() // module.weight.shape[0]  # all weights, at every place


def describe(module):
    """A layer in a few words."""
    name = type(module).__name__
    if isinstance(module, nn.Conv2d):
        return f"{name} {module.in_channels}→{module.out_channels}"
    return f"{name} {module.p}" if isinstance(module, nn.Dropout) else name


def cells(layer):
    """A row of the layer table as text."""

    def size(shape):
        return "×".join(map(str, shape))

    def short(values):
        return "" if values is None else str(values[0]) if values[0] == values[1] else size(values)

    return [
        describe(layer.module),
        *map(short, (layer.kernel, layer.stride, layer.padding)),
        *map(size, (layer.input, layer.output)),
        f"{layer.parameters:,}",
        size(layer.receptive_field),
        f"{layer.multiply_adds:,}",
    ]


HEAD = ["layer", "kernel", "stride", "padding", "input", "output", "parameters", "receptive field", "multiply-adds"]


def table(model):
    """The layer table as text, one row a layer and the total."""
    rows = layers(model)
    operations = sum(row.multiply_adds for row in rows)
    total = ["total", *[""] * 5, f"{parameter_count(model):,}", "", f"{operations:,}"]
    lines = [HEAD, *map(cells, rows), total]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
