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
TEST_IMAGES = 10_000
START, END = "<!-- {}: written by make readme -->", "<!-- end of {} -->"

# What each published system claims, in percent of the test images, and what is to be known of that.
CLAIMS = {
    "erav3": ("99.42", "The best epoch, picked on the test images; 15 epochs by its README, 20 by its code."),
    "mnist-ops": ("98.68", "Its test images are rotated and zoomed too, as those of training are."),
    "mnist-7824": ("99.42", "The best epoch, picked on the test images; the last one has 99.29 %."),
    "skeleton-510k": ("99.12", "The best epoch, picked on the test images; the last one has 99.10 %."),
    "mnist-experiment": ("99.43", "The log it shows belongs to another network, of 13,808 parameters."),
    "mnist-experiment-aug": ("> 95", "What its test asks for; it names no result."),
}


def published_table(found):
    """The table of published systems, claimed beside reproduced, from their records ({recipe: record}), with a note on
    each claim."""
    rows = []
    for number, (name, (claimed, _)) in enumerate(CLAIMS.items(), 1):
        entry = found[name]
        low, high = entry["mean_ci95"] or results.wilson_interval(entry["mean"], TEST_IMAGES)
        rows.append(
            [
                f"`{name}`",
                f"{entry['total_parameters']:,}",
                str(entry["total_epochs"]),
                f"{claimed} [{number}]",
                f"{entry['mean']:.2f} ({low:.2f} to {high:.2f})",
                f"{statistics.median(run['training_time'] for run in entry['runs']):,.0f}",
            ]
        )
    head = ["recipe", "parameters", "epochs", "claimed %", "reproduced % (95 % interval)", "seconds here"]
    notes = [f"{number}. {note}" for number, (_, note) in enumerate(CLAIMS.values(), 1)]
    places = {machine(entry["environment"]) for entry in found.values()}
    return "\n".join([results.table(head, rows), "", *notes, "", *sorted(places)])


def machine(place):
    """What a record was trained on, in one line."""
    threads = f"{place['processes']} × {place['threads']} thread{'s' * (place['threads'] > 1)}"
    return f"{place['cpu']}, {place['device']}, {threads}, {place['precision']}, torch {place['torch']}."


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
        machines.append(f"`{name}`: {machine(entry['environment'])}")
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
    folder = ROOT / records.RECORDS
    text = fill(text, "results", record_table(records.read(folder)))
    text = fill(text, "published", published_table(json.loads((folder / f"{records.PUBLISHED}.json").read_bytes())))
    return fill(text, "speed", benchmark.report(json.loads((ROOT / benchmark.RECORD).read_bytes())))


def main(argv=None):
    cli.Parser(description="Write the README's numbers from the records.").parse_args(argv)
    path = ROOT / "README.md"
    atomic.replace_file(path, renew(path.read_text(encoding="utf-8")).encode())
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
