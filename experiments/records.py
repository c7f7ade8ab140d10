"""Records: a recipe trained with many seeds, and summed up for the repository.

    python -m experiments.records default --seeds 10 [--jobs 2]   trains what is missing: results/records/default.json
    python -m experiments.records published --seeds 1             all published recipes: results/records/published.json

Runs go side by side, each with its share of the cores: a model this small does not fill two. A finished run is not
trained again, and a stopped one resumes. With --jobs 1 every run has the machine to itself, as a record of its seconds
needs.
"""

import importlib.metadata
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from support import UserError, cli, files, intervals, processor

from tqdm import tqdm

import recipes
import results
from recipes import Recipe, run_name

PUBLISHED = "published"  # stands for all recipes that are not this project's own
SAME = ("recipe", "model", "cpu", "device", "threads", "processes", "precision", "torch")  # in all runs of a record
TRAIN = [str(cli.project_path("train.py"))]


def finished_runs(recipe: Recipe, folder: Path | str = results.RUNS) -> list[results.Result]:
    """The finished runs of a recipe in a folder, by their seeds."""
    found = [result for name, result in results.all_runs(folder) if name == run_name(recipe, result["seed"])]
    return sorted((result for result in found if result["finished"]), key=lambda run: run["seed"])


def facts(run: results.Result) -> dict[str, Any]:
    """What has to be the same in all runs of a record."""
    known = {**run, **run["environment"], "model": (run["identity"]["layers"], run["identity"]["calls"])}
    return {key: known[key] for key in SAME}


def summarize(recipe: Recipe, folder: Path | str = results.RUNS) -> dict[str, Any]:
    """The finished runs of a recipe as one record. Raises UserError for none, or for runs that cannot be compared."""
    runs = finished_runs(recipe, folder)
    if not runs:
        raise UserError(f"no finished run of recipe {recipe.name!r} in {folder}: make train RECIPE={recipe.name}")
    for key in SAME:
        if any(facts(run)[key] != facts(runs[0])[key] for run in runs):
            raise UserError(f"the runs of {recipe.name!r} differ in {key}: train them again with OVERWRITE=1")
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


def check_earlier(recipe: Recipe, seeds: int, threads: int) -> None:
    """Raise UserError when runs of a recipe that are finished, and so not trained again, could not be summed up with
    those to be trained now, by so many threads each."""
    earlier, now = finished_runs(recipe), {"threads": threads, "torch": importlib.metadata.version("torch")}
    if earlier and {run["seed"] for run in earlier} < set(range(seeds)):
        for key, value in now.items():
            other = facts(earlier[0])[key]
            if other.split("+")[0] != value.split("+")[0] if key == "torch" else other != value:
                raise UserError(
                    f"a run of {recipe.name!r} was trained with {key} {other}, those to come would be with {value}: "
                    f"{f'JOBS=1, or THREADS={other}, or ' * (key == 'threads')}train all again, OVERWRITE=1"
                )


def start_training(flags: list[str], threads: int, processes: int = 1) -> subprocess.Popen:
    """Start train.py with these flags, in processes of so many threads each, which end with this one."""
    launcher = ["-m", "support.launch", str(processes)] if processes > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "END_WITH_PARENT": str(os.getpid())}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *launcher, *TRAIN, *flags], env=environment, **pipes)


def finish_training(process: subprocess.Popen, name: str) -> str:
    """Wait for a training; returns its warnings. Raises UserError with what it said when it fails."""
    try:
        errors = process.communicate()[1].strip()
    except BaseException:
        process.terminate()
        raise
    if process.returncode:
        raise UserError(f"{name} failed: {errors or f'its process ended with status {process.returncode}'}")
    return errors


