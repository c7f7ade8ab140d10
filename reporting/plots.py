"""Plots: each a function that draws plain values as a figure, which becomes a PNG, or a part of a page (pages.py)."""

import hashlib
import io
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

GREY, BLUE, RED, GREEN = "#9aa3af", "#2f81f7", "#e5534b", "#3fb950"
FONT = "DejaVu Sans"  # comes with matplotlib, which so knows its widths; few fonts are wider
STYLE = {
    **{"image.cmap": "gray_r", "font.family": FONT, "font.size": 9, "legend.frameon": False},
    **{"axes.spines.top": False, "axes.spines.right": False},
    "axes.prop_cycle": matplotlib.cycler(color=(GREY, BLUE, GREEN)),
}
NAMES = {"train": "train", "val": "validation", "test": "test"}  # of the parts of a history
SMALL = 5, 3.8  # inches
LABEL = 36  # characters of a line in a legend
LISTED = 150  # mistakes that are shown, at most
LEVELS = {  # of a kind of corruption: the one that changes nothing, and what the levels are
    "shift": (0, "shift, ± pixels"),
    "rotation": (0, "rotation, ± degrees"),
    "scale": (1, "scale"),
    "stroke": (0, "strokes, pixels wider"),
    "noise": (0, "noise, σ where white is 1"),
    "blur": (0, "blur, σ in pixels"),
}
Lines = dict[str, list[float]]  # over the epochs: {label: a value of each epoch}


def mark_numbers(axis: Axis, label: Callable[[float], float] = float) -> None:
    """Mark a logarithmic axis at 1, 2 and 5 times the powers of ten, with what `label` makes of them."""
    axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{label(value):,g}")
    axis.set_minor_locator(matplotlib.ticker.NullLocator())


def error_of(accuracy: float) -> float:
    """The error in percent, for a logarithmic axis, which has no 0."""
    return max(100 - accuracy, 0.01)


def mark_errors(axes: Axes, below: float, above: float) -> None:
    """Make the y-axis, of errors, a logarithmic one of accuracies, longer by these factors than what is drawn."""
    axes.set(yscale="log", ylabel="accuracy %,\nspaced by errors")
    mark_numbers(axes.yaxis, lambda error: 100 - error)
    lowest, highest = axes.dataLim.intervaly
    axes.set_ylim(min(105, below * highest), lowest / above)


def file_content(plot: Callable[..., Figure], content: tuple, style: dict[str, Any], **settings: Any) -> bytes:
    """The bytes of a plot's file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(style):
        plot(*content).savefig(buffer, **settings)
    return buffer.getvalue()


def png(plot: Callable[..., Figure], *content: Any) -> bytes:
    """The bytes of a PNG of a plot, with a sum of its content as a comment, which tells it from an older one."""
    comment = hashlib.sha256(repr(content).encode()).hexdigest()
    return file_content(plot, content, STYLE, dpi=150, metadata={"Comment": comment})


def range_test(curve: dict[str, list[float]], rates: dict[str, float]) -> Figure:
    """A range test: the loss over the learning rate, with what each rule suggests, and last the recipe's own rate."""
    axes = Figure((7, 4.3), layout="constrained").subplots()
    axes.plot(curve["lrs"], curve["losses"], color=GREY, linewidth=0.8, label="loss of a batch")
    axes.plot(curve["lrs"], curve["smoothed"], color=BLUE, linewidth=2, label="smoothed")
    for (rule, lr), mark, color in zip(rates.items(), "osDX", (RED, RED, RED, GREEN), strict=False):
        loss = float(np.interp(lr, curve["lrs"], curve["smoothed"]))
        label = f"{rule.replace('_', ' ')}: {lr:.3g}"
        axes.plot(lr, loss, mark, color=color, markersize=8, markeredgewidth=1.5, fillstyle="none", label=label)
    axes.set(xlabel="learning rate", xscale="log", ylabel="loss", ylim=(0, 1.3 * curve["smoothed"][0]))
    axes.figure.legend(loc="outside upper left", ncols=3)
    return axes.figure


