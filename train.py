"""Training: a recipe and a seed become a run: results.json, the last five checkpoints and best_model.pt in one folder.

    python train.py --recipe default --seed 0 [--epochs N] [--device auto] [--out DIR] [--data DIR]

and every field of a recipe as a flag. The same command started again resumes from the newest whole checkpoint, and ends
with the same weights, bit for bit, as an uninterrupted run on the same machine and number of threads and processes.
"""

import itertools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import UserError, cli, devices, files, processes
from support.progress import Meter, check_finite
from support.scalars import write_scalars

import torch
from tqdm import tqdm

import checkpoint
import data
import environment
import lr_finder
import results
import verdict
from evaluate import Evaluation, evaluate
from trainer import Trainer, identify


def train(
    trainer: Trainer,
    test_images: data.Images | None,
    on_epoch_end: Callable[[Evaluation], None],
    max_steps: int | None = None,
) -> None:
    """Train to the recipe's last epoch, or for only `max_steps` steps of the next one. After each epoch evaluate, on
    the validation images alone if there are no test images, and call `on_epoch_end` with the evaluation.

    Raises UserError when the loss is not finite, and whatever `on_epoch_end` raises."""
    recipe, last = trainer.recipe, math.ceil(trainer.recipe.epochs)
    for epoch in range(len(trainer.history) + 1, last + 1):
        start = time.perf_counter()
        meter = Meter(epoch, recipe.epochs, len(trainer.train_images), trainer.device)
        trainer.model.train()
        trainer.seed_dropout(epoch)
        for step, batch in enumerate(itertools.islice(trainer.batches(epoch), max_steps)):
            lr = trainer.lr
            loss, logits = trainer.step(batch)  # forward, backward, update
            if recipe.schedule != "plateau":
                trainer.scheduler.step()
            if trainer.ema and step % recipe.ema_every == 0:
                trainer.ema.update()
            meter.update(loss, logits, batch.labels, batch.size, lr)
        figures = {"epoch": epoch, "lr": lr, **meter.finish()}
        trainer.average_processes()
        if epoch == last:
            trainer.update_batch_norm()
        seconds = time.perf_counter() - start

        validation = evaluate(trainer.eval_model, trainer.validation_images, trainer.classes)
        test = evaluate(trainer.eval_model, test_images, trainer.classes) if test_images else None
        for name, evaluation in (("val", validation), ("test", test)):
            if evaluation:  # the last update may have broken the weights
                figures[f"{name}_loss"] = check_finite(evaluation.loss, epoch)
                figures[f"{name}_accuracy"] = evaluation.accuracy
        trainer.history.append(processes.broadcast(figures | {"seconds": seconds}))
        if recipe.schedule == "plateau":
            trainer.scheduler.step(trainer.history[-1]["val_loss"])
        on_epoch_end(test or validation)
        if max_steps:
            return


def save(trainer: Trainer, evaluation: Evaluation, run_dir: Path) -> None:
    """Save the run after an epoch and print the epoch's row. The first epoch replaces the run that was in the
    folder."""
    history, recipe = trainer.history, trainer.recipe
    if len(history) == 1:
        results.remove(run_dir)
        checkpoint.remove(run_dir)
    state = trainer.state_dict()
    checkpoint.save(run_dir, state, best=results.is_best(history, recipe.best_threshold))
    results.save(run_dir, results.summarize(state, trainer.total_parameters, evaluation))
    tqdm.write(results.epoch_row(history, recipe.epochs, recipe.best_threshold))
    sys.stdout.flush()


def headline(trainer: Trainer) -> str:
    """What is about to be trained, and where, in one line."""
    threads, world_size = torch.get_num_threads(), processes.world_size()
    place = f"{threads} thread{'s' * (threads > 1)}" + f" in each of {world_size} processes" * (world_size > 1)
    layout = ", contiguous layout: reshape() may be faster" * (trainer.memory_format is torch.contiguous_format)
    return (
        f"{trainer.recipe.name}, seed {trainer.seed}: {trainer.total_parameters:,} parameters, "
        f"{trainer.device.type}, {place}, {trainer.recipe.precision}{layout}"
    )


