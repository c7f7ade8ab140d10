import numpy
import pytest
from matplotlib import image

import pictures

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
    pictures.accuracy: (HISTORY,),
    pictures.loss: (HISTORY[:1],),
    pictures.rate: ([0.1, 0.2, 0.1], 1),
    pictures.per_class: ({"0": 99.1, "7": 100.0},),
    pictures.confusion: (numpy.diag(numpy.arange(10)) + numpy.eye(10, k=2, dtype=int),),
    pictures.digits: (numpy.eye(28)[None].repeat(7, 0), ["4→9 87 %"] * 6 + ["8!"], 3),
}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("picture", CONTENT)
def test_every_picture_is_drawn_for_light_and_for_dark(tmp_path, picture, dark):
    path = tmp_path / "picture.png"
    path.write_bytes(pictures.render(picture, *CONTENT[picture], dark=dark))
    pixels = image.imread(path)[..., :3]
    assert (pixels[0, 0].mean() < 0.5) == dark
    assert pixels.std() > 0.02  # something is on it


def test_digits_are_shown_as_they_are(tmp_path):
    path = tmp_path / "digits.png"
    pictures.save(path, pictures.digits, numpy.ones((1, 28, 28)), [""], 1)
    ink = image.imread(path)[..., 0] < 0.5
    assert ink.any(0).sum() == ink.any(1).sum()  # a square stays a square


def test_no_picture_of_nothing_fails(tmp_path):
    pictures.save(tmp_path / "none.png", pictures.digits, numpy.zeros((0, 28, 28)), [], 6)
    pictures.save(tmp_path / "perfect.png", pictures.confusion, numpy.diag([5] * 10))
    assert all(image.imread(path).size for path in tmp_path.iterdir())
