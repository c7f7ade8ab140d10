"""Pictures of digits as people have them, by kind: MNIST's own digits on other pages, typed ones, pen strokes.

`picture(kind, label, pixels, rng)` draws one, a Pillow image, from a digit's label and its pixels, uint8 [28, 28].
`KINDS` says how each kind is made by the steps above it, of which some make ink, float32 [H, W] in 0..1, and others a
page, float32 [H, W, 3 or 4] in 0..255.
"""

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageFont

DRAWINGS = json.loads(Path(__file__).with_name("strokes.json").read_bytes())["drawings"]  # by hand
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
TYPEFACES = ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "cmr10", "cmss10")
HERSHEY = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
PAPERS = ((250, 240, 120), (250, 200, 210), (200, 230, 250), (200, 240, 200), (240, 240, 240))
PENS = ((200, 30, 30), (30, 60, 180), (20, 110, 50), (90, 40, 120), (30, 30, 30))
COLOURS = 4 * [*itertools.product(PAPERS, PENS)] + [*itertools.product(PENS, PAPERS)]  # of a paper and a pen
AS_LIGHT = [((160, 160, 60), (255, 110, 90)), ((120, 200, 120), (255, 130, 170)), ((255, 150, 60), (110, 190, 220))]


def enlarged(pixels, side):
    """A digit of 28 × 28 pixels, side × side large, with edges as sharp as a pen's."""
    how = cv2.INTER_AREA if side < 28 else cv2.INTER_CUBIC
    ink = cv2.resize(pixels.astype(np.float32) / 255, (side, side), interpolation=how)
    sharper = np.clip(side / 56, 1, 4)
    return np.clip((ink - 0.5) * sharper + 0.5, 0, 1) if side > 28 else np.clip(ink, 0, 1)


