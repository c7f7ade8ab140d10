"""A person's picture files: which ones are meant, and the colours in them.

    paths("photos/*.png")    the files of a name, a folder or a pattern
    colours(content)         a file's content as uint8 [H, W, 3], upright

A file from outside is never trusted: its size is judged by its header, only formats of still pictures are opened, and
whatever goes wrong in decoding it is a UserError of one line.
"""

import glob
import io
import os
import re
import warnings
from pathlib import Path

from support import UserError

import cv2
import numpy as np
from PIL import Image, ImageOps

MAX_MEGAPIXELS = 50
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM")
NOT_PICTURES = {  # what a content that could not be decoded begins with, and what it is
    rb"\Z": "empty",
    rb"%PDF-": "a PDF",
    rb"....ftyp(hei|hev|mif)": "HEIC, a format of phones",
    rb"[\t\n\r -~]{16}": "text, or a drawing in text such as SVG",
    rb"": "damaged, or of an unknown format",
}


def paths(name: str) -> list[str]:
    """The files that a person means by a name: the pictures directly in a folder, or what a pattern matches, 2.png
    before 10.png; else itself."""
    named = Path(os.path.expanduser(name))
    if os.path.isdir(named):
        suffixes = {suffix for suffix, form in Image.registered_extensions().items() if form in FORMATS}
        suffixes |= {".mpo", ".heic", ".heif"}  # the first as JPEG; the rest so that nobody wonders where they are
        matching = [path for path in named.glob("[!.]*") if path.suffix.lower() in suffixes]
    else:
        matching = [named] if os.path.exists(named) else glob.glob(str(named), recursive=True)
    files = [str(path) for path in matching if not os.path.isdir(path)]
    return sorted(files, key=lambda path: re.sub("[0-9]+", lambda number: number[0].zfill(255), path)) or [str(named)]


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
        raise UserError(f"is {kind}: expected a still picture, such as PNG or JPEG") from error


def refuse_large_or_several(image: Image.Image) -> None:
    """Raise UserError for a picture that is too large or is several, by its header."""
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise UserError(f"has {megapixels:,.0f} megapixels, at most {MAX_MEGAPIXELS} are read: scale it down")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # of a phone's MPO the first is the photograph
        raise UserError(f"has {image.n_frames} frames or pages, one is read: save a single one as PNG or JPEG")


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
