"""A person's picture files: which ones are meant, and the colours in them.

    paths("photos/*.png")    the files of a name, a folder or a pattern
    colours(content)         a file's content as uint8 [H, W, 3], upright

A file from outside is never trusted: its size is judged by its header, only formats of still pictures are opened, and
whatever goes wrong in decoding it is a UserError of one line.
"""

import glob
import io
import re
import warnings
from pathlib import Path

from support import UserError, files

import numpy as np
from PIL import Image, ImageOps

MAX_BYTES = 200 * 2**20
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM")
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".webp", ".avif", ".bmp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".heic", ".heif"),  # HEIC too, so that nobody wonders where it is
)
HEIC = re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)
OTHERS = {  # what other files begin with, and what they are
    re.compile(rb"%PDF-"): "a PDF: save the page as PNG or JPEG",
    HEIC: "HEIC, a format of phones: save it as JPEG or PNG",
    re.compile(rb"\s*(<\?xml|<svg|<!doctype|<html)", re.IGNORECASE): "a page or a drawing in text: save it as PNG",
    re.compile(rb"[\t\n\r -~]{16}"): "text",
}
SEVERAL = "one still picture is read: save a single frame or page of it as PNG or JPEG"


def natural(path: Path) -> list:
    """A key that sorts 2.png before 10.png."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", str(path))]


def paths(named: Path) -> list[Path]:
    """The files that a person means by a name: itself, the pictures directly in a folder, what a pattern matches.
    Raises UserError where there is none."""
    with files.told(named, "could not be looked at"):
        if named.is_dir():
            found = [path for path in named.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
            found = [path for path in found if not path.is_dir()]
            problem = f"no pictures in the folder {named}: expected files such as .png and .jpg directly in it"
        elif named.exists():
            return [named]
        elif not glob.has_magic(str(named)):
            raise UserError(f"there is no {named}: check the path")
        else:
            found = [Path(text) for text in glob.glob(str(named), recursive=True) if not Path(text).is_dir()]
            problem = f"no file matches {named}: check the pattern and the folder"
    if not found:
        raise UserError(problem)
    return sorted(found, key=natural)


def colours(content: bytes) -> np.ndarray:
    """The picture in a file's content: uint8 [H, W, 3], turned as its EXIF says, on a background where it is
    transparent. Raises UserError, without the file's name, for anything but one still picture of a bearable size."""
    if not content:
        raise UserError("is empty: expected a picture, such as PNG or JPEG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about damaged parts that it can do without
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]  # an older Pillow has no AVIF
            with Image.open(io.BytesIO(content), formats=known) as image:
                check(image)
                return flattened(ImageOps.exif_transpose(image))
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(too_large("more than 170")) from error
    except Exception as error:  # damage has no end of kinds: struct.error, SyntaxError, zlib.error, MemoryError, …
        raise UserError(unreadable(content)) from error


def check(image: Image.Image) -> None:
    """Raise UserError for a picture that is too large or is several, by its header."""
    if image.width * image.height > MAX_PIXELS:
        raise UserError(too_large(f"{image.width * image.height / 1e6:,.0f}"))
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # of a phone's MPO the first is the photograph
        kind = "pages" if image.format == "TIFF" else "frames"
        raise UserError(f"has {image.n_frames} {kind}: {SEVERAL}")


def too_large(megapixels: str) -> str:
    return f"has {megapixels} megapixels, at most {MAX_PIXELS // 10**6} are read: scale it down, or cut out the digit"


def unreadable(content: bytes) -> str:
    """Why a content is no picture that can be read."""
    kind = next((kind for start, kind in OTHERS.items() if start.match(content)), None)
    if kind == "text":
        return "is text, not a picture: expected PNG, JPEG or another still picture"
    if kind:
        return f"is {kind}"
    return "is no picture that can be read (damaged, or of an unknown format): save it anew as PNG or JPEG"


def flattened(image: Image.Image) -> np.ndarray:
    """Colours [H, W, 3] of 8 bits, from a Pillow image of any mode."""
    if image.mode[0] in "IF":  # 16 bits and more: between their own extremes
        values = np.asarray(image).astype(np.float32)
        low, high = values.min(), values.max()
        grey = ((values - low) * (255 / max(high - low, 1e-9))).clip(0, 255).astype(np.uint8)
        return np.stack([grey] * 3, 2)
    image = image.convert("RGBA")
    if image.getextrema()[3][0] < 255:
        canvas = Image.new("RGBA", image.size, background(np.asarray(image.resize((64, 64), Image.Resampling.NEAREST))))
        image = Image.alpha_composite(canvas, image)
    return np.asarray(image.convert("RGB"))


def background(sample: np.ndarray) -> tuple[int, int, int, int]:
    """The colour to put under a transparent picture, by a sample of it, [H, W, 4]. A page with cut corners gets the
    page's own; strokes on nothing get white, or black where they are light."""
    opaque = sample[sample[..., 3] > 127][:, :3]
    frame = np.concatenate([sample[0], sample[-1], sample[:, 0], sample[:, -1]])
    if len(opaque) and (frame[:, 3] > 127).mean() > 0.5:
        return *(int(value) for value in np.median(opaque, 0)), 255
    return (0, 0, 0, 255) if len(opaque) and opaque.mean() > 127 else (255, 255, 255, 255)
