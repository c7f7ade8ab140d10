"""Axes that several plots share: their size, and logarithmic ones of errors."""

from collections.abc import Callable

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure, and its axes, of a size in inches."""
    return pyplot.subplots(figsize=(width, height), layout="constrained")


def mark_numbers(axis: Axis, label: Callable[[float], float]) -> None:
    """Mark a logarithmic axis at 1, 2 and 5 times the powers of ten, with what `label` makes of them."""
    axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{label(value):,g}"))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())


def mark_log_axis(axes: Axes, label: Callable[[float], float]) -> None:
    """Make the y-axis logarithmic, with marks of what `label` makes of its values."""
    axes.set_yscale("log")
    mark_numbers(axes.yaxis, label)


def error_of(accuracy: float) -> float:
    """The error in percent, for a logarithmic axis, which has no 0."""
    return max(100 - accuracy, 0.01)


def mark_error_axis(axes: Axes) -> None:
    """Make the y-axis, of errors, a logarithmic one of accuracies, long enough to have marks."""
    mark_log_axis(axes, lambda error: 100 - error)
    errors = [error for line in axes.lines for error in line.get_ydata()]
    axes.set_ylim(min(105, 2 * max(errors)), min(errors) / 2.5)
