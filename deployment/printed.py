"""What is printed or drawn around digits: rulings, grids, boxes, the cells of a form, circles. None is a digit's ink.

    without(mask, ink)    (strokes without it, where it is doubtful)

Rulings are straight lines that cross the whole page at any angle, by a Hough transform (Duda & Hart, 1972). A frame is
a closed outline with something inside that is no part of it.
"""

import cv2
import numpy as np

from deployment.sheet import shrink
from deployment.strokes import Piece, connected, disc, odd, stroke_width, strokes

SIDE = 400  # pixels, longer side of the picture in which lines are looked for
THICKEST = 0.02  # of the longer side: no printed line is thicker
COVERED = 0.75  # of a line's length
STEP = np.pi / 720


def without(mask: np.ndarray, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a mask of strokes, bool [H, W], without rulings and frames; where these may be a digit's, bool [H, W])."""
    mask, doubtful = without_rulings(mask, ink), np.zeros_like(mask)
    labels, pieces = connected(mask)
    mask = mask.copy()
    for label, piece in sorted(pieces.items(), key=lambda item: -item[1].width * item[1].height):
        if piece.length >= 0.1 * max(mask.shape):
            unframe(mask, doubtful, labels[piece.place] == label, piece)
    return mask, doubtful


def without_rulings(mask: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """A mask without the lines that cross its page. They may be fainter than what is written: it is looked for anew."""
    labels, pieces = connected(mask)
    across = [
        label
        for label, piece in pieces.items()
        if piece.touches_edge(mask.shape) and piece.length >= 0.5 * max(mask.shape)
    ]
    if not across:
        return mask
    rulings = lines(np.isin(labels, across), COVERED, THICKEST * max(mask.shape))
    rest = mask & ~rulings
    if not rulings.any() or rest.sum() < 0.05 * mask.sum():
        return mask
    written = strokes(np.where(rulings, 0, ink))
    return bridged(written & ~rulings, mask, 2 * THICKEST * max(mask.shape))


def bridged(rest: np.ndarray, mask: np.ndarray, width: float) -> np.ndarray:
    """What is left of a mask, with the ink between its parts that are less than a width apart."""
    closed = cv2.morphologyEx(rest.astype(np.uint8), cv2.MORPH_CLOSE, disc(odd(width)))
    return rest | (mask & (closed > 0))


def lines(mask: np.ndarray, covered: float, thickest: float) -> np.ndarray:
    """Straight lines from edge to edge of a mask, of which a share is covered, bool [H, W]; none thicker than so many
    pixels."""
    small = shrink(255 * mask.astype(np.uint8), SIDE) > 64
    height, width = small.shape
    least = int(covered * min(height, width) * 0.5)
    votes = cv2.HoughLinesWithAccumulator(small.astype(np.uint8), 1, STEP, max(least, 20))
    drawn = np.zeros(mask.shape, np.uint8)
    if votes is None:
        return drawn > 0
    scale = max(mask.shape) / max(small.shape)
    distances = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    for rho, theta, vote in votes.reshape(-1, 3)[:2000]:
        normal = np.array([np.cos(theta), np.sin(theta)])
        ends = chord(rho, normal, width, height)
        if ends is None:
            continue
        length = max(abs(ends[1] - ends[0]))  # as many pixels as a line has
        if vote < covered * length or length < 0.5 * min(height, width):
            continue
        points = np.rint(np.linspace(*ends, 200) * scale).astype(int)
        points = np.clip(points, 0, np.array(mask.shape[::-1]) - 1)
        thickness = 2 * np.median(distances[points[:, 1], points[:, 0]])
        if thickness <= thickest + 2:
            cv2.line(
                drawn,
                *[tuple(np.rint(end * scale).astype(int).tolist()) for end in ends],
                1,
                odd(thickness + scale + 1),
            )
    return drawn > 0


def chord(rho: float, normal: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The ends of the line x · normal = rho within a page, or None."""
    middle, along = rho * normal, np.array([-normal[1], normal[0]])
    low, high = -np.inf, np.inf
    for axis, size in enumerate((width - 1, height - 1)):
        if abs(along[axis]) > 1e-6:
            first, last = sorted(((0 - middle[axis]) / along[axis], (size - middle[axis]) / along[axis]))
            low, high = max(low, first), min(high, last)
        elif not 0 <= middle[axis] <= size:
            return None
    return (middle + low * along, middle + high * along) if high > low else None


def unframe(mask: np.ndarray, doubtful: np.ndarray, piece_mask: np.ndarray, piece: Piece) -> None:
    """Take a piece out of a mask so far as it is a frame, and mark where that is doubtful."""
    place = piece.place
    all_ink = mask[place]
    own = piece_mask & all_ink
    if not own.any():
        return
    width = stroke_width(own)
    if width > 0.15 * min(piece.width, piece.height):
        return
    body, is_box, is_open = outline(own, width)
    if body is None:
        return
    depth = cv2.distanceTransform(np.pad(body, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    inner = depth > 1.5 * width + 2
    if not inner.any():
        return
    content = all_ink & inner
    x, y, w, h = cv2.boundingRect(inner.astype(np.uint8))
    if is_box:
        inside = np.s_[y : y + h, x : x + w]
        dividers = lines(content[inside], 0.9, 2 * width)
        rest = content[inside] & ~dividers
        if rest.sum() > 0.1 * content.sum():
            content[inside] = bridged(rest, content[inside], 2 * width)
    labels, pieces = connected(content)
    heights = {label: each.height for label, each in pieces.items() if not each.is_flat}
    if not heights:
        return
    main = max(heights, key=heights.get)
    attached = (labels == main) & (depth < 1.5 * width + 5) & own
    count = connected(attached)[0].max() if attached.any() else 0
    least = 0.1 if is_box and not count else 0.3 if is_box else 0.5 if count else 0.25
    if heights[main] < least * h or (count > 1 and not is_box) or (count and is_open):
        return
    outside = own & ~(cv2.dilate(body.astype(np.uint8), disc(odd(width))) > 0)
    kept = bridged(content | outside, all_ink, 3 * width + 4) if count else content | outside
    mask[place] = np.where(own, kept & own, all_ink)
    if count and not is_box:
        doubtful[place] |= kept


def outline(own: np.ndarray, width: float) -> tuple[np.ndarray | None, bool, bool]:
    """(the area that a piece goes around, bool [h, w], or None; whether it is a box)."""
    contours, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=cv2.contourArea)
    filled = cv2.drawContours(np.zeros(own.shape, np.uint8), [contour], -1, 1, cv2.FILLED)
    hull = cv2.convexHull(contour)
    is_open = filled.sum() < 0.6 * cv2.contourArea(hull)
    if is_open:
        if not surrounds(own):
            return None, False, False
        filled = cv2.fillPoly(np.zeros(own.shape, np.uint8), [hull], 1)
    size = odd(min(own.shape) / 4)
    padded = np.pad(filled, size)
    body = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc(size))[size:-size, size:-size]
    contours, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None, False, False
    contour = max(contours, key=cv2.contourArea)
    area, hull = cv2.contourArea(contour), cv2.contourArea(cv2.convexHull(contour))
    sides = cv2.minAreaRect(contour)[1]
    if area < 0.9 * hull or area < 0.3 * own.size:
        return None, False, False
    return body > 0, area > 0.88 * np.prod(sides), is_open


def surrounds(own: np.ndarray) -> bool:
    """Whether ink lies in most directions from the middle of its box."""
    y, x = np.nonzero(own)
    angles = np.arctan2(y - own.shape[0] / 2, x - own.shape[1] / 2)
    return len(np.unique((18 * angles / np.pi).round())) > 30
