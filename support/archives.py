"""Files in whatever form people have them: as they are, or packed with gzip, zip or tar, one in another.

Nothing is unpacked to disk: contents are handed out, and it is for the caller to tell by their sums what they are.
"""

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 200 * 2**20  # of a file: more is no data set of ours
MAX_DEPTH = 3  # of folders in a folder, and of archives in an archive
SUFFIXES = (".gz", ".tgz", ".tar", ".zip", ".whl", ".npz", ".npy", ".csv", ".damaged")
BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, tarfile.TarError, RuntimeError, NotImplementedError)


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file in a folder that may hold data, and of the files packed in them."""
    for path in candidates(folder):
        try:
            content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        except OSError:  # not ours to read
            continue
        yield from unpack(path.name, content)


def candidates(folder: Path) -> Iterator[Path]:
    """The files in a folder, some levels deep, whose names are those of data or archives."""
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if depth < MAX_DEPTH and not name.startswith("."))
        yield from (Path(place) / name for name in sorted(names) if "ubyte" in name or name.endswith(SUFFIXES))


def unpack(name: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """A file, and every file packed in it; those that are damaged or unreasonably large are left out."""
    yield name, content
    if depth == MAX_DEPTH:
        return
    try:
        for inner_name, inner in members(name, content):
            yield from unpack(inner_name, inner, depth + 1)
    except BROKEN:
        return


def members(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files that an archive holds; none where the content is no archive."""
    file = io.BytesIO(content)
    if content.startswith(b"\x1f\x8b"):
        with gzip.open(file) as packed:
            unpacked = packed.read(MAX_BYTES + 1)
        if len(unpacked) <= MAX_BYTES:
            yield name.removesuffix(".gz"), unpacked
    elif content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as packed:
            for member in packed.infolist():
                if not member.is_dir() and member.file_size <= MAX_BYTES:
                    yield member.filename, packed.read(member)
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=file) as packed:
            for member in packed:
                if member.isfile() and member.size <= MAX_BYTES:
                    yield member.name, packed.extractfile(member).read()
