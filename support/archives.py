"""IDX files in whatever form people have them: as they are, as arrays or tables, packed with gzip or zip.

Nothing is unpacked to disk. Whoever asks for the contents recognizes them by their sums.
"""

import contextlib
import glob
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from support import MAX_BYTES, UserError

import numpy as np

PLACES = ("*", "*/*", "*/*/*", "*/*/*/*")  # in a folder; hidden ones aside
SUFFIXES = (".gz", ".zip", ".whl", ".npz", ".npy", ".csv", ".damaged")


def idx_contents(folder: Path, input_shape: tuple[int, int, int]) -> Iterator[bytes]:
    """The contents of all IDX files that the files in a folder are, or amount to: packed ones; arrays (NumPy's npy and
    npz, as Keras has them) of labels, or of images whose pixels come in any shape; tables (CSV)."""
    for name, content in contents(folder):
        yield content
        with contextlib.suppress(ValueError):  # of a broken file, or of objects, which are not loaded
            for array in arrays(name, content):
                shape = input_shape[1:] if array.ndim > 1 else ()
                yield idx_content(array.reshape(-1, *shape).astype(np.uint8))


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file in a folder that may hold data, and of the files packed in them."""
    for pattern in PLACES:
        for path in map(folder.joinpath, glob.glob(pattern, root_dir=folder)):
            if path.is_file() and ("ubyte" in path.name or path.suffix in SUFFIXES) and path.stat().st_size < MAX_BYTES:
                with contextlib.suppress(OSError):  # not ours to read
                    yield from unpacked(path.name, path.read_bytes())


def unpacked(name: str, content: bytes, depth: int = 2) -> Iterator[tuple[str, bytes]]:
    """(name, content) of a file, and of what it holds packed; the rest of a damaged archive is left out."""
    yield name, content
    with contextlib.suppress(Exception):
        if depth and content.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(content)) as packed:
                yield from unpacked(name.removesuffix(".gz"), packed.read(MAX_BYTES), depth - 1)
        elif depth and content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                for member in packed.infolist():
                    if member.file_size <= MAX_BYTES:
                        yield from unpacked(member.filename, packed.read(member), depth - 1)


def arrays(name: str, content: bytes) -> list[np.ndarray]:
    """The arrays in a file: NumPy's, or pixels and labels of a table with a row per image: label, pixels. Raises
    ValueError for a broken file."""
    if content.startswith(b"\x93NUMPY"):
        return [np.load(io.BytesIO(content), allow_pickle=False)]
    table = content if content[:1].isdigit() else content.partition(b"\n")[2]  # without its head
    if not name.endswith(".csv") or not table.strip():
        return []
    rows = np.loadtxt(io.BytesIO(table), np.uint8, comments=None, delimiter=",", ndmin=2)
    return [rows[:, 1:], rows[:, 0]]


def idx_content(array: np.ndarray) -> bytes:
    """uint8 values in the IDX format: a magic number, the sizes, the bytes (big-endian)."""
    header = np.array([0x0800 + array.ndim, *array.shape], dtype=">i4")
    return header.tobytes() + array.tobytes()


def read_idx(path: Path | str) -> np.ndarray:
    """The uint8 array in an IDX file. Raises OSError, and UserError when header and length do not fit."""
    content = bytearray(Path(path).read_bytes())
    try:
        shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
        if content.startswith(b"\x00\x00\x08"):
            return np.frombuffer(content, np.uint8, offset=4 + shape.nbytes).reshape(shape)
    except (IndexError, ValueError):  # too short, or not of that shape
        pass
    raise UserError(
        f"{path} is not an IDX file of bytes: expected magic number 0x0000080n and as many bytes as the header says"
    )
