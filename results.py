"""Results: what runs leave behind, and compared.

    python results.py                      every run in results/ in one table, best first
    python results.py check RUN [--minimum 99.4] [--minimum-class 98] [--maximum-loss 0.1]
                                           exit status 1 when a run is not finished or not as good

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
ALWAYS = ("finished", "recipe", "network", "seed", "total_parameters", "total_epochs", "training_time", "history")
FINALLY = ("final_test_accuracy", "final_test_accuracy_ci95", "final_test_loss", "per_class_accuracy")
NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)


def wilson_interval(accuracy, count):
    """[low, high] in percent: the 95 % interval of an accuracy (percent) measured on `count` images (Wilson 1927)."""
    share, z = accuracy / 100, NORMAL_95
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return [100 * (centre - half), 100 * (centre + half)]


def run_folder(recipe, seed):
    """Where a run is, unless another folder was asked for."""
    return RUNS / f"{recipe}-seed{seed}"


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
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): remove it, or train again with --overwrite") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ValueError(f"{path} does not have schema {SCHEMA}: remove it, or train again with --overwrite")
    expected = ALWAYS + (FINALLY if found.get("finished") else ())
    missing = [key for key in expected if found.get(key) in (None, [])]
    if missing:
        raise ValueError(f"{path} lacks {missing[0]}: remove it, or train again with --overwrite")
    return found


def runs(folder=RUNS):
    """[(name, results)] of all runs in the folder, finished ones first, best first. Warns of each that is damaged."""
    found = []
    for path in Path(folder).glob("[!.]*/results.json"):
        try:
            found.append((path.parent.name, read(path.parent)))
        except (ValueError, OSError) as error:
            cli.warn(error)
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


def smoothing_floor(smoothing):
    """The lowest cross-entropy there is with label smoothing: the entropy of its targets."""
    other = smoothing / 10
    shares = [1 - smoothing + other, *[other] * 9]
    return -sum(share * math.log(share) for share in shares if share)


def checks(found, minimum, minimum_class, maximum_loss):
    """[(what was found, whether it is good enough)] of a finished run. The loss counts from the lowest there is, which
    label smoothing raises: what is left is the divergence of the predictions from their targets."""
    worst = min(found["per_class_accuracy"], key=found["per_class_accuracy"].get)
    floor = smoothing_floor(found["recipe"]["label_smoothing"])
    loss = found["history"][-1]["train_loss"] - floor
    numbers = [value for entry in found["history"] for value in entry.values()]
    finite = all(map(math.isfinite, numbers))

    def at_least(name, value, bound):
        return f"{name} {value:.2f} % {'≥' if value >= bound else '<'} {bound:g} %", value >= bound

    return [
        at_least("test accuracy", found["final_test_accuracy"], minimum),
        at_least(f"lowest accuracy of a digit, {worst}:", found["per_class_accuracy"][worst], minimum_class),
        (
            f"final training loss {loss:.4f} {'<' if loss < maximum_loss else '≥'} {maximum_loss:g}"
            + (f", counted from {floor:.4f}, the lowest there is with label smoothing" if floor else ""),
            loss < maximum_loss,
        ),
        (f"history of {len(numbers)} numbers, {'' if finite else 'not '}all finite", finite),
    ]


def check(run, *bounds):
    """The lines on whether a run is finished and good enough, and the exit status; bounds are those of `checks`."""
    found = read(run)
    if found is None or not found["finished"]:
        return [f"FAIL  {run} holds no finished run: make train"], 1
    outcomes = checks(found, *bounds)
    lines = [f"{'ok  ' if kept else 'FAIL'}  {run}: {text}" for text, kept in outcomes]
    return lines, 0 if all(kept for _, kept in outcomes) else 1


def main(argv=None):
    parser = cli.Parser(description="Compare runs.")
    commands = parser.add_subparsers(dest="command", parser_class=cli.Parser)
    checking = commands.add_parser("check", help="exit status 1 when a run is not good enough")
    checking.add_argument("run", help="the run's folder")
    checking.add_argument("--minimum", type=float, default=99.4, help="percent of all images (default: 99.4)")
    checking.add_argument("--minimum-class", type=float, default=98.0, help="percent of any digit's (default: 98)")
    checking.add_argument("--maximum-loss", type=float, default=0.1, help="of the last training epoch (default: 0.1)")
    arguments = parser.parse_args(argv)
    if arguments.command == "check":
        lines, status = check(arguments.run, arguments.minimum, arguments.minimum_class, arguments.maximum_loss)
        print("\n".join(lines))
        return status
    found = runs()
    print(view(found) if found else f"no runs in {RUNS} yet: make train")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
