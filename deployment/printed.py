"""What is printed or drawn around digits: rulings, grids, boxes, the cells of a form, circles. None is a digit's ink.

    without(mask)    strokes without it

Rulings are straight lines that cross the whole page at any angle, by a Hough transform (Duda & Hart, 1972). A frame is
a convex outline around something high: what lies in the hulls of its holes stays, but for lines between cells.
"""

import cv2
import numpy as np

from deployment.sheet import quadrilateral, shrink
from deployment.strokes import FEW_PIXELS, Piece, connected, disc, odd, stroke_width

SIDE = 400  # pixels, longer side of the picture in which lines are looked for, and of a box set upright
THICKEST = 0.02  # of the longer side: no ruling is thicker
COVERED = 0.75  # of a ruling's length
STEP = np.pi / 720
OPEN, CONVEX = 0.6, 0.85  # of its hull: an outline below the first is open; above the other it may be a frame
BOX = 0.88  # of a quadrilateral: an outline above that is a box
DIVIDED = 0.85  # of its length: how much of a line between two cells is ink
HIGH = 0.4  # of a frame's inside: what is higher is a digit


def without(mask: np.ndarray) -> np.ndarray:
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
    rulings = lines(np.isin(labels, long), thickest)
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


def lines(mask: np.ndarray, thickest: float) -> np.ndarray:
    """Straight lines that cross a mask, no thicker than so many pixels: bool [H, W]."""
    small = (shrink(255 * mask.astype(np.uint8), SIDE) > 64).astype(np.uint8)
    least = 0.5 * min(small.shape)
    votes = cv2.HoughLines(small, 1, STEP, max(10, int(COVERED * least)))
    votes = [] if votes is None else votes.reshape(-1, 2).tolist()  # the most covered first
    drawn, scale = np.zeros(mask.shape, np.uint8), max(mask.shape) / max(small.shape)
    distances = cv2.distanceTransform(small, cv2.DIST_L2, 5)
    alike = {(round(rho / 2), round(theta / STEP / 3)): (rho, theta) for rho, theta in reversed(votes)}
    for rho, theta in alike.values():
        normal, far = np.array([np.cos(theta), np.sin(theta)]), 2 * SIDE * np.array([-np.sin(theta), np.cos(theta)])
        ends = [np.rint(rho * normal + sign * far).astype(int).tolist() for sign in (-1, 1)]
        _, start, end = cv2.clipLine((0, 0, *small.shape[::-1]), *ends)
        count = max(abs(start[0] - end[0]), abs(start[1] - end[1])) + 1
        x, y = np.rint(np.linspace(start, end, count)).astype(int).T
        along, thickness = distances[y, x], scale * 2 * np.median(distances[y, x])
        if count >= least and (along > 0).mean() >= COVERED and thickness <= thickest + 2 * scale:
            ends = [tuple(np.rint((np.array(each) + 0.5) * scale).astype(int).tolist()) for each in (start, end)]
            cv2.line(drawn, *ends, 1, odd(thickness + 1))
    return drawn > 0


def unframe(ink: np.ndarray, own: np.ndarray) -> None:
    """Take a piece out of the ink in its box, both bool [h, w], where it is a frame; digits that touch it stay."""
    contours, hierarchy = cv2.findContours(own.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes = [contour for contour, (*_, parent) in zip(contours, hierarchy[0], strict=True) if parent >= 0]
    outline, width, between = max(contours, key=cv2.contourArea), stroke_width(own), np.zeros_like(own)
    size, hull = cv2.contourArea(outline), cv2.contourArea(cv2.convexHull(outline))
    if size < OPEN * hull:
        inside, between = hulls([outline], own.shape, 3 * width), own
        if (own & inside).sum() > 0.1 * own.sum():
            return
    elif not holes or size < CONVEX * hull:
        return
    elif size > BOX * cv2.contourArea(quadrilateral(outline)):
        holes = np.concatenate(holes)
        inside, between = hulls([holes], own.shape, width), dividers(own, holes, 0.7 * width)
    else:
        inside = hulls(holes, own.shape, width)
    content = bridged(ink & inside & ~between, ink & inside, width)
    height = max((piece.height for piece in connected(content)[1] if not piece.is_flat), default=0)
    if height > HIGH * cv2.boundingRect(inside.astype(np.uint8))[3]:
        ink[own & ~content] = False


def hulls(contours: list[np.ndarray], shape: tuple[int, ...], margin: float) -> np.ndarray:
    """The hulls of contours but for a margin at their edges: bool, of a shape."""
    drawn = np.zeros(shape, np.uint8)
    for contour in contours:
        hull = cv2.fillPoly(np.zeros(shape, np.uint8), [cv2.convexHull(contour)], 1)
        drawn |= cv2.erode(hull, disc(odd(margin)), borderValue=0)
    return drawn > 0


def dividers(own: np.ndarray, holes: np.ndarray, margin: float) -> np.ndarray:
    """Lines from side to side of the quadrilateral around the holes of a box, bool [h, w]: what divides its cells."""
    change = cv2.getPerspectiveTransform(quadrilateral(holes), np.float32([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]]))
    upright = cv2.warpPerspective(own.astype(np.float32), change, (SIDE, SIDE))
    lines = ((upright.mean(0) > DIVIDED) | (upright.mean(1) > DIVIDED)[:, None]).astype(np.float32)
    lines = cv2.warpPerspective(lines, change, own.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return cv2.dilate(lines, disc(odd(margin))) > 0
