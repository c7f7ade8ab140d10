"""The ranking against scipy, and against figures worked out by hand."""

import pytest
from scipy import stats

from experiments import sweep

BEST = ("lr=0.4", dict(enumerate([99.40, 99.46, 99.37, 99.43, 99.45])))
CLOSE = ("lr=0.3", dict(enumerate([99.41, 99.40, 99.38, 99.41, 99.44])))
WORSE = ("lr=0.1", dict(enumerate([99.21, 99.29, 99.17, 99.22, 99.26])))
PRUNED = ("lr=0.01", {0: 98.0, 1: 98.2, 2: 97.5})


def table(candidates):
    """The cells of the rows, without the head, and the lines below."""
    lines = sweep.ranking(candidates, seeds=5).splitlines()
    end = lines.index("")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:end]], lines[end:]


@pytest.mark.parametrize(("candidate", "count"), [(CLOSE, 5), (WORSE, 5), (PRUNED, 3)])
def test_a_comparison_is_scipys_paired_test_over_the_shared_seeds(candidate, count):
    values = [[accuracies[seed] for seed in range(count)] for _, accuracies in (candidate, BEST)]
    assert table([candidate, BEST])[0][1][-2] == f"{stats.ttest_rel(*values).pvalue:.3g}"


def test_p_values_are_holms():
    """0.01 × 3, 0.03 × 2, 0.04 × 1, of which none may be below the one before."""
    assert sweep.holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])


@pytest.mark.parametrize(
    "accuracies",
    [{0: 90.0}, {seed: accuracy - 1 for seed, accuracy in BEST[1].items()}, {8: 90.0, 9: 91.0}],
    ids=["one seed", "differences that do not vary", "other seeds"],
)
def test_what_tells_nothing_is_not_told_apart(accuracies):
    rows, lines = table([BEST, ("other", accuracies)])
    assert rows[1][-2:] == ["–", "not told apart"]
    assert "significantly worse at 5%, corrected for 1 comparisons: 0; not told apart from the best: 1" in lines


def test_the_report_ranks_by_mean_with_pruned_ones_last_and_says_what_is_significant():
    rows, lines = table([("lucky", {0: 99.9}), CLOSE, PRUNED, WORSE, BEST])
    assert [row[0] for row in rows] == ["lr=0.4", "lr=0.3", "lr=0.1", "lucky", "lr=0.01"]
    assert [row[1] for row in rows] == ["5", "5", "5", "1, pruned", "3, pruned"]
    assert rows[0][2:4] == ["99.422", "99.38 to 99.47"]  # 99.422 ± 2.776 × 0.0370 / √5
    assert rows[2][4] == "-0.192"
    assert [row[-1] for row in rows[::2]] == ["best", "worse", "worse"]
    assert "best: lr=0.4" in lines
    assert "significantly worse at 5%, corrected for 4 comparisons: 2; not told apart from the best: 2" in lines
