"""How much of the processor this process may use: the one place that decides how many threads compute."""

import math
import os
import time
from pathlib import Path

from support import UserError


def read(path: Path) -> str:
    """The text of a file of the system, empty where there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


def quota(root: Path = Path("/")) -> float:
    """How many cores' time the control groups of this process leave it (Linux; of a container, say), or infinity.

    A limit counts for all groups below, so that of every parent is looked at: `cpu.max` in version 2, two files in
    1."""
    limits = [math.inf]
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        folder = top / group.strip("/")
        for place in (folder, *folder.parents):
            if not place.is_relative_to(top):
                break
            allowed = read(place / "cpu.max").split() or [
                read(place / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
            ]
            if all(number.isdigit() for number in allowed):  # without a limit it is max, or -1
                limits.append(int(allowed[0]) / int(allowed[1]))
    return min(limits)


def cores() -> int:
    """The cores that this process may use: those it is bound to, within its quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, math.floor(min(quota(), bound))))


def threads(processes: int = 1, wanted: int = 0) -> int:
    """How many threads each of so many processes gets: what OMP_NUM_THREADS (make: THREADS=) says, else as many as are
    wanted, else a share of the cores. Raises UserError where it says no number."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # further numbers are of nested threads
    if not asked:
        return wanted or max(1, cores() // processes)
    if not asked.isdigit() or int(asked) < 1:
        raise UserError(f"OMP_NUM_THREADS (make: THREADS=) must be a number of threads, got {asked!r}")
    return int(asked)


class Clock:
    """Started when it is made: the seconds since then, and what of them this process got."""

    def __init__(self):
        self.start, self.spent = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def share(self, threads: int) -> float:
        """Of the time of so many threads, the share that this process got: near 1 where nothing else computes."""
        return (time.process_time() - self.spent) / self.seconds / threads
