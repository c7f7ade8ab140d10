"""Pictures as people have them, drawn by a generator: digits, rows and frames of them, and what is no digit.

    python -m experiments.handwriting FOLDER      the development half, as files KIND/LABEL-NUMBER.png or .jpg

A person is a seed: which skeleton of each character (skeletons.toml), where its points lie, slant, size, roundness,
pen, spacing. Even seeds are the development half, on which reading may be tuned; odd ones are held back for the
measurement (robustness.py). The same seeds give the same pictures. No network and no image of a data set.
"""

import itertools
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from support import cli, files

import cv2
import matplotlib
import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

SKELETONS = tomllib.loads(Path(__file__).with_name("skeletons.toml").read_text(encoding="utf-8"))
HALVES = {"development": range(0, 48, 2), "held_back": range(1, 48, 2)}  # of the people
FRAMES = *3 * ["box"], *2 * ["circle"], *2 * ["cells"], "edge", "grid", "underline"
SHAPES = *3 * ["letter"], *4 * ["drawing"], "scribble", "dots or blank"
EACH = {"single": 20, "rows": 10, "framed": len(FRAMES), "shapes": len(SHAPES), "look-alikes": 3}  # by a person
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
TYPEFACES = "DejaVuSans", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSansMono-Bold", "cmr10", "cmss10", "STIXGeneral"
PENS = (25, 25, 30), (30, 45, 140), (20, 30, 90), (90, 90, 95), (150, 30, 40), (20, 90, 60)
PRINTS = (60, 60, 60), (120, 120, 125), (70, 100, 170), (200, 90, 60), (20, 20, 20)
PAPERS = (255, 255, 255), (246, 245, 243), (248, 240, 218), (228, 226, 222), (250, 243, 190)
RULINGS = (150, 180, 220), (190, 190, 195), (215, 170, 175)
TABLE = (70, 52, 38)
SMALLEST, LARGEST, LEAST = 120, 1600, 30  # pixels: longer side of a picture, height of a digit
TOUCHING = 0.05  # of neighbours
TURN, SHIFT = 2 * np.pi, 4  # the latter: bits behind the point in OpenCV's coordinates
Strokes = list[np.ndarray]  # lines, float [points, 2]: x to the right and y down, in heights of a digit


class Layer(NamedTuple):
    """What is drawn in one colour: lines of a width that varies by a share, or areas where the width is 0."""

    strokes: Strokes
    colour: tuple[int, int, int]
    width: float = 0
    pressure: float = 0


