"""A training on a small part of the real data, as a process of its own that a test can kill.

python killed_run.py DATA, then train.py's flags; with KILLED=rank,epoch in the environment that process kills itself
"""

import os
import signal
import sys

from conftest import SMALL_TEST, SMALL_TRAINING

import cli
import data
import parallel
import run
import train

if __name__ == "__main__":
    training, test = data.load(sys.argv[1])
    data.load = lambda *_: (training[:SMALL_TRAINING], test[:SMALL_TEST])
    rank, epoch = map(int, os.environ.get("KILLED", "0,0").split(","))
    train_epoch = run.Run.train_epoch

    def die_in_epoch(self, number):
        if (parallel.rank(), number) == (rank, epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        return train_epoch(self, number)

    run.Run.train_epoch = die_in_epoch
    sys.exit(cli.run(lambda: train.main(sys.argv[2:])))