def drawn(label, rng, height, width):
    """A digit that was drawn by hand, with a pen of that width, a little slanted and stretched; margins of a half
    height."""
    strokes = rng.choice([drawing for drawing in DRAWINGS if drawing["digit"] == str(label)])["strokes"]
    low, high = np.min(np.concatenate(strokes), 0), np.max(np.concatenate(strokes), 0)
    change = np.array([[rng.uniform(0.8, 1.2), 0], [-rng.normal(0, 0.12), 1]])
    ink = np.zeros((2 * height, 2 * height), np.uint8)
    for stroke in strokes:
        line = ((stroke - (low + high) / 2) / (high - low)[1] @ change + 1) * height
        cv2.polylines(ink, [np.round(16 * line).astype(np.int32)], False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return ink.astype(np.float32) / 255


def typed(label, rng, height):
    """A digit of a typeface, or of a plotter's font as thin as can be."""
    if rng.random() < 0.4:
        array, font = np.zeros((2 * height, 2 * height), np.uint8), int(rng.choice(HERSHEY))
        thickness = int(rng.integers(1, 1 + max(2, height // 15)))
        cv2.putText(array, str(label), (height // 2, 3 * height // 2), font, height / 22, 255, thickness, cv2.LINE_AA)
    else:
        image = ImageFont.truetype(FONTS / f"{rng.choice(TYPEFACES)}.ttf", 1.3 * height).getmask(str(label), "L")
        array = np.pad(np.array(image).reshape(image.size[::-1]), height // 2)
    return array.astype(np.float32) / 255


def put(ink, rng, height, width=None):
    """Ink anywhere on a larger page."""
    space = height - ink.shape[0], (width or height) - ink.shape[1]
    top, left = (int(rng.integers(0, each + 1)) for each in space)
    return np.pad(ink, ((top, space[0] - top), (left, space[1] - left)))


def paint(ink, paper=(235, 233, 228), pen=(40, 40, 50)):
    """Ink of one colour on paper of another: a page."""
    return np.float32(paper) * (1 - ink[..., None]) + np.float32(pen) * ink[..., None]


def lit(page, rng):
    """A page under uneven light."""
    height, width = page.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle, offset, darkest = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4), rng.uniform(0.35, 0.7)
    across, soft = x * np.cos(angle) + y * np.sin(angle), rng.uniform(0.005, 0.08)
    gradient, vignette = (across / 1.42 + 1) / 2, 1 - np.clip((x**2 + y**2) / 2, 0, 1) ** 1.5
    edge = 1 / (1 + np.exp(np.clip(-(across - offset) / soft, -50, 50)))
    light = (gradient, vignette, edge)[rng.integers(3)]
    return page * (darkest + (1 - darkest) * light)[..., None]


def noisy(page, rng, sigma):
    return page + rng.normal(0, sigma, page.shape).astype(np.float32)


def blurred(page, sigma):
    return cv2.GaussianBlur(page, (0, 0), sigma)


def turned(ink, degrees):
    height, width = ink.shape
    return cv2.warpAffine(ink, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))


def on_a_table(page, rng):
    """A photograph of a page on a dark table with a grain, seen askew."""
    height, width = page.shape[:2]
    h, w = round(height * rng.uniform(1.2, 1.6)), round(width * rng.uniform(1.2, 1.6))
    grain = blurred(rng.normal(0, 1, (h, w)).astype(np.float32), 1.5) + 0.5 * np.sin(np.arange(h) / h * 40)[:, None]
    table = np.float32([70, 50, 35]) * (1 + 0.25 * grain[..., None])
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    moved = corners + np.float32([(w - width) / 2, (h - height) / 2])
    moved += rng.uniform(-0.06, 0.06, (4, 2)).astype(np.float32) * min(height, width)
    opaque = np.dstack([page, np.ones((height, width), np.float32)])
    seen = cv2.warpPerspective(opaque, cv2.getPerspectiveTransform(corners, moved), (w, h))
    return seen[..., :3] + table * (1 - seen[..., 3:])


def ruled(page, rng, grid):
    """A page with printed lines, or squares."""
    side = min(page.shape[:2])
    step, thick = round(side / rng.uniform(6, 16)), max(1, round(side / 400))
    first = int(rng.integers(0, step))
    down, across = (((np.arange(size) - first) % step < thick) & (np.arange(size) >= first) for size in page.shape[:2])
    lines = down[:, None] | (across & grid)
    return np.where(lines[..., None], np.minimum(page, np.float32([170, 195, 225])), page)


def chalk(ink, rng):
    """Grains of chalk on a board with smears."""
    ink = ink * np.clip(1 - 0.35 * np.abs(rng.normal(0, 1, ink.shape).astype(np.float32)), 0, 1)
    smears = blurred(rng.normal(0, 1, ink.shape).astype(np.float32), min(ink.shape) / 12)
    return paint(ink, (35, 70, 55), (225, 230, 225)) + 25 * (smears / np.abs(smears).max())[..., None]


def see_through(ink, rng):
    """Dark or light strokes on nothing, or a page whose corners are cut off."""
    how, side = rng.integers(3), len(ink)
    if how < 2:
        return np.dstack([np.full((side, side, 3), (20, 235)[how], np.float32), 255 * ink])
    alpha, edge = np.zeros_like(ink), side // 6
    alpha[edge:-edge], alpha[:, edge:-edge] = 255, 255
    for centre in itertools.product((edge, side - edge), repeat=2):
        cv2.circle(alpha, centre, edge, 255, -1)
    return np.dstack([paint(ink), alpha])


def in_a_corner(ink, rng, side):
    """Ink in one of the corners of a square."""
    space = side - len(ink)
    return np.roll(np.pad(ink, (0, space)), rng.integers(0, 2, 2) * space, (0, 1))


def eight_bits(page):
    return Image.fromarray(np.clip(page, 0, 255).round().astype(np.uint8))


def compressed(page, quality):
    """A page as JPEG keeps it."""
    file = io.BytesIO()
    eight_bits(page).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@dataclass
class Digit:
    """What a kind is made from: a label, MNIST's pixels of it, and chance."""

    label: int
    pixels: np.ndarray
    rng: np.random.Generator

    def side(self, least, most):
        return int(self.rng.integers(least, most))

    def ink(self, least, most):
        """Its pixels, as large as chance has it."""
        return enlarged(self.pixels, self.side(least, most))

    def pen(self, heights, widths):
        """Pen strokes of a height in pixels, and of a width by the height."""
        height = self.side(*heights)
        return drawn(self.label, self.rng, height, height * self.rng.uniform(*widths))

    def on_page(self, sides, shares):
        """Its pixels anywhere on a page, of which they take a share."""
        side = self.side(*sides)
        return put(enlarged(self.pixels, int(side * self.rng.uniform(*shares))), self.rng, side)

    def scene(self, sides, shares, noise, change):
        """A noisy photograph of such a page in other circumstances."""
        return noisy(change(paint(self.on_page(sides, shares))), self.rng, noise)


def with_noise(digit):
    page, rng = paint(digit.ink(60, 600)), digit.rng
    if rng.random() < 0.7:
        return noisy(page, rng, rng.uniform(5, 25))
    struck = rng.random(page.shape[:2]) < 0.02  # salt and pepper
    page[struck] = rng.choice([0, 255], (struck.sum(), 1))
    return page


def out_of_focus(digit):
    side = digit.side(100, 600)
    return blurred(paint(enlarged(digit.pixels, side)), side * digit.rng.uniform(0.005, 0.025))


def half_or_quarter_in_a_corner(digit):
    side = digit.side(150, 1000)
    return paint(in_a_corner(enlarged(digit.pixels, side // digit.side(2, 5)), digit.rng, side))


def underlined(digit):
    ink = digit.pen((80, 400), (0.04, 0.1))
    height = len(ink) // 2
    y, width = round(height * digit.rng.uniform(1.65, 1.8)), round(height * digit.rng.uniform(0.04, 0.1))
    cv2.line(ink, (height // 2, y), (3 * height // 2, y), 1.0, width, cv2.LINE_AA)
    return paint(ink)


def photograph(digit):
    """Pen on paper on a table in uneven light, a little out of focus, noisy, as JPEG."""
    rng = digit.rng
    ink = turned(digit.pen((150, 400), (0.03, 0.12)), rng.uniform(-10, 10))
    side = round(len(ink) * rng.uniform(1.05, 2))
    page = paint(put(ink, rng, side, round(side * rng.uniform(1, 1.4))), pen=rng.choice([(40, 40, 50), (35, 50, 140)]))
    page = ruled(page, rng, True) if rng.random() < 0.25 else page
    page = blurred(lit(on_a_table(page, rng), rng), rng.uniform(0.5, 2))
    return compressed(noisy(page, rng, 4), 60)


def framed(label, shape):
    """A digit with something drawn around it, a Pillow image: 400 × 400 pixels."""
    ink = drawn(label, np.random.default_rng(0), 200, 16)
    FRAMES[shape](ink)
    return eight_bits(paint(ink))


def squared(ink, degrees):
    """Draw the squares of squared paper, askew."""
    lines = np.zeros((800, 800), np.float32)
    lines[::25] = lines[:, ::25] = 0.5
    lines = cv2.warpAffine(lines, cv2.getRotationMatrix2D((400, 400), degrees, 1), (800, 800))[200:600, 200:600]
    np.maximum(ink, lines, out=ink)


FRAMES: dict[str, Callable[[np.ndarray], None]] = {
    "box": lambda ink: cv2.rectangle(ink, (60, 60), (340, 340), 1.0, 5),
    "edge": lambda ink: cv2.rectangle(ink, (8, 8), (391, 391), 1.0, 9),
    "circle": lambda ink: cv2.circle(ink, (200, 200), 180, 1.0, 8),
    "cells": lambda ink: [cv2.rectangle(ink, (x, 60), (x + 260, 340), 1.0, 4) for x in (-190, 70, 330)],
    "underline": lambda ink: cv2.line(ink, (90, 330), (310, 335), 1.0, 8),
    "squares": lambda ink: squared(ink, 5),
}


KINDS: dict[str, Callable[[Digit], np.ndarray]] = {
    "as it is": lambda digit: digit.pixels,
    "black on white": lambda digit: 255 - digit.pixels,
    "half in a corner": lambda digit: 255 - 255 * in_a_corner(enlarged(digit.pixels, 14), digit.rng, 28),
    "any size": lambda digit: paint(enlarged(digit.pixels, int(40 * 37.5 ** digit.rng.random()))),
    "in a corner": half_or_quarter_in_a_corner,
    "coloured": lambda digit: paint(digit.ink(100, 600), *digit.rng.choice(COLOURS)),
    "equal luminance": lambda digit: paint(digit.ink(100, 600), *digit.rng.choice(AS_LIGHT)),
    "with noise": with_noise,
    "in shadow": lambda digit: digit.scene((200, 800), (0.3, 0.8), 2, lambda page: lit(page, digit.rng)),
    "out of focus": out_of_focus,
    "jpeg 20": lambda digit: compressed(paint(digit.ink(80, 600)), 20),
    "rotated": lambda digit: paint(turned(digit.ink(100, 600), digit.rng.uniform(-15, 15))),
    "transparent": lambda digit: see_through(digit.ink(100, 600), digit.rng),
    "pen": lambda digit: paint(digit.pen((60, 500), (0.03, 0.16))),
    "hairline": lambda digit: paint(drawn(digit.label, digit.rng, digit.side(200, 600), digit.side(1, 4))),
    "marker": lambda digit: paint(digit.pen((100, 500), (0.17, 0.24))),
    "typeface": lambda digit: paint(typed(digit.label, digit.rng, digit.side(30, 400))),
    "table": lambda digit: digit.scene((300, 800), (0.3, 0.8), 3, lambda page: on_a_table(page, digit.rng)),
    "lines": lambda digit: digit.scene((300, 800), (0.3, 0.9), 2, lambda page: ruled(page, digit.rng, False)),
    "squares": lambda digit: digit.scene((300, 800), (0.3, 0.9), 2, lambda page: ruled(page, digit.rng, True)),
    "chalk": lambda digit: noisy(lit(chalk(digit.on_page((200, 700), (0.4, 0.9)), digit.rng), digit.rng), digit.rng, 4),
    "underlined": underlined,
    "photograph": photograph,
}


def picture(kind, label, pixels, rng):
    return eight_bits(KINDS[kind](Digit(label, pixels, rng)))
