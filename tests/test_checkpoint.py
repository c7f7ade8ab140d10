import os
import pickle
from pathlib import Path

import pytest
import torch

import atomic
import checkpoint


def state(epoch):
    return {"epoch": epoch, "model": {"weight": torch.full((3,), float(epoch))}, "averaged": None}


def fill(run, epochs, best=()):
    for epoch in epochs:
        checkpoint.save(run, state(epoch), best=epoch in best)


def names(run):
    return sorted(path.name for path in checkpoint.checkpoint_folder(run).iterdir())


@pytest.mark.parametrize(("first", "last"), [(1, 3), (1, 7), (6, 12), (95, 102), (996, 1001)])
def test_the_newest_five_by_epoch_number_are_kept_whatever_the_clock_says(tmp_path, first, last):
    for epoch in range(first, last + 1):
        checkpoint.save(tmp_path, state(epoch), best=epoch == first)
        for number, path in checkpoint.epochs(tmp_path).items():
            os.utime(path, (10_000 - number, 10_000 - number))
    kept = list(range(first, last + 1))[-5:]
    assert list(checkpoint.epochs(tmp_path)) == kept
    assert names(tmp_path) == sorted(["best_model.pt", *(f"epoch_{epoch:03}.pt" for epoch in kept)])
    assert checkpoint.load(checkpoint.checkpoint_folder(tmp_path) / "best_model.pt")["epoch"] == first


def test_files_of_others_are_left_alone(tmp_path):
    folder = checkpoint.checkpoint_folder(tmp_path)
    folder.mkdir()
    foreign = ["epoch_final.pt", "notes.txt", "epoch_1.pt"]
    for name in foreign:
        (folder / name).write_text("mine")
    fill(tmp_path, range(1, 9))
    assert set(foreign) < set(names(tmp_path))
    assert checkpoint.load_newest(tmp_path)["epoch"] == 8


def flip(whole):
    """The bytes of a checkpoint with one bit of its weights turned over."""
    weights = torch.full((3,), 2.0).numpy().tobytes()
    assert whole.count(weights) == 1
    return whole.replace(weights, bytes([weights[0] ^ 1]) + weights[1:])


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"<html>", flip]
)
def test_a_damaged_newest_is_named_and_the_one_before_used(tmp_path, capsys, damage):
    fill(tmp_path, (1, 2))
    newest = checkpoint.epochs(tmp_path)[2]
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoint.load_newest(tmp_path)["epoch"] == 1
    assert str(newest) in capsys.readouterr().err


def test_all_damaged_stops_and_none_is_a_fresh_start(tmp_path):
    assert checkpoint.load_newest(tmp_path) is None
    fill(tmp_path, (1, 2))
    for path in checkpoint.epochs(tmp_path).values():
        path.write_bytes(b"")
    with pytest.raises(checkpoint.DamagedCheckpoint, match="every checkpoint"):
        checkpoint.load_newest(tmp_path)


def test_another_format_is_refused(tmp_path, monkeypatch):
    fill(tmp_path, (1,))
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    with pytest.raises(ValueError, match="has checkpoint format 2, this program reads format 99"):
        checkpoint.load_newest(tmp_path)


class Malice:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_checkpoint_cannot_run_code(tmp_path, write):
    path, target = tmp_path / "epoch_001.pt", tmp_path / "was-here"
    write({"format": checkpoint.FORMAT, "model": Malice(target)}, path)
    with pytest.raises(checkpoint.DamagedCheckpoint):
        checkpoint.load(path)
    assert not target.exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    atomic.replace_file(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        atomic.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.replace_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
