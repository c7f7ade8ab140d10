"""Pictures of digits as people have them, by kind: MNIST's own digits on other pages, typed ones, pen strokes.

`KINDS[kind](label, pixels, rng)` draws one, a Pillow image, from a digit's label and its pixels, uint8 [28, 28].
"""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageFont
from scipy import interpolate

STROKES = {  # of each digit as people draw them: points (x, y) in a box of height 1, joined by a smooth curve
    0: [[(0.35, 0.02), (0.08, 0.3), (0.1, 0.75), (0.35, 0.98), (0.6, 0.75), (0.62, 0.3), (0.38, 0.02)]],
    1: [[(0.1, 0.3), (0.4, 0.0)], [(0.4, 0.0), (0.38, 0.5), (0.38, 1.0)]],
    2: [[(0.05, 0.25), (0.3, 0.0), (0.58, 0.22), (0.4, 0.6), (0.02, 0.98)], [(0.02, 0.98), (0.35, 0.95), (0.65, 0.98)]],
    3: [[(0.05, 0.1), (0.35, 0.0), (0.55, 0.22), (0.25, 0.46)], [(0.25, 0.46), (0.62, 0.68), (0.4, 0.98), (0.0, 0.88)]],
    4: [[(0.35, 0.0), (0.2, 0.3), (0.02, 0.62)], [(0.02, 0.62), (0.7, 0.6)], [(0.52, 0.3), (0.5, 0.7), (0.48, 1.0)]],
    5: [
        *([(0.12, 0.02), (0.08, 0.42)], [(0.12, 0.0), (0.6, 0.02)]),
        [(0.08, 0.42), (0.4, 0.38), (0.56, 0.66), (0.35, 1.0), (0.0, 0.9)],
    ],
    6: [[(0.5, 0.0), (0.15, 0.35), (0.05, 0.75), (0.3, 1.0), (0.55, 0.78), (0.35, 0.55), (0.08, 0.72)]],
    7: [[(0.0, 0.03), (0.6, 0.02)], [(0.6, 0.02), (0.4, 0.45), (0.25, 1.0)]],
    8: [
        [
            *((0.5, 0.12), (0.25, 0.0), (0.1, 0.22), (0.45, 0.55)),
            *((0.55, 0.82), (0.3, 1.0), (0.05, 0.8), (0.35, 0.45), (0.52, 0.12)),
        ]
    ],
    9: [[(0.55, 0.25), (0.3, 0.0), (0.05, 0.25), (0.25, 0.48), (0.55, 0.25)], [(0.55, 0.25), (0.52, 0.6), (0.4, 1.0)]],
}
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
TYPEFACES = ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "cmr10", "cmss10")
HERSHEY = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
Rng = np.random.Generator
Ink = np.ndarray  # float32 [H, W] in 0..1: how much of a pixel is covered


def enlarged(pixels: np.ndarray, side: int) -> Ink:
    """A digit of 28 × 28 pixels, side × side large, with edges as sharp as a pen's."""
    how = cv2.INTER_AREA if side < 28 else cv2.INTER_CUBIC
    ink = cv2.resize(pixels.astype(np.float32) / 255, (side, side), interpolation=how)
    sharper = np.clip(side / 56, 1, 4)
    return np.clip((ink - 0.5) * sharper + 0.5, 0, 1) if side > 28 else np.clip(ink, 0, 1)


