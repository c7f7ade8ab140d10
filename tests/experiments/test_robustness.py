from types import SimpleNamespace

from support import UserError

import cv2
import numpy as np
import pytest
import torch

import data
from deployment.pictures import Digit
from experiments import robustness
from experiments.corruptions import CORRUPTIONS

PLAIN = np.zeros((20, 28, 28), np.float32)
PLAIN[:, 5:23, 12:15] = 1  # a line, three pixels wide


def rng():
    return np.random.default_rng(0)


def level_of(kind, level, images=PLAIN):
    return CORRUPTIONS[kind][1](images, level, rng())


def centres(images):
    y, x = np.mgrid[:28, :28]
    return np.stack([(images * axis).sum((1, 2)) / images.sum((1, 2)) for axis in (x, y)], 1)


def test_corruptions_keep_the_shape_change_the_images_and_come_from_the_seed_alone():
    for kind, (levels, _) in CORRUPTIONS.items():
        first, second = (level_of(kind, levels[-1]) for _ in range(2))
        assert first.shape == PLAIN.shape, kind
        assert np.abs(first - PLAIN).max() > 0.2 or kind == "plain", kind
        assert (first == second).all(), kind


def test_images_move_by_the_pixels_that_are_asked_for():
    moves = np.abs(centres(level_of("shift", 3)) - centres(PLAIN))
    assert {(round(x), round(y)) for x, y in moves} == {(3, 0), (0, 3)}
    assert level_of("shift", 3).sum() == pytest.approx(PLAIN.sum())


def test_images_turn_to_both_sides_by_the_degrees_that_are_asked_for():
    angles = set()
    for image in level_of("rotation", 20):
        points = np.argwhere(image > 0.5)[:, ::-1].astype(np.float32)
        x, y = cv2.fitLine(points, cv2.DIST_L2, 0, 0.01, 0.01)[:2, 0]
        angles.add(round(np.degrees(np.arctan(x / y))))
    assert angles == {-20, 20}


def test_strokes_get_wider_by_the_pixels_that_are_asked_for_and_images_smaller_by_the_factor():
    assert {pixels: level_of("stroke", pixels)[0, 14].sum() for pixels in (-1, 1, 3)} == {-1: 2, 1: 4, 3: 6}
    assert level_of("scale", 0.5).sum() / PLAIN.sum() == pytest.approx(0.25, abs=0.05)


def test_noise_has_the_published_amounts():
    grey = np.full((50, 28, 28), 0.5, np.float32)
    struck = level_of("MNIST-C, impulse noise", None, grey)
    assert [(struck == value).mean() for value in (0, 1)] == pytest.approx([0.085, 0.085], abs=0.005)
    assert level_of("MNIST-C, shot noise", None, grey).std() == pytest.approx((0.5 / 3) ** 0.5, abs=0.01)  # Poisson's
    assert (level_of("noise", 0.2, grey) - grey).std() == pytest.approx(0.2, abs=0.01)


def digit(name, is_sure=True):
    return Digit(np.zeros((28, 28), np.uint8), (0, 0, 9, 9), np.eye(10)[name], is_sure, "")


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ([digit(4), digit(2), digit(7)], {"right", "guessed"}),
        ([digit(4), digit(2, is_sure=False), digit(7)], {"guessed"}),
        ([digit(4), digit(1, is_sure=False), digit(7)], set()),
        ([digit(4), digit(1), digit(7)], {"wrong"}),
        ([digit(4), digit(2)], {"wrong"}),
        ([], set()),
    ],
)
def test_what_comes_of_a_picture_is_counted_once(digits, expected, monkeypatch):
    def read(content, name, reader):
        if not digits:
            raise UserError("no digit")
        return digits

    monkeypatch.setattr(robustness.pictures, "read", read)
    reader = SimpleNamespace(classes=list("0123456789"))
    outcome = robustness.outcome(reader, lambda: ("42_7", b""))
    assert {name for name, is_so in outcome.items() if is_so} == expected


def test_accuracies_are_of_all_test_images_of_a_networks_own_data_set():
    """A network that tells light images from dark ones."""
    labels = torch.tensor([0, 1, 1, 1])
    pixels = (50 + 100 * labels[:, None, None, None]).expand(4, 1, 28, 28).to(torch.uint8)
    tested = {"mine": data.Images(pixels, labels), "other": data.Images(255 - pixels, labels)}
    read = {"facts": {"dataset": "mine"}, "read": lambda seen: np.eye(2)[(seen[:, 14, 14] > 100).astype(int)]}
    for run, accuracy in {("plain", None): 100, ("shift", 1): 100, ("MNIST-C, brightness", None): 75}.items():
        row = robustness.accuracies([SimpleNamespace(name="light", **read)], tested, run)
        assert row == {"kind": run[0], "level": run[1], "accuracy": {"light": accuracy}}


def test_optdigits_are_pages_of_240_pixels():
    drawings = robustness.drawings("development")["optdigits"]
    assert len(drawings) == 1797
    label, content = drawings[0]()
    page = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (label, page.shape) == ("0", (240, 240))
    assert (page[:40] == 255).all()
    assert page[40:200, 40:200].min() < 30
