"""Plots: each a function that draws plain values as a figure.

    python -m reporting.plots results/default-seed0 [--data data]

draws the evaluation.json of a run's folder: per_class.png, confusion.png and misclassified.png.
"""

import math
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support import UserError, cli, files

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import checkpoint
import results
from evaluate import Summary, format_mistake, load_tested
from reporting import classes, drawing
from reporting.axes import canvas, error_of, mark_error_axis, mark_log_axis
from reporting.drawing import BLUE, GREEN, GREY, RED

REMEDY = "make evaluate writes it again"
SHOWN = 200  # images in a grid, at most
SMALL = 5, 3.4  # inches
LINE = 36  # characters of a legend
PARTS = {"train": ("train", GREY), "val": ("validation", GREEN), "test": ("test", BLUE)}  # names and colours


def save(path: Path | str, plot: Callable[..., Figure], *content: Any) -> None:
    """Draw a plot into a PNG file, replaced whole."""
    files.replace_file(path, drawing.png(plot, *content))


def range_test(curve: dict[str, list[float]], suggestions: dict[str, float]) -> Figure:
    """A range test: the loss over the learning rate, and what each rule suggests."""
    figure, axes = canvas(7, 4)
    axes.plot(curve["lrs"], curve["losses"], color=GREY, linewidth=0.8, label="loss of a batch")
    axes.plot(curve["lrs"], curve["smoothed"], color=BLUE, linewidth=2, label="smoothed")
    for (rule, lr), mark in zip(suggestions.items(), "osD", strict=True):
        loss = float(np.interp(lr, curve["lrs"], curve["smoothed"]))
        label = f"{rule.replace('_', ' ')}: {lr:.3g}"
        axes.plot(lr, loss, mark, color=RED, markersize=8, markeredgewidth=1.5, fillstyle="none", label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.3 * curve["smoothed"][0])
    axes.set(xlabel="learning rate", ylabel="loss")
    axes.legend(loc="lower left")
    return figure


def epoch_axes(label: str) -> tuple[Figure, Axes]:
    """A small figure whose x-axis counts epochs."""
    figure, axes = canvas(*SMALL)
    count_epochs(axes)
    axes.set_ylabel(label)
    return figure, axes


def count_epochs(axes: Axes) -> None:
    """Let an x-axis count epochs."""
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set_xlabel("epoch")


def draw_history(
    axes: Axes, history: list[dict[str, float]], keys: tuple[str, ...], shape: Callable, digits: int, unit: str
) -> None:
    """Draw figures of the history, such as test_loss, those that it has; `shape` makes an ordinate of a value."""
    for key in keys:
        name, colour = PARTS[key.split("_")[0]]
        if key in history[0]:
            values = [entry[key] for entry in history]
            label = f"{name}: {values[-1]:.{digits}f}{unit} at the end"
            epochs, ordinates = [entry["epoch"] for entry in history], [shape(value) for value in values]
            axes.plot(epochs, ordinates, "o-", color=colour, markersize=3.5, label=label)
    axes.legend(loc="best")


def accuracy(history: list[dict[str, float]]) -> Figure:
    """Accuracy over the epochs, on a logarithmic axis of errors; validation only where nothing was tested."""
    figure, axes = epoch_axes("accuracy %")
    part = "test_accuracy" if "test_accuracy" in history[0] else "val_accuracy"
    draw_history(axes, history, ("train_accuracy", part), error_of, 2, " %")
    mark_error_axis(axes)
    return figure


def loss(history: list[dict[str, float]]) -> Figure:
    """Training, validation and test loss over the epochs."""
    figure, axes = epoch_axes("loss")
    draw_losses(axes, history, "train_loss", "val_loss", "test_loss")
    return figure


def smoothed_loss(history: list[dict[str, float]]) -> Figure:
    """The same of a training with label smoothing: its loss includes that, so it has an axis of its own."""
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=SMALL, layout="constrained", sharex=True, height_ratios=(2, 3)
    )
    draw_losses(upper, history, "train_loss")
    draw_losses(lower, history, "val_loss", "test_loss")
    for axes in (upper, lower):
        count_epochs(axes)
    upper.set(xlabel=None, ylabel="smoothed")
    lower.set_ylabel("loss")
    return figure


def draw_losses(axes: Axes, history: list[dict[str, float]], *keys: str) -> None:
    """Draw losses of the history."""
    draw_history(axes, history, keys, lambda value: value, 4, "")
    axes.margins(y=0.15)
    mark_losses(axes)


def mark_losses(axes: Axes) -> None:
    """Make the y-axis, of losses, logarithmic where they differ much; elsewhere it would have too many marks."""
    shown = [loss for line in axes.lines for loss in line.get_ydata()]
    if max(shown) > 3 * min(shown):
        mark_log_axis(axes, lambda loss: loss)
    else:
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3))


def histories(runs: dict[str, list[dict[str, float]]], key: str, label: str, shape: Callable) -> tuple[Figure, Axes]:
    """A figure of the histories of several runs over each other."""
    figure, axes = epoch_axes(label)
    for (name, history), colour in zip(runs.items(), (GREY, BLUE), strict=False):
        ordinates, label = [shape(entry[key]) for entry in history], textwrap.fill(name, LINE)
        axes.plot([entry["epoch"] for entry in history], ordinates, "o-", color=colour, markersize=3.5, label=label)
    axes.legend(loc="best")
    return figure, axes


