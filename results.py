"""Results: what runs leave behind, and compared.

    python results.py                      every run in results/ in one table, best first
    python results.py check RUN [--minimum 99.4]     exit status 1 when a run is not finished or its accuracy is below

A run is a folder with a results.json, strict JSON, replaced whole after every epoch. Nothing here imports torch.
"""

import json
import math
import statistics
import sys
from pathlib import Path

import atomic
import cli

RUNS = Path("results")
SCHEMA = 1
NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)


def wilson_interval(accuracy, count):
    """[low, high] in percent: the 95 % interval of an accuracy (percent) measured on `count` images (Wilson 1927)."""
    share, z = accuracy / 100, NORMAL_95
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return [100 * (centre - half), 100 * (centre + half)]


def write(path, content):
    """Replace a strict JSON file whole. Raises ValueError for NaN or infinity."""
    atomic.replace_file(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read(run):
    """The results of a run's folder, or None where it has none. Raises ValueError when the file is not one of this
    program."""
    path = Path(run) / "results.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): remove it, or train again with --overwrite") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ValueError(f"{path} does not have schema {SCHEMA}: remove it, or train again with --overwrite")
    return found


def runs(folder=RUNS):
    """[(name, results)] of all runs in the folder, finished ones first, best first. Warns of each that is damaged."""
    found = []
    for path in Path(folder).glob("*/results.json"):
        try:
            found.append((path.parent.name, read(path.parent)))
        except ValueError as error:
            print(f"warning: {error}", file=sys.stderr)
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
    parser = cli.Parser(description="Compare runs.")
    commands = parser.add_subparsers(dest="command", parser_class=cli.Parser)
    checking = commands.add_parser("check", help="exit status 1 when a run's accuracy is too low")
    checking.add_argument("run", help="the run's folder")
    checking.add_argument("--minimum", type=float, default=99.4, help="percent (default: 99.4)")
    arguments = parser.parse_args(argv)
    if arguments.command == "check":
        line, status = check(arguments.run, arguments.minimum)
        print(line)
        return status
    found = runs()
    print(view(found) if found else f"no runs in {RUNS} yet: make train")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
