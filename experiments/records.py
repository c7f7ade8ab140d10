"""Records: a recipe trained with many seeds, and summed up for the repository.

    python -m experiments.records default --seeds 10 [--jobs 2]   trains what is missing: results/records/default.json,
                                                                  default.safetensors, the weights of every seed,
                                                                  and default.onnx, the network of the first one
    python -m experiments.records published --seeds 1             all published recipes: results/records/published.json

Runs go side by side, each with its share of the cores: a model this small does not fill two. A finished run is not
trained again, and a stopped one resumes. With --jobs 1 every run has the machine to itself, as a record of its seconds
needs.
"""

import argparse
import contextlib
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files, intervals, settings

from tqdm import tqdm

import checkpoint
import environment
import recipes
import results
from deployment import network
from experiments import calibration
from experiments.weights import write_weights
from recipes import Recipe
from results import run_name

PUBLISHED = "published"  # stands for all recipes that are not this project's own
MACHINE = ("cpu", "capability", "torch", "threads")
SAME = ("recipe", "model", *MACHINE, "commit", "device", "processes", "precision")  # in all runs of a record
TRAIN = [str(cli.project_path("train.py"))]
COMMIT_FIRST = "commit or stash the changes, or give python -m experiments.records (or benchmark) --dirty"


def finished_runs(recipe: Recipe, seeds: Collection[int]) -> list[results.Result]:
    """The finished runs of a recipe with these seeds, in their order."""
    runs = [run for name, run in results.all_runs(results.RUNS) if name == run_name(recipe, run["seed"])]
    return sorted((run for run in runs if run["finished"] and run["seed"] in seeds), key=lambda run: run["seed"])


def refuse_different(name: str, runs: list[results.Result]) -> None:
    """Raise UserError when a recipe's runs differ in what has to be the same; older ones have no capability."""
    facts = [run | run["environment"] | {"model": run["identity"] | {"logits": None}} for run in runs]
    for key in SAME:
        values = {str(fact[key]): None for fact in facts if key in fact}
        if len(values) > 1:
            what = f"{key}, {' and '.join(values)}" if key in MACHINE else key
            remedy = f"JOBS=1, or THREADS={next(iter(values))}, or " if key == "threads" else ""
            raise UserError(f"the runs of {name!r} differ in {what}: {remedy}train all again, OVERWRITE=1")


def refuse_uncommitted(commit: str, remedy: str = COMMIT_FIRST) -> None:
    """Raise UserError for a commit, as `environment.commit` gives it, whose code has been changed."""
    if commit.endswith("-dirty"):
        raise UserError(f"a record must be of committed code, this is of {commit[:7]} with changes: {remedy}")


def mean_figures(accuracies: list[float]) -> dict[str, Any]:
    """What the accuracies of a record's runs come to; deviation and interval are None for a single one."""
    return {
        "mean": statistics.mean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "mean_ci95": intervals.mean_interval(accuracies),
    }


def summarize(recipe: Recipe, seeds: Collection[int]) -> dict[str, Any]:
    """The finished runs of a recipe with these seeds, one at least, as one record. Raises UserError for runs that
    cannot be compared."""
    runs = finished_runs(recipe, seeds)
    refuse_different(recipe.name, runs)
    accuracies, figures = [run["final_test_accuracy"] for run in runs], ("final_test_accuracy", "final_test_loss")
    return {
        **{key: runs[0][key] for key in ("recipe", "total_parameters", "total_epochs")},
        "runs": [{key: run[key] for key in ("seed", *figures, "training_time")} for run in runs],
        **mean_figures(accuracies),
        **environment.origin(runs[0]["environment"]["commit"]),
        "environment": runs[0]["environment"],
    }


class Training(subprocess.Popen):
    """train.py with these flags, in so many processes of so many threads each, which end with the context, and with
    this process."""

    def __init__(self, name: str, flags: list[str], threads: int, processes: int = 1, **variables: str):
        self.name, self.output = name, tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        launcher = ["-m", "support.launch", str(processes)] if processes > 1 else []
        variables |= {"OMP_NUM_THREADS": str(threads), "END_WITH_PARENT": str(os.getpid())}
        command = [sys.executable, *launcher, *TRAIN, *flags]
        super().__init__(command, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=self.output)

    def __exit__(self, *error: object) -> None:
        self.terminate()
        super().__exit__(*error)
        self.output.close()

    def warnings(self) -> str:
        """What it said, once it has ended. Raises UserError with that when it failed."""
        self.output.seek(0)
        said = self.output.read().decode(errors="replace").strip()
        if self.returncode:
            raise UserError(f"{self.name} failed: {said or f'its process ended with status {self.returncode}'}")
        return said


def train_all(
    trainings: list[tuple[Recipe, int]], jobs: int, threads: int, flags: list[str], folder: Path = results.RUNS
) -> Iterator[results.Result]:
    """The results of recipes, changed or not, with seeds, `jobs` at a time with so many threads each, as they are done.
    Each is trained into a run of the folder. When one fails, all are stopped."""
    waiting, running = list(trainings), {}
    with contextlib.ExitStack() as stack, tqdm(desc="trained", total=len(waiting), unit="run", disable=None) as bar:
        while waiting or running:
            while waiting and len(running) < jobs:
                recipe, seed = waiting.pop(0)
                run_dir = folder / run_name(recipe, seed)
                changes = [f"--{key.replace('_', '-')}={value}" for key, value in recipes.differences(recipe).items()]
                place = ["--recipe", recipe.name, "--seed", str(seed), "--out", str(run_dir)]
                training = Training(f"{recipe.name} seed {seed}", [*place, *changes, *flags], threads)
                running[stack.enter_context(training)] = run_dir
            for training in [training for training in running if training.poll() is not None]:
                if warnings := training.warnings():
                    tqdm.write(warnings, file=sys.stderr)
                bar.update()
                yield results.load(running.pop(training))
            time.sleep(0.05)


