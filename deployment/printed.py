"""What is printed or drawn around digits: rulings, grids, boxes, the cells of a form, circles. None is a digit's ink.

    without(mask, ink)    (strokes without it, where that is doubtful)

Rulings are straight lines that cross the whole page at any angle, by a Hough transform (Duda & Hart, 1972). A frame is
a closed outline with something inside that is no part of it.
"""

import cv2
import numpy as np

from deployment.sheet import shrink
from deployment.strokes import FEW_PIXELS, Piece, connected, disc, odd, stroke_width

SIDE = 400  # pixels, longer side of the picture in which lines are looked for
THICKEST = 0.02  # of the longer side: no ruling is thicker
COVERED = 0.75  # of a ruling's length; of a line between two cells nearly all
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
    rulings = lines(np.isin(labels, long), np.ones_like(mask), COVERED, thickest)
    rest = mask & ~rulings
    if rest.sum() < 0.01 * mask.sum():  # a digit that fills its picture
        return mask
    labels, pieces = connected(rest)
    beside = cv2.dilate(rulings.astype(np.uint8), disc(odd(thickest))) > 0
    walls = [piece.labels for piece in pieces if is_wall(beside[piece.place], piece)]
    walls = np.isin(labels, walls if 1 < len(walls) < len(pieces) else [])  # one may be a 1
    return bridged(rest & ~walls, mask & ~walls, 2 * thickest)


def is_wall(beside: np.ndarray, piece: Piece) -> bool:
    """Whether a piece goes straight from one ruling to another: `beside` is what is near to any, bool [h, w]."""
    return piece.width < 0.15 * piece.height and beside[0].any() and beside[-1].any() and not beside.all(1).all()


def bridged(rest: np.ndarray, mask: np.ndarray, width: float) -> np.ndarray:
    """What is left of a mask, with the ink between its parts that are less than a width apart."""
    return rest | (mask & (cv2.morphologyEx(rest.astype(np.uint8), cv2.MORPH_CLOSE, disc(odd(width))) > 0))


def lines(mask: np.ndarray, area: np.ndarray, covered: float, thickest: float) -> np.ndarray:
    """Straight lines of a mask that cross an area, both bool [H, W], and are covered to a share; bool [H, W]. None is
    thicker than so many pixels."""
    small, within = (shrink(255 * each.astype(np.uint8), SIDE) > 64 for each in (mask, area))
    least = 0.5 * min(small.shape)
    votes = cv2.HoughLines(small.astype(np.uint8), 1, STEP, max(10, int(covered * least)))
    votes = [] if votes is None else votes.reshape(-1, 2).tolist()  # the most covered first
    drawn, scale = np.zeros(mask.shape, np.uint8), max(mask.shape) / max(small.shape)
    distances = cv2.distanceTransform(small.astype(np.uint8), cv2.DIST_L2, 5)
    alike = {(round(rho / 2), round(theta / STEP / 3)): (rho, theta) for rho, theta in reversed(votes)}
    for rho, theta in alike.values():
        normal, far = np.array([np.cos(theta), np.sin(theta)]), 2 * SIDE * np.array([-np.sin(theta), np.cos(theta)])
        ends = [np.rint(rho * normal + sign * far).astype(int).tolist() for sign in (-1, 1)]
        _, start, end = cv2.clipLine((0, 0, *small.shape[::-1]), *ends)
        count = max(abs(start[0] - end[0]), abs(start[1] - end[1])) + 1
        x, y = np.rint(np.linspace(start, end, count)).astype(int).T
        crossed, thickness = within[y, x], scale * 2 * np.median(distances[y, x])
        is_long = crossed.sum() >= least and (distances[y, x][crossed] > 0).mean() >= covered
        if is_long and thickness <= thickest + 2 * scale:
            ends = [tuple(np.rint((np.array(each) + 0.5) * scale).astype(int).tolist()) for each in (start, end)]
            cv2.line(drawn, *ends, 1, odd(thickness + 1))
    return drawn > 0


def unframe(ink: np.ndarray, own: np.ndarray) -> None:
    """Take a piece out of the ink in its box, bool [h, w], so far as it is a frame, and mark where that is doubtful."""
    body, is_open = surrounded(own)
    contours, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea, default=None)
    if contour is None or (size := cv2.contourArea(contour)) < 0.3 * own.size:
        return
    fullness = size / cv2.contourArea(cv2.convexHull(contour))
    is_box = size > 0.88 * np.prod(cv2.minAreaRect(contour)[1])
    depth = np.ceil(cv2.distanceTransform(np.pad(body, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]).astype(int)
    share = np.bincount(depth.ravel(), own.ravel()) / np.bincount(depth.ravel())  # of each ring that is ink
    width, usual = int(np.argmax(np.append(share[1:], 0) < 0.6)), stroke_width(own)
    width = max(width, round((0.5 if is_box else 1.5) * usual))
    inner = depth > width + 2
    if fullness < 0.9 or not inner.any() or share[width + 3] > 0.3:
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
    joints = connected((labels == main.labels[0]) & (depth <= width + 5) & own)[1]
    if is_open and joints:
        return
    if height < (0.1 if is_box else 0.25) if not joints else height < (0.3 if is_box else 0.5):
        return
    if len(joints) > 1 and fullness < 0.96 and not is_box:
        return
    outside = own & (cv2.dilate(body, disc(odd(width))) == 0)
    kept = bridged(content | outside, own | content, 2 * width + 5) if joints else content | outside
    ink[own] = kept[own]


def surrounded(own: np.ndarray) -> tuple[np.ndarray, bool]:
    """(the area that a piece goes around, uint8 [h, w]; whether its outline is open). What sticks out of it is not
    counted in."""
    contours, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    filled, hull = np.zeros(own.shape, np.uint8), cv2.convexHull(contour)
    y, x = np.nonzero(own)
    directions = np.unique(np.rint(18 / np.pi * np.arctan2(y - own.shape[0] / 2, x - own.shape[1] / 2)))
    is_open = cv2.contourArea(contour) < 0.6 * cv2.contourArea(hull)
    if is_open and len(directions) > 30:
        return cv2.fillPoly(filled, [hull], 1), True
    cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED)
    size = odd(min(own.shape) / 4)
    return cv2.morphologyEx(np.pad(filled, size), cv2.MORPH_OPEN, disc(size))[size:-size, size:-size].copy(), is_open
