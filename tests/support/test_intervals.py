"""Intervals against scipy, and against the books."""

import math
import statistics

from support import intervals

import numpy as np
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


def test_the_intervals_of_a_mean_and_of_one_more_value_are_scipys():
    values = [99.41, 99.5, 99.38, 99.44]
    expected = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    assert intervals.mean_interval(values) == pytest.approx(expected, abs=1e-4)
    assert intervals.mean_interval([99.0]) is None
    expected = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=statistics.stdev(values) * math.sqrt(5 / 4))
    assert intervals.prediction_interval(values) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("trainings", "outside"), [(1, 1 / 20), (2, 1 / 8), (5, 1 / 3)])
def test_one_more_run_lies_outside_as_often_as_the_docs_say(trainings, outside):
    """Of ten seeds, each the best of so many trainings (docs/records.md)."""
    draws = np.random.default_rng(0)
    bounds = [intervals.prediction_interval(draws.normal(size=(10, trainings)).max(1).tolist()) for _ in range(2000)]
    more = draws.normal(size=2000)
    shares = [not low <= value <= high for (low, high), value in zip(bounds, more, strict=True)]
    assert np.mean(shares) == pytest.approx(outside, rel=0.2)


@pytest.mark.parametrize("count", [2, 4, 12])
def test_welchs_interval_of_a_difference_is_scipys_or_a_little_wider(count):
    first, second = [99.41, 99.5, 99.38, 99.44, 99.47], [99.2 + 0.03 * (index % 5) for index in range(count)]
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    low, high = intervals.welch_interval(first, second)
    assert low <= expected.low + 1e-4 and high >= expected.high - 1e-4
    assert high - low <= (expected.high - expected.low) * (2.2 if count == 2 else 1.1)
    assert intervals.welch_interval([1.0, 1.0], [0.5, 0.5]) == [0.5, 0.5]
