"""Scripts as processes of their own, to be stopped and killed. They are forked from a server that has imported torch
already, so each starts at once."""

import dataclasses
import glob
import importlib
import multiprocessing
import os
import signal
import sys
import time

from support import cli, download, files

import torch

import checkpoint
import data
import results
import train  # noqa: F401 (imported once, in the server)
from trainer import Trainer

SERVER = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
PATIENCE = 120  # seconds until a process that should have ended counts as stuck


def start_server():
    """Start the server, whose Python looks for modules in PYTHONPATH alone."""
    if os.name == "nt":
        return
    from multiprocessing import forkserver  # which Windows does not have

    SERVER.set_forkserver_preload(["spawned", "torch._dynamo"])  # which every first optimizer would import
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


class Script:
    """A script on the small data, as a process; `fault` is called in it before it starts."""

    def __init__(self, module, flags, data_folder, log, fault=None, environment=None):
        self.log, self.errors = log.with_suffix(".out"), log.with_suffix(".err")
        flags = [*map(str, flags), "--data", str(data_folder)]
        arguments = (module, flags, data_folder, self.log, self.errors, fault, environment or {})
        self.process = SERVER.Process(target=run_script, args=arguments)
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


def run_script(module, flags, data_folder, output, errors, fault, environment):
    """What a process does."""
    for descriptor, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = (open(descriptor, "w", buffering=1) for descriptor in (1, 2))  # noqa: SIM115
    sys.argv = [f"{module}.py", *flags]
    os.environ.update(environment)
    torch.set_num_threads(1)
    accept(data_folder)
    if fault:
        fault()
    script = importlib.import_module(module)
    sys.exit(cli.run(lambda: script.main(flags), cli.RESUME if module == "train" else ""))


class SavingLines:
    """Counts the lines that saving and loading run in this process, and calls `act` at one of them."""

    FILES = (files.__file__, checkpoint.__file__)

    def __init__(self, moment, act):
        self.left, self.act = moment, act

    def __call__(self):
        sys.settrace(self.enter)

    def enter(self, frame, event, argument):
        return self.count if frame.f_code.co_filename in self.FILES else None

    def count(self, frame, event, argument):
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.act()
        return self.count


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def tear_and_kill():
    """Kill this process, with the file that it was writing, if any, written to a half only."""
    for path in glob.glob(f"**/.*{files.SUFFIX}", root_dir=sys.argv[sys.argv.index("--out") + 1], recursive=True):
        whole = os.path.join(sys.argv[sys.argv.index("--out") + 1], path)
        os.truncate(whole, os.path.getsize(whole) // 2)
    kill()


class InEvaluation:
    """Calls `act` when the process evaluates."""

    def __init__(self, act):
        self.act = act

    def __call__(self):
        model_eval = torch.nn.Module.eval

        def evaluated(model):
            self.act()
            return model_eval(model)

        torch.nn.Module.eval = evaluated


class KillAfter:
    """Kills the process once it has trained, but not saved, the epoch after `epoch`."""

    def __init__(self, epoch):
        self.epoch = epoch

    def __call__(self):
        average_processes = Trainer.average_processes

        def average_and_die(trainer):
            average_processes(trainer)
            if len(trainer.history) == self.epoch:
                kill()

        Trainer.average_processes = average_and_die


def hang():
    """Make training hang after its first epoch, and hang again on the way out."""

    def line(*_):
        print("hanging")
        try:
            time.sleep(PATIENCE)
        finally:
            print("hanging again")
            time.sleep(PATIENCE)

    results.epoch_row = line


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
