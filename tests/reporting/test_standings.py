import dataclasses

import pytest
from made_up import record

import data
from reporting import standings

CATEGORY = standings.Category("small", "mnist", parameters=5000, entry="own")


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"parameters": 5000}, False),
        ({"dataset": "fashion-mnist"}, False),
        ({"seeds": range(9)}, False),
        ({"seeds": [*range(9), 10]}, False),
        ({"seeds": range(12)}, True),
        ({"seeds": [*range(10), 9]}, False),
        ({"commit": 40 * "a" + "-dirty"}, False),
        ({"commit": "unknown"}, False),
    ],
)
def test_a_record_stands_where_it_keeps_the_bounds_with_ten_seeds_of_committed_code(changes, counts):
    assert CATEGORY.counts(record(**changes)) == counts


def test_the_highest_mean_leads_or_the_shortest_training_that_reaches_the_accuracy():
    records = {"slow": record(99.6, seconds=90), "own": record(99.41, seconds=30), "quick": record(99.39, seconds=5)}
    assert CATEGORY.ranked(records) == ["slow", "own", "quick"]
    assert CATEGORY.holder(records) == "own"
    fast = dataclasses.replace(CATEGORY, accuracy=99.4)
    assert fast.ranked(records) == ["own", "slow"]
    assert fast.holder(records | {"own": record(99.39)}) == "slow"
    assert dataclasses.replace(CATEGORY, accuracy=99.7).holder(records) is None


@pytest.mark.parametrize(("mean", "is_better"), [(99.56, True), (99.54, False), (99.4, False)])
def test_a_challenger_is_better_where_its_whole_lead_is(mean, is_better):
    low, high = standings.lead(record(mean), record(99.5))
    assert (low > 0) == is_better
    assert low < mean - 99.5 < high  # half of it is 2.101 × 0.0527 × √(2 / 10) = 0.0495


def test_the_committed_categories_are_of_known_data_sets():
    committed = standings.categories().values()
    assert committed and all(category.dataset in data.DATASETS for category in committed)
