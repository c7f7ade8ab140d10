"""Two runs side by side: what differs in their settings, how they learned, and whether one reads more images right.

    python -m reporting.compare default-seed0 default-seed1 [--data data] [--out DIR]

prints it, and writes compare.json and compare.html into results/<first>-vs-<second>/. Both are compared on the same
images, one by one, from what their results.json says they read wrong: weights are not needed, and models may have
changed since.
"""

from typing import Any

from support import UserError, cli, files, intervals
from support.settings import format_value
from support.table import terminal_table

import data
import evaluate
import recipes
import results
from reporting import pages, plots
from reporting.templates import TEMPLATES
from results import Result

NAMED = 12  # images on the terminal
LISTED = 100  # images on the page, of those that one run alone reads right


def tested_on(result: Result) -> dict[str, Any]:
    """What two runs must share to be compared image by image."""
    part, dataset = results.final_figures(result)[0], recipes.from_stored(result["recipe"]).dataset
    held_out = {"seed": result["seed"]} if part == "validation" else {}  # which draws them
    return {"dataset": dataset, "images": (part, result["evaluated_images"]), "classes": result["classes"], **held_out}


def comparison(names: list[str], one: Result, two: Result) -> dict[str, Any]:
    """How a second run differs from a first, by their names: the content of compare.json. Raises UserError where they
    were tested on different images."""
    other = tested_on(two)
    for key, value in tested_on(one).items():
        if value != other[key]:
            differing = f"{key} {value} and {other[key]}"
            raise UserError(f"these runs cannot be compared: they were tested on other images ({differing})")
    wrong = [set(run["misclassified"]) for run in (one, two)]
    only_first, only_second = sorted(wrong[1] - wrong[0], key=int), sorted(wrong[0] - wrong[1], key=int)
    counts, images = (len(only_first), len(only_second)), one["evaluated_images"]
    difference, p = 100 * (counts[1] - counts[0]) / images, intervals.mcnemar(*counts)
    low, high = intervals.paired_interval(*counts, images)
    better, interval = names[difference > 0], f"95 % interval {low:+.2f} to {high:+.2f}"
    outcome = f"{better} reads more right" if p < 0.05 else "no difference that these images could show"
    return {
        "runs": names,
        "verdict": f"{difference:+.2f} points ({interval}), McNemar p = {p:.3g}: {outcome}",
        "settings": differing_settings(one, two),
        "accuracy": [results.final_figures(run)[1] for run in (one, two)],
        "images": images,
        "difference": difference,
        "difference_ci95": [low, high],
        "mcnemar_p": p,
        "both_wrong": len(wrong[0] & wrong[1]),
        "only_first_right": {index: two["misclassified"][index] for index in only_first},
        "only_second_right": {index: one["misclassified"][index] for index in only_second},
    }


def differing_settings(*runs: Result) -> list[list[str]]:
    """[[name, first value, second value]] of what differs: settings, seed, model, machine."""
    columns = []
    for run in runs:
        layers = run["identity"]["layers"].count("\n  (")
        model = f"{run['total_parameters']:,} parameters, {layers} layers, {run['identity']['calls'][:8]}"
        columns.append({**run["recipe"], "seed": run["seed"], "model": model, **run["environment"]})
    rows = [[name, *(format_value(column.get(name, "")) for column in columns)] for name in columns[0] | columns[1]]
    return [row for row in rows if row[1] != row[2]]


def as_text(compared: dict[str, Any], labels: list[str]) -> str:
    """The comparison for a terminal; labels are those of the images."""
    rows = [["accuracy %", *(f"{value:.2f}" for value in compared["accuracy"])], *compared["settings"]]
    lines = [terminal_table(["", *compared["runs"]], rows), "", compared["verdict"], ""]
    lines.append(f"{compared['both_wrong']} of {compared['images']:,} images are read wrong by both")
    sides = compared["only_first_right"], compared["only_second_right"]
    for name, images in zip(compared["runs"], sides, strict=True):
        named = [f"{index} ({labels[int(index)]}→{taken})" for index, taken in images.items()][:NAMED]
        more = [f"and {len(images) - NAMED} more"] if len(images) > NAMED else []
        heading = f"{len(images)} images that only {name} reads right"
        lines.append(f"{heading}: {', '.join(named + more)}" if images else heading)
    return "\n".join(lines)


def as_page(compared: dict[str, Any], runs: list[Result], tested: data.Images, labels: list[str]) -> str:
    """The comparison as HTML."""
    part, name = results.history_part(runs[0]["recipe"]), results.final_figures(runs[0])[0].capitalize()
    named = dict(zip(compared["runs"], runs, strict=True))
    accuracies, losses = (
        {label: [epoch[f"{part}_{metric}"] for epoch in run["history"]] for label, run in named.items()}
        for metric in ("accuracy", "loss")
    )
    curves = [
        pages.picture(f"{name} accuracy over the epochs, on an axis spaced by errors.", plots.accuracy, accuracies),
        pages.picture(f"{name} loss over the epochs.", plots.loss, losses),
    ]
    sides = compared["only_first_right"], compared["only_second_right"]
    sprites = [pages.sprite(tested.pixels[[*map(int, images)][:LISTED], 0]) for images in sides]
    template = TEMPLATES.get_template("compare.html.jinja")
    return template.render(compared=compared, curves=curves, sides=sides, sprites=sprites, labels=labels)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=results.find_run, help="two runs' folders, or their names in results/")
    parser.add_argument("--out", type="path", help="a folder (default: results/<first>-vs-<second>)")
    parser.add_data()
    arguments = parser.parse_args(argv)
    count, names = len(arguments.runs), [run.resolve().name for run in arguments.runs]
    if count != 2:
        parser.error(f'two runs are compared, got {count}: make compare RUNS="default-seed0 default-seed1"')
    runs = [results.load_finished(run) for run in arguments.runs]
    out = arguments.out or results.RUNS / "-vs-".join(names)
    if names[0] == names[1]:
        names = [str(run) for run in arguments.runs]
    compared = comparison(names, *runs)
    tested = evaluate.load_tested({"recipe": runs[0]["recipe"], "seed": runs[0]["seed"]}, arguments.data, "cpu")
    labels = [runs[0]["classes"][label] for label in tested.labels.tolist()]
    print(as_text(compared, labels))
    files.write_json(out / "compare.json", compared)
    files.replace_file(out / "compare.html", as_page(compared, runs, tested, labels).encode())
    print(f"\n{out / 'compare.json'}, {out / 'compare.html'}")


if __name__ == "__main__":
    cli.run(main)