class Person:
    """How somebody writes, in heights of a digit."""

    def __init__(self, seed: int):
        self.seed, rng = seed, np.random.default_rng(seed)
        self.slant, self.drift = np.clip(rng.normal(0.1, 0.13), -0.15, 0.35), rng.normal(0, 0.02)
        self.aspect, self.roundness = rng.uniform(0.75, 1.15), rng.uniform(0.15, 0.27)
        self.spacing, self.unevenness = rng.uniform(0.12, 0.4), rng.uniform(0.005, 0.02)
        self.pen = {"colour": chosen(PENS, rng), "width": rng.uniform(0.035, 0.13), "pressure": rng.uniform(0, 0.3)}

    def glyph(self, skeletons: list[str], rng: np.random.Generator) -> Strokes:
        """A character as it is drawn this time: the points where they always are, and a little beside by chance."""
        own = np.random.default_rng([self.seed, zlib.crc32(skeletons[0].encode())])
        skeleton = chosen(skeletons, own)
        points = sorted(set(skeleton.replace("-", "").replace("/", "").split()))
        places = np.array([[int(digit, 36) for digit in point] for point in points]) / 15
        places += own.normal(0, 0.022, places.shape) + rng.normal(0, self.unevenness, places.shape)
        at, size, lift = dict(zip(points, places, strict=True)), rng.normal(1, 0.04), rng.normal(0, 0.03)
        lines = [[[at[point] for point in part.split()] for part in line.split("-")] for line in skeleton.split("/")]
        return [(self.rounded(line) * size + [0, 1 - size + lift]) * [self.aspect, 1] for line in lines]

    def rounded(self, parts: list[list[np.ndarray]]) -> np.ndarray:
        """A line through parts that are corners to each other and curves in themselves: corners cut off (Chaikin)."""
        line = [parts[0][0]]
        for part in parts:
            points = np.array([line[-1], *part])
            for _ in range(4):
                step = np.diff(points, axis=0) * self.roundness
                cut = np.stack([points[:-1] + step, points[1:] - step], 1).reshape(-1, 2)
                points = np.concatenate([points[:1], cut, points[-1:]])
            line += [*points]
        return np.array(line)

    def write(self, text: str, rng: np.random.Generator, pitch: float = 0) -> Layer:
        """Digits, of which now and then one touches the next; with a pitch, each in its own cell."""
        x, strokes = 0.0, []
        for digit, following in itertools.pairwise(f"{text}_"):
            if digit == "_":
                x += rng.uniform(0.5, 0.9) + self.spacing
                continue
            glyph = self.glyph(SKELETONS["digits"][digit], rng)
            (low, _), (high, _) = extent(glyph)
            left = x + (pitch - high + low) / 2 + rng.normal(0, 0.04) if pitch else x
            strokes += [line + np.array([left - low, 0]) for line in glyph]
            touches = rng.random() < TOUCHING and not {"1", "_"} & {digit, following}  # 1 would look like a part of it
            gap = 0.3 * self.pen["width"] if touches else self.pen["width"] + self.spacing * rng.uniform(0.7, 1.3)
            x += pitch or high - low + gap
        return self.layer(strokes)

    def layer(self, strokes: Strokes) -> Layer:
        """Strokes of this person's pen, slanted and not quite level."""
        change, middle = np.array([[1, self.drift], [-self.slant, 1]]), extent(strokes).mean(0)  # x' = x - slant · y
        return Layer([(line - middle) @ change + middle for line in strokes], **self.pen)

    def shape(self, kind: str, rng: np.random.Generator) -> tuple[str, list[Layer]]:
        """What is no digit, of a kind of `SHAPES` or a letter that looks like one: its label, and what is drawn."""
        if kind == "scribble":
            return kind, [self.layer([self.rounded([[*rng.random((rng.integers(12, 30), 2)) * [1.5, 1]]])])]
        if kind == "dots or blank":
            dots = [np.repeat(rng.random((1, 2)), 2, 0) for _ in range(rng.integers(0, 2) * rng.integers(1, 6))]
            return ("dots", [self.layer(dots)]) if dots else ("blank", [])
        name, skeletons = chosen([*SKELETONS[f"{kind}s"].items()], rng)
        if kind == "drawing" or rng.random() < 0.5:
            return f"{kind} {name}", [self.layer(self.glyph(skeletons, rng))]
        font = FontProperties(fname=FONTS / f"{chosen(TYPEFACES, rng)}.ttf")
        areas = TextPath((0, 0), name, prop=font).to_polygons()
        height = np.ptp(extent(areas)[:, 1])
        return f"{kind} {name}", [Layer([area * [1, -1] / height for area in areas], self.pen["colour"])]

    def frame(self, kind: str, digits: Layer, cells: np.ndarray, rng: np.random.Generator) -> Layer:
        """What a picture has around its digits or below them; some boxes and cells touch them or cross them."""
        least = -0.03 if kind in ("box", "cells") and rng.random() < 0.2 else 0.12
        (left, top), (right, bottom) = extent(digits.strokes) + rng.uniform(least, 0.5, (2, 2)) * [[-1], [1]]
        if kind == "circle":
            turn = np.linspace(-1, rng.uniform(0.97, 1.06) * TURN - 1, 60)
            radii = rng.uniform(1.2, 1.4) + 0.03 * np.sin(2 * turn) + np.linspace(0, rng.normal(0, 0.05), 60)
            ring = np.stack([np.cos(turn), np.sin(turn)], 1) * radii[:, None]
            return Layer([(ring * [right - left, bottom - top] + [left + right, top + bottom]) / 2], **self.pen)
        if kind == "underline":
            bottom += self.pen["width"]
            return Layer([np.array([[left, bottom], [right, bottom + rng.normal(0, 0.05)]])], **self.pen)
        xs = cells if kind == "cells" else np.array([left, right])
        lines = [np.array([[xs[0], y], [xs[-1], y]]) for y in (top, bottom)]
        lines += [np.array([[x, top], [x, bottom]]) for x in xs]
        return Layer(lines, chosen(PRINTS, rng), rng.uniform(0.012, 0.05))


