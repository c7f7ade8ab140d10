"""The ranking: candidates best first, each with the interval of its mean and a paired comparison with the best.

Runs with the same seed hold out the same images and so are compared with each other: by Student's paired t-test over
the seeds that two candidates share. Its p-values are corrected for the number of comparisons (Holm 1979).
"""

import dataclasses
import itertools
import statistics

from support import intervals

from scipy import stats

import results

SIGNIFICANT = 0.05
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

    def differences(self, best: "Candidate") -> list[float]:
        """Its accuracy minus the best one's, in points, for each seed that both have."""
        return [self.accuracies[seed] - best.accuracies[seed] for seed in self.accuracies if seed in best.accuracies]


def p_value(differences: list[float]) -> float | None:
    """Of Student's test that the mean is 0. None for fewer than two differences, or for some that do not vary, which
    test nothing."""
    if len(differences) < 2 or statistics.stdev(differences) < 1e-9:  # points: rounding alone
        return None
    return float(stats.ttest_1samp(differences, 0).pvalue)


def holm(p_values: list[float | None]) -> list[float | None]:
    """The p-values that hold for all comparisons together (Holm 1979); None stays None."""
    tested = sorted(p for p in p_values if p is not None)
    steps = (min(1.0, (len(tested) - index) * p) for index, p in enumerate(tested))
    corrected = dict(zip(tested, itertools.accumulate(steps, max), strict=True))
    return [corrected.get(p) for p in p_values]


def mean_cells(values: list[float], sign: str = "") -> list[str]:
    """The mean of some values and its 95 % interval, as cells of the table."""
    interval = intervals.mean_interval(values)
    return [
        format(statistics.mean(values), f"{sign}.3f") if values else "–",
        f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "–",
    ]


def report(candidates: list[Candidate]) -> str:
    """The ranking as a table, best mean first and pruned candidates, whose mean is of fewer seeds, last; and how many
    are significantly worse than the best."""
    ranked = sorted(candidates, key=lambda candidate: (candidate.is_pruned, -candidate.mean))
    best, rows = ranked[0], []
    differences = [candidate.differences(best) for candidate in ranked]  # the best one's own, all 0, test nothing
    p_values = holm([p_value(values) for values in differences])
    for candidate, values, p in zip(ranked, differences, p_values, strict=True):
        seeds = f"{len(candidate.accuracies)}{', pruned' * candidate.is_pruned}"
        is_worse = p is not None and p < SIGNIFICANT and statistics.mean(values) < 0
        comparison = [*mean_cells(values, "+"), "–" if p is None else f"{p:.3g}"]
        verdict = "worse" if is_worse else "not told apart"
        rows.append([candidate.name, seeds, *mean_cells(list(candidate.accuracies.values())), *comparison, verdict])
    rows[0][4:] = ["", "", "", "best"]
    worse, comparisons = sum(row[-1] == "worse" for row in rows), len(rows) - 1
    return (
        f"{results.markdown_table(HEAD, rows)}\n\n"
        f"best: {best.name}\n"
        f"significantly worse at {SIGNIFICANT:.0%}, corrected for {comparisons} comparisons: {worse}; "
        f"not told apart from the best: {comparisons - worse}\n"
        "The best was chosen by these very images: its own figure flatters it, until other seeds or the test images "
        "confirm it."
    )
