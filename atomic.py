"""Atomic files: the old content or the new, never a part, whatever stops the program or fills the disk.

atomic.replace_file(path, content)
"""

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(path, content):
    """Write bytes to `path` atomically and durably. Raises OSError, with the old file whole and no temporary file
    left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
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


def umask():
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder):
    """Make a rename in the folder durable, where the system can open folders."""
    with contextlib.suppress(PermissionError):  # Windows cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