def chosen(several: Sequence, rng: np.random.Generator):
    return several[rng.integers(len(several))]


def extent(strokes: Strokes) -> np.ndarray:
    """The least and the greatest x and y of lines: [2, 2]."""
    points = np.concatenate(strokes)
    return np.array([points.min(0), points.max(0)])


def ruling(size: np.ndarray, is_grid: bool, rng: np.random.Generator) -> Layer:
    """Printed lines, or squares, across a page of a size in heights of a digit; a grid is askew."""
    lines, length, step = [], size.sum(), rng.uniform(0.45, 1.4)
    first = np.radians(chosen((-1, 1), rng) * rng.uniform(3, 20) if is_grid else rng.normal(0, 0.5))
    for angle in (first, first + TURN / 4)[: rng.integers(1, 3)]:
        along, across = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        offsets = np.arange(-length, length, step) + rng.uniform(0, step)
        lines += [size / 2 + offset * across + length * np.array([-along, along]) for offset in offsets]
    return Layer(lines, chosen(RULINGS, rng), 0.02 if is_grid else 0.012)


def put(page: np.ndarray, layer: Layer, scale: float, rng: np.random.Generator) -> None:
    """Draw a layer on a page, float32 [H, W, 3], at a scale in pixels per height."""
    scale, ink = 2 * scale, np.zeros((2 * page.shape[0], 2 * page.shape[1]), np.uint8)
    lines = [np.rint(line * scale * 2**SHIFT).astype(np.int32) for line in layer.strokes]
    if not layer.width:
        cv2.fillPoly(ink, lines, 255, cv2.LINE_AA, SHIFT)
    for line in lines if layer.width else ():
        harder = 1 + layer.pressure * np.sin(np.linspace(0, TURN, len(line)) + rng.uniform(0, TURN))
        widths = np.maximum(1, np.rint(layer.width * scale * harder)).astype(int).tolist()
        for (start, end), width in zip(itertools.pairwise(line.tolist()), widths, strict=False):
            cv2.line(ink, start, end, 255, width, cv2.LINE_8, SHIFT)
    share = cv2.resize(ink, page.shape[1::-1], interpolation=cv2.INTER_AREA)[..., None] / np.float32(255)
    page += (np.float32(layer.colour) - page) * share


def render(layers: list[Layer], surface: str, rng: np.random.Generator) -> np.ndarray:
    """A page with layers on it, float32 [H, W, 3] in 0..255: plain or ruled, with a grid or a dark edge."""
    low, high = extent([line for layer in layers for line in layer.strokes] or [np.array([[0, 0], [0.6, 1]])])
    before, after = 0.3 * 6 ** rng.random((2, 2))
    size = high - low + before + after
    longest = SMALLEST * (LARGEST / SMALLEST) ** rng.random()
    scale = min(max(longest / size.max(), LEAST), LARGEST / size.max())
    width, height = np.ceil(size * scale).astype(int)
    page = np.full((height, width, 3), chosen(PAPERS, rng), np.float32)
    if surface == "grid" or rng.random() < 0.3:
        put(page, ruling(size, surface == "grid", rng), scale, rng)
    for layer in layers:
        put(page, layer._replace(strokes=[line + before - low for line in layer.strokes]), scale, rng)
    if surface == "edge":
        inset, thickness = (rng.uniform([0.01, 0.02], [0.06, 0.12]) * scale).astype(int).tolist()
        cv2.rectangle(page, (inset, inset), (width - 1 - inset, height - 1 - inset), (40, 40, 40), 1 + thickness)
    return page


