"""Augmentation: random transforms of whole batches on the device, with a draw of its own for every image.

Images are floats in 0..1, [N, 1, H, W]. Each transform takes one parameter per image, and equals torchvision's
functional transform applied to the images one by one; torchvision's own random transforms draw once per batch.
"""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from recipes import Recipe


def augment(images: Tensor, recipe: Recipe, erased: float, generator: torch.Generator) -> Tensor:
    """Apply every transform that the recipe asks for, in the order affine, brightness, contrast, random erasing.

    `generator` is on the CPU, whatever the device; `erased` is the value in erased rectangles."""
    count, width = len(images), images.shape[-1]

    def draw(limit: float, centre: float = 0.0) -> Tensor:
        return (centre + limit * (2 * torch.rand(count, generator=generator) - 1)).to(images.device)

    if recipe.degrees or recipe.translate or recipe.scale or recipe.shear:
        translate = torch.stack([draw(recipe.translate * width), draw(recipe.translate * width)], 1)
        angle, scale, shear = draw(recipe.degrees), draw(recipe.scale, 1), draw(recipe.shear)
        images = affine(images, angle, translate, scale, shear, recipe.padding_mode, recipe.fill / 255)
    if recipe.brightness:
        images = adjust_brightness(images, draw(recipe.brightness, 1))
    if recipe.contrast:
        images = adjust_contrast(images, draw(recipe.contrast, 1))
    if recipe.random_erasing:
        rectangles = draw_rectangles(count, width, recipe.random_erasing, generator)
        images = erase(images, *rectangles.to(images.device), erased)
    return images


def affine(
    images: Tensor, angle: Tensor, translate: Tensor, scale: Tensor, shear: Tensor, padding_mode: str, fill: float
) -> Tensor:
    """Rotate by `angle` (degrees, [N]), shear along x (degrees, [N]), scale ([N]), then shift by `translate` (pixels,
    [N, 2]: right, down), with bilinear interpolation: torchvision.transforms.functional.affine, for square images.

    New pixels take the value `fill`, or with padding_mode="border" that of the nearest pixel."""
    grid = sampling_grid(images.shape[-1], angle, translate, scale, shear)
    padding_mode = "zeros" if padding_mode == "constant" else padding_mode
    if fill and padding_mode == "zeros":  # zeros outside of (image - fill) are `fill` outside of the image
        return functional.grid_sample(images - fill, grid, padding_mode=padding_mode, align_corners=False) + fill
    return functional.grid_sample(images, grid, padding_mode=padding_mode, align_corners=False)


def sampling_grid(width: int, angle: Tensor, translate: Tensor, scale: Tensor, shear: Tensor) -> Tensor:
    """[N, width, width, 2]: where each pixel of the new image lies in the old one, which spans -1..1, as x and y.

    A sum of a part per row and one per column, of complex numbers x + iy: ten times as fast as torch's affine_grid, a
    matrix product per pixel."""
    theta, slant = torch.deg2rad(angle), torch.tan(torch.deg2rad(shear))
    cosine, sine = torch.cos(theta) / scale, torch.sin(theta) / scale
    along_x = torch.complex(cosine - slant * sine, -sine)
    along_y = torch.complex(sine + slant * cosine, cosine)
    centres = (2 * torch.arange(width, device=angle.device) + 1 - width) / width
    right, down = (translate * (2 / width)).unbind(1)
    columns = along_x[:, None] * (centres - right[:, None])
    rows = along_y[:, None] * (centres - down[:, None])
    return torch.view_as_real(rows[:, :, None] + columns[:, None, :])


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor` ([N]) and clamp to 0..1."""
    return (images * factor.view(-1, 1, 1, 1)).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from each image's mean by `factor` ([N]) and clamp to 0..1."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (images - mean) * factor.view(-1, 1, 1, 1)).clamp(0, 1)


def draw_rectangles(count: int, width: int, probability: float, generator: torch.Generator) -> Tensor:
    """[4, N]: top, left, height and width of the rectangle to erase in each image; height 0 for none.

    Random erasing (Zhong et al., arXiv 1708.04896) with torchvision's defaults: 2 to 33 % of the area, aspect ratio 0.3
    to 3.3. Where torchvision draws again because a side does not fit, the side is clipped here."""
    hit, area, aspect, top, left = torch.rand(5, count, generator=generator)
    area = (0.02 + 0.31 * area) * width**2
    aspect = torch.exp(math.log(0.3) + aspect * math.log(3.3 / 0.3))
    height = (area * aspect).sqrt().round().clamp(max=width - 1) * (hit < probability)
    breadth = (area / aspect).sqrt().round().clamp(max=width - 1)
    return torch.stack([(top * (width - height + 1)).floor(), (left * (width - breadth + 1)).floor(), height, breadth])


def erase(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, value: float) -> Tensor:
    """Set one rectangle of each image to `value`; the four bounds are [N], in pixels."""
    pixel = torch.arange(images.shape[-1], device=images.device)
    rows = (pixel >= top[:, None]) & (pixel < (top + height)[:, None])  # [N, H]
    columns = (pixel >= left[:, None]) & (pixel < (left + width)[:, None])  # [N, W]
    return images.masked_fill((rows[:, :, None] & columns[:, None, :]).unsqueeze(1), value)
