"""A range test of the learning rate, for people.

    python -m reporting.find_lr --recipe default --seed 0 [--data data] [--out DIR]

and every field of a recipe as a flag; prints what it suggests, and writes lr_finder.json and lr_finder.png.
"""

import dataclasses

from support import cli, devices, files

import data
import environment
import results
from lr_finder import range_test
from reporting import plots
from trainer import Trainer


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_device()
    arguments, recipe, seed, run_dir = results.parse_run(parser, argv)
    device = devices.prepare(arguments.device, recipe.threads)
    trainer = Trainer(recipe, seed, device, data.load(recipe.dataset, arguments.data, "train", device))
    test = range_test(trainer)
    path = run_dir / "lr_finder.json"
    rates = test.suggestions | ({} if recipe.find_lr else {"recipe's own": recipe.learning_rate})
    curve, place = dataclasses.asdict(test), environment.describe(device, recipe.precision)
    record = {"recipe": dataclasses.asdict(recipe), "seed": seed, "curve": curve}
    files.write_json(path, record | {"summary": test.summary(), "environment": place})
    files.replace_file(path.with_suffix(".png"), plots.png(plots.range_test, curve, rates))
    named = f" RECIPE={recipe.name}" * (recipe.name != "default") + f" SEED={seed}" * (seed != 0)
    for rule, lr in rates.items():
        print(f"{rule:16}  make train{named} LR={lr:.4g}{'  (as LR=auto does)' * (lr == test.lr)}")
    if recipe.schedule == "one_cycle":
        print("a one-cycle peak is held for few steps: try higher, up to where the loss rises")
    print(f"{len(test.lrs)} steps, {test.seconds:.1f} s: {path}, {path.with_suffix('.png')}")


if __name__ == "__main__":
    cli.run(main)
