"""Training: a recipe and a seed become a run: results.json, the last five checkpoints and best_model.pt in one folder.

    python train.py --recipe default --seed 0 [--epochs N] [--device auto] [--out DIR] [--data DIR] and every field of a
    recipe as a flag

The same command started again goes on from the newest whole checkpoint, and ends with the same weights, bit for bit, as
an uninterrupted run on the same machine and number of threads and processes.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from tqdm import tqdm

import checkpoint
import cli
import data
import environment
import lock
import lr_finder
import model as networks
import parallel
import recipes
import results
import run as runs


def headline(run):
    """What is about to be trained, and where, in one line."""
    threads, processes = torch.get_num_threads(), parallel.count()
    place = f"{threads} thread{'s' if threads > 1 else ''}" + (f" in each of {processes} processes" * (processes > 1))
    return (
        f"{run.recipe.name}, seed {run.seed}: {run.parameters:,} parameters, "
        f"{run.test.labels.device.type}, {place}, {run.precision}"
    )


def epoch_line(entry, epochs):
    """An epoch's figures in one line."""
    return (
        f"epoch {entry['epoch']:>{len(str(epochs))}}/{epochs}  rate {entry['lr']:.4f}  "
        f"train loss {entry['train_loss']:.4f} {entry['train_accuracy']:.2f} %  "
        f"validation {entry['val_loss']:.4f} {entry['val_accuracy']:.0f} %  "
        f"test {entry['test_loss']:.4f} {entry['test_accuracy']:.2f} %  {entry['seconds']:.1f} s"
    )


def best_phrase(run):
    """Whether the last epoch's network is kept as the best, and why or why not."""
    *before, last = run.history
    if last["val_accuracy"] < run.recipe.best_threshold:
        return f"not kept: validation below {run.recipe.best_threshold:g} %"
    if not before:
        return "new best: the first"
    best, word = runs.best(before), "new best" if run.is_best else "not best"
    if last["val_accuracy"] != best["val_accuracy"]:
        return f"{word}: {last['val_accuracy']:.0f} {'>' if run.is_best else '<'} {best['val_accuracy']:.0f} %"
    return f"{word}: loss {last['val_loss']:.3g} {'≤' if run.is_best else '>'} {best['val_loss']:.3g}"


def result_line(found, folder):
    """A finished run's result in one line."""
    low, high = found["final_test_accuracy_ci95"]
    return (
        f"test accuracy {found['final_test_accuracy']:.2f} % (95 % interval {low:.2f} to {high:.2f}), "
        f"loss {found['final_test_loss']:.4f}, {found['total_parameters']:,} parameters, "
        f"{found['total_epochs']} epochs, {found['training_time']:.1f} s of training: {Path(folder) / 'results.json'}"
    )


def check_same(folder, wanted, network, seed, found):
    """Raises ValueError when a run or checkpoint `found` in the folder is of another recipe, network (as text) or seed,
    naming the first field that differs."""
    pairs = [
        ("seed", found["seed"], seed),
        *((name, found["recipe"].get(name), value) for name, value in dataclasses.asdict(wanted).items()),
    ]
    for name, there, asked in pairs:
        if there != asked:
            raise ValueError(
                f"{folder} holds a run with {name} {there}, asked for is {asked}: "
                "choose another folder with --out (make: OUT=), or replace the run with --overwrite (make: OVERWRITE=1)"
            )
    if found["network"] != network:
        raise ValueError(
            f"{folder} holds a run of another network: {wanted.architecture!r} has changed in model.py since. "
            "Replace the run with --overwrite (make: OVERWRITE=1)"
        )


def train(recipe, seed, device, folder, data_folder, overwrite=False):
    """Train to the end, from the newest checkpoint in the folder where there is one; returns the results. With
    `overwrite` a run in the folder is removed once the first epoch of the new one is trained. Of several processes the
    first alone reads and writes the folder, and prints."""
    images, test = data.load(data_folder, device)
    run = runs.Run(recipe, seed, device, images, test)
    if parallel.rank() > 0:
        begin(run, folder, parallel.share(None))
        while not run.finished:
            run.advance()
        return parallel.share(None)
    print(headline(run), flush=True)
    with lock.held(folder) as check_lock:
        checkpoint.sweep(folder)
        begin(run, folder, parallel.share(None if overwrite else checkpoint.load_newest(folder)))
        if run.history:
            print(f"going on after epoch {len(run.history)} of {recipe.epochs}", flush=True)
            checkpoint.rotate(folder, len(run.history))  # the last save may have been stopped before
        if run.finished:  # it was stopped between its last checkpoint and its results
            results.write(folder / "results.json", run.results(run.evaluate(test)))
        while not run.finished:
            evaluation = run.advance()
            check_lock()
            if overwrite and len(run.history) == 1:
                checkpoint.remove(folder)
                (folder / "results.json").unlink(missing_ok=True)
            checkpoint.save(folder, run.state(), best=run.is_best)
            results.write(folder / "results.json", run.results(evaluation))
            tqdm.write(f"{epoch_line(run.history[-1], recipe.epochs)}  {best_phrase(run)}")
            sys.stdout.flush()
        return parallel.share(results.read(folder))


def begin(run, folder, state):
    """Let a run go on from a state of the folder; where there is none it starts, with a range test if its recipe asks
    for one. Raises ValueError as `check_same` does."""
    if state:
        check_same(folder, run.recipe, str(run.model), run.seed, state)
        run.restore(state)
    elif run.recipe.find_rate:
        run.use(lr_finder.range_test(run))
        if parallel.rank() == 0:
            print(f"range test: trains at {run.lr_finder['rate']:.4g}", flush=True)


def read_results(folder):
    """The results in a run's folder. Damaged ones are no loss, with a warning, where there are checkpoints to write
    them from."""
    try:
        return results.read(folder)
    except ValueError as error:
        if not checkpoint.epochs(folder):
            raise
        cli.warn(f"{str(error).split(': ')[0]}: written again from the checkpoints")
        return None


def main(argv=None):
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_device()
    parser.add_data()
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    recipes.add_flags(parser)
    arguments = parser.parse_args(argv)
    try:
        recipe, seed = recipes.chosen(arguments)
        network = str(networks.build(recipe.architecture))
        kind = environment.pick_device(arguments.device).type
    except (ValueError, OSError) as error:
        parser.error(str(error))
    folder = arguments.out or results.run_folder(recipe.name, seed)
    with parallel.together(kind) as device:
        first = parallel.rank() == 0
        found = parallel.share(read_results(folder) if first and not arguments.overwrite else None)
        if found:
            check_same(folder, recipe, network, seed, found)
        if found and found["finished"]:
            if first:
                print("this run is finished already; --overwrite (make: OVERWRITE=1) trains it again")
        else:
            torch.set_flush_denormal(True)  # denormal numbers make convolutions up to 40 times slower
            torch.backends.cudnn.deterministic = True
            found = train(recipe, seed, device, folder, arguments.data, arguments.overwrite)
        if first:
            print(result_line(found, folder))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, cli.GO_ON))
