"""Pictures as people have them are read, and everything else is one line."""

import contextlib
import io
import struct
import zlib

from support import UserError

import drawings
import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

import data
import results
from deployment import network, pictures, strokes

PICTURES = 500


@pytest.fixture(scope="module")
def reader():
    return network.Network(results.RECORDS / "default.onnx", "default")


@pytest.fixture
def read(reader):
    """Reads a picture, or a file's content: (its text, `?` where it is unsure; all that was read)."""

    def text(picture, form="PNG", **settings):
        body = picture if isinstance(picture, bytes) else content(picture, form, **settings)
        digits = pictures.read(body, "my.png", reader)
        names = [reader.classes[digit.probabilities.argmax()] if digit.is_sure else "?" for digit in digits]
        return "".join(digit.before + name for digit, name in zip(digits, names, strict=True)), digits

    return text


def content(picture, form="PNG", **settings):
    buffer = io.BytesIO()
    picture.save(buffer, form, **settings)
    return buffer.getvalue()


def seven(size=(320, 240), page="white", pen="black", mode="RGB", width=14):
    """A 7 of three points, drawn in the middle."""
    picture = Image.new(mode, size, page)
    points = [(0.35 * size[0], 0.25 * size[1]), (0.65 * size[0], 0.22 * size[1]), (0.45 * size[0], 0.8 * size[1])]
    ImageDraw.Draw(picture).line(points, fill=pen, width=width, joint="curve")
    return picture


def best(digits):
    """What is read, sure or not."""
    return "".join(str(digit.probabilities.argmax()) for digit in digits)


