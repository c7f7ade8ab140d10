"""Files that survive anything: replaced atomically, and folders that one process at a time works in.

A write leaves the old content or the new, never a part, whatever stops the program or fills the disk.
"""

import contextlib
import errno
import functools
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support import UserError

import filelock
import msgspec

SUFFIX = ".partial"  # of a file while it is written
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # what some network file systems answer
TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}" + re.escape(SUFFIX))  # mkstemp's names


@contextlib.contextmanager
def told(path: Path | str, what: str, more: str = "") -> Iterator[None]:
    """Let an OSError within this context be a UserError: the path, what could not be done to it, and why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} {what} ({error.strerror or error}){more}") from error


def read(path: Path | str) -> bytes:
    """The content of a file. Raises UserError where it cannot be read."""
    with told(path, "could not be read"):
        return Path(path).read_bytes()


def read_json(path: Path | str, remedy: str) -> Any:
    """The strict JSON in a file. Raises UserError naming the file, with the remedy."""
    try:
        return msgspec.json.decode(read(path))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): {remedy}") from error


def convert(content: Any, kind: Any, path: Path | str, remedy: str) -> Any:
    """What was read from a file, as a type. Raises UserError naming the file and the field that is of another."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        wrong, _, place = str(error).partition(" - at ")
        field = place.strip("`").removeprefix("$.").strip("$") or "its content"
        raise UserError(f"{path}: {field}: {wrong[:1].lower()}{wrong[1:]}: {remedy}") from error


def replace_file(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` atomically and durably: a temporary file beside it, flushed to disk and renamed.

    Raises UserError, with the old file whole and no temporary file left."""
    path = Path(path)
    with told(path, "could not be written", "; its old content is whole"):
        make_dir(path.parent)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=SUFFIX)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.umask(mask := os.umask(0))  # it can only be read by setting it
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_dir(path.parent)


def write_json(path: Path | str, content: object) -> None:
    """Replace a file with strict JSON. Raises ValueError for NaN or infinity, UserError as `replace_file` does."""
    replace_file(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def make_dir(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    if not folder.is_dir():
        make_dir(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_dir(folder.parent)


def sync_dir(folder: Path) -> None:
    """Make a rename in the folder durable, where the system can open a folder."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path | str) -> None:
    """Remove the temporary files of killed processes from a folder that no other process writes to."""
    for path in Path(folder).glob(f".*{SUFFIX}"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink()


@contextlib.contextmanager
def lock(folder: Path, wait: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a folder, made where it is missing, against other processes. The system releases the lock when its process
    ends, however it ends.

    Where another process holds it: waits, or raises UserError naming that process. Yields a function that raises
    UserError once the folder has been removed: whoever makes it anew holds another lock."""
    path, holder = folder / ".lock", folder / ".lock.pid"
    with told(folder, "could not be used"):
        make_dir(folder)
        file_lock = lock_of(path)
        try:
            acquire(file_lock, holder, wait)
            holder.write_text(f"{os.getpid()}\n")
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(f"warning: {folder} cannot be locked ({error.strerror}): start nothing else in it", file=sys.stderr)
            path.touch()
        locked = path.stat()

    def check() -> None:
        if not path.exists() or not os.path.samestat(locked, path.stat()):
            raise UserError(f"{folder} was removed while this process was at work in it")

    try:
        yield check
    finally:
        file_lock.release()


@functools.cache  # a lock that is dropped cleans up, and a signal in the midst of that would be lost
def lock_of(path: Path) -> filelock.BaseFileLock:
    """The lock of this process on a file."""
    return filelock.FileLock(path, fallback_to_soft=False)


def acquire(file_lock: filelock.BaseFileLock, holder: Path, wait: bool) -> None:
    """Acquire a lock as `lock` says; `holder` is the file that names the process which has it."""
    try:
        file_lock.acquire(blocking=False)
    except filelock.Timeout as error:
        process = holder.read_text().strip() if holder.exists() else "unknown"
        message = f"process {process} is at work in {holder.parent}"
        if not wait:
            raise UserError(f"{message}: wait for it, or use another folder: --out (make: OUT=)") from error
        print(f"waiting: {message}", file=sys.stderr)
        file_lock.acquire()
