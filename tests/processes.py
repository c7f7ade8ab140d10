"""Trainings as processes of their own, to be stopped and killed. They are forked from a server that has imported torch
already, so each starts at once."""

import glob
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver

import atomic
import checkpoint
import cli
import data
import train

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["processes", "torch._dynamo"])  # which every first optimizer would import
PATIENCE = 120  # seconds until a process that should have ended counts as stuck


def start_server():
    """Start the server, whose Python looks for modules in PYTHONPATH alone."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


class Training:
    """train.py with flags, as a process; `fault` is called in it before it starts."""

    def __init__(self, flags, log, fault=None, environment=None):
        self.log, self.errors = log.with_suffix(".out"), log.with_suffix(".err")
        arguments = ([str(flag) for flag in flags], str(self.log), str(self.errors), fault, environment or {})
        self.process = SERVER.Process(target=train_script, args=arguments)
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


def train_script(flags, output, errors, fault, environment):
    """What a process does: train.py's flags on the small data, wherever that is."""
    for descriptor, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = (open(descriptor, "w", buffering=1) for descriptor in (1, 2))  # noqa: SIM115
    sys.argv = ["train.py", *flags]
    os.environ.update(environment)
    folder = flags[flags.index("--data") + 1]
    data.SHA256 = {name: data.sha256(data.raw_folder(folder) / name) for name in data.SHA256}
    if fault:
        fault()
    sys.exit(cli.run(lambda: train.main(flags), train.GO_ON))


class SavingLines:
    """Counts the lines that saving and loading run in this process, and calls `act` at one of them."""

    FILES = (atomic.__file__, checkpoint.__file__)

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
    for path in glob.glob(f"**/.*{atomic.SUFFIX}", root_dir=sys.argv[sys.argv.index("--out") + 1], recursive=True):
        whole = os.path.join(sys.argv[sys.argv.index("--out") + 1], path)
        os.truncate(whole, os.path.getsize(whole) // 2)
    kill()


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
