"""Rows of digits: which pieces of ink are one digit, and where digits that touch may be cut.

    find(labels, pieces)    the rows of a page, top to bottom, and their groups, left to right

A group is what surely belongs together, or what may be several digits: its parts, left to right, of which consecutive
ones may be one digit. The network chooses among those, as in LeCun et al. 1998, section V (a graph of segmentations).
"""

import itertools
from typing import NamedTuple

import cv2
import numpy as np

from deployment.strokes import Piece, stroke_width

SMALL = 0.5  # of the tallest: a piece below that is part of a digit, or none
NEAR = 0.25  # of the tallest: how far from its digit a loose part lies
WIDE = 0.75  # times its height: a piece wider than that may be several digits
SEAM_HEIGHT = 48  # pixels in which seams are looked for
MOST_PARTS = 8


class Part(NamedTuple):
    """Ink of a digit: its labels, and the box around them."""

    labels: tuple[int, ...]
    box: Piece


Group = list[Part]


def union(parts: list[Part]) -> Part:
    """Parts as one."""
    left, top = (min(part.box[axis] for part in parts) for axis in (0, 1))
    right, bottom = (max(part.box[axis] + part.box[axis + 2] for part in parts) for axis in (0, 1))
    area = sum(part.box.area for part in parts)
    return Part(sum((part.labels for part in parts), ()), Piece(left, top, right - left, bottom - top, area))


def overlap(one: Piece, other: Piece, axis: int) -> int:
    """How many pixels two boxes share along an axis; negative: how far they are apart."""
    return min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])


def find(labels: np.ndarray, pieces: dict[int, Piece]) -> list[list[Group]]:
    """The rows of a page. `labels` [H, W] gets new labels where a piece is cut."""
    parts = joined([Part((label,), piece) for label, piece in pieces.items()])
    tallest = max(part.box.height for part in parts)
    parts = [part for part in parts if part.box.length >= 0.35 * tallest and not is_rule(part.box, parts)]
    rows = lines(parts)
    return [groups(row, labels) for row in rows]


def is_rule(box: Piece, parts: list[Part]) -> bool:
    """Whether a flat piece underlines others, or stands between them as a dash."""
    return box.is_flat and any(not part.box.is_flat and part.box.height > box.height for part in parts)


def joined(parts: list[Part]) -> list[Part]:
    """Parts of one digit joined: a broken stroke, the loose bar of a 5; small ones by their distance, others by how
    far they are over each other. The rest of the small ones stays."""
    tallest = max(part.box.height for part in parts)
    parts = sorted(parts, key=lambda part: -part.box.area)
    joined: list[Part] = []
    for part in parts:
        owner = min(
            (other for other in joined if belongs(part.box, other.box, tallest)),
            key=lambda other: gap(part.box, other.box),
            default=None,
        )
        if owner:
            joined.remove(owner)
            part = union([owner, part])
        joined.append(part)
    return joined


def gap(one: Piece, other: Piece) -> float:
    """The distance of two boxes."""
    return float(np.hypot(*(max(0, -overlap(one, other, axis)) for axis in (0, 1))))


def belongs(piece: Piece, digit: Piece, tallest: int) -> bool:
    """Whether a piece is part of a larger one's digit."""
    across, down = (overlap(piece, digit, axis) / max(1, min(piece[axis + 2], digit[axis + 2])) for axis in (0, 1))
    distance = gap(piece, digit) / tallest
    if (
        piece.is_flat
        and piece.y >= digit.y + 0.9 * digit.height
        and piece.width > 0.5 * digit.width
        and distance > 0.03
    ):
        return False  # an underline
    if across > 0.5:
        return down > 0 or distance < (NEAR if min(piece.height, digit.height) < SMALL * tallest else 0.08)
    return piece.height < SMALL * tallest and piece.length < 0.9 * tallest and distance < 0.15


def lines(parts: list[Part]) -> list[list[Part]]:
    """Parts by rows, each from left to right, rows from top to bottom: each part goes on from the nearest at its left
    that is as high."""
    rows: list[list[Part]] = []
    for part in sorted(parts, key=lambda part: part.box.x + part.box.width / 2):
        level = [
            row for row in rows if overlap(row[-1].box, part.box, 1) > 0.4 * min(row[-1].box.height, part.box.height)
        ]
        if level:
            max(level, key=lambda row: overlap(row[-1].box, part.box, 1)).append(part)
        else:
            rows.append([part])
    return sorted(rows, key=lambda row: np.mean([part.box.y + part.box.height / 2 for part in row]))


