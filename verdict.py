"""The verdict on a run: is it what this project asks for, and is what results.json says true?

    python verdict.py                   every run in results/ in one table, best first
    python verdict.py RUN [--minimum 99.4] [--minimum-class 98] [--maximum-loss 0.1]
                                        rule by rule; exit status 1 when one is broken

Fewer than 20,000 parameters, counted in the checkpoint; fewer than 20 epochs; at least 99.4 % of MNIST's test images
and 98 % of those of any class, the checkpoint evaluated again where the images are there; BatchNorm, dropout and global
average pooling that run when the model does; and a results.json that says what the checkpoint says.
"""

import argparse
import copy
import dataclasses
import math
import reprlib
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, identity
from support.identity import Call
from support.rule import Rule, at_least, below, format_rules, mark
from support.settings import format_value
from support.table import terminal_table

import torch
from torch import nn

import checkpoint
import data
import recipes
import results
from evaluate import Evaluation, evaluate_run, load_tested
from model import build, count_parameters
from recipes import Recipe
from results import Result

PARAMETER_LIMIT = 20_000
EPOCH_LIMIT = 20
AVERAGES = ("avg_pool2d", "adaptive_avg_pool2d", "mean")
TOLERANCE = 2  # images whose class another machine's arithmetic may change


def build_model(recipe: Recipe) -> nn.Module:
    """The recipe's model, with fresh weights."""
    return build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))


def averaged_places(call: Call) -> int:
    """The places of a map, [N, C, H, W] or [N, C, H * W], that a call averages over: all of them, or 0."""
    if call.function not in AVERAGES or len(call.input) < 3:
        return 0
    images, channels, *places = call.input
    return math.prod(places) if math.prod(call.output) == images * channels else 0


def model_rules(model: nn.Module, dataset: data.Dataset) -> list[Rule]:
    """The rules for a model, except those for its size. What counts is what it calls when it runs, in a layer or in
    its own code."""
    shape, num_classes = dataset.input_shape, len(dataset.classes)
    model = copy.deepcopy(model)  # whose statistics move
    images = torch.zeros(2, *shape, device=next(model.parameters()).device)
    calls = identity.trace(model.train(), images)
    averaged = [averaged_places(call) for call in calls]
    remedy = "maps have one pixel before it: leave them larger" if 1 in averaged else "add nn.AdaptiveAvgPool2d(1)"
    counts = {
        "BatchNorm": (sum("batch_norm" in call.function for call in calls), "add nn.BatchNorm2d"),
        "dropout": (sum(call.drops for call in calls), "add nn.Dropout"),
        "global average pooling": (sum(count > 1 for count in averaged), remedy),
    }
    rules = [
        Rule(name, f"runs {count} time{'s' * (count > 1)}" if count else f"never runs; {remedy}", count > 0)
        for name, (count, remedy) in counts.items()
    ]
    output = calls[-1].output if calls else ()
    fit = Rule(
        "shapes", f"{'×'.join(map(str, shape))} in, {'×'.join(map(str, output[1:]))} out", output == (2, num_classes)
    )
    return [*rules, fit]


def kept(rules: list[Rule]) -> Rule:
    """The rules for a model, summed up as one."""
    broken = [f"{rule.name} {rule.measured}" for rule in rules if not rule.passed]
    names = ", ".join(rule.name for rule in rules)
    return Rule("rules", "; ".join(broken) if broken else names, not broken)


def differences(result: Result, expected: dict[str, Any]) -> list[str]:
    """The fields in which results.json differs from what the checkpoint says."""
    wrong = [
        f"{key} is {reprlib.repr(result.get(key))}, by the checkpoint {reprlib.repr(found)}"
        for key, found in expected.items()
        if not agree(key, result.get(key), found)
    ]
    known = results.final_keys(result) if result["finished"] else ()
    return wrong + [f"{key} is none of its figures" for key in result if key.startswith("final_") and key not in known]


def agree(key: str, said: Any, found: Any) -> bool:
    """Whether a field of results.json agrees with the checkpoint. Evaluated figures may differ by what another
    machine computes."""
    if key == "misclassified" and said is not None:
        return len(said.items() ^ found.items()) <= 2 * TOLERANCE
    if key == "per_class_accuracy" and said is not None:
        return said.keys() == found.keys() and all(abs(said[name] - found[name]) < 1 for name in said)
    if key.endswith("_ci95") and said is not None:
        return all(math.isclose(one, other, abs_tol=0.05) for one, other in zip(said, found, strict=True))
    return said == found


