"""What every page is made of: plots as SVG, images in sprites, colours that can be read."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy
import pytest
from made_up import run
from PIL import Image

from reporting import drawing, pages, plots, sprites

HISTORY = run(99.5)["history"]
COUNTS = [[90, 10, 0], [0, 50, 0], [1, 2, 30]]
ON_PAGES = {
    plots.accuracy: (HISTORY,),
    plots.loss: (HISTORY,),
    plots.smoothed_loss: (HISTORY,),
    plots.learning_rate: ([0.1, 0.2, 0.1] * 5, 1),
    plots.per_class: (COUNTS, ("Shirt", "Coat", "Ankle boot")),
    plots.accuracies: ({"one": HISTORY, "two": HISTORY[:2]}, "test"),
    plots.losses: ({"one": HISTORY, "two": HISTORY[:2]}, "test"),
}


@pytest.fixture(scope="module", params=ON_PAGES, ids=lambda plot: plot.__name__)
def svg(request):
    """(plot, its SVG) for each plot that is on a page."""
    return request.param, drawing.svg("A plot.", request.param, *ON_PAGES[request.param])


def test_a_plot_on_a_page_has_the_pages_colours_and_its_font_and_refers_to_nothing_outside(svg):
    _, text = svg
    assert not re.search(r"#[0-9a-f]{6}\b|url\(|http|DejaVu|<style|<metadata|<!|<\?", text)
    assert "var(--blue)" in text
    assert "currentColor" in text
    declared = re.findall(r"font(?:-family)?: ([^;]*)", text)
    assert declared
    assert all(font.endswith("system-ui, sans-serif") for font in declared)
    assert len(text) < 20_000


def test_a_plot_on_a_page_is_as_wide_as_its_place_and_says_what_it_is(svg):
    root = ElementTree.fromstring(svg[1])
    assert root.attrib.keys() == {"class", "viewBox", "role", "aria-label"}
    assert (root.get("role"), root.get("aria-label")) == ("img", "A plot.")
    width, height = map(float, root.get("viewBox").split()[2:])
    places = [(float(each.get("x")), float(each.get("y"))) for each in root.iter() if each.get("x")]
    assert places
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


def test_the_same_plot_is_the_same_text_whose_ids_are_its_labels_own(svg):
    plot, text = svg
    again, other = (drawing.svg(label, plot, *ON_PAGES[plot]) for label in ("A plot.", "Another plot."))
    assert again == text
    ids, other_ids = (set(re.findall(r' id="([^"]*)"', each)) for each in (text, other))
    assert ids == {reference.removeprefix("#") for reference in re.findall(r'href="([^"]*)"', text)}
    assert not ids & other_ids


def test_a_label_is_text_even_with_marks_of_html():
    svg = drawing.svg('"<b>&', plots.per_class, COUNTS, ("<script>", "&amp;", '"'))
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == '"<b>&'
    assert {"<script>", "&amp;", '"'} <= {element.text for element in root.iter("text")}


@pytest.mark.parametrize("count", [0, 1, 20, 21, 45])
def test_each_image_of_a_sprite_is_where_its_view_says(count):
    images = numpy.random.default_rng(0).random((count, 6, 4))
    sprite = sprites.sprite(images)
    sheet = Image.open(io.BytesIO(base64.b64decode(sprite.url.removeprefix("data:image/png;base64,"))))
    assert sheet.size == (sprite.width, sprite.height)
    pixels, rest = numpy.asarray(sheet) / 255, numpy.array(sheet)
    assert len(sprite.views) == count
    for image, view in zip(images, sprite.views, strict=True):
        left, top, width, height = map(int, view.split())
        place = slice(top, top + height), slice(left, left + width)
        assert abs(pixels[place] - image).max() <= 0.5 / (sprites.GREYS - 1) + 1e-9
        rest[place] = 0
    assert not rest.any()  # black between them


def luminance(colour):
    """WCAG's relative luminance of (red, green, blue) in 0..1."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """WCAG's contrast ratio of two colours."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme):
    css = (pages.FOLDER / "page.css").read_text(encoding="utf-8")
    roots = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(roots) == 2
    found = dict(re.findall(r"--(\w+): #(\w{6})", roots[scheme == "dark"]))
    colours = {
        name: numpy.array([int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)]) for name, text in found.items()
    }
    for name in ("ink", "quiet", "red", "green"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("grey", "blue", "red", "green"):  # of lines
        assert contrast(colours[name], colours["paper"]) >= 3, name
    shade = int(re.search(r"var\(--share\) \* (\d+)%", css)[1]) / 100  # of a cell of the confusion matrix, at the most
    assert contrast(colours["ink"], shade * colours["red"] + (1 - shade) * colours["paper"]) >= 4.5
