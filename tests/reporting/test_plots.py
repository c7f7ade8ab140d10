from support.intervals import wilson_interval

import numpy
import pytest
from matplotlib import image

from reporting import plots

HISTORY = [
    {
        "epoch": epoch,
        "train_accuracy": 90 + epoch,
        "test_accuracy": 100.0,  # no error at all, on an axis of errors
        "train_loss": 1 / epoch,
        "val_loss": 0.5 / epoch,
        "test_loss": 0.3 / epoch,
    }
    for epoch in (1, 2, 3)
]
CONTENT = {
    plots.accuracy: (HISTORY,),
    plots.loss: (HISTORY[:1],),
    plots.learning_rate: ([0.1, 0.2, 0.1], 1),
    plots.smoothed_loss: (HISTORY,),
    plots.per_class: ([[99, 1], [0, 70]], ("0", "7")),
    plots.confusion: (numpy.diag(numpy.arange(10)) + numpy.eye(10, k=2, dtype=int), list("0123456789")),
    plots.image_grid: (numpy.eye(28)[None].repeat(7, 0), ["4→9 87 %"] * 6 + ["8"], 3),
}


@pytest.mark.parametrize("plot", CONTENT)
def test_every_plot_is_drawn_as_a_file(tmp_path, plot):
    plots.save(tmp_path / "plot.png", plot, *CONTENT[plot])
    pixels = image.imread(tmp_path / "plot.png")[..., :3]
    assert pixels[0, 0].tolist() == [1, 1, 1]
    assert pixels.std() > 0.02  # something is on it


@pytest.mark.parametrize(
    ("train", "test"), [(99.2, 99.3), (88, 87), (9.8, 9.8), (0, 0), (100, 100), (0, 100), (50, 50), (98.1, 99.62)]
)
def test_accuracies_are_told_exactly_and_their_axis_has_marks(train, test):
    figure = plots.accuracy([{**HISTORY[0], "train_accuracy": train, "test_accuracy": test}])
    (axes,) = figure.axes
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == [f"train: {train:.2f} % at the end", f"test: {test:.2f} % at the end"]
    lowest, highest = sorted(axes.get_ylim())
    assert sum(lowest <= tick <= highest for tick in axes.get_yticks()) >= 2
    assert all(lowest <= error <= highest for line in axes.lines for error in line.get_ydata())
    plots.pyplot.close(figure)


def test_a_rate_that_drops_between_epochs_is_drawn_as_a_step():
    figure = plots.learning_rate([0.1, 0.1, 0.01], 1)
    (line,) = figure.axes[0].lines
    assert line.get_drawstyle() == "steps-post"
    assert line.get_xydata().tolist() == [[0, 0.1], [1, 0.1], [2, 0.01], [3, 0.01]]
    plots.pyplot.close(figure)


def test_a_rate_of_every_step_is_drawn_as_a_line():
    figure = plots.learning_rate([0.1, 0.2, 0.1, 0.05], 2)
    (line,) = figure.axes[0].lines
    assert line.get_drawstyle() == "default"
    assert line.get_xdata().tolist() == [0, 0.5, 1, 1.5, 2]
    plots.pyplot.close(figure)


def test_a_loss_with_label_smoothing_shares_no_axis_with_one_without():
    together, apart = plots.loss(HISTORY), plots.smoothed_loss(HISTORY)
    labels = [[line.get_label().split(":")[0] for line in axes.lines] for axes in (*together.axes, *apart.axes)]
    assert labels == [["train", "validation", "test"], ["train"], ["validation", "test"]]
    plots.pyplot.close(together)
    plots.pyplot.close(apart)


@pytest.mark.parametrize("losses", [(0.5, 0.5), (0.5, 0.45), (0.6, 0.3), (2.0, 0.4), (2.3, 0.02), (5e-4, 1e-4)])
def test_an_axis_of_losses_has_marks_but_not_too_many(losses):
    history = [
        {"epoch": epoch, "train_loss": 0.5 + loss, "val_loss": loss, "test_loss": loss}
        for epoch, loss in enumerate(losses, 1)
    ]
    figure = plots.smoothed_loss(history)
    for axes, most in zip(figure.axes, (5, 8), strict=True):
        low, high = axes.get_ylim()
        assert all(low <= loss <= high for line in axes.lines for loss in line.get_ydata())
        assert 2 <= sum(low <= tick <= high for tick in axes.get_yticks()) <= most
    plots.pyplot.close(figure)


def test_the_accuracy_of_a_class_is_drawn_with_wilsons_interval():
    figure = plots.per_class([[99, 1, 0], [0, 0, 0], [5, 5, 190]], ("a", "b", "c"))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "c"]  # b has no images
    (bars,) = axes.collections
    spans = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert spans == [pytest.approx(wilson_interval(99, 100)), pytest.approx(wilson_interval(95, 200))]
    plots.pyplot.close(figure)


def test_long_names_of_runs_stay_within_the_plot():
    name = "default-epochs3-" + "-".join(f"setting{index}0.1" for index in range(8)) + "-seed0"
    figure = plots.accuracies({name: HISTORY, "other": HISTORY}, "test")
    legend = figure.axes[0].get_legend()
    lines = [line for text in legend.get_texts() for line in text.get_text().split("\n")]
    assert "".join(lines) == name + "other"
    assert max(map(len, lines)) <= plots.LINE
    plots.pyplot.close(figure)


def test_digits_are_shown_as_they_are(tmp_path):
    path = tmp_path / "digits.png"
    plots.save(path, plots.image_grid, numpy.ones((1, 28, 28)), [""], 1)
    ink = image.imread(path)[..., 0] < 0.5
    assert ink.any(0).sum() == ink.any(1).sum()  # a square stays a square


def test_no_picture_of_nothing_fails(tmp_path):
    plots.save(tmp_path / "none.png", plots.image_grid, numpy.zeros((0, 28, 28)), [], 6)
    plots.save(tmp_path / "perfect.png", plots.confusion, numpy.diag([5] * 10), list("0123456789"))
    assert all(image.imread(path).size for path in tmp_path.iterdir())


def test_epochs_are_whole_numbers_even_when_there_is_one():
    figure = plots.loss(HISTORY[:1])
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    plots.pyplot.close(figure)


def test_long_captions_take_two_lines_and_fewer_columns():
    images = numpy.zeros((6, 28, 28))
    for caption, expected in (("4→9 87 %", 6), ("T-shirt/top→Pullover 87 %", 5)):
        figure = plots.image_grid(images, [caption] * 6, 6)
        (axes,) = figure.axes
        assert len({text.get_position()[0] for text in axes.texts}) == expected
        assert all(max(map(len, text.get_text().split("\n"))) <= 15 for text in axes.texts)
        plots.pyplot.close(figure)