def check_same(run_dir: Path, recipe: Recipe, model_identity: dict[str, Any], seed: int, saved: dict[str, Any]) -> None:
    """Raise UserError, naming the first difference, when `saved` (results or a checkpoint) has another recipe, model
    (by its identity) or seed."""
    wanted = {"seed": seed, **dataclasses.asdict(recipe)}
    there = {"seed": saved["seed"], **dataclasses.asdict(recipes.from_stored(saved["recipe"]))}
    there |= {name: saved["environment"][name] for name in ("precision",) if name in saved["environment"]}
    for name in wanted:
        if there[name] != wanted[name]:
            more = ", on which its learning rates depend, so that it cannot go on" * (name == "epochs")
            raise UserError(
                f"{run_dir} holds a run with {name} {there[name]}{more}, this one has {wanted[name]}: "
                "use another folder, --out (make: OUT=), or replace that run, --overwrite (make: OVERWRITE=1)"
            )
    if not identity.is_same(model_identity, saved["identity"]):
        raise UserError(
            f"{run_dir} holds a run of another model: {recipe.architecture!r} has changed in model.py since. "
            "Replace that run with --overwrite (make: OVERWRITE=1)"
        )


def judge(
    run: Path | str,
    data_dir: Path | str | None = None,
    device: torch.device | str = "cpu",
    evaluation: Evaluation | None = None,
    **bounds: float,
) -> list[Rule]:
    """The verdict on a run, whose checkpoint is evaluated again if its images are in `data_dir`, or by an `evaluation`
    just made of it. `bounds` are other ones than the data set's, by its names of them; its bound for the training loss
    holds where all images are shown.

    Raises UserError if there is no run or one of its files is damaged."""
    result = results.load(run)
    if result is None:
        raise UserError(f"{run} holds no run: make train")
    try:
        model, state = checkpoint.load_model(run, device)
    except UserError as error:
        return [Rule("weights", str(error), False)]
    dataset = dataclasses.replace(data.get_dataset(state["recipe"]["dataset"]), **bounds)
    evaluation = evaluation or evaluate_again(model, state, data_dir, device)
    count, epochs, total = count_parameters(model), len(state["history"]), state["recipe"]["epochs"]
    wrong = differences(result, results.summarize(state, count, evaluation))
    if evaluation:
        in_history = state["history"][-1][f"{results.history_part(state['recipe'])}_accuracy"]
        images = abs(evaluation.accuracy - in_history) / 100 * len(evaluation.labels)
        if round(images) > TOLERANCE:
            wrong.append(f"the history ends otherwise than with {evaluation.accuracy:.2f} %, which the weights reach")
    rules = [
        below("parameters", count, PARAMETER_LIMIT),
        below("epochs", total, EPOCH_LIMIT) if epochs >= total else Rule("epochs", f"{epochs} of {total}", False),
        *accuracy_rules(result, evaluation, dataset.minimum_accuracy),
        kept(model_rules(model, dataset)),
    ]
    if dataset.minimum_class is not None:
        accuracies = result["per_class_accuracy"]
        worst = min(accuracies, key=accuracies.get)
        rules.append(at_least(f"worst class, {worst}", accuracies[worst], dataset.minimum_class))
    if dataset.maximum_loss is not None and ("maximum_loss" in bounds or state["recipe"]["keep"] == 1):
        rules.append(loss_rule(result, dataset.maximum_loss))
    agrees = Rule("results.json", "; ".join(wrong) or "says what the checkpoint says", not wrong)
    return [*rules, agrees]


def evaluate_again(
    model: nn.Module, state: dict[str, Any], data_dir: Path | str | None, device: Any
) -> Evaluation | None:
    """The evaluation of a run's model, or None if its images are not there; nothing is fetched."""
    if data_dir is None:
        return None
    part = "train" if state["recipe"]["holdout"] else "test"
    states = data.state(data.get_dataset(state["recipe"]["dataset"]), data_dir)
    if any(states[name] != "verified" for name in data.FILES[part]):
        return None
    return evaluate_run(model, state, load_tested(state, data_dir, device))


