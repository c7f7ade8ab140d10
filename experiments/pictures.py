"""The pictures of the records: each a function that draws plain values as a figure."""

import statistics
from typing import Any

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from reporting.axes import canvas, error_of, mark_error_axis, mark_numbers
from reporting.drawing import BLUE, GREY


def speeds(bench: dict[str, Any], published: dict[str, Any], own: dict[str, Any]) -> Figure:
    """The benchmark's record beside those of recipes, {name: record}: accuracy over the seconds of a training, of the
    published systems as they are trained elsewhere and of this project's own recipes here. What has no record is a line
    at its seconds."""
    figure, axes = canvas(8, 4.5)
    legend, marks = {}, {}
    for records, way, colour, style, label in (
        (own, "here", BLUE, "full", "this project, ± standard deviation"),
        (published, "elsewhere", GREY, "none", "published systems"),
    ):
        for name in [name for name in bench["speeds"] if name in records]:
            mean, deviation, epochs = (records[name][key] for key in ("mean", "deviation", "total_epochs"))
            place = epochs * statistics.median(bench["speeds"][name][way]), error_of(mean)
            legend[label], marks[name] = mark(axes, place, deviation, color=colour, fillstyle=style), place
    mark_error_axis(axes)
    errors = [error for _, error in marks.values()]
    axes.set_ylim(1.4 * max(errors), min(errors) / 1.4)
    for name, epochs in bench["epochs"].items():
        seconds = epochs * statistics.median(bench["speeds"][name]["elsewhere"])
        legend["only timed"] = axes.axvline(seconds, color=GREY, linestyle=":")
        axes.annotate(name, (seconds, 0), (-3, 4), ("data", "axes fraction"), "offset points", rotation=90, ha="right")
    axes.set_xscale("log")
    mark_numbers(axes.xaxis, lambda value: value)
    axes.set(xlabel="seconds of training", ylabel="accuracy %")
    axes.margins(x=0.08)
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=len(legend))
    place_names(axes, marks)
    return figure


def frontier(claims: dict[str, list[tuple[int, float]]], own: dict[str, dict[str, Any]]) -> Figure:
    """Accuracy over the number of parameters: what others claim, {how it was picked: [(parameters, accuracy)]}, and
    records of this project's recipes, {name: record}."""
    figure, axes = canvas(8, 4.5)
    marks = {name: (record["total_parameters"], error_of(record["mean"])) for name, record in own.items()}
    for name, place in marks.items():
        mark(axes, place, own[name]["deviation"], color=BLUE, label="this project, mean ± deviation")
    for (picked, found), shape in zip(claims.items(), "sDo", strict=True):
        for parameters, accuracy in found:
            settings = {"color": GREY, "fillstyle": "none", "label": f"published: {picked}"}
            axes.plot(parameters, error_of(accuracy), shape, **settings)
    mark_error_axis(axes)
    axes.set_ylim(axes.get_ylim()[0], min(error for _, error in marks.values()) / 1.3)
    axes.set_xscale("log")
    mark_numbers(axes.xaxis, lambda value: value)
    axes.set(xlabel="trainable parameters", ylabel="accuracy %")
    axes.margins(x=0.08)
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=2)
    place_names(axes, marks)
    return figure


def mark(axes: Axes, place: tuple[float, float], deviation: float | None, **settings: Any) -> ErrorbarContainer:
    """Mark a place, (x, error), with the standard deviation of its accuracy."""
    return axes.errorbar(*place, deviation, fmt="o", markersize=7, capsize=3, **settings)


def place_names(axes: Axes, marks: dict[str, tuple[float, float]]) -> None:
    """Write names beside their marks, each on the first side where it covers nothing and stays within the axes, else on
    the last."""
    axes.figure.draw_without_rendering()  # lays it out
    taken = [artist.get_window_extent() for artist in (*axes.texts, *axes.lines)]
    for name, place in marks.items():
        text = None
        for x, y in ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1)):
            if text:
                text.remove()
            ha, va = ("center", "left", "right")[x], ("center", "bottom", "top")[y]
            text = axes.annotate(name, place, (6 * x, 6 * y), textcoords="offset points", ha=ha, va=va)
            box = text.get_window_extent()
            if axes.bbox.count_contains(box.corners()) == 4 and not box.count_overlaps(taken):
                break
        taken.append(box)
