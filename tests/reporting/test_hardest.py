"""What the report says of training images that stayed hard."""

import math

import pytest
import torch

import data
from reporting import hardest


def selection(losses, shown):
    return {"losses": torch.tensor(losses), "shown": torch.tensor(shown, dtype=torch.int32)}


def test_the_hardest_come_first_and_those_never_shown_last():
    given = selection([0.5, math.inf, 2.0, 1.0, math.nan], [3, 0, 9, 4, 2])
    assert hardest.listed(given)[:3] == [2, 3, 0]
    images = data.Images(torch.zeros(5, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 2, 1, 0]))
    assert hardest.describe(hardest.listed(given), given, images, ("zero", "one", "two"))[:2] == [
        ("two", 9),
        ("one", 4),
    ]


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([12] * 50, "Every image was shown 12 times."),
        ([1] * 50, "Every image was shown 1 time."),
        ([2] * 98 + [9] * 4, "shown 2 times or less, at the least 2; one in a hundred 9 times or more, at the most 9."),
    ],
)
def test_how_often_images_were_shown_is_said_in_words(counts, said):
    assert said in hardest.shown(selection([0.0] * len(counts), counts))
