"""Two runs compared image by image: the difference of their accuracies on the same images, and what differs besides."""

from pathlib import Path
from typing import Any

from support import UserError, intervals

import recipes
import results
from results import Result


def read(run: Path) -> Result:
    """The results of a finished run. Raises UserError where there are none."""
    result = results.read(run)
    if result is None or not result["finished"]:
        raise UserError(f"{run} holds no finished run: make train")
    return result


def tested_on(result: Result) -> dict[str, Any]:
    """What two runs must share to be compared image by image."""
    part, dataset = results.final_figures(result)[0], recipes.change(recipes.Recipe(), result["recipe"]).dataset
    held_out = {"seed": result["seed"]} if part == "validation" else {}  # which draws them
    images = part, result["evaluated_images"]
    return {"dataset": dataset, "images": images, "classes": result["classes"], **held_out}


def compare(one: Result, two: Result) -> dict[str, Any]:
    """How a second run differs from a first. Raises UserError where they were tested on different images."""
    places = tested_on(one), tested_on(two)
    for key in places[0] | places[1]:
        if places[0].get(key) != places[1].get(key):
            values = " and ".join(str(place.get(key)) for place in places)
            raise UserError(f"these runs cannot be compared: they were tested on other images ({key} {values})")
    wrong = [set(run["misclassified"]) for run in (one, two)]
    only_first, only_second = sorted(wrong[1] - wrong[0], key=int), sorted(wrong[0] - wrong[1], key=int)
    counts, images = (len(only_first), len(only_second)), one["evaluated_images"]
    return {
        "settings": settings(one, two),
        "accuracy": [results.final_figures(run)[1] for run in (one, two)],
        "images": images,
        "difference": 100 * (counts[1] - counts[0]) / images,
        "difference_ci95": intervals.paired_interval(*counts, images),
        "mcnemar_p": intervals.mcnemar(*counts),
        "both_wrong": len(wrong[0] & wrong[1]),
        "only_first_right": {index: two["misclassified"][index] for index in only_first},
        "only_second_right": {index: one["misclassified"][index] for index in only_second},
    }


def settings(one: Result, two: Result) -> list[list[str]]:
    """[[name, first value, second value]] of what differs: settings, seed, model, machine."""
    found = []
    for run in (one, two):
        layers = run["identity"]["layers"].count("\n  (")
        model = f"{run['total_parameters']:,} parameters, {layers} layers, {run['identity']['calls'][:8]}"
        found.append({**run["recipe"], "seed": run["seed"], "model": model, **run["environment"]})
    names = list(found[0] | found[1])
    rows = [[name, *(recipes.shown(facts.get(name, "")) for facts in found)] for name in names]
    return [row for row in rows if row[1] != row[2]]


def verdict(compared: dict[str, Any], names: list[str]) -> str:
    """Whether the two differ, in a sentence."""
    low, high = compared["difference_ci95"]
    p, better = compared["mcnemar_p"], names[compared["difference"] > 0]
    outcome = f"{better} reads more right" if p < 0.05 else "no difference that these images could show"
    interval = f"95 % interval {low:+.2f} to {high:+.2f}"
    return f"{compared['difference']:+.2f} points ({interval}), McNemar p = {p:.3g}: {outcome}"