def train_all(
    trainings: list[tuple[Recipe, int]], jobs: int, threads: int, flags: list[str], folder: Path = results.RUNS
) -> Iterator[results.Result]:
    """The results of recipes, changed or not, with seeds, `jobs` at a time with so many threads each, as they are done.
    Each is trained into a run of the folder. When one fails, all are stopped."""
    running, lock, stopped = [], threading.Lock(), threading.Event()

    def stop() -> None:
        with lock:
            stopped.set()
            for process in running:
                process.terminate()

    def train(recipe: Recipe, seed: int) -> results.Result:
        run_dir = folder / run_name(recipe, seed)
        changes = [f"--{name.replace('_', '-')}={value}" for name, value in recipes.differences(recipe).items()]
        place = ["--seed", str(seed), "--out", str(run_dir)]
        with lock:
            if stopped.is_set():
                raise UserError("stopped")
            process = start_training(["--recipe", recipe.name, *changes, *place, *flags], threads)
            running.append(process)
        try:
            warnings = finish_training(process, f"{recipe.name} seed {seed}")
        except UserError:
            stop()
            raise
        if warnings:
            tqdm.write(warnings, file=sys.stderr)
        return results.read(run_dir)

    with ThreadPoolExecutor(min(jobs, len(trainings))) as pool:
        try:
            futures = [pool.submit(train, *training) for training in trainings]
            for future in tqdm(as_completed(futures), "trained", len(futures), unit="run", disable=None):
                yield future.result()
        except BaseException:
            stop()
            raise


def jobs_at_once(wanted: int = 0) -> int:
    """How many trainings fill the cores, of one thread each or as many as are wanted."""
    return max(1, processor.cores() // processor.threads(processor.cores(), wanted))


def record_path(name: str, record: dict[str, Any], is_own: bool) -> Path:
    """Where a record is written: among the committed ones, unless its recipe was changed or it would replace one of
    more seeds; then beside the runs."""
    path = results.RECORDS / f"{name}.json"
    earlier = files.read_json(path, "remove it") if path.exists() else {}
    fewer = len(record.get("runs", [])) < len(earlier.get("runs", []))
    if fewer:
        print(f"{path} has more seeds, {len(earlier['runs'])}, and is kept")
    return path if is_own and not fewer else results.RUNS / path.name


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("recipe", help=f"its name, or {PUBLISHED} for every published one")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this - 1 (default: 3)")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: as many as fill the cores)")
    parser.add_data()
    parser.add_device()
    parser.add_argument("--epochs", type=recipes.number, help="instead of the recipe's own")
    parser.add_argument("--overwrite", action="store_true", help="train all of them again")
    arguments = parser.parse_args(argv)
    if arguments.recipe not in [*recipes.RECIPES, PUBLISHED]:
        parser.error(f"unknown recipe {arguments.recipe!r}; there are: {', '.join(recipes.RECIPES)}, {PUBLISHED}")
    if arguments.seeds < 1 or (arguments.jobs is not None and arguments.jobs < 1):
        parser.error("--seeds and --jobs must be at least 1")
    names = recipes.PUBLISHED if arguments.recipe == PUBLISHED else [arguments.recipe]
    changes = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    try:
        chosen = [recipes.get_recipe(name, **changes) for name in names]
    except UserError as error:
        parser.error(str(error))
    if chosen[0].holdout:
        parser.error(f"{arguments.recipe} is a hold-out recipe: its runs have no test accuracy to record")
    flags = ["--data", str(arguments.data), "--device", arguments.device, *(["--overwrite"] * arguments.overwrite)]
    jobs = arguments.jobs or jobs_at_once(chosen[0].threads)
    threads = processor.threads(jobs, chosen[0].threads)
    with files.told(results.RECORDS, "could not be used"):
        files.make_dir(results.RECORDS)
    if not arguments.overwrite:
        for recipe in chosen:
            check_earlier(recipe, arguments.seeds, threads)
    trainings = [(recipe, seed) for recipe in chosen for seed in range(arguments.seeds)]
    for result in train_all(trainings, jobs, threads, flags):
        tqdm.write(
            f"{result['recipe']['name']} seed {result['seed']}: {result['final_test_accuracy']:.2f} %, "
            f"{result['training_time']:.1f} s of training"
        )
    records = {recipe.name: summarize(recipe) for recipe in chosen}
    for name, record in records.items():
        count = len(record["runs"])
        print(f"{name}: mean {record['mean']:.2f} % over {count} seed{'s' * (count > 1)}")
    content = records if arguments.recipe == PUBLISHED else records[arguments.recipe]
    name = arguments.recipe if arguments.recipe == PUBLISHED else run_name(chosen[0], 0).removesuffix("-seed0")
    path = record_path(name, content, is_own=not any(map(recipes.differences, chosen)))
    files.write_json(path, content)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, cli.RESUME))
