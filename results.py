"""Results: what runs leave behind, and how they compare.

    python results.py                      every run in results/ in one table, best first
    python results.py check RUN [--minimum 99.4] [--minimum-class 98] [--maximum-loss 0.1]
                                           exit status 1 when a run is unfinished or not good enough

A run is a folder with a results.json, strict JSON, replaced whole after every epoch. Nothing here imports torch.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

from recipes import RECIPES, Recipe
from support import cli, files

RUNS = Path("results")
RECORDS = RUNS / "records"
SCHEMA = 2
ALWAYS = ("finished", "recipe", "model_repr", "classes", "seed", "total_parameters", "total_epochs", "training_time")
ALWAYS += ("per_class_accuracy", "history", "environment")


def run_dir(recipe: Recipe, seed: int) -> Path:
    """Where a run is by default: named by recipe, data set if not the recipe's own, hold-out if any, and seed."""
    own_dataset = RECIPES.get(recipe.name, Recipe()).dataset
    parts = [recipe.name, *([recipe.dataset] if recipe.dataset != own_dataset else [])]
    parts += [f"holdout{recipe.validation_images}"] if recipe.holdout else []
    return RUNS / "-".join([*parts, f"seed{seed}"])


def path(run: Path | str) -> Path:
    """The results.json of a run's folder."""
    return Path(run) / "results.json"


def write(run: Path | str, result: dict[str, Any]) -> None:
    """Replace a run's results.json whole. Raises ValueError for NaN or infinity."""
    files.write_json(path(run), result)


def read(run: Path | str) -> dict[str, Any] | None:
    """The results in a run's folder, None where it has none. Raises ValueError naming what is wrong with the file."""
    if not path(run).exists():
        return None
    remedy = "remove it, or train again with --overwrite (make: OVERWRITE=1)"
    try:
        result = json.loads(path(run).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path(run)} is not valid JSON ({error}): {remedy}") from error
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        schema = result.get("schema") if isinstance(result, dict) else None
        raise ValueError(f"{path(run)} has schema {schema}, this program reads schema {SCHEMA}: {remedy}")
    missing = [key for key in ALWAYS if result.get(key) in (None, [])]
    if not missing and result["finished"]:
        missing = [key for key in final_keys(result) if result.get(key) is None]
    if missing:
        raise ValueError(f"{path(run)} lacks {missing[0]}: {remedy}")
    return result


def final_keys(result: dict[str, Any]) -> tuple[str, str, str]:
    """The keys of a finished run's accuracy, its interval, and its loss."""
    part = "validation" if result["recipe"].get("holdout") else "test"
    return f"final_{part}_accuracy", f"final_{part}_accuracy_ci95", f"final_{part}_loss"


def final_figures(result: dict[str, Any]) -> tuple[str, float, list[float], float]:
    """("test" or "validation", accuracy in percent, its 95 % interval, loss) of a finished run."""
    keys = final_keys(result)
    return keys[0].split("_")[1], *(result[key] for key in keys)


def best_epoch(history: list[dict[str, float]]) -> dict[str, float]:
    """The entry of best validation accuracy; ties go to the lower validation loss, then to the later epoch."""
    return max(history, key=lambda entry: (entry["val_accuracy"], -entry["val_loss"], entry["epoch"]))


def is_best(history: list[dict[str, float]], threshold: float) -> bool:
    """Whether the last epoch validated best so far, and at least at the threshold, in percent."""
    return best_epoch(history) is history[-1] and history[-1]["val_accuracy"] >= threshold


def best_phrase(history: list[dict[str, float]], threshold: float) -> str:
    """Whether the model of the last epoch is kept as the best, and why or why not."""
    *earlier, last = history
    if last["val_accuracy"] < threshold:
        return f"not kept: validation below {threshold:g} %"
    if not earlier:
        return "new best: the first"
    best, (word, more, less) = best_epoch(earlier), ("new best", ">", "≤")
    if not is_best(history, threshold):
        word, more, less = "not best", "<", ">"
    if last["val_accuracy"] != best["val_accuracy"]:
        return f"{word}: {last['val_accuracy']:.4g} {more} {best['val_accuracy']:.4g} %"
    return f"{word}: loss {last['val_loss']:.3g} {less} {best['val_loss']:.3g}"


def epoch_line(history: list[dict[str, float]], epochs: int, threshold: float) -> str:
    """The last of so many epochs in one line, and whether its model is kept as the best."""
    entry = history[-1]
    # Fifty validation images allow no more than steps of 2 %, so no zeros are added to their accuracy.
    parts = {"train": ("train loss", ".2f"), "val": ("validation", ".4g"), "test": ("test", ".2f")}
    figures = [
        f"{name} {entry[f'{part}_loss']:.4f} {entry[f'{part}_accuracy']:{form}} %"
        for part, (name, form) in parts.items()
        if f"{part}_loss" in entry
    ]
    number = f"epoch {entry['epoch']:>{len(str(epochs))}}/{epochs}"
    return "  ".join(
        [number, f"lr {entry['lr']:.4f}", *figures, f"{entry['seconds']:.1f} s", best_phrase(history, threshold)]
    )


def result_line(result: dict[str, Any], run: Path | str) -> str:
    """The result of a finished run in one line."""
    part, accuracy, (low, high), loss = final_figures(result)
    return (
        f"{part} accuracy {accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f}), loss {loss:.4f}, "
        f"{result['total_parameters']:,} parameters, {result['total_epochs']} epochs, "
        f"{result['training_time']:.1f} s of training: {path(run)}"
    )


