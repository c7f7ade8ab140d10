"""What tests of deployment share: a network that reads digits."""

import os

from support import files

import pytest
import spawned


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder for what the processes that run tests have together."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def trained(server, mnist_folder, shared):
    """The folder of a run of two epochs of `default` on the real data."""
    folder = shared / "trained" / "first"
    with files.lock(folder.parent, wait=True):
        if not (folder / "results.json").exists():
            flags = ["--epochs", "2", "--device", "cpu", "--out", folder]
            assert spawned.Script("train", flags, mnist_folder, shared / "training").end()[0] == 0
    return folder
