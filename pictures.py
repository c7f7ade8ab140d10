"""Pictures, for people who look before they read: each a function that draws what it is given as a figure.

pictures.save("confusion.png", pictures.confusion, evaluation.confusion)
"""

import io
import math
import statistics

import matplotlib
import numpy

import atomic

matplotlib.use("agg")  # a file is drawn, no window
from matplotlib import pyplot

GREY, BLUE, RED, GREEN = "#9aa3af", "#2f81f7", "#e5534b", "#3fb950"  # to be seen on white and on black
LIGHT = {"image.cmap": "gray_r", "font.size": 9, "legend.frameon": False} | {
    "axes.spines.top": False,
    "axes.spines.right": False,
}
ERRORS = (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001)  # marked on an axis, in percent
INK, PAPER = "#c9d1d9", "#0d1117"
DARK = (
    LIGHT
    | {"image.cmap": "gray", "figure.facecolor": PAPER, "axes.facecolor": PAPER}
    | dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
)


def render(picture, *content, dark=False):
    """The bytes of a PNG of a picture."""
    buffer = io.BytesIO()
    with pyplot.rc_context(DARK if dark else LIGHT):
        figure = picture(*content)
        figure.savefig(buffer, dpi=150)
        pyplot.close(figure)
    return buffer.getvalue()


def save(path, picture, *content):
    """Draw a picture into a PNG file, replaced whole."""
    atomic.replace_file(path, render(picture, *content))


def canvas(width, height):
    """(figure, axes) of a size in inches."""
    return pyplot.subplots(figsize=(width, height), layout="constrained")


def speeds(found):
    """The benchmark's record (benchmark.py): seconds an epoch of each recipe as published and here."""
    names = list(found["speeds"])
    longest = max(max(seconds) for ways in found["speeds"].values() for seconds in ways.values())
    figure, axes = canvas(8, 0.62 * len(names) + 1.2)
    for row, name in enumerate(names):
        ways = found["speeds"][name]
        for way, colour, shift in (("published", GREY, -0.2), ("here", BLUE, 0.2)):
            if way in ways:
                seconds = statistics.median(ways[way])
                place = row + shift * ("published" in ways)
                axes.barh(place, seconds, 0.38, color=colour)
                axes.text(seconds + 0.01 * longest, place, f"{seconds:.1f} s", va="center")
    axes.set_yticks(range(len(names)), [f"{name}\n{found['parameters'][name]:,} parameters" for name in names])
    axes.invert_yaxis()
    axes.set_xlim(right=axes.get_xlim()[1] * 1.06)
    axes.set_xlabel(f"seconds an epoch of {found['images']:,} images")
    axes.legend(["as published", "here"], loc="lower right")
    return figure


def range_test(found):
    """A lr_finder.RangeTest: the loss over the rate, and what each rule suggests."""
    figure, axes = canvas(7, 4)
    axes.plot(found.rates, found.losses, color=GREY, linewidth=0.8, label="loss of a batch")
    axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
    for (rule, rate), mark in zip(found.suggestions.items(), "osD", strict=True):
        loss = float(numpy.interp(rate, found.rates, found.smoothed))
        label = f"{rule.replace('_', ' ')}: {rate:.3g}"
        axes.plot(rate, loss, mark, color=RED, markersize=8, markeredgewidth=1.5, fillstyle="none", label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.3 * found.smoothed[0])
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend(loc="lower left")
    return figure


def epoch_canvas():
    """(figure, axes) of a small picture whose x-axis counts epochs."""
    figure, axes = canvas(5, 3.4)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set_xlabel("epoch")
    return figure, axes


