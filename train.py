"""Training: a recipe and a seed become a run: results.json, the last five checkpoints and best_model.pt in one folder.

    python train.py --recipe default --seed 0 [--epochs N] [--device auto] [--out DIR] [--data DIR] and every field of a
    recipe as a flag

The same command started again goes on from the newest whole checkpoint, and ends with the same weights, bit for bit, as
an uninterrupted run on the same machine and number of threads: every draw of an epoch comes from generators seeded by
(seed, epoch).
"""

import argparse
import dataclasses
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import swa_utils
from tqdm import tqdm

import augmentation
import checkpoint
import cli
import data
import environment
import evaluate
import model as networks
import recipes
import results

SCHEMA = 1  # of results.json
PROGRESS_STEPS = 10  # between two looks at the loss: a look waits for the device


def epoch_seed(seed, epoch):
    """The seed of all draws of one epoch; epoch 0 draws the initial weights."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def make_optimizer(recipe, model):
    """The recipe's torch optimizer."""
    if recipe.optimizer == "adagrad":
        return torch.optim.Adagrad(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def make_schedule(recipe, optimizer, epoch_steps):
    """The recipe's torch schedule, to be stepped once a batch."""
    if recipe.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            recipe.learning_rate,
            total_steps=recipe.epochs * epoch_steps,
            pct_start=recipe.warmup,
            div_factor=recipe.start_divisor,
            final_div_factor=recipe.final_divisor,
            cycle_momentum=recipe.cycle_momentum,
        )
    drop = recipe.step_factor if recipe.schedule == "step" else 1.0
    return torch.optim.lr_scheduler.StepLR(optimizer, recipe.step_epochs * epoch_steps, drop)


class Run:
    """A run under way: the network, what updates it, and its history. Raises ValueError when the recipe does not fit
    the images."""

    def __init__(self, recipe, seed, device, training, validation, test):
        if recipe.batch_size > len(training):
            raise ValueError(
                f"batch_size must be at most {len(training):,}, the number of training images, "
                f"got {recipe.batch_size:,}"
            )
        self.recipe, self.seed, self.device = recipe, seed, device
        self.training, self.validation, self.test = training, validation, test
        self.normalisation = data.Normalisation.of(training.images)
        self.precision = environment.pick_precision(recipe.precision, device)
        self.environment = environment.describe(device, self.precision)
        torch.manual_seed(epoch_seed(seed, 0))
        self.model = networks.build(recipe.architecture).to(device, memory_format=torch.channels_last)
        self.averaged = None
        if recipe.average_decay:
            average = swa_utils.get_ema_multi_avg_fn(recipe.average_decay)
            self.averaged = swa_utils.AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.optimizer = make_optimizer(recipe, self.model)
        self.schedule = make_schedule(recipe, self.optimizer, math.ceil(len(training) / recipe.batch_size))
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.history = []

    @property
    def deployed(self):
        """The network as it is used: the averaged one, where the recipe averages."""
        return self.averaged.module if self.averaged else self.model

    @property
    def finished(self):
        return len(self.history) == self.recipe.epochs

    @property
    def best(self):
        """The history's entry of best validation accuracy; ties go to the lower validation loss, then to the later
        epoch."""
        return max(self.history, key=lambda entry: (entry["val_accuracy"], -entry["val_loss"], entry["epoch"]))

    def train_epoch(self, epoch):
        """One pass over the training images: (mean loss, accuracy in percent) over its batches. Raises
        FloatingPointError when the loss is not finite."""
        seed = epoch_seed(self.seed, epoch)
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator().manual_seed(seed)  # order and augmentation
        self.model.train()
        total_loss = torch.zeros((), device=self.device)
        correct = torch.zeros((), dtype=torch.long, device=self.device)

        def prepare(images):
            return self.normalisation(augmentation.augment(images, self.recipe, self.normalisation.mean, generator))

        batches = data.batches(self.training, self.recipe.batch_size, prepare, generator)
        with tqdm(
            total=len(self.training),
            desc=f"epoch {epoch}/{self.recipe.epochs}",
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=None,
        ) as bar:
            for step, (images, labels) in enumerate(batches):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                    logits = self.model(images)
                    loss = self.loss(logits, labels)
                if step % PROGRESS_STEPS == 0 or self.device.type == "cpu":
                    check_finite(loss, epoch)
                loss.backward()
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()
                if self.averaged and step % self.recipe.average_steps == 0:
                    self.averaged.update_parameters(self.model)
                total_loss += loss.detach() * len(labels)
                correct += (logits.detach().argmax(1) == labels).sum()
                if step % PROGRESS_STEPS == 0 and not bar.disable:
                    bar.set_postfix(loss=f"{loss.item():.3f}", rate=f"{self.rate:.4f}", refresh=False)
                bar.update(len(labels))
        check_finite(total_loss, epoch)
        return total_loss.item() / len(self.training), 100 * correct.item() / len(self.training)

    @property
    def rate(self):
        return self.optimizer.param_groups[0]["lr"]

    def advance(self):
        """Train the next epoch, evaluate it and add it to the history; returns the Evaluation on the test images."""
        epoch, rate, start = len(self.history) + 1, self.rate, time.perf_counter()
        loss, accuracy = self.train_epoch(epoch)
        seconds = time.perf_counter() - start
        validation, test = (
            evaluate.evaluate(self.deployed, images, self.normalisation) for images in (self.validation, self.test)
        )
        check_finite(torch.tensor(validation.loss + test.loss), epoch)  # the last update may have been the fatal one
        self.history.append(
            {
                "epoch": epoch,
                "lr": rate,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "val_loss": validation.loss,
                "val_accuracy": validation.accuracy,
                "test_loss": test.loss,
                "test_accuracy": test.accuracy,
                "seconds": seconds,
            }
        )
        return test

    def state(self):
        """All that the run needs to go on, as plain values and tensors."""
        return {
            "recipe": dataclasses.asdict(self.recipe),
            "network": str(self.model),
            "seed": self.seed,
            "epoch": len(self.history),
            "normalisation": dataclasses.asdict(self.normalisation),
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
        }

    def restore(self, state):
        """Go on from a state that `state` returned."""
        self.model.load_state_dict(state["model"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history = state["history"]

    def results(self, test):
        """The content of results.json after the epoch whose Evaluation on the test images is `test`."""
        summary = {
            "schema": SCHEMA,
            "finished": self.finished,
            "recipe": dataclasses.asdict(self.recipe),
            "network": str(self.model),
            "seed": self.seed,
            "total_parameters": networks.parameter_count(self.model),
            "total_epochs": self.recipe.epochs,
            "training_time": sum(entry["seconds"] for entry in self.history),
        }
        if self.finished:
            summary |= {
                "final_test_accuracy": test.accuracy,
                "final_test_accuracy_ci95": results.wilson_interval(test.accuracy, len(test.labels)),
                "final_test_loss": test.loss,
            }
        return summary | {
            "best_validation_accuracy": self.best["val_accuracy"],
            "per_class_accuracy": test.per_class_accuracy,
            "history": self.history,
            "environment": self.environment,
        }


def check_finite(loss, epoch):
    """Raises FloatingPointError when the loss is NaN or infinite: no update made with it may reach a checkpoint."""
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss.item()} in epoch {epoch}: stopped; the last checkpoint stands. "
            "Try a lower --learning-rate, with --overwrite"
        )


