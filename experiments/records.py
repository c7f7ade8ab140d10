"""Records: a recipe trained with many seeds, and summed up for the repository.

    python -m experiments.records default --seeds 10 [--jobs 2]   trains what is missing: results/records/default.json
    python -m experiments.records published --seeds 1             all published recipes: results/records/published.json

Runs go side by side, each with its share of the cores: a model this small does not fill two. A finished run is not
trained again, and a stopped one resumes. With --jobs 1 every run has the machine to itself, as a record of its seconds
needs.
"""

import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

import recipes
import results
from support import cli, devices, files, intervals

PUBLISHED = "published"  # stands for all recipes that are not this project's own
SAME = (
    "recipe",
    "model_repr",
    "cpu",
    "device",
    "threads",
    "processes",
    "precision",
    "torch",
)  # in all runs of a record
TRAIN = ["train.py"]


def summarize(recipe: str, folder: Path | str = results.RUNS) -> dict[str, Any]:
    """The finished runs of a recipe as one record. Raises ValueError for none, or for runs that cannot be compared."""
    runs = [
        result
        for name, result in results.all_runs(folder)
        if result["finished"] and name == results.run_dir(recipes.get_recipe(recipe), result["seed"]).name
    ]
    if not runs:
        raise ValueError(f"no finished run of recipe {recipe!r} in {folder}: make train RECIPE={recipe}")
    runs.sort(key=lambda run: run["seed"])
    facts = [{**run, **run["environment"]} for run in runs]
    for key in SAME:
        if any(fact[key] != facts[0][key] for fact in facts):
            raise ValueError(f"the runs of {recipe!r} differ in {key}: train them again with OVERWRITE=1")
    accuracies = [run["final_test_accuracy"] for run in runs]
    return {
        "recipe": runs[0]["recipe"],
        "total_parameters": runs[0]["total_parameters"],
        "total_epochs": runs[0]["total_epochs"],
        "runs": [
            {key: run[key] for key in ("seed", "final_test_accuracy", "final_test_loss", "training_time")}
            for run in runs
        ],
        "mean": statistics.mean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(runs) > 1 else None,
        "mean_ci95": intervals.mean_interval(accuracies),
        "environment": runs[0]["environment"],
    }


def start_training(flags: list[str], threads: int, processes: int = 1) -> subprocess.Popen:
    """Start train.py with these flags, in processes of so many threads each, which end with this one."""
    launcher = ["-m", "support.launch", str(processes)] if processes > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "END_WITH_PARENT": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *launcher, *TRAIN, *flags], env=environment, **pipes)


def finish_training(process: subprocess.Popen, name: str) -> str:
    """Wait for a training; returns its warnings. Raises OSError with what it said when it fails."""
    try:
        errors = process.communicate()[1].strip()
    except BaseException:
        process.terminate()
        raise
    if process.returncode:
        raise OSError(f"{name} failed: {errors or f'its process ended with status {process.returncode}'}")
    return errors


def train_all(trainings: list[tuple[str, int]], jobs: int, flags: list[str]) -> Iterator[dict[str, Any]]:
    """The results of recipes with seeds, `jobs` at a time, each as it is done. When one fails, all are stopped."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or devices.threads_each(jobs))  # the same however many runs
    running, lock, stopped = [], threading.Lock(), threading.Event()

    def stop() -> None:
        with lock:
            stopped.set()
            for process in running:
                process.terminate()

    def train(recipe: str, seed: int) -> dict[str, Any]:
        with lock:
            if stopped.is_set():
                raise OSError("stopped")
            process = start_training(["--recipe", recipe, "--seed", str(seed), *flags], threads)
            running.append(process)
        try:
            warnings = finish_training(process, f"{recipe} seed {seed}")
        except OSError:
            stop()
            raise
        if warnings:
            tqdm.write(warnings, file=sys.stderr)
        return results.read(results.run_dir(recipes.get_recipe(recipe), seed))

    with ThreadPoolExecutor(min(jobs, len(trainings))) as pool:
        try:
            futures = [pool.submit(train, *training) for training in trainings]
            for future in tqdm(as_completed(futures), "trained", len(futures), unit="run", disable=None):
                yield future.result()
        except BaseException:
            stop()
            raise


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description="Train a recipe with many seeds and sum them up.")
    parser.add_argument("recipe", help=f"its name, or {PUBLISHED} for every published one")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this - 1 (default: 3)")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: as many as fill the cores)")
    parser.add_data()
    parser.add_device()
    parser.add_argument("--epochs", type=int, help="instead of the recipe's own")
    parser.add_argument("--overwrite", action="store_true", help="train all of them again")
    arguments = parser.parse_args(argv)
    if arguments.recipe not in [*recipes.RECIPES, PUBLISHED]:
        parser.error(f"unknown recipe {arguments.recipe!r}; there are: {', '.join(recipes.RECIPES)}, {PUBLISHED}")
    jobs = devices.cpu_count() if arguments.jobs is None else arguments.jobs
    if min(arguments.seeds, jobs) < 1:
        parser.error("--seeds and --jobs must be at least 1")
    flags = ["--data", arguments.data, "--device", arguments.device, *(["--overwrite"] * arguments.overwrite)]
    flags += [] if arguments.epochs is None else ["--epochs", str(arguments.epochs)]
    if arguments.recipe != PUBLISHED and recipes.RECIPES[arguments.recipe].holdout:
        parser.error(f"{arguments.recipe} is a hold-out recipe: its runs have no test accuracy to record")
    names = recipes.PUBLISHED if arguments.recipe == PUBLISHED else [arguments.recipe]
    trainings = [(name, seed) for name in names for seed in range(arguments.seeds)]
    for result in train_all(trainings, jobs, flags):
        tqdm.write(
            f"{result['recipe']['name']} seed {result['seed']}: {result['final_test_accuracy']:.2f} %, "
            f"{result['training_time']:.1f} s of training"
        )
    records = {name: summarize(name) for name in names}
    path = results.RECORDS / f"{arguments.recipe}.json"
    files.write_json(path, records if arguments.recipe == PUBLISHED else records[arguments.recipe])
    for name, record in records.items():
        count = len(record["runs"])
        print(f"{name}: mean {record['mean']:.2f} % over {count} seed{'s' * (count > 1)}")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, cli.RESUME))