def groups(row: list[Part], labels: np.ndarray) -> list[Group]:
    """A row as groups: parts over each other may be one digit, and wide ones several."""
    height = float(np.median([part.box.height for part in row]))
    groups: list[Group] = []
    for part in row:
        parts = cut(part, labels) if part.box.width > WIDE * max(height, 0.8 * part.box.height) else [part]
        if groups and overlap(groups[-1][-1].box, part.box, 0) > 0.25 * min(groups[-1][-1].box.width, part.box.width):
            groups[-1] += parts
        else:
            groups.append(parts)
    return groups


def runs(group: Group) -> dict[tuple[int, int], Part]:
    """{(start, end): part} of the consecutive parts of a group that may be one digit, by their height and width."""
    ends = [(start, end) for start in range(len(group)) for end in range(start + 1, len(group) + 1)]
    parts, least = {run: union(group[slice(*run)]) for run in ends}, 0.6 * max(part.box.height for part in group)
    likely = {run: part for run, part in parts.items() if least <= part.box.height > part.box.width / 1.6}
    return likely | {ends[len(group) - 1]: parts[ends[len(group) - 1]]}


def spaces(boxes: list[Piece]) -> list[bool]:
    """Of each digit in a row, whether a word's space is before it: a gap that is wide, and wider than most."""
    height = np.median([box.height for box in boxes])
    gaps = np.array([-overlap(one, other, 0) for one, other in itertools.pairwise(boxes)])
    usual = min(gaps) if len(gaps) > 1 else 0.5 * height
    return [False, *(gaps > max(0.6 * height, 2 * usual)).tolist()]


def cut(part: Part, labels: np.ndarray) -> Group:
    """A part cut from top to bottom wherever digits may touch."""
    place = part.box.place
    mask = np.isin(labels[place], part.labels)
    scale = SEAM_HEIGHT / part.box.height
    size = max(4, round(scale * part.box.width)), SEAM_HEIGHT
    small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    pieces, taken = [], np.zeros(mask.shape, bool)
    columns, rows = np.arange(mask.shape[1]), np.minimum(np.arange(mask.shape[0]) * scale, SEAM_HEIGHT - 1).astype(int)
    paths = [path[rows] / scale for path in seams(small, scale * stroke_width(mask))]
    for path in [*paths, np.full(mask.shape[0], np.inf)]:
        piece = mask & ~taken & (columns < path[:, None])
        taken |= piece
        if piece.any():
            label = int(labels.max()) + 1
            labels[place][piece] = label
            x, y, width, height = cv2.boundingRect(piece.astype(np.uint8))
            pieces.append(Part((label,), Piece(part.box.x + x, part.box.y + y, width, height, int(piece.sum()))))
    return pieces


def seams(ink: np.ndarray, width: float) -> list[np.ndarray]:
    """Paths from top to bottom through little ink [h, w], as x [h] each, left to right: least-cost paths whose steps
    go straight or aside (dynamic programming). Less than two strokes of that width are crossed."""
    cost, back = ink[0], []
    for row in ink[1:]:
        around = np.stack(
            [
                np.pad(cost, (1, 0), constant_values=99)[:-1] + 0.1,
                cost,
                np.pad(cost, (0, 1), constant_values=99)[1:] + 0.1,
            ]
        )
        back.append(around.argmin(0) - 1)
        cost = around.min(0) + row
    paths, least = [], 0.2 * len(ink)
    for end in np.argsort(cost):
        if cost[end] > 1.5 * width + 1 or len(paths) == MOST_PARTS - 1:
            break
        path = [int(end)]
        for step in reversed(back):
            path.append(path[-1] + int(step[path[-1]]))
        path = np.array(path[::-1])
        if least < path.mean() < ink.shape[1] - least and all(
            abs(path.mean() - other.mean()) > 0.5 * least for other in paths
        ):
            paths.append(path)
    return sorted(paths, key=np.mean)
