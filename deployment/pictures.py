"""A person's picture, read: strokes or garments found, brought to what the network was trained on, and named by it.

    read(content, name, network)    the digits in a picture file's content, row by row

MNIST's convention (LeCun et al., 1998): white on black, scaled into a box of 20 × 20 pixels that keeps the aspect,
moved so that the centre of mass is the centre of 28 × 28. Fashion-MNIST's (Xiao et al., arXiv 1708.07747): trimmed,
the longer side 28, negated so that the background is 0, grey levels kept, centred by its box.
"""

from typing import NamedTuple

from support import UserError

import cv2
import numpy as np

from deployment import picture_files, printed, rows, strokes
from deployment.network import LEAST, Network, detector, log_odds
from deployment.sheet import shrink
from deployment.strokes import Piece

SIDE = 28
BOX = 20  # pixels, longer side of a digit
SMALLEST = 8  # pixels, the longer side of a digit
WIDEST = 2.5  # times the height: no digit is wider
SIDE_FOR_GARMENTS = 400  # pixels, longer side in which a garment is trimmed
SEAM = 2.0  # nats that a digit costs, as digits seldom touch


class Digit(NamedTuple):
    """A digit of a picture, or a garment: what the network saw, uint8 [28, 28]; its box in the upright picture (x, y,
    width, height); the probability of each class [classes]; whether these are sure, and what belongs to it is; and
    what divides it from the one before: nothing, a space, or a newline."""

    pixels: np.ndarray
    box: tuple[int, int, int, int]
    probabilities: np.ndarray
    is_sure: bool
    before: str


def read(content: bytes, name: str, network: Network) -> list[Digit]:
    """The digits in a picture file's content, as a network reads them. Raises UserError with the name."""
    try:
        picture = picture_files.colours(content)
        if network.reads_digits:
            return digits(picture, network)
        pixels, box = garment(picture)
        (probabilities,) = read = network.read(pixels[None])
        return [Digit(pixels, box, probabilities, bool(network.is_sure(read)[0]), "")]
    except UserError as error:
        raise UserError(f"{name} {error}") from error


def digits(picture: np.ndarray, network: Network) -> list[Digit]:
    """The digits in a picture, uint8 [H, W, 3]: of the ways to divide its ink, the likeliest."""
    page = strokes.find(picture)
    labels, found = rows.find(printed.without(page.mask))
    refuse_what_is_no_digit([rows.union(group) for row in found for group in row])
    digits: list[Digit] = []
    for row in found:
        read_row = [digit for group in row for digit in likeliest(page.ink, labels, group, network)]
        for digit, space in zip(read_row, rows.spaces([digit.box for digit in read_row]), strict=True):
            before = "" if not digits else "\n" if digit is read_row[0] else " " * space
            digits.append(digit._replace(box=page.box(digit.box), before=before))
    return digits


def likeliest(ink: np.ndarray, labels: np.ndarray, group: rows.Group, network: Network) -> list[Digit]:
    """The digits of a group, read the likeliest way (LeCun et al. 1998: Viterbi's algorithm). That it was cut apart is
    doubtful so far as the whole looks like no digits at all: a V may be cut into ones."""
    runs = rows.runs(group)
    pixels = np.stack([fitted(digit(ink, labels, part), BOX, True) for part in runs.values()])
    probabilities, kinds = network.read(pixels), detector().read(pixels)
    costs = SEAM - np.log(np.maximum(kinds[:, 0], LEAST) * probabilities.max(1))
    best = [(0.0, [])]  # for each part the cost and the runs of the best way to read all before it
    for end in range(1, len(group) + 1):
        ways = [(number, start) for number, (start, stop) in enumerate(runs) if stop == end]
        reached = [(best[start][0] + costs[number], [*best[start][1], number]) for number, start in ways]
        best.append(min(reached, default=(np.inf, [])))
    chosen, parts, whole = best[-1][1], [*runs.values()], [*runs].index((0, len(group)))
    doubt = max(0, log_odds(kinds[whole, 2])) if len(chosen) > 1 else 0
    sure = network.is_sure(probabilities[chosen], kinds[chosen], doubt)
    each = zip(chosen, sure.tolist(), strict=True)
    return [Digit(pixels[one], parts[one], probabilities[one], is_sure, "") for one, is_sure in each]


