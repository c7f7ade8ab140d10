"""What people see of a training under way: the bar, a warning of other work, TensorBoard's scalars."""

import contextlib
import io
import re
import sys
import time
import types

from support import UserError, progress

import pytest
import torch

import results


def finished_meter(epoch=1):
    meter = progress.Meter(epoch, 2.5, 100, torch.device("cpu"))
    for labels in (torch.zeros(50), torch.ones(50)):
        meter.update(torch.tensor(0.5), torch.tensor([[1.0, 0.0]]).expand(50, -1), labels, 50, lr=0.1)
    return meter


def test_a_terminal_shows_how_far_the_whole_run_is(monkeypatch):
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = str(finished_meter(epoch=2).bar)
    assert re.fullmatch(r"epoch 2/2\.5  80%\|.*images/s, loss 0.500, lr 0.1, \d\d:\d\d left", bar)


@pytest.mark.parametrize("spent", [0, 1000])
def test_an_epoch_that_other_work_slows_down_is_a_warning_once(monkeypatch, capsys, spent):
    monkeypatch.setattr(progress, "CROWDED", 0.6)
    monkeypatch.setattr(progress, "CROWDED_SECONDS", 0)
    monkeypatch.setattr(time, "process_time", iter([0, spent, 0, spent]).__next__)
    progress.warn_of_crowd.cache_clear()
    for _ in range(2):
        assert finished_meter().finish() == {"train_loss": 0.5, "train_accuracy": 50}
    assert capsys.readouterr().err.count("warning: other work takes the processor") == (spent == 0)


class SummaryWriter(contextlib.AbstractContextManager):
    """TensorBoard's, as a text."""

    def __init__(self, folder, purge_step):
        folder.mkdir(exist_ok=True)
        self.path = folder / "events.out.tfevents.1"
        self.path.write_text("")

    def __exit__(self, *_):
        pass

    def add_scalar(self, *scalar):
        self.path.write_text(f"{self.path.read_text()}{scalar}\n")


def test_scalars_are_the_whole_history_of_a_finished_run_and_of_a_new_one(train_small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    train_small("--epochs", 1)
    for flags in ((), ("--overwrite",)):
        train_small("--epochs", 1, "--log", "tensorboard", *flags)
        lines = (tmp_path / "run" / "tensorboard" / "events.out.tfevents.1").read_text().splitlines()
        expected = [
            ("train/loss", entry["train_loss"], entry["epoch"]) for entry in results.load(tmp_path / "run")["history"]
        ]
        assert [line for line in lines if "train/loss" in line] == [str(scalar) for scalar in expected]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="make train LOG=tensorboard installs it"):
        train_small("--epochs", 1, "--log", "tensorboard", "--overwrite")
    assert results.load(tmp_path / "run")["finished"]
