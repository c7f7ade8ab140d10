"""The README's numbers: sections between markers, written from the committed records.

python readme.py
"""

import json
import statistics
import sys
from pathlib import Path

import atomic
import benchmark
import cli
import records
import results

ROOT = Path(__file__).resolve().parent
START, END = "<!-- {}: written by make readme -->", "<!-- end of {} -->"


def record_table(found):
    """The table of records ({recipe: record}), best first, and a line on the machine of each."""
    rows, machines = [], []
    for name, entry in sorted(found.items(), key=lambda item: -item[1]["mean"]):
        times = [run["training_time"] for run in entry["runs"]]
        deviation = "" if entry["deviation"] is None else f" ± {entry['deviation']:.2f}"
        interval = "" if entry["mean_ci95"] is None else "{:.2f} to {:.2f}".format(*entry["mean_ci95"])
        counts = [f"{entry['total_parameters']:,}", str(entry["total_epochs"]), str(len(times))]
        seconds = f"{statistics.median(times):.{0 if min(times) > 20 else 1}f}"
        rows.append([f"`{name}`", *counts, f"{entry['mean']:.2f}{deviation}", interval, seconds])
        place = entry["environment"]
        machines.append(
            f"`{name}`: {place['cpu']}, {place['device']}, {place['processes']} × {place['threads']} threads, "
            f"{place['precision']}, torch {place['torch']}."
        )
    head = ["recipe", "parameters", "epochs", "seeds", "test accuracy %", "95 % interval of the mean", "seconds"]
    note = (
        "Mean ± standard deviation over seeds; weights of the last epoch, one view of each test image; "
        "median seconds of training."
    )
    return "\n".join([results.table(head, rows), "", note, *machines])


def fill(text, name, content):
    """The text with what is between the markers of a section renewed."""
    start, end = START.format(name), END.format(name)
    before, rest = text.split(start)
    return f"{before}{start}\n\n{content}\n\n{end}{rest.split(end)[1]}"


def renew(text):
    """The README with all its sections renewed from the records."""
    text = fill(text, "results", record_table(records.read(ROOT / records.RECORDS)))
    return fill(text, "speed", benchmark.report(json.loads((ROOT / benchmark.RECORD).read_bytes())))


def main(argv=None):
    cli.Parser(description="Write the README's numbers from the records.").parse_args(argv)
    path = ROOT / "README.md"
    atomic.replace_file(path, renew(path.read_text(encoding="utf-8")).encode())
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