def check_same(run: Path | str, recipe: dict[str, Any], model_repr: str, seed: int, saved: dict[str, Any]) -> None:
    """Raise ValueError when `saved`, results or a checkpoint, is of another recipe, model or seed, naming the first."""
    wanted = {"seed": seed, **recipe}
    for name, there in {"seed": saved["seed"], **{name: saved["recipe"].get(name) for name in recipe}}.items():
        if there != wanted[name]:
            raise ValueError(
                f"{run} holds a run with {name} {there}, this one has {wanted[name]}: "
                "use another folder, --out (make: OUT=), or replace that run, --overwrite (make: OVERWRITE=1)"
            )
    if saved["model_repr"] != model_repr:
        raise ValueError(
            f"{run} holds a run of another model: {recipe['architecture']!r} has changed in model.py since. "
            "Replace that run with --overwrite (make: OVERWRITE=1)"
        )


def all_runs(folder: Path | str = RUNS) -> list[tuple[str, dict[str, Any]]]:
    """[(name, results)] of a folder: tested runs, hold-out runs, unfinished ones, each best first. Warns of damage."""
    runs = []
    for file in Path(folder).glob("[!.]*/results.json"):
        try:
            runs.append((file.parent.name, read(file.parent)))
        except (ValueError, OSError) as error:
            cli.warn(error)

    def order(run: tuple[str, dict[str, Any]]) -> tuple:
        name, result = run
        if not result["finished"]:
            return 2, name
        part, accuracy, _, loss = final_figures(result)
        return int(part == "validation"), -accuracy, loss, name

    return sorted(runs, key=order)


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = [f"{'-' * (width + 1)}{':' if column else '-'}" for column, width in enumerate(widths)]
    return "\n".join([line(head), f"|{'|'.join(rule)}|", *map(line, rows)])


def format_runs(runs: list[tuple[str, dict[str, Any]]]) -> str:
    """The table of runs."""
    rows = []
    for name, result in runs:
        outcome = [f"unfinished, epoch {len(result['history'])}", "", "", ""]
        if result["finished"]:
            part, accuracy, (low, high), loss = final_figures(result)
            measured_on = "test" if part == "test" else f"hold-out, {result['recipe']['validation_images']:,}"
            outcome = [measured_on, f"{accuracy:.2f}", f"{low:.2f} to {high:.2f}", f"{loss:.4f}"]
        counts = [f"{result['total_parameters']:,}", str(result["total_epochs"]), f"{result['training_time']:.1f}"]
        rows.append([name, *counts, *outcome])
    head = ["run", "parameters", "epochs", "seconds", "measured on", "accuracy %", "95 % interval", "loss"]
    return markdown_table(head, rows)


def min_smoothed_loss(label_smoothing: float, num_classes: int) -> float:
    """The lowest cross-entropy that label smoothing allows: the entropy of its targets."""
    other = label_smoothing / num_classes
    targets = [1 - label_smoothing + other, *[other] * (num_classes - 1)]
    return -sum(share * math.log(share) for share in targets if share)


def checks(result: dict[str, Any], minimum: float, minimum_class: float, maximum_loss: float) -> list[tuple[str, bool]]:
    """[(what was measured, whether it is good enough)]; the loss counts from the lowest that label smoothing allows."""
    part, accuracy, _, _ = final_figures(result)
    worst = min(result["per_class_accuracy"], key=result["per_class_accuracy"].get)
    floor = min_smoothed_loss(result["recipe"]["label_smoothing"], len(result["classes"]))
    loss = result["history"][-1]["train_loss"] - floor
    numbers = [value for entry in result["history"] for value in entry.values()]
    all_finite = all(map(math.isfinite, numbers))

    def at_least(name: str, value: float, bound: float) -> tuple[str, bool]:
        return f"{name} {value:.2f} % {'≥' if value >= bound else '<'} {bound:g} %", value >= bound

    return [
        at_least("test accuracy", accuracy, minimum)
        if part == "test"
        else ("a hold-out run has no test accuracy: make train without HOLDOUT", False),
        at_least(f"lowest accuracy of a class, {worst}:", result["per_class_accuracy"][worst], minimum_class),
        (
            f"final training loss {loss:.4f} {'<' if loss < maximum_loss else '≥'} {maximum_loss:g}"
            + (f", above {floor:.4f}, the lowest that label smoothing allows" if floor else ""),
            loss < maximum_loss,
        ),
        (f"history of {len(numbers)} numbers, {'' if all_finite else 'not '}all finite", all_finite),
    ]


def check(run: Path | str, *bounds: float) -> tuple[list[str], int]:
    """The lines on whether a run is finished and good enough, and the exit status; bounds are those of `checks`."""
    result = read(run)
    if result is None or not result["finished"]:
        return [f"FAIL  {run} holds no finished run: make train"], 1
    outcomes = checks(result, *bounds)
    lines = [f"{'ok  ' if passed else 'FAIL'}  {run}: {text}" for text, passed in outcomes]
    return lines, 0 if all(passed for _, passed in outcomes) else 1


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="Compare runs.")
    commands = parser.add_subparsers(dest="command", parser_class=cli.Parser)
    checking = commands.add_parser("check", help="exit status 1 when a run is not good enough")
    checking.add_argument("run", help="the run's folder")
    checking.add_argument("--minimum", type=float, default=99.4, help="percent of all images (default: 99.4)")
    checking.add_argument("--minimum-class", type=float, default=98.0, help="percent of any class (default: 98)")
    checking.add_argument("--maximum-loss", type=float, default=0.1, help="of the last training epoch (default: 0.1)")
    arguments = parser.parse_args(argv)
    if arguments.command == "check":
        lines, status = check(arguments.run, arguments.minimum, arguments.minimum_class, arguments.maximum_loss)
        print("\n".join(lines))
        return status
    runs = all_runs()
    print(format_runs(runs) if runs else f"no runs in {RUNS} yet: make train")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
