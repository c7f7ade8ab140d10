"""The progress of an epoch: loss and accuracy, summed on the device, and a bar that shows them."""

import functools
import math
import shutil
import time

from support import UserError, cli, processes, processor

import torch
from torch import Tensor
from tqdm import tqdm

LOOK_SECONDS = 0.5  # between two looks at the loss: a look waits for the device
WIDTH = 80
CROWDED = 0.6  # of its threads' time: alone, a training gets three quarters and more
CROWDED_SECONDS = 2  # in which that is told from chance


class Meter:
    """Sums of loss and correct predictions over the batches of an epoch. A bar shows them where a person watches."""

    def __init__(self, epoch: int, epochs: float, images: int, device: torch.device):
        self.epoch, self.epochs, self.images, self.seen, self.device = epoch, epochs, images, 0, device
        self.total_loss, self.correct = torch.zeros((), device=device), torch.zeros((), device=device)
        self.silent, self.next_look = processes.rank() > 0, time.monotonic() + LOOK_SECONDS
        self.clock = processor.Clock()
        self.bar = tqdm(
            total=min(images, self.images_left),
            desc=f"epoch {epoch}/{math.ceil(epochs)}",
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=True if self.silent else None,
            ncols=min(WIDTH, shutil.get_terminal_size().columns) - 1,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_fmt}{postfix}",
        )

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, batch_size: int, lr: float) -> None:
        """Count a batch by its mean loss []. Raises UserError, now or later, when it is not finite."""
        self.total_loss += loss * batch_size
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.seen += batch_size
        self.bar.update(batch_size)
        if not self.silent and time.monotonic() > self.next_look:
            mean = check_finite(self.total_loss.item(), self.epoch) / self.seen
            left = tqdm.format_interval(self.clock.seconds / self.seen * self.images_left)
            self.bar.set_postfix_str(f"loss {mean:.3f}, lr {lr:.3g}, {left} left", refresh=False)
            self.next_look = time.monotonic() + LOOK_SECONDS

    @property
    def images_left(self) -> int:
        """How many images are still to be trained on, in this epoch and in those to come."""
        return round(self.images * (self.epochs - self.epoch + 1)) - self.seen

    def finish(self) -> dict[str, float]:
        """The epoch's loss and accuracy, of all processes. Raises UserError for a loss that is not finite."""
        self.bar.close()
        loss = check_finite(self.total_loss.item(), self.epoch) / self.seen
        is_known = self.device.type == "cpu" and not self.silent and self.clock.seconds > CROWDED_SECONDS
        if is_known and self.clock.share(torch.get_num_threads()) < CROWDED:
            warn_of_crowd()
        processes.all_reduce([self.correct])
        return {"train_loss": loss, "train_accuracy": 100 * self.correct.item() / self.seen}


@functools.cache  # a second warning would say no more
def warn_of_crowd() -> None:
    """Warn, once, that other work slows the training down."""
    cli.warn(
        f"other work takes the processor: this training gets less than {CROWDED:.0%} of the time of its "
        f"{torch.get_num_threads()} threads, and is slower for it; THREADS=1 waits less for others"
    )


def check_finite(loss: float, epoch: int) -> float:
    """The loss. Raises UserError when it is NaN or infinite: such a loss makes no update."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss became {loss} in epoch {epoch}: stopped; what was saved is whole. "
            "Try a lower --learning-rate (make: LR=), with --overwrite (OVERWRITE=1)"
        )
    return loss
