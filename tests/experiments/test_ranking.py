"""The ranking against scipy, and against figures worked out by hand."""

import hypothesis
import pytest
from hypothesis import strategies
from scipy import stats

from experiments import ranking

BEST = ranking.Candidate("lr=0.4", dict(enumerate([99.40, 99.46, 99.37, 99.43, 99.45])))
CLOSE = ranking.Candidate("lr=0.3", dict(enumerate([99.41, 99.40, 99.38, 99.41, 99.44])))
WORSE = ranking.Candidate("lr=0.1", dict(enumerate([99.21, 99.29, 99.17, 99.22, 99.26])))
PRUNED = ranking.Candidate("lr=0.01", {0: 98.0, 1: 98.2, 2: 97.5}, is_pruned=True)


def values(candidate, count=5):
    return [candidate.accuracies[seed] for seed in range(count)]


@pytest.mark.parametrize(("candidate", "count"), [(CLOSE, 5), (WORSE, 5), (PRUNED, 3)])
def test_a_comparison_is_scipys_paired_test_over_the_shared_seeds(candidate, count):
    expected = stats.ttest_rel(values(candidate, count), values(BEST, count))
    assert ranking.compare(candidate, BEST).p == pytest.approx(expected.pvalue)


def test_p_values_are_holms():
    """0.01 × 3, 0.03 × 2, 0.04 × 1, of which none may be below the one before."""
    comparisons = [ranking.Comparison([-1.0, -2.0], p) for p in (0.01, 0.04, None, 0.03)]
    assert [item.p for item in ranking.holm(comparisons)] == pytest.approx([0.03, 0.06, None, 0.06])
    assert ranking.holm([ranking.Comparison([], 0.9), ranking.Comparison([], 0.8)])[0].p == 1


@hypothesis.given(strategies.lists(strategies.floats(1e-9, 1), min_size=1))
def test_corrected_p_values_are_between_the_plain_ones_and_bonferronis(plain):
    corrected = [item.p for item in ranking.holm([ranking.Comparison([], p) for p in plain])]
    for p, after in zip(plain, corrected, strict=True):
        assert p <= after <= min(1, len(plain) * max(plain))
    assert min(corrected) == pytest.approx(min(1, len(plain) * min(plain)))


def test_what_tells_nothing_is_not_told_apart():
    one = ranking.Candidate("one", {0: 90.0})
    shifted = ranking.Candidate("shifted", {seed: accuracy - 1 for seed, accuracy in BEST.accuracies.items()})
    elsewhere = ranking.Candidate("elsewhere", {8: 90.0, 9: 91.0})
    for candidate in (one, shifted, elsewhere, BEST):
        comparison = ranking.compare(candidate, BEST)
        assert comparison.p is None
        assert not comparison.is_worse
        assert ranking.verdict(comparison) == "not told apart"


def test_so_many_seeds_have_the_power_that_is_said():
    comparison = ranking.compare(CLOSE, BEST)
    count = comparison.seeds_needed
    differences = comparison.differences
    effect = abs(sum(differences) / len(differences)) / stats.tstd(differences)
    limit = stats.t.ppf(0.975, count - 1)
    power = stats.nct.sf(limit, count - 1, effect * count**0.5)
    assert power == pytest.approx(0.8, abs=0.05)
    assert ranking.verdict(comparison) == f"not told apart: about {count} seeds would"


def test_candidates_are_ranked_by_their_mean_and_pruned_ones_come_last():
    lucky = ranking.Candidate("lucky", {0: 99.9}, is_pruned=True)
    order = ranking.order([lucky, PRUNED, WORSE, CLOSE, BEST])
    assert order == [BEST, CLOSE, WORSE, lucky, PRUNED]


def test_the_report_says_what_is_significant_and_what_is_not():
    lines = ranking.report([CLOSE, PRUNED, WORSE, BEST]).splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:6]]
    assert [row[0] for row in table] == ["lr=0.4", "lr=0.3", "lr=0.1", "lr=0.01"]
    assert [row[1] for row in table] == ["5", "5", "5", "3, pruned"]
    assert table[0][2:4] == ["99.422", "99.38 to 99.47"]  # 99.422 ± 2.776 × 0.0370 / √5
    assert [row[-1] for row in table][0::2] == ["best", "worse"]
    assert table[1][-1].startswith("not told apart: about")
    assert table[2][4] == "-0.192"
    assert "significantly worse at 5%, corrected for 3 comparisons: 2; not told apart from the best: 1" in lines


def test_one_candidate_alone_is_the_best():
    assert "best: lr=0.4" in ranking.report([BEST])
