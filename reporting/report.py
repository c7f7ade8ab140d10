"""The report of a run: one HTML file with its result, plots, model, settings and machine; it opens offline.

    python -m reporting.report results/default-seed0 [--data data] [--device auto]

writes report.html into the run's folder. Every plot is in it twice, for light and for dark screens.
"""

import dataclasses
import math
import sys
from typing import Any

from support import UserError, cli, devices, files

import numpy as np
import torch

import checkpoint
import data
import recipes
import results
import verdict
from evaluate import Evaluation, evaluate, format_mistake, load_images
from recipes import Recipe
from reporting import plots, samples
from reporting.model_summary import layer_table
from reporting.pages import page, picture
from trainer import build_scheduler

RANDOM = 36  # predictions that are shown
COLUMNS = 6  # of images, to be read on a phone


def lr_curve(recipe: Recipe, steps_per_epoch: int) -> list[float]:
    """The learning rate at every step of a training; the recipe's schedule must not be plateau."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], recipe.learning_rate, recipe.momentum)
    scheduler, lrs = build_scheduler(recipe, optimizer, steps_per_epoch), []
    for _ in range(recipe.epochs * steps_per_epoch):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


def lr_so_far(result: dict[str, Any], recipe: Recipe, training_images: int) -> tuple[list[float], int]:
    """(learning rates, how many per epoch) of a run so far: of every step, or of every epoch of a plateau."""
    if recipe.schedule == "plateau":
        return [entry["lr"] for entry in result["history"]], 1
    peak = result.get("lr_finder", {}).get("lr", recipe.learning_rate)
    steps = math.ceil(training_images / recipe.batch_size)
    return lr_curve(dataclasses.replace(recipe, learning_rate=peak), steps)[: steps * len(result["history"])], steps


def random_predictions(evaluation: Evaluation, images: data.Images) -> tuple[np.ndarray, list[str], int]:
    """Images drawn at random, with what they are taken for, for a grid; wrong ones are marked."""
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:RANDOM].tolist()
    wrong, captions = set(evaluation.misclassified), []
    for index in drawn:
        mistake = evaluation.mistake(index)
        right = f"{mistake['predicted']}  {100 * mistake['confidence']:.0f} %"
        captions.append(f"{format_mistake(mistake)}!" if index in wrong else right)
    return images.pixels[drawn, 0].cpu().numpy() / 255, captions, COLUMNS


def mistakes(evaluation: Evaluation, images: data.Images) -> tuple[np.ndarray, list[str], int]:
    """The misclassified images, at most plots.SHOWN, and what each was taken for, for a grid."""
    shown = evaluation.misclassified[: plots.SHOWN]
    captions = [format_mistake(evaluation.mistake(index)) for index in shown]
    return images.pixels[shown, 0].cpu().numpy() / 255, captions, COLUMNS


def curves(result: dict[str, Any], recipe: Recipe, evaluation: Evaluation, training_images: int) -> list[dict]:
    """The plots of a run of so many training images, and of what it came to."""
    floor = verdict.min_smoothed_loss(recipe.label_smoothing, len(evaluation.classes))
    smoothing = f" That of training includes label smoothing: {floor:.4f} is its lowest." if floor else ""
    return [
        picture("Accuracy over the epochs, on an axis of errors.", plots.accuracy, result["history"]),
        picture(f"Loss over the epochs.{smoothing}", plots.loss, result["history"]),
        picture("Learning rate.", plots.learning_rate, *lr_so_far(result, recipe, training_images)),
        picture("Accuracy of each class.", plots.per_class, evaluation.per_class_accuracy),
        picture(
            "Confusion: true classes in rows, errors in red.",
            *(plots.confusion, evaluation.confusion.tolist(), list(evaluation.classes)),
        ),
    ]


def grids(
    result: dict[str, Any], recipe: Recipe, evaluation: Evaluation, training: data.Images, tested: data.Images
) -> list[dict]:
    """The plots that show images: every mistake, random predictions, augmented ones."""
    count = len(evaluation.misclassified)
    some = f" (here {plots.SHOWN})" if count > plots.SHOWN else ""
    caption = f"{count} misclassified images, the most confident first{some}: true→predicted, confidence."
    seen = samples.augmented(training, len(evaluation.classes), recipe, result["seed"])
    return [
        picture(caption, plots.image_grid, *mistakes(evaluation, tested)),
        picture(f"{RANDOM} images drawn at random.", plots.image_grid, *random_predictions(evaluation, tested)),
        picture("Training images as they are, and as the model sees them.", plots.image_grid, *seen),
    ]


def render(
    result: results.Result,
    rules: list[verdict.Rule],
    model: torch.nn.Module,
    epoch: int,
    evaluation: Evaluation,
    training: data.Images,
    tested: data.Images,
) -> str:
    """The report as HTML, for a deployable model. Raises UserError for results of a recipe with unknown fields."""
    recipe = recipes.change(recipes.Recipe(), result["recipe"])
    return page("report.html.jinja").render(
        result=result,
        rules=rules,
        epoch=epoch,
        evaluation=evaluation,
        confidence=evaluation.confidences.mean().item(),
        worst=min(evaluation.per_class_accuracy, key=evaluation.per_class_accuracy.get),
        part="held-out" if recipe.holdout else "test",
        curves=curves(result, recipe, evaluation, len(training)),
        grids=grids(result, recipe, evaluation, training, tested),
        layer_table=layer_table(model, data.get_dataset(recipe.dataset).input_shape),
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
    path = run_dir / "report.html"
    files.replace_file(path, render(result, rules, model, state["epoch"], evaluation, training, tested).encode())
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
