"""The ranking: candidates best first, each with the interval of its mean and a paired comparison with the best.

Runs with the same seed hold out the same images and so are compared with each other: by Student's paired t-test over
the seeds that two candidates share. Its p-values are corrected for the number of comparisons (Holm 1979).
"""

import dataclasses
import math
import statistics

from support import intervals

from scipy import stats

import results

SIGNIFICANT = 0.05
POWER_80 = statistics.NormalDist().inv_cdf(0.8)
MANY_SEEDS = 1000
HEAD = ["candidate", "seeds", "accuracy %", "95 % interval", "minus the best", "95 % interval", "p (Holm)", "verdict"]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What was tried, and the accuracy that it reached, in percent of the held-out images, with each seed."""

    name: str
    accuracies: dict[int, float]
    is_pruned: bool = False

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies.values())


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A candidate beside the best: its accuracy minus the best one's for each seed that both have, in points; the
    p-value, first of this comparison alone, None where there is nothing to test."""

    differences: list[float]
    p: float | None

    @property
    def is_worse(self) -> bool:
        return self.p is not None and self.p < SIGNIFICANT and statistics.mean(self.differences) < 0

    @property
    def seeds_needed(self) -> int | None:
        """About how many seeds would tell a difference as large as this one at 5 %, four times of five; None where it
        cannot be said."""
        if self.p is None or not statistics.mean(self.differences):
            return None
        effect = statistics.mean(self.differences) / statistics.stdev(self.differences)
        return math.ceil(((intervals.NORMAL_95 + POWER_80) / effect) ** 2 + intervals.NORMAL_95**2 / 2)


def order(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates with the best mean first; pruned ones, whose mean is of fewer seeds, after all others."""
    return sorted(candidates, key=lambda candidate: (candidate.is_pruned, -candidate.mean))


def compare(candidate: Candidate, best: Candidate) -> Comparison:
    """The comparison of a candidate with the best. Fewer than two seeds, or differences that do not vary, test
    nothing."""
    shared = sorted(candidate.accuracies.keys() & best.accuracies.keys())
    differences = [candidate.accuracies[seed] - best.accuracies[seed] for seed in shared]
    if len(differences) < 2 or statistics.stdev(differences) < 1e-9:  # points: rounding alone
        return Comparison(differences, None)
    return Comparison(differences, float(stats.ttest_1samp(differences, 0).pvalue))


def holm(comparisons: list[Comparison]) -> list[Comparison]:
    """The comparisons with p-values that hold for all of them together (Holm 1979)."""
    tested = sorted((item for item in comparisons if item.p is not None), key=lambda item: item.p)
    corrected, highest = {}, 0.0
    for index, item in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - index) * item.p))
        corrected[id(item)] = highest
    return [dataclasses.replace(item, p=corrected.get(id(item))) for item in comparisons]


def verdict(comparison: Comparison) -> str:
    """What a comparison says, in a few words."""
    if comparison.is_worse:
        return "worse"
    needed = comparison.seeds_needed
    if needed is None:
        return "not told apart"
    count = f"about {needed}" if needed <= MANY_SEEDS else f"over {MANY_SEEDS:,}"
    return f"not told apart: {count} seeds would"


def shown_interval(interval: list[float] | None) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "–"


def rows(candidates: list[Candidate], comparisons: list[Comparison]) -> list[list[str]]:
    """The rows of the table: the best one, then all others, each beside its comparison."""
    cells = [
        [
            candidate.name,
            f"{len(candidate.accuracies)}{', pruned' * candidate.is_pruned}",
            f"{candidate.mean:.3f}",
            shown_interval(intervals.mean_interval(list(candidate.accuracies.values()))),
        ]
        for candidate in candidates
    ]
    compared = [
        [
            f"{statistics.mean(item.differences):+.3f}" if item.differences else "–",
            shown_interval(intervals.mean_interval(item.differences)),
            "–" if item.p is None else f"{item.p:.3g}",
            verdict(item),
        ]
        for item in comparisons
    ]
    return [left + right for left, right in zip(cells, [["", "", "", "best"], *compared], strict=True)]


def report(candidates: list[Candidate]) -> str:
    """The ranking as a table, and what of it is significant."""
    ranked = order(candidates)
    comparisons = holm([compare(candidate, ranked[0]) for candidate in ranked[1:]])
    worse = sum(comparison.is_worse for comparison in comparisons)
    return (
        f"{results.markdown_table(HEAD, rows(ranked, comparisons))}\n\n"
        f"best: {ranked[0].name}\n"
        f"significantly worse at {SIGNIFICANT:.0%}, corrected for {len(comparisons)} comparisons: {worse}; "
        f"not told apart from the best: {len(comparisons) - worse}\n"
        "The best was chosen by these very images: its own figure flatters it, until other seeds or the test images "
        "confirm it."
    )
