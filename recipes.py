"""Recipes: what is trained and how. The home of every training setting.

    python train.py --recipe default --seed 0 --learning-rate 0.1
    python train.py --config mine.toml

A recipe is a frozen dataclass, validated when it is made: a value outside its range raises UserError naming the field.
Every field is a flag of train.py and a key of a config file. A new recipe is one more entry in RECIPES that states only
where it differs from Recipe's defaults.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import sys
import tomllib
from pathlib import Path
from typing import Any

from support import UserError


def setting(default: Any, help: str, low: float | None = None, high: float = math.inf, choices=None) -> Any:
    """A field of Recipe: its default, its meaning with the unit, and what it may be: low..high, or one of `choices`."""
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that decides a run besides its seed and the machine. Raises UserError when a field is out of range."""

    name: str = setting("default", "the recipe's name")
    architecture: str = setting("default", "a model of model.py, which lists them")
    dataset: str = setting("mnist", "mnist, fashion-mnist or another data set of data.py")
    epochs: float = setting(15, "passes over the training images, the last perhaps a part of one", 1e-3, 100_000)
    batch_size: int = setting(128, "images per step", 1, 100_000)
    validation_images: int = setting(50, "training images held out for validation", 1, 1_000_000)
    holdout: bool = setting(False, "tune on the validation images: the test images are never loaded")

    keep: float = setting(1.0, "share of the training images drawn anew for each round of an epoch; 1 for all", 1e-6, 1)
    keep_hardest: float = setting(0.5, "share of a round drawn by the images' last losses", 0, 1)
    keep_start: float = setting(1.0, "epochs in which all images are shown before the rounds begin", 0)

    whitening: bool = setting(False, "set the first convolution to the principal patches of the images, and freeze it")

    optimizer: str = setting("sgd", "update rule", choices=("sgd", "adagrad"))
    learning_rate: float = setting(0.01, "learning rate; its peak with one_cycle", 0)
    momentum: float = setting(0.9, "SGD momentum", 0, 1)
    nesterov: bool = setting(False, "Nesterov momentum")
    weight_decay: float = setting(0.0, "L2 penalty on all weights", 0)
    label_smoothing: float = setting(0.0, "share of the target spread over all classes", 0, 1)

    find_lr: bool = setting(False, "let a range test pick the learning rate before training")
    finder_start_lr: float = setting(1e-5, "range test: first learning rate", 1e-12, 1e6)
    finder_end_lr: float = setting(10.0, "range test: last learning rate", 1e-12, 1e6)
    finder_num_iter: int = setting(200, "range test: steps from the first to the last", 10, 100_000)

    schedule: str = setting("constant", "learning-rate schedule", choices=("constant", "one_cycle", "step", "plateau"))
    pct_start: float = setting(0.3, "one_cycle: share of the steps in which the learning rate rises", 0, 0.99)
    div_factor: float = setting(25.0, "one_cycle: first learning rate = peak / this", 1)
    final_div_factor: float = setting(1e4, "one_cycle: last learning rate = first / this", 1)
    cycle_momentum: bool = setting(False, "one_cycle: momentum falls from 0.95 to 0.85 as lr rises, and back")
    step_size: int = setting(27, "step: epochs between two drops of the learning rate", 1, 100_000)
    gamma: float = setting(0.1, "step: factor of a drop", 0, 1)
    plateau_patience: int = setting(2, "plateau: epochs without a lower validation loss before a drop", 0, 100_000)
    plateau_factor: float = setting(0.1, "plateau: factor of a drop", 0, 0.99)
    plateau_threshold: float = setting(0.01, "plateau: share by which a validation loss must fall to count", 0, 1)
    plateau_min_lr: float = setting(1e-4, "plateau: lowest learning rate", 0)

    ema_decay: float = setting(0.0, "decay of the moving average of the weights, per update; 0 for none", 0, 1)
    ema_every: int = setting(1, "steps between two updates of the moving average", 1, 100_000)
    batch_norm_images: int = setting(
        0, "training images, not augmented, for BatchNorm's statistics at the end; 0 for a moving average", 0, 10**6
    )
    best_threshold: float = setting(0.0, "validation accuracy in percent below which no best model is saved", 0, 100)
    precision: str = setting("float32", "auto is bfloat16 where it is native", choices=("auto", "float32", "bfloat16"))
    threads: int = setting(0, "processor threads, on which the exact digits depend; 0 for one a core", 0, 1024)
    cuda_graph: bool = setting(False, "replay forward and backward from a CUDA graph, on a GPU")

    degrees: float = setting(0.0, "augmentation: rotation by up to ± degrees", 0, 180)
    translate: float = setting(0.0, "augmentation: shift by up to ± this share of the width, each way", 0, 1)
    scale: float = setting(0.0, "augmentation: scale by 1 ± this", 0, 0.9)
    shear: float = setting(0.0, "augmentation: shear along x by up to ± degrees", 0, 80)
    padding_mode: str = setting("constant", "new pixels: fill, or nearest pixel", choices=("constant", "border"))
    fill: float = setting(0.0, "grey level of new pixels, 0 to 255", 0, 255)
    brightness: float = setting(0.0, "augmentation: brightness 1 ± this", 0, 1)
    contrast: float = setting(0.0, "augmentation: contrast 1 ± this", 0, 1)
    random_erasing: float = setting(0.0, "augmentation: probability that a rectangle is erased", 0, 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            validate(field, getattr(self, field.name))
        if Path(self.name).name != self.name:
            raise UserError(f"name must be fit for a folder, got {self.name!r}")
        if self.optimizer == "sgd" and self.nesterov and not self.momentum:
            raise UserError("nesterov needs a momentum above 0, got 0: use nesterov=False (--nesterov false)")
        if self.batch_norm_images == 1:
            raise UserError("batch_norm_images must be 0 or at least 2, got 1: one image has no variance")
        if self.finder_end_lr <= self.finder_start_lr:
            raise UserError(
                f"finder_end_lr must be above finder_start_lr, {self.finder_start_lr}, got {self.finder_end_lr}"
            )

    def steps(self, images: int) -> tuple[int, int]:
        """The steps of an epoch of so many images, and of all epochs."""
        steps, (whole, part) = math.ceil(images / self.batch_size), divmod(self.epochs, 1)
        return steps, int(whole) * steps + (max(1, round(part * steps)) if part else 0)


def validate(field: dataclasses.Field, value: Any) -> None:
    """Raise UserError when `value` is not what the field of Recipe may be."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    kind = (int, float) if field.type is float else field.type
    if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
        raise UserError(f"{field.name} must be of type {field.type.__name__}, got {value!r}")
    if choices and value not in choices:
        raise UserError(f"{field.name} must be one of {', '.join(choices)}, got {value!r}")
    if low is not None and not low <= value <= min(high, sys.float_info.max):
        bounds = f"at least {low} and finite" if high == math.inf else f"between {low} and {high:,}"
        raise UserError(f"{field.name} must be {bounds}, got {value}")


# Related settings share a line.
# fmt: off
AVERAGED = {  # the learning rate stays high to the end: an EMA, of a memory of 100 steps, does the annealing
    "learning_rate": 0.3, "nesterov": True, "weight_decay": 1e-3,
    "schedule": "one_cycle", "pct_start": 0.15, "div_factor": 10, "final_div_factor": 1,
    "ema_decay": 0.95, "ema_every": 5,
}
MILD = {"degrees": 8, "translate": 0.06, "scale": 0.08, "shear": 4}  # augmentation: up to 1.7 pixels of shift
SLIGHT = {"degrees": 4, "translate": 0.03, "scale": 0.04, "shear": 2}
TINY = AVERAGED | SLIGHT | {  # for networks of so few parameters that they never fit what they are shown
    "batch_size": 128, "learning_rate": 0.2, "final_div_factor": 100, "keep": 0.3, "batch_norm_images": 5120,
}
RECIPES = {recipe.name: recipe for recipe in (
    # This project's own, tuned on 10,000 held-out training images; results/records/README.md has all that was tried.
    Recipe(
        name="default", architecture="default", epochs=12, batch_size=256, keep=0.4,
        **AVERAGED, label_smoothing=0.1, precision="auto", degrees=10, translate=0.07, scale=0.1, shear=5,
    ),
    # The shortest way to 99.4 %.
    Recipe(
        name="fast", architecture="fast", epochs=2.1, batch_size=256, whitening=True,
        keep=0.15, batch_norm_images=5120,  # from the second epoch on, in rounds of what is still hard
        learning_rate=0.5, nesterov=True, weight_decay=1e-3, label_smoothing=0.05,
        schedule="one_cycle", pct_start=0.35, div_factor=10, final_div_factor=2, ema_decay=0.95, ema_every=2,
        precision="auto", degrees=6, translate=0.045, scale=0.06, shear=3,
    ),
    # The most accurate below a number of parameters. Where channels are few, augmentation and smoothing are milder.
    Recipe(
        name="under8k", architecture="under8k", epochs=19, batch_size=256, keep=0.3,
        **AVERAGED, label_smoothing=0.1, threads=1, **MILD,
    ),
    Recipe(
        name="under5k", architecture="under5k", epochs=19, batch_size=256, keep=0.2,
        **AVERAGED, label_smoothing=0.05, threads=1, **MILD,
    ),
    Recipe(name="under1500", architecture="under1500", epochs=15, threads=1, **TINY),
    Recipe(name="under700", architecture="under700", epochs=60, threads=1, **TINY),
    Recipe(
        name="fashion", architecture="fashion", dataset="fashion-mnist", epochs=10, batch_size=256, keep=0.5,
        **AVERAGED, label_smoothing=0.1, threads=1, **SLIGHT,
    ),
    # The published systems, as published. Where they leave a setting open, a comment says what was chosen.
    Recipe(
        name="erav3", architecture="erav3", epochs=20,
        learning_rate=0.1, nesterov=True, weight_decay=5e-4,
        schedule="one_cycle", cycle_momentum=True,  # not set there, so torch's default
        degrees=15, translate=0.1, scale=0.1, shear=5, brightness=0.2, contrast=0.2, random_erasing=0.2,
    ),
    Recipe(
        name="mnist-ops", architecture="mnist-ops", epochs=15,
        find_lr=True, finder_start_lr=1e-7, finder_num_iter=100,
        schedule="step",  # every 27 epochs, so never within its 15
        degrees=18, scale=0.2,
    ),
    Recipe(name="mnist-7824", architecture="mnist-7824", epochs=20, batch_size=64, learning_rate=0.017),
    Recipe(name="skeleton-510k", architecture="skeleton-510k", epochs=15, learning_rate=0.015),
    Recipe(
        name="mnist-experiment", architecture="mnist-experiment", epochs=20,
        degrees=7, fill=1,  # of 255: the published transform works on 8-bit images
    ),
    Recipe(
        name="mnist-experiment-aug", architecture="mnist-experiment", epochs=1,
        optimizer="adagrad",  # at torch's default learning rate, 0.01
        degrees=10, translate=0.1, scale=0.1, shear=math.degrees(0.1),  # published in radians
        padding_mode="border",
    ),
)}
# fmt: on
OWN = ("default", "fast", "under8k", "under5k", "under1500", "under700", "fashion")
PUBLISHED = ("erav3", "mnist-ops", "mnist-7824", "skeleton-510k", "mnist-experiment", "mnist-experiment-aug")
NAME_LIMIT = 120  # characters: a file system allows 255
FIELDS = tuple(field for field in dataclasses.fields(Recipe) if field.name != "name")


def get_recipe(name: str, /, **changes: Any) -> Recipe:
    """The named recipe with fields changed. Raises UserError for an unknown name, field or value."""
    if name not in list(RECIPES):
        raise UserError(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    return change(RECIPES[name], changes)


def change(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe with fields changed; a learning rate ends the search for one. Raises UserError for a wrong one."""
    unknown = sorted(set(changes) - {"name", *(field.name for field in FIELDS)})
    if unknown:
        raise UserError(f"a recipe has no field {unknown[0]!r}")
    implied = {"find_lr": False} if "learning_rate" in changes else {}
    return dataclasses.replace(recipe, **(implied | changes))


def read_config(path: Path) -> dict[str, Any]:
    """{key: value} of a JSON or TOML file: a recipe's fields, `recipe`, `seed`. Raises UserError for another file."""
    parsers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in parsers:
        raise UserError(f"{path} must end in .json or .toml")
    try:
        config = parsers[path.suffix](path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid {path.suffix[1:].upper()} ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold keys and values, got {config!r}")
    return {"name": path.stem} | config


def differences(recipe: Recipe, base: Recipe | None = None) -> dict[str, Any]:
    """{field: value} of where a recipe differs from another: that of its name, without which the nearest of all."""
    bases = [base] if base else [RECIPES[recipe.name]] if recipe.name in RECIPES else list(RECIPES.values())
    found = []
    for other in bases:
        values = {field.name: getattr(recipe, field.name) for field in FIELDS}
        found.append({name: value for name, value in values.items() if value != getattr(other, name)})
    return min(found, key=len)


def run_name(recipe: Recipe, seed: int, base: Recipe | None = None) -> str:
    """The name of a run's folder: the recipe's, where it differs from `base` (by default the recipe of its name), and
    the seed, such as default-lr0.1-epochs3-seed0."""
    changed = differences(recipe, base) if base or recipe.name in RECIPES else {}
    if recipe.holdout:  # the images held out say it all
        changed |= {"holdout": recipe.validation_images}
        changed.pop("validation_images", None)
    if recipe.find_lr:  # so it is the range test that decides
        changed.pop("learning_rate", None)
    plain = {"dataset": recipe.dataset, "find_lr": "lrauto" if recipe.find_lr else "lrfixed"}
    short = {"learning_rate": "lr"}
    parts = [plain.get(name) or f"{short.get(name, name)}{shown(value)}" for name, value in changed.items()]
    name = "-".join([recipe.name, *(part.replace("/", "_") for part in parts)])
    if len(name) > NAME_LIMIT:
        name = f"{name[:NAME_LIMIT]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{name}-seed{seed}"


def shown(value: Any) -> str:
    """A setting's value in a name or a table, a number without needless digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser --recipe, --config, --seed, --out and a flag for every field of Recipe."""
    parser.add_argument("--recipe", choices=RECIPES, metavar="NAME", help=f"{', '.join(RECIPES)} (default: default)")
    parser.add_argument("--config", type="path", help="a JSON or TOML file of fields; flags override it")
    parser.add_argument("--seed", type=int, help="of split, weights, order, augmentation and dropout (default: 0)")
    parser.add_argument("--out", type="path", help="the run's folder (default: results/<recipe>-seed<seed>)")
    group = parser.add_argument_group("fields of the recipe", "the default stands where a recipe says nothing else")
    for field in FIELDS:
        kind = {bool: parse_boolean, float: number}.get(field.type, field.type)
        choices = ("true", "false") if field.type is bool else field.metadata["choices"]
        limits = f"{{{','.join(choices)}}}" if choices else field.type.__name__.upper()
        text = f"{field.metadata['help']} (default: {shown(field.default)})"
        group.add_argument(f"--{field.name.replace('_', '-')}", type=kind, metavar=limits, help=text)


def number(text: str) -> float:
    """The value of a flag that takes a number: whole ones stay whole."""
    return int(text) if text.strip().isdigit() else float(text)


def parse_boolean(text: str) -> bool:
    """The value of a yes-or-no flag."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def from_flags(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> tuple[Recipe, int, str]:
    """The recipe and seed that the flags of `add_flags` ask for, and the run's name; the parser's error names what is
    wrong."""
    flags = {field.name: getattr(arguments, field.name) for field in FIELDS}
    changes = {name: value for name, value in flags.items() if value is not None}
    config, source = {}, ""
    try:
        config = read_config(arguments.config) if arguments.config else {}
        source = f"{arguments.config}: " if config else ""
        base, seed = config.pop("recipe", "default"), config.pop("seed", 0)
        recipe = get_recipe(arguments.recipe or base, **config)
        validate_seed(seed)
        source, seed = "", seed if arguments.seed is None else arguments.seed
        validate_seed(seed)
        changed = change(recipe, changes)
        return changed, seed, run_name(changed, seed, None if recipe.name in RECIPES else recipe)
    except (UserError, OSError) as error:
        parser.error(f"{source}{error}")


def validate_seed(seed: int) -> None:
    """Raise UserError for a seed that torch would not take."""
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise UserError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
