import hashlib
import os
import pickle
import random
from pathlib import Path

from support import files

import pytest
import torch
from states import assert_equal

import checkpoint


def state(epoch):
    weights = {"weight": torch.full((3,), float(epoch))}
    return dict.fromkeys(checkpoint.KEYS) | {"epoch": epoch, "model": weights}


def fill(run, epochs, best=()):
    for epoch in epochs:
        checkpoint.save(run, state(epoch), best=epoch in best)


def names(run):
    return sorted(path.name for path in checkpoint.checkpoint_dir(run).iterdir())


@pytest.mark.parametrize(("first", "last"), [(1, 3), (1, 7), (6, 12), (95, 102), (996, 1001)])
def test_the_newest_five_by_epoch_number_are_kept_whatever_the_clock_says(tmp_path, first, last):
    """And files of others are left alone."""
    foreign = ["epoch_1.pt", "epoch_final.pt", "notes.txt"]
    for name in foreign:
        files.replace_file(checkpoint.checkpoint_dir(tmp_path) / name, b"mine")
    for epoch in range(first, last + 1):
        checkpoint.save(tmp_path, state(epoch), best=epoch == first)
        for number, path in checkpoint.epochs(tmp_path).items():
            os.utime(path, (10_000 - number, 10_000 - number))
    kept = list(range(first, last + 1))[-5:]
    assert list(checkpoint.epochs(tmp_path)) == kept
    assert names(tmp_path) == sorted(["best_model.pt", *foreign, *(f"epoch_{epoch:03}.pt" for epoch in kept)])
    assert checkpoint.load_newest(tmp_path)["epoch"] == last
    assert checkpoint.load(checkpoint.checkpoint_dir(tmp_path) / "best_model.pt")["epoch"] == first


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"<html>"])
def test_a_damaged_newest_is_named_and_the_one_before_used(tmp_path, capsys, inject, damage):
    fill(tmp_path, (1, 2))
    inject("damaged checkpoint")
    newest = checkpoint.epochs(tmp_path)[2]
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoint.load_newest(tmp_path)["epoch"] == 1
    assert str(newest) in capsys.readouterr().err


def test_a_flipped_bit_anywhere_is_seen(tmp_path, inject):
    fill(tmp_path, (1,))
    path, draw = checkpoint.epochs(tmp_path)[1], random.Random(0)
    whole = path.read_bytes()
    assert_equal(torch.load(path), {"format": checkpoint.FORMAT, **state(1)})  # which takes no notice of the sum
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        for kind, damaged in (("flipped bit", flipped), ("torn checkpoint", whole[: draw.randrange(len(whole))])):
            path.write_bytes(damaged)
            inject(kind)
            with pytest.raises(checkpoint.DamagedCheckpoint):
                checkpoint.load(path)


def test_a_file_under_another_epochs_name_is_not_believed(tmp_path, capsys, inject):
    fill(tmp_path, (1, 2))
    paths = checkpoint.epochs(tmp_path)
    inject("misnamed checkpoint")
    paths[1].with_name("epoch_007.pt").write_bytes(paths[1].read_bytes())
    assert checkpoint.load_newest(tmp_path)["epoch"] == 2
    assert "epoch_007.pt holds epoch 1" in capsys.readouterr().err


def test_damaged_checkpoints_do_not_count_and_go_with_the_old_ones(tmp_path, inject):
    fill(tmp_path, (1, 2, 3, 4, 5), best=(1,))
    for epoch in (3, 4):
        checkpoint.epochs(tmp_path)[epoch].write_bytes(b"torn")
        inject("damaged checkpoint")
    fill(tmp_path, (6, 7))
    assert list(checkpoint.epochs(tmp_path)) == [1, 2, 3, 4, 5, 6, 7]
    fill(tmp_path, (8,))
    assert list(checkpoint.epochs(tmp_path)) == [2, 3, 4, 5, 6, 7, 8]
    fill(tmp_path, (9, 10))
    assert list(checkpoint.epochs(tmp_path)) == [6, 7, 8, 9, 10]
    assert "best_model.pt" in names(tmp_path)
    for path in checkpoint.epochs(tmp_path).values():
        path.write_bytes(b"torn")
    fill(tmp_path, (1,))  # stays, whatever later ones lie there
    assert checkpoint.load_newest(tmp_path)["epoch"] == 1


def test_all_damaged_stops_and_none_is_a_fresh_start(tmp_path, inject):
    assert checkpoint.load_newest(tmp_path) is None
    fill(tmp_path, (1, 2))
    inject("damaged checkpoint", 2)
    for path in checkpoint.epochs(tmp_path).values():
        path.write_bytes(b"")
    with pytest.raises(checkpoint.DamagedCheckpoint, match="every checkpoint"):
        checkpoint.load_newest(tmp_path)


def test_another_format_is_refused(tmp_path, monkeypatch):
    fill(tmp_path, (1,))
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    with pytest.raises(ValueError, match="has checkpoint format 6, this program reads format 99"):
        checkpoint.load_newest(tmp_path)


class Malice:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_checkpoint_cannot_run_code(tmp_path, inject, write):
    inject("malicious pickle")
    path, target = tmp_path / "epoch_001.pt", tmp_path / "was-here"
    write({"format": checkpoint.FORMAT, "model": Malice(target)}, path)
    path.write_bytes(path.read_bytes() + hashlib.sha256(path.read_bytes()).digest())  # so that it counts as whole
    with pytest.raises(checkpoint.DamagedCheckpoint):
        checkpoint.load(path)
    assert not target.exists()
