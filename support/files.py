"""Files that survive anything: replaced atomically, and folders that one process at a time works in.

A write leaves the old content or the new, never a part, whatever stops the program or fills the disk.
"""

import contextlib
import errno
import functools
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support import UserError

import filelock
import msgspec

SUFFIX = ".partial"  # of a file while it is written
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # what some network file systems answer
# Cached: a lock that is dropped cleans up, and a signal in the midst of that would be lost.
lock_of = functools.cache(functools.partial(filelock.FileLock, fallback_to_soft=False))


@contextlib.contextmanager
def told(path: Path | str, what: str, more: str = "") -> Iterator[None]:
    """Let an OSError within this context be a UserError: the path, what could not be done to it, and why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} {what} ({error.strerror or error}){more}") from error


def read(path: Path | str, limit: int = -1) -> bytes:
    """The content of a file, or its first bytes up to a limit. Raises UserError where it cannot be read."""
    with told(path, "could not be read"), open(path, "rb") as file:
        return file.read(limit)


def read_json(path: Path | str, remedy: str) -> Any:
    """The strict JSON in a file. Raises UserError naming the file, with the remedy."""
    try:
        return msgspec.json.decode(read(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): {remedy}") from error


def convert(content: Any, kind: Any, path: Path | str, remedy: str) -> Any:
    """What was read from a file, as a type. Raises UserError naming the file and the field that is of another."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        wrong, _, place = str(error).partition(" - at ")
        field = place.strip("`$").removeprefix(".") or "its content"
        raise UserError(f"{path}: {field}: {wrong[:1].lower()}{wrong[1:]}: {remedy}") from error


def replace_file(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` atomically and durably: a temporary file beside it, flushed to disk and renamed.

    Raises UserError, with the old file whole and no temporary file left."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}{SUFFIX}")
    with told(path, "could not be written", "; its old content is whole"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sys.platform != "win32":  # which opens no folders
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)  # the renaming
            os.close(folder)


def write_json(path: Path | str, content: object) -> None:
    """Replace a file with strict JSON. Raises ValueError for NaN or infinity, UserError as `replace_file` does."""
    replace_file(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def sweep(folder: Path | str) -> None:
    """Remove the temporary files of killed processes from a folder that no other process writes to."""
    for path in Path(folder).glob(f".?*-{'[0-9a-f]' * 8}{SUFFIX}"):
        path.unlink()


@contextlib.contextmanager
def lock(folder: Path, wait: bool = False) -> Iterator[Callable[[], None]]:
    """Hold a folder, made where it is missing, against other processes. The system releases the lock when its process
    ends, however it ends.

    Where another process holds it: waits, or raises UserError naming that process. Yields a function that raises
    UserError once the folder has been removed: whoever makes it anew holds another lock."""
    path, holder = folder / ".lock", folder / ".lock.pid"  # the second names the process that has the first
    with told(folder, "could not be used"):
        folder.mkdir(parents=True, exist_ok=True)
        file_lock = lock_of(path)
        try:
            file_lock.acquire(blocking=False)
        except filelock.Timeout as error:
            process = holder.read_text().strip() if holder.exists() else "unknown"
            message = f"process {process} is at work in {folder}"
            if not wait:
                raise UserError(f"{message}: wait for it, or use another folder: --out (make: OUT=)") from error
            print(f"waiting: {message}", file=sys.stderr)
            file_lock.acquire()
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(f"warning: {folder} cannot be locked ({error.strerror}): start nothing else in it", file=sys.stderr)
            path.touch()
        holder.write_text(f"{os.getpid()}\n")
        locked = path.stat()

    def check() -> None:
        if not path.exists() or not os.path.samestat(locked, path.stat()):
            raise UserError(f"{folder} was removed while this process was at work in it")

    try:
        yield check
    finally:
        file_lock.release()
