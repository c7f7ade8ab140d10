"""The strokes in a picture, whatever they were drawn with and however they are lit.

    find(picture)    how much ink each pixel has, and which pixels are strokes

Ink is how much darker a pixel is than the paper around it, relative to it, so a shadow cancels. The paper is a
morphological closing wider than any stroke, and the threshold a share of the contrast that the strokes have.
"""

from typing import NamedTuple

from support import UserError

import cv2
import numpy as np

from deployment.sheet import channels, crop, shrink, square

SIDE = 800  # pixels, longer side of the picture in which strokes are looked for
PAPER_SIDE = 200  # pixels, longer side of the picture in which the paper is looked for
REACH = 0.4  # of the longer side: how far the paper is looked for around ink, wider than any stroke
FEW_PIXELS = 200  # the longer side of a picture in which a stroke is a few pixels wide
DARKEST_PAPER = 0.3  # of the brightest: in deeper shadow no ink is amplified
FAINTEST = 0.06  # ink that can be told from the paper
NOISE = 6  # times the lower spread of the paper, above which is no noise
STRONG, WEAK = 0.4, 0.16  # of the strokes' ink: what is a stroke, and what continues one
LOG = (255 * np.log1p(np.arange(256) / 64) / np.log1p(255 / 64)).round().astype(np.uint8)  # ratios as differences
DARKER = "write it darker, fill more of the picture with it, or photograph it in better light"


class Strokes(NamedTuple):
    """What find() tells of a picture: its ink, float32 [H, W], about 1 at the darkest; where strokes are, bool [H, W];
    and of the picture's own pixels how many are one of these, and where the first lies."""

    ink: np.ndarray
    mask: np.ndarray
    scale: float
    corner: tuple[float, float]

    def box(self, piece: "Piece") -> tuple[int, ...]:
        """A piece's box (x, y, width, height) in the picture's own pixels."""
        return tuple(round(self.scale * each) for each in np.add(piece[:4], (*self.corner, 0, 0)))


class Piece(NamedTuple):
    """Ink that is connected, or belongs together: its box in pixels, its area, and its labels in an image."""

    x: int
    y: int
    width: int
    height: int
    area: int
    labels: tuple[int, ...]

    @property
    def length(self) -> int:
        return max(self.width, self.height)

    @property
    def is_flat(self) -> bool:
        return self.height < 0.2 * self.width

    @property
    def place(self) -> tuple[slice, slice]:
        return np.s_[self.y : self.y + self.height, self.x : self.x + self.width]

    def touches_edge(self, shape: tuple[int, ...]) -> bool:
        return min(self.x, self.y, shape[1] - self.x - self.width, shape[0] - self.y - self.height) == 0


def find(picture: np.ndarray) -> Strokes:
    """The strokes in a picture, uint8 [H, W, 3]. Raises UserError, without the file's name, where there are none."""
    small = shrink(picture, SIDE)
    sheet, corner = crop(small)
    dark = dark_channel(sheet)
    if max(dark.shape) > FEW_PIXELS:
        dark = cv2.GaussianBlur(dark, (0, 0), 1)
    strokes(ink_of(dark, goes_on=True))  # a bare page that only grows darker towards its edge has none
    ink = ink_of(dark, goes_on=corner is not None)
    return Strokes(ink, strokes(ink), max(picture.shape) / max(small.shape), corner or (0, 0))


def odd(size: float) -> int:
    return max(3, int(size) | 1)


def disc(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def sample(values: np.ndarray) -> np.ndarray:
    """Every so many values of [H, W] that quantiles of them take little time."""
    step = -(-max(values.shape) // PAPER_SIDE)
    return values[::step, ::step]


def dark_channel(picture: np.ndarray) -> np.ndarray:
    """The channel in which the strokes differ most from what is around them, as dark strokes on light: uint8 [H, W].

    What is around is a median over more than half of the picture; the residuals of the side that the ink is on weigh
    more than those of its background's light."""
    choices = []
    for channel, weight in zip(channels(picture), (1.5, 1, 1, 1), strict=True):  # grey has the least noise
        small = LOG[shrink(channel, 160)]
        size = odd(min(0.6 * max(small.shape), 255))
        darker = cv2.medianBlur(small, size).astype(np.float32) - small
        for sign, values in ((1, channel), (-1, 255 - channel)):
            energy = weight * np.square(np.clip(sign * darker - 8, 0, None)).sum()
            choices.append((energy, values))
    return max(choices, key=lambda choice: choice[0])[1]


def ink_of(dark: np.ndarray, goes_on: bool) -> np.ndarray:
    """How much darker each pixel is than the paper around it: float32 [H, W], about 0 on the paper, 1 at the darkest.
    A sheet that was cut out goes on beyond its edge: dark strips there are no strokes."""
    small = shrink(dark, PAPER_SIDE)
    size = odd(REACH * min(small.shape))
    margin = size // 2 if goes_on else 0
    padded = cv2.copyMakeBorder(small, *(margin,) * 4, cv2.BORDER_REPLICATE)
    paper = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, square(size))
    paper = paper[margin : margin + small.shape[0], margin : margin + small.shape[1]].astype(np.float32)
    paper = np.maximum(cv2.resize(paper, dark.shape[::-1], interpolation=cv2.INTER_LINEAR), dark)
    ink = (paper - dark) / np.maximum(paper, max(DARKEST_PAPER * np.quantile(sample(paper), 0.95), 1))
    return ink - np.quantile(sample(ink), 0.25)


def strokes(ink: np.ndarray) -> np.ndarray:
    """Where strokes are, bool [H, W]: strong ink, and weak ink that continues it. Raises UserError for a page that has
    nothing on it."""
    low, lower = np.quantile(sample(ink), [0.25, 0.05])
    faintest = NOISE * (low - lower) + FAINTEST
    visible = ink[ink > faintest]
    if visible.size == 0:
        raise UserError(f"shows no digit, the page is blank or the digit too faint: {DARKER}")
    most = np.quantile(visible, 0.9)
    strong = ink > max(faintest, STRONG * most)
    labels, pieces = connected(ink > max(faintest, WEAK * most))
    inner = [label for piece in pieces for label in piece.labels if not piece.touches_edge(ink.shape)]
    return strong | np.isin(labels, np.intersect1d(labels[strong], inner))


def connected(mask: np.ndarray) -> tuple[np.ndarray, list[Piece]]:
    """(labels [H, W], pieces) of a mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, [Piece(*row, (label,)) for label, row in enumerate(stats[1:].tolist(), 1)]


def stroke_width(mask: np.ndarray) -> float:
    """The mean width of strokes in pixels: across a bar, the mean distance to its edge is a quarter of it."""
    distances = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return float(4 * distances[mask].mean() - 1)