def part_lines(history: list[dict[str, float]], metric: str, *parts: str) -> Lines:
    """The accuracy or the loss of these parts of the images, such as test, in a history: of those that it has."""
    lines, form = {}, {"accuracy": "{:.2f} %", "loss": "{:.4f}"}[metric]
    for part in parts:
        if f"{part}_{metric}" in history[0]:
            values = [entry[f"{part}_{metric}"] for entry in history]
            lines[f"{NAMES[part]}: {form.format(values[-1])} at the end"] = values
    return lines


def draw_lines(axes: Axes, lines: Lines, label: str, first: int = 0) -> None:
    """Draw values over the epochs, in matplotlib's colours from the first on."""
    for number, (name, values) in enumerate(lines.items(), first):
        axes.plot(range(1, 1 + len(values)), values, ".-", color=f"C{number}", label=textwrap.fill(name, LABEL))
    count_epochs(axes, label)


def count_epochs(axes: Axes, label: str) -> None:
    """Let an x-axis count epochs, and a y-axis what the label says."""
    axes.locator_params("x", integer=True, min_n_ticks=1)
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set(xlabel="epoch", ylabel=label)


def accuracy(lines: Lines) -> Figure:
    """Accuracies over the epochs, on a logarithmic axis of errors."""
    axes = Figure(SMALL, layout="constrained").subplots()
    draw_lines(axes, {name: [*map(error_of, values)] for name, values in lines.items()}, "")
    mark_errors(axes, below=2, above=2)
    axes.figure.legend(loc="outside upper left")  # where no line can cross it
    return axes.figure


def loss(*panels: Lines) -> Figure:
    """Losses over the epochs; where there are two panels, the upper one is of those that include label smoothing. An
    axis is logarithmic where they differ much; elsewhere it would have too many marks."""
    figure, heights, labels = Figure(SMALL, layout="constrained"), (2, 3)[-len(panels) :], ("smoothed", "loss")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)
    for number, (axes, label, lines) in enumerate(zip(grid.flat, labels[-len(panels) :], panels, strict=True)):
        draw_lines(axes, lines, label, number)
        axes.margins(y=0.15)
        axes.label_outer()
        lowest, highest = axes.dataLim.intervaly
        if highest > 3 * lowest:
            axes.set_yscale("log")
            mark_numbers(axes.yaxis)
        else:
            axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3))
    figure.legend(loc="outside upper left")
    return figure


def learning_rate(lrs: list[float], steps_per_epoch: int) -> Figure:
    """The learning rate at each step."""
    axes = Figure(SMALL, layout="constrained").subplots()
    count_epochs(axes, "learning rate")
    bounds = [index / steps_per_epoch for index in range(len(lrs) + 1)]
    axes.plot(bounds, [*lrs, lrs[-1]], color=BLUE, drawstyle="steps-post" if steps_per_epoch == 1 else "default")
    axes.set_ylim(0, 1.08 * max(lrs) or 1)
    return axes.figure


