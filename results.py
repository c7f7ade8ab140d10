"""Results: what runs leave behind, compared, summed up over seeds, and written into the README.

    python results.py                      every run in results/ in one table, best first
    python results.py check RUN [--minimum 99.4]     exit status 1 when a run is not finished or its accuracy is below
    python results.py record RECIPE        sum up the recipe's finished runs in results/records/RECIPE.json
    python results.py readme               write the table of all records into README.md

A run is a folder with a results.json, strict JSON, replaced whole after every epoch. Nothing here imports torch.
"""

import json
import math
import statistics
import sys
from pathlib import Path

import atomic
import cli

ROOT = Path(__file__).resolve().parent
RUNS = Path("results")
RECORDS = RUNS / "records"
NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)
STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 1 to 10 degrees of freedom
MARKERS = ("<!-- results: written by make readme -->", "<!-- end of results -->")


def wilson_interval(accuracy, count):
    """[low, high] in percent: the 95 % interval of an accuracy (percent) measured on `count` images (Wilson 1927)."""
    share, z = accuracy / 100, NORMAL_95
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return [100 * (centre - half), 100 * (centre + half)]


def mean_interval(values):
    """[low, high]: the 95 % interval of the mean of a few runs (Student's t); None for fewer than two."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    z = NORMAL_95  # beyond the table: Abramowitz & Stegun 26.7.5
    beyond = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    quantile = STUDENT_95[freedom - 1] if freedom <= len(STUDENT_95) else beyond
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return [statistics.mean(values) - half, statistics.mean(values) + half]


def write(path, content):
    """Replace a strict JSON file whole. Raises ValueError for NaN or infinity."""
    atomic.replace_file(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read(run):
    """The results of a run's folder, or None where it has none. Raises ValueError when the file is not JSON."""
    path = Path(run) / "results.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): remove it, or train again with --overwrite") from error


def runs(folder=RUNS):
    """[(name, results)] of all runs in the folder, finished ones first, best first."""
    found = [(path.parent.name, read(path.parent)) for path in Path(folder).glob("*/results.json")]
    return sorted(
        found, key=lambda run: (-run[1].get("final_test_accuracy", -1), run[1].get("final_test_loss", math.inf), run[0])
    )


