"""The models: each a list of layers that reads like its description; `make show-model RECIPE=NAME` prints one.

A model maps normalized images [N, 1, H, W] to logits [N, num_classes]. The published ones are in published.toml. Your
own is one more function, or nn.Module class, in ARCHITECTURES.
"""

import ast
import copy
import functools
import inspect
import itertools
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from support import UserError

import torch
from torch import Tensor, nn

PUBLISHED = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))["networks"]
WHITENING_EPSILON = 1e-3  # of a mean square: patterns too weak to matter stay so


class Normalize(nn.Module):
    """Pixels in 0..1 to the zero mean and unit deviation that a model is trained on."""

    def __init__(self, mean: float, std: float):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean).div_(self.std)


def convolution(in_channels: int, out_channels: int, kernel: int = 3, padding: int = 0) -> list[nn.Module]:
    """A convolution whose bias is left to the BatchNorm after it."""
    return [nn.Conv2d(in_channels, out_channels, kernel, padding=padding, bias=False)]


def separable_convolution(in_channels: int, out_channels: int, kernel: int = 3, padding: int = 0) -> list[nn.Module]:
    """A convolution of each channel, then a 1 x 1 over all of them (Howard et al., arXiv 1704.04861)."""
    depthwise = nn.Conv2d(in_channels, in_channels, kernel, padding=padding, groups=in_channels, bias=False)
    return [depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=False)]


def pooled_block(
    in_channels: int,
    out_channels: int,
    kernel: int = 3,
    padding: int = 0,
    pool: int = 1,
    blur: bool = False,
    affine: bool = True,
    convolution: Callable[..., list[nn.Module]] = convolution,
    activation: Callable[..., nn.Module] = nn.ReLU,
) -> list[nn.Module]:
    """The layers of this project's own models: the pool comes before BatchNorm and the activation, which then have less
    to do. With `blur` it takes the maximum at every place, then averages, so that its output depends less on where its
    grid lies (Zhang, arXiv 1904.11486)."""
    pooling: list[nn.Module] = []
    if pool > 1:
        pooling = [nn.MaxPool2d(pool, stride=1), nn.AvgPool2d(pool)] if blur else [nn.MaxPool2d(pool)]
    norm = nn.BatchNorm2d(out_channels, affine=affine)
    return [*convolution(in_channels, out_channels, kernel, padding), *pooling, norm, activation(inplace=True)]


def head(in_channels: int, num_classes: int, dropout: float = 0.01) -> list[nn.Module]:
    """The mean of each channel, and logits from them."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(in_channels, num_classes)]


def early_pools(
    channels: list[int],
    num_classes: int,
    dropout: float = 0.01,
    blur: bool = False,
    affine: bool = True,
    convolution: Callable[..., list[nn.Module]] = convolution,
    activation: Callable[..., nn.Module] = nn.SiLU,
) -> nn.Module:
    """Convolutions with these channels, the first always a full one, whose pool may `blur` and whose BatchNorm may
    be `affine`. That pool comes so early that nearly all work is done at 13 x 13 and below. With few channels SiLU
    loses less than ReLU."""
    one, two, *middle, before_last, last = channels
    block = functools.partial(pooled_block, convolution=convolution, activation=activation)
    return nn.Sequential(
        *pooled_block(1, one, pool=2, blur=blur, affine=affine, activation=activation),  # 13 x 13, blurred 12 x 12
        *block(one, two, padding=1),
        *block(two, middle[0], padding=1, pool=2),  # 6 x 6
        *(layer for in_out in itertools.pairwise(middle) for layer in block(*in_out, padding=1)),
        *block(middle[-1], before_last),
        *block(before_last, last),  # 2 x 2
        *head(last, num_classes, dropout),
    )


def default(num_classes: int) -> nn.Module:
    """19,066 parameters."""
    return early_pools([16, 16, 16, 24, 24, 24], num_classes, dropout=0.05, activation=nn.ReLU)


def fast(num_classes: int) -> nn.Module:
    """16,818 parameters: early pools, and few channels where images are large. Its recipe sets and freezes the first
    layer, so that it needs no BatchNorm, and no gradient comes back to it."""
    return nn.Sequential(
        nn.ZeroPad2d(-1),  # crops the outer ring: one digit in a hundred has ink there
        *convolution(1, 8),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),  # 8 x 12 x 12
        *pooled_block(8, 16, padding=1, pool=2),  # 16 x 6 x 6
        *pooled_block(16, 32),
        *pooled_block(32, 32, kernel=2),
        *pooled_block(32, 48, kernel=2),  # 48 x 2 x 2
        *head(48, num_classes),
    )


def under8k(num_classes: int) -> nn.Module:
    """7,662 parameters."""
    return early_pools([8, 8, 12, 14, 16, 16], num_classes)


def under5k(num_classes: int) -> nn.Module:
    """4,930 parameters."""
    return early_pools([8, 8, 8, 12, 12, 12], num_classes)


def under1500(num_classes: int) -> nn.Module:
    """1,490 parameters."""
    return early_pools([8, 12, 12, 16, 16], num_classes, blur=True, convolution=separable_convolution)


def under700(num_classes: int) -> nn.Module:
    """692 parameters."""
    return early_pools([5, 8, 8, 8, 8], num_classes, blur=True, affine=False, convolution=separable_convolution)


def fashion(num_classes: int) -> nn.Module:
    """7,635 parameters."""
    return early_pools([8, 8, 12, 15, 15, 16], num_classes)


def read_calls(text: str, module: ModuleType) -> list:
    """The objects that a text of published.toml describes: calls of a module's classes, with plain values."""
    objects = []
    for call in ast.parse(f"[{text}]", mode="eval").body.elts:
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        objects.append(getattr(module, call.func.id)(*map(ast.literal_eval, call.args), **keywords))
    return objects


