"""What every page is made of: plots as SVG, images in sprites, colours that can be read."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy
import pytest
import torch
from made_up import run
from PIL import Image

from reporting import pages, plots, templates

HISTORY = run(99.5)["history"]
LOSSES = plots.part_lines(HISTORY, "loss", "train"), plots.part_lines(HISTORY, "loss", "test", "val")
CLASSES = ("<script>", "&amp;", '"')
ON_PAGES = {
    plots.accuracy: [{"one": [99.3, 99.4, 99.5], "two": [99.5, 99.6]}],
    plots.loss: LOSSES,
    plots.learning_rate: [[0.1, 0.2, 0.1] * 5, 1],
    plots.per_class: [dict.fromkeys(CLASSES, (100, 90, 90.0, [82.6, 94.5]))],
}


@pytest.mark.parametrize("plot", ON_PAGES, ids=lambda plot: plot.__name__)
def test_a_plot_on_a_page_has_the_pages_colours_and_font_says_what_it_is_and_needs_nothing_else(plot):
    caption = 'A plot of "<b>&.'
    text = pages.picture(caption, plot, *ON_PAGES[plot])
    assert not re.search(r"#[0-9a-f]{6}\b|url\((?!#)|http|DejaVu|<style|<metadata|<!|<\?", text)
    assert "var(--blue)" in text
    assert "currentColor" in text
    assert "font-family" not in text  # the page's own
    assert len(text) < 20_000
    root, figcaption = ElementTree.fromstring(text)
    view = root.get("viewBox")
    assert root.attrib == {"class": "plot", "viewBox": view, "role": "img", "aria-label": caption}  # no width
    assert figcaption.text == caption
    width, height = map(float, view.split()[2:])
    places = [(float(each.get("x")), float(each.get("y"))) for each in root.iter() if each.get("x")]
    assert places
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    if plot is plots.per_class:
        assert set(CLASSES) <= {element.text for element in root.iter("text")}
    # The same plot is the same text; its ids are used, and they are no other plot's.
    assert pages.picture(caption, plot, *ON_PAGES[plot]) == text
    other = pages.picture("Another plot.", plot, *ON_PAGES[plot])
    ids, other_ids = (set(re.findall(r' id="([^"]*)"', each)) for each in (text, other))
    assert ids == set(re.findall(r'(?:href="|url\()#([^")]*)', text))
    assert not ids & other_ids


@pytest.mark.parametrize("count", [0, 1, 20, 21, 45])
def test_each_image_of_a_sprite_is_where_its_view_says(count):
    images = 255 * torch.rand(count, 6, 4, generator=torch.Generator().manual_seed(0))
    sprite = pages.sprite(images)
    sheet = Image.open(io.BytesIO(base64.b64decode(sprite["url"].removeprefix("data:image/png;base64,"))))
    assert sheet.size == (sprite["width"], sprite["height"])
    pixels, rest = numpy.array(sheet, float), numpy.array(sheet)
    assert len(sprite["views"]) == count
    for image, view in zip(images.numpy(), sprite["views"], strict=True):
        left, top, width, height = map(int, view.split())
        place = slice(top, top + height), slice(left, left + width)
        assert abs(pixels[place] - image).max() <= pages.STEP / 2 + 1e-4
        rest[place] = 0
    assert not rest.any()  # black between them


def contrast(*colours):
    """WCAG's contrast ratio of two colours, (red, green, blue) in 0..1, by their relative luminance."""
    values = numpy.array(colours)
    linear = numpy.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme):
    css = (templates.FOLDER / "page.css").read_text(encoding="utf-8")
    roots = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(roots) == 2
    hexadecimal = dict(re.findall(r"--(\w+): #(\w{6})", roots[scheme == "dark"]))
    colours = {name: numpy.array([*bytes.fromhex(text)]) / 255 for name, text in hexadecimal.items()}
    for name, least in {"ink": 4.5, "quiet": 4.5, "red": 4.5, "green": 4.5, "grey": 3, "blue": 3}.items():  # 3: lines
        assert contrast(colours[name], colours["paper"]) >= least, name
    shade = int(re.search(r"var\(--share\) \* (\d+)%", css)[1]) / 100  # of a cell of the confusion matrix, at the most
    assert contrast(colours["ink"], shade * colours["red"] + (1 - shade) * colours["paper"]) >= 4.5
