"""Corruptions of images: functions of float32 [N, 28, 28] in 0..1 and chance, to the same shape.

`CURVES` has those that are measured at rising levels, {kind: (levels, function(images, level, rng))}; `MNIST_C` the
kinds of MNIST-C (Mu & Gilmer, arXiv 1906.02337) at the severities that it was made with, {kind: function(images, rng)}.
They are made anew: motion blur, fog, zigzag and edges are near those of MNIST-C, not the same, and its glass blur is
left out.
"""

from collections.abc import Callable

import cv2
import numpy as np

Generator, Images = np.random.Generator, np.ndarray
SIDE = 28
COLUMNS = np.arange(SIDE, dtype=np.float32)
SHEAR = np.array([[0, 1], [0, 0]])


def mapped(function: Callable[..., np.ndarray], images: Images, *others: np.ndarray) -> Images:
    return np.stack([function(*each) for each in zip(images, *others, strict=True)])


def signs(images: Images, rng: Generator, *shape: int) -> np.ndarray:
    """1 or -1 for each image: [N, *shape]."""
    return rng.choice([-1, 1], (len(images), *shape))


def affine(images: Images, matrices: np.ndarray, offsets: np.ndarray | float = 0) -> Images:
    """Images moved about their centre by matrices [2, 2] or [N, 2, 2], in x and y, then by offsets [N, 2] in pixels."""
    matrices, centre = np.broadcast_to(matrices, (len(images), 2, 2)), np.full(2, (SIDE - 1) / 2)
    moves = np.concatenate([matrices, (centre - matrices @ centre + offsets)[..., None]], 2)
    return mapped(lambda image, move: cv2.warpAffine(image, move, (SIDE, SIDE)), images, moves)


def shift(images: Images, pixels: float, rng: Generator) -> Images:
    """Along x or y, in either direction."""
    offsets = signs(images, rng, 1) * [[pixels, 0]]
    return affine(images, np.eye(2), rng.permuted(offsets, axis=1))


def rotation(images: Images, degrees: float, rng: Generator) -> Images:
    angles = np.radians(degrees) * signs(images, rng)
    turns = np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])
    return affine(images, turns.transpose(2, 0, 1))


def stroke(images: Images, pixels: int, rng: Generator) -> Images:
    """Strokes wider by so many pixels, or thinner."""
    brush = np.ones((abs(pixels) + 1, abs(pixels) + 1), np.uint8)
    return mapped(lambda image: (cv2.dilate if pixels > 0 else cv2.erode)(image, brush), images)


def blur(images: Images, sigma: float, rng: Generator | None = None) -> Images:
    return mapped(lambda image: cv2.GaussianBlur(image, (0, 0), sigma), images)


def impulse_noise(images: Images, rng: Generator) -> Images:
    chance = rng.random(images.shape)
    return np.where(chance < 0.17, np.float32(chance < 0.085), images)


def motion_blur(images: Images, rng: Generator) -> Images:
    """Along a line to one side, by a Gaussian of radius 10 and sigma 3, at -45 to 45°."""
    weights = np.zeros((21, 21), np.float32)
    weights[10, 10:] = np.exp(-(np.arange(11) ** 2) / 18)
    turns = [cv2.getRotationMatrix2D((10, 10), angle, 1) for angle in range(-45, 46)]
    kernels = np.stack([cv2.warpAffine(weights, turn, (21, 21)) for turn in turns])
    kernels /= kernels.sum((1, 2), keepdims=True)
    return mapped(lambda image, kernel: cv2.filter2D(image, -1, kernel), images, rng.choice(kernels, len(images)))


def fog(images: Images, rng: Generator) -> Images:
    """Clouds of octaves, each 1.4² weaker than the one before, in 0..1 on 256 pixels; three times as bright as ink."""
    octaves = [cv2.resize(rng.uniform(-1, 1, (2**k + 1, 2**k + 1, 64)), (256, 256)) / 1.4 ** (2 * k) for k in range(9)]
    clouds = cv2.normalize(np.float32(sum(octaves)), None, 0, 1, cv2.NORM_MINMAX)
    places = rng.integers([0, 0, 0], [64, 228, 228], (len(images), 3))
    return (images + 3 * np.stack([clouds[y : y + SIDE, x : x + SIDE, k] for k, y, x in places])) / 4


def spatter(images: Images, rng: Generator) -> Images:
    drops = blur(0.65 + 0.3 * rng.standard_normal(images.shape, np.float32), 1) > 0.65
    mud = blur(np.float32(drops), 1.5)
    mud[mud < 0.8] = 0
    return images * (1 - mud) + 63 / 255 * mud


def line(images: Images, rows: np.ndarray) -> Images:
    """A line added that is in each column at one of the rows [N, 28]."""
    distance = np.abs(COLUMNS[:, None] - rows[:, None])
    return images + np.clip(np.log(1 - np.minimum(distance, 2.29) / 2.3) + 1, 0, 1)


def dotted_line(images: Images, rng: Generator) -> Images:
    start, end = rng.integers(0, 27, (2, len(images), 1))
    return line(images, np.where(COLUMNS % 4 < 2, -SIDE, start + (end - start) * COLUMNS / 27))


def zigzag(images: Images, rng: Generator) -> Images:
    start, rise = rng.integers([0, -5], [27, 5], (len(images), 2)).T[..., None]
    rows = start + rise * (COLUMNS - 2) / 23 + 2 - np.abs((COLUMNS - 4) % 8 - 4)
    return line(images, np.where((COLUMNS < 2) | (COLUMNS > 25), -SIDE, rows))


def canny_edges(images: Images, rng: Generator) -> Images:
    smooth = np.uint8(255 * blur(images, 1))
    return mapped(lambda image: cv2.Canny(image, 25.5, 51, L2gradient=True), smooth) / np.float32(255)


CURVES = {
    "shift": ((1, 2, 3, 4, 5, 6), shift),
    "rotation": ((5, 10, 15, 20, 25, 30, 35, 40), rotation),
    "scale": ((0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3), lambda images, factor, rng: affine(images, factor * np.eye(2))),
    "stroke": ((-1, 1, 2, 3), stroke),
    "noise": (
        (0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        lambda images, deviation, rng: images + deviation * rng.standard_normal(images.shape, np.float32),
    ),
    "blur": ((0.5, 1, 1.5, 2, 2.5), blur),
}
MNIST_C = {
    "shot noise": lambda images, rng: np.float32(rng.poisson(3 * images)) / 3,
    "impulse noise": impulse_noise,
    "motion blur": motion_blur,
    "shear": lambda images, rng: affine(images, np.eye(2) + 0.4 * signs(images, rng, 1, 1) * SHEAR),
    "scale": lambda images, rng: affine(images, 0.7 * np.eye(2)),
    "rotate": lambda images, rng: rotation(images, np.degrees(0.4), rng),
    "brightness": lambda images, rng: images + 0.5,
    "translate": lambda images, rng: affine(images, np.eye(2), 3 * signs(images, rng, 2)),
    "stripe": lambda images, rng: np.where((COLUMNS < 7) | (COLUMNS >= 21), 1 - images, images),
    "fog": fog,
    "spatter": spatter,
    "dotted line": dotted_line,
    "zigzag": zigzag,
    "canny edges": canny_edges,
}
