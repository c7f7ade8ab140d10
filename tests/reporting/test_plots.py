import io

import numpy
import pytest
from matplotlib import image

from reporting import evaluation, plots


def test_images_are_drawn_as_they_are_and_nothing_too():
    square = plots.png(plots.image_grid, numpy.ones((1, 28, 28)), [""], 1)
    pixels = image.imread(io.BytesIO(square))[..., :3]
    assert pixels[0, 0].tolist() == [1, 1, 1]
    ink = pixels[..., 0] < 0.5
    assert ink.any(0).sum() == ink.any(1).sum() > 0  # a square stays a square
    plots.png(plots.image_grid, numpy.zeros((0, 28, 28)), [], 6)
    plots.png(plots.confusion, numpy.diag([5] * 10), list("0123456789"))


def test_an_evaluation_is_drawn(finished, capsys):
    evaluation.main([str(finished), "--device", "cpu"])
    for name in ("per_class.png", "confusion.png", "misclassified.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("train", "test"), [(99.2, 99.3), (88, 87), (9.8, 9.8), (0, 0), (100, 100), (0, 100), (50, 50), (98.1, 99.62)]
)
def test_accuracies_are_told_exactly_and_their_axis_has_marks(train, test):
    history = [{"train_accuracy": train, "test_accuracy": test}]
    (axes,) = plots.accuracy(plots.part_lines(history, "accuracy", "train", "test", "val")).axes
    assert axes.get_ylabel() == "accuracy %,\nspaced by errors"
    told = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert told == [f"train: {train:.2f} % at the end", f"test: {test:.2f} % at the end"]
    lowest, highest = sorted(axes.get_ylim())
    assert sum(lowest <= tick <= highest for tick in axes.get_yticks()) >= 2
    assert all(lowest <= error <= highest for line in axes.lines for error in line.get_ydata())


def test_a_learning_rate_is_a_line_over_its_steps_or_steps_between_epochs():
    (epochs,), (steps,) = (plots.learning_rate([0.1, 0.1, 0.01], each).axes[0].lines for each in (1, 2))
    assert [line.get_drawstyle() for line in (epochs, steps)] == ["steps-post", "default"]
    assert epochs.get_xydata().tolist() == [[0, 0.1], [1, 0.1], [2, 0.01], [3, 0.01]]
    assert steps.get_xdata().tolist() == [0, 0.5, 1, 1.5]


@pytest.mark.parametrize("losses", [(0.5, 0.5), (0.5, 0.45), (0.6, 0.3), (2.0, 0.4), (2.3, 0.02), (5e-4, 1e-4), (0.3,)])
def test_losses_with_label_smoothing_have_an_axis_of_their_own_and_each_axis_has_marks_but_not_too_many(losses):
    panels = {"train": [0.5 + loss for loss in losses]}, {"test": losses, "validation": losses}
    figure = plots.loss(*panels)
    for axes, most, lines in zip(figure.axes, (5, 8), panels, strict=True):
        assert [line.get_label() for line in axes.lines] == list(lines)
        low, high = axes.get_ylim()
        assert all(low <= loss <= high for line in axes.lines for loss in line.get_ydata())
        assert 2 <= sum(low <= tick <= high for tick in axes.get_yticks()) <= most
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1, 2][: len(losses)]  # whole epochs
    assert len({line.get_color() for axes in figure.axes for line in axes.lines}) == 3


def test_the_accuracy_of_a_class_is_drawn_with_its_interval():
    (axes,) = plots.per_class({"a": (100, 99, 99.0, [94.6, 99.8]), "c": (200, 190, 95.0, [91.0, 97.3])}).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "c"]
    spans = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    assert spans == [pytest.approx([94.6, 99.8]), pytest.approx([91.0, 97.3])]


def test_runs_over_each_other_are_told_by_their_names_however_long():
    name = "default-epochs3-" + "-".join(f"setting{index}0.1" for index in range(8)) + "-seed0"
    (axes,) = plots.loss({name: [0.5, 0.2], "other": [1]}).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.5, 0.2], [1]]
    told = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert "".join(told).replace("\n", "") == name + "other"
    assert max(len(line) for label in told for line in label.split("\n")) <= plots.LABEL


@pytest.mark.parametrize("plot", [plots.accuracy, plots.loss])
def test_no_line_runs_through_a_legend(plot):
    figure = plot({"one": [99.0] * 12, "two": [9, *[99.9] * 11]})
    figure.draw_without_rendering()
    assert not figure.legends[0].get_window_extent().overlaps(figure.axes[0].get_tightbbox())


@pytest.mark.parametrize(("caption", "columns"), [("4→9 87 %", 6), ("T-shirt/top→Pullover 87 %", 5)])
def test_long_captions_take_two_lines_and_fewer_columns(caption, columns):
    (axes,) = plots.image_grid(numpy.zeros((6, 28, 28)), [caption] * 6, 6).axes
    assert len({text.get_position()[0] for text in axes.texts}) == columns
    assert all(max(map(len, text.get_text().split("\n"))) <= 15 for text in axes.texts)
