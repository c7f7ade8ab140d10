import math
import os
import subprocess
import sys
from pathlib import Path

from support import UserError, cli, processor

import pytest

CGROUP = Path("/sys/fs/cgroup/cpu")


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"proc/self/cgroup": "0::/\n"}, math.inf),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, math.inf),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),  # a container
        ({"proc/self/cgroup": "0::/user.slice/a.scope\n", "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/m\n2:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "2:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            math.inf,
        ),
    ],
)
def test_a_quota_of_any_control_group_above_counts(tmp_path, inject, files, cores):
    write(tmp_path, files)
    inject("limit of the processor")
    assert processor.quota(tmp_path) == cores


@pytest.mark.parametrize(
    ("bound", "quota", "asked", "processes", "threads"),
    [
        (4, math.inf, None, 1, 4),
        (4, math.inf, None, 2, 2),
        (4, 1.5, None, 1, 1),
        (4, 0.5, None, 1, 1),
        (1, math.inf, None, 1, 1),
        (2, math.inf, None, 8, 1),
        (4, 1.0, "3", 1, 3),  # what a person says
        (4, math.inf, "2,1", 4, 2),
        (4, math.inf, " ", 1, 4),
    ],
)
def test_affinity_quota_and_what_is_asked_decide_the_threads(
    monkeypatch, inject, bound, quota, asked, processes, threads
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    monkeypatch.setattr(processor, "quota", lambda: quota)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    inject("limit of the processor")
    assert processor.threads(processes) == threads


@pytest.mark.parametrize(("asked", "expected"), [("", 3), ("2", 2)])
def test_as_many_threads_as_are_wanted_unless_a_person_asks_for_others(monkeypatch, asked, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert processor.threads(wanted=3) == expected


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
def test_threads_that_are_no_number_are_a_line(monkeypatch, inject, asked):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    inject("wrong usage")
    with pytest.raises(UserError, match=rf"THREADS=\) must be a number of threads, got '{asked}'"):
        processor.threads()


COUNT = """
from support import devices
import torch
devices.prepare()
print(torch.get_num_threads())
"""


def count(prefix=(), **environment):
    place = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | environment
    command = [*prefix, sys.executable, "-c", COUNT]
    return int(subprocess.run(command, cwd=cli.ROOT, env=place, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_process_that_is_bound_to_a_core_computes_in_one_thread(inject):
    inject("limit of the processor", 2)
    core = min(os.sched_getaffinity(0))
    assert count(["taskset", "-c", str(core)]) == 1
    assert count(["taskset", "-c", str(core)], OMP_NUM_THREADS="3") == 3


@pytest.mark.slow
@pytest.mark.skipif(not os.access(CGROUP, os.W_OK), reason="needs control groups that a test may make")
def test_a_process_with_a_quota_computes_in_as_many_threads(inject):
    group = CGROUP / f"test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text("100000")
        inject("limit of the processor")
        assert count(["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]) == 1
    finally:
        group.rmdir()


def test_threads_do_not_spin_by_default_and_whoever_says_otherwise_is_heard():
    code = "import os, support; print(os.environ['GOMP_SPINCOUNT'])"
    place = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    for given, expected in (({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=cli.ROOT, env=place | given, capture_output=True, text=True
        )
        assert done.stdout == f"{expected}\n"


def test_no_module_loads_torch_before_the_threads_are_settled():
    code = (
        "import sys, importlib.abc\n"
        "class First(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': assert 'support' in sys.modules, 'torch came first'\n"
        "sys.meta_path.insert(0, First())\n"
        "import {}\n"
    )
    for name in (
        "train",
        "evaluate",
        "verdict",
        "data",
        "model",
        "trainer",
        "experiments.benchmark",
        "reporting.report",
    ):
        done = subprocess.run([sys.executable, "-c", code.format(name)], cwd=cli.ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_share_of_a_process_that_waits_is_small_and_of_one_that_computes_near_one():
    clock = processor.Clock()
    while clock.seconds < 0.2:
        pass
    busy = clock.share(1)
    clock = processor.Clock()
    subprocess.run(["sleep", "0.2"], check=True)
    assert clock.share(1) < busy
    assert clock.share(2) == pytest.approx(clock.share(1) / 2, rel=0.2)
