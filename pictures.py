"""Pictures, for people who look before they read. matplotlib is imported by nothing else."""

import statistics

import matplotlib

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
