"""Results: what a run leaves behind: results.json, strict JSON, replaced whole after every epoch, and history.csv.

    python results.py --recipe default [--epochs N …]     the folder of the run that train.py makes with these flags

`Result` is the content of results.json, field by field; what is read is checked against it. The verdict on a run, and
the table of all, are in verdict.py. Nothing here imports torch.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from support import UserError, cli, files, settings

import msgspec

import recipes
from recipes import Recipe

RUNS = cli.project_path("results")
RECORDS = RUNS / "records"
SCHEMA = 3
NAME_LIMIT = 120  # characters of a run's name: a file system allows 255
REMEDY = "remove it, or train again with --overwrite (make: OVERWRITE=1)"

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Interval = Annotated[list[float], msgspec.Meta(min_length=2, max_length=2)]  # low, high
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Epoch(TypedDict):
    """What an epoch came to; `lr` is that of its last step. A hold-out run has no test figures."""

    epoch: Positive
    lr: float
    train_loss: float
    train_accuracy: Percent
    val_loss: float
    val_accuracy: Percent
    test_loss: NotRequired[float]
    test_accuracy: NotRequired[Percent]
    seconds: Seconds


class Environment(TypedDict):
    """The machine that a run was trained on, and what it was trained with."""

    python: str
    torch: str
    numpy: str
    platform: str
    cpu: str
    capability: NotRequired[str]
    cores: Positive
    device: str
    threads: Positive
    processes: Positive
    precision: str
    commit: str


class Identity(TypedDict):
    """What the model is: see support/identity.py."""

    layers: str
    calls: str
    logits: list[list[float]]


class Result(TypedDict):
    """The content of results.json. A finished run has the final figures of the test images, or of its hold-out."""

    schema: int
    finished: bool
    recipe: dict[str, Any]
    identity: Identity
    classes: Annotated[list[str], msgspec.Meta(min_length=2)]
    seed: Count
    total_parameters: Count
    total_epochs: Positive | Annotated[float, msgspec.Meta(gt=0)]
    preparation_seconds: Seconds
    training_time: Seconds
    best_validation_accuracy: Percent
    final_test_accuracy: NotRequired[Percent]
    final_test_accuracy_ci95: NotRequired[Interval]
    final_test_loss: NotRequired[float]
    final_validation_accuracy: NotRequired[Percent]
    final_validation_accuracy_ci95: NotRequired[Interval]
    final_validation_loss: NotRequired[float]
    per_class_accuracy: Annotated[dict[str, Percent], msgspec.Meta(min_length=1)]
    evaluated_images: Positive
    misclassified: dict[str, str]  # {index of the image: predicted class}
    history: Annotated[list[Epoch], msgspec.Meta(min_length=1)]
    lr_finder: NotRequired[dict[str, Any]]
    environment: Environment


def find_run(text: str) -> Path:
    """The folder of the run that a person named by its path or by its name in results/."""
    path = cli.path(text)
    named = RUNS / path
    return named if not os.path.exists(path) and os.path.exists(named) else path


def results_path(run: Path | str) -> Path:
    """The results.json of a run's folder."""
    return Path(run) / "results.json"


