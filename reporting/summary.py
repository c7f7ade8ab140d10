"""A run as Markdown, for the summary of a CI job: verdict, the difference to an earlier run, curves, worst mistakes.

python -m reporting.summary default-seed0 [--base main/results.json] [--data data]
"""

import math
from pathlib import Path
from typing import Any

from support import UserError, cli
from support.rule import mark
from support.table import markdown_table

import torch

import checkpoint
import evaluate
import recipes
import results
import verdict
from evaluate import Evaluation
from reporting import compare, plots
from results import Result

BLOCKS = " ▄▀█"  # of two pixels, one above the other: neither, the lower, the upper, both


def difference(result: Result, base: Path) -> str:
    """The difference to an earlier run in a line; why there is none, where it cannot be told."""
    try:
        compared = compare.comparison(["the earlier run", "this run"], results.load_finished(base), result)
    except UserError as error:
        return f"No difference to {base} can be told: {error}."
    return f"Since {base}: {compared['verdict']}."


def chart(result: Result) -> list[str]:
    """The accuracy over the epochs as a diagram in Mermaid, which GitHub draws."""
    curves = plots.part_lines(result["history"], "accuracy", "train", results.history_part(result["recipe"]))
    return [
        "```mermaid",
        f'---\nconfig: {{themeVariables: {{xyChart: {{plotColorPalette: "{plots.GREY}, {plots.BLUE}"}}}}}}\n---',
        'xychart-beta\n  title "{} (grey), {} (blue)"'.format(*curves),
        f"  x-axis epoch 1 --> {len(result['history'])}",
        f'  y-axis "accuracy %" {math.floor(min(map(min, curves.values())))} --> 100',
        *(f"  line {[round(value, 2) for value in curve]}" for curve in curves.values()),
        "```",
    ]


def evaluated(run: Path, data_dir: Path) -> tuple[dict[str, Any], Evaluation | None]:
    """(the checkpoint's state, its evaluation); no evaluation where the weights or the images are not there."""
    try:
        model, state = checkpoint.load_model(run)
    except UserError:  # of which the verdict tells
        return {}, None
    return state, verdict.evaluate_again(model, state, data_dir, "cpu")


def mistakes(state: dict[str, Any], evaluation: Evaluation | None, data_dir: Path) -> list[str]:
    """The five most confident mistakes in block characters; none without an evaluation."""
    if not evaluation or not evaluation.misclassified:
        return []
    worst = evaluation.misclassified[:5]
    ink = evaluate.load_tested(state, data_dir, "cpu").pixels[worst, 0] >= 96  # of 255
    ink = torch.nn.functional.pad(ink[:, :, ink.any(1).any(0)], (0, 0, 0, ink.shape[1] % 2)).int()
    columns = []
    for index, pairs in zip(worst, (2 * ink[:, ::2] + ink[:, 1::2]).tolist(), strict=True):
        image = ["".join(BLOCKS[pair] for pair in row) for row in pairs]
        lines = [evaluate.format_mistake(evaluation.mistake(index)), *image]
        columns.append([line.ljust(max(map(len, lines))) for line in lines])
    lines = ["   ".join(row).rstrip() for row in zip(*columns, strict=True)]
    return ["\nThe most confident mistakes, true→predicted:\n```", *lines, "```"]


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_argument("--base", type=results.find_run, help="the folder of an earlier run, or its results.json")
    parser.add_data()
    arguments = parser.parse_args(argv)
    run, base = arguments.run, arguments.base
    result = results.load_finished(run)
    state, evaluation = evaluated(run, arguments.data)
    judged = verdict.judge(run, arguments.data, evaluation=evaluation)
    rules = [[mark(rule.passed), rule.name, rule.measured] for rule in judged]
    recipe = recipes.from_stored(result["recipe"])
    history = [result["history"][: epoch + 1] for epoch in range(len(result["history"]))]  # so far, at each epoch
    parts = [
        f"### {run.name}: {results.result_line(result)}",
        "",
        markdown_table(["", "", ""], rules),
        *(["", difference(result, base.parent if base.is_file() else base)] if base else []),
        *(["", *chart(result)] if len(history) > 1 else []),
        *mistakes(state, evaluation, arguments.data),
        "\n<details><summary>history</summary>\n\n```",
        results.epoch_head(recipe),
        *(results.epoch_row(so_far, recipe.epochs, recipe.best_threshold) for so_far in history),
        "```\n\n</details>",
    ]
    print("\n".join(parts))


if __name__ == "__main__":
    cli.run(main)