def refuse_what_is_no_digit(parts: list[Piece]) -> None:
    """Raise UserError where ink is no digit in size or shape."""
    if not parts:
        raise UserError(f"shows no digit, the page has no strokes: {strokes.DARKER}")
    longest = max(part.length for part in parts)
    if longest < SMALLEST:
        raise UserError(f"shows no digit, only specks of {longest} pixels: {strokes.DARKER}")
    if len(parts) == 1 and parts[0].width > WIDEST * parts[0].height:
        wide = f"shows no digit: the strokes are {parts[0].width / parts[0].height:.1f} times as wide as high"
        raise UserError(f"{wide}; turn the picture upright, or cut out the digits")


def digit(ink: np.ndarray, labels: np.ndarray, part: Piece) -> np.ndarray:
    """The ink of a digit alone, at full strength: float32 [h, w]."""
    margin = part.length // 5 + 2
    left, top = max(0, part.x - margin), max(0, part.y - margin)
    place = np.s_[top : part.y + part.height + margin, left : part.x + part.width + margin]
    mask = np.isin(labels[place], part.labels)
    width = strokes.stroke_width(mask)
    near = cv2.dilate(mask.astype(np.uint8), strokes.disc(strokes.odd(0.3 * width))) > 0
    full = np.quantile(ink[place][mask], 0.6)  # most of a stroke has it: what is left of a blur at its sides has not
    soft = np.clip(ink[place] / full, 0, 1) * near
    soft = np.where(soft < 0.1, 0, soft).astype(np.float32)
    return trimmed(soft)


def garment(picture: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """(a garment's grey levels above its background, uint8 [28, 28]; its box). Raises UserError without one."""
    small = shrink(picture, SIDE_FOR_GARMENTS)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background, noise = np.median(frame), 3 * np.std(frame)
    above = np.clip(background - grey if background > 0.5 else grey - background, 0, 1)
    if not (above > max(0.08, noise)).any():
        raise UserError("shows no garment on a plain background: photograph it on a light or a dark one")
    above = np.where(above > min(noise, 0.1), above, 0)
    box = np.array(cv2.boundingRect((above > 0.08).astype(np.uint8))) * len(picture) // len(small)
    return fitted(trimmed(above, 0.08), SIDE, False), tuple(box.tolist())


def trimmed(ink: np.ndarray, least: float = 0.25) -> np.ndarray:
    """The part of an image, [H, W], that holds all values above `least`."""
    x, y, width, height = cv2.boundingRect((ink > least).astype(np.uint8))
    return ink[y : y + height, x : x + width]


def fitted(content: np.ndarray, box: int, is_ink: bool) -> np.ndarray:
    """Content [h, w] scaled and placed on an empty image, uint8 [28, 28]: ink by its mass and at full strength,
    shades by their box and as they are. Content that is as large as the box but for a pixel is not scaled: nothing but
    sharpness could change. Ink between two places takes the upper or left one, however its sums are rounded."""
    scale = box / max(content.shape)
    if abs(max(content.shape) - box) > 1 or max(content.shape) > SIDE:
        height, width = (max(1, round(size * scale)) for size in content.shape)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        content = np.clip(cv2.resize(content, (width, height), interpolation=how), 0, 1)
    centre = np.array(content.shape) / 2
    if is_ink:
        content = content / content.max()
        centre = np.array([content.sum(1 - axis) @ np.arange(size) for axis, size in enumerate(content.shape)])
        centre = centre / content.sum() + 1e-3  # not cv2.moments: to it, two pixels wide is a list of points
    space = SIDE - np.array(content.shape)
    before = np.clip(np.rint(SIDE / 2 - centre), 0, space).astype(int)
    return np.rint(255 * np.pad(content, np.stack([before, space - before], 1))).astype(np.uint8)
