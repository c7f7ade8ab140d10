"""Training: a recipe and a seed become a run: results.json, the last five checkpoints and best_model.pt in one folder.

    python train.py --recipe default --seed 0 [--epochs N] [--device auto] [--out DIR] [--data DIR]

and every field of a recipe as a flag. The same command started again resumes from the newest whole checkpoint, and ends
with the same weights, bit for bit, as an uninterrupted run on the same machine and number of threads and processes.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import UserError, cli, cuda_graphs, devices, files, processes
from support.progress import Meter, check_finite
from support.scalars import ScalarLog

import torch
from tqdm import tqdm

import checkpoint
import data
import environment
import lr_finder
import results
import verdict
from evaluate import Evaluation, evaluate, summarize
from trainer import Trainer, check_same, identify


def train(trainer: Trainer, test_images: data.Images | None, run_dir: Path, check_lock: Callable[[], None]) -> None:
    """Train to the recipe's last epoch. After each, evaluate, then save a checkpoint and results.json in `run_dir`.

    Without test images the validation images are all that is looked at. Raises UserError when the loss is not finite, a
    file cannot be written, or `check_lock` does."""
    recipe, model, ema = trainer.recipe, trainer.model, trainer.ema
    optimizer, scheduler = trainer.optimizer, trainer.scheduler
    forward = cuda_graphs.GraphedModel(model) if recipe.cuda_graph else model

    for epoch in range(len(trainer.history) + 1, math.ceil(recipe.epochs) + 1):
        start = time.perf_counter()
        meter = Meter(epoch, recipe.epochs, len(trainer.train_images), trainer.device)
        model.train()
        trainer.seed_dropout(epoch)
        for step, (images, labels, index, batch_size) in enumerate(trainer.batches(epoch)):  # [B, 1, H, W], [B], [B]
            with trainer.autocast():
                logits = forward(images)  # [B, num_classes]
                losses = trainer.criterion(logits, labels)  # [B]
                loss = losses.sum() / batch_size
            loss.backward()
            trainer.selection.note(index, losses)
            loss = processes.all_reduce_gradients(model, loss)
            optimizer.found_inf = 1 - loss.isfinite().float()  # torch's fused optimizers skip the update at 1
            lr = trainer.lr
            optimizer.step()
            optimizer.zero_grad()
            if recipe.schedule != "plateau":
                scheduler.step()
            if ema and step % recipe.ema_every == 0:
                ema.update()
            meter.update(loss, logits, labels, batch_size, lr)
        figures = {"epoch": epoch, "lr": lr, **meter.finish()}
        trainer.average_processes()
        if epoch == math.ceil(recipe.epochs):
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
            scheduler.step(trainer.history[-1]["val_loss"])
        if processes.rank() == 0:
            check_lock()
            save(trainer, test or validation, run_dir)


def save(trainer: Trainer, evaluation: Evaluation, run_dir: Path) -> None:
    """Save what the last epoch came to, and print its row. The first epoch of a run replaces the run that was there."""
    history, recipe = trainer.history, trainer.recipe
    if len(history) == 1:
        checkpoint.remove(run_dir)
        results.remove(run_dir)
    state = trainer.state_dict()
    checkpoint.save(run_dir, state, best=results.is_best(history, recipe.best_threshold))
    results.write(run_dir, summarize(state, trainer.total_parameters, evaluation))
    if trainer.scalars:
        trainer.scalars.write(history)
    tqdm.write(results.epoch_row(history, recipe.epochs, recipe.best_threshold))
    sys.stdout.flush()


def headline(trainer: Trainer) -> str:
    """What is about to be trained, and where, in one line."""
    threads, world_size = torch.get_num_threads(), processes.world_size()
    place = f"{threads} thread{'s' * (threads > 1)}" + f" in each of {world_size} processes" * (world_size > 1)
    holdout = f", {trainer.recipe.validation_images:,} images held out" if trainer.recipe.holdout else ""
    return (
        f"{trainer.recipe.name}, seed {trainer.seed}: {trainer.total_parameters:,} parameters, "
        f"{trainer.device.type}, {place}, {trainer.precision}{holdout}"
    )


def start_or_resume(trainer: Trainer, run_dir: Path, state: dict[str, Any] | None) -> None:
    """Resume from a state; without one start, by a range test where asked. Raises UserError as `check_same` does."""
    if state:
        check_same(run_dir, trainer.recipe, trainer.identity, trainer.seed, state)
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
    run_dir: Path, trainer: Trainer, test_images: data.Images | None, overwrite: bool, log: str | None = None
) -> None:
    """Train from the newest checkpoint in a folder where there is one, unless it is to be overwritten: then the run in
    it is removed once the first epoch of the new one is trained. Of several processes the first alone reads and writes
    the folder, and prints."""
    if processes.rank() > 0:
        start_or_resume(trainer, run_dir, processes.broadcast(None))
        train(trainer, test_images, run_dir, lambda: None)
        return
    print(headline(trainer), flush=True)
    with files.lock(run_dir) as check_lock:
        checkpoint.sweep(run_dir)
        trainer.scalars = ScalarLog(run_dir / log) if log else None
        state = processes.broadcast(None if overwrite else checkpoint.load_newest(run_dir))
        start_or_resume(trainer, run_dir, state)
        if state:
            checkpoint.rotate(run_dir, len(trainer.history))  # the last save may have been stopped before it
        if len(trainer.history) >= trainer.recipe.epochs:  # stopped between its last checkpoint and its results
            evaluation = evaluate(trainer.eval_model, test_images or trainer.validation_images, trainer.classes)
            results.write(run_dir, summarize(state, trainer.total_parameters, evaluation))
        else:
            print(results.epoch_head(trainer.recipe.holdout), flush=True)
        train(trainer, test_images, run_dir, check_lock)


def read_results(run_dir: Path) -> results.Result | None:
    """The results in a run's folder. Damaged ones are only a warning where checkpoints can write them again."""
    try:
        return results.read(run_dir)
    except UserError as error:
        if not checkpoint.epochs(run_dir):
            raise
        cli.warn(f"{str(error).removesuffix(f': {results.REMEDY}')}: written again from the checkpoints")
        return None


def conclude(run_dir: Path, data_dir: Path) -> None:
    """Print what a finished run came to, and what can be done with it."""
    result = results.read(run_dir)
    print(results.result_line(result))
    print(verdict.format_rules(verdict.check(run_dir, data_dir)))
    print(f"{results.path(run_dir)}\nnext: make report RUN={run_dir}")


def main(argv: list[str] | None = None) -> int:
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
            check_same(run_dir, recipe, identity, seed, result)
        if result and result["finished"]:
            if first:
                print("this run is finished already; --overwrite (make: OVERWRITE=1) trains it again")
        else:
            devices.prepare(recipe.threads)
            trainer = Trainer(recipe, seed, device, data.load(recipe.dataset, arguments.data, "train", device))
            trainer.environment = environment.describe(device, trainer.precision)
            test = None if recipe.holdout else data.load(recipe.dataset, arguments.data, "test", device)
            train_in(run_dir, trainer, test, arguments.overwrite, arguments.log)
        if first:
            conclude(run_dir, arguments.data)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, cli.RESUME))
