"""Two runs side by side: what differs in their settings, how they learned, and whether one reads more images right.

    python -m reporting.compare default-seed0 default-seed1 [--data data] [--out DIR]

prints it, and writes compare.json and compare.html into results/<first>-vs-<second>/. Both are compared on the same
images, one by one, from what their results.json says they read wrong: weights are not needed, and models may have
changed since.
"""

import sys
from pathlib import Path
from typing import Any

from support import UserError, cli, files, intervals

import numpy as np

import data
import evaluate
import recipes
import results
from reporting import plots
from reporting.report import page, picture
from results import Result

COLUMNS = 6  # of images, to be read on a phone
NAMED = 12  # images on the terminal


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


def only_right(compared: dict[str, Any], names: list[str]) -> list[tuple[str, dict[str, str]]]:
    """[(heading, {index: what the other took it for})] of the images that one run alone reads right."""
    keys = zip(names, ("only_first_right", "only_second_right"), strict=True)
    return [(f"{len(compared[key])} images that only {name} reads right", compared[key]) for name, key in keys]


def as_text(compared: dict[str, Any], names: list[str], labels: list[str]) -> str:
    """The comparison for a terminal."""
    rows = [["accuracy %", *(f"{value:.2f}" for value in compared["accuracy"])], *compared["settings"]]
    lines = [results.markdown_table(["", *names], rows), "", verdict(compared, names), ""]
    lines.append(f"{compared['both_wrong']} of {compared['images']:,} images are read wrong by both")
    for heading, images in only_right(compared, names):
        listed = [f"{index} ({labels[int(index)]}→{taken})" for index, taken in list(images.items())[:NAMED]]
        more = f", and {len(images) - NAMED} more" if len(images) > NAMED else ""
        lines.append(f"{heading}{': ' if listed else ''}{', '.join(listed)}{more}")
    return "\n".join(lines)


def as_page(
    compared: dict[str, Any], runs: list[Result], names: list[str], tested: data.Images, labels: list[str]
) -> str:
    """The comparison as HTML."""
    grids = []
    for heading, images in only_right(compared, names):
        shown = list(images)[: plots.SHOWN]
        captions = [f"{labels[int(index)]}→{images[index]}" for index in shown]
        pixels = tested.pixels[[int(index) for index in shown], 0].cpu().numpy() / 255
        if len(shown):
            grids.append(
                picture(
                    f"{heading}: true→what the other reads.", plots.image_grid, np.asarray(pixels), captions, COLUMNS
                )
            )
    part = results.final_figures(runs[0])[0]
    histories = dict(zip(names, (run["history"] for run in runs), strict=True))
    curves = [
        picture(
            f"{part.capitalize()} accuracy over the epochs, on an axis of errors.", plots.accuracies, histories, part
        ),
        picture(f"{part.capitalize()} loss over the epochs.", plots.losses, histories, part),
    ]
    return page("compare.html.jinja").render(
        compared=compared, names=names, sentence=verdict(compared, names), curves=curves, grids=grids
    )


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=results.find_run, help="two runs' folders, or their names in results/")
    parser.add_argument("--out", type="path", help="a folder (default: results/<first>-vs-<second>)")
    parser.add_data()
    arguments = parser.parse_args(argv)
    if len(arguments.runs) != 2:
        parser.error(
            f'two runs are compared, got {len(arguments.runs)}: make compare RUNS="default-seed0 default-seed1"'
        )
    runs = [read(run) for run in arguments.runs]
    names = [run.resolve().name for run in arguments.runs]
    if names[0] == names[1]:
        names = [str(run) for run in arguments.runs]
    facts = {"recipe": runs[0]["recipe"], "seed": runs[0]["seed"]}
    compared = compare(*runs)
    tested = evaluate.load_tested(facts, arguments.data, "cpu")
    labels = [runs[0]["classes"][label] for label in tested.labels.tolist()]
    print(as_text(compared, names, labels))
    folder = arguments.out or results.RUNS / "-vs-".join(run.resolve().name for run in arguments.runs)
    files.write_json(folder / "compare.json", {"runs": names, **compared})
    files.replace_file(folder / "compare.html", as_page(compared, runs, names, tested, labels).encode())
    print(f"\n{folder / 'compare.json'}, {folder / 'compare.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
