"""The sheet in a photograph: a paper on a table, a note on a wall, a screen in its frame.

    crop(picture)    the sheet alone, and where it lies

A sheet is a quadrilateral with a sharp edge all around, lighter or darker than what it lies on in any colour. A shadow
has no such edge, and a digit is not convex.
"""

import itertools

import cv2
import numpy as np

SIDE = 200  # pixels, longer side of the picture in which it is looked for
SHARPEST = 0.7  # brightness of the darker side of an edge by the lighter side's, at most, at nine in ten of its places
THRESHOLDS = (20, 28, 39, 55, 77, 108, 151, 211)  # each 1 / SHARPEST of the one before: every sharp edge crosses one
MARGIN = 4  # of SIDE: pixels at a sheet's edge that are left out
LEAST = 0.3  # of the picture: no sheet is smaller


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture [H, W, …] whose longer side is at most `side`."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(size * scale)) for size in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def channels(picture: np.ndarray) -> list[np.ndarray]:
    """Grey, red, green and blue, uint8 [H, W] each: a pen may differ from its paper in one colour alone."""
    return [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *cv2.split(picture)]


def square(size: int) -> np.ndarray:
    return np.ones((size, size), np.uint8)


def quadrilateral(contour: np.ndarray) -> np.ndarray:
    """The four corners of what a contour fills, float32 [4, 2] (Low & Ilie, 2003)."""
    hull = cv2.convexHull(contour)
    return np.float32(cv2.approxPolyN(hull, 4)[0] if len(hull) > 4 else cv2.boxPoints(cv2.minAreaRect(hull)))


def crop(picture: np.ndarray) -> tuple[np.ndarray, tuple[int, int] | None]:
    """(the sheet in a picture, uint8 [H, W, 3], its left and top) or (the picture, None). Around a sheet that is askew,
    each pixel takes the colour of the nearest on the sheet: neither its edge nor a shadow across it ends there."""
    small = cv2.GaussianBlur(shrink(picture, SIDE), (0, 0), 1)
    outlines = [outline for channel in channels(small) for outline in sheets(channel)]
    if not outlines:
        return picture, None
    _, hull = min(outlines, key=lambda outline: outline[0])
    inside = cv2.fillPoly(np.zeros(small.shape[:2], np.uint8), [hull], 1)
    inside = cv2.erode(inside, square(2 * MARGIN + 1), borderValue=0)
    inside = cv2.resize(inside, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    _, nearest = cv2.distanceTransformWithLabels(1 - inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.zeros((nearest.max() + 1, 3), np.uint8)
    colours[nearest[inside > 0]] = picture[inside > 0]
    x, y, width, height = cv2.boundingRect(inside)
    return colours[nearest[y : y + height, x : x + width]], (x, y)


def sheets(grey: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """[(how sharp the edge is, less is sharper; hull)] of what looks like a sheet at any threshold."""
    edges, found = cv2.erode(grey, square(7)) / np.maximum(cv2.dilate(grey, square(7)), 1), []
    for level, kind in itertools.product(THRESHOLDS, (cv2.THRESH_BINARY, cv2.THRESH_BINARY_INV)):
        mask = cv2.threshold(grey, level, 1, kind)[1]
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(contours, key=cv2.contourArea, default=None)
        if outline is None or (size := cv2.contourArea(outline)) < LEAST * grey.size:
            continue
        if size < 0.9 * cv2.contourArea(quadrilateral(outline)):
            continue
        hull = cv2.convexHull(outline)
        line = cv2.polylines(np.zeros_like(grey), [hull], True, 1)[3:-3, 3:-3] > 0
        if line.sum() < 0.25 * cv2.arcLength(hull, True):  # much is the picture's own edge
            continue
        sharpness = float(np.quantile(edges[3:-3, 3:-3][line], 0.9))
        inside = cv2.fillPoly(np.zeros_like(grey), [hull], 1) > 0
        levels = sorted([np.median(grey[inside]) + 1, np.median(grey[~inside]) + 1])
        if max(sharpness, levels[0] / levels[1]) < SHARPEST:
            found.append((sharpness, hull))
    return found