def accuracy(history):
    """Training and test accuracy over the epochs; the axis is that of the errors, logarithmic."""
    figure, axes = epoch_canvas()
    epochs = [entry["epoch"] for entry in history]
    for part, colour in (("train", GREY), ("test", BLUE)):
        accuracies = [entry[f"{part}_accuracy"] for entry in history]
        errors = [max(100 - accuracy, 0.01) for accuracy in accuracies]  # the axis has no 0
        label = f"{part}: {accuracies[-1]:.2f} % at the end"
        axes.plot(epochs, errors, "o-", color=colour, markersize=3.5, label=label)
    axes.set_yscale("log")
    axes.invert_yaxis()
    worst, best = axes.get_ylim()
    ticks = [error for error in ERRORS if best <= error <= worst]
    if len(ticks) < 2:  # the axis goes on to the next ones
        drawn = [error for line in axes.lines for error in line.get_ydata()]
        ticks = [min(e for e in ERRORS if e >= max(drawn)), max(e for e in ERRORS if e < min(drawn))]
        axes.set_ylim(*ticks)
    axes.set_yticks(ticks, [f"{100 - error:g}" for error in ticks])
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_ylabel("accuracy %")
    axes.legend(loc="lower right")
    return figure


def loss(history):
    """Training, validation and test loss over the epochs."""
    figure, axes = epoch_canvas()
    epochs = [entry["epoch"] for entry in history]
    for part, colour in (("train", GREY), ("val", GREEN), ("test", BLUE)):
        values = [entry[f"{part}_loss"] for entry in history]
        label = {"val": "validation"}.get(part, part)
        axes.plot(epochs, values, "o-", color=colour, markersize=3.5, label=f"{label}: {values[-1]:.4f} at the end")
    axes.set_yscale("log")
    axes.set_ylabel("loss")
    plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.legend(loc="best")
    return figure


def rate(rates, steps):
    """The learning rate at each step, of which an epoch has so many."""
    figure, axes = canvas(5, 3.4)
    bounds = [index / steps for index in range(len(rates) + 1)]
    axes.plot(bounds, [*rates, rates[-1]], color=BLUE, drawstyle="steps-post")
    axes.set_ylim(0, 1.08 * max(rates) or 1)
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set_xlabel("epoch")
    axes.set_ylabel("learning rate")
    return figure


def per_class(accuracies):
    """Bars of {digit: accuracy in percent}."""
    figure, axes = canvas(5, 3.4)
    lowest = math.floor(min(accuracies.values()) - 0.3)
    bars = axes.bar(accuracies.keys(), accuracies.values(), color=BLUE)
    axes.bar_label(bars, [f"{value:.1f}" for value in accuracies.values()], padding=2)
    axes.set_ylim(max(0, lowest), 100 + 0.1 * (100 - lowest))
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 100])
    axes.set_xlabel("digit")
    axes.set_ylabel("accuracy %")
    return figure


def confusion(counts):
    """A confusion matrix [10, 10], rows the true digits; the colour is that of the errors."""
    counts = numpy.asarray(counts)
    errors = numpy.where(numpy.eye(len(counts), dtype=bool), 0, counts)
    figure, axes = canvas(5, 4.6)
    shades = numpy.where(errors > 0, 0.15 + 0.65 * errors / max(1, errors.max()), 0)
    axes.imshow(numpy.ones_like(errors), cmap=matplotlib.colors.ListedColormap([RED]), alpha=shades)
    for (row, column), count in numpy.ndenumerate(counts):
        if count:
            axes.text(column, row, f"{count}", ha="center", va="center", size=8)
    digits = range(len(counts))
    axes.set_xticks(digits)
    axes.set_yticks(digits)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.set_xticks([digit - 0.5 for digit in digits], minor=True)
    axes.set_yticks([digit - 0.5 for digit in digits], minor=True)
    axes.grid(which="minor", color=GREY, alpha=0.25)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    return figure


def digits(images, captions, columns):
    """A grid of images [N, 28, 28] in 0..1, each with a caption; a caption that ends in ! is red."""
    rows = max(1, math.ceil(len(images) / columns))
    across, down = 32, 38  # pixels from one image to the next: room for a gap, and for a caption
    sheet = numpy.full((rows * down, columns * across), numpy.nan)
    figure, axes = pyplot.subplots(figsize=(columns * 0.72, rows * 0.72 * down / across))
    figure.subplots_adjust(0, 0, 1, 1)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top, left = down * (index // columns) + 8, across * (index % columns) + 2
        sheet[top : top + 28, left : left + 28] = image
        colour = {"color": RED} if caption.endswith("!") else {}
        axes.text(left + 14, top - 1.2, caption.rstrip("!"), ha="center", va="bottom", size=7.5, **colour)
    axes.imshow(sheet, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    return figure
