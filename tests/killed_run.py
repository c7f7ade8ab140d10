"""A training on a folder of small data, as a process of its own.

python killed_run.py DATA, then train.py's flags; with KILLED=rank,epoch in the environment that process kills itself
"""

import os
import signal
import sys
from pathlib import Path

from support import cli, processes

import spawned

import recipes
import results
import train
from trainer import Trainer

if __name__ == "__main__":
    spawned.accept(sys.argv[1])
    results.RUNS = Path("results")  # of the folder where it was started, not of the project
    recipes.RECIPES.update(
        {name: recipes.change(recipe, {"batch_size": 100}) for name, recipe in recipes.RECIPES.items()}
    )
    rank, epoch = map(int, os.environ.get("KILLED", "0,0").split(","))
    batches = Trainer.batches

    def die_in_epoch(self, number):
        if (processes.rank(), number) == (rank, epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(self, number)

    Trainer.batches = die_in_epoch
    sys.exit(cli.run(lambda: train.main(sys.argv[2:]), cli.RESUME))