def test_of_500_pictures_of_training_digits_of_every_kind_97_percent_are_read(mnist, read):
    each, wrong, unsure = -(-PICTURES // len(drawings.KINDS)), dict.fromkeys(drawings.KINDS, 0), 0
    for number, kind in enumerate(drawings.KINDS):
        rng = np.random.default_rng([0, number])
        for index in rng.integers(len(mnist[0]), size=each):
            label = str(int(mnist[0].labels[index]))
            picture = drawings.picture(kind, label, mnist[0].pixels[index, 0].numpy(), rng)
            text, digits = "", []
            with contextlib.suppress(UserError):
                text, digits = read(picture)
            wrong[kind] += best(digits) != label
            unsure += text != label
    assert unsure <= 0.08 * PICTURES
    assert sum(wrong.values()) <= 0.03 * PICTURES, wrong
    assert max(wrong.values()) <= 0.15 * PICTURES / len(wrong), wrong  # and no kind is lost


def test_mnists_own_digits_come_through_as_they_are(mnist, read, reader):
    images, labels = mnist[0].pixels[:500, 0].numpy(), mnist[0].labels[:500].numpy()
    digits = [read(Image.fromarray(image))[1] for image in images]
    right = np.mean([best(each) == str(label) for each, label in zip(digits, labels, strict=True)])
    assert right >= (reader.read(images).argmax(1) == labels).mean() - 0.004
    assert np.mean([np.abs(each[0].pixels.astype(int) - image) for each, image in zip(digits, images, strict=True)]) < 8


def test_what_is_seen_follows_mnists_convention(read):
    for size, width in (((320, 240), 14), ((1500, 900), 6), ((900, 1500), 200)):
        (digit,) = read(seven(size, width=width))[1]
        rows, columns = np.nonzero(digit.pixels > 60)
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 22
        mass = digit.pixels / digit.pixels.sum()
        assert abs((mass.sum(1) * np.arange(28)).sum() - 14) < 1
        assert abs((mass.sum(0) * np.arange(28)).sum() - 14) < 1
        assert digit.pixels.max() == 255
        assert digit.pixels[0].max() == 0


@pytest.mark.parametrize(
    "picture",
    [
        seven(page=0, pen=255, mode="L"),
        seven(page=1, pen=0, mode="1"),
        seven(mode="CMYK", page=(0, 0, 0, 0), pen=(0, 0, 0, 255)),
        seven(page=60_000, pen=2_000, mode="I;16"),
        seven(page=100, pen=7, mode="I"),
        seven(page=0.9, pen=0.1, mode="F"),
        seven(page=(255, 255, 255, 0), pen=(0, 0, 0, 255), mode="RGBA"),
        seven(page=(0, 0, 0, 0), pen=(255, 255, 255, 255), mode="RGBA"),
        seven(page=(200, 0), pen=(255, 255), mode="LA"),
        seven().quantize(8),
        seven(page="#fff2a8", pen="#d01020"),
        seven(page="#222222", pen="#777777"),
    ],
    ids=lambda picture: f"{picture.mode}-{picture.getpixel((0, 0))}",
)
def test_every_mode_and_ground_is_read(picture, read):
    form = "TIFF" if picture.mode in ("CMYK", "I", "F", "I;16") else "PNG"
    assert read(picture, form)[0] == "7"


TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")


@pytest.mark.parametrize("orientation, turn", [*enumerate(TURNS, 2)])
def test_a_photograph_is_turned_as_its_exif_says(orientation, turn, read):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read(seven().transpose(Image.Transpose[turn]), "JPEG", exif=exif)[0] == "7"


def test_a_photograph_whose_sharpest_edges_have_no_ink_is_read(read):
    picture = drawings.picture("photograph", 3, None, np.random.default_rng(153))
    picture.thumbnail((204, 204))
    assert read(picture)[0] == "3"


def test_the_hat_of_a_5_and_a_broken_stroke_belong_to_the_digit(read):
    picture = Image.new("L", (400, 400), 255)
    draw = ImageDraw.Draw(picture)
    draw.line([(160, 90), (280, 85)], fill=0, width=16)
    draw.line([(150, 112), (145, 190), (200, 180), (250, 210), (255, 270), (200, 310), (140, 295)], fill=0, width=16)
    assert read(picture)[0] == "5"


FRAMED = [(shape, label) for shape in drawings.FRAMES for label in range(10)]


def test_what_is_drawn_around_a_digit_is_none_of_its_ink(read):
    """At least nine in ten are read, and none otherwise than it is."""
    texts = [(str(label), read(drawings.framed(label, shape))[0]) for shape, label in FRAMED]
    assert {(label, text) for label, text in texts if text not in (label, "?")} == set()
    assert np.mean([label == text for label, text in texts]) >= 0.9


def test_digits_that_touch_are_read_apart_or_unsure(read):
    right = 0
    for label in range(10):
        for apart in range(70, 20, -1):
            ink = np.zeros((140, 300), np.float32)
            for place, each in ((0, 5), (apart, label)):
                ink[:, place : place + 140] += drawings.drawn(each, np.random.default_rng(label), 70, 7)
            if len(strokes.connected(ink > 0.5)[1]) == 1:
                break
        text, digits = read(drawings.eight_bits(drawings.paint(np.minimum(ink, 1))))
        assert "?" in text or text == f"5{label}"
        right += best(digits) == f"5{label}"
    assert right >= 5


def test_rows_of_a_page_are_lines_of_text(read):
    ink = np.zeros((300, 300), np.float32)
    for label, top, left in ((4, 0, 0), (2, 0, 70), (7, 150, 0)):
        ink[top : top + 140, left : left + 140] += drawings.drawn(label, np.random.default_rng(1), 70, 7)
    assert read(drawings.eight_bits(drawings.paint(ink)))[0] == "42\n7"


@pytest.mark.parametrize(("label", "share"), [(5, 0.06), (8, 0.12)])
def test_tiny_writing_is_read(label, share, read):
    height = int(800 * share)
    ink = drawings.drawn(label, np.random.default_rng(0), height, 0.15 * height)
    page = drawings.eight_bits(drawings.paint(drawings.put(ink, np.random.default_rng(1), 800)))
    assert best(read(page)[1]) == str(label)


def test_a_stroke_two_pixels_wide_in_the_end_is_read(read):
    assert read(Image.fromarray(np.pad(np.zeros((150, 16), np.uint8), ((75, 75), (142, 142)), constant_values=255)))[1]


def png(width, height):
    """A PNG whose header says a size that its content does not have."""
    body = content(Image.new("L", (1, 1)))
    header = body[12:16] + struct.pack(">II", width, height) + body[24:29]
    return body[:12] + header + struct.pack(">I", zlib.crc32(header)) + body[33:]


def animation(form):
    frames = [seven(), seven(pen="red")]
    return content(frames[0], form, save_all=True, append_images=frames[1:], duration=100)


def text_bomb():
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "x" * 80_000_000, zip=True)
    return content(seven(), pnginfo=info)


