"""What tests share: the real data, and a small part of it for trainings that take a second."""

import os
from pathlib import Path

import pytest
import torch

import data
import train

SMALL_TRAINING, SMALL_TEST = 1050, 500


@pytest.fixture(scope="session")
def mnist_folder():
    return Path(os.environ.get("MNIST_DATA", "data")).resolve()


@pytest.fixture(scope="session")
def mnist(mnist_folder):
    """(training, test) images of the real data; fetched where they are missing."""
    return data.load(mnist_folder)


@pytest.fixture
def small_mnist(mnist, monkeypatch):
    """Makes data.load return the first images of the real data: 1,000 to train on after the split, 50 and 500."""
    training, test = mnist
    monkeypatch.setattr(data, "load", lambda *_: (training[:SMALL_TRAINING], test[:SMALL_TEST]))
    return data.load()


@pytest.fixture
def train_small(small_mnist, mnist_folder, tmp_path, capsys):
    """Runs train.main on the small data and returns (exit status, output, errors)."""

    def run(*arguments, out="run"):
        try:
            status = train.main(
                [
                    *("--batch-size", "100", "--device", "cpu", "--data", str(mnist_folder)),
                    *("--out", str(tmp_path / out), *map(str, arguments)),
                ]
            )
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
