"""Records: a recipe trained with many seeds, and summed up for the repository.

    python records.py default --seeds 10 [--jobs 2]     trains what is missing, writes results/records/default.json
    python records.py published --seeds 1               every published recipe, into results/records/published.json

Runs go side by side, each with its share of the cores: a network this small does not fill two. A run that is finished
is not trained again, and one that was stopped goes on. Started with --jobs 1 every run has the machine for itself, as a
record of its seconds asks for.
"""

import json
import math
import multiprocessing
import os
import signal
import statistics
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

import cli
import recipes
import results

RECORDS = results.RUNS / "records"
PUBLISHED = "published"  # stands for all recipes that are not this project's own
STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 1 to 10 degrees of freedom
SAME = ("recipe", "network", "cpu", "device", "threads", "processes", "precision", "torch")  # in all runs of a record


def mean_interval(values):
    """[low, high]: the 95 % interval of the mean of a few runs (Student's t); None for fewer than two."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    z = results.NORMAL_95  # beyond the table: Abramowitz & Stegun 26.7.5
    beyond = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    quantile = STUDENT_95[freedom - 1] if freedom <= len(STUDENT_95) else beyond
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return [statistics.mean(values) - half, statistics.mean(values) + half]


def record(recipe, folder=results.RUNS):
    """The finished runs of a recipe as one record: figures of each seed, their mean, deviation and interval. Raises
    ValueError for none."""
    finished = [(name, run) for name, run in results.runs(folder) if run["finished"]]
    found = [run for name, run in finished if name == results.run_folder(recipe, run["seed"]).name]
    if not found:
        raise ValueError(f"no finished run of recipe {recipe!r} in {folder}: make train RECIPE={recipe}")
    found.sort(key=lambda run: run["seed"])
    facts = [{**run, **run["environment"]} for run in found]
    for key in SAME:
        if any(fact[key] != facts[0][key] for fact in facts):
            raise ValueError(f"the runs of {recipe!r} differ in {key}: train them again with OVERWRITE=1")
    accuracies = [run["final_test_accuracy"] for run in found]
    return {
        "recipe": found[0]["recipe"],
        "total_parameters": found[0]["total_parameters"],
        "total_epochs": found[0]["total_epochs"],
        "runs": [
            {key: run[key] for key in ("seed", "final_test_accuracy", "final_test_loss", "training_time")}
            for run in found
        ],
        "mean": statistics.mean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(found) > 1 else None,
        "mean_ci95": mean_interval(accuracies),
        "environment": found[0]["environment"],
    }


def read(folder=RECORDS):
    """{recipe: record} of all recipes that have one."""
    paths = (Path(folder) / f"{name}.json" for name in recipes.RECIPES)
    return {path.stem: json.loads(path.read_bytes()) for path in paths if path.exists()}


def prepare_worker(threads):
    """What a worker process does first: it says nothing but warnings, takes its share of the cores, leaves a Ctrl-C to
    the process that started it, and ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open as long as the process lives)
    sys.stderr.isatty = lambda: False  # no progress bars
    tqdm.set_lock(threading.RLock())  # its own, a semaphore, would outlast a process that is ended
    import torch  # here, for the parent process does without

    torch.set_num_threads(threads)


def end_with(parent):
    """End this process when its parent has ended, however that was."""
    parent.join()
    os._exit(1)


def train_one(recipe, seed, processes, flags):
    """The results of one run, trained in this process as train.py would, or in processes of its own."""
    import parallel
    import train

    flags = ["--recipe", recipe, "--seed", str(seed), *flags]
    if processes == 1:
        train.main(flags)
    elif parallel.main([str(processes), train.__file__, *flags]):
        raise OSError(f"{recipe} seed {seed} failed")
    return results.read(results.run_folder(recipe, seed))


def train_all(trainings, jobs, processes, flags):
    """Train recipes with seeds, (recipe, seed) each, `jobs` at a time, telling of each as it is done. Raises what a
    training raised, and ends the others then."""
    threads = max(1, (os.cpu_count() or 1) // jobs)  # not more for fewer runs: a record may grow
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(trainings)), context, prepare_worker, (threads,)) as pool:
        futures = [pool.submit(train_one, *training, processes, flags) for training in trainings]
        try:
            for future in tqdm(as_completed(futures), "trained", len(futures), unit="run", disable=None):
                found = future.result()
                tqdm.write(
                    f"{found['recipe']['name']} seed {found['seed']}: {found['final_test_accuracy']:.2f} %, "
                    f"{found['training_time']:.1f} s of training"
                )
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise OSError(f"a training's process was killed; {cli.GO_ON}") from error
            raise


def main(argv=None):
    parser = cli.Parser(description="Train a recipe with many seeds and sum them up.")
    parser.add_argument("recipe", help=f"its name, or {PUBLISHED} for every published one")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this - 1 (default: 3)")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: as many as fill the cores)")
    parser.add_argument("--processes", type=int, default=1, help="processes that share each run (default: 1)")
    parser.add_data()
    parser.add_device()
    parser.add_argument("--epochs", type=int, help="in place of the recipe's own")
    parser.add_argument("--overwrite", action="store_true", help="train all of them again")
    arguments = parser.parse_args(argv)
    if arguments.recipe not in [*recipes.RECIPES, PUBLISHED]:
        parser.error(f"unknown recipe {arguments.recipe!r}; there are: {', '.join(recipes.RECIPES)}, {PUBLISHED}")
    jobs = max(1, (os.cpu_count() or 1) // max(1, arguments.processes)) if arguments.jobs is None else arguments.jobs
    if min(arguments.seeds, jobs, arguments.processes) < 1:
        parser.error("--seeds, --jobs and --processes must be at least 1")
    if arguments.processes > 1 and jobs * arguments.processes > (os.cpu_count() or 1):
        parser.error(f"--jobs times --processes must be at most the cores, {os.cpu_count()}")
    flags = ["--data", arguments.data, "--device", arguments.device, *(["--overwrite"] * arguments.overwrite)]
    flags += [] if arguments.epochs is None else ["--epochs", str(arguments.epochs)]
    names = recipes.PUBLISHED if arguments.recipe == PUBLISHED else [arguments.recipe]
    trainings = [(name, seed) for name in names for seed in range(arguments.seeds)]
    train_all(trainings, jobs, arguments.processes, flags)
    found = {name: record(name) for name in names}
    path = RECORDS / f"{arguments.recipe}.json"
    results.write(path, found if arguments.recipe == PUBLISHED else found[arguments.recipe])
    for name, entry in found.items():
        count = len(entry["runs"])
        print(f"{name}: mean {entry['mean']:.2f} % over {count} seed{'s' * (count > 1)}")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, cli.GO_ON))
