"""The rules that a network here must keep, and whether it does.

rules.check(network)
"""

import dataclasses

import torch
from torch import nn

from layers import IMAGE, layers, parameter_count

DIGITS = 10
PARAMETER_LIMIT = 20_000
FIT = "input 1×28×28 to output 10"


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule for a network: what it asks for, what was found, and whether that is enough."""

    name: str
    found: str
    kept: bool


def parameter_rule(model):
    """The rule this project is named after: fewer than 20,000 trainable parameters."""
    count = parameter_count(model)
    kept = count < PARAMETER_LIMIT
    return Rule("trainable parameters", f"{count:,} {'<' if kept else '≥'} {PARAMETER_LIMIT:,}", kept)


def check(model):
    """Every rule, as a list of Rule: the count, BatchNorm, dropout, global average pooling, input and output."""

    def count(*kinds):
        return sum(isinstance(module, kinds) for module in model.modules())

    def at_least_one(name, found, remedy):
        return Rule(name, f"{found} in the network" if found else f"none; add {remedy}", found > 0)

    counted = [
        parameter_rule(model),
        at_least_one("BatchNorm", count(nn.BatchNorm2d), "nn.BatchNorm2d"),
        at_least_one("dropout", count(nn.Dropout, nn.Dropout2d), "nn.Dropout"),
    ]
    try:
        table = layers(model)
        shape = tuple(model(torch.zeros(2, *IMAGE)).shape)
    except RuntimeError as error:
        return [*counted, Rule(FIT, f"an image is refused: {str(error).splitlines()[0]}", False)]
    pools = sum(
        isinstance(row.module, (nn.AvgPool2d, nn.AdaptiveAvgPool2d)) and row.input[-1] > 1 and row.output[-2:] == (1, 1)
        for row in table
    )
    return [
        *counted,
        at_least_one("global average pooling", pools, "nn.AdaptiveAvgPool2d(1)"),
        Rule(FIT, f"2 images give {shape}", shape == (2, DIGITS)),
    ]


def report(name, model, whole):
    """Print the rules of a network, all of them or the parameters' alone; returns the exit status."""
    checked = check(model) if whole else [parameter_rule(model)]
    for rule in checked:
        print(f"{'ok  ' if rule.kept else 'FAIL'}  {rule.name}: {rule.found}")
    broken = [rule.name for rule in checked if not rule.kept]
    print(
        f"{name} breaks: {', '.join(broken)}"
        if broken
        else f"{name} keeps {'all rules' if len(checked) > 1 else 'the rule'}"
    )
    return 1 if broken else 0