def drawn(label: int, rng: Rng, height: int, width: float) -> Ink:
    """A digit drawn with a pen of that width, by the strokes of its kind with jitter; margins of a half height."""
    slant, stretch = rng.normal(0, 0.12), rng.uniform(0.8, 1.2)
    ink = np.zeros((2 * height, 2 * height), np.uint8)
    for stroke in STROKES[label]:
        points = np.array(stroke) + rng.normal(0, 0.015, (len(stroke), 2))
        points[:, 0] = stretch * (points[:, 0] - 0.3) - slant * (points[:, 1] - 0.5) + 0.5
        curve, _ = interpolate.splprep(points.T, s=0, k=min(3, len(points) - 1))
        x, y = interpolate.splev(np.linspace(0, 1, 60), curve)
        line = np.stack([x + 0.5, y + 0.5], 1) * height
        cv2.polylines(ink, [np.round(16 * line).astype(np.int32)], False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return ink.astype(np.float32) / 255


def typed(label: int, rng: Rng, height: int) -> Ink:
    """A digit of a typeface, or of a plotter's font as thin as can be."""
    canvas = Image.new("L", (2 * height, 2 * height))
    if rng.random() < 0.4:
        array, font = np.array(canvas), int(rng.choice(HERSHEY))
        place, thickness = (height // 2, 3 * height // 2), int(rng.integers(1, 1 + max(2, height // 15)))
        cv2.putText(array, str(label), place, font, height / 22, 255, thickness, cv2.LINE_AA)
        return array.astype(np.float32) / 255
    font = ImageFont.truetype(FONTS / f"{rng.choice(TYPEFACES)}.ttf", 1.3 * height)
    image = font.getmask(str(label), "L")
    mask = np.array(image).reshape(image.size[::-1])
    return np.pad(mask, height // 2).astype(np.float32) / 255


def put(ink: Ink, height: int, width: int, rng: Rng) -> Ink:
    """Ink anywhere on a larger page."""
    y, x = (int(rng.integers(0, space + 1)) for space in (height - ink.shape[0], width - ink.shape[1]))
    page = np.zeros((height, width), np.float32)
    page[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return page


def paint(ink: Ink, paper: tuple = (235, 233, 228), pen: tuple = (40, 40, 50)) -> np.ndarray:
    """Ink of one colour on paper of another: float32 [H, W, 3] in 0..255."""
    return np.float32(paper) * (1 - ink[..., None]) + np.float32(pen) * ink[..., None]


def lit(page: np.ndarray, rng: Rng, how: str) -> np.ndarray:
    """A page under uneven light."""
    height, width = page.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4)
    across, darkest = x * np.cos(angle) + y * np.sin(angle), rng.uniform(0.35, 0.7)
    if how == "gradient":
        light = darkest + (1 - darkest) * (across / 1.42 + 1) / 2
    elif how == "vignette":
        light = 1 - (1 - darkest) * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.5
    else:
        soft = rng.uniform(0.005, 0.08)
        light = darkest + (1 - darkest) / (1 + np.exp(np.clip(-(across - offset) / soft, -50, 50)))
    return page * light[..., None]


def noisy(page: np.ndarray, rng: Rng, sigma: float) -> np.ndarray:
    return page + rng.normal(0, sigma, page.shape).astype(np.float32)


def blurred(page: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(page, (0, 0), sigma)


def turned(ink: Ink, degrees: float) -> Ink:
    height, width = ink.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(ink, turn, (width, height), flags=cv2.INTER_LINEAR)


def on_a_table(page: np.ndarray, rng: Rng) -> np.ndarray:
    """A photograph of a page on a dark table with a grain, seen askew."""
    height, width = page.shape[:2]
    h, w = round(height * rng.uniform(1.2, 1.6)), round(width * rng.uniform(1.2, 1.6))
    grain = blurred(rng.normal(0, 1, (h, w)).astype(np.float32), 1.5) + 0.5 * np.sin(np.arange(h) / h * 40)[:, None]
    table = np.float32([70, 50, 35]) * (1 + 0.25 * grain[..., None])
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    shift = np.float32([(w - width) / 2, (h - height) / 2])
    moved = corners + shift + rng.uniform(-0.06, 0.06, (4, 2)).astype(np.float32) * min(height, width)
    askew = cv2.getPerspectiveTransform(corners, moved)
    seen = cv2.warpPerspective(np.dstack([page, np.full((height, width), 1, np.float32)]), askew, (w, h))
    return seen[..., :3] + table * (1 - seen[..., 3:])


def ruled(page: np.ndarray, rng: Rng, grid: bool, colour: tuple = (170, 195, 225)) -> np.ndarray:
    """A page with printed lines, or squares."""
    step, thick = round(min(page.shape[:2]) / rng.uniform(6, 16)), max(1, round(min(page.shape[:2]) / 400))
    page, first = page.copy(), int(rng.integers(0, step))
    lines = np.zeros(page.shape[:2], bool)
    for offset in range(thick):
        lines[first + offset :: step] = True
        if grid:
            lines[:, first + offset :: step] = True
    page[lines] = np.minimum(page[lines], np.float32(colour))
    return page


def image(page: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(page, 0, 255).round().astype(np.uint8))


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    """A picture as JPEG keeps it."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file)


def as_it_is(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    return Image.fromarray(pixels)


def black_on_white(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    return Image.fromarray(255 - pixels)


def half_in_a_corner(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    page = np.zeros((28, 28), np.uint8)
    y, x = rng.integers(0, 2, 2) * 14
    page[y : y + 14, x : x + 14] = cv2.resize(pixels, (14, 14), interpolation=cv2.INTER_AREA)
    return Image.fromarray(255 - page)


def any_size(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    return image(paint(enlarged(pixels, int(np.exp(rng.uniform(np.log(40), np.log(1500)))))))


def in_a_corner(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    """Half size, or a quarter, in a corner of a large page."""
    side = int(rng.integers(150, 1000))
    ink, page = enlarged(pixels, side // int(rng.integers(2, 5))), np.zeros((side, side), np.float32)
    page[: ink.shape[0], : ink.shape[1]] = ink
    return image(paint(np.roll(page, rng.integers(0, 2, 2) * (side - ink.shape[0]), (0, 1))))


def coloured(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    papers = [(250, 240, 120), (250, 200, 210), (200, 230, 250), (200, 240, 200), (240, 240, 240)]
    pens = [(200, 30, 30), (30, 60, 180), (20, 110, 50), (90, 40, 120), (30, 30, 30)]
    paper, pen = papers[rng.integers(5)], pens[rng.integers(5)]
    ink = enlarged(pixels, int(rng.integers(100, 600)))
    return image(paint(ink, *((paper, pen) if rng.random() < 0.8 else (pen, paper))))


def equal_luminance(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    """A pen as light as its paper: they differ in colour alone."""
    pairs = [((160, 160, 60), (255, 110, 90)), ((120, 200, 120), (255, 130, 170)), ((255, 150, 60), (110, 190, 220))]
    paper, pen = pairs[rng.integers(3)]
    return image(paint(enlarged(pixels, int(rng.integers(100, 600))), paper, pen))


def with_noise(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    page = paint(enlarged(pixels, int(rng.integers(60, 600))))
    if rng.random() < 0.3:  # salt and pepper
        struck = rng.random(page.shape[:2]) < 0.02
        page[struck] = rng.choice([0, 255], (struck.sum(), 1))
        return image(page)
    return image(noisy(page, rng, rng.uniform(5, 25)))


def in_shadow(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    side = int(rng.integers(200, 800))
    ink = put(enlarged(pixels, int(side * rng.uniform(0.3, 0.8))), side, side, rng)
    page = lit(paint(ink), rng, str(rng.choice(["gradient", "vignette", "edge"])))
    return image(noisy(page, rng, 2))


def out_of_focus(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    side = int(rng.integers(100, 600))
    return image(blurred(paint(enlarged(pixels, side)), side * rng.uniform(0.005, 0.025)))


def jpeg_20(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    return compressed(image(paint(enlarged(pixels, int(rng.integers(80, 600))))), 20)


def rotated(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    return image(paint(turned(enlarged(pixels, int(rng.integers(100, 600))), rng.uniform(-15, 15))))


def transparent(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    """Dark or light strokes on nothing, or a page whose corners are cut off."""
    side = int(rng.integers(100, 600))
    ink, how = enlarged(pixels, side), rng.integers(3)
    alpha = ink
    if how == 2:
        alpha = np.zeros_like(ink)
        edge = side // 6
        alpha[edge:-edge], alpha[:, edge:-edge] = 1, 1
        for y in (edge, side - edge):
            for x in (edge, side - edge):
                cv2.circle(alpha, (x, y), edge, 1, -1)
    colour = [np.full((side, side, 3), value, np.float32) for value in (20, 235)] + [paint(ink)]
    return image(np.dstack([colour[how], 255 * alpha]))


def pen(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    height = int(rng.integers(60, 500))
    return image(paint(drawn(label, rng, height, height * rng.uniform(0.03, 0.16))))


def hairline(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    return image(paint(drawn(label, rng, int(rng.integers(200, 600)), rng.integers(1, 4))))


def marker(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    height = int(rng.integers(100, 500))
    return image(paint(drawn(label, rng, height, height * rng.uniform(0.17, 0.24))))


def typeface(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    return image(paint(typed(label, rng, int(rng.integers(30, 400)))))


def table(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    side = int(rng.integers(300, 800))
    page = paint(put(enlarged(pixels, int(side * rng.uniform(0.3, 0.8))), side, side, rng))
    return image(noisy(on_a_table(page, rng), rng, 3))


def lines(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    side = int(rng.integers(300, 800))
    ink = put(enlarged(pixels, int(side * rng.uniform(0.3, 0.9))), side, side, rng)
    return image(noisy(ruled(paint(ink), rng, grid=False), rng, 2))


def squares(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    side = int(rng.integers(300, 800))
    ink = put(enlarged(pixels, int(side * rng.uniform(0.3, 0.9))), side, side, rng)
    return image(noisy(ruled(paint(ink), rng, grid=True), rng, 2))


def chalk(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    """White on a board with smears, strokes that have grains."""
    side = int(rng.integers(200, 700))
    ink = put(enlarged(pixels, int(side * rng.uniform(0.4, 0.9))), side, side, rng)
    ink = ink * np.clip(1 - 0.35 * np.abs(rng.normal(0, 1, ink.shape).astype(np.float32)), 0, 1)
    smears = blurred(rng.normal(0, 1, ink.shape).astype(np.float32), side / 12)
    board = paint(ink, (35, 70, 55), (225, 230, 225)) + 25 * (smears / np.abs(smears).max())[..., None]
    return image(noisy(lit(board, rng, "gradient"), rng, 4))


def underlined(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    height = int(rng.integers(80, 400))
    ink = drawn(label, rng, height, width := height * rng.uniform(0.04, 0.1))
    y = round(height * rng.uniform(1.65, 1.8))
    cv2.line(ink, (round(0.5 * height), y), (round(1.5 * height), y), 1.0, round(width), cv2.LINE_AA)
    return image(paint(ink))


def photograph(label: int, pixels: np.ndarray, rng: Rng) -> Image.Image:
    """Pen on paper on a table in uneven light, a little out of focus, noisy, as JPEG."""
    height = int(rng.integers(150, 400))
    ink = turned(drawn(label, rng, height, height * rng.uniform(0.03, 0.12)), rng.uniform(-10, 10))
    side = round(2 * height * rng.uniform(1.05, 2))
    pen = [(40, 40, 50), (35, 50, 140)][rng.integers(2)]
    page = paint(put(ink, side, round(side * rng.uniform(1, 1.4)), rng), pen=pen)
    page = ruled(page, rng, True) if rng.random() < 0.25 else page
    page = lit(on_a_table(page, rng), rng, str(rng.choice(["gradient", "vignette", "edge"])))
    return compressed(image(noisy(blurred(page, rng.uniform(0.5, 2)), rng, 4)), 60)


KINDS: dict[str, Callable[[int, np.ndarray, Rng], Image.Image]] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        *(as_it_is, black_on_white, half_in_a_corner, any_size, in_a_corner, coloured, equal_luminance, with_noise),
        *(in_shadow, out_of_focus, jpeg_20, rotated, transparent, pen, hairline, marker, typeface, table, lines),
        *(squares, chalk, underlined, photograph),
    )
}