def from_layers(layers: str, num_classes: int) -> nn.Module:
    """A network whose layers are written as in published.toml."""
    return nn.Sequential(*read_calls(layers.replace("num_classes", str(num_classes)), nn))


ARCHITECTURES = {
    **{name: functools.partial(from_layers, network["layers"]) for name, network in PUBLISHED.items()},
    "default": default,
    "fast": fast,
    "under8k": under8k,
    "under5k": under5k,
    "under1500": under1500,
    "under700": under700,
    "fashion": fashion,
}


def build(architecture: str, num_classes: int) -> nn.Module:
    """A model with fresh weights drawn from torch's global generator. Raises UserError for an unknown architecture,
    an entry of ARCHITECTURES that makes no model, and a model with lazy layers."""
    if architecture not in ARCHITECTURES:
        raise UserError(f"unknown architecture {architecture!r}; there are: {', '.join(ARCHITECTURES)}")
    entry, name = ARCHITECTURES[architecture], f"ARCHITECTURES[{architecture!r}] in model.py"
    if isinstance(entry, nn.Module) or not callable(entry):
        raise UserError(f"{name} must be a function or a class that makes a model, got a {type(entry).__name__}")
    try:
        inspect.signature(entry).bind(num_classes)
    except TypeError as error:
        raise UserError(f"{name} must take one argument, the number of classes ({error})") from error
    model = entry(num_classes)
    if not isinstance(model, nn.Module):
        missing = "None: is a return missing?" if model is None else f"a {type(model).__name__}"
        raise UserError(f"{name} must return an nn.Module, got {missing}")
    if any(nn.parameter.is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise UserError(f"{name} has a lazy layer, whose size is not known before the first batch: give its size")
    return model


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def float_tensors(model: nn.Module) -> list[Tensor]:
    """The weights and BatchNorm statistics of a model; BatchNorm's batch counts, integers, are left out."""
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]


class EMA:
    """The exponential moving average of a model, as torch's AveragedModel, but without waiting for the device."""

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay, self.is_empty = copy.deepcopy(model), decay, True
        self.averages, self.values = float_tensors(self.model), float_tensors(model)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's weights; the first update copies them."""
        torch._foreach_lerp_(self.averages, self.values, 1.0 if self.is_empty else 1 - self.decay)
        self.is_empty = False


@torch.no_grad()
def whiten(model: nn.Module, images: Tensor) -> None:
    """Set the first convolution to the principal patches of normalized images [N, 1, H, W], each with both signs and
    scaled to answer with a mean square of 1, and freeze it: no gradient is computed at the images' full size then.

    After airbench (Jordan, arXiv 2404.00498). Raises UserError for a model whose first convolution cannot hold them."""
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != images.shape[1]:
        raise UserError(
            f"whitening needs an nn.Conv2d on the images, of {images.shape[1]} channel: this model has none"
        )
    most = 2 * first.weight[0].numel()
    if first.out_channels > most:
        raise UserError(f"whitening fills at most {most} channels of {first}: use fewer, or whitening=False")
    patches = nn.functional.unfold(images, first.kernel_size, first.dilation).transpose(1, 2).flatten(0, 1)
    patches = patches[patches.amax(1) > patches.amin(1)]  # nine out of ten are background
    squares, patterns = torch.linalg.eigh((patches.T @ patches / len(patches)).cpu())  # from the weakest on
    principal = (patterns / (squares + WHITENING_EPSILON).sqrt()).T.flip(0)[: (first.out_channels + 1) // 2]
    first.weight.copy_(torch.cat([principal, -principal])[: first.out_channels].view_as(first.weight))
    first.weight.requires_grad_(False)
