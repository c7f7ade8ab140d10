"""The plots and images of pages of HTML. A page opens offline: all that it shows is in it.

Many small grey images are one PNG, a sprite, as a data: URL; the page shows each of them through a view box.
"""

import base64
import io
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from reporting import plots

STEP = 17  # between two of a sprite's 16 greys: a larger file shows no more of an image of 28 pixels
GAP = 1  # black pixel between two images of a sprite, so that none shows at the rim of another
ON_PAGE = {  # a pattern in the tags of matplotlib's SVG: what a page has for it
    r">\s+<": "><",
    r"\s+": " ",
    r"(\.\d)\d+": r"\1",  # digits that nobody could see
    r' (id="[^"]*_\d+"|transform="rotate\(-0 [^"]*")': "",  # of groups, to which nothing refers, and of upright text
    "xlink:href": "href",
    f"(font-size: 12px; )?font-family: '{plots.FONT}'(; )?": "",  # are the page's
    **{plots.GREY: "var(--grey)", plots.BLUE: "var(--blue)", plots.RED: "var(--red)", plots.GREEN: "var(--green)"},
    "#000000": "currentColor",
    "; stroke-linecap: square|<g></g>": "",
    r'(?<=\d") style="stroke: currentColor; stroke-width: 0.8"': "",  # of an axis's marks, which have it from the first
}


def picture(caption: str, plot: Callable[..., Figure], *content: Any) -> Markup:
    """A plot as a figure of a page, with its caption, which no other plot of the page has: inline SVG, as wide as its
    place, in the page's own font and colours, so that one copy serves light and dark screens."""
    style = plots.STYLE | {"font.size": 12, "svg.fonttype": "none", "svg.hashsalt": caption}  # a plot is narrow there
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    document = plots.file_content(plot, content, style, format="svg", transparent=True, metadata=nothing).decode()
    head, _, body = document.partition("</defs>")  # of the head only the view box: its style is for a whole document
    for pattern, replacement in ON_PAGE.items():
        body = re.sub(f"{pattern}(?=[^<>]*>)", replacement, body)
    body = re.sub('<g><path [^<>]*style="fill: none"/></g>', "", body)  # backgrounds, which nobody sees
    view = re.search('viewBox="([^"]*)"', head)[1]
    shape = Markup('<figure><svg class="plot" viewBox="{}" role="img" aria-label="{}">').format(view, caption)
    return shape + Markup(body) + Markup("<figcaption>{}</figcaption></figure>").format(caption)


def sprite(images: Tensor, columns: int = 20) -> dict[str, Any]:
    """Images [N, H, W] in 0..255, so many in a row of the sprite: the PNG's data: URL, its size in pixels, and where
    each image is in it, as an SVG view box."""
    count, height, width = images.shape
    down, across, rows = height + GAP, width + GAP, max(1, math.ceil(count / columns))
    cells = np.zeros((rows * columns, down, across), np.uint8)
    cells[:count, :height, :width] = np.rint(images.cpu().numpy() / STEP) * STEP
    sheet = cells.reshape(rows, columns, down, across).swapaxes(1, 2).reshape(rows * down, columns * across)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    views = [f"{across * (index % columns)} {down * (index // columns)} {width} {height}" for index in range(count)]
    return {"url": url, "width": columns * across, "height": rows * down, "views": views}
