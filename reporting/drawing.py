"""How a plot, a function that returns a figure, becomes a PNG, or a part of a page: inline SVG.

    drawing.svg("Loss over the epochs.", plots.loss, history)

The SVG has the page's own font and colours, so that one copy serves light and dark screens. It refers to nothing
outside of itself, and the same plot gives the same text, whenever it is drawn.
"""

import hashlib
import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup

matplotlib.use("agg")  # a file is drawn, no window
from matplotlib import pyplot
from matplotlib.figure import Figure

GREY, BLUE, RED, GREEN = "#9aa3af", "#2f81f7", "#e5534b", "#3fb950"
ON_PAGE = {  # a colour of a plot: what page.css has for it
    **{GREY: "var(--grey)", BLUE: "var(--blue)", RED: "var(--red)", GREEN: "var(--green)"},
    "#000000": "currentColor",
}
FONT = "DejaVu Sans"  # comes with matplotlib, which so knows its widths; few fonts are wider
STYLE = {
    **{"image.cmap": "gray_r", "font.family": FONT, "font.size": 9, "legend.frameon": False},
    **{"axes.spines.top": False, "axes.spines.right": False},
}
PAGE_STYLE = STYLE | {"font.size": 12, "svg.fonttype": "none"}  # a plot is narrow there
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
DROPPED = ("clipPath", "metadata", "style")
COORDINATES = ("d", "x", "y", "transform")


def draw(plot: Callable[..., Figure], content: tuple, style: dict[str, Any], **settings: Any) -> bytes:
    """The bytes of a plot's file."""
    buffer = io.BytesIO()
    with pyplot.rc_context(style):
        figure = plot(*content)
        figure.savefig(buffer, **settings)
        pyplot.close(figure)
    return buffer.getvalue()


def digest(*content: Any) -> str:
    """A sum of what a plot shows, by which its file is told from an older one."""
    return hashlib.sha256(repr(content).encode()).hexdigest()


def png(plot: Callable[..., Figure], *content: Any) -> bytes:
    """The bytes of a PNG of a plot, with the digest of its content as a comment."""
    return draw(plot, content, STYLE, dpi=150, metadata={"Comment": digest(*content)})


def svg(label: str, plot: Callable[..., Figure], *content: Any) -> Markup:
    """A plot as an element of a page, as wide as its place; `label`, which no other plot of the page has, is what a
    screen reader says."""
    style = PAGE_STYLE | {"svg.hashsalt": label}
    return inline(draw(plot, content, style, format="svg", transparent=True, metadata=NO_METADATA), label)


def inline(document: bytes, label: str) -> Markup:
    """matplotlib's SVG document as an element of HTML."""
    root = ElementTree.fromstring(document)
    view, used = root.get("viewBox"), {value for element in root.iter() for value in element.attrib.values()}
    for element in root.iter():
        for child in [child for child in element if local(child.tag) in DROPPED]:
            element.remove(child)
        element.tag, element.tail = local(element.tag), None
        element.text = element.text and element.text.strip()
        kept = {local(name): value for name, value in element.attrib.items() if name != "clip-path"}
        element.attrib = {
            name: on_page(name, value) for name, value in kept.items() if name != "id" or f"#{value}" in used
        }
    root.attrib = {"class": "plot", "viewBox": view, "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def local(name: str) -> str:
    """A name without its XML namespace, which HTML does not have."""
    return name.rpartition("}")[2]


def on_page(name: str, value: str) -> str:
    """An attribute as the page has it: its colours and its font, and no digits that nobody could see."""
    if name == "style":
        value = re.sub("|".join(ON_PAGE), lambda colour: ON_PAGE[colour[0]], value)
        return value.replace(f"'{FONT}'", "system-ui, sans-serif")
    if name in COORDINATES:
        value = " ".join(value.split())
        return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", value)
    return value
