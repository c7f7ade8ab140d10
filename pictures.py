"""Pictures, for people who look before they read. matplotlib is imported by nothing else."""

import statistics

import matplotlib
import numpy

matplotlib.use("agg")  # a file is drawn, no window
from matplotlib import pyplot

PUBLISHED, HERE = "#b8bcc4", "#1f6feb"


def speeds(found, path):
    """Draw the benchmark's record (benchmark.py) as bars: seconds an epoch of each recipe as published and here."""
    names = list(found["speeds"])
    longest = max(max(seconds) for ways in found["speeds"].values() for seconds in ways.values())
    figure, axes = pyplot.subplots(figsize=(8, 0.62 * len(names) + 1.2), layout="constrained")
    for row, name in enumerate(names):
        ways = found["speeds"][name]
        for way, colour, shift in (("published", PUBLISHED, -0.2), ("here", HERE, 0.2)):
            if way in ways:
                seconds = statistics.median(ways[way])
                place = row + shift * ("published" in ways)
                axes.barh(place, seconds, 0.38, color=colour)
                axes.text(seconds + 0.01 * longest, place, f"{seconds:.1f} s", va="center", size=9)
    axes.set_yticks(range(len(names)), [f"{name}\n{found['parameters'][name]:,} parameters" for name in names], size=9)
    axes.invert_yaxis()
    axes.set_xlim(right=axes.get_xlim()[1] * 1.06)
    axes.set_xlabel(f"seconds an epoch of {found['images']:,} images")
    axes.legend(["as published", "here"], loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def range_test(found, path):
    """Draw a lr_finder.RangeTest: the loss over the rate, and what each rule suggests."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(found.rates, found.losses, color=PUBLISHED, linewidth=0.8, label="loss of a batch")
    axes.plot(found.rates, found.smoothed, color=HERE, linewidth=2, label="smoothed")
    marks = {"steepest": "o", "valley": "s", "minimum_over_10": "D"}
    for rule, rate in found.suggestions.items():
        loss = float(numpy.interp(rate, found.rates, found.smoothed))
        label = f"{rule.replace('_', ' ')}: {rate:.3g}"
        axes.plot(rate, loss, marks[rule], color="#d1242f", markersize=8, fillstyle="none", label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.3 * found.smoothed[0])
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
