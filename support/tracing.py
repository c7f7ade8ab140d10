"""What a model does when it runs: the torch functions that it calls, whoever calls them, layers or its own code."""

import dataclasses
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a torch function: its name, such as conv2d, its arguments, and the shapes of its input and output."""

    function: str
    arguments: tuple[Any, ...]  # a tensor is its shape
    keywords: dict[str, Any]
    input: tuple[int, ...]
    output: tuple[int, ...]

    def argument(self, name: str, position: int, default: Any) -> Any:
        """The value of an argument."""
        given = self.arguments[position] if len(self.arguments) > position else default
        return self.keywords.get(name, given)

    def __str__(self) -> str:
        settings = [repr(value) for value in self.arguments]
        settings += [f"{name}={value!r}" for name, value in self.keywords.items()]
        return re.sub(r" at 0x[0-9a-f]+", "", f"{self.function}({', '.join(settings)})")


class Recorder(TorchFunctionMode):
    """Records every call that takes a tensor and makes one."""

    def __init__(self):
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        result = function(*arguments, **keywords)
        output = first_tensor(result)
        source = first_tensor([*arguments, *keywords.values()])
        name = getattr(function, "__name__", str(function))
        if output is not None and source is not None and name != "__get__":
            plain = tuple(map(without_tensors, arguments)), {key: without_tensors(keywords[key]) for key in keywords}
            self.calls.append(Call(name, *plain, tuple(source.shape), tuple(output.shape)))
        return result


def first_tensor(value: Any) -> Tensor | None:
    """A tensor, or the first one in a list, tuple or dictionary; None where there is none."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return next((found for found in map(first_tensor, value) if found is not None), None)
    return value if isinstance(value, Tensor) else None


def without_tensors(value: Any) -> Any:
    """A value with the shape of each tensor in its place."""
    if isinstance(value, (list, tuple)):
        return tuple(map(without_tensors, value))
    return tuple(value.shape) if isinstance(value, Tensor) else value


@torch.no_grad()
def trace(model: nn.Module, images: Tensor) -> list[Call]:
    """The calls of one forward pass of images [N, C, H, W]."""
    with Recorder() as recorder:
        model(images)
    return recorder.calls
