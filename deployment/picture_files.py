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

import cv2
import numpy as np
from PIL import Image, ImageOps

MAX_MEGAPIXELS = 50
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM")
NOT_PICTURES = {  # what a content that could not be decoded begins with, and what it is
    rb"\Z": "empty: expected a picture, such as PNG or JPEG",
    rb"%PDF-": "a PDF: save the page as PNG or JPEG",
    rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)": "HEIC, a format of phones: save it as JPEG or PNG",
    rb"\s*(?i:<\?xml|<svg|<!doctype|<html)": "a page or a drawing in text: save it as PNG",
    rb"[\t\n\r -~]{16}": "text, not a picture: expected PNG, JPEG or another still picture",
    rb"": "no picture that can be read (damaged, or of an unknown format): save it anew as PNG or JPEG",
}


def paths(named: Path) -> list[Path]:
    """The files that a person means by a name: itself, the pictures directly in a folder, what a pattern matches,
    2.png before 10.png. Raises UserError where there is none."""
    with files.told(named, "could not be looked at"):
        if named.is_dir():
            suffixes = {suffix for suffix, form in Image.registered_extensions().items() if form in FORMATS}
            suffixes |= {".mpo", ".heic", ".heif"}  # the first as JPEG; the rest so that nobody wonders where they are
            matching = [path for path in named.iterdir() if path.suffix.lower() in suffixes and path.name[0] != "."]
        else:
            matching = [named] if named.exists() else map(Path, glob.glob(str(named), recursive=True))
        matching = [path for path in matching if not path.is_dir()]
    if not matching:
        expected = "expected a file, a pattern, or a folder with files such as .png and .jpg directly in it"
        raise UserError(f"there {'are no pictures in' if named.exists() else 'is no'} {named}: {expected}")
    return sorted(matching, key=lambda path: re.sub("[0-9]+", lambda number: number[0].zfill(255), str(path)))


def colours(content: bytes) -> np.ndarray:
    """The picture in a file's content: uint8 [H, W, 3], turned as its EXIF says, on a background where it is
    transparent. Raises UserError, without the file's name, for anything but one still picture of a bearable size."""
    try:
        # Pillow warns about damaged parts that it can do without.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            refuse_large_or_several(image)
            return flattened(ImageOps.exif_transpose(image))
    except UserError:
        raise
    except Exception as error:  # damage has no end of kinds: struct.error, SyntaxError, zlib.error, MemoryError, …
        kind = next(kind for start, kind in NOT_PICTURES.items() if re.match(start, content, re.DOTALL))
        raise UserError(f"is {kind}") from error


def refuse_large_or_several(image: Image.Image) -> None:
    """Raise UserError for a picture that is too large or is several, by its header."""
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        most = f"at most {MAX_MEGAPIXELS} are read"
        raise UserError(f"has {megapixels:,.0f} megapixels, {most}: scale it down, or cut out the digit")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # of a phone's MPO the first is the photograph
        several = f"{image.n_frames} {'pages' if image.format == 'TIFF' else 'frames'}"
        raise UserError(f"has {several}: one still picture is read: save a single frame or page of it as PNG or JPEG")


def flattened(image: Image.Image) -> np.ndarray:
    """Colours [H, W, 3] of 8 bits, from a Pillow image of any mode."""
    if image.mode[0] in "IF":  # 16 bits and more: between their own extremes
        grey = cv2.normalize(np.asarray(image).astype(np.float32), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    image = image.convert("RGBA")
    if image.getextrema()[3][0] < 255:
        sample = np.asarray(image.resize((64, 64), Image.Resampling.NEAREST))
        is_light = sample[sample[..., 3] > 127][:, :3].mean() > 127  # nothing is opaque: nan, which is not
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black" if is_light else "white"), image)
    return np.asarray(image.convert("RGB"))
