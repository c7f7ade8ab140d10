"""Sprites: many small grey images in one PNG, as a data: URL; a page shows each of them through its view box.

sprites.sprite(images)
"""

import base64
import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

GREYS = 16  # a larger file shows no more of an image of 28 pixels
GAP = 1  # black pixel between two images, so that none shows at the rim of another


class Sprite(NamedTuple):
    """A PNG's data: URL, its size in pixels, and where each image is in it, as an SVG view box."""

    url: str
    width: int
    height: int
    views: list[str]


def sprite(images: np.ndarray, columns: int = 20) -> Sprite:
    """Images [N, H, W] in 0..1, so many in a row of the sprite."""
    height, width = images.shape[1:]
    down, across = height + GAP, width + GAP
    sheet = np.zeros((down * max(1, math.ceil(len(images) / columns)), across * columns), np.uint8)
    views = []
    for index, image in enumerate(np.rint(images * (GREYS - 1)) * (255 // (GREYS - 1))):
        top, left = down * (index // columns), across * (index % columns)
        sheet[top : top + height, left : left + width] = image
        views.append(f"{left} {top} {width} {height}")
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Sprite(url, sheet.shape[1], sheet.shape[0], views)
