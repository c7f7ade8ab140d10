"""Corruptions of images: functions of float32 [N, 28, 28] in 0..1, a level, and chance, to the same shape.

`CORRUPTIONS` has the levels at which each kind is measured, {kind: (levels, function(images, level, rng))}. The kinds
of MNIST-C (Mu & Gilmer, arXiv 1906.02337) have the severity that it was made with, and no levels. They are made anew,
fog and edges near those of MNIST-C, not the same; those that do like another kind here are left out.
"""

import cv2
import numpy as np

Generator, Images = np.random.Generator, np.ndarray
SIDE = 28
COLUMNS = np.arange(SIDE, dtype=np.float32)
SHEAR = np.array([[0, 1], [0, 0]])
ONCE = (None,)


def signs(images: Images, rng: Generator, *shape: int) -> np.ndarray:
    """1 or -1 for each image: [N, *shape]."""
    return rng.choice([-1, 1], (len(images), *shape))


def affine(images: Images, matrices: np.ndarray, offsets: np.ndarray | float = 0) -> Images:
    """Images moved about their centre by matrices [2, 2] or [N, 2, 2], in x and y, then by offsets [N, 2] in pixels."""
    matrices, centre = np.broadcast_to(matrices, (len(images), 2, 2)), np.full(2, (SIDE - 1) / 2)
    moves = np.concatenate([matrices, (centre - matrices @ centre + offsets)[..., None]], 2)
    return np.stack([cv2.warpAffine(*each, (SIDE, SIDE)) for each in zip(images, moves, strict=True)])


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
    return np.stack([(cv2.dilate if pixels > 0 else cv2.erode)(image, brush) for image in images])


def blur(images: Images, sigma: float, rng: Generator | None = None) -> Images:
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])


def impulse_noise(images: Images, _: None, rng: Generator) -> Images:
    chance = rng.random(images.shape)
    return np.where(chance < 0.17, np.float32(chance < 0.085), images)


def fog(images: Images, _: None, rng: Generator) -> Images:
    """Clouds of octaves, each 1.4² weaker than the one before, in 0..1 on 256 pixels; three times as bright as ink."""
    octaves = [cv2.resize(rng.uniform(-1, 1, (2**k + 1, 2**k + 1, 64)), (256, 256)) / 1.4 ** (2 * k) for k in range(9)]
    clouds = cv2.normalize(np.float32(sum(octaves)), None, 0, 1, cv2.NORM_MINMAX)
    places = rng.integers([0, 0, 0], [64, 228, 228], (len(images), 3))
    return (images + 3 * np.stack([clouds[y : y + SIDE, x : x + SIDE, k] for k, y, x in places])) / 4


def spatter(images: Images, _: None, rng: Generator) -> Images:
    drops = blur(0.65 + 0.3 * rng.standard_normal(images.shape, np.float32), 1) > 0.65
    mud = blur(np.float32(drops), 1.5)
    mud[mud < 0.8] = 0
    return images * (1 - mud) + 63 / 255 * mud


def dotted_line(images: Images, _: None, rng: Generator) -> Images:
    start, end = rng.integers(0, 27, (2, len(images), 1))
    rows = np.where(COLUMNS % 4 < 2, -SIDE, start + (end - start) * COLUMNS / 27)
    distance = np.abs(COLUMNS[:, None] - rows[:, None])
    return images + np.clip(np.log(1 - np.minimum(distance, 2.29) / 2.3) + 1, 0, 1)


def canny_edges(images: Images, _: None, rng: Generator) -> Images:
    smooth = np.uint8(255 * blur(images, 1))
    return np.stack([cv2.Canny(image, 25.5, 51, L2gradient=True) for image in smooth]) / np.float32(255)


CORRUPTIONS = {
    "plain": (ONCE, lambda images, _, rng: images),
    "shift": ((1, 2, 3, 4, 5, 6), shift),
    "rotation": ((5, 10, 15, 20, 25, 30, 35, 40), rotation),
    "scale": ((0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3), lambda images, factor, rng: affine(images, factor * np.eye(2))),
    "stroke": ((-1, 1, 2, 3), stroke),
    "noise": (
        (0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        lambda images, deviation, rng: images + deviation * rng.standard_normal(images.shape, np.float32),
    ),
    "blur": ((0.5, 1, 1.5, 2, 2.5), blur),
    "MNIST-C, shot noise": (ONCE, lambda images, _, rng: np.float32(rng.poisson(3 * images)) / 3),
    "MNIST-C, impulse noise": (ONCE, impulse_noise),
    "MNIST-C, shear": (ONCE, lambda images, _, rng: affine(images, np.eye(2) + 0.4 * signs(images, rng, 1, 1) * SHEAR)),
    "MNIST-C, brightness": (ONCE, lambda images, _, rng: images + 0.5),
    "MNIST-C, stripe": (ONCE, lambda images, _, rng: np.where((COLUMNS < 7) | (COLUMNS >= 21), 1 - images, images)),
    "MNIST-C, fog": (ONCE, fog),
    "MNIST-C, spatter": (ONCE, spatter),
    "MNIST-C, dotted line": (ONCE, dotted_line),
    "MNIST-C, canny edges": (ONCE, canny_edges),
}