def start_or_resume(trainer: Trainer, run_dir: Path, state: dict[str, Any] | None) -> None:
    """Resume from a state. Without one start afresh, with a range test if the recipe asks for it. Raises UserError
    as `verdict.check_same` does."""
    if state:
        verdict.check_same(run_dir, trainer.recipe, trainer.identity, trainer.seed, state)
        trainer.load_state_dict(state)
        message = f"resuming after epoch {len(trainer.history)} of {trainer.recipe.epochs}"
    elif trainer.recipe.find_lr:
        lr_finder.find_lr(trainer)
        message = f"range test: training at learning rate {trainer.lr_finder['lr']:.4g}"
    else:
        return
    if processes.rank() == 0:
        print(message, flush=True)


def train_in(
    run_dir: Path, trainer: Trainer, test_images: data.Images | None, overwrite: bool, log: str | None
) -> None:
    """Train in a folder, from its newest checkpoint unless the run is to be overwritten: then that run is removed
    after the first epoch of the new one. Of several processes only the first reads and writes the folder, and
    prints."""
    if processes.rank() > 0:
        start_or_resume(trainer, run_dir, processes.broadcast(None))
        train(trainer, test_images, on_epoch_end=lambda evaluation: None)
        return
    print(headline(trainer), flush=True)
    with files.lock(run_dir) as check_lock:

        def on_epoch_end(evaluation: Evaluation) -> None:
            check_lock()
            save(trainer, evaluation, run_dir)
            if log:
                write_scalars(trainer.history, run_dir / log)

        checkpoint.sweep(run_dir)
        state = processes.broadcast(None if overwrite else checkpoint.load_newest(run_dir))
        if log:  # before the first epoch, as its package may be missing
            write_scalars(state["history"] if state else [], run_dir / log)
        start_or_resume(trainer, run_dir, state)
        if state:
            checkpoint.rotate(run_dir, len(trainer.history))  # the last save may have been stopped before it
        if len(trainer.history) >= trainer.recipe.epochs:  # stopped between its last checkpoint and its results
            evaluation = evaluate(trainer.eval_model, test_images or trainer.validation_images, trainer.classes)
            results.save(run_dir, results.summarize(state, trainer.total_parameters, evaluation))
        else:
            print(results.epoch_head(trainer.recipe), flush=True)
        train(trainer, test_images, on_epoch_end)


def read_results(run_dir: Path) -> results.Result | None:
    """The results in a run's folder. Damaged ones are only a warning if checkpoints can restore them."""
    try:
        return results.load(run_dir)
    except UserError as error:
        if not checkpoint.epochs(run_dir):
            raise
        cli.warn(f"{str(error).removesuffix(f': {results.REMEDY}')}: written again from the checkpoints")
        return None


def conclude(run_dir: Path, data_dir: Path) -> None:
    """Print the result and the verdict of a finished run, and what to do next."""
    result = results.load(run_dir)
    print(results.result_line(result))
    print(verdict.format_rules(verdict.judge(run_dir, data_dir)))
    print(f"{results.results_path(run_dir)}\nnext: make report RUN={run_dir}")


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_device()
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    parser.add_argument("--log", choices=("tensorboard",), help="write the history as scalars too (default: no)")
    arguments, recipe, seed, run_dir = results.parse_run(parser, argv)
    try:
        identity = identify(recipe.architecture, recipe.dataset)
        device_type = devices.resolve_device(arguments.device).type
    except UserError as error:
        parser.error(str(error))
    with processes.process_group(device_type) as device:
        first = processes.rank() == 0
        result = processes.broadcast(read_results(run_dir) if first and not arguments.overwrite else None)
        if result:
            verdict.check_same(run_dir, recipe, identity, seed, result)
        if result and result["finished"]:
            if first:
                print("this run is finished already; --overwrite (make: OVERWRITE=1) trains it again")
                if arguments.log:
                    write_scalars(result["history"], run_dir / arguments.log)
        else:
            devices.prepare(device_type, recipe.threads)
            trainer = Trainer(recipe, seed, device, data.load(recipe.dataset, arguments.data, "train", device))
            trainer.environment = environment.describe(device, recipe.precision)
            test = None if recipe.holdout else data.load(recipe.dataset, arguments.data, "test", device)
            train_in(run_dir, trainer, test, arguments.overwrite, arguments.log)
        if first:
            conclude(run_dir, arguments.data)


if __name__ == "__main__":
    cli.run(main, cli.RESUME)