def save(run: Path | str, result: dict[str, Any]) -> None:
    """Replace a run's results.json and history.csv whole. Raises ValueError for NaN or infinity, UserError where they
    cannot be written."""
    files.write_json(results_path(run), result)
    table = io.StringIO()
    writer = csv.DictWriter(table, result["history"][0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["history"])
    files.replace_file(Path(run) / "history.csv", table.getvalue().encode())


def remove(run: Path | str) -> None:
    """Remove a run's results.json and history.csv."""
    with files.told(run, "could not be cleared"):
        results_path(run).unlink(missing_ok=True)
        (Path(run) / "history.csv").unlink(missing_ok=True)


def load(run: Path | str) -> Result | None:
    """The results in a run's folder, or None if it has none. Raises UserError naming the file and the wrong field."""
    if not os.path.exists(results_path(run)):
        return None
    content = files.read_json(results_path(run), REMEDY)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{results_path(run)} has schema {schema!r}, this program reads schema {SCHEMA}: {REMEDY}")
    result = files.convert(content, Result, results_path(run), REMEDY)
    try:
        recipes.from_stored(result["recipe"])
    except UserError as error:
        raise UserError(f"{results_path(run)}: recipe: {error}: {REMEDY}") from error
    missing = [key for key in final_keys(result) if key not in result] if result["finished"] else []
    if missing:
        raise UserError(f"{results_path(run)} is finished but lacks {missing[0]}: {REMEDY}")
    return result


def load_finished(run: Path | str) -> Result:
    """The results of a finished run. Raises UserError where there are none."""
    result = load(run)
    if result is None:
        raise UserError(f"no results.json in {run}: make train")
    if not result["finished"]:
        raise UserError(f"{run} is not finished: make train resumes it")
    return result


def load_record(recipe: str) -> dict[str, Any]:
    """The committed record of a recipe, empty where there is none. Raises UserError for damage."""
    path = RECORDS / f"{recipe}.json"
    return files.read_json(path, "restore it, or remove it") if path.exists() else {}


def calibration(recipe: str) -> dict[str, float]:
    """{"temperature", "threshold"} of a recipe's record; where it has none, probabilities are taken as they are."""
    return {"temperature": 1.0, "threshold": -100.0} | load_record(recipe).get("calibration", {})


def final_keys(result: Result) -> tuple[str, str, str]:
    """The keys of a finished run's accuracy, its interval, and its loss."""
    part = {"val": "validation"}.get(history_part(result["recipe"]), "test")
    return f"final_{part}_accuracy", f"final_{part}_accuracy_ci95", f"final_{part}_loss"


def history_part(recipe: dict[str, Any]) -> str:
    """The part of the data, "val" or "test", whose last figures in the history are a run's final ones."""
    return "val" if recipe.get("holdout") else "test"


def final_figures(result: Result) -> tuple[str, float, list[float], float]:
    """("test" or "validation", accuracy in percent, its 95 % interval, loss) of a finished run."""
    keys = final_keys(result)
    return keys[0].split("_")[1], *(result[key] for key in keys)


def summarize(state: dict[str, Any], total_parameters: int, evaluation: Any) -> dict[str, Any]:
    """The content of results.json for a checkpoint's state and the Evaluation of its model. Without an evaluation,
    only what the state says."""
    recipe, history = state["recipe"], state["history"]
    summary = {
        "schema": SCHEMA,
        "finished": len(history) >= recipe["epochs"],
        "recipe": recipe,
        "identity": state["identity"],
        "classes": state["classes"],
        "seed": state["seed"],
        "total_parameters": total_parameters,
        "total_epochs": recipe["epochs"],
        "preparation_seconds": state["preparation_seconds"],
        "training_time": state["preparation_seconds"] + sum(entry["seconds"] for entry in history),
        "best_validation_accuracy": best_epoch(history)["val_accuracy"],
        "history": history,
        "environment": state["environment"],
    }
    if summary["finished"]:
        accuracy, interval, loss = final_keys(summary)
        part = history_part(recipe)
        summary |= {accuracy: history[-1][f"{part}_accuracy"], loss: history[-1][f"{part}_loss"]}
        if evaluation:
            summary[interval] = evaluation.accuracy_ci95
    if evaluation:
        predictions = evaluation.predictions.tolist()
        mistakes = {str(index): state["classes"][predictions[index]] for index in sorted(evaluation.misclassified)}
        summary |= {"per_class_accuracy": evaluation.per_class_accuracy, "evaluated_images": len(evaluation.labels)}
        summary["misclassified"] = mistakes
    return summary | ({"lr_finder": state["lr_finder"]} if state["lr_finder"] else {})


def best_epoch(history: list[Epoch]) -> Epoch:
    """The entry of best validation accuracy; ties go to the lower validation loss, then to the later epoch."""
    return max(history, key=lambda entry: (entry["val_accuracy"], -entry["val_loss"], entry["epoch"]))


def is_best(history: list[Epoch], threshold: float) -> bool:
    """Whether the last epoch validated best so far, and at least at the threshold, in percent."""
    return best_epoch(history) is history[-1] and history[-1]["val_accuracy"] >= threshold


def epoch_head(recipe: Recipe) -> str:
    """The head of the table whose rows are `epoch_row`s, under its legend; no line is wider than 80 characters."""
    tested = "" if recipe.holdout else f"  {'test loss':>9}  {'%':>5}"
    return (
        "train: while it learns, on images as training shows them, so often lower\n"
        f"val: {recipe.validation_images:,} training images held out; * best so far, kept as best_model.pt\n"
        f"  epoch  {'lr':>7}  train loss  {'%':>5}  val loss  {'%':>5}{tested}      s"
    )


def epoch_row(history: list[Epoch], epochs: float, threshold: float) -> str:
    """The row of the last epoch. A star marks the best validation so far, whose model is kept."""
    entry, figures = history[-1], []
    for part, width in (("train", 10), ("val", 8), ("test", 9)):
        if f"{part}_loss" in entry:
            # Fifty validation images allow no more than steps of 2 %, so no zeros are added to their accuracy.
            digits = ".4g" if part == "val" else ".2f"
            figures.append(f"{entry[f'{part}_loss']:{width}.4f}  {entry[f'{part}_accuracy']:>5{digits}}")
    number = f"{min(entry['epoch'], epochs):g}/{epochs:g}"
    star = " *" if is_best(history, threshold) else ""
    seconds = f"{entry['seconds']:.{1 if entry['seconds'] < 1000 else 0}f}"
    return f"{number:>7}  {entry['lr']:7.3g}  {'  '.join(figures)}  {seconds:>5}{star}"


def result_line(result: Result) -> str:
    """The result of a finished run in one line."""
    part, accuracy, (low, high), loss = final_figures(result)
    return (
        f"{part} accuracy {accuracy:.2f} % (95 % interval {low:.2f} to {high:.2f}), loss {loss:.4f}, "
        f"{result['training_time']:.1f} s"
    )


def all_runs(folder: Path | str = RUNS) -> list[tuple[str, Result]]:
    """[(name, results)] of a folder: tested runs, hold-out runs, unfinished ones, each best first. Warns of damage."""
    runs = []
    for file in Path(folder).glob("[!.]*/results.json"):
        try:
            runs.append((file.parent.name, load(file.parent)))
        except UserError as error:
            cli.warn(error)

    def order(run: tuple[str, Result]) -> tuple:
        name, result = run
        if not result["finished"]:
            return 2, name
        part, accuracy, _, loss = final_figures(result)
        return int(part == "validation"), -accuracy, loss, name

    return sorted(runs, key=order)


def usable_runs(folder: Path) -> Iterator[tuple[Path, Result]]:
    """(run, results) of the finished runs of a folder that still have checkpoints, in the order of `all_runs`."""
    for name, result in all_runs(folder):
        if result["finished"] and any((folder / name / "checkpoints").glob("epoch_*.pt")):
            yield folder / name, result


def best_run() -> Path:
    """The first of the usable runs in results/. Raises UserError if there is none."""
    for run, _ in usable_runs(RUNS):
        return run
    raise UserError(f"no finished run with checkpoints in {RUNS}: make train")


def run_name(recipe: Recipe, seed: int, base: Recipe | None = None) -> str:
    """The name of a run's folder, such as default-lr0.1-epochs3-seed0: the recipe, its differences from `base` (by
    default the recipe of its name), and the seed."""
    changed = recipes.differences(recipe, base) if base or recipe.name in recipes.RECIPES else {}
    if recipe.holdout:  # the images held out say it all
        changed |= {"holdout": recipe.validation_images}
        changed.pop("validation_images", None)
    if recipe.find_lr:  # so it is the range test that decides
        changed.pop("learning_rate", None)
    plain = {"dataset": recipe.dataset, "find_lr": "lrauto" if recipe.find_lr else "lrfixed"}
    short = {"learning_rate": "lr"}
    parts = [
        plain.get(name) or f"{short.get(name, name)}{settings.format_value(value)}" for name, value in changed.items()
    ]
    name = "-".join([recipe.name, *(part.replace("/", "_") for part in parts)])
    if len(name) > NAME_LIMIT:
        name = f"{name[:NAME_LIMIT]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{name}-seed{seed}"


def parse_run(parser: cli.Parser, argv: list[str] | None) -> tuple[argparse.Namespace, Recipe, int, Path]:
    """(arguments, recipe, seed, folder of the run) from the flags of a run and those that the parser already has.
    The parser reports what is wrong."""
    names = ", ".join(recipes.RECIPES)
    parser.add_data()
    parser.add_argument("--recipe", choices=recipes.RECIPES, metavar="NAME", help=f"{names} (default: default)")
    parser.add_argument("--config", type="path", help="a JSON or TOML file of fields; flags override it")
    parser.add_argument("--seed", type=int, help="of split, weights, order, augmentation and dropout (default: 0)")
    parser.add_argument("--out", type="path", help="the run's folder (default: results/<recipe>-seed<seed>)")
    settings.add_flags(parser, "fields of the recipe, where it says nothing else by default", recipes.FIELDS)
    arguments = parser.parse_args(argv)
    flags = {field.name: getattr(arguments, field.name) for field in recipes.FIELDS}
    config, source = {}, ""
    try:
        if arguments.config:
            config, source = settings.load_config(arguments.config), f"{arguments.config}: "
            config.setdefault("name", arguments.config.stem)
        base, seed = config.pop("recipe", "default"), config.pop("seed", 0)
        if isinstance(base, dict):  # a results.json, or a record
            base, config = "default", dataclasses.asdict(recipes.from_stored(base))
        recipe = recipes.get_recipe(arguments.recipe or base, **config)
        settings.validate_seed(seed)
        source, seed = "", seed if arguments.seed is None else arguments.seed
        settings.validate_seed(seed)
        changed = recipes.change(recipe, {name: value for name, value in flags.items() if value is not None})
    except (UserError, OSError) as error:
        parser.error(f"{source}{error}")
    name = run_name(changed, seed, None if recipe.name in recipes.RECIPES else recipe)
    return arguments, changed, seed, arguments.out or RUNS / name


def main(argv: list[str] | None = None) -> None:
    print(parse_run(cli.Parser(description=__doc__), argv)[-1])


if __name__ == "__main__":
    cli.run(main)
