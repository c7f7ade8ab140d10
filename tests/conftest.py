"""What tests share: the real data, small parts of it for trainings that take a second, and the count of faults."""

import collections
import os
import signal
import textwrap
from pathlib import Path

import processes
import pytest
import torch

import data
import train

SMALL_TRAINING, SMALL_TEST = 1050, 500
FAULTS = pytest.StashKey[collections.Counter]()


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and what they start
    config.stash[FAULTS] = collections.Counter()


def pytest_collection_modifyitems(items):
    for item in items:
        if "inject" in item.fixturenames:
            item.add_marker("fault")


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    faults = config.stash[FAULTS]
    if faults:
        kinds = ", ".join(f"{count} {kind}" for kind, count in faults.most_common())
        terminalreporter.write_line(textwrap.fill(kinds, 120))
        outcome = "something was lost, see above" if exitstatus else "nothing was lost"
        terminalreporter.write_line(f"{faults.total()} faults injected, {outcome}")


@pytest.fixture
def inject(request):
    """Counts faults of a kind: to be called with every fault that a test makes happen. A test that asks for it is
    marked as one of faults."""

    def count(kind, number=1):
        request.config.stash[FAULTS][kind] += number

    return count


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


@pytest.fixture(scope="session")
def small_folder(mnist, tmp_path_factory):
    """The same images as four IDX files."""
    folder = tmp_path_factory.mktemp("small")
    data.raw_folder(folder).mkdir(parents=True)
    for prefix, images, count in zip(("train", "t10k"), mnist, (SMALL_TRAINING, SMALL_TEST), strict=True):
        part = images[:count]
        data.write_idx(data.raw_folder(folder) / f"{prefix}-images-idx3-ubyte", part.levels.squeeze(1).numpy())
        data.write_idx(data.raw_folder(folder) / f"{prefix}-labels-idx1-ubyte", part.labels.byte().numpy())
    return folder


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


@pytest.fixture(scope="session")
def server():
    processes.start_server()


@pytest.fixture
def launch_script(server, small_folder, tmp_path):
    """Starts a script on the small data as a process of its own; returns a processes.Script. Ends what is left."""
    started = []

    def start(module, *flags, fault=None, **environment):
        log = tmp_path / f"log-{len(started)}"
        started.append(processes.Script(module, flags, small_folder, log, fault, environment))
        return started[-1]

    yield start
    for script in started:
        script.process.kill()


@pytest.fixture
def launch(launch_script, tmp_path):
    """Starts train.py so."""

    def start(*flags, out="run", **place):
        flags = ["--batch-size", "100", "--device", "cpu", "--out", tmp_path / out, *flags]
        return launch_script("train", *flags, **place)

    return start


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
