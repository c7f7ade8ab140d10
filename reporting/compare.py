"""Two runs side by side: what differs in their settings, how they learned, and whether one reads more images right.

    python -m reporting.compare default-seed0 default-seed1 [--data data] [--out DIR]

prints it, and writes compare.json and compare.html into results/<first>-vs-<second>/. Both are compared on the same
images, one by one, from what their results.json says they read wrong: weights are not needed, and models may have
changed since.
"""

import sys
from typing import Any

from support import cli, files

import data
import evaluate
import results
from reporting import plots
from reporting.pages import page, picture
from reporting.paired import compare, read, verdict
from reporting.sprites import sprite
from results import Result

NAMED = 12  # images on the terminal


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
        shown = [(int(index), taken) for index, taken in images.items()][: plots.SHOWN // 2]
        readings = [(index, labels[index], taken) for index, taken in shown]
        pixels = tested.pixels[[index for index, _ in shown], 0].numpy() / 255
        more = f", of which {len(shown)} are shown" if len(images) > len(shown) else ""
        grids.append({"heading": f"{heading}{more}", "readings": readings, "sprite": sprite(pixels)})
    part, name = results.history_part(runs[0]["recipe"]), results.final_figures(runs[0])[0].capitalize()
    histories = dict(zip(names, (run["history"] for run in runs), strict=True))
    curves = [
        picture(f"{name} accuracy over the epochs, on an axis of errors.", plots.accuracies, histories, part),
        picture(f"{name} loss over the epochs.", plots.losses, histories, part),
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
