"""Other work on the machine, for the benchmark alone: processes that compute without end."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))"  # ends with its parent, too


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[list[subprocess.Popen]]:
    """So many processes that each keep a core busy, ended at the end of the context."""
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", LOOP, str(os.getpid())]))
            stack.callback(process.kill)
            started.append(process)
        yield started
