"""A model's layers as a table: shapes, parameters, receptive field and multiply-adds, as an image meets them.

A row is a layer, or a torch function that the model's own code calls; shapes are without the batch. Receptive fields
are measured: the pixels that the gradient of one output value reaches. Multiply-adds are torch's count, for one image.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

from support.identity import first_tensor
from support.table import markdown_table

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from model import count_parameters

HEAD = ["layer", "kernel", "stride", "padding", "input", "output", "parameters", "receptive field", "multiply-adds"]
IMAGES = 64  # of noise: at every place some image gets a gradient through pools and ReLUs
VALUES = 8  # of a flat output that are looked at: each may see another part of the image
Pair = tuple[int, int]  # height, width


class Layers(TorchFunctionMode):
    """Collects a row for each layer without layers of its own, and for each torch function that is called outside of
    those, while a model is run on images."""

    def __init__(self, images: Tensor):
        super().__init__()
        self.images, self.rows = images, []
        self.is_inside = False  # a layer, or what measures one

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        name = getattr(function, "__name__", "_")
        if self.is_inside or name.startswith("_"):
            return function(*arguments, **(keywords or {}))
        return self.measure(function, {"layer": f"{name}()", "parameters": 0}, *arguments, **(keywords or {}))

    def measure(self, call: Callable, settings: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        """Call a layer or a function, and add its row, settings and all, where its output has values for each image. It
        is measured at once: a later layer may write over its output."""
        self.is_inside = True
        with FlopCounterMode(display=False) as counter:
            output = call(*arguments, **keywords)
        source, result = first_tensor([arguments, keywords]), first_tensor(output)
        if result is not None and result.dim() > 1 and len(result) == IMAGES:
            row = dict.fromkeys(HEAD) | settings | {"output": tuple(result.shape[1:])}
            row["input"] = tuple(source.shape[1:]) if source is not None else None
            row["receptive field"] = receptive_field(self.images, result)
            row["multiply-adds"] = counter.get_total_flops() // 2 // IMAGES
            self.rows.append(row)
        self.is_inside = False
        return output


@torch.enable_grad()
def layers(model: nn.Module, input_shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """The rows, {head: value or None}, in the order in which images of that shape, [C, H, W], pass the layers."""
    model = copy.deepcopy(model).eval()
    noise = torch.rand(IMAGES, *input_shape, generator=torch.Generator().manual_seed(0))
    images = noise.to(next(model.parameters()).device).requires_grad_()
    with Layers(images) as collected:
        for leaf in model.modules():
            if not list(leaf.children()):
                settings = {"layer": layer_name(leaf), "parameters": count_parameters(leaf), **window(leaf)}
                leaf.forward = functools.partial(collected.measure, leaf.forward, settings)
        model(images)
    return collected.rows


def receptive_field(images: Tensor, output: Tensor) -> Pair | None:
    """(height, width) of the pixels that one value of an output depends on; None where no gradient comes through."""
    if not output.requires_grad:
        return None
    if output.dim() == 4:  # all channels see the same pixels
        # Filters of both signs, as whitening makes them, would cancel in a plain sum.
        weights = output.new_tensor(range(1, output.shape[1] + 1))
        values = output[:, :, output.shape[2] // 2, output.shape[3] // 2] @ weights[:, None]
    else:
        values = output.flatten(1)
    extents = []
    for value in values.sum(0)[:: max(1, values.shape[1] // VALUES)]:
        (gradient,) = torch.autograd.grad(value, images, retain_graph=True, materialize_grads=True)
        reached = gradient.abs().amax((0, 1)).nonzero()
        if len(reached):
            extents.append(tuple((reached.amax(0) - reached.amin(0) + 1).tolist()))
    return max(extents, default=None)


def window(module: nn.Module) -> dict[str, Pair]:
    """The kernel, the stride and the padding of a layer that has them."""
    if not hasattr(module, "kernel_size"):
        return {}
    kernel, dilation = _pair(module.kernel_size), _pair(getattr(module, "dilation", 1))
    same = tuple((size - 1) * gap // 2 for size, gap in zip(kernel, dilation, strict=True))
    padding = getattr(module, "padding", 0)
    padding = _pair({"same": same, "valid": 0}.get(padding, padding))
    return {"kernel": kernel, "stride": _pair(module.stride), "padding": padding}


def layer_name(module: nn.Module) -> str:
    """A layer's name, with its channels or its probability."""
    name = type(module).__name__
    if isinstance(module, nn.Conv2d):
        return f"{name} {module.in_channels}→{module.out_channels}"
    return f"{name} {module.p}" if isinstance(module, nn.modules.dropout._DropoutNd) else name


def cell(value: str | int | tuple[int, ...] | None) -> str:
    """A value as text."""
    if isinstance(value, tuple):
        return "×".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else value or ""


def layer_table(model: nn.Module, input_shape: tuple[int, int, int], table: Callable = markdown_table) -> str:
    """The layer table as text, one row per layer and the total."""
    rows = layers(model, input_shape)
    total = {"parameters": count_parameters(model), "multiply-adds": sum(row["multiply-adds"] for row in rows)}
    rows.append(dict.fromkeys(HEAD) | {"layer": "total", **total})
    return table(HEAD, [[*map(cell, row.values())] for row in rows])
