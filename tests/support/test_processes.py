"""Several processes, as torchrun starts them. Some of these tests wait for several starts of Python and torch."""

import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from support import cli, files, processes

import pytest
import spawned
import states
import torch

import checkpoint
import model
import results

pytestmark = pytest.mark.process

SCRIPT = Path(spawned.__file__).with_name("killed_run.py")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def start(launch_script, small_folder, tmp_path):
    """Starts a training of two processes through the launcher."""

    def run(*flags, **place):
        flags = ["--batch-size", 100, "--device", "cpu", "--out", tmp_path / "run", *flags]
        return launch_script("support.launch", 2, SCRIPT, small_folder, *flags, **place)

    return run


@pytest.fixture
def pair(launch):
    """Starts two processes that train together, without the launcher, which takes seconds; returns both."""

    def run(*flags, faults=(None, None), **place):
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "test"}
        shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        return [
            launch(*flags, fault=fault, RANK=str(rank), LOCAL_RANK=str(rank), **shared, **place)
            for rank, fault in enumerate(faults)
        ]

    return run


def test_a_process_that_dies_ends_the_run_with_a_line(start, tmp_path, inject):
    inject("SIGKILL of one of two processes")
    status, output, errors = start("--epochs", 4, KILLED="1,2").end()
    assert (status, "1 thread in each of 2 processes" in output) == (1, True)
    assert f"{SCRIPT}: process 1 of 2 was killed by SIGKILL: stopped; {cli.RESUME}" in errors.splitlines()
    assert "Traceback" not in errors
    saved = results.load(tmp_path / "run")
    assert (len(saved["history"]), saved["environment"]["processes"]) == (1, 2)


def test_the_launcher_passes_on_output_and_flags_and_ends_as_its_processes_do(launch_script, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, sys; print(os.environ['RANK'], sys.argv[1]); sys.exit('fail' in sys.argv)")
    assert launch_script("support.launch", 2, script, "fail").end() == (1, "0 fail\n", "")


@pytest.mark.parametrize(
    ("number", "cause"), [(signal.SIGINT, "Ctrl-C"), pytest.param(signal.SIGTERM, "SIGTERM", marks=pytest.mark.slow)]
)
def test_a_signal_to_the_launcher_stops_all_with_one_line(start, inject, number, cause):
    launcher = start("--epochs", 500)
    launcher.wait_for("2/500")
    inject("signal to two processes")
    launcher.signal(number)
    status, _, errors = launcher.end()
    assert (status, errors) == (128 + number, f"killed_run.py: stopped by {cause}; {cli.RESUME}\n")


@pytest.mark.slow
def test_what_all_processes_find_wrong_is_one_line_of_the_first(start, inject):
    inject("batch that cannot be shared")
    status, _, errors = start("--batch-size", 101).end()
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("killed_run.py: batch_size 101 cannot be shared by 2 processes: use another")


@pytest.mark.slow
def test_when_the_launcher_is_killed_its_processes_end_too(start, tmp_path, inject):
    launcher = start("--epochs", 5000)
    launcher.wait_for("1/5000")
    inject("SIGKILL of the launcher")
    launcher.process.kill()
    with files.lock(tmp_path / "run", wait=True):  # until process 0 has ended
        assert not results.load(tmp_path / "run")["finished"]


def test_a_training_whose_parent_was_gone_before_it_looked_ends_too(launch, inject):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    inject("parent that was killed in its first seconds")
    assert launch("--epochs", 5000, END_WITH_PARENT=str(gone.pid)).end()[0] == 1


@pytest.mark.parametrize("stops", [(1,), *(pytest.param(stops, marks=pytest.mark.slow) for stops in [(2,), (1, 2)])])
def test_two_processes_that_are_killed_go_on_bit_for_bit(pair, tmp_path, inject, stops):
    flags = ("--epochs", 3, "--keep", 0.3)
    assert [process.end()[0] for process in pair(*flags, out="whole")] == [0, 0]
    for rank, (before, epoch) in enumerate(itertools.pairwise((0, *stops))):
        faults = [None, None]
        faults[rank % 2] = spawned.Before(spawned.END_OF_EPOCH, spawned.kill, epoch + 1 - before)
        inject("SIGKILL of one of two processes")
        statuses = {process.end()[0] for process in pair(*flags, faults=faults)}
        assert -signal.SIGKILL in statuses
        assert 0 not in statuses
    first, second = pair(*flags)
    assert f"resuming after epoch {stops[-1]} of 3" in first.end()[1]
    assert second.end()[0] == 0
    states.assert_same_run(tmp_path / "run", tmp_path / "whole")


def add_plain_model():
    """Make a model known whose training depends on the rank in nothing: no BatchNorm, no dropout."""
    layers = [torch.nn.Conv2d(1, 8, 3, stride=3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 9 * 9, 10)]
    model.ARCHITECTURES["plain"] = lambda num_classes: torch.nn.Sequential(*layers)


def test_two_processes_make_the_updates_of_one(pair, launch, tmp_path, monkeypatch):
    flags = ("--recipe", "skeleton-510k", "--architecture", "plain", "--epochs", 1, "--learning-rate", 0.05)
    assert [process.end()[0] for process in pair(*flags, faults=[add_plain_model] * 2, out="two")] == [0, 0]
    assert launch(*flags, fault=add_plain_model, out="one").end()[0] == 0
    monkeypatch.setattr(model, "ARCHITECTURES", {})
    add_plain_model()
    one, two = (checkpoint.load_model(tmp_path / name, "cpu")[0].state_dict() for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)
    first, second = (results.load(tmp_path / name)["history"][0] for name in ("one", "two"))
    assert second["train_loss"] == pytest.approx(first["train_loss"], rel=1e-3)
    assert second["train_accuracy"] == pytest.approx(first["train_accuracy"], abs=0.3)


@pytest.mark.slow
def test_two_machines_train_together(small_folder, tmp_path):
    place = f"--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint localhost:{free_port()}".split()
    command = [sys.executable, "-m", "torch.distributed.run", *place, SCRIPT, small_folder, "--data", small_folder]
    command += ["--epochs", "2", "--batch-size", "100", "--device", "cpu", "--out"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    out = [tmp_path / name for name in ("here", "there")]
    agents = [subprocess.Popen([*command, folder], env=environment, stdout=subprocess.PIPE) for folder in out]
    assert sorted(bool(agent.communicate()[0]) for agent in agents) == [False, True]
    assert [agent.returncode for agent in agents] == [0, 0]
    (written,) = (folder for folder in out if folder.exists())  # on the machine of process 0, whichever came first
    assert results.load(written)["environment"]["processes"] == 2


def test_batches_that_cannot_be_shared_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "world_size", lambda: 4)
    processes.check_batches(59_950, 128)
    with pytest.raises(ValueError, match="batch_size 130 cannot be shared by 4 processes"):
        processes.check_batches(59_950, 130)
    with pytest.raises(ValueError, match="the last batch, of 2 images"):
        processes.check_batches(1002, 100)
