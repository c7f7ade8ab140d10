"""Selection: which training images come next: all of them, or those that the network still finds hard.

An image's loss is the one that its last training step gave anyway. After epochs in which every image is shown, an epoch
goes in rounds: each draws a share of the images anew, some of them by their loss, the others by chance, so that no
image is forgotten. An epoch stays as many images shown as there are. After online batch selection (Loshchilov & Hutter,
arXiv 1511.06343) and selective backprop (Jiang et al., arXiv 1910.00762).
"""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from recipes import Recipe


class Selection:
    """The losses of N training images when last shown (float32 [N]; infinite before), and how often each was shown
    (int32 [N]). `all_reduce` adds up tensors over the processes that train together, each of which shows its part."""

    def __init__(self, recipe: Recipe, count: int, device: torch.device, all_reduce: Callable[[list[Tensor]], None]):
        self.recipe, self.all_reduce = recipe, all_reduce
        self.losses = torch.full((count,), math.inf, device=device)
        self.shown = torch.zeros(count, dtype=torch.int32, device=device)

    def images(self, epoch: int) -> int:
        """How many images an epoch shows: as many as there are, but in a last one that is a part."""
        count, (steps, total) = len(self.losses), self.recipe.steps(len(self.losses))
        is_last = epoch == math.ceil(self.recipe.epochs)
        return min(count, self.recipe.batch_size * (total - steps * (epoch - 1))) if is_last else count

    def plan(self, epoch: int) -> list[tuple[int, int]]:
        """(images, how many of them by their loss) of each round of an epoch. The first has what comes before the
        recipe's keep_start. All but the last are whole batches: an epoch has as many steps as without selection."""
        recipe, count, shown = self.recipe, len(self.losses), self.images(epoch)

        def whole_batches(share: float) -> int:
            batches = round(share * count / recipe.batch_size)
            return shown if share >= 1 else min(shown, recipe.batch_size * batches)

        first = whole_batches(1 if recipe.keep == 1 else max(0, recipe.keep_start - epoch + 1))
        starts = range(first, shown, max(recipe.batch_size, whole_batches(recipe.keep)))
        sizes = [end - start for start, end in itertools.pairwise([*starts, shown])]
        return [(first, 0)] * (first > 0) + [(size, round(recipe.keep_hardest * size)) for size in sizes]

    def rounds(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        """The indices of the images of each round of an epoch, int64 [M], none twice in a round. By the time the next
        is asked for, `note` has been given the losses of those that this process shows."""
        for size, hardest in self.plan(epoch):
            index = self.draw(size, hardest, generator)
            self.losses.index_fill_(0, index, 0)
            yield index
            losses = self.losses.index_select(0, index)
            self.all_reduce([losses])
            self.losses.index_copy_(0, index, losses)
            self.shown.index_add_(0, index, torch.ones_like(index, dtype=self.shown.dtype))

    def draw(self, size: int, hardest: int, generator: torch.Generator) -> Tensor:
        """The indices of so many images, some of them those of the highest losses, in random order."""
        device = self.losses.device
        order = torch.randperm(len(self.losses), generator=generator).to(device)
        if not hardest:
            return order[:size]
        first = order.index_fill_(0, self.losses.topk(hardest).indices, len(order))  # before all others
        return first.topk(size).indices[torch.randperm(size, generator=generator).to(device)]

    def note(self, index: Tensor, losses: Tensor) -> None:
        """Keep the losses [B] of the images at `index` [B]."""
        self.losses.index_copy_(0, index, losses.detach().float())

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"losses": self.losses, "shown": self.shown}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a state that `state_dict` returned."""
        self.losses.copy_(state["losses"])
        self.shown.copy_(state["shown"])
