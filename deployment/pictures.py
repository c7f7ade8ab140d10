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
from deployment.network import Network
from deployment.sheet import shrink

SIDE = 28
BOX = 20  # pixels, longer side of a digit
SMALLEST = 8  # pixels, the longer side of a digit
WIDEST = 2.5  # times the height: no digit is wider
SIDE_FOR_GARMENTS = 400  # pixels, longer side in which a garment is trimmed
THINNEST, THICKEST = 2.2, 5.0  # pixels of stroke in the box: MNIST's have 1.8 to 3.7, in nine out of ten
RIVAL = 0.6  # of the best segmentation's likelihood: another of that much makes it doubtful
SEAM = 2.0  # nats that a cut costs, as digits seldom touch
UNSURE = 2.0  # nats that a digit costs of which the network is not sure
BROAD = 0.9  # times the height: most digits are narrower
SQUAT = 5.0  # nats that a digit costs by how much wider than high it is


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
        return [Digit(pixels, box, probabilities, bool(network.is_sure(pixels[None], read)[0]), "")]
    except UserError as error:
        raise UserError(f"{name} {error}") from error


def digits(picture: np.ndarray, network: Network) -> list[Digit]:
    """The digits in a picture, uint8 [H, W, 3]: of the ways to divide its ink, the likeliest."""
    page = strokes.find(picture)
    mask, doubtful = printed.without(page.mask, page.ink)
    labels, pieces = strokes.pieces_of(mask)
    if not pieces:
        raise UserError(f"shows no digit, the page has no strokes: {strokes.DARKER}")
    found = rows.find(labels, pieces)
    groups = [group for row in found for group in row]
    refuse_what_is_no_digit(groups)
    runs = [rows.runs(group) for group in groups]
    seen = np.stack([fitted(digit(page.ink, labels, part), BOX, True) for each in runs for part in each.values()])
    probabilities = network.read(seen)
    sees = iter(zip(seen, probabilities, network.is_sure(seen, probabilities).tolist(), strict=True))
    chosen = iter(
        [
            likeliest(each, dict(zip(each, sees, strict=False)), len(group))
            for each, group in zip(runs, groups, strict=True)
        ]
    )
    unclear = set(labels[doubtful].tolist())
    result = []
    for row in found:
        read_row = [each for _ in row for each in next(chosen)]
        spaces = rows.spaces([part.box for part, *_ in read_row])
        for (part, pixels, probabilities, is_sure), space in zip(read_row, spaces, strict=True):
            before = "" if not result else "\n" if part is read_row[0][0] else " " * space
            is_clear = unclear.isdisjoint(part.labels)
            result.append(Digit(pixels, page.box(part.box), probabilities, is_sure and is_clear, before))
    return result


def likeliest(runs: dict, sees: dict, parts: int) -> list[tuple]:
    """[(part, pixels, probabilities, whether it is sure)] of the digits of a group of so many parts, the likeliest way
    (LeCun et al. 1998: Viterbi's algorithm). They are unsure where another way about as likely reads otherwise.
    `runs` and `sees` have each digit that may be, and what the network says of it, by its first part and its end."""
    ways = [[(0.0, (), ())]]  # for each part the best ways to read all before it: cost, classes, runs
    for end in range(1, parts + 1):
        reached = []
        for start in range(end):
            if (start, end) in runs:
                box, (_, probabilities, is_sure) = runs[start, end].box, sees[start, end]
                cost = SQUAT * max(0, box.width / box.height - BROAD) + SEAM * (start > 0) + UNSURE * (not is_sure)
                cost, best = cost - np.log(probabilities.max()), probabilities.argmax()
                reached += [(before + cost, (*read, best), (*way, (start, end))) for before, read, way in ways[start]]
        otherwise = {}
        for way in sorted(reached, key=lambda way: way[0]):
            otherwise.setdefault(way[1], way)
        ways.append([*otherwise.values()][:2])
    (cost, _, best), *rivals = ways[-1]
    is_clear = all(np.exp(cost - other) < RIVAL for other, *_ in rivals)
    return [(runs[run], *sees[run][:2], sees[run][2] and is_clear) for run in best]


def refuse_what_is_no_digit(groups: list[rows.Group]) -> None:
    """Raise UserError where ink is no digit in size or shape."""
    boxes = [part.box for group in groups for part in group]
    longest = max(box.length for box in boxes)
    if longest < SMALLEST:
        raise UserError(f"shows no digit, only specks of {longest} pixels: {strokes.DARKER}")
    if len(boxes) == 1 and boxes[0].width > WIDEST * boxes[0].height:
        wide = f"shows no digit: the strokes are {boxes[0].width / boxes[0].height:.1f} times as wide as high"
        raise UserError(f"{wide}; turn the picture upright, or cut out the digits")


def digit(ink: np.ndarray, labels: np.ndarray, part: rows.Part) -> np.ndarray:
    """The ink of a digit alone, at full strength, its strokes brought near to MNIST's width: float32 [h, w]."""
    x, y, width, height, _ = part.box
    margin = part.box.length // 5 + 2
    place = np.s_[max(0, y - margin) : y + height + margin, max(0, x - margin) : x + width + margin]
    mask = np.isin(labels[place], part.labels)
    width = strokes.stroke_width(mask)
    near = cv2.dilate(mask.astype(np.uint8), strokes.disc(strokes.odd(0.3 * width))) > 0
    near &= mask | (labels[place] == 0)
    full = np.quantile(ink[place][mask], 0.6)  # most of a stroke has it: what is left of a blur at its sides has not
    soft = np.clip(ink[place] / full, 0, 1) * near
    soft = np.where(soft < 0.1, 0, soft).astype(np.float32)
    length = part.box.length
    scaled = width * BOX / length
    if length <= SIDE or THINNEST <= scaled <= THICKEST:  # of few pixels there is nothing to gain
        return trimmed(soft)
    change = strokes.disc(strokes.odd(abs(np.clip(scaled, THINNEST, THICKEST) - scaled) * length / BOX))
    changed = cv2.dilate(soft, change) if scaled < THINNEST else cv2.erode(soft, change)
    return trimmed(changed if changed.max() > 0.5 else soft)


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
    sharpness could change."""
    scale = box / max(content.shape)
    if abs(max(content.shape) - box) > 1 or max(content.shape) > SIDE:
        height, width = (max(1, round(size * scale)) for size in content.shape)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        content = np.clip(cv2.resize(content, (width, height), interpolation=how), 0, 1)
    centre = np.array(content.shape) / 2
    if is_ink:
        content = content / content.max()
        centre = np.array([content.sum(1 - axis) @ np.arange(size) for axis, size in enumerate(content.shape)])
        centre /= content.sum()  # not cv2.moments, which takes what is two pixels wide for a list of points
    space = SIDE - np.array(content.shape)
    before = np.clip(np.rint(SIDE / 2 - centre), 0, space).astype(int)
    return np.rint(255 * np.pad(content, np.stack([before, space - before], 1))).astype(np.uint8)
