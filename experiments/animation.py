"""The README's animation: somebody draws on the demo's page, in a real browser. Needs Chromium.

    python -m experiments.animation [--data data]

writes docs/demo.webp, and docs/demo.png, which the page names as its picture.
"""

import io
import shutil
import tempfile
import threading
from pathlib import Path

from support import UserError, cli, server

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from deployment import demo, network

DOCS = cli.ROOT / "docs"
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
VIEWPORT, SIZE = {"width": 1200, "height": 800}, (720, 480)  # CSS pixels; pixels of the animation
POINTS, STEP, PAUSE = 6, 120, 1200  # of a stroke in a frame; milliseconds of one, and of what is to be read
FOUR = [[(30, 26), (10, 54), (10, 58), (44, 58)], [(36, 42), (33, 78)]]  # strokes by corners, in percent of the paper
TWO = [[(57, 40), (62, 27), (74, 27), (77, 38), (70, 54), (54, 76), (60, 72), (70, 78), (84, 74)]]
LETTER = [[(24, 82), (48, 16), (74, 84)], [(32, 60), (68, 60)]]


def points(corners: list[tuple[int, int]]) -> np.ndarray:
    """Points of a stroke whose corners are cut off three times (Chaikin, 1974): float [N, 2] in 0..1 of the paper."""
    line = np.array(corners) / 100
    for _ in range(3):
        cut = np.stack([0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]], 1).reshape(-1, 2)
        line = np.concatenate([line[:1], cut, line[-1:]])
    along = np.concatenate([[0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
    places = np.linspace(0, along[-1], round(60 * along[-1]))
    return np.stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)], 1)


def drawn(page: Page, strokes: list[list[tuple[int, int]]]) -> list[tuple[bytes, int]]:
    """Draw with the mouse: (picture, milliseconds) of each frame, the last when all is read."""
    box, frames = page.locator("#paper").bounding_box(), []
    for places in (points(stroke) * box["width"] + [box["x"], box["y"]] for stroke in strokes):
        page.mouse.move(*places[0])
        page.mouse.down()
        for start in range(0, len(places), POINTS):
            for place in places[start : start + POINTS]:
                page.mouse.move(*place)
            page.wait_for_timeout(30)  # until it is read
            frames.append((page.screenshot(), STEP))
        page.mouse.up()
    page.locator("#status[aria-busy=false] .best").wait_for()
    return [*frames, (page.screenshot(), PAUSE)]


def record(page: Page) -> None:
    """Draw a row and a letter, and write both files."""
    page.locator("#status[aria-busy=false]").wait_for()
    row = drawn(page, FOUR + TWO)
    page.keyboard.press("Escape")
    pictures, times = zip(*row, *drawn(page, LETTER), strict=True)
    (DOCS / "demo.png").write_bytes(row[-1][0])
    first, *others = [
        Image.open(io.BytesIO(each)).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS) for each in pictures
    ]
    first.save(DOCS / "demo.webp", save_all=True, append_images=others, duration=times, loop=0, quality=45, method=6)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_data()
    data_dir, browser = parser.parse_args(argv).data, next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise UserError(f"no browser was found: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        demo.build(network.records(), data_dir, Path(folder) / "site")
        listening = server.listen(Path(folder) / "site", 0)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        page = playwright.chromium.launch(executable_path=browser).new_page(viewport=VIEWPORT)
        page.goto(f"http://{server.ADDRESS}:{listening.server_port}/")
        record(page)
        listening.shutdown()
    print(DOCS / "demo.webp", DOCS / "demo.png", sep="\n")


if __name__ == "__main__":
    cli.run(main)
