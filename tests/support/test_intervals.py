"""Intervals against scipy, and against the books."""

from support import intervals

import pytest
from scipy import stats


@pytest.mark.parametrize(("correct", "count"), [(90, 100), (9_940, 10_000), (0, 50), (50, 50), (1, 3)])
def test_wilson_interval_is_scipys(correct, count):
    expected = stats.binomtest(correct, count).proportion_ci(0.95, method="wilson")
    assert intervals.wilson_interval(100 * correct / count, count) == pytest.approx(
        [100 * expected.low, 100 * expected.high], abs=1e-9
    )


@pytest.mark.parametrize("freedom", [*range(1, 31), 99])
def test_students_quantile_is_scipys(freedom):
    assert intervals.student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)


def test_the_interval_of_a_mean_is_scipys():
    values = [99.41, 99.5, 99.38, 99.44]
    expected = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    assert intervals.mean_interval(values) == pytest.approx(expected, abs=1e-4)
    assert intervals.mean_interval([99.0]) is None
