"""Candidates: what a sweep file says is to be tried, and with which seeds. TOML or JSON, such as

    recipe = "fast"                     # what all candidates start from; make: RECIPE=
    seeds = 3                           # seeds 0 to 2, or a list
    holdout = 10000                     # training images held out: the test images are never loaded

    [grid]                              # every combination;
    learning_rate = [0.2, 0.4]
    batch_size = [128, 256]

    [[list]]                            # or one table a candidate, an empty one for the recipe as it is;
    degrees = 12

    [ranges]                            # or so many trials (trials = 20 above), which Optuna looks for
    learning_rate = {low = 0.05, high = 1.0, log = true}

Everything is checked before anything is trained.
"""

import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from support import UserError, files

import msgspec

import recipes
from recipes import Recipe

GIVEN = ("name", "dataset", "holdout", "validation_images", "threads")  # the same for all, so that they can be compared
AS_IT_IS = "the recipe as it is"
REMEDY = "docs/development.md has an example"

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Scalar = bool | int | float | str


class Range(msgspec.Struct, forbid_unknown_fields=True):
    """Where Optuna looks for the value of a field."""

    low: int | float
    high: int | float
    log: bool = False


class Content(msgspec.Struct, forbid_unknown_fields=True, rename={"tables": "list"}):
    """What a sweep file holds; `name` is the file's, where it gives none."""

    name: str
    recipe: str = "default"
    seeds: Count | Annotated[list[int], msgspec.Meta(min_length=1)] = 3
    holdout: int = 10_000
    trials: Count | None = None
    grid: dict[str, Annotated[list[Scalar], msgspec.Meta(min_length=1)]] = {}
    tables: list[dict[str, Scalar]] = []
    ranges: dict[str, Range] = {}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep: candidates, each the changes that it makes to a recipe; or ranges to look for `trials` of them in."""

    name: str
    recipe: Recipe  # with its images held out
    seeds: tuple[int, ...]
    candidates: tuple[dict[str, Any], ...]
    ranges: dict[str, Range]
    trials: int

    def values(self, field: str) -> list[Any]:
        """All values that the candidates give to a field."""
        return list(dict.fromkeys(changes[field] for changes in self.candidates if field in changes))

    def recipes(self) -> Iterable[Recipe]:
        """The candidates as recipes; of ranges, the recipe alone."""
        return [recipes.change(self.recipe, changes) for changes in self.candidates or [{}]]


def describe(changes: dict[str, Any]) -> str:
    """A candidate in a few words."""
    return ", ".join(f"{name}={recipes.shown(value)}" for name, value in changes.items()) or AS_IT_IS


def read(path: Path, recipe_name: str | None = None) -> Sweep:
    """The sweep that a file describes, of the recipe that it names or of another. Raises UserError naming the file and
    what is wrong in it, OSError where it cannot be read."""
    content = files.convert(recipes.read_config(path), Content, path, REMEDY)
    try:
        return sweep_of(content, recipe_name or content.recipe)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def sweep_of(content: Content, recipe_name: str) -> Sweep:
    """The sweep of a file's content and a recipe. Raises UserError for what no recipe may be."""
    if Path(content.name).name != content.name:
        raise UserError(f"name must be fit for a folder, got {content.name!r}")
    kinds = {"[grid]": content.grid, "[[list]]": content.tables, "[ranges]": content.ranges}
    given = [kind for kind, content_of in kinds.items() if content_of]
    if len(given) != 1:
        raise UserError(f"one of {', '.join(kinds)} is needed, got {' and '.join(given) or 'none'}")
    if bool(content.ranges) != bool(content.trials):
        raise UserError("[ranges] need trials, the number of candidates to look for; [grid] and [[list]] have theirs")
    recipe = recipes.get_recipe(recipe_name, holdout=True, validation_images=content.holdout)
    for name in itertools.chain(content.grid, content.ranges, *content.tables):
        if name in GIVEN:
            raise UserError(f"{name} must be the same for all candidates")
    combinations = itertools.product(*content.grid.values()) if content.grid else ()
    candidates = [dict(zip(content.grid, values, strict=True)) for values in combinations] or content.tables
    for changes in candidates:
        check(recipe, changes)
    for name, limits in content.ranges.items():
        check_range(recipe, name, limits)
    repeated = [changes for index, changes in enumerate(candidates) if changes in candidates[:index]]
    if repeated:
        raise UserError(f"{describe(repeated[0])} is there twice")
    seeds = tuple(range(content.seeds)) if isinstance(content.seeds, int) else tuple(content.seeds)
    for seed in seeds:
        recipes.validate_seed(seed)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds must differ, got {list(seeds)}")
    count = content.trials or len(candidates)
    return Sweep(content.name, recipe, seeds, tuple(candidates), content.ranges, count)


def check(recipe: Recipe, changes: dict[str, Any]) -> None:
    """Raise UserError, naming the candidate, when the recipe may not be changed so."""
    try:
        recipes.change(recipe, changes)
    except UserError as error:
        raise UserError(f"{describe(changes)}: {error}") from error


def check_range(recipe: Recipe, name: str, limits: Range) -> None:
    """Raise UserError when a field may not be looked for between these limits."""
    for value in (limits.low, limits.high):
        check(recipe, {name: value})
    if not limits.low < limits.high:
        raise UserError(f"{name}: low must be below high, {limits.high}, got {limits.low}")
    if limits.log and limits.low <= 0:
        raise UserError(f"{name}: log = true needs a low above 0, got {limits.low}")
