"""Runs compared: what has to be the same bit for bit, and what a folder may hold."""

import torch

import checkpoint
import results

MEASURED = {"seconds", "preparation_seconds", "training_time", "commit"}  # a commit may come between two runs


def assert_equal(one, other):
    """Two states are equal bit for bit; the measured seconds and the commit aside."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - MEASURED:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):  # of a history, whose entries have seconds
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def assert_same_run(folder, other):
    """Two folders hold the same finished run, and nothing else: five checkpoints at most, the same best model."""
    assert results.load(folder)["finished"]
    assert_equal(results.load(folder), results.load(other))
    assert names(folder) == names(other)
    for path in checkpoint.checkpoint_dir(other).iterdir():
        assert_equal(checkpoint.load(checkpoint.checkpoint_dir(folder) / path.name), checkpoint.load(path))


def names(folder):
    """The files of a run's folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