def count(text: str) -> int:
    """The value of a flag that counts things, of which there must be one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, got {text!r}")
    return int(text)


def place(arguments: argparse.Namespace, wanted: int) -> dict[str, Any]:
    """What `train_all` takes of a script's --jobs, --data and --device, for a recipe that may want so many threads."""
    jobs = arguments.jobs or max(1, devices.cores() // devices.threads(devices.cores(), wanted))
    flags = ["--data", str(arguments.data), "--device", arguments.device]
    return {"jobs": jobs, "threads": devices.threads(jobs, wanted), "flags": flags}


def record_path(name: str, record: dict[str, Any], is_own: bool) -> Path:
    """Where a record is written: among the committed ones, unless its recipe was changed or it would replace one of
    more seeds; then beside the runs."""
    path = results.RECORDS / f"{name}.json"
    earlier = files.read_json(path, "remove it") if path.exists() else {}
    fewer = len(record.get("runs", [])) < len(earlier.get("runs", []))
    if fewer:
        print(f"{path} has more seeds, {len(earlier['runs'])}, and is kept")
    return path if is_own and not fewer else results.RUNS / path.name


def calibrate(record: dict[str, Any], recipe: Recipe, shares: dict[str, Any], data_dir: Path) -> None:
    """Complete the record of a recipe with its calibration, by a hold-out run of the first seed, which is trained where
    it is missing, and with what that makes of each run."""
    held_out = dataclasses.replace(recipe, holdout=True, validation_images=10_000)
    for run in train_all([(held_out, 0)], **shares):
        print(f"{recipe.name}, held out: {run['final_validation_accuracy']:.2f} %")
    fitted = calibration.fit(*calibration.evaluated(results.RUNS / run_name(held_out, 0), data_dir))
    record["calibration"] = fitted
    for run in record["runs"]:
        run |= calibration.measure(results.RUNS / run_name(recipe, run["seed"]), data_dir, fitted)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    names = [*recipes.RECIPES, PUBLISHED]
    parser.add_argument("recipe", choices=names, metavar="recipe", help=f"its name, or {PUBLISHED} for all of those")
    parser.add_argument("--seeds", type=count, default=3, help="seeds 0 to this - 1 (default: 3)")
    parser.add_argument("--jobs", type=count, help="runs at a time (default: as many as fill the cores)")
    parser.add_data()
    parser.add_device()
    parser.add_argument("--epochs", type=settings.number, help="instead of the recipe's own")
    parser.add_argument("--overwrite", action="store_true", help="train all of them again")
    parser.add_argument("--dirty", action="store_true", help="even of code that has changed since its commit")
    arguments = parser.parse_args(argv)
    changes = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    names = recipes.PUBLISHED if arguments.recipe == PUBLISHED else [arguments.recipe]
    try:
        chosen = {name: recipes.get_recipe(name, **changes) for name in names}
    except UserError as error:
        parser.error(str(error))
    recipe = chosen[names[0]]
    if recipe.holdout:
        parser.error(f"{recipe.name} is a hold-out recipe: its runs have no test accuracy to record")
    is_own, seeds = not any(map(recipes.differences, chosen.values())), range(arguments.seeds)
    if is_own and not arguments.dirty:
        refuse_uncommitted(environment.commit())
        for each in [] if arguments.overwrite else chosen.values():
            for run in finished_runs(each, seeds):
                refuse_uncommitted(run["environment"]["commit"], "train all again, OVERWRITE=1")
    with files.told(results.RECORDS, "could not be used"):
        results.RECORDS.mkdir(parents=True, exist_ok=True)
    shares, records, trained = place(arguments, recipe.threads), {}, {name: [] for name in names}
    shares["flags"] += ["--overwrite"] * arguments.overwrite
    for run in train_all([(recipe, seed) for recipe in chosen.values() for seed in seeds], **shares):
        name, accuracy, seconds = run["recipe"]["name"], run["final_test_accuracy"], run["training_time"]
        tqdm.write(f"{name} seed {run['seed']}: {accuracy:.2f} %, {seconds:.1f} s of training")
        trained[name].append(run["seed"])
        # At once: where its runs differ, no more are trained.
        records[name] = summarize(chosen[name], trained[name] if arguments.overwrite else seeds)
    for name in chosen:
        print(f"{name}: mean {records[name]['mean']:.2f} % (n = {len(records[name]['runs'])})")
    name, record = run_name(recipe, 0).removesuffix("-seed0"), records[names[0]]
    if arguments.recipe == PUBLISHED:
        name, record = PUBLISHED, {name: records[name] for name in chosen}
    path = record_path(name, record, is_own)
    if path.parent == results.RECORDS and name != PUBLISHED:
        calibrate(record, recipe, shares, arguments.data)
    files.write_json(path, record)
    print(path)
    if "calibration" in record:
        runs = [results.RUNS / run_name(recipe, run["seed"]) for run in record["runs"]]
        write_weights(path.with_suffix(".safetensors"), record, [checkpoint.load_model(run) for run in runs])
        shutil.copyfile(network.export(runs[0]), path.with_suffix(".onnx"))


if __name__ == "__main__":
    cli.run(main, cli.RESUME)
