"""Recipes: what is trained and how. The home of every training setting.

    python train.py --recipe default --seed 0 --learning-rate 0.1
    python train.py --config mine.toml

A recipe is a frozen dataclass, validated when it is made: a value outside its range raises UserError naming the field.
Every field is a flag of train.py and a key of a config file. A new recipe is one more entry in RECIPES that states only
where it differs from Recipe's defaults.
"""

import dataclasses
import difflib
import math
import sys
import tomllib
from pathlib import Path
from typing import Any

from support import UserError


def setting(default: Any, help: str, low: float | None = None, high: float = math.inf, choices=None) -> Any:
    """A field of a dataclass: its default, its meaning with the unit, and what it may be: low..high, or one of
    `choices`."""
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


def validate(field: dataclasses.Field, value: Any) -> None:
    """Raise UserError when `value` is not what a field made by `setting` may be."""
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    kind = (int, float) if field.type is float else field.type
    if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
        raise UserError(f"{field.name} must be of type {field.type.__name__}, got {value!r}")
    if choices and value not in choices:
        raise UserError(f"{field.name} must be one of {', '.join(choices)}, got {value!r}")
    if low is not None and not low <= value <= min(high, sys.float_info.max):
        bounds = f"at least {low} and finite" if high == math.inf else f"between {low} and {high:,}"
        raise UserError(f"{field.name} must be {bounds}, got {value}")


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

    whitening: bool = setting(False, "set the first convolution to the principal patches of the images, and freeze it")

    optimizer: str = setting("sgd", "update rule", choices=("sgd", "adagrad"))
    learning_rate: float = setting(0.01, "learning rate; its peak with one_cycle", 0)
    momentum: float = setting(0.9, "SGD momentum", 0, 1)
    nesterov: bool = setting(False, "Nesterov momentum")
    weight_decay: float = setting(0.0, "L2 penalty on all weights", 0)
    label_smoothing: float = setting(0.0, "share of the target spread over all classes", 0, 1)

    find_lr: bool = setting(False, "let a range test pick the learning rate before training")
    finder_start_lr: float = setting(1e-5, "range test: first learning rate", 1e-12, 1)
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
    precision: str = setting("float32", "bfloat16 is for a GPU", choices=("float32", "bfloat16"))
    threads: int = setting(0, "processor threads, on which the exact digits depend; 0 for one a core", 0, 1024)

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

    def steps(self, images: int) -> tuple[int, int]:
        """The steps of an epoch of so many images, and of all epochs."""
        steps, (whole, part) = math.ceil(images / self.batch_size), divmod(self.epochs, 1)
        return steps, int(whole) * steps + (max(1, round(part * steps)) if part else 0)


# Related settings share a line.
# fmt: off
AVERAGED = {  # the learning rate stays high to the end: an EMA, of a memory of 100 steps, does the annealing
    "learning_rate": 0.3, "nesterov": True, "weight_decay": 1e-3,
    "schedule": "one_cycle", "pct_start": 0.15, "div_factor": 10, "final_div_factor": 1,
    "ema_decay": 0.95, "ema_every": 5,
}
MILD = {"degrees": 8, "translate": 0.06, "scale": 0.08, "shear": 4}  # augmentation: up to 1.7 pixels of shift
SLIGHT = {"degrees": 4, "translate": 0.03, "scale": 0.04, "shear": 2}
TINY = AVERAGED | {  # for networks of so few parameters that they never fit what they are shown
    "batch_size": 128, "learning_rate": 0.2, "final_div_factor": 100, "keep": 0.3, "batch_norm_images": 5120,
}
RECIPES = {recipe.name: recipe for recipe in (
    # This project's own, tuned on 10,000 held-out training images; results/records/<recipe>.md has all that was tried.
    Recipe(
        name="default", architecture="default", epochs=12, batch_size=256, keep=0.4,
        **AVERAGED, label_smoothing=0.1, degrees=10, translate=0.07, scale=0.1, shear=5,
    ),
    # The shortest way to 99.4 %.
    Recipe(
        name="fast", architecture="fast", epochs=3, batch_size=256, whitening=True,
        keep=0.15, batch_norm_images=5120,  # from the second epoch on, in rounds of what is still hard
        learning_rate=0.5, nesterov=True, weight_decay=1e-3, label_smoothing=0.05,
        schedule="one_cycle", pct_start=0.35, div_factor=10, final_div_factor=2, ema_decay=0.97, ema_every=2,
        degrees=6, translate=0.045, scale=0.06, shear=3,
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
    Recipe(name="under1500", architecture="under1500", epochs=80, threads=1, **TINY, **MILD),
    Recipe(name="under700", architecture="under700", epochs=60, threads=1, **TINY, **SLIGHT),
    Recipe(
        name="fashion", architecture="fashion", dataset="fashion-mnist", epochs=19, batch_size=256, keep=0.5,
        **AVERAGED, label_smoothing=0.05, threads=1, **SLIGHT,
    ),
)}
# fmt: on
OWN = tuple(RECIPES)
OTHERS = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
CLAIMS, SYSTEMS = OTHERS["claims"], OTHERS["systems"]
PUBLISHED = tuple(SYSTEMS)
RECIPES |= {name: Recipe(name=name, **system["recipe"]) for name, system in SYSTEMS.items()}
FIELDS = tuple(field for field in dataclasses.fields(Recipe) if field.name != "name")
RETIRED = {"keep_hardest": 0.5, "keep_start": 1.0, "finder_end_lr": 10.0, "cuda_graph": False}  # as they now always are


def get_recipe(name: str, /, **changes: Any) -> Recipe:
    """The named recipe with fields changed. Raises UserError for an unknown name, field or value."""
    if name not in list(RECIPES):
        raise UserError(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    return change(RECIPES[name], changes)


def change(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe with fields changed; setting a learning rate ends the search for one. Raises UserError for an unknown
    field or a wrong value."""
    known = ["name", *(field.name for field in FIELDS)]
    for name in sorted(changes.keys() - known):
        near = ["learning_rate"] if name == "lr" else difflib.get_close_matches(name, known, 1)  # as make calls it
        raise UserError(f"a recipe has no field {name!r}{f': is it {near[0]}?' if near else ''}")
    implied = {"find_lr": False} if "learning_rate" in changes else {}
    return dataclasses.replace(recipe, **(implied | changes))


def from_stored(values: dict[str, Any]) -> Recipe:
    """The recipe stored in results, a checkpoint or a record, also by an earlier version. Raises UserError."""
    values = {name: value for name, value in values.items() if name not in RETIRED or value != RETIRED[name]}
    if values.get("precision") == "auto":  # what that came to is in the environment beside it
        del values["precision"]
    return change(Recipe(), values)


def differences(recipe: Recipe, base: Recipe | None = None) -> dict[str, Any]:
    """{field: value} of a recipe where it differs from `base`: by default the recipe of its name, else the nearest
    one."""
    bases = [base] if base else [RECIPES[recipe.name]] if recipe.name in RECIPES else list(RECIPES.values())
    values = {field.name: getattr(recipe, field.name) for field in FIELDS}
    differing = [{name: value for name, value in values.items() if value != getattr(other, name)} for other in bases]
    return min(differing, key=len)
