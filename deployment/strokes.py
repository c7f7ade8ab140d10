"""The strokes of one digit in a picture, whatever they were drawn with and however they are lit.

    find(picture)    how much ink each pixel has, float32 [h, w] in 0..1, and the pen's width

Ink is how much darker a pixel is than the paper around it, relative to it, so a shadow cancels. The paper is a
morphological closing wider than any stroke, and the threshold a share of the contrast that the strokes have. What
touches the picture's edge goes, and so do specks, printed lines and underlines.
"""

from typing import NamedTuple

from support import UserError

import cv2
import numpy as np

from deployment.sheet import channels, crop, shrink, square

SIDE = 800  # pixels, longer side of the picture in which strokes are looked for
REACH = 0.4  # of the longer side: how far the paper is looked for around ink, wider than any stroke
FEW_PIXELS = 200  # the longer side of a picture in which a stroke is a few pixels wide
DARKEST_PAPER = 0.3  # of the brightest: in deeper shadow no ink is amplified
FAINTEST = 0.06  # ink that can be told from the paper
NOISE = 6  # times the lower spread of the paper, above which is no noise
STRONG, WEAK = 0.4, 0.16  # of the strokes' ink: what is a stroke, and what continues one
THINNEST_LINE = 0.02  # of the longer side: lines up to that width which span the page are printed
SMALLEST = 8  # pixels, the longer side of a digit
SHADE = 0.1  # of a stroke's ink: beside strokes there is less, beside the shades of a page more
WIDEST = 2.5  # times the height: no digit is wider
LOG = (255 * np.log1p(np.arange(256) / 64) / np.log1p(255 / 64)).round().astype(np.uint8)  # ratios as differences
DARKER = "write it darker, fill more of the picture with it, or photograph it in better light"


class Piece(NamedTuple):
    """Connected ink: its box in pixels, and its area."""

    x: int
    y: int
    width: int
    height: int
    area: int

    @property
    def length(self) -> int:
        return max(self.width, self.height)

    @property
    def is_flat(self) -> bool:
        return self.height < 0.2 * self.width

    def touches_frame(self, shape: tuple[int, ...]) -> bool:
        height, width = shape
        return self.x == 0 or self.y == 0 or self.x + self.width == width or self.y + self.height == height


