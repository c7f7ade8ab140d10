"""Commands: what trains a run again, from its recipe and seed.

    commands.train(recipe, seed)     make train RECIPE=fast SEED=0 EPOCHS=2
                                     python train.py --recipe fast --seed 0 --momentum 0.8

It is make's where the variables of make train say all that differs from the named recipe, else train.py's own. Either
comes to exactly that recipe, but for the name of one that only a config file has: there, the nearest named one is said.
"""

import shlex
from typing import Any

import recipes
from recipes import RECIPES, Recipe


def train(recipe: Recipe, seed: int, processes: int = 1) -> str:
    """The command that trains a recipe with a seed, in so many processes."""
    nearest = min(RECIPES.values(), key=lambda base: len(recipes.differences(recipe, base)))
    base = RECIPES.get(recipe.name, nearest)
    changed = recipes.differences(recipe, base)
    variables = make_variables(recipe, changed)
    if variables is None:
        launch = ["-m", "support.launch", str(processes)] if processes > 1 else []
        words = ["python", *launch, "train.py", "--recipe", base.name, "--seed", str(seed), *flags(recipe, changed)]
    else:
        count = [f"NPROC={processes}"] if processes > 1 else []
        words = ["make", "train", f"RECIPE={base.name}", f"SEED={seed}", *variables, *count]
    return shlex.join(words)


def make_variables(recipe: Recipe, changed: dict[str, Any]) -> list[str] | None:
    """What differs from a named recipe as variables of make train; None where they cannot say it."""
    rest, found = dict(changed), {}
    if rest.keys() & {"find_lr", "learning_rate"} and not (recipe.find_lr and "learning_rate" in rest):
        found["LR"] = "auto" if recipe.find_lr else recipe.learning_rate
        rest = {name: value for name, value in rest.items() if name not in ("find_lr", "learning_rate")}
    if rest.get("holdout"):
        found["HOLDOUT"] = recipe.validation_images
        rest = {name: value for name, value in rest.items() if name not in ("holdout", "validation_images")}
    for name in ("dataset", "epochs"):
        if name in rest:
            found[name.upper()] = rest.pop(name)
    return None if rest else [f"{name}={value}" for name, value in found.items()]


def flags(recipe: Recipe, changed: dict[str, Any]) -> list[str]:
    """What differs from a named recipe as flags of train.py."""
    if "learning_rate" in changed and recipe.find_lr:  # which that flag alone would end
        changed = changed | {"find_lr": True}
    words = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in changed.items()}
    return [word for name, text in words.items() for word in (f"--{name.replace('_', '-')}", text)]
