"""The networks: each a list of layers that reads like its description.

    python model.py                        every network and its number of trainable parameters
    python model.py NAME                   the layers of a network, or of the network of a recipe
    python model.py NAME --check parameters|all     the rules; exit status 1 when one is broken

Images are [N, 1, 28, 28], logits [N, 10]. Where a published network ends in log-softmax, that is in the cross-entropy
loss here.
"""

import sys

import torch
from torch import nn

import cli
import recipes
import rules
from layers import parameter_count, table
from rules import DIGITS


def pooled_block(inputs, outputs, padding=0, pool=1, affine=True):
    """The layers of this project's own networks: the pool comes before BatchNorm and ReLU, which then see less."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=padding, bias=False)
    pooling = [nn.MaxPool2d(pool)] if pool > 1 else []
    return [convolution, *pooling, nn.BatchNorm2d(outputs, affine=affine), nn.ReLU(inplace=True)]


def default():
    """19,066 parameters: the first pool comes before BatchNorm and ReLU, so nearly all work is at 13 x 13 and below."""
    return nn.Sequential(
        *pooled_block(1, 16, pool=2),  # 16 x 13 x 13
        *pooled_block(16, 16, padding=1),
        *pooled_block(16, 16, padding=1, pool=2),  # 16 x 6 x 6
        *pooled_block(16, 24, padding=1),
        *pooled_block(24, 24),
        *pooled_block(24, 24),  # 24 x 2 x 2
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.05),
        nn.Linear(24, DIGITS),
    )


def fast():
    """17,874 parameters: early pools and few channels where the image is large; the recipe of the same name leaves the
    first layer untrained (whiten)."""
    return nn.Sequential(
        nn.ZeroPad2d(-1),  # 26 x 26: of a hundred digits one has ink on the edge
        *pooled_block(1, 8, pool=2, affine=False),  # 8 x 12 x 12, and no gradient needs to come back to here
        *pooled_block(8, 16),
        *pooled_block(16, 16, pool=2),  # 16 x 4 x 4
        *pooled_block(16, 32, padding=1),
        *pooled_block(32, 32),  # 32 x 2 x 2
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.01),
        nn.Linear(32, DIGITS),
    )


def erav3():
    """19,098 parameters: convolutions with bias at 28 x 28, then ReLU, then BatchNorm."""

    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(outputs)]

    return nn.Sequential(
        *block(1, 12),
        *block(12, 16),
        nn.Dropout(0.05),
        *block(16, 20),
        nn.MaxPool2d(2),
        nn.Dropout(0.05),
        *block(20, 24),
        nn.Dropout(0.1),
        *block(24, 24),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        *block(24, 20),
        nn.Conv2d(20, DIGITS, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def mnist_ops():
    """7,758 parameters: BatchNorm and dropout before each ReLU."""

    def block(inputs, outputs):
        return [
            nn.Conv2d(inputs, outputs, 3, bias=False),
            nn.BatchNorm2d(outputs),
            nn.Dropout(0.05),
            nn.ReLU(inplace=True),
        ]

    return nn.Sequential(
        *block(1, 10),
        *block(10, 10),
        *block(10, 10),
        *block(10, 10),
        nn.MaxPool2d(2),
        *block(10, 10),
        *block(10, 16),
        *block(16, 16),
        nn.AvgPool2d(4),
        nn.Conv2d(16, DIGITS, 1, bias=False),
        nn.Flatten(),
    )


def mnist_7824():
    """7,824 parameters: a squeeze to 4 channels after the pool, then widening."""

    def block(inputs, outputs, kernel=3):
        return [
            nn.Conv2d(inputs, outputs, kernel, bias=False),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(outputs),
            nn.Dropout(0.025),
        ]

    return nn.Sequential(
        *block(1, 4),
        *block(4, 10),
        nn.MaxPool2d(2),
        *block(10, 8, kernel=1),
        *block(8, 4, kernel=1),
        *block(4, 10),
        *block(10, 16),
        *block(16, 18),
        *block(18, 16),
        nn.AvgPool2d(4),
        nn.Conv2d(16, DIGITS, 1, bias=False),
        nn.Flatten(),
    )


def skeleton_510k():
    """509,946 parameters: the baseline without BatchNorm, dropout or global average pooling."""

    def block(inputs, outputs, kernel=3):
        return [nn.Conv2d(inputs, outputs, kernel), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *block(1, 32),
        *block(32, 64),
        *block(64, 128),
        nn.MaxPool2d(2),
        *block(128, 16, kernel=1),
        *block(16, 32),
        *block(32, 64),
        *block(64, 128),
        *block(128, 256),
        nn.Conv2d(256, DIGITS, 3),
        nn.Flatten(),
    )


def mnist_experiment():
    """18,592 parameters: half of them in the second convolution."""

    def block(inputs, outputs, padding=0):
        return [
            nn.Conv2d(inputs, outputs, 3, padding=padding, bias=False),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(outputs),
            nn.Dropout(0.1),
        ]

    return nn.Sequential(
        *block(1, 32),
        *block(32, 32),
        nn.Conv2d(32, 10, 1, bias=False),
        nn.MaxPool2d(2),
        *block(10, 16),
        *block(16, 16),
        *block(16, 16),
        *block(16, 16, padding=1),
        nn.AvgPool2d(6),
        nn.Conv2d(16, DIGITS, 1, bias=False),
        nn.Flatten(),
    )


ARCHITECTURES = {
    "default": default,
    "fast": fast,
    "erav3": erav3,
    "mnist-ops": mnist_ops,
    "mnist-7824": mnist_7824,
    "skeleton-510k": skeleton_510k,
    "mnist-experiment": mnist_experiment,
}


def build(architecture):
    """The network of that name with fresh weights from torch's global generator. Raises ValueError for an unknown
    name."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}; there are: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture]()


@torch.no_grad()
def whiten(model, images):
    """Set the first convolution to the principal patterns of the patches of images [N, 1, 28, 28], each with both
    signs, and freeze it: no gradient is computed at the image's own size then.

    After airbench (Jordan, arXiv 2404.00498), less the scale of each pattern, which BatchNorm removes."""
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    patches = nn.functional.unfold(images, first.kernel_size).transpose(1, 2).flatten(0, 1)
    patches = patches[patches.amax(1) > patches.amin(1)]  # nine in ten are background
    patterns = torch.linalg.eigh((patches.T @ patches).cpu()).eigenvectors.T.flip(0)[: (first.out_channels + 1) // 2]
    first.weight.copy_(torch.cat([patterns, -patterns])[: first.out_channels].view_as(first.weight))
    first.weight.requires_grad_(False)


def main(argv=None):
    parser = cli.Parser(description="The networks, their layers and the rules they must keep.")
    parser.add_argument("name", nargs="?", help="a network or a recipe; without it all networks are listed")
    parser.add_argument("--check", choices=("parameters", "all"), help="check the rules instead of printing the layers")
    arguments = parser.parse_args(argv)
    if arguments.name is None:
        for name in ARCHITECTURES:
            print(f"{name:18}{parameter_count(build(name)):>10,} parameters")
        return 0
    known = {
        **{name: name for name in ARCHITECTURES},
        **{name: recipe.architecture for name, recipe in recipes.RECIPES.items()},
    }
    if arguments.name not in known:
        parser.error(f"unknown network or recipe {arguments.name!r}; there are: {', '.join(known)}")
    model = build(known[arguments.name])
    if arguments.check:
        return rules.report(arguments.name, model, whole=arguments.check == "all")
    print(table(model))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
