"""What is printed or drawn around digits: rulings, grids, boxes, the cells of a form, circles. None is a digit's ink.

    without(mask, ink)    (strokes without it, where that is doubtful)

Rulings are straight lines that cross the whole page at any angle, by a Hough transform (Duda & Hart, 1972). A frame is
a closed outline with something inside that is no part of it.
"""

import cv2
import numpy as np

from deployment.sheet import shrink
from deployment.strokes import FEW_PIXELS, connected, disc, odd, stroke_width

SIDE = 400  # pixels, longer side of the picture in which lines are looked for
THICKEST = 0.02  # of the longer side: no ruling is thicker
COVERED = 0.75  # of a ruling's length; of a line between two cells nearly all
AROUND = 34  # of 37 directions
THIN = 0.13  # of its shorter side: no frame has thicker strokes
STEP = np.pi / 720


def without(mask: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """A mask of strokes, bool [H, W], without rulings and frames."""
    mask = without_rulings(mask)
    labels, pieces = connected(mask)
    for piece in sorted(pieces, key=lambda piece: -piece.width * piece.height):
        own = (labels[piece.place] == piece.labels[0]) & mask[piece.place]
        if piece.length >= 0.1 * max(mask.shape) and own.any():
            unframe(mask[piece.place], own)
    return mask


def without_rulings(mask: np.ndarray) -> np.ndarray:
    """A mask without the lines that cross its page."""
    labels, pieces = connected(mask)
    least, thickest = 0.5 * min(mask.shape), THICKEST * max(mask.shape)
    long = [piece.labels for piece in pieces if piece.touches_edge(mask.shape) and piece.length >= least]
    if max(mask.shape) < FEW_PIXELS or not long:
        return mask
    rest = mask & ~lines(np.isin(labels, long), np.ones_like(mask), COVERED, thickest)
    if rest.sum() < 0.01 * mask.sum():  # a digit that fills its picture
        return mask
    return bridged(rest, mask, 2 * thickest)


def bridged(rest: np.ndarray, mask: np.ndarray, width: float) -> np.ndarray:
    """What is left of a mask, with the ink between its parts that are less than a width apart."""
    return rest | (mask & (cv2.morphologyEx(rest.astype(np.uint8), cv2.MORPH_CLOSE, disc(odd(width))) > 0))


def lines(mask: np.ndarray, area: np.ndarray, covered: float, thickest: float) -> np.ndarray:
    """Straight lines of a mask that cross an area, both bool [H, W], and are covered to a share; bool [H, W]. None is
    thicker than so many pixels."""
    small, within = (np.uint8(shrink(255 * np.uint8(each), SIDE) > 64) for each in (mask, area))
    drawn, distances = np.zeros_like(small), cv2.distanceTransform(small, cv2.DIST_L2, 5)
    least, thickest = 0.5 * min(small.shape), thickest * max(small.shape) / max(mask.shape) + 2
    votes = cv2.HoughLines(small, 1, STEP, max(10, int(covered * least)))
    votes = [] if votes is None else votes.reshape(-1, 2).tolist()  # the most covered first
    alike = {(round(rho / 2), round(theta / STEP / 3)): (rho, theta) for rho, theta in reversed(votes)}
    along = np.arange(-2 * SIDE, 2 * SIDE)
    for rho, theta in alike.values():
        x, y = np.rint([rho * np.cos(theta) - along * np.sin(theta), rho * np.sin(theta) + along * np.cos(theta)])
        x, y = np.int32([x, y])[:, (x >= 0) & (x < small.shape[1]) & (y >= 0) & (y < small.shape[0])]
        on = distances[y, x][within[y, x] > 0]
        thickness = 2 * np.median(distances[y, x])
        if len(on) >= least and (on > 0).mean() >= covered and thickness <= thickest:
            cv2.line(drawn, (x[0], y[0]), (x[-1], y[-1]), 1, odd(thickness + 2))
    return cv2.resize(drawn, mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def unframe(ink: np.ndarray, own: np.ndarray) -> None:
    """Take a piece out of the ink in its box, bool [h, w], so far as it is a frame: what lies along its hull, all
    around, if something is within."""
    y, x = np.nonzero(own)
    hull = cv2.convexHull(np.stack([x, y], 1).astype(np.int32))
    body = cv2.fillPoly(np.zeros(own.shape, np.uint8), [hull], 1)
    is_box = cv2.contourArea(hull) > 0.88 * np.prod(cv2.minAreaRect(hull)[1])
    depth = np.ceil(cv2.distanceTransform(np.pad(body, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]).astype(int)
    share = np.bincount(depth.ravel(), own.ravel()) / np.maximum(np.bincount(depth.ravel()), 1)  # of a ring that is ink
    first = int(np.argmax(share > 0.6))
    width, usual = first + int(np.argmax(np.append(share[first:], 0) < 0.3)), stroke_width(own)
    width = max(width, round((0.5 if is_box else 1.5) * usual))
    inner = depth > width + 2
    y, x = np.nonzero(own & ~inner)
    directions = np.unique(np.rint(18 / np.pi * np.arctan2(y - own.shape[0] / 2, x - own.shape[1] / 2)))
    if len(directions) < AROUND or usual > THIN * min(own.shape) or not inner.any():
        return
    content = ink & inner
    if is_box:
        rest = content & ~lines(content, inner, 0.9, 2 * width)
        content = bridged(rest, content, 2 * width) if rest.sum() > 0.1 * content.sum() else content
    labels, pieces = connected(content)
    main = max(pieces, key=lambda piece: piece.height * (not piece.is_flat), default=None)
    if main is None:
        return
    height = main.height / cv2.boundingRect(inner.astype(np.uint8))[3]
    has_joints = ((labels == main.labels[0]) & (depth <= width + 5) & own).any()
    if height < ((0.3 if is_box else 0.5) if has_joints else (0.1 if is_box else 0.25)):
        return
    kept = bridged(content, own | content, 2 * width + 5) if has_joints else content
    ink[own] = kept[own]
