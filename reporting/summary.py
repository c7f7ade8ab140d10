"""A run as Markdown, for the summary of a CI job: verdict, history, and the difference to an earlier run.

python -m reporting.summary default-seed0 [--base main/results.json] [--data data]
"""

from pathlib import Path

from support import UserError, cli
from support.rule import mark

import recipes
import results
import verdict
from reporting import compare
from results import Result


def difference(result: Result, base: Path) -> str:
    """The difference to an earlier run in a line; why there is none, where it cannot be told."""
    try:
        compared = compare.comparison(["the earlier run", "this run"], results.load_finished(base), result)
    except UserError as error:
        return f"No difference to {base} can be told: {error}."
    return f"Since {base}: {compared['verdict']}."


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", type=results.find_run, help="the run's folder, or its name in results/")
    parser.add_argument("--base", type=results.find_run, help="the folder of an earlier run, or its results.json")
    parser.add_data()
    arguments = parser.parse_args(argv)
    run, base = arguments.run, arguments.base
    result = results.load_finished(run)
    rules = [[mark(rule.passed), rule.name, rule.measured] for rule in verdict.judge(run, arguments.data)]
    recipe = recipes.from_stored(result["recipe"])
    history = [result["history"][: epoch + 1] for epoch in range(len(result["history"]))]  # so far, at each epoch
    parts = [
        f"### {run.name}: {results.result_line(result)}",
        "",
        results.markdown_table(["", "", ""], rules),
        *(["", difference(result, base.parent if base.is_file() else base)] if base else []),
        "\n<details><summary>history</summary>\n\n```",
        results.epoch_head(recipe.holdout),
        *(results.epoch_row(so_far, recipe.epochs, recipe.best_threshold) for so_far in history),
        "```\n\n</details>",
    ]
    print("\n".join(parts))


if __name__ == "__main__":
    cli.run(main)
