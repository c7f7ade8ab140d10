"""What makes a model the same model: its layers as text, the torch functions that it calls in training, and its logits
for two fixed images. Whatever changes in model.py (a layer, a call between layers, an argument, how weights are drawn)
is seen by whoever loads a checkpoint or resumes a run.

Text and calls are compared exactly, logits within TOLERANCE: another processor differs in their last digits.
"""

import copy
import dataclasses
import hashlib
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

TOLERANCE = 1e-4  # of the largest logit, of which other instruction sets change 3e-7


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

    @property
    def drops(self) -> bool:
        """Whether it drops anything out."""
        return "dropout" in self.function and bool(self.argument("p", 1, 0.5) and self.argument("training", 2, True))

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
    return next((leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)), None)


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


@torch.no_grad()
def probe(model: nn.Module, input_shape: tuple[int, int, int]) -> Tensor:
    """The logits [2, num_classes] of a model in evaluation mode for two fixed images, computed on the processor."""
    images = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0))
    is_elsewhere = any(tensor.device.type != "cpu" for tensor in model.parameters())
    on_cpu, was_training = copy.deepcopy(model).cpu() if is_elsewhere else model, model.training
    logits = on_cpu.eval()(images)
    on_cpu.train(was_training)
    return logits.float()


def is_close(logits: Tensor, other: Tensor | list[list[float]]) -> bool:
    """Whether logits are what others are: of the same function with the same weights."""
    expected = torch.as_tensor(other)
    if logits.shape != expected.shape:
        return False
    return bool((logits - expected).abs().max() <= TOLERANCE * expected.abs().max())


def identify(build: Callable[[], nn.Module], input_shape: tuple[int, int, int]) -> dict[str, Any]:
    """What a model is, with the first weights of seed 0: {layers, calls, logits}, as plain values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        logits = probe(model, input_shape)
        calls = trace(model.train(), torch.zeros(2, *input_shape))
    text = "\n".join(map(str, calls))
    return {"layers": str(model), "calls": hashlib.sha256(text.encode()).hexdigest(), "logits": logits.tolist()}


@torch.enable_grad()
def memory_format(network: nn.Module, input_shape: tuple[int, int, int]) -> torch.memory_format:
    """The layout in which a network is trained: channels_last, in which convolutions are fastest, or torch's contiguous
    one, as for `view` after a convolution. Raises what torch does for a network that trains in neither."""
    images = torch.zeros(2, *input_shape, device=next(network.parameters()).device)
    for layout in (torch.channels_last, torch.contiguous_format):
        trial = copy.deepcopy(network).to(memory_format=layout).train()
        try:
            with torch.random.fork_rng(devices=[]):
                trial(images).sum().backward()
            return layout
        except RuntimeError:
            if layout is torch.contiguous_format:
                raise


def is_same(identity: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two identities are of the same model."""
    same_text = all(identity[key] == other[key] for key in ("layers", "calls"))
    return same_text and is_close(torch.tensor(identity["logits"]), other["logits"])
