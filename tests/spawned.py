"""Scripts as processes of their own, to be stopped and killed. They are forked from a server that has imported torch
already, so each starts at once."""

import dataclasses
import functools
import importlib
import multiprocessing
import os
import pathlib
import pkgutil
import signal
import sys
import time
import unittest.mock

from support import cli, download, files, processes, progress

import torch

import checkpoint
import data
import evaluate
import results
import train
import trainer

SERVER = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
PATIENCE = 120  # seconds until a process that should have ended counts as stuck
progress.CROWDED = 0  # of the processor's time: other tests are other work, of which nothing need be said


def start_server():
    """Start the server, whose Python looks for modules in PYTHONPATH alone."""
    from multiprocessing import forkserver  # which Windows does not have

    SERVER.set_forkserver_preload(["spawned", "torch._dynamo"])  # which every first optimizer would import
    with unittest.mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()


class Script:
    """A script on the small data, as a process; `fault` is called in it before it starts."""

    def __init__(self, module, flags, data_folder, log, fault=None, environment=None):
        self.log, self.errors = log.with_suffix(".out"), log.with_suffix(".err")
        arguments = (module, [*map(str, flags), "--data", str(data_folder)], self.log, self.errors, fault)
        self.process = SERVER.Process(target=run_script, args=[*arguments, environment or {}])
        self.process.start()

    def end(self):
        """(exit status, output, errors) of the process when it has ended; a signal that ended it is a negative
        status."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, f"stuck: {self.log.read_text()} {self.errors.read_text()}"
        return self.process.exitcode, self.log.read_text(), self.errors.read_text()

    def wait_for(self, text):
        """Wait until the process has printed a text."""
        while not self.log.exists() or text not in self.log.read_text():
            assert self.process.is_alive(), self.errors.read_text()
            time.sleep(0.01)

    def signal(self, number):
        os.kill(self.process.pid, number)


def accept(data_dir, dataset="mnist"):
    """Let the files of a data folder pass as a data set's official ones."""
    entry = data.DATASETS[dataset]
    sums = {name: download.sha256(entry.raw_dir(data_dir) / name) for name in entry.sha256}
    data.DATASETS[dataset] = dataclasses.replace(entry, sha256=sums)


def run_script(module, flags, output, errors, fault, environment):
    """What a process does."""
    for descriptor, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = (open(descriptor, "w", buffering=1) for descriptor in (1, 2))  # noqa: SIM115
    sys.argv = [f"{module}.py", *flags]
    os.environ.update(environment)
    torch.set_num_threads(1)
    accept(flags[-1])
    if fault:
        fault()
    script = importlib.import_module(module)
    cli.run(lambda: script.main(flags), cli.RESUME if module == "train" else "")


SAVING = (files.__file__, checkpoint.__file__)
TRAINING = (*SAVING, *(module.__file__ for module in (data, evaluate, processes, progress, results, train, trainer)))


class AtLine:
    """Counts the lines that a process runs of some files of the project, and calls `act` at one of them."""

    def __init__(self, moment, act, places=SAVING):
        self.left, self.act, self.places = moment, act, places

    def __call__(self):
        sys.settrace(lambda frame, event, argument: self.count if frame.f_code.co_filename in self.places else None)

    def count(self, frame, event, argument):
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.act()
        return self.count


class Before:
    """Calls `act` in the process before the `call`-th call of a function, named as in "checkpoint.save"."""

    def __init__(self, function, act, call=1):
        self.function, self.act, self.left = function, act, call

    def __call__(self):
        place, _, name = self.function.rpartition(".")
        owner = pkgutil.resolve_name(place)
        function = getattr(owner, name)

        def counted(*arguments, **named):
            self.left -= 1
            if self.left == 0:
                self.act()
            return function(*arguments, **named)

        setattr(owner, name, counted)


EVALUATION = "torch.nn.Module.eval"
END_OF_EPOCH = "trainer.Trainer.average_processes"  # in every process: it is trained, but not saved


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


terminate, interrupt = (functools.partial(signal.raise_signal, number) for number in (signal.SIGTERM, signal.SIGINT))


def hang():
    """Hang, and hang again on the way out."""
    print("hanging")
    try:
        time.sleep(PATIENCE)
    finally:
        print("hanging again")
        time.sleep(PATIENCE)


def tear_and_kill():
    """Kill this process, with the file that it was writing, if any, written to a half only."""
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    for path in out.rglob(f".*{files.SUFFIX}"):
        os.truncate(path, path.stat().st_size // 2)
    kill()
