"""The README's animation: the demo in a real browser, in which somebody draws.

    python -m experiments.animation [--data data]   (make animation)

writes docs/demo.webp, and docs/demo.png, which the demo shows where somebody links to it. Needs Chromium.
"""

import io
import shutil
import tempfile
import threading
from pathlib import Path

from support import UserError, cli

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from deployment import demo, network

DOCS = cli.ROOT / "docs"
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
VIEWPORT, WIDTH = {"width": 1200, "height": 800}, 720  # CSS pixels, and pixels of the animation
STEP, PAUSE = 120, 1200  # milliseconds of a frame, and of what is to be read
POINTS = 6  # of a stroke in one frame
ROW = [  # strokes in percent of the paper, by their corners, which are rounded off
    *([[(30, 26), (10, 54), (10, 58), (44, 58)], [(36, 42), (33, 78)]]),
    *([[(57, 40), (62, 27), (74, 27), (77, 38), (70, 54), (54, 76), (60, 72), (70, 78), (84, 74)]]),
]
LETTER = [[(24, 82), (48, 16), (74, 84)], [(32, 60), (68, 60)]]


def rounded(corners: list[tuple[float, float]]) -> np.ndarray:
    """Points of a smooth line, float [N, 2] in 0..1: corners cut off three times (Chaikin 1974), 60 points a paper."""
    line = np.array(corners) / 100
    for _ in range(3):
        inner = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1).reshape(-1, 2)
        line = np.concatenate([line[:1], inner, line[-1:]])
    along = np.concatenate([[0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
    places = np.linspace(0, along[-1], round(60 * along[-1]))
    return np.stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)], 1)


def drawn(page: Page, strokes: list[list[tuple[float, float]]], frames: list[tuple[bytes, int]]) -> None:
    """Draw with the mouse, and add (picture, milliseconds) of each frame."""
    box = page.locator("#paper").bounding_box()
    for stroke in strokes:
        places = rounded(stroke) * box["width"] + [box["x"], box["y"]]
        page.mouse.move(*places[0])
        page.mouse.down()
        for index, place in enumerate(places):
            page.mouse.move(*place)
            if index % POINTS == 0:
                page.wait_for_timeout(30)  # until it is read
                frames.append((page.screenshot(), STEP))
        page.mouse.up()
    page.locator("#status[aria-busy=false] .best").wait_for()
    frames.append((page.screenshot(), PAUSE))


def record(page: Page) -> None:
    """Draw a row and a letter, and write both files."""
    page.locator("#status[aria-busy=false]").wait_for()
    frames = [(page.screenshot(), 3 * STEP)]
    drawn(page, ROW, frames)
    (DOCS / "demo.png").write_bytes(frames[-1][0])
    page.keyboard.press("Escape")
    drawn(page, LETTER, frames)
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content, _ in frames]
    size = WIDTH, WIDTH * VIEWPORT["height"] // VIEWPORT["width"]
    first, *others = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    times = [time for _, time in frames]
    first.save(DOCS / "demo.webp", save_all=True, append_images=others, duration=times, loop=0, quality=45, method=6)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_data()
    arguments = parser.parse_args(argv)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise UserError(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder) / "site"
        demo.build(network.records(), arguments.data, site)
        server = demo.listen(site, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = playwright.chromium.launch(executable_path=browser).new_page(viewport=VIEWPORT)
        page.goto(f"http://{demo.ADDRESS}:{server.server_port}/")
        record(page)
        server.shutdown()
    for name in ("demo.webp", "demo.png"):
        print(DOCS / name)


if __name__ == "__main__":
    cli.run(main)
