"""The rules that a model here must keep, and whether it does.

python model.py                                every architecture and its number of trainable parameters
python model.py NAME                           the layers of an architecture, or of a recipe's
python model.py NAME --check parameters|all    the rules; the exit status is 1 when one is broken
"""

import dataclasses
import sys

import torch
from torch import nn

import data
import recipes
from model import ARCHITECTURES, build, count_parameters
from reporting.model_summary import layer_table, layers
from support import cli

PARAMETER_LIMIT = 20_000


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule for a model, what was measured, and whether that is enough."""

    name: str
    measured: str
    passed: bool


def parameter_rule(model: nn.Module) -> Rule:
    """The rule this project is named after: fewer than 20,000 trainable parameters."""
    count = count_parameters(model)
    passed = count < PARAMETER_LIMIT
    return Rule("trainable parameters", f"{count:,} {'<' if passed else '≥'} {PARAMETER_LIMIT:,}", passed)


def check(model: nn.Module, dataset: data.Dataset) -> list[Rule]:
    """Every rule: the count, BatchNorm, dropout, global average pooling, input and output."""

    def count(*kinds: type) -> int:
        return sum(isinstance(module, kinds) for module in model.modules())

    def at_least_one(name: str, number: int, remedy: str) -> Rule:
        return Rule(name, f"{number} in the model" if number else f"none; add {remedy}", number > 0)

    rules = [
        parameter_rule(model),
        at_least_one("BatchNorm", count(nn.BatchNorm2d), "nn.BatchNorm2d"),
        at_least_one("dropout", count(nn.Dropout, nn.Dropout2d), "nn.Dropout"),
    ]
    shape, num_classes = dataset.input_shape, len(dataset.classes)
    fit = f"input {'×'.join(map(str, shape))} to output {num_classes}"
    try:
        table = layers(model, shape)
        output = tuple(model(torch.zeros(2, *shape)).shape)
    except RuntimeError as error:
        return [*rules, Rule(fit, f"an image is refused: {str(error).splitlines()[0]}", False)]
    pools = sum(
        isinstance(row.module, (nn.AvgPool2d, nn.AdaptiveAvgPool2d)) and row.input[-1] > 1 and row.output[-2:] == (1, 1)
        for row in table
    )
    return [
        *rules,
        at_least_one("global average pooling", pools, "nn.AdaptiveAvgPool2d(1)"),
        Rule(fit, f"2 images give {output}", output == (2, num_classes)),
    ]


def find(name: str) -> tuple[nn.Module, data.Dataset]:
    """The model of an architecture or a recipe, and its data set. Raises ValueError for a name that is neither."""
    known = {name: recipes.Recipe(architecture=name) for name in ARCHITECTURES} | recipes.RECIPES
    if name not in known:
        raise ValueError(f"unknown architecture or recipe {name!r}; there are: {', '.join(known)}")
    dataset = data.get_dataset(known[name].dataset)
    return build(known[name].architecture, len(dataset.classes)), dataset


def print_rules(name: str, rules: list[Rule]) -> int:
    """Print the rules of a model; returns the exit status."""
    for rule in rules:
        print(f"{'ok  ' if rule.passed else 'FAIL'}  {rule.name}: {rule.measured}")
    broken = [rule.name for rule in rules if not rule.passed]
    print(
        f"{name} breaks: {', '.join(broken)}" if broken else f"{name} keeps {'all rules' if rules[1:] else 'the rule'}"
    )
    return 1 if broken else 0


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="The architectures, their layers, and the rules they must keep.")
    parser.add_argument("name", nargs="?", help="an architecture or a recipe; without it all architectures are listed")
    parser.add_argument("--check", choices=("parameters", "all"), help="check the rules instead of printing the layers")
    arguments = parser.parse_args(argv)
    if arguments.name is None:
        for name in ARCHITECTURES:
            print(f"{name:18}{count_parameters(find(name)[0]):>10,} parameters")
        return 0
    try:
        model, dataset = find(arguments.name)
    except ValueError as error:
        parser.error(str(error))
    if arguments.check:
        return print_rules(
            arguments.name, check(model, dataset) if arguments.check == "all" else [parameter_rule(model)]
        )
    print(layer_table(model, dataset.input_shape))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
