"""The tables of README and docs: sections between markers, written from the committed records and the Makefile; and
the pictures of the records.

    python -m experiments.tables

The text of the tables is in tables.md.jinja, what is asked in goals.toml, what others claim in published.toml.
"""

import json
import re
import statistics
import tomllib
from pathlib import Path
from typing import Any

from support import cli, files, intervals
from support.table import markdown_table

import jinja2
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import recipes
import results
from evaluate import ANSWERED
from reporting import plots, standings
from reporting.plots import BLUE, GREY, error_of, mark_errors, mark_numbers

ROOT, RECORDS = cli.ROOT, cli.ROOT / results.RECORDS
TEMPLATE, GOALS = (Path(__file__).with_name(name) for name in ("tables.md.jinja", "goals.toml"))
SECTION = re.compile(r"(<!-- (\w+): written by make readme -->).*?(<!-- end of \2 -->)", re.DOTALL)
DOCS = "speed", "records", "reproduced", "development", "robustness", "rules"
PAGES = "README.md", *(f"docs/{name}.md" for name in DOCS)
OWN = {"color": BLUE, "fillstyle": "full", "label": "this project, ± standard deviation"}
PUBLISHED = {"color": GREY, "fillstyle": "none", "label": "published systems"}


def contents() -> dict[str, Any]:
    """What the sections show: `goals` and `claims`; `targets`, [(make target, what it does)]; `records`, {recipe:
    record}, those on MNIST as `mnist` too; and the records `bench`, `published` and `robustness`. A record is
    shown as long as its file is there, whatever has become of the recipe."""
    asked = tomllib.loads(GOALS.read_text(encoding="utf-8"))
    known = {path.stem: json.loads(path.read_bytes()) for path in sorted(RECORDS.glob("*.json"))}
    bench, published, robustness = (known.pop(name, None) for name in ("bench", "published", "robustness"))
    records = {name: known[name] for name in (asked["goals"] | known) if name in known}
    return asked | {
        "claims": recipes.CLAIMS,
        "bench": bench,
        "published": published,
        "robustness": robustness,
        "records": records,
        "categories": standings.categories(),
        "mnist": {name: record for name, record in records.items() if record["recipe"]["dataset"] == "mnist"},
        "targets": re.findall(r"(?m)^([a-z-]+):[^#\n]*## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8")),
    }


def drawn(shown: dict[str, Any]) -> dict[str, tuple]:
    """{file: (plot, what it shows)} of the pictures of the records."""
    return {
        "bench.png": (speeds, shown["bench"], shown["published"], shown["mnist"]),
        "frontier.png": (frontier, shown["claims"], shown["mnist"]),
        "coverage.png": (plots.coverage, ANSWERED, [run["coverage"] for run in shown["mnist"]["default"]["runs"]]),
        "robustness.png": (plots.corruptions, shown["robustness"]["corrupted"]),
    }


def reaching(goal: dict[str, Any], record: dict[str, Any]) -> int:
    """How many seeds of a record have the least that a goal asks for."""
    return sum(run["final_test_accuracy"] >= goal["least"] for run in record["runs"])


def mark(goal: dict[str, Any], record: dict[str, Any]) -> str:
    """How a record meets a goal: ✓, only at the `least`, or ✗."""
    fits = record["total_parameters"] <= goal["parameters"] and record["total_epochs"] <= goal["epochs"]
    if not fits or reaching(goal, record) < goal["seeds"] or record["mean"] < goal["least"]:
        return "✗"
    return "✓" if record["mean"] >= goal["accuracy"] else "least"


def best_spin_count(rows: list[dict[str, Any]]) -> int:
    """Of the GOMP_SPINCOUNTs that are at most a tenth slower alone than the best, the fastest beside other work."""
    best = max(statistics.median(row["alone"]) for row in rows)
    near = [row for row in rows if statistics.median(row["alone"]) >= 0.9 * best]
    return max(near, key=lambda row: statistics.median(row["beside"]))["spin_count"]


def spread(values: list[float], digits: int, with_range: bool = True) -> str:
    """The median of some values, with the smallest and the largest where there are several."""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})" if with_range and len(values) > 1 else middle


def plus_minus(runs: list[dict[str, Any]], figure: str) -> str:
    """Mean ± standard deviation of a figure of a record's runs."""
    values = [run[figure] for run in runs]
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def align(text: str) -> str:
    """Markdown whose tables have aligned columns."""

    def table(match: re.Match) -> str:
        head, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in match[0].splitlines())
        return markdown_table(head, rows) + "\n"

    return re.sub(r"(?:^\|.*\|\n)+", table, text, flags=re.MULTILINE)


