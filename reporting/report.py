"""The report of a run: one HTML file with its result, plots, model, settings and machine; it opens offline.

    python -m reporting.report results/default-seed0 [--data data] [--device auto]

writes report.html into the run's folder: under 300 kB, however many mistakes there are. Dark screens get the same
page in other colours; without its script, only the choice among the mistakes is missing.
"""

import dataclasses
import datetime
import sys
from typing import Any

from support import UserError, cli, devices, files

import torch

import checkpoint
import data
import recipes
import results
import verdict
from evaluate import Evaluation, evaluate, load_images
from recipes import Recipe
from reporting import commands, hardest, mistakes, plots, samples
from reporting.model_summary import layer_table
from reporting.pages import page, picture
from reporting.sprites import Sprite, sprite
from trainer import build_scheduler

RANDOM = 36  # predictions that are shown


def lr_curve(recipe: Recipe, images: int) -> list[float]:
    """The learning rate at every step of a training on so many images; the recipe's schedule must not be plateau."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], recipe.learning_rate, recipe.momentum)
    scheduler, lrs = build_scheduler(recipe, optimizer, images), []
    for _ in range(recipe.steps(images)[1]):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


def lr_so_far(result: dict[str, Any], recipe: Recipe, training_images: int) -> tuple[list[float], int]:
    """(learning rates, how many per epoch) of a run so far: of every step, or of every epoch of a plateau."""
    if recipe.schedule == "plateau":
        return [entry["lr"] for entry in result["history"]], 1
    peak = result.get("lr_finder", {}).get("lr", recipe.learning_rate)
    steps, _ = recipe.steps(training_images)
    lrs = lr_curve(dataclasses.replace(recipe, learning_rate=peak), training_images)
    return lrs[: steps * len(result["history"])], steps


def curves(result: dict[str, Any], recipe: Recipe, training_images: int, num_classes: int) -> list[dict[str, str]]:
    """The plots of how a run of so many training images went."""
    floor, loss = verdict.min_smoothed_loss(recipe.label_smoothing, num_classes), plots.loss
    caption = "Loss over the epochs."
    if floor:
        loss = plots.smoothed_loss
        caption += f" That of training includes label smoothing, {floor:.4f} at the least: it has an axis of its own."
    return [
        picture("Accuracy over the epochs, on an axis of errors.", plots.accuracy, result["history"]),
        picture(caption, loss, result["history"]),
        picture("Learning rate.", plots.learning_rate, *lr_so_far(result, recipe, training_images)),
    ]


def draw_random(count: int) -> list[int]:
    """The indices of images, of so many, whose predictions are shown."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:RANDOM].tolist()


def tiles(images: data.Images, indices: list[int]) -> Sprite:
    """Some of the images, for the page."""
    return sprite(images.pixels[indices, 0].cpu().numpy() / 255)


def augmented(training: data.Images, num_classes: int, recipe: Recipe, seed: int) -> Sprite:
    """A training image of each class, and how the model sees it."""
    images, _, columns = samples.augmented(training, num_classes, recipe, seed)
    return sprite(images, columns)


def settings(recipe: Recipe) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, value) of the recipe's settings: those that are not Recipe's own defaults, and the others."""
    changed = ["name", "architecture", *recipes.differences(recipe, Recipe())]
    rows = {name: recipes.shown(value) for name, value in dataclasses.asdict(recipe).items()}
    return (
        [(name, value) for name, value in rows.items() if name in changed],
        [(name, value) for name, value in rows.items() if name not in changed],
    )


def range_test(result: results.Result) -> list[tuple[str, str]]:
    """(name, value) of the range test that picked the learning rate; none where there was none."""
    if "lr_finder" not in result:
        return []
    test = result["lr_finder"]
    found = {"trained at, instead of learning_rate": test["lr"], **test["suggestions"]}
    found |= {"steps": test["steps"], "seconds": test["seconds"]}
    return [(name, recipes.shown(value)) for name, value in found.items()]


def render(
    result: results.Result,
    trained: datetime.datetime,
    rules: list[verdict.Rule],
    model: torch.nn.Module,
    epoch: int,
    evaluation: Evaluation,
    training: data.Images,
    tested: data.Images,
    selection: dict[str, torch.Tensor],
) -> str:
    """The report as HTML, for a deployable model and what its checkpoint keeps of a Selection. Raises UserError for
    results of a recipe with unknown fields."""
    recipe = recipes.change(Recipe(), result["recipe"])
    classes, drawn, listed = evaluation.classes, draw_random(len(tested)), mistakes.listed(evaluation)
    hard = hardest.listed(selection)
    return page("report.html.jinja").render(
        result=result,
        recipe=recipe,
        trained=trained,
        named=recipes.RECIPES,
        command=commands.train(recipe, result["seed"], result["environment"]["processes"]),
        rules=rules,
        epoch=epoch,
        evaluation=evaluation,
        curves=curves(result, recipe, len(training), len(classes)),
        confusion=mistakes.confusion(evaluation),
        per_class=picture(
            "Accuracy of each class, with its 95 % interval.", plots.per_class, evaluation.confusion.tolist(), classes
        ),
        mistakes=listed,
        mistake_images=tiles(tested, [mistake["index"] for mistake in listed]),
        random=[evaluation.mistake(index) for index in drawn],
        random_images=tiles(tested, drawn),
        hardest=hardest.describe(hard, selection, training, classes),
        hardest_images=tiles(training, hard),
        shown=hardest.shown(selection),
        augmented=augmented(training, len(classes), recipe, result["seed"]),
        layer_table=layer_table(model, data.get_dataset(recipe.dataset).input_shape),
        settings=settings(recipe),
        range_test=range_test(result),
    )


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="Write the report of a run.")
    parser.add_argument("run", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_data()
    parser.add_device()
    arguments = parser.parse_args(argv)
    device = devices.resolve_device(arguments.device)
    devices.prepare()
    run_dir, _ = checkpoint.locate(arguments.run)
    model, state = checkpoint.load_model(run_dir, device)
    result = results.read(run_dir)
    if result is None:
        raise UserError(f"no results.json in {run_dir}: make train")
    training, tested = load_images(state, arguments.data, device)
    evaluation = evaluate(model, tested, tuple(state["classes"]))
    rules = verdict.check(run_dir, arguments.data, device)
    trained = datetime.datetime.fromtimestamp(results.path(run_dir).stat().st_mtime, datetime.UTC)
    path = run_dir / "report.html"
    text = render(result, trained, rules, model, state["epoch"], evaluation, training, tested, state["selection"])
    files.replace_file(path, text.encode())
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
