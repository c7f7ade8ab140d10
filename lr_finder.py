"""The learning-rate finder: an exponential range test on the training path itself (Smith 2017, "Cyclical Learning Rates
for Training Neural Networks").

    python lr_finder.py --recipe default --seed 0 [--data data] [--out DIR] and every field of a recipe as a flag

From step to step the rate rises, on the recipe's own batches, augmentation, precision and momentum, until the loss
diverges; the network and its optimizer are then put back. Writes lr_finder.json and lr_finder.png.
"""

import argparse
import dataclasses
import itertools
import math
import sys
import time

import numpy as np
import torch

import cli
import data
import environment
import recipes
import results
import run as runs
import step

MEMORY = 10  # steps that the moving average of the loss looks back, at least,
MEMORY_SHARE = 0.05  # and as a share of the test: the finer its steps, the less one of them says
DIVERGED = 3.0  # times the lowest smoothed loss, where the test stops


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What a range test saw: the rates in their order, the loss at each, the same smoothed over `memory` steps, and the
    seconds it took."""

    rates: list
    losses: list
    smoothed: list
    memory: float
    seconds: float

    @property
    def suggestions(self):
        """{rule: rate}. steepest: where the smoothed loss falls fastest, over the logarithm of the rate, once it is
        smoothed at all; valley: the middle of the longest fall, much as in fastai; minimum_over_10: a tenth of the rate
        of the lowest loss. Raises ValueError when the loss never fell."""
        lowest = int(np.argmin(self.smoothed))
        if lowest < 2:
            raise ValueError(
                f"the loss never fell between the rates {self.rates[0]:.3g} and {self.rates[-1]:.3g}: "
                "the range test needs a lower finder_start"
            )
        slopes = np.gradient(self.smoothed[: lowest + 1], np.log(self.rates[: lowest + 1]))
        first = min(round(self.memory), lowest // 2)
        return {
            "steepest": self.rates[first + int(np.argmin(slopes[first:]))],
            "valley": self.rates[valley(self.smoothed)],
            "minimum_over_10": self.rates[lowest] / 10,
        }

    @property
    def rate(self):
        """The suggestion to train at: the steepest."""
        return self.suggestions["steepest"]

    def summary(self):
        """The suggestion and where it comes from, for results.json."""
        return {"rate": self.rate, "suggestions": self.suggestions, "steps": len(self.rates), "seconds": self.seconds}


def valley(losses):
    """The index in the middle third of the longest decreasing subsequence of the losses."""
    lengths = [1] * len(losses)
    for index, loss in enumerate(losses):
        lengths[index] += max((lengths[before] for before in range(index) if losses[before] > loss), default=0)
    end = int(np.argmax(lengths))
    start = max(0, end - lengths[end])
    return start + (end - start) // 2


def range_test(run):
    """A RangeTest of a Run, from its recipe's finder_start to finder_end, or to where the loss diverges."""
    start, recipe, rate = time.perf_counter(), run.recipe, run.rate
    memory = max(MEMORY, MEMORY_SHARE * recipe.finder_steps)
    decay = 1 - 1 / memory
    states = run.optimizer.state.values()
    values = [*run.model.state_dict().values(), *(value for state in states for value in state.values())]
    values = [value for value in values if torch.is_tensor(value)]
    before = [value.clone() for value in values]
    cycled = [group for group in run.optimizer.param_groups if "base_momentum" in group]
    momenta = [group["momentum"] for group in cycled]
    for group in cycled:
        group["momentum"] = group["base_momentum"]  # what it is at the peak, the rate that is looked for
    torch.manual_seed(runs.epoch_seed(run.seed, 0))
    run.model.train()
    batches = itertools.chain.from_iterable(run.batches(epoch) for epoch in itertools.count(1))
    rates, losses, smoothed, average = [], [], [], 0.0
    try:
        for trial in np.geomspace(recipe.finder_start, recipe.finder_end, recipe.finder_steps).tolist():
            step.set_rate(run.optimizer, trial)
            loss = trial_loss(run, *next(batches))
            if not math.isfinite(loss):
                break
            average = decay * average + (1 - decay) * loss
            rates.append(trial)
            losses.append(loss)
            smoothed.append(average / (1 - decay ** len(rates)))  # without the bias of its start
            if smoothed[-1] > DIVERGED * min(smoothed):
                break
    finally:
        for value, kept in zip(values, before, strict=True):
            value.copy_(kept)
        step.set_rate(run.optimizer, rate)
        for group, momentum in zip(cycled, momenta, strict=True):
            group["momentum"] = momentum
    return RangeTest(rates, losses, smoothed, memory, time.perf_counter() - start)


def trial_loss(run, images, labels, count):
    """The loss of a batch, on which the run makes an update."""
    run.step.start_epoch()
    run.step(images, labels, count)
    return run.step.total_loss.item() / count


def main(argv=None):
    parser = cli.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_device()
    parser.add_data()
    recipes.add_flags(parser)
    arguments = parser.parse_args(argv)
    try:
        recipe, seed = recipes.chosen(arguments)
        device = environment.pick_device(arguments.device)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    torch.set_flush_denormal(True)  # as train.py does
    run = runs.Run(recipe, seed, device, *data.load(arguments.data, device))
    found = range_test(run)
    folder = arguments.out or results.run_folder(recipe.name, seed)
    content = dataclasses.asdict(recipe), dataclasses.asdict(found), found.summary(), run.environment
    record = dict(zip(("recipe", "curve", "found", "environment"), content, strict=True)) | {"seed": seed}
    results.write(folder / "lr_finder.json", record)
    import pictures  # matplotlib takes a second to import

    pictures.save(folder / "lr_finder.png", pictures.range_test, found)
    for rule, rate in found.suggestions.items():
        print(f"{rule:16}{rate:.4g}{'   make train LR=auto trains at this one' if rate == found.rate else ''}")
    print(f"{len(found.rates)} steps, {found.seconds:.1f} s: {folder / 'lr_finder.json'}, {folder / 'lr_finder.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
