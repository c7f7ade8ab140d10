"""Sanity checks of a network before it is trained: whatever its style, it trains, can be saved and loaded, and reads
one image as it reads many; or one line says where it does not, and what to change.

Two networks are built with other weights, and run on two images and on one, in training and in evaluation.
"""

import contextlib
import os
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from support import UserError, identity

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

REMEDIES = {  # of what torch says
    "before Module.__init__() call": "begin __init__ with super().__init__()",
    "view size is not compatible": "use reshape or flatten",
    "more than 1 value per channel": "BatchNorm needs more than one value: use another batch_size",
    "mat1 and mat2 shapes cannot be multiplied": "give nn.Linear as many inputs as the layers before it have outputs",
    "Given groups=": "give the convolution as many in_channels as the layer before it has out_channels",
    "Expected all tensors to be on the same device": "register tensors of the model with register_buffer",
    "Only Tensors created explicitly": "use parametrizations.weight_norm, not weight_norm: a model must have copies",
    "does not require grad": "leave out detach() and no_grad() between the parameters and the logits",
    "data-dependent": "no if and no loop may depend on values of tensors; torch.where chooses between them",
    "modified by an inplace operation": "no inplace=True, and x = x + y instead of x += y, where x is still needed",
}
NOT_OWN = {"site-packages", "dist-packages", Path(os.__file__).parent.name, "support", "reporting", "deployment"}
ALONE = "BatchNorm needs its running statistics; softmax and mean go over dim 1 and later, not over the batch"
SAVED = "saved: layers belong into nn.ModuleList or nn.ModuleDict, tensors into nn.Parameter or register_buffer"


@contextlib.contextmanager
def told(name: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Let whatever a network's code raises within this context be a UserError of one line: its name, the place in its
    code, and the remedy for what torch says."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of a network that is being written: whatever it leads to
        first, causes = re.split(r"\n|\. ", str(error).strip())[0], [error]
        while causes[-1].__cause__:
            causes.append(causes[-1].__cause__)
        said = "".join(map(str, causes))
        remedy = next((f": {remedy}" for words, remedy in REMEDIES.items() if words in said), "")
        raise kind(f"{name}: {type(error).__name__}: {first}{place(causes)}{remedy}") from error


def place(errors: list[BaseException]) -> str:
    """The last line that errors passed through which is neither a library's nor of a folder of this project's."""
    frames = [frame for error in errors for frame in traceback.extract_tb(error.__traceback__)]
    places = [(Path(frame.filename), frame.lineno) for frame in frames]
    own = [(path, line) for path, line in places if path.is_file() and not NOT_OWN & {path.parent.name, *path.parts}]
    return f", at {own[-1][0].name}:{own[-1][1]}" if own else ""


def check(name: str, build: Callable[[], nn.Module], input_shape: tuple[int, int, int], num_classes: int) -> None:
    """Raise UserError, with the network's name, for one that cannot be trained, or not be used once it is trained."""
    with told(name), torch.random.fork_rng(devices=[]):
        network, other = build(), build()
        if not any(weight.requires_grad for weight in network.parameters()):
            raise UserError(f"{name} has no trainable parameters")
        images = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0))
        check_logits(name, network.train(), images, num_classes)
        check_logits(name, network.eval(), images, num_classes)
        check_logits(name, network, images[:1], num_classes)
        identity.memory_format(other, input_shape)
        check_evaluation(name, network, other.eval(), images)


def check_logits(name: str, network: nn.Module, images: Tensor, num_classes: int) -> None:
    """Raise UserError unless a network returns finite logits, [N, num_classes], for images [N, C, H, W]."""
    logits, count = network(images), len(images)
    if not isinstance(logits, Tensor) or logits.shape != (count, num_classes):
        mode, plural = " in training" * network.training, "s" * (count > 1)
        expected = f"logits [{count}, {num_classes}] for {count} image{plural} {list(images.shape)}{mode}"
        kind = f"a {type(logits).__name__}: return the logits, and nothing else"
        raise UserError(f"{name} must return {expected}, got {list(getattr(logits, 'shape', ())) or kind}")
    if not logits.isfinite().all():
        raise UserError(f"{name} returns numbers that are not finite for fresh weights")


@torch.no_grad()
def check_evaluation(name: str, network: nn.Module, other: nn.Module, images: Tensor) -> None:
    """Raise UserError unless a network in evaluation mode computes the same again, the same as another one with its
    state, and the same for an image alone."""
    for weight in network.parameters():
        if not weight.any():  # it would hide what comes before it
            weight.normal_(std=0.1)
    logits = network(images)
    if not identity.is_close(network(images), logits):
        drops = any(call.drops for call in identity.trace(network, images))
        cause = "F.dropout needs training=self.training" if drops else "nothing may be drawn there"
        raise UserError(f"{name} returns other logits for the same images in evaluation: {cause}")
    try:
        other.load_state_dict(network.state_dict())
    except RuntimeError as error:
        raise UserError(f"{name} has other layers each time, or once it ran: make them all in __init__") from error
    if not identity.is_close(other(images), logits):
        kept = [f" in self.{key}" for owner in network.modules() for key in vars(owner) if is_unsaved(owner, key)]
        raise UserError(f"{name} computes with layers or tensors{', '.join(kept)} that are neither trained nor {SAVED}")
    if not identity.is_close(network(images[:1]), logits[:1]):
        raise UserError(f"{name} returns other logits for an image beside other images in evaluation: {ALONE}")


def is_unsaved(owner: nn.Module, key: str) -> bool:
    """Whether an attribute holds layers or tensors of which torch knows nothing."""
    leaves = tree_leaves(vars(owner)[key])
    return key[0] != "_" and any(isinstance(leaf, (nn.Module, Tensor)) for leaf in leaves)
