"""Recipes: what is trained and how. The only home of hyperparameters.

    python train.py --recipe default --seed 0 --learning-rate 0.1
    python train.py --config mine.toml

A recipe is a frozen dataclass, checked when it is made: a value outside its range raises ValueError naming the field.
Every field is a flag, and a key of a config file. A new recipe is one more entry in RECIPES, stating only where it
differs from Recipe's defaults.
"""

import argparse
import dataclasses
import json
import math
import sys
import tomllib
from pathlib import Path

INFINITY = math.inf


def setting(default, meaning, low=None, high=INFINITY, choices=None):
    """A field of Recipe: its default, what it means (with its unit), and what it may be: low..high, or one of
    `choices`."""
    return dataclasses.field(
        default=default, metadata={"meaning": meaning, "low": low, "high": high, "choices": choices}
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that decides a run besides its seed and the machine. Raises ValueError when a field is out of range."""

    name: str = setting("default", "the recipe's name")
    architecture: str = setting("default", "a network of model.py")
    epochs: int = setting(15, "passes over the training images", 1, 100_000)
    batch_size: int = setting(128, "images a step", 1, 100_000)

    whitening: bool = setting(False, "the first convolution is set to the main patterns of the images, and not trained")

    optimizer: str = setting("sgd", "update rule", choices=("sgd", "adagrad"))
    learning_rate: float = setting(0.01, "rate; the peak when the schedule is one_cycle", 0)
    find_rate: bool = setting(False, "a range test picks the rate before training, in place of learning_rate")
    finder_start: float = setting(1e-5, "range test: first rate", 1e-12, 1e6)
    finder_end: float = setting(10.0, "range test: last rate", 1e-12, 1e6)
    finder_steps: int = setting(200, "range test: steps from the first rate to the last", 10, 100_000)
    momentum: float = setting(0.9, "SGD momentum", 0, 1)
    nesterov: bool = setting(False, "Nesterov's form of momentum")
    weight_decay: float = setting(0.0, "L2 penalty on all weights", 0)
    label_smoothing: float = setting(0.0, "share of the target spread over all ten digits", 0, 1)

    schedule: str = setting("constant", "course of the rate", choices=("constant", "one_cycle", "step", "plateau"))
    warmup: float = setting(0.3, "one_cycle: share of the steps in which the rate rises", 0, 0.99)
    start_divisor: float = setting(25.0, "one_cycle: first rate = peak / this", 1)
    final_divisor: float = setting(1e4, "one_cycle: last rate = first rate / this", 1)
    cycle_momentum: bool = setting(False, "one_cycle: momentum falls from .95 to .85 as the rate rises, and back")
    step_epochs: int = setting(27, "step: epochs between two drops of the rate", 1, 100_000)
    step_factor: float = setting(0.1, "step: what the rate is multiplied by at a drop", 0, 1)

    plateau_patience: int = setting(2, "plateau: epochs without a lower validation loss before a drop", 0, 100_000)
    plateau_factor: float = setting(0.1, "plateau: what the rate is multiplied by at a drop", 0, 0.99)
    plateau_threshold: float = setting(0.01, "plateau: share by which a validation loss must be lower to count", 0, 1)
    plateau_minimum: float = setting(1e-4, "plateau: the rate does not fall below", 0)

    average_decay: float = setting(
        0.0, "decay of the moving average of the weights, an update; 0 is no averaging", 0, 1
    )
    average_steps: int = setting(1, "steps between two updates of the average", 1, 100_000)
    best_threshold: float = setting(0.0, "percent of validation accuracy below which no best model is saved", 0, 100)
    precision: str = setting(
        "float32",
        "arithmetic of training; auto is bfloat16 where the processor has it",
        choices=("auto", "float32", "bfloat16"),
    )

    rotation: float = setting(0.0, "augmentation: up to ± degrees", 0, 180)
    translation: float = setting(0.0, "augmentation: up to ± this share of the width, each way", 0, 1)
    zoom: float = setting(0.0, "augmentation: scale 1 ± this", 0, 0.9)
    shear: float = setting(0.0, "augmentation: up to ± degrees, along x", 0, 80)
    edge: str = setting("fill", "new pixels take the fill value or the nearest edge", choices=("fill", "nearest"))
    fill: float = setting(0.0, "grey level of new pixels, 0 to 255", 0, 255)
    brightness: float = setting(0.0, "augmentation: brightness 1 ± this", 0, 1)
    contrast: float = setting(0.0, "augmentation: contrast 1 ± this", 0, 1)
    erasing: float = setting(0.0, "augmentation: probability that a rectangle is erased", 0, 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check(field, getattr(self, field.name))
        if Path(self.name).name != self.name:
            raise ValueError(f"name must be fit for a folder's, got {self.name!r}")
        if self.finder_end <= self.finder_start:
            raise ValueError(f"finder_end must be above finder_start, {self.finder_start}, got {self.finder_end}")


def check(field, value):
    """Raises ValueError when `value` is not what the field of Recipe may be."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    kind = (int, float) if field.type is float else field.type
    if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
        raise ValueError(f"{field.name} must be of type {field.type.__name__}, got {value!r}")
    if choices and value not in choices:
        raise ValueError(f"{field.name} must be one of {', '.join(choices)}, got {value!r}")
    if low is not None and not low <= value <= min(high, sys.float_info.max):
        bounds = f"at least {low} and finite" if high == INFINITY else f"between {low} and {high:,}"
        raise ValueError(f"{field.name} must be {bounds}, got {value}")


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # This project's own, chosen on 10,000 held-out training images.
        Recipe(
            name="default",
            architecture="default",
            epochs=12,
            batch_size=256,
            learning_rate=0.3,
            nesterov=True,
            weight_decay=1e-3,
            label_smoothing=0.1,
            schedule="one_cycle",
            warmup=0.15,
            start_divisor=10,
            final_divisor=1,  # the rate stays high to the end: the average does the annealing
            average_decay=0.95,
            average_steps=5,  # a memory of 100 steps, under half an epoch
            precision="auto",
            rotation=10,
            translation=0.07,  # 2 pixels
            zoom=0.1,
            shear=5,
        ),
        # The shortest way to 99.4 %, chosen likewise; results/records/README.md tells what each part of it gave.
        Recipe(
            name="fast",
            architecture="fast",
            epochs=3,
            batch_size=256,
            whitening=True,
            learning_rate=0.4,
            nesterov=True,
            weight_decay=1e-3,
            label_smoothing=0.1,
            schedule="one_cycle",
            warmup=0.2,
            start_divisor=10,
            final_divisor=20,
            precision="auto",
            rotation=8,
            translation=0.06,
            zoom=0.08,
            shear=4,
        ),
        # The published systems, as published. Where they leave a setting open, the comment says what was chosen.
        Recipe(
            name="erav3",
            architecture="erav3",
            epochs=20,
            learning_rate=0.1,
            nesterov=True,
            weight_decay=5e-4,
            schedule="one_cycle",
            cycle_momentum=True,  # not set there, so torch's default
            rotation=15,
            translation=0.1,
            zoom=0.1,
            shear=5,
            brightness=0.2,
            contrast=0.2,
            erasing=0.2,
        ),
        Recipe(
            name="mnist-ops",
            architecture="mnist-ops",
            epochs=15,
            find_rate=True,
            finder_start=1e-7,
            finder_steps=100,
            schedule="step",  # every 27 epochs, so never within its 15
            rotation=18,
            zoom=0.2,
        ),
        Recipe(name="mnist-7824", architecture="mnist-7824", epochs=20, batch_size=64, learning_rate=0.017),
        Recipe(name="skeleton-510k", architecture="skeleton-510k", epochs=15, learning_rate=0.015),
        Recipe(
            name="mnist-experiment",
            architecture="mnist-experiment",
            epochs=20,
            rotation=7,
            fill=1,  # of 255: the published transform works on 8-bit images
        ),
        Recipe(
            name="mnist-experiment-aug",
            architecture="mnist-experiment",
            epochs=1,
            optimizer="adagrad",  # at the library's own rate of .01
            rotation=10,
            translation=0.1,
            zoom=0.1,
            shear=math.degrees(0.1),  # published in radians
            edge="nearest",
        ),
    )
}
OWN = ("default", "fast")
PUBLISHED = ("erav3", "mnist-ops", "mnist-7824", "skeleton-510k", "mnist-experiment", "mnist-experiment-aug")


