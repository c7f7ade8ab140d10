"""Atomic files: the old content or the new, never a part, whatever stops the program or fills the disk.

atomic.replace_file(path, content)
"""

import contextlib
import os
import re
import tempfile
from pathlib import Path

SUFFIX = ".partial"  # of a file while it is written
TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}" + re.escape(SUFFIX))  # mkstemp's names


def replace_file(path, content):
    """Write bytes to `path` atomically and durably: a temporary file beside it, flushed to the disk and renamed. Raises
    OSError, with the old file whole and no temporary file left."""
    path = Path(path)
    try:
        make_folder(path.parent)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=SUFFIX)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~umask())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(f"{path} could not be written ({error.strerror or error}); what was there is whole") from error


def make_folder(folder):
    """Make a folder and those above it, durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def umask():
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder):
    """Make a rename in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder):
    """Remove the temporary files that killed processes left in a folder, which no other process may be writing to."""
    for path in Path(folder).glob(f".*{SUFFIX}"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink()