def find(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """(ink float32 [h, w] in 0..1 of the one digit in a picture, uint8 [H, W, 3], and nothing else; the width of its
    strokes in pixels). Raises UserError, without the file's name, where there is none, or more than one."""
    sheet, is_cut = crop(shrink(picture, SIDE))
    dark = dark_channel(sheet)
    if max(dark.shape) > FEW_PIXELS:
        dark = cv2.GaussianBlur(dark, (0, 0), 1)
    strokes(ink_of(dark, goes_on=True))  # a bare page that only grows darker towards its edge has none
    ink = ink_of(dark, is_cut)
    mask = without_lines(strokes(ink))
    digit = one_digit(mask, ink)
    width = stroke_width(digit)
    near = cv2.dilate(digit.astype(np.uint8), disc(odd(0.3 * width))) > 0
    full = np.quantile(ink[digit], 0.6)  # most of a stroke has it: what is left of a blur at its sides has not
    soft = np.clip(ink / full, 0, 1) * near
    return np.where(soft < 0.1, 0, soft).astype(np.float32), width


def odd(size: float) -> int:
    return max(3, int(size) | 1)


def disc(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


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
    size = odd(REACH * max(dark.shape))
    margin = size // 2 if goes_on else 0
    padded = cv2.copyMakeBorder(dark, *(margin,) * 4, cv2.BORDER_REPLICATE)
    paper = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, square(size))
    paper = paper[margin : margin + dark.shape[0], margin : margin + dark.shape[1]].astype(np.float32)
    ink = (paper - dark) / np.maximum(paper, max(DARKEST_PAPER * np.quantile(paper, 0.95), 1))
    return ink - np.quantile(ink, 0.25)


def strokes(ink: np.ndarray) -> np.ndarray:
    """Where strokes are, bool [H, W]: strong ink, and weak ink that continues it. Raises UserError for a page that has
    nothing on it."""
    faintest = NOISE * (np.quantile(ink, 0.25) - np.quantile(ink, 0.05)) + FAINTEST
    visible = ink[ink > faintest]
    if visible.size == 0:
        raise UserError(f"shows no digit, the page is blank or the digit too faint: {DARKER}")
    most = np.quantile(visible, 0.9)
    strong = ink > max(faintest, STRONG * most)
    labels, pieces = connected(ink > max(faintest, WEAK * most))
    inner = [label for label, piece in pieces.items() if not piece.touches_frame(ink.shape)]
    return strong | np.isin(labels, np.intersect1d(labels[strong], inner))


def connected(mask: np.ndarray) -> tuple[np.ndarray, dict[int, Piece]]:
    """(labels [H, W], {label: piece} of the pieces of a mask)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, {label: Piece(*map(int, row)) for label, row in enumerate(stats[1:], 1)}


def stroke_width(mask: np.ndarray) -> float:
    """The mean width of strokes in pixels: across a bar, the mean distance to its edge is a quarter of it."""
    distances = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return float(4 * distances[mask].mean() - 1)


def without_lines(mask: np.ndarray) -> np.ndarray:
    """A mask without printed lines: those that span the page are worn away, with all that is thinner."""
    height, width = mask.shape
    widest, kept = THINNEST_LINE * max(mask.shape), mask
    for size in range(2, odd(2 * widest)):
        labels, pieces = connected(kept)
        spanning = [label for label, piece in pieces.items() if piece.width == width or piece.height == height]
        if not spanning or stroke_width(np.isin(labels, spanning)) > widest:
            return kept
        worn = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc(size)) > 0
        if not worn.any():  # it was as thin everywhere: a digit that fills its picture
            return mask
        kept = worn
    return kept


def one_digit(mask: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The one digit of a mask with its parts, bool [H, W]. Raises UserError for none, for more than one, and for what
    no digit is in size or shape."""
    labels, pieces = candidates(mask, ink)
    if not pieces:
        raise UserError(f"shows no digit, the page has no strokes: {DARKER}")
    main = max(pieces, key=lambda label: pieces[label].area * (0.1 if pieces[label].is_flat else 1))
    distances = cv2.distanceTransform((labels != main).astype(np.uint8), cv2.DIST_L2, 5)
    parts, digits = [main], 1
    for label in pieces.keys() - {main}:
        digit, piece = pieces[main], pieces[label]
        gap = (float(distances[labels == label].min()) - 1) / digit.length
        is_below = piece.is_flat and piece.y >= digit.y + 0.9 * digit.height
        is_underline = is_below and piece.width > 0.5 * digit.width and gap > 0.03
        if is_another(digit, piece, gap):
            digits += 1
        elif gap <= 0.25 and not is_underline:
            parts.append(label)
    digit = np.isin(labels, parts)
    *_, width, height = cv2.boundingRect(digit.astype(np.uint8))
    if max(width, height) < SMALLEST:
        raise UserError(f"shows no digit, only specks of {max(width, height)} pixels: {DARKER}")
    if width > WIDEST * height:
        wide = f"shows no digit: the strokes are {width / height:.1f} times as wide as high"
        raise UserError(f"{wide}; cut out one digit, or turn the picture upright")
    if digits > 1:
        raise UserError(f"shows {digits} digits, one is read at a time: cut out one, or photograph one alone")
    return digit


def candidates(mask: np.ndarray, ink: np.ndarray) -> tuple[np.ndarray, dict[int, Piece]]:
    """(labels [H, W], {label: piece} of what may be a digit, or part of one): no specks, no shade; what touches the
    picture's edge only where there is nothing else."""
    labels, pieces = connected(mask)
    least = 0.003 * max((piece.area for piece in pieces.values()), default=0)
    pieces = {label: piece for label, piece in pieces.items() if piece.area >= least}
    pieces = {label: piece for label, piece in pieces.items() if not is_shade(piece, labels == label, mask, ink)}
    inner = {label: piece for label, piece in pieces.items() if not piece.touches_frame(mask.shape)}
    return labels, inner or pieces


def is_shade(piece: Piece, part: np.ndarray, mask: np.ndarray, ink: np.ndarray) -> bool:
    """Whether ink has no edge: beside a stroke, half its width away, there is next to none."""
    x, y, width, height, _ = piece
    size = odd(0.5 * stroke_width(part[y : y + height, x : x + width]))
    margin = 2 * size
    place = np.s_[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
    near, far = (cv2.dilate(part[place].astype(np.uint8), disc(reach)) > 0 for reach in (size, 2 * size + 1))
    beside = ink[place][far & ~near & ~mask[place]]
    return beside.size > 0 and np.median(beside) > SHADE * np.median(ink[part])


def is_another(main: Piece, piece: Piece, gap: float) -> bool:
    """Whether a piece is a digit of its own: tall, and apart; digits in one line are more apart than a digit's parts.
    `gap` is the least distance between both, by the length of the main one."""
    tall = piece.height >= 0.5 * main.height or (piece.length >= 0.5 * main.length and not piece.is_flat)
    across = max(0, min(main.x + main.width, piece.x + piece.width) - max(main.x, piece.x))
    down = max(0, min(main.y + main.height, piece.y + piece.height) - max(main.y, piece.y))
    narrower = min(main.width, piece.width)
    in_line = down >= 0.8 * max(main.height, piece.height) and across < 0.1 * narrower
    nested = across * down > 0.5 * piece.width * piece.height
    least = 0.05 if in_line else 0.15 if across < 0.5 * narrower else 0.25
    return tall and not nested and gap > least