def table(head, rows):
    """A Markdown table with aligned columns; the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells):
        return (
            "| "
            + " | ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            + " |"
        )

    rule = (
        "|"
        + "|".join("-" * (width + 2) if column == 0 else "-" * (width + 1) + ":" for column, width in enumerate(widths))
        + "|"
    )
    return "\n".join([line(head), rule, *map(line, rows)])


def view(found):
    """The table of runs, best first."""
    rows = []
    for name, run in found:
        if run["finished"]:
            low, high = run["final_test_accuracy_ci95"]
            outcome = [f"{run['final_test_accuracy']:.2f}", f"{low:.2f} to {high:.2f}", f"{run['final_test_loss']:.4f}"]
        else:
            outcome = ["unfinished", f"at epoch {len(run['history'])}", ""]
        rows.append(
            [name, f"{run['total_parameters']:,}", str(run["total_epochs"]), f"{run['training_time']:.1f}", *outcome]
        )
    return table(["run", "parameters", "epochs", "seconds", "test accuracy %", "95 % interval", "test loss"], rows)


def record(recipe, folder=RUNS):
    """The finished runs of a recipe as one record: figures of each seed, their mean, deviation and interval. Raises
    ValueError for none."""
    found = [run for name, run in runs(folder) if name == f"{recipe}-seed{run['seed']}" and run["finished"]]
    if not found:
        raise ValueError(f"no finished run of recipe {recipe!r} in {folder}: make train RECIPE={recipe}")
    found.sort(key=lambda run: run["seed"])
    facts = [{**run, **run["environment"]} for run in found]
    for key in ("recipe", "network", "cpu", "device", "threads", "precision", "torch"):
        if any(fact[key] != facts[0][key] for fact in facts):
            raise ValueError(f"the runs of {recipe!r} differ in {key}: train them again with OVERWRITE=1")
    accuracies = [run["final_test_accuracy"] for run in found]
    return {
        "recipe": found[0]["recipe"],
        "total_parameters": found[0]["total_parameters"],
        "total_epochs": found[0]["total_epochs"],
        "runs": [
            {key: run[key] for key in ("seed", "final_test_accuracy", "final_test_loss", "training_time")}
            for run in found
        ],
        "mean": statistics.mean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(found) > 1 else None,
        "mean_ci95": mean_interval(accuracies),
        "environment": found[0]["environment"],
    }


def readme_table(records):
    """The README's table of records, best first, and a line on the machines they were made on."""
    rows, machines = [], []
    for entry in sorted(records, key=lambda entry: -entry["mean"]):
        times = [run["training_time"] for run in entry["runs"]]
        deviation = "" if entry["deviation"] is None else f" ± {entry['deviation']:.2f}"
        interval = "" if entry["mean_ci95"] is None else "{:.2f} to {:.2f}".format(*entry["mean_ci95"])
        name, counts = (
            entry["recipe"]["name"],
            [f"{entry['total_parameters']:,}", str(entry["total_epochs"]), str(len(times))],
        )
        rows.append(
            [f"`{name}`", *counts, f"{entry['mean']:.2f}{deviation}", interval, f"{statistics.median(times):.0f}"]
        )
        place = entry["environment"]
        machines.append(
            f"`{name}`: {place['cpu']}, {place['device']}, {place['threads']} threads, "
            f"{place['precision']}, torch {place['torch']}."
        )
    head = [
        "recipe",
        "parameters",
        "epochs",
        "seeds",
        "test accuracy %",
        "95 % interval of the mean",
        "seconds of training",
    ]
    note = (
        "Mean ± standard deviation over seeds; weights of the last epoch, one view of each test image; "
        "median seconds, training only."
    )
    return "\n".join([table(head, rows), "", note, *machines])


def readme(text, records):
    """The README with the table between its markers renewed."""
    before, rest = text.split(MARKERS[0])
    return f"{before}{MARKERS[0]}\n\n{readme_table(records)}\n\n{MARKERS[1]}{rest.split(MARKERS[1])[1]}"


def read_records(folder=RECORDS):
    return [json.loads(path.read_bytes()) for path in sorted(Path(folder).glob("*.json"))]


def check(run, minimum):
    """One line on whether a run is finished and its test accuracy at least `minimum` percent, and the exit status."""
    found = read(run)
    if found is None or not found["finished"]:
        return f"FAIL  {run} holds no finished run: make train", 1
    accuracy = found["final_test_accuracy"]
    kept = accuracy >= minimum
    return (
        f"{'ok  ' if kept else 'FAIL'}  {run}: test accuracy {accuracy:.2f} % {'≥' if kept else '<'} {minimum} %",
        0 if kept else 1,
    )


def main(argv=None):
    parser = cli.Parser(description="Compare runs, sum them up, and write the README's table.")
    commands = parser.add_subparsers(dest="command", parser_class=cli.Parser)
    checking = commands.add_parser("check", help="exit status 1 when a run's accuracy is too low")
    checking.add_argument("run", help="the run's folder")
    checking.add_argument("--minimum", type=float, default=99.4, help="percent (default: 99.4)")
    commands.add_parser("record", help="sum up the runs of a recipe").add_argument("recipe")
    commands.add_parser("readme", help="write the table into README.md")
    arguments = parser.parse_args(argv)
    if arguments.command == "check":
        line, status = check(arguments.run, arguments.minimum)
        print(line)
        return status
    if arguments.command == "record":
        write(RECORDS / f"{arguments.recipe}.json", record(arguments.recipe))
        print(f"wrote {RECORDS / arguments.recipe}.json")
    elif arguments.command == "readme":
        path = ROOT / "README.md"
        atomic.replace_file(path, readme(path.read_text(encoding="utf-8"), read_records()).encode())
    else:
        found = runs()
        print(view(found) if found else f"no runs in {RUNS} yet: make train")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
