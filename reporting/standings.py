"""Standings: which records stand in which category of results/records/categories.toml, and which holds it.

    standings.categories()["under5k"].ranked(records)

The rules are in docs/rules.md. Nothing here needs torch.
"""

import dataclasses
import statistics
import tomllib
from typing import Any

from support import cli, intervals

import results

CATEGORIES = cli.ROOT / results.RECORDS / "categories.toml"
SEEDS = range(10)  # what a record has at least

Record = dict[str, Any]  # results/records/<recipe>.json


@dataclasses.dataclass(frozen=True)
class Category:
    """What a record is compared within."""

    title: str
    dataset: str
    parameters: int  # of which a network has fewer
    entry: str  # the recipe of this project that is entered
    accuracy: float | None = None  # mean, in percent, of which a record has no less; then the seconds are compared

    def admits(self, record: Record) -> bool:
        """Whether a record keeps the bounds of its network: data set and parameters."""
        return record["recipe"]["dataset"] == self.dataset and record["total_parameters"] < self.parameters

    def counts(self, record: Record) -> bool:
        """Whether a record stands in the category: admitted, with the seeds 0 to 9, and accurate enough."""
        seeds = {run["seed"] for run in record["runs"]}
        return self.admits(record) and seeds.issuperset(SEEDS) and record["mean"] >= (self.accuracy or 0)

    def ranked(self, records: dict[str, Record]) -> list[str]:
        """The names of those of {name: record} that stand in the category, the best first."""
        standing = [name for name, record in records.items() if self.counts(record)]
        if self.accuracy is None:
            return sorted(standing, key=lambda name: -records[name]["mean"])
        return sorted(standing, key=lambda name: seconds(records[name]))

    def holder(self, records: dict[str, Record]) -> str | None:
        """Which of {name: record} holds the category: its entry, or where that does not stand in it, the best."""
        ranked = self.ranked(records)
        return self.entry if self.entry in ranked else next(iter(ranked), None)


def categories() -> dict[str, Category]:
    """{name: category}, as categories.toml has them."""
    return {name: Category(**table) for name, table in tomllib.loads(CATEGORIES.read_text(encoding="utf-8")).items()}


def seconds(record: Record) -> float:
    """The median seconds of training of a record's runs."""
    return statistics.median(run["training_time"] for run in record["runs"])


def lead(challenger: Record, holder: Record) -> list[float]:
    """[low, high], in percent, by how much the mean accuracy of a challenger lies above a holder's (Welch). It is
    better where even the low end is above 0."""
    accuracies = ([run["final_test_accuracy"] for run in record["runs"]] for record in (challenger, holder))
    return intervals.welch_interval(*accuracies)