def recipe(base, **changes):
    """The recipe of that name with fields changed. Raises ValueError for an unknown name, field or value."""
    if base not in list(RECIPES):
        raise ValueError(f"unknown recipe {base!r}; there are: {', '.join(RECIPES)}")
    return change(RECIPES[base], changes)


def change(recipe, changes):
    """A recipe with fields changed; a rate that is given is not looked for. Raises ValueError for an unknown field or
    value."""
    unknown = sorted(set(changes) - {field.name for field in dataclasses.fields(Recipe)})
    if unknown:
        raise ValueError(f"a recipe has no field {unknown[0]!r}")
    given = {"find_rate": False} if "learning_rate" in changes else {}
    return dataclasses.replace(recipe, **(given | changes))


def read_config(path):
    """{key: value} of a JSON or TOML file, by its suffix: a recipe's fields, with `recipe` and `seed`; its name is that
    of the file unless it gives one. Raises ValueError when it is neither."""
    readers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in readers:
        raise ValueError(f"{path} must end in .json or .toml")
    try:
        found = readers[path.suffix](path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid {path.suffix[1:].upper()} ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold keys and values, got {found!r}")
    return {"name": path.stem} | found


def add_flags(parser):
    """Give a parser --recipe, --config, --seed, --out and a flag for every field of Recipe."""
    parser.add_argument("--recipe", help=f"one of {', '.join(RECIPES)} (default: default)")
    parser.add_argument("--config", type=Path, help="a JSON or TOML file of fields; flags come before it")
    parser.add_argument(
        "--seed", type=int, help="seed of split, initial weights, order, augmentation, dropout (default: 0)"
    )
    parser.add_argument("--out", type=Path, help="the run's folder (default: results/<recipe>-seed<seed>)")
    group = parser.add_argument_group("the recipe's fields, each in place of the recipe's own value")
    for field in dataclasses.fields(Recipe):
        if field.name != "name":
            kind = boolean if field.type is bool else field.type
            group.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help=field.metadata["meaning"])


def boolean(text):
    """The value of a yes-or-no flag."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def chosen(arguments):
    """(Recipe, seed) that the flags of `add_flags` ask for. Raises ValueError naming what is wrong, OSError for a
    config file that cannot be read."""
    fields = [field.name for field in dataclasses.fields(Recipe) if field.name != "name"]
    flags = {name: getattr(arguments, name) for name in fields if getattr(arguments, name) is not None}
    config = read_config(arguments.config) if arguments.config else {}
    base, seed = config.pop("recipe", "default"), config.pop("seed", 0)
    try:
        check_seed(seed)
        found = recipe(arguments.recipe or base, **config)
    except ValueError as error:
        raise ValueError(f"{arguments.config}: {error}" if config else str(error)) from error
    if arguments.seed is not None:
        seed = arguments.seed
        check_seed(seed)
    return change(found, flags), seed


def check_seed(seed):
    """Raises ValueError when torch would not take it."""
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
