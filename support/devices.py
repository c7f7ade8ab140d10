"""The device, and how much of the processor this process may use, which decides how many threads compute."""

import ctypes
import math
import os
import re
import sys
from pathlib import Path

from support import UserError

import torch

# mallopt's numbers of settings of glibc's malloc, and their values in bytes: the most that it takes, and what is ample.
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = (-3, 32 << 20), (-1, 1 << 30)


def resolve_device(name: str) -> torch.device:
    """The device of that name; auto takes cuda, then mps, then cpu. Raises UserError for one that is not available."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_available in available.items() if is_available)
    if not available.get(name):
        raise UserError(f"device {name!r} is not available on this machine; use --device auto")
    return torch.device(name)


def prepare(name: str = "cpu", wanted_threads: int = 0) -> torch.device:
    """The device of that name, once torch has the settings that all computing here needs, and so many threads, or one
    a core. Raises UserError as `resolve_device` does."""
    torch.set_num_threads(threads(wanted=wanted_threads))
    torch.set_flush_denormal(True)  # denormal numbers make convolutions up to 40 times slower
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    return resolve_device(name)


def keep_freed_memory() -> None:
    """Let glibc's malloc keep what is freed. Else the tensors of a step, of megabytes each, go back to the system and
    are fetched again, page by page, at the next step, until malloc has seen larger ones, as in an evaluation."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        for setting in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(*setting)


def text(path: Path) -> str:
    """What a file of the system says, nothing where there is none, or none to be read."""
    return path.read_text() if os.access(path, os.R_OK) else ""


def cpuinfo(key: str) -> str:
    """The first value of a key (a pattern) in Linux's /proc/cpuinfo, or an empty string."""
    match = re.search(rf"^(?:{key})\s*:\s*(.*)$", text(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1] if match else ""


def quota(root: Path = Path("/")) -> float:
    """How many cores' time the control groups of this process leave it (Linux; of a container, say), or infinity.

    A limit counts for all groups below, so that of every parent is looked at: `cpu.max` in version 2; two files in
    version 1, which older kernels and gVisor (Google's clouds) still have."""
    limits = [math.inf]
    for line in text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            folder = root / "sys/fs/cgroup" / ("cpu" if controllers else "") / group.strip("/")
            for place in (folder, *folder.parents):
                version_1 = text(place / "cpu.cfs_quota_us"), text(place / "cpu.cfs_period_us")
                allowed, *period = text(place / "cpu.max").split() or version_1
                if allowed.strip().isdigit():  # without a limit it is max, or -1
                    limits.append(int(allowed) / int(*period))
    return min(limits)


def cores() -> int:
    """The cores that this process may use: those it is bound to, within its quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(quota(), bound)))


def threads(processes: int = 1, wanted: int = 0) -> int:
    """How many threads each of so many processes gets: what OMP_NUM_THREADS (make: THREADS=) says, else as many as are
    wanted, else a share of the cores. Raises UserError where it says no number."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # further numbers are of nested threads
    if not asked:
        return wanted or max(1, cores() // processes)
    if not asked.isdigit() or int(asked) < 1:
        raise UserError(f"OMP_NUM_THREADS (make: THREADS=) must be a number of threads, got {asked!r}")
    return int(asked)
