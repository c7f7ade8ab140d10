"""A training on a folder of small data, as a process of its own.

python killed_run.py DATA, then train.py's flags; with KILLED=rank,epoch in the environment that process kills itself at
the end of that epoch
"""

import os
import sys
from pathlib import Path

from support import cli

import spawned

import recipes
import results
import train

if __name__ == "__main__":
    spawned.accept(sys.argv[1])
    results.RUNS = Path("results")  # of the folder where it was started, not of the project
    recipes.RECIPES.update(
        {name: recipes.change(recipe, {"batch_size": 100}) for name, recipe in recipes.RECIPES.items()}
    )
    rank, epoch = os.environ.get("KILLED", "0,0").split(",")
    if rank == os.environ.get("RANK", "0"):
        spawned.Before(spawned.END_OF_EPOCH, spawned.kill, int(epoch))()
    cli.run(lambda: train.main(sys.argv[2:]), cli.RESUME)
