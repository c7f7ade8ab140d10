"""Which images are shown, how often, and what a resumed training and several processes make of it."""

import itertools
import math

import pytest
import torch

import recipes
from selection import Selection

CPU = torch.device("cpu")
COUNT = 1050  # 10 batches of 100, and one of 50


def start(all_reduce=lambda _: None, count=COUNT, **changes):
    return Selection(recipes.change(recipes.Recipe(), {"batch_size": 100} | changes), count, CPU, all_reduce)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def show(selection, epoch, losses, seed=0):
    """The rounds of an epoch, each image of which then has the loss that it is given."""
    rounds = []
    for index in selection.rounds(epoch, draws(seed)):
        rounds.append(index)
        selection.note(index, losses[index])
    return rounds


@pytest.mark.parametrize("epoch", [1, 2])
def test_with_all_kept_an_epoch_is_one_permutation(epoch):
    (order,) = show(start(), epoch, torch.zeros(COUNT))
    assert order.equal(torch.randperm(COUNT, generator=draws()))


@pytest.mark.parametrize(
    ("keep", "second"),
    [(0.2, [200] * 5 + [50]), (0.25, [300] * 3 + [150]), (0.001, [100] * 10 + [50]), (0.999, [1000, 50]), (1, [1050])],
)
def test_an_epoch_shows_as_many_images_as_there_are_in_whole_batches(keep, second):
    selection = start(keep=keep)
    for epoch, sizes in enumerate(([COUNT], second), 1):
        rounds = show(selection, epoch, torch.rand(COUNT))
        assert [len(index) for index in rounds] == sizes
        assert all(len(index.unique()) == len(index) for index in rounds)
        assert sum(math.ceil(size / 100) for size in sizes) == 11
    assert selection.shown.sum() == 2 * COUNT


def test_a_round_has_the_hardest_and_others_by_chance():
    losses = torch.rand(COUNT)

    def second_epoch(seed):
        selection = start(keep=0.2)
        show(selection, 1, losses)
        return next(selection.rounds(2, draws(seed)))

    first = second_epoch(0)
    hardest = losses.topk(100).indices
    assert torch.isin(hardest, first).all()
    others = losses[first[~torch.isin(first, hardest)]]
    assert 0.35 < others.mean() < 0.55  # of 950 drawn by chance: those that are not the hardest
    assert not torch.isin(first[:100], hardest).all()  # they are not all in one batch
    assert second_epoch(0).equal(first)
    assert not second_epoch(1).equal(first)


def test_the_losses_of_a_round_decide_about_the_next():
    selection, losses = start(keep=0.2), torch.linspace(1, 2, COUNT)
    show(selection, 1, losses)
    first, *later = show(selection, 2, torch.zeros(COUNT))  # what is shown is learned
    assert torch.isin(torch.arange(950, COUNT), first).all()
    for index, known in zip(later, itertools.accumulate([first, *later], lambda *both: torch.cat(both)), strict=False):
        unseen = losses.scatter(0, known, 0)
        assert torch.isin(unseen.topk(len(index) // 2).indices, index).all()


def test_processes_that_each_know_a_part_draw_as_one_that_knows_all():
    losses, known = torch.rand(COUNT), []

    def add_up(tensors):  # the other process has had the other losses
        tensors[0].add_(losses[known[-1]] * (torch.arange(len(known[-1])) % 2 == 1))

    alone, shared = start(keep=0.2), start(add_up, keep=0.2)
    for epoch in (1, 2):
        expected = show(alone, epoch, losses, epoch)
        for index, whole in zip(shared.rounds(epoch, draws(epoch)), expected, strict=True):
            known.append(index)
            shared.note(index[::2], losses[index[::2]])
            assert index.equal(whole)
    assert shared.losses.equal(alone.losses)


@pytest.mark.parametrize(
    ("epochs", "keep", "expected"),
    [
        (1.5, 1, [[1050], [600]]),
        (2, 1, [[1050], [1050], [1050]]),  # a range test goes on
        (0.001, 1, [[100]]),
        (1.99, 1, [[1050], [1050]]),
        (1.5, 0.2, [[1050], [200] * 3]),
        (0.3, 0.2, [[300]]),
    ],
)
def test_the_last_epoch_may_be_a_part_of_one(epochs, keep, expected):
    selection = start(epochs=epochs, keep=keep)
    found = [list(map(len, show(selection, epoch, torch.rand(COUNT)))) for epoch in range(1, len(expected) + 1)]
    assert found == expected