NOISE = np.random.default_rng(0).normal(200, 6, (400, 500)).clip(0, 255).astype(np.uint8)
SHADE = np.tile(np.linspace(90, 230, 500).astype(np.uint8), (400, 1))
REFUSED = {
    "a white page": (content(Image.new("RGB", (500, 400), "white")), "no digit"),
    "an empty digit": (content(Image.new("L", (28, 28), 0)), "no digit"),
    "nothing": (content(Image.new("RGBA", (50, 50))), "no digit"),
    "a pixel": (content(Image.new("L", (1, 1))), "no digit"),
    "noise": (content(Image.fromarray(NOISE)), "no digit"),
    "shade": (content(Image.fromarray(SHADE)), "no digit"),
    "specks": (content(seven((60, 40), width=1).resize((6, 4)).crop((-80, -60, 100, 80))), "no digit"),
    "an empty file": (b"", "is empty"),
    "text": (b"not a picture\n" * 20, "is text"),
    "PDF": (b"%PDF-1.7\n...", "PDF"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "100 megapixels": (png(10_000, 10_000), "100 megapixels, at most 50"),
    "a bomb's header": (png(60_000, 60_000), "megapixels"),
    "a bomb of text": (text_bomb(), "damaged"),
    "GIF": (animation("GIF"), "2 frames"),
    "WebP": (animation("WEBP"), "2 frames"),
    "APNG": (animation("PNG"), "2 frames"),
    "pages": (animation("TIFF"), "2 frames or pages"),
    "half a PNG": (content(seven())[:400], "damaged"),
    "half a JPEG": (content(seven(), "JPEG")[:900], "damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_of_digits_is_one_line_that_names_it(kind, reader, inject):
    inject("file that is no picture of a digit")
    body, message = REFUSED[kind]
    with pytest.raises(UserError, match=message) as error:
        pictures.read(body, "my file.png", reader)
    assert str(error.value).startswith("my file.png ")
    assert "\n" not in str(error.value)


def test_a_telephones_photograph_with_its_preview_is_one_picture(read):
    body = content(seven(), "MPO", save_all=True, append_images=[seven((80, 60))])
    assert read(body)[0] == "7"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_damaged_picture_is_read_or_refused_wherever_it_is_damaged(form, read, inject):
    body, rng = content(seven((64, 48), width=5), form), np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(body)
        if number % 2:
            damaged = damaged[: rng.integers(len(body))]
        else:
            damaged[rng.integers(min(len(body), 200 if number % 4 else len(body)))] ^= 1 << rng.integers(8)
        inject("damaged picture")
        try:
            read(bytes(damaged))
        except UserError as error:
            assert "\n" not in str(error)


class Garments:
    """A network of garments that knows none."""

    reads_digits = False

    def read(pixels):
        return np.full((len(pixels), 10), 0.1)

    def is_sure(probabilities):
        return probabilities.max(1) > 0.5


def test_garments_fill_the_picture_and_keep_their_grey(mnist_folder):
    images = data.load("fashion-mnist", mnist_folder, "train").pixels[:60, 0].numpy()
    for image in images:
        large = Image.fromarray(255 - image).resize((300, 300), Image.Resampling.BICUBIC)
        page = Image.new("L", (500, 400), 255)
        page.paste(large, (120, 40))
        (seen,) = (garment.pixels for garment in pictures.read(content(page), "my.png", Garments))
        rows, columns = np.nonzero(image > 70)
        if max(np.ptp(rows), np.ptp(columns)) >= 26:  # as nearly all do
            assert np.abs(seen.astype(int) - image).mean() < 25
