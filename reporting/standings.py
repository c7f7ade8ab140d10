"""Standings: which records stand in which category of results/records/categories.toml, and which holds it.

    standings.categories()["under5k"].ranked(records)

The rules are in docs/rules.md. Nothing here needs torch.
"""

import dataclasses
import re
import statistics
import tomllib
from typing import Annotated, Any, NotRequired, TypedDict

from support import intervals
from support.rule import Rule, at_least, below

import msgspec

import results
from results import Count, Environment, Interval, Percent, Positive, Seconds

CATEGORIES = results.RECORDS / "categories.toml"
COMMIT = re.compile("[0-9a-f]{40}")  # of code without changes
SEEDS = 10  # of a record at least


class RecordedRun(TypedDict):
    """A run in a record; experiments/calibration.py has what the figures from calibration_error on are."""

    seed: Count
    final_test_accuracy: Percent
    final_test_loss: float
    training_time: Seconds
    calibration_error: Percent
    answered: Percent
    answered_accuracy: Percent
    coverage: list[Percent]


class Record(TypedDict):
    """The content of results/records/<recipe>.json. A single run has no deviation and no interval of the mean; date and
    author are those of the commit."""

    recipe: dict[str, Any]
    total_parameters: Count
    total_epochs: Positive | Annotated[float, msgspec.Meta(gt=0)]
    runs: Annotated[list[RecordedRun], msgspec.Meta(min_length=1)]
    mean: Percent
    deviation: float | None
    mean_ci95: Interval | None
    date: NotRequired[str]
    author: NotRequired[str]
    environment: Environment
    calibration: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Category:
    """What a record is compared within."""

    title: str
    dataset: str
    parameters: int  # of which a network has fewer
    entry: str  # the recipe of this project that is entered
    accuracy: float | None = None  # mean, in percent, of which a record has no less; then the seconds are compared

    def bounds(self, record: Record) -> list[Rule]:
        """Whether the network of a record may be entered."""
        dataset = record["recipe"]["dataset"]
        return [
            Rule("data set", dataset, dataset == self.dataset),
            below("parameters", record["total_parameters"], self.parameters),
        ]

    def rules(self, record: Record) -> list[Rule]:
        """Whether a record keeps all that the category asks for."""
        seeds, commit = [run["seed"] for run in record["runs"]], record["environment"]["commit"]
        accuracies = [] if self.accuracy is None else [at_least("mean accuracy", record["mean"], self.accuracy)]
        return [
            *self.bounds(record),
            Rule("seeds", ", ".join(map(str, seeds)), len(seeds) >= SEEDS and seeds == list(range(len(seeds)))),
            *accuracies,
            Rule("commit", commit[:7] + " with changes" * commit.endswith("-dirty"), bool(COMMIT.fullmatch(commit))),
        ]

    def counts(self, record: Record) -> bool:
        """Whether a record stands in the category."""
        return all(rule.passed for rule in self.rules(record))

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


def records() -> dict[str, Record]:
    """{name: record} of the committed records of recipes. Raises UserError for a damaged one."""
    there = {path.stem: results.load_record(path.stem) for path in sorted(results.RECORDS.glob("*.json"))}
    return {name: record for name, record in there.items() if "runs" in record}


def seconds(record: Record) -> float:
    """The median seconds of training of a record's runs."""
    return statistics.median(run["training_time"] for run in record["runs"])


def lead(challenger: Record, holder: Record) -> list[float]:
    """[low, high], in percent, by how much the mean accuracy of a challenger lies above a holder's (Welch). It is
    better where even the low end is above 0."""
    accuracies = ([run["final_test_accuracy"] for run in record["runs"]] for record in (challenger, holder))
    return intervals.welch_interval(*accuracies)
