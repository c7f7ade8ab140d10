"""Rows of digits: which pieces of ink are one digit, and where digits that touch may be cut.

    find(mask)    labels of the ink, and the rows of a page, top to bottom, of groups, left to right

A group is a digit, or what may be several: its parts, left to right, of which consecutive ones may be one digit. The
network chooses among those, as in LeCun et al. 1998, section V (a graph of segmentations).
"""

import itertools

import cv2
import numpy as np

from deployment.strokes import Piece, connected, stroke_width

SPECK = 0.003  # of the largest piece's area: less is none
SMALL = 0.5  # of the tallest: a piece below that is part of a digit, or none
NEAR, BESIDE = 0.25, 0.15  # of the tallest: how far a small piece lies from its digit, above or below; beside it
SHORTEST = 0.35  # of the tallest
WIDE = 0.75  # times its height: a piece wider than that may be several digits
SLANTS = np.arange(-0.4, 0.41, 0.1)  # of cuts, as pixels aside for each one up
CROSSED = 3  # widths of a stroke that a cut may cross
MOST_CUTS = 5

Group = list[Piece]


def find(mask: np.ndarray) -> tuple[np.ndarray, list[list[Group]]]:
    """(labels [H, W] of a mask; its rows). What touches the picture's edge is a digit only where all does."""
    labels, pieces = connected(mask)
    least = SPECK * max((piece.area for piece in pieces), default=0)
    pieces = [piece for piece in pieces if piece.area >= least]
    pieces = [piece for piece in pieces if not piece.touches_edge(mask.shape)] or pieces
    parts = joined(pieces)
    tallest = max((part.height for part in parts if not part.is_flat), default=0)  # others underline, or are dashes
    parts = [part for part in parts if part.length >= SHORTEST * tallest and part.is_flat <= (part.height >= tallest)]
    return labels, [[cut(part, labels) for part in row] for row in lines(parts)]


def union(pieces: list[Piece]) -> Piece:
    """Pieces as one."""
    left, top = min(piece.x for piece in pieces), min(piece.y for piece in pieces)
    right, bottom = max(piece.x + piece.width for piece in pieces), max(piece.y + piece.height for piece in pieces)
    labels = tuple(itertools.chain.from_iterable(piece.labels for piece in pieces))
    return Piece(left, top, right - left, bottom - top, sum(piece.area for piece in pieces), labels)


def overlap(one: Piece, other: Piece, axis: int) -> int:
    """How many pixels two boxes share along an axis; negative: how far they are apart."""
    return min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])


def gap(one: Piece, other: Piece) -> float:
    """The distance of two boxes."""
    return float(np.hypot(*(max(0, -overlap(one, other, axis)) for axis in (0, 1))))


def joined(pieces: list[Piece]) -> list[Piece]:
    """Pieces of one digit joined: a broken stroke, the loose bar of a 5."""
    tallest, parts = max((piece.height for piece in pieces), default=0), []
    for piece in sorted(pieces, key=lambda piece: -piece.area):
        owners = [part for part in parts if belongs(piece, part, tallest)]
        if owners:
            nearest = min(owners, key=lambda part: gap(piece, part))
            parts.remove(nearest)
            piece = union([nearest, piece])
        parts.append(piece)
    return parts


def belongs(piece: Piece, digit: Piece, tallest: int) -> bool:
    """Whether a piece is part of a larger one's digit: by how much is over each other, and how far apart."""
    is_underline = piece.is_flat and piece.y >= digit.y + 0.9 * digit.height and piece.width > 0.5 * digit.width
    is_over = overlap(piece, digit, 0) > 0.5 * min(piece.width, digit.width)
    is_small = min(piece.height, digit.height) < SMALL * tallest
    reach = (NEAR if is_over else BESIDE) * is_small
    return gap(piece, digit) < (0.03 if is_underline else reach) * tallest


def lines(parts: list[Piece]) -> list[list[Piece]]:
    """Parts by rows, each from left to right, rows from top to bottom: a part goes on from what is at its left."""
    rows: list[list[Piece]] = []
    for part in sorted(parts, key=lambda part: part.x + part.width / 2):
        row = max(rows, key=lambda row: overlap(row[-1], part, 1), default=None)
        if row and overlap(row[-1], part, 1) > 0.4 * min(row[-1].height, part.height):
            row.append(part)
        else:
            rows.append([part])
    return sorted(rows, key=lambda row: np.mean([part.y + part.height / 2 for part in row]))


def runs(group: Group) -> dict[tuple[int, int], Piece]:
    """{(start, end): digit} of the consecutive parts of a group."""
    return {run: union(group[slice(*run)]) for run in itertools.combinations(range(len(group) + 1), 2)}


def spaces(digits: list[Piece]) -> list[bool]:
    """Of each digit in a row, whether a word's space is before it: a gap that is wide, and wider than most."""
    height = np.median([digit.height for digit in digits])
    gaps = np.array([-overlap(one, other, 0) for one, other in itertools.pairwise(digits)])
    usual = min(gaps) if len(gaps) > 1 else 0.5 * height
    return [False, *(gaps > max(0.6 * height, 2 * usual)).tolist()]


def cut(part: Piece, labels: np.ndarray) -> Group:
    """A part, if it is wide, cut along straight lines that cross little ink; `labels` [H, W] gets a new one for each
    piece."""
    if part.width <= WIDE * part.height:
        return [part]
    mask = np.isin(labels[part.place], part.labels)
    y, x = np.indices(mask.shape)
    # [slants, h, w]: the column in which a cut through a pixel crosses half the height.
    places = np.rint(x + SLANTS[:, None, None] * (y - part.height / 2)).astype(int)
    crossed = [np.bincount(np.clip(each[mask], 0, part.width), minlength=part.width + 1) for each in places]
    apart, most, cuts = 0.1 * part.height, CROSSED * stroke_width(mask) + 1, {}
    for slant, place in np.stack(np.unravel_index(np.argsort(crossed, None, "stable"), np.shape(crossed)), 1).tolist():
        if crossed[slant][place] > most or len(cuts) == MOST_CUTS:
            break
        if 2 * apart < place < part.width - 2 * apart and all(abs(place - other) > apart for other in cuts):
            cuts[place] = slant
    side, pieces = sum((places[slant] >= place for place, slant in cuts.items()), np.zeros(mask.shape, int)), []
    for number in np.unique(side[mask]):
        piece, label = mask & (side == number), int(labels.max()) + 1
        labels[part.place][piece] = label
        x, y, width, height = cv2.boundingRect(piece.astype(np.uint8))
        pieces.append(Piece(part.x + x, part.y + y, width, height, int(piece.sum()), (label,)))
    return pieces