def accuracy_rules(result: Result, evaluation: Evaluation | None, bound: float | None) -> list[Rule]:
    """The rule for the accuracy of a finished run, as a list; empty for an unfinished one."""
    if not result["finished"]:
        return []
    (part, accuracy, _, _), how = results.final_figures(result), ", not evaluated again"
    if evaluation:
        accuracy, how = evaluation.accuracy, f", {len(evaluation.labels):,} images evaluated again"
    if part == "validation":
        return [Rule("accuracy", f"{accuracy:.2f} % of a hold-out, no test accuracy: train without HOLDOUT", False)]
    if bound is None:
        return [Rule("accuracy", f"{accuracy:.2f} %{how}, of which nothing is asked", True)]
    return [at_least("accuracy", accuracy, bound, how)]


def min_smoothed_loss(label_smoothing: float, num_classes: int) -> float:
    """The lowest cross-entropy that label smoothing allows: the entropy of its targets."""
    other = label_smoothing / num_classes
    targets = [1 - label_smoothing + other, *[other] * (num_classes - 1)]
    return -sum(share * math.log(share) for share in targets if share)


def loss_rule(result: Result, bound: float) -> Rule:
    """The rule for the last epoch's training loss above the lowest that label smoothing allows."""
    floor = min_smoothed_loss(result["recipe"].get("label_smoothing", 0.0), len(result["classes"]))
    loss = result["history"][-1]["train_loss"] - floor
    more = f", above the {floor:.4f} of label smoothing" if floor else ""
    return Rule("training loss", f"{loss:.4f} {'<' if loss < bound else '≥'} {bound:g}{more}", loss < bound)


def format_runs(runs: list[tuple[str, Result]]) -> str:
    """The table of runs, each with its verdict and what differs from its recipe."""
    rows = []
    for name, result in runs:
        outcome = [f"epoch {len(result['history'])}", "", ""]
        if result["finished"]:
            part, accuracy, (low, high), _ = results.final_figures(result)
            on = "test" if part == "test" else f"hold-out {result['recipe']['validation_images']:,}"
            outcome = [on, f"{accuracy:.2f}", f"{low:.2f} to {high:.2f}"]
        changed = recipes.differences(recipes.from_stored(result["recipe"]))
        differing = ", ".join(f"{field} {format_value(value)}" for field, value in changed.items())
        counts = [f"{result['total_parameters']:,}", str(result["total_epochs"]), f"{result['training_time']:.1f}"]
        broken = [rule.name for rule in judge(results.RUNS / name) if not rule.passed]
        rows.append([name, f"{mark(not broken)} {', '.join(broken)}".strip(), *counts, *outcome, differing])
    head = ["run", "verdict", "parameters", "epochs", "seconds", "measured on", "accuracy %"]
    least = "95 % interval", "differs in", "seconds", "measured on"
    return terminal_table([*head, "95 % interval", "differs in"], rows, least)


def add_bounds(parser: cli.Parser) -> None:
    """Let a parser take other bounds than those of a data set."""
    parser.add_argument(
        "--minimum", dest="minimum_accuracy", type=float, help="percent of all images (default: 99.4 for mnist)"
    )
    parser.add_argument("--minimum-class", type=float, help="percent of any class (default: 98 for mnist)")
    parser.add_argument(
        "--maximum-loss", type=float, help="of the last epoch (default: 0.1 for mnist where it shows all images)"
    )


def given_bounds(arguments: argparse.Namespace) -> dict[str, float]:
    """The bounds that the command line gave, by the data set's names of them."""
    return {name: value for name, value in vars(arguments).items() if name[:3] in ("min", "max") and value is not None}


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", nargs="?", type=results.find_run, help="the run's folder, or its name in results/")
    add_bounds(parser)
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    if arguments.run:
        device = devices.prepare(arguments.device)
        rules = judge(arguments.run, arguments.data, device, **given_bounds(arguments))
        print(format_rules(rules))
        return 0 if all(rule.passed for rule in rules) else 1
    runs = results.all_runs()
    print(format_runs(runs) if runs else f"no runs in {results.RUNS} yet: make train")
    return 0


if __name__ == "__main__":
    cli.run(main)
