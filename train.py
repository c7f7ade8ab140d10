"""Training: a recipe and a seed become a run: results.json, the last five checkpoints and best_model.pt in one folder.

    python train.py --recipe default --seed 0 [--epochs N] [--device auto] [--out DIR] [--data DIR]

and every field of a recipe as a flag. The same command started again resumes from the newest whole checkpoint, and ends
with the same weights, bit for bit, as an uninterrupted run on the same machine and number of threads and processes.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import checkpoint
import data
import environment
import lr_finder
import recipes
import results
from evaluate import Evaluation, evaluate
from model import build
from support import cli, cuda_graphs, devices, files, processes
from support.progress import Meter, check_finite
from trainer import Trainer


def train(trainer: Trainer, test_images: data.Images | None, run_dir: Path, check_lock: Callable[[], None]) -> None:
    """Train to the recipe's last epoch. After each, evaluate, then save a checkpoint and results.json in `run_dir`.

    Without test images the validation images are all that is looked at. Raises FloatingPointError when the loss is not
    finite, OSError when a file cannot be written, and what `check_lock` does."""
    recipe, model, ema = trainer.recipe, trainer.model, trainer.ema
    optimizer, scheduler = trainer.optimizer, trainer.scheduler
    forward = cuda_graphs.GraphedModel(model) if recipe.cuda_graph else model

    for epoch in range(len(trainer.history) + 1, recipe.epochs + 1):
        start, lr = time.perf_counter(), trainer.lr
        meter = Meter(epoch, recipe.epochs, len(trainer.train_images), trainer.device)
        model.train()
        trainer.seed_dropout(epoch)
        for step, (images, labels, batch_size) in enumerate(trainer.batches(epoch)):  # [B, 1, H, W], [B]
            with trainer.autocast():
                logits = forward(images)  # [B, num_classes]
                loss = trainer.criterion(logits, labels) / batch_size
            loss.backward()
            loss = processes.all_reduce_gradients(model, loss)
            optimizer.found_inf = 1 - loss.isfinite().float()  # torch's fused optimizers skip the update at 1
            optimizer.step()
            optimizer.zero_grad()
            if recipe.schedule != "plateau":
                scheduler.step()
            if ema and step % recipe.ema_every == 0:
                ema.update()
            meter.update(loss, logits, labels, batch_size, trainer.lr)
        figures = {"epoch": epoch, "lr": lr, **meter.finish()}
        trainer.average_processes()
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
            if epoch == 1:
                remove_run(run_dir)  # the one that this one replaces
            checkpoint.save(run_dir, trainer.state_dict(), best=results.is_best(trainer.history, recipe.best_threshold))
            results.write(run_dir, summarize(trainer, test or validation))
            tqdm.write(results.epoch_line(trainer.history, recipe.epochs, recipe.best_threshold))
            sys.stdout.flush()


def remove_run(run_dir: Path) -> None:
    """Remove the run in a folder."""
    checkpoint.remove(run_dir)
    results.path(run_dir).unlink(missing_ok=True)


def summarize(trainer: Trainer, evaluation: Evaluation) -> dict[str, Any]:
    """The content of results.json; `evaluation` is that of the test images, in a hold-out run of those held out."""
    seconds = trainer.preparation_seconds + sum(entry["seconds"] for entry in trainer.history)
    summary = {
        "schema": results.SCHEMA,
        "finished": len(trainer.history) == trainer.recipe.epochs,
        "recipe": dataclasses.asdict(trainer.recipe),
        "model_repr": str(trainer.model),
        "classes": list(trainer.classes),
        "seed": trainer.seed,
        "total_parameters": trainer.total_parameters,
        "total_epochs": trainer.recipe.epochs,
        "preparation_seconds": trainer.preparation_seconds,
        "training_time": seconds,
        "best_validation_accuracy": results.best_epoch(trainer.history)["val_accuracy"],
        "per_class_accuracy": evaluation.per_class_accuracy,
        "history": trainer.history,
        "environment": trainer.environment,
    }
    if summary["finished"]:
        figures = evaluation.accuracy, evaluation.accuracy_ci95, evaluation.loss
        summary |= dict(zip(results.final_keys(summary), figures, strict=True))
    return summary | ({"lr_finder": trainer.lr_finder} if trainer.lr_finder else {})


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
    """Resume from a state; without one start, by a range test where asked. Raises ValueError as `check_same` does."""
    if state:
        results.check_same(run_dir, dataclasses.asdict(trainer.recipe), str(trainer.model), trainer.seed, state)
        trainer.load_state_dict(state)
        message = f"resuming after epoch {len(trainer.history)} of {trainer.recipe.epochs}"
    elif trainer.recipe.find_lr:
        lr_finder.find_lr(trainer)
        message = f"range test: training at learning rate {trainer.lr_finder['lr']:.4g}"
    else:
        return
    if processes.rank() == 0:
        print(message, flush=True)


def train_in(run_dir: Path, trainer: Trainer, test_images: data.Images | None, overwrite: bool) -> None:
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
        start_or_resume(trainer, run_dir, processes.broadcast(None if overwrite else checkpoint.load_newest(run_dir)))
        if trainer.history:
            checkpoint.rotate(run_dir, len(trainer.history))  # the last save may have been stopped before it
        if len(trainer.history) == trainer.recipe.epochs:  # stopped between its last checkpoint and its results
            images = test_images or trainer.validation_images
            results.write(run_dir, summarize(trainer, evaluate(trainer.eval_model, images, trainer.classes)))
        train(trainer, test_images, run_dir, check_lock)


def read_results(run_dir: Path) -> dict[str, Any] | None:
    """The results in a run's folder. Damaged ones are only a warning where checkpoints can write them again."""
    try:
        return results.read(run_dir)
    except ValueError as error:
        if not checkpoint.epochs(run_dir):
            raise
        cli.warn(f"{str(error).split(': ')[0]}: written again from the checkpoints")
        return None


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_device()
    parser.add_data()
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    recipes.add_flags(parser)
    arguments = parser.parse_args(argv)
    recipe, seed = recipes.from_flags(parser, arguments)
    try:
        model_repr = str(build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes)))
        device_type = devices.resolve_device(arguments.device).type
    except ValueError as error:
        parser.error(str(error))
    run_dir = arguments.out or results.run_dir(recipe, seed)
    with processes.process_group(device_type) as device:
        first = processes.rank() == 0
        result = processes.broadcast(read_results(run_dir) if first and not arguments.overwrite else None)
        if result:
            results.check_same(run_dir, dataclasses.asdict(recipe), model_repr, seed, result)
        if result and result["finished"]:
            if first:
                print("this run is finished already; --overwrite (make: OVERWRITE=1) trains it again")
        else:
            devices.prepare_for_training()
            trainer = Trainer(recipe, seed, device, data.load(recipe.dataset, arguments.data, "train", device))
            trainer.environment = environment.describe(device, trainer.precision)
            test = None if recipe.holdout else data.load(recipe.dataset, arguments.data, "test", device)
            train_in(run_dir, trainer, test, arguments.overwrite)
        if first:
            print(results.result_line(results.read(run_dir), run_dir))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, cli.RESUME))
