"""How many threads a process gets, and that they are settled before torch comes."""

import math
import os
import platform
import runpy
import subprocess
import sys

import support
from support import UserError, cli, devices

import pytest
import torch

V1 = "5:memory:/m\n2:cpu,cpuacct:/docker/x\n"


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("", {}, math.inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),  # a container
        ("0::/user.slice/a.scope\n", {"user.slice/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "50000\n", "cpu/docker/x/cpu.cfs_period_us": "100000\n"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
    ],
)
def test_a_quota_of_any_control_group_above_counts(tmp_path, inject, groups, files, cores):
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": files[name] for name in files}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    inject("limit of the processor")
    assert devices.quota(tmp_path) == cores


@pytest.mark.parametrize(
    ("bound", "quota", "asked", "wanted", "processes", "threads"),
    [
        (4, math.inf, "", 0, 1, 4),
        (4, math.inf, " ", 0, 2, 2),
        (4, 1.5, "", 0, 1, 1),
        (4, 0.5, "", 0, 1, 1),
        (2, math.inf, "", 0, 8, 1),
        (4, math.inf, "", 3, 1, 3),  # of a recipe
        (4, math.inf, "2", 3, 1, 2),  # what a person says
        (4, 1.0, "3", 0, 1, 3),
        (4, math.inf, "2,1", 0, 4, 2),
        *((4, math.inf, asked, 0, 1, None) for asked in ("0", "-1", "two", "1.5")),
    ],
)
def test_affinity_quota_and_what_is_asked_decide_the_threads(
    monkeypatch, inject, bound, quota, asked, wanted, processes, threads
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    monkeypatch.setattr(devices, "quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    inject("limit of the processor")
    if threads:
        assert devices.threads(processes, wanted) == threads
    else:
        with pytest.raises(UserError, match=rf"THREADS=\) must be a number of threads, got '{asked}'"):
            devices.threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_process_that_is_bound_to_a_core_computes_in_one_thread(monkeypatch, inject):
    monkeypatch.delenv("OMP_NUM_THREADS")
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    inject("limit of the processor")
    try:
        os.sched_setaffinity(0, {min(cores)})
        torch.set_num_threads(2)
        devices.prepare()
        assert torch.get_num_threads() == 1
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


def test_how_long_threads_spin_is_settled_unless_a_person_says_otherwise(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    runpy.run_path(support.__file__)
    assert int(os.environ["GOMP_SPINCOUNT"]) > 0
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    runpy.run_path(support.__file__)
    assert os.environ["GOMP_SPINCOUNT"] == "7"


@pytest.mark.process
def test_the_table_of_results_needs_no_torch(tmp_path):
    (tmp_path / "torch.py").write_text("import sys; sys.exit(1)")
    place = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", "import results, recipes"], cwd=cli.ROOT, env=place).returncode == 0


FREE = """
from pathlib import Path
from support import devices
import torch

def resident():  # pages
    return Path("/proc/self/statm").read_text().split()[1]

devices.prepare()
tensor = torch.ones(7 << 20)  # 28 MB
before = resident()
del tensor
print(before, resident())
"""


@pytest.mark.process
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone has the setting")
def test_freed_memory_is_kept_for_the_next_step():
    run = subprocess.run([sys.executable, "-c", FREE], cwd=cli.ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert before - after < 100  # of 7,168 pages
