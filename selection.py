"""Selection: which training images come next: all of them, or those that the network still finds hard.

The loss of an image is the one computed when it was last trained on, so selection costs next to nothing. The first
epoch shows every image. Later ones go in rounds: each draws a share of the images, half of them by their loss, half at
random, so that none is forgotten. An epoch still shows as many images as there are. After online batch selection
(Loshchilov & Hutter, arXiv 1511.06343) and selective backprop (Jiang et al., arXiv 1910.00762).
"""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from recipes import Recipe

HARDEST = 0.5  # of a round: the share drawn by loss


class Selection:
    """The last loss of each of N training images (float32 [N]; infinite before the first), and how often each was
    shown (int32 [N]). `all_reduce` adds up tensors over the processes that train together, as each shows its part."""

    def __init__(self, recipe: Recipe, count: int, device: torch.device, all_reduce: Callable[[list[Tensor]], None]):
        self.recipe, self.all_reduce = recipe, all_reduce
        self.losses = torch.full((count,), math.inf, device=device)
        self.shown = torch.zeros(count, dtype=torch.int32, device=device)

    def images(self, epoch: int) -> int:
        """How many images an epoch shows: all of them, except in a last epoch that is only a part."""
        count, (steps, total) = len(self.losses), self.recipe.steps(len(self.losses))
        is_last = epoch == math.ceil(self.recipe.epochs)
        return min(count, self.recipe.batch_size * (total - steps * (epoch - 1))) if is_last else count

    def plan(self, epoch: int) -> list[tuple[int, int]]:
        """[(images, how many of them by their loss)] of the rounds of an epoch. All but the last are whole batches,
        so that an epoch has as many steps as without selection."""
        keep, batch_size, shown = self.recipe.keep, self.recipe.batch_size, self.images(epoch)
        if keep == 1 or epoch == 1:
            return [(shown, 0)]
        size = batch_size * max(1, round(keep * len(self.losses) / batch_size))
        sizes = [end - start for start, end in itertools.pairwise([*range(0, shown, size), shown])]
        return [(size, round(HARDEST * size)) for size in sizes]

    def rounds(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        """The indices of the images of each round of an epoch, int64 [M], none twice in a round. Before the next
        round is drawn, `note` must have been given the losses of the images that this process shows."""
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
        """Resume from a state that `state_dict` returned."""
        self.losses.copy_(state["losses"])
        self.shown.copy_(state["shown"])
