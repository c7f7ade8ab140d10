import pytest
from matplotlib import pyplot

from experiments import pictures

RECORDS = {
    name: {"mean": mean, "deviation": deviation, "total_epochs": 10}
    for name, mean, deviation in (("a", 99.0, None), ("b", 99.02, None), ("c", 98.0, None), ("own", 99.5, 0.1))
}
BENCH = {
    "speeds": {
        **{"a": {"elsewhere": [100.0, 90.0, 110.0], "here": [50.0]}, "b": {"elsewhere": [102.0]}},
        **{
            "c": {"elsewhere": [7.0]},
            "shop/window": {"elsewhere": [60.0]},
            "own": {"here": [4.0]},
            "new": {"here": [1.0]},
        },
    },
    "epochs": {"shop/window": 5},
}
SPEEDS = (BENCH, {name: RECORDS[name] for name in "abc"}, {"own": RECORDS["own"]})


def test_systems_stand_at_their_seconds_and_accuracy():
    figure = pictures.speeds(*SPEEDS)
    (axes,) = figure.axes
    found = [(line.get_fillstyle(), *line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert found == [  # own ones are filled
        ("full", 40, pytest.approx(0.5)),
        *(("none", 1000, pytest.approx(1.0)), ("none", 1020, pytest.approx(0.98)), ("none", 70, pytest.approx(2.0))),
    ]
    (bar,) = [container for container in axes.containers if container.has_yerr]
    assert bar[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.4, 0.6])
    assert [line.get_xdata() for line in axes.lines if line.get_linestyle() == ":"] == [[300, 300]]
    assert axes.get_xscale() == "log"
    pyplot.close(figure)


def test_names_of_systems_cover_nothing():
    figure = pictures.speeds(*SPEEDS)
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["a", "b", "c", "own", "shop/window"]
    boxes = [text.get_window_extent() for text in axes.texts]
    marks = [line.get_window_extent() for line in axes.lines]
    assert [box.count_overlaps([*boxes, *marks]) for box in boxes] == [1] * len(boxes)  # each itself
    pyplot.close(figure)


def test_the_frontier_has_a_mark_for_every_claim_and_record_and_names_its_own():
    claims = {"best": [(700, 99.0), (20_000, 99.6)], "epoch": [(1_500, 99.2)], "run": [(1_400, 99.0)]}
    own = {
        name: {"total_parameters": size, "mean": 99.5, "deviation": spread}
        for name, size, spread in (("small", 900, 0.1), ("large", 19_000, None))
    }
    figure = pictures.frontier(claims, own)
    (axes,) = figure.axes
    points = {(line.get_xdata()[0], round(float(line.get_ydata()[0]), 6)) for line in axes.lines}
    assert {(700, 1.0), (20_000, 0.4), (1_500, 0.8), (1_400, 1.0), (900, 0.5), (19_000, 0.5)} <= points
    assert {text.get_text() for text in axes.texts} == {"small", "large"}
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 4
    pyplot.close(figure)