def render(section: str, shown: dict[str, Any]) -> str:
    """A section as Markdown, of what it shows of `contents`."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"median": statistics.median, "plus_minus": plus_minus, "spread": spread}
    environment.globals |= {"shown": shown, "systems": recipes.SYSTEMS, "wilson_interval": intervals.wilson_interval}
    functions = reaching, mark, best_spin_count, standings.seconds, standings.lead
    environment.globals |= {function.__name__: function for function in functions}
    module = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).module
    text = re.sub(r"[ \t]+$", "", str(getattr(module, section)()), flags=re.MULTILINE)
    return align(re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n").strip()


def renew(name: str) -> str:
    """A file of the documentation with what is between the markers of its sections renewed."""
    text, shown = (ROOT / name).read_text(encoding="utf-8"), contents()
    return SECTION.sub(lambda match: f"{match[1]}\n\n{render(match[2], shown)}\n\n{match[3]}", text)


def speeds(bench: dict[str, Any], published: dict[str, Any], own: dict[str, Any]) -> Figure:
    """The benchmark's record beside those of recipes, {name: record}: accuracy over the seconds of a training, of the
    published systems as they are trained elsewhere and of this project's own recipes here. What has no record is a line
    at its seconds."""
    axes, marks = Figure((8, 4.5), layout="constrained").subplots(), {}
    for records, way, style in ((own, "here", OWN), (published, "elsewhere", PUBLISHED)):
        for name in [name for name in bench["speeds"] if name in records]:
            seconds = records[name]["total_epochs"] * statistics.median(bench["speeds"][name][way])
            marks[name] = draw_record(axes, seconds, records[name], style)
    for name, epochs in bench["epochs"].items():
        seconds = epochs * statistics.median(bench["speeds"][name]["elsewhere"])
        axes.axvline(seconds, color=GREY, linestyle=":", label="only timed")
        axes.annotate(name, (seconds, 0), (-3, 4), ("data", "axes fraction"), "offset points", rotation=90, ha="right")
    return finish(axes, "seconds of training", marks)


def frontier(claims: list[tuple[str, int, float, str]], own: dict[str, dict[str, Any]]) -> Figure:
    """Accuracy over the number of parameters: what others claim, [(system, parameters, accuracy, how it was picked)],
    and records of this project's recipes, {name: record}."""
    axes = Figure((8, 4.5), layout="constrained").subplots()
    marks = {name: draw_record(axes, record["total_parameters"], record, OWN) for name, record in own.items()}
    shapes = dict(zip(dict.fromkeys(picked for *_, picked in claims), "sDo^", strict=False))
    for _, parameters, accuracy, picked in claims:
        axes.plot(parameters, error_of(accuracy), shapes[picked], **(PUBLISHED | {"label": f"published: {picked}"}))
    return finish(axes, "trainable parameters", marks)


def draw_record(axes: Axes, x: float, record: dict[str, Any], style: dict[str, str]) -> tuple[float, float]:
    """Mark a record's mean, with the standard deviation, and return the place of the mark."""
    place = x, error_of(record["mean"])
    axes.errorbar(*place, record["deviation"], fmt="o", markersize=7, capsize=3, **style)
    return place


def finish(axes: Axes, label: str, marks: dict[str, tuple[float, float]]) -> Figure:
    """Scale the axes, label them, and write the names of marks, {name: place}, beside them: each on the first side
    where it covers nothing and stays within the axes, else on the last. Returns the figure."""
    mark_errors(axes, below=1.6, above=1.3)
    axes.set(xscale="log", xmargin=0.08, xlabel=label)
    mark_numbers(axes.xaxis)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4 if len(handles) < 4 else 2)
    axes.figure.draw_without_rendering()  # lays it out
    taken = [artist.get_window_extent() for artist in (*axes.texts, *axes.lines)]
    for name, place in marks.items():
        text = axes.annotate(name, place, (0, 0), textcoords="offset points")
        for x, y in ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1)):
            text.set(position=(6 * x, 6 * y), ha=("center", "left", "right")[x], va=("center", "bottom", "top")[y])
            box = text.get_window_extent()
            if axes.bbox.count_contains(box.corners()) == 4 and not box.count_overlaps(taken):
                break
        taken.append(box)
    return axes.figure


def main(argv: list[str] | None = None) -> None:
    cli.Parser(description="Write the tables of README and docs from the records.").parse_args(argv)
    for name in PAGES:
        files.replace_file(ROOT / name, renew(name).encode())
    for name, picture in drawn(contents()).items():
        files.replace_file(RECORDS / name, plots.png(*picture))


if __name__ == "__main__":
    cli.run(main)
