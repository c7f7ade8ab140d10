"""A run as Markdown, for the summary of a CI job: verdict, history, and the difference to an earlier run.

python -m reporting.summary default-seed0 [--base main/results.json] [--data data]
"""

import sys
from pathlib import Path

from support import UserError, cli

import results
import verdict
from reporting import paired
from results import Result, markdown_table


def verdict_table(rules: list[verdict.Rule]) -> str:
    """The verdict as a table."""
    return markdown_table(["", "", ""], [["✓" if rule.passed else "✗", rule.name, rule.measured] for rule in rules])


def history_table(result: Result) -> str:
    """The history as a table."""
    head = ["epoch", "lr", "train loss", "train %", "val loss", "val %", "test loss", "test %", "s"]
    keys = [
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "test_loss",
        "test_accuracy",
        "seconds",
    ]
    digits = [".0f", ".3g", ".4f", ".2f", ".4f", ".4g", ".4f", ".2f", ".1f"]
    shown = [column for column in zip(head, keys, digits, strict=True) if column[1] in result["history"][0]]
    rows = [[f"{entry[key]:{form}}" for _, key, form in shown] for entry in result["history"]]
    return markdown_table([name for name, _, _ in shown], rows)


def difference(result: Result, base: Path) -> str:
    """The difference to an earlier run in a line; why there is none, where it cannot be told."""
    try:
        earlier = paired.read(base)
        return f"Since {base}: {paired.verdict(paired.compare(earlier, result), ['the earlier run', 'this run'])}."
    except UserError as error:
        return f"No difference to {base} can be told: {error}."


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_argument("--base", type=results.find_run, help="the folder of an earlier run, or its results.json")
    parser.add_data()
    arguments = parser.parse_args(argv)
    result = paired.read(arguments.run)
    base = arguments.base
    parts = [
        f"### {arguments.run.name}: {results.result_line(result)}",
        verdict_table(verdict.check(arguments.run, arguments.data)),
        difference(result, base.parent if base.is_file() else base) if base else "",
        f"<details><summary>history</summary>\n\n{history_table(result)}\n\n</details>",
    ]
    print("\n\n".join(part for part in parts if part))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
