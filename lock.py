"""Locks: a folder that one process at a time works in.

with lock.held("results/default-seed0"):
    ...

The lock is the kernel's own (flock on the file .lock) and ends with its process, however that ends: none is ever left
behind. The file stays, as removing it would let two processes hold two files of one name.
"""

import contextlib
import fcntl
import os
import sys

import atomic
import cli


@contextlib.contextmanager
def held(folder, wait=False):
    """Within this context no other process holds the folder, which is made where it is missing. Where one does already:
    waits for it, or raises BlockingIOError naming it. Gives a function that raises FileNotFoundError once the folder
    was removed: whoever made it anew holds another lock."""
    atomic.make_folder(folder)
    with open(folder / ".lock", "a+") as file:
        try:
            take(file, folder, wait)
        except BlockingIOError:
            raise
        except OSError as error:  # some network file systems have no locks
            cli.warn(f"{folder} cannot be locked ({error.strerror}): start nothing else in it")
        file.truncate(0)
        print(os.getpid(), file=file, flush=True)

        def check():
            if not os.path.exists(file.name) or not os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                raise FileNotFoundError(f"{folder} was removed while this process was at work in it")

        yield check


def take(file, folder, wait):
    """Lock an open file of the folder, as `held` says."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = f"process {file.read().strip() or 'unknown'} is at work in {folder}"
        if not wait:
            raise BlockingIOError(f"{holder}: wait for it, or choose another folder with --out (make: OUT=)") from error
        print(f"waiting: {holder}", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
