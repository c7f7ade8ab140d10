"""A person's picture as the network's input: strokes or garments found, brought to what the network was trained on.

    to_input(content, name, dataset)    uint8 content of a file → float32 [28, 28] in 0..1

MNIST's convention (LeCun et al., 1998): white on black, scaled into a box of 20 × 20 pixels that keeps the aspect,
moved so that the centre of mass is the centre of 28 × 28. Fashion-MNIST's (Xiao et al., arXiv 1708.07747): trimmed,
the longer side 28, negated so that the background is 0, grey levels kept, centred by its box.
"""

from support import UserError

import cv2
import numpy as np

from deployment import picture_files, strokes
from deployment.sheet import shrink

SIDE = 28
BOX = 20  # pixels, longer side of a digit
SIDE_FOR_GARMENTS = 400  # pixels, longer side in which a garment is trimmed
THINNEST, THICKEST = 2.2, 5.0  # pixels of stroke in the box: MNIST's have 1.8 to 3.7, in nine out of ten
GARMENTS = ("fashion-mnist",)  # data sets of them; any other is taken for handwriting


def to_input(content: bytes, name: str, dataset: str) -> np.ndarray:
    """The network's input, float32 [28, 28] in 0..1, of a picture file's content. Raises UserError with the name."""
    try:
        picture = picture_files.colours(content)
        return fitted(garment(picture), SIDE, False) if dataset in GARMENTS else fitted(digit(picture), BOX, True)
    except UserError as error:
        raise UserError(f"{name} {error}") from error


def digit(picture: np.ndarray) -> np.ndarray:
    """The ink of the digit in a picture, its strokes brought near to MNIST's width: float32 [h, w]."""
    ink, width = strokes.find(picture)
    length = max(trimmed(ink).shape)
    scaled = width * BOX / length
    if length <= SIDE or THINNEST <= scaled <= THICKEST:  # of few pixels there is nothing to gain
        return trimmed(ink)
    change = strokes.disc(strokes.odd(abs(np.clip(scaled, THINNEST, THICKEST) - scaled) * length / BOX))
    return trimmed(cv2.dilate(np.pad(ink, length // 5), change) if scaled < THINNEST else cv2.erode(ink, change))


def garment(picture: np.ndarray) -> np.ndarray:
    """A garment's grey levels above its background, float32 [h, w], trimmed. Raises UserError without one."""
    grey = cv2.cvtColor(shrink(picture, SIDE_FOR_GARMENTS), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background, noise = np.median(frame), 3 * np.std(frame)
    above = np.clip(background - grey if background > 0.5 else grey - background, 0, 1)
    if not (above > max(0.08, noise)).any():
        raise UserError("shows no garment on a plain background: photograph it on a light or a dark one")
    return trimmed(np.where(above > min(noise, 0.1), above, 0), 0.08)


def trimmed(ink: np.ndarray, least: float = 0.25) -> np.ndarray:
    """The part of an image, [H, W], that holds all values above `least`."""
    x, y, width, height = cv2.boundingRect((ink > least).astype(np.uint8))
    return ink[y : y + height, x : x + width]


def fitted(content: np.ndarray, box: int, is_ink: bool) -> np.ndarray:
    """Content [h, w] scaled and placed on an empty image, float32 [28, 28]: ink by its mass and at full strength,
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
        moments = cv2.moments(content)
        centre = np.array([moments["m01"], moments["m10"]]) / moments["m00"]
    space = SIDE - np.array(content.shape)
    before = np.clip(np.rint(SIDE / 2 - centre), 0, space).astype(int)
    return np.pad(content, np.stack([before, space - before], 1))
