"""Each map of a batch against torchvision's functional transform of its images one by one."""

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as oracle

import augmentation
import recipes
from reporting import samples

COUNT = 16


@pytest.fixture
def images(mnist):
    return mnist[0][:COUNT].to_float()


def uniform(generator, low, high):
    return low + (high - low) * torch.rand(COUNT, generator=generator)


def assert_same_image(batch, single):
    torch.testing.assert_close(batch, single, atol=2e-4, rtol=0)


@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_affine_equals_torchvision(images, generator, fill):
    angle, scale, shear = (uniform(generator, *limits) for limits in ((-30, 30), (0.8, 1.2), (-10, 10)))
    translation = torch.stack([uniform(generator, -4, 4), uniform(generator, -4, 4)], 1)
    ours = augmentation.affine(images, angle, translation, scale, shear, "constant", fill)
    draws = (values.tolist() for values in (angle, translation, scale, shear))
    for image, single, *drawn in zip(images, ours, *draws, strict=True):
        assert_same_image(single, oracle.affine(image, *drawn, InterpolationMode.BILINEAR, [fill]))


def test_new_pixels_take_the_nearest_border(images):
    framed = torch.nn.functional.pad(images[..., 1:-1, 1:-1], [1] * 4, value=0.5)  # so that the edge differs from zero
    zero, one = torch.zeros(COUNT), torch.ones(COUNT)
    shift = torch.stack([torch.full((COUNT,), 3.0), zero], 1)
    moved = augmentation.affine(framed, zero, shift, one, zero, "border", 0.0)
    assert_same_image(moved[..., 3:], framed[..., :-3])
    assert_same_image(moved[..., :3], framed[..., :1].expand(-1, -1, -1, 3))


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast"])
def test_brightness_and_contrast_equal_torchvision(images, generator, name):
    factor = uniform(generator, 0.5, 1.5)
    ours = getattr(augmentation, name)(images, factor)
    for index in range(COUNT):
        assert_same_image(ours[index], getattr(oracle, name)(images[index], factor[index].item()))


def test_erase_equals_torchvision(images, generator):
    bounds = augmentation.draw_rectangles(COUNT, 28, 0.7, generator)
    ours = augmentation.erase(images, *bounds, 0.13)
    assert 0 < (bounds[2] == 0).sum() < COUNT
    for index, (top, left, height, width) in enumerate(bounds.int().T.tolist()):
        assert_same_image(ours[index], oracle.erase(images[index], top, left, height, width, torch.tensor(0.13)))


def test_rectangles_keep_their_probability_area_aspect_and_place(generator):
    top, left, height, width = augmentation.draw_rectangles(50_000, 28, 0.2, generator)
    erased = height > 0
    assert abs(erased.float().mean() - 0.2) < 0.01
    top, left, height, width = (bound[erased] for bound in (top, left, height, width))
    area = height * width / 28**2
    assert area.min() > 0.005
    assert area.max() < 0.37
    assert abs(area.mean() - 0.17) < 0.01  # the middle of 2 % and 33 %, a little less by the cut sides
    assert abs((height / width).log().mean()) < 0.03
    assert (top >= 0).all()
    assert (top + height <= 28).all()
    assert (left + width <= 28).all()
    assert abs((top / (28 - height)).mean() - 0.5) < 0.03


@pytest.mark.parametrize(
    "field", [{"degrees": 15}, {"translate": 0.1}, {"scale": 0.1}, {"shear": 5}, {"brightness": 0.2}, {"contrast": 0.2}]
)
def test_every_image_of_a_batch_gets_its_own_draw(mnist, generator, field):
    copies = mnist[0][:1].to_float().expand(64, -1, -1, -1)
    augmented = augmentation.augment(copies, recipes.Recipe(**field), 0.13, generator)
    assert len(augmented.flatten(1).unique(dim=0)) == 64


def test_draws_stay_within_the_recipe(mnist, generator):
    """The centre of a bright dot tells its rotation and shift: none leaves the limits, and they are nearly reached."""
    dots = torch.zeros(4000, 1, 28, 28)
    dots[:, :, 4, 13:15] = 1.0  # above the centre, radius 9.5 pixels
    turned = augmentation.augment(dots, recipes.Recipe(degrees=20), 0.13, generator)
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    mass = turned.sum((1, 2, 3))
    x, y = (turned[:, 0] * columns).sum((1, 2)) / mass - 13.5, (turned[:, 0] * rows).sum((1, 2)) / mass - 13.5
    angle = torch.rad2deg(torch.atan2(x, -y))
    assert 19 < angle.max() < 20.5
    assert -20.5 < angle.min() < -19
    moved = augmentation.augment(dots, recipes.Recipe(translate=0.1), 0.13, generator)
    shift = (moved[:, 0] * columns).sum((1, 2)) / moved.sum((1, 2, 3)) - 13.5
    assert 2.7 < shift.max() < 2.81
    assert math.isclose(shift.mean(), 0, abs_tol=0.1)


def test_the_sample_shows_every_digit_first_as_it_is(mnist, tmp_path, mnist_folder):
    images, captions, columns = samples.augmented(mnist[0], recipes.get_recipe("default"), 0)
    assert images.shape == (10 * columns, 28, 28)
    assert len(captions) == len(images)
    for digit, (original, *drawn) in enumerate(images.reshape(10, columns, 28, 28)):
        first = (mnist[0].labels == digit).nonzero()[0]
        assert (original == mnist[0].index_select(first).to_float()[0, 0].numpy()).all()
        assert all((image != original).any() for image in drawn)
    samples.main(["--data", str(mnist_folder), "--out", str(tmp_path)])
    assert (tmp_path / "augmentation.png").read_bytes().startswith(b"\x89PNG")