def photograph(page: np.ndarray, rng: np.random.Generator) -> bytes:
    """A page as a file shows it: askew on a table, in uneven light, out of focus, with noise, compressed; or plain."""
    height, width = page.shape[:2]
    if rng.random() < 0.4:
        corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
        moved = corners + (corners.mean(0) - corners) * rng.uniform(0, 0.16, (4, 2))
        turn = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
        how = chosen((cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE), rng)
        page = cv2.warpPerspective(page, turn, (width, height), borderMode=how, borderValue=TABLE)
    if rng.random() < 0.5:
        angle, offset, soft = rng.uniform([0, -0.5, 0.05], [TURN, 0.5, 1.5]).astype(np.float32)
        y, x = np.linspace([-1, -1], [1, 1], 64, dtype=np.float32).T
        shade = 1 / (1 + np.exp((offset - x * np.cos(angle) - y[:, None] * np.sin(angle)) / soft))
        page *= cv2.resize(1 - np.float32(rng.uniform(0.1, 0.5)) * shade, (width, height))[..., None]
    if rng.random() < 0.6:
        page = cv2.GaussianBlur(page, (0, 0), 0.3 + rng.random() * max(page.shape) / 600)
    if rng.random() < 0.5:
        page += rng.uniform(0, 8) * rng.standard_normal(page.shape, np.float32)
    pixels = np.clip(page[..., ::-1], 0, 255).astype(np.uint8)  # OpenCV's order of colours
    form, settings = chosen(((".png", ()), (".jpg", (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))))), rng)
    return cv2.imencode(form, pixels, settings)[1].tobytes()


def draw(kind: str, person: Person, number: int) -> tuple[str, bytes]:
    """A person's picture of a kind of `EACH`: what it shows (digits, with `_` for a gap between words, or what it is
    instead), and the file's content."""
    rng = np.random.default_rng([person.seed, [*EACH].index(kind), number])
    if kind in ("shapes", "look-alikes"):
        label, layers = person.shape(SHAPES[number] if kind == "shapes" else "look-alike", rng)
        return label, photograph(render(layers, "", rng), rng)
    around = FRAMES[number] if kind == "framed" else ""
    count = rng.integers(2, 7) if kind == "rows" else rng.integers(1, 6) if around == "cells" else 1
    label = str(number % 10) if kind == "single" else "".join(map(str, rng.integers(0, 10, count)))
    if kind == "rows" and count > 2 and rng.random() < 0.3:
        gap = rng.integers(1, count)
        label = f"{label[:gap]}_{label[gap:]}"
    pitch = rng.uniform(1.05, 1.4) if around == "cells" else 0
    digits = person.write(label, rng, pitch)
    cells = pitch * np.arange(-rng.integers(0, 2), count + 1 + rng.integers(0, 2))  # with neighbours
    layers = [] if around in ("", "edge", "grid") else [person.frame(around, digits, cells, rng)]
    return label, photograph(render([*layers, digits], around, rng), rng)


def pictures(kind: str, half: str) -> Iterator[tuple[str, bytes]]:
    """The pictures of a kind by a half of the people."""
    people = [Person(seed) for seed in HALVES[half]]
    return (draw(kind, person, number) for number in range(EACH[kind]) for person in people)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description="Draw the development half.")
    parser.add_argument("folder", type=cli.path)
    folder = parser.parse_args(argv).folder
    for kind in EACH:
        for number, (label, content) in enumerate(pictures(kind, "development")):
            suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
            files.replace_file(folder / kind / f"{label}-{number:03}.{suffix}", content)


if __name__ == "__main__":
    cli.run(main)
