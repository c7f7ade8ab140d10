"""Augmentation: random maps of whole batches on the device, a draw of its own for every image.

    python augmentation.py --recipe default [--seed 0] [--data data] [--out DIR] and every field of a recipe as a flag

writes augmentation.png: the digits as they are, and as the recipe shows them to the network.

Images are floats in 0..1, [N, 1, 28, 28]. Each map takes one parameter an image, and equals torchvision's functional
transform applied to the images one by one (tests/test_augmentation.py); torchvision's own random transforms draw once
for a whole batch.
"""

import argparse
import math
import sys

import torch
import torch.nn.functional as functional

import cli
import data
import recipes
import results

DRAWS = 7  # of each digit that is shown


def augment(images, settings, erased, generator):
    """Every map that `settings` (a Recipe) asks for, in the order affine, brightness, contrast, erasing.

    `generator` is on the CPU, whatever the device; `erased` is the value in erased
    rectangles."""
    count = len(images)

    def draw(limit, centre=0.0):
        return (centre + limit * (2 * torch.rand(count, generator=generator) - 1)).to(images.device)

    if settings.rotation or settings.translation or settings.zoom or settings.shear:
        width = images.shape[-1]
        translation = torch.stack([draw(settings.translation * width), draw(settings.translation * width)], 1)
        angle, scale, shear = draw(settings.rotation), draw(settings.zoom, 1), draw(settings.shear)
        images = affine(images, angle, translation, scale, shear, settings.edge, settings.fill / 255)
    if settings.brightness:
        images = brightness(images, draw(settings.brightness, 1))
    if settings.contrast:
        images = contrast(images, draw(settings.contrast, 1))
    if settings.erasing:
        rectangle = rectangles(count, images.shape[-1], settings.erasing, generator)
        images = erase(images, *rectangle.to(images.device), erased)
    return images


def affine(images, angle, translation, scale, shear, edge="fill", fill=0.0):
    """Rotate by `angle` (degrees), shear along x (degrees), scale, then move by `translation` (pixels, [N, 2]: right,
    down), bilinear.

    As torchvision.transforms.functional.affine does, for square images. New pixels take the value `fill`, or with
    edge="nearest" the nearest pixel of the image."""
    grid = sampling_grid(images.shape[-1], angle, translation, scale, shear)
    if edge == "nearest":
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    # Zeros outside of (image - fill) are `fill` outside of the image.
    return functional.grid_sample(images - fill, grid, padding_mode="zeros", align_corners=False) + fill


def sampling_grid(width, angle, translation, scale, shear):
    """[N, width, width, 2]: where each pixel of the new image lies in the old one, which spans -1..1, as x and y.

    The sum of a part that depends on the row and one that depends on the column: six times as fast on a processor as
    torch's affine_grid, which multiplies a small matrix for every pixel."""
    turn, slant = torch.deg2rad(angle), torch.tan(torch.deg2rad(shear))
    cosine, sine = torch.cos(turn) / scale, torch.sin(turn) / scale
    inverse = ((cosine - slant * sine, sine + slant * cosine), (-sine, cosine))
    centres = (2 * torch.arange(width, device=angle.device) + 1 - width) / width
    right, down = translation.unbind(1)
    grid = torch.empty(len(angle), width, width, 2, device=angle.device)
    for axis, (along_x, along_y) in enumerate(inverse):
        offset = (along_x * right + along_y * down) * (2 / width)
        rows = torch.outer(along_y, centres) - offset[:, None]
        torch.add(rows[:, :, None], torch.outer(along_x, centres)[:, None, :], out=grid[..., axis])
    return grid


def brightness(images, factor):
    """Multiply by `factor` ([N]) and clamp to 0..1."""
    return (images * factor.view(-1, 1, 1, 1)).clamp(0, 1)


def contrast(images, factor):
    """Move away from each image's mean by `factor` ([N]) and clamp to 0..1."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * factor.view(-1, 1, 1, 1)).clamp(0, 1)


def rectangles(count, width, probability, generator):
    """[4, N]: top, left, height and width of the rectangle to erase in each image; height 0 where none is.

    Random erasing (Zhong et al., arXiv 1708.04896) with torchvision's defaults: 2 to 33 % of the area, aspect .3 to
    3.3. Where torchvision draws again because a side does not fit, the side is cut to fit."""
    hit, area, aspect, top, left = torch.rand(5, count, generator=generator)
    area = (0.02 + 0.31 * area) * width**2
    aspect = torch.exp(math.log(0.3) + aspect * math.log(3.3 / 0.3))
    height = (area * aspect).sqrt().round().clamp(max=width - 1) * (hit < probability)
    breadth = (area / aspect).sqrt().round().clamp(max=width - 1)
    return torch.stack([(top * (width - height + 1)).floor(), (left * (width - breadth + 1)).floor(), height, breadth])


def erase(images, top, left, height, width, value):
    """Set one rectangle of each image to `value`; the four bounds are [N], in pixels."""
    pixel = torch.arange(images.shape[-1], device=images.device)
    rows = (pixel >= top[:, None]) & (pixel < (top + height)[:, None])  # [N, 28]
    columns = (pixel >= left[:, None]) & (pixel < (left + width)[:, None])
    return images.masked_fill((rows[:, :, None] & columns[:, None, :]).unsqueeze(1), value)


def samples(images, recipe, seed):
    """(images [10 * (1 + DRAWS), 28, 28] in 0..1, captions): of Images the first of each digit, and draws of it."""
    first = [int((images.labels == digit).nonzero()[0]) for digit in range(10)]
    originals = images.take(torch.tensor(first, device=images.labels.device)).floats().cpu()
    mean = data.Normalisation.of(images).mean
    generator = torch.Generator().manual_seed(seed)
    drawn = augment(originals.repeat_interleave(DRAWS, 0), recipe, mean, generator).view(10, DRAWS, 28, 28)
    shown = torch.cat([originals, drawn], 1).flatten(0, 1)
    return shown, ["as it is"] + [""] * (len(shown) - 1)


def main(argv=None):
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_data()
    recipes.add_flags(parser)
    arguments = parser.parse_args(argv)
    try:
        recipe, seed = recipes.chosen(arguments)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    images, _ = data.load(arguments.data)
    import pictures  # matplotlib takes a second to import

    path = (arguments.out or results.run_folder(recipe.name, seed)) / "augmentation.png"
    pictures.save(path, pictures.digits, *samples(images, recipe, seed), 1 + DRAWS)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