def epoch_line(entry, epochs):
    """An epoch's figures in one line."""
    return (
        f"epoch {entry['epoch']:>{len(str(epochs))}}/{epochs}  rate {entry['lr']:.4f}  "
        f"train loss {entry['train_loss']:.4f} {entry['train_accuracy']:.2f} %  "
        f"validation {entry['val_loss']:.4f} {entry['val_accuracy']:.0f} %  "
        f"test {entry['test_loss']:.4f} {entry['test_accuracy']:.2f} %  {entry['seconds']:.1f} s"
    )


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


def train(recipe, seed, device, folder, data_folder, overwrite):
    """Train to the end, from the newest checkpoint in the folder where there is one; returns the results. With
    `overwrite` a run in the folder is removed, but not before all is ready for the new one."""
    state = None if overwrite else checkpoint.load_newest(folder)
    images, test = data.load(data_folder, device)
    run = Run(recipe, seed, device, *data.split(images, seed), test)
    count, threads = networks.parameter_count(run.model), torch.get_num_threads()
    print(f"{recipe.name}, seed {seed}: {count:,} parameters, {device}, {threads} threads, {run.precision}", flush=True)
    if overwrite:
        shutil.rmtree(checkpoint.checkpoint_folder(folder), ignore_errors=True)
        (folder / "results.json").unlink(missing_ok=True)
    if state:
        check_same(folder, recipe, str(run.model), seed, state)
        run.restore(state)
        print(f"going on after epoch {len(run.history)} of {recipe.epochs}")
    if run.finished:  # it was stopped between its last checkpoint and its results
        results.write(folder / "results.json", run.results(evaluate.evaluate(run.deployed, test, run.normalisation)))
    while not run.finished:
        evaluation = run.advance()
        checkpoint.save(folder, run.state(), best=run.best is run.history[-1])
        results.write(folder / "results.json", run.results(evaluation))
        tqdm.write(epoch_line(run.history[-1], recipe.epochs))
        sys.stdout.flush()
    return results.read(folder)


def boolean(text):
    """The value of a yes-or-no flag."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def seed_number(text):
    """The value of --seed: any integer from 0 that torch takes."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to 2**63 - 1, got {text}")
    return value


seed_number.__name__ = "seed"  # argparse names the type in its message for a value that is no integer


def parse(argv):
    """(parser, arguments, {recipe field: value} of the flags that were given)."""
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="default", help=f"one of {', '.join(recipes.RECIPES)}")
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="seed of split, initial weights, order, augmentation and dropout"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--out", type=Path, help="the run's folder (default: results/<recipe>-seed<seed>)")
    parser.add_argument("--data", default="data", help="the folder of MNIST (default: data)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    fields = parser.add_argument_group("the recipe's fields, each in place of the recipe's own value")
    names = [field.name for field in dataclasses.fields(recipes.Recipe) if field.name != "name"]
    for field in dataclasses.fields(recipes.Recipe):
        if field.name in names:
            kind = boolean if field.type is bool else field.type
            fields.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help=field.metadata["meaning"])
    arguments = parser.parse_args(argv)
    return (
        parser,
        arguments,
        {name: value for name, value in vars(arguments).items() if name in names and value is not None},
    )


def main(argv=None):
    parser, arguments, changes = parse(argv)
    try:
        recipe = recipes.recipe(arguments.recipe, **changes)
        network = str(networks.build(recipe.architecture))
        device = environment.pick_device(arguments.device)
    except ValueError as error:
        parser.error(str(error))
    folder = arguments.out or results.RUNS / f"{recipe.name}-seed{arguments.seed}"
    found = None if arguments.overwrite else results.read(folder)
    if found and found["finished"]:
        check_same(folder, recipe, network, arguments.seed, found)
        print("this run is finished already; --overwrite (make: OVERWRITE=1) trains it again")
    else:
        torch.set_flush_denormal(True)  # denormal numbers make convolutions up to 40 times slower
        torch.backends.cudnn.deterministic = True
        found = train(recipe, arguments.seed, device, folder, arguments.data, arguments.overwrite)
    print(result_line(found, folder))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