def accuracies(runs: dict[str, list[dict[str, float]]], part: str) -> Figure:
    """The accuracies of several runs over the epochs, on a logarithmic axis of errors; `part` is test or
    val."""
    figure, axes = histories(runs, f"{part}_accuracy", "accuracy %", error_of)
    mark_error_axis(axes)
    return figure


def losses(runs: dict[str, list[dict[str, float]]], part: str) -> Figure:
    """The losses of several runs over the epochs."""
    figure, axes = histories(runs, f"{part}_loss", "loss", lambda value: value)
    mark_losses(axes)
    return figure


def learning_rate(lrs: list[float], steps_per_epoch: int) -> Figure:
    """The learning rate at each step."""
    figure, axes = epoch_axes("learning rate")
    bounds = [index / steps_per_epoch for index in range(len(lrs) + 1)]
    axes.plot(bounds, [*lrs, lrs[-1]], color=BLUE, drawstyle="steps-post" if steps_per_epoch == 1 else "default")
    axes.set_ylim(0, 1.08 * max(lrs) or 1)
    return figure


def slanted(names: Sequence[str]) -> dict[str, Any]:
    """How tick labels of these names are drawn so that they do not touch."""
    return {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 2 else {}


def per_class(counts: list[list[int]], names: Sequence[str]) -> Figure:
    """The accuracy of each class, with its 95 % interval, from a confusion matrix."""
    figure, axes = canvas(*SMALL)
    found = classes.accuracies(counts, names)
    bounds = np.array([each.interval for each in found]).T  # [2, classes]
    centres = np.array([each.accuracy for each in found])
    axes.errorbar(range(len(found)), centres, abs(bounds - centres), fmt="o", color=BLUE, markersize=5, capsize=4)
    axes.set_xticks(range(len(found)), [each.name for each in found], **slanted([each.name for each in found]))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set(xlabel="class", ylabel="accuracy %")
    return figure


def confusion(counts: list[list[int]], names: Sequence[str]) -> Figure:
    """A confusion matrix, rows the true classes; the colour is that of the errors."""
    counts = np.asarray(counts)
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    figure, axes = canvas(5, 4.6)
    shades = np.where(errors > 0, 0.15 + 0.65 * errors / max(1, errors.max()), 0)
    axes.imshow(np.ones_like(errors), cmap=matplotlib.colors.ListedColormap([RED]), alpha=shades)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, f"{count}", ha="center", va="center", size=8)
    places = range(len(names))
    axes.set_xticks(places, names, **slanted(names))
    axes.set_yticks(places, names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks([place - 0.5 for place in places], minor=True)
    axes.set_yticks([place - 0.5 for place in places], minor=True)
    axes.grid(which="minor", color=GREY, alpha=0.25)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return figure


def image_grid(images: np.ndarray, captions: list[str], columns: int) -> Figure:
    """Images [N, H, W] in 0..1 under their captions, which widen the columns."""
    height, width = images.shape[1:]
    is_long = max(map(len, captions), default=0) > 12  # then a caption takes two lines
    captions = [caption.replace("→", "→\n") if is_long else caption for caption in captions]
    longest = max((len(line) for caption in captions for line in caption.split("\n")), default=0)
    margin, top_margin, pixels_per_inch = 4, height // 3 + 1 + 5 * is_long, 44.5
    across = max(width + margin, math.ceil(2.5 * longest) + margin)  # pixels per character
    columns, down = max(1, columns * (width + margin) // across), height + top_margin
    rows = max(1, math.ceil(len(images) / columns))
    sheet = np.full((rows * down, columns * across), np.nan)
    figure, axes = pyplot.subplots(figsize=(columns * across / pixels_per_inch, rows * down / pixels_per_inch))
    figure.subplots_adjust(0, 0, 1, 1)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top, left = down * (index // columns) + top_margin - 2, across * (index % columns) + (across - width) // 2
        sheet[top : top + height, left : left + width] = image
        axes.text(left + width / 2, top - 1.2, caption, size=7.5, ha="center", va="bottom")
    axes.imshow(sheet, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    return figure


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="Draw what evaluate.py wrote into a run's folder.")
    parser.add_argument("run", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_data()
    arguments = parser.parse_args(argv)
    run_dir, _ = checkpoint.locate(arguments.run)
    path, state = run_dir / "evaluation.json", checkpoint.load_newest(run_dir)
    if state is None or not path.exists():
        raise UserError(f"no evaluation of a checkpoint in {run_dir}: make evaluate")
    evaluation = files.convert(files.read_json(path, REMEDY), Summary, path, REMEDY)
    mistakes = evaluation["misclassified"][:SHOWN]
    images = load_tested(state, arguments.data, "cpu")
    wrong = images.pixels[[mistake["index"] for mistake in mistakes], 0].numpy() / 255
    drawn = {
        "per_class.png": (per_class, evaluation["confusion"], state["classes"]),
        "confusion.png": (confusion, evaluation["confusion"], state["classes"]),
        "misclassified.png": (image_grid, wrong, [format_mistake(mistake) for mistake in mistakes], 12),
    }
    for name, plot in drawn.items():
        save(run_dir / name, *plot)
    print(", ".join(str(run_dir / name) for name in drawn))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
