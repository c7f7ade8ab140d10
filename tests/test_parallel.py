"""Several processes, as torchrun starts them. Each of these tests waits for a few starts of Python and torch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import checkpoint
import parallel
import results
import train

SCRIPT = Path(__file__).with_name("killed_run.py")
PLACE = {**os.environ, "PYTHONPATH": str(Path(train.__file__).parent)}


def launch(*command, **place):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=PLACE | place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def start(mnist_folder, tmp_path):
    """Starts a training of two processes; returns (exit status, output, errors)."""

    def run(out, *flags, **place):
        flags = [
            mnist_folder,
            "--batch-size",
            100,
            "--device",
            "cpu",
            "--data",
            mnist_folder,
            "--out",
            tmp_path / out,
            *flags,
        ]
        process = launch(train.__file__.replace("train.py", "parallel.py"), 2, SCRIPT, *flags, **place)
        output, errors = process.communicate()
        return process.returncode, output, errors

    return run


def weights(folder):
    return checkpoint.deployed_weights(checkpoint.load_newest(folder))


def test_a_process_that_dies_ends_the_run_with_a_line_and_it_goes_on_bit_for_bit(start, tmp_path):
    status, output, errors = start("whole", "--epochs", 4)
    assert (status, errors) == (0, "")
    assert "1 thread in each of 2 processes" in output
    found = results.read(tmp_path / "whole")
    assert found["environment"]["processes"] == 2

    status, _, errors = start("killed", "--epochs", 4, KILLED="1,3")
    assert status == 1
    assert "process 1 of 2 was ended by SIGKILL" in errors
    assert "goes on from the last checkpoint" in errors
    assert "Traceback" not in errors
    assert not results.read(tmp_path / "killed")["finished"]

    status, output, errors = start("killed", "--epochs", 4)
    assert (status, errors) == (0, "")
    assert "going on after epoch" in output
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert whole
    assert all(resumed[name].equal(value) for name, value in whole.items())


def test_two_processes_make_the_updates_of_one(start, train_small, tmp_path):
    plain = ("--recipe", "skeleton-510k", "--epochs", 1, "--learning-rate", 0.05)  # nothing in it depends on the rank
    assert start("two", *plain)[0] == 0
    assert train_small(*plain, out="one")[0] == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)
    first, second = (results.read(tmp_path / name)["history"][0] for name in ("one", "two"))
    assert second["train_loss"] == pytest.approx(first["train_loss"], rel=1e-3)
    assert second["train_accuracy"] == pytest.approx(first["train_accuracy"], abs=0.3)


def test_two_machines_train_together(mnist_folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
    flags = [mnist_folder, "--epochs", 2, "--batch-size", 100, "--device", "cpu", "--data", mnist_folder, "--out"]
    agents = [
        launch("-m", "torch.distributed.run", *place, SCRIPT, *flags, tmp_path / name, OMP_NUM_THREADS="1")
        for name in ("here", "there")
    ]
    outputs = [agent.communicate()[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0]
    written = [name for name in ("here", "there") if (tmp_path / name).exists()]
    assert len(written) == 1  # the machine of process 0, whichever came first
    assert results.read(tmp_path / written[0])["environment"]["processes"] == 2
    assert sorted(map(bool, outputs)) == [False, True]


def test_batches_that_cannot_be_shared_are_refused(monkeypatch):
    monkeypatch.setattr(parallel, "count", lambda: 4)
    parallel.check_batches(59_950, 128)
    with pytest.raises(ValueError, match="batch_size 130 cannot be shared by 4 processes"):
        parallel.check_batches(59_950, 130)
    with pytest.raises(ValueError, match="the last batch, of 2 images"):
        parallel.check_batches(1002, 100)


def test_one_process_has_nobody_to_talk_to():
    tensors = [torch.ones(2)]
    parallel.add_up(tensors)
    assert tensors[0].equal(torch.ones(2))
    assert (parallel.share("word"), parallel.count(), parallel.rank()) == ("word", 1, 0)


def test_a_wrong_number_of_processes_is_one_line():
    process = launch(parallel.__file__, 0, "train.py")
    assert process.communicate()[1].count("\n") == 1
    assert process.returncode == 2