def slanted(names: Sequence[str]) -> dict[str, Any]:
    """How tick labels of these names are drawn so that they do not touch."""
    return {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 2 else {}


def per_class(accuracies: dict[str, tuple[int, int, float, list[float]]]) -> Figure:
    """The accuracy of each class, with its 95 % interval, from an evaluation's `by_class`."""
    axes = Figure(SMALL, layout="constrained").subplots()
    _, _, centres, bounds = zip(*accuracies.values(), strict=True)
    lengths = abs(np.array(bounds).T - centres)  # [2, classes]
    axes.errorbar(range(len(accuracies)), centres, lengths, fmt="o", color=BLUE, markersize=5, capsize=4)
    axes.set_xticks(range(len(accuracies)), accuracies, **slanted(accuracies))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set(xlabel="class", ylabel="accuracy %")
    return axes.figure


def reliability(bins: list[tuple[float, float, float]]) -> Figure:
    """A reliability diagram of an evaluation's bins."""
    axes = Figure(SMALL, layout="constrained").subplots()
    confidences, accuracies, _ = zip(*bins, strict=True)
    axes.plot((0, 100), (0, 100), color=GREY, linewidth=1, linestyle="--")
    axes.plot(confidences, accuracies, "o-", color=BLUE, markersize=5, clip_on=False)
    axes.set(xlabel="confidence %", ylabel="accuracy %", xlim=(0, 100), ylim=(0, 100))
    return axes.figure


def coverage(shares: Sequence[float], curves: Sequence[list[float]]) -> Figure:
    """The accuracy of those images, these shares of all, of which a network is most confident: a line for each of its
    seeds, and of several a thick one for their mean."""
    axes = Figure(SMALL, layout="constrained").subplots()
    answered = [100 * share for share in shares]
    for curve in curves:
        axes.plot(answered, curve, color=BLUE if len(curves) == 1 else GREY, linewidth=1.8 if len(curves) == 1 else 0.8)
    if len(curves) > 1:
        axes.plot(answered, np.mean(curves, 0), color=BLUE, linewidth=2.2)
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set(xlabel="answered, % of the images", ylabel="accuracy of these, %", xlim=(max(answered), min(answered)))
    axes.ticklabel_format(useOffset=False)
    return axes.figure


def corruptions(rows: list[dict[str, Any]], columns: int = 3, panel: tuple[float, float] = (3, 3)) -> Figure:
    """Accuracy over the level of each kind of corruption, of each recipe: the rows `corrupted` of the record."""
    down = len(LEVELS) // columns
    figure = Figure((columns * panel[0], down * panel[1]), layout="constrained")
    grid = figure.subplots(down, columns, sharey=True)
    for (kind, (neutral, label)), axes in zip(LEVELS.items(), grid.flat, strict=True):
        shown = [rows[0] | {"level": neutral}, *(row for row in rows if row["kind"] == kind)]
        for number, recipe in enumerate(rows[0]["accuracy"]):
            points = [(row["level"], row["accuracy"][recipe]) for row in shown if recipe in row["accuracy"]]
            color = matplotlib.colormaps["tab10"](number) if len(rows[0]["accuracy"]) > 1 else BLUE
            axes.plot(*zip(*sorted(points), strict=True), ".-", color=color, label=recipe)
        axes.set(xlabel=label, ylabel="accuracy %" if axes.get_subplotspec().is_first_col() else None)
        axes.grid(alpha=0.3)
    if len(rows[0]["accuracy"]) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=7)
    return figure


def confusion(counts: list[list[int]], names: Sequence[str]) -> Figure:
    """A confusion matrix, rows the true classes; the colour is that of the errors."""
    axes = Figure((5, 4.6), layout="constrained").subplots()
    errors, places = counts * (1 - np.eye(len(names), dtype=int)), range(len(names))
    shades = np.where(errors, 0.15 + 0.65 * errors / max(1, errors.max()), 0)
    colours = matplotlib.colors.LinearSegmentedColormap.from_list("", ["white", RED])
    axes.pcolormesh(places, places, shades, cmap=colours, vmin=0, vmax=1, edgecolors=(GREY, 0.25), linewidth=0.4)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, count or "", ha="center", va="center", size=8)
    axes.set_xticks(places, names, **slanted(names))
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true", ylim=(len(names) - 0.5, -0.5), aspect="equal", frame_on=False)
    return axes.figure


def image_grid(images: np.ndarray, captions: list[str], columns: int) -> Figure:
    """Images [N, H, W] in 0..1 under their captions, which widen the columns."""
    height, width = images.shape[1:]
    is_long = any(len(caption) > 12 for caption in captions)  # then a caption takes two lines
    captions = [caption.replace("→", "→\n") if is_long else caption for caption in captions]
    longest = max(map(len, "\n".join(captions).split("\n")))
    pixels_per_inch, top_margin = 44.5, height // 3 + 1 + 5 * is_long
    across, down = max(width, math.ceil(2.5 * longest)) + 4, height + top_margin  # of an image, in pixels
    columns = max(1, columns * (width + 4) // across)
    size = columns * across, down * max(1, math.ceil(len(images) / columns))
    axes = Figure(np.divide(size, pixels_per_inch)).add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top, left = down * (index // columns) + top_margin - 2, across * (index % columns) + (across - width) // 2
        axes.imshow(image, vmin=0, vmax=1, interpolation="nearest", extent=(left, left + width, top + height, top))
        axes.text(left + width / 2, top - 0.7, caption, size=7.5, ha="center", va="bottom")
    axes.set_axis_off()
    return axes.figure
