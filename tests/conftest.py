"""What tests share: the real data, small parts of it for trainings that take a second, and the count of faults."""

import collections
import os
import shutil
import signal
import sys
import textwrap
import time
from pathlib import Path

from support import archives, cli, files

import pytest
import spawned
import torch

import data
import train

SMALL_TRAINING, SMALL_TEST = 1050, 500
SMALL = "--batch-size", "100", "--device", "cpu"
FAULTS = pytest.StashKey[collections.Counter]()
STARTERS = {"launch", "launch_script", "server", "whole"}  # fixtures that start processes
HELPERS = {"git", "uname", "pip", "apt-get", "dpkg-deb"}  # tell of project and machine, or fetch missing data
NO_SOURCES = {"data", "results", "__pycache__"}  # folders of the project into which its scripts write
RUNNING = []  # the test
MAY_BE_SKIPPED = (  # where CI is set, too
    *("needs /dev/full", "needs affinity", "needs control groups", "needs a system that lets users mount"),
    *("no C compiler", "Fashion-MNIST is out of reach"),
)


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and what they start
    os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side, and batches here are small
    torch.set_num_threads(1)
    config.stash[FAULTS] = collections.Counter()


def pytest_collection_modifyitems(items):
    for item in items:
        if "inject" in item.fixturenames:
            item.add_marker("fault")
        if STARTERS & set(item.fixturenames):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    RUNNING[:] = [item]
    outcome = yield
    RUNNING.clear()
    return outcome


def refuse_unmarked(event, arguments):
    """Fail a test that starts a process and is not marked so, as make test-quick leaves those out."""
    if event == "subprocess.Popen" and RUNNING and not RUNNING[0].get_closest_marker("process"):
        words = [os.path.basename(str(word)) for word in arguments[1]]
        assert HELPERS & set(words), f"{RUNNING[0].nodeid} starts {words[0]}: mark it with pytest.mark.process"


if sys.platform == "linux":  # elsewhere Python's own library starts some, to tell of the machine
    sys.addaudithook(refuse_unmarked)


def refuse_changes(event, arguments):
    """Fail a test that would write or replace a file of the project, before it does."""
    if RUNNING and (event == "os.rename" or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))):
        written = arguments[event == "os.rename"]
        place = Path("/" if isinstance(written, int) else os.path.abspath(os.fsdecode(written)))
        inside = place.relative_to(cli.ROOT).parts if cli.ROOT in place.parents else ()
        is_source = inside and NO_SOURCES.isdisjoint(inside) and not any(part.startswith(".") for part in inside)
        assert not is_source, f"a test must not change {written}"


sys.addaudithook(refuse_changes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Where CI is set, a test is skipped for a known reason, or has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(MAY_BE_SKIPPED):
            report.outcome, report.longrepr = "failed", f"skipped, which is a failure where CI is set: {reason}"
    return report


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of several processes that run tests
        session.config.workeroutput["faults"] = dict(session.config.stash[FAULTS])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[FAULTS].update(getattr(node, "workeroutput", {}).get("faults", {}))


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
    return data.load("mnist", mnist_folder, "train"), data.load("mnist", mnist_folder, "test")


def use_small(patch, mnist):
    """Make data.load return the first images of the real data."""
    parts = {"train": mnist[0][:SMALL_TRAINING], "test": mnist[1][:SMALL_TEST]}
    patch.setattr(data, "load", lambda name, data_dir, part, device="cpu": parts[part])
    return parts["train"], parts["test"]


@pytest.fixture
def small_mnist(mnist, monkeypatch):
    """Makes data.load return the first images of the real data: 1,000 to train on after the split, 50 and 500."""
    return use_small(monkeypatch, mnist)


@pytest.fixture(scope="session")
def small_folder(mnist, tmp_path_factory):
    """The same images as four IDX files."""
    folder = tmp_path_factory.mktemp("small")
    raw = data.DATASETS["mnist"].raw_dir(folder)
    raw.mkdir(parents=True)
    for (pixels, labels), images, count in zip(data.FILES.values(), mnist, (SMALL_TRAINING, SMALL_TEST), strict=True):
        (raw / pixels).write_bytes(archives.idx_content(images[:count].pixels.squeeze(1).numpy()))
        (raw / labels).write_bytes(archives.idx_content(images[:count].labels.byte().numpy()))
    return folder


@pytest.fixture
def train_small(small_mnist, mnist_folder, tmp_path, capsys):
    """Runs train.main on the small data and returns (exit status, output, errors)."""

    def run(*arguments, out="run"):
        place = "--data", str(mnist_folder), "--out", str(tmp_path / out)
        status = 0
        try:
            train.main([*SMALL, *place, *map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def two_epochs(mnist, mnist_folder, tmp_path_factory):
    """The folder of a finished run of two epochs on the small data, to be looked at."""
    folder = tmp_path_factory.mktemp("two-epochs")
    with pytest.MonkeyPatch.context() as patch:
        use_small(patch, mnist)
        train.main([*SMALL, "--epochs", "2", "--data", str(mnist_folder), "--out", str(folder)])
    return folder


@pytest.fixture
def finished(two_epochs, small_mnist, tmp_path):
    """A copy of that folder, which is also train_small's, to be changed."""
    return shutil.copytree(two_epochs, tmp_path / "run")


@pytest.fixture(scope="session")
def server():
    spawned.start_server()


@pytest.fixture
def launch_script(server, small_folder, tmp_path):
    """Starts a script on the small data as a process of its own; returns a spawned.Script. Ends what is left."""
    started = []

    def start(module, *flags, fault=None, **environment):
        log = tmp_path / f"log-{len(started)}"
        started.append(spawned.Script(module, flags, small_folder, log, fault, environment))
        return started[-1]

    yield start
    for script in started:
        script.process.kill()


@pytest.fixture
def launch(launch_script, tmp_path):
    """Starts train.py so."""

    def start(*flags, out="run", **place):
        flags = [*SMALL, "--out", tmp_path / out, *flags]
        return launch_script("train", *flags, **place)

    return start


@pytest.fixture(scope="session")
def whole(server, small_folder, tmp_path_factory):
    """The folder of an uninterrupted run of six epochs on the small data, and the seconds that it took."""
    folder, start = tmp_path_factory.mktemp("whole"), time.monotonic()
    flags = [*SMALL, "--epochs", "6", "--out", folder / "run"]
    assert spawned.Script("train", flags, small_folder, folder / "log").end()[0] == 0
    return folder / "run", time.monotonic() - start


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


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
