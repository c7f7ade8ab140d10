"""The progress of an epoch: loss and accuracy, summed on the device, and a bar that shows them."""

import functools
import math
import time

from support import UserError, cli, processes

import torch
from torch import Tensor
from tqdm import tqdm

LOOK_SECONDS = 0.5  # between two looks at the loss: a look waits for the device
CROWDED = 0.6  # of its threads' time: alone, a training gets three quarters and more
CROWDED_SECONDS = 2  # in which that is told from chance


class Meter:
    """Sums of loss and correct predictions over the batches of an epoch. Where a person watches, a bar of the whole run
    shows them, and the time left."""

    def __init__(self, epoch: int, epochs: float, images: int, device: torch.device):
        self.epoch, self.seen, self.device, self.silent = epoch, 0, device, processes.rank() > 0
        self.total_loss, self.correct = torch.zeros((), device=device), torch.zeros((), device=device)
        self.start, self.spent = time.perf_counter(), time.process_time()
        self.next_look = self.start + LOOK_SECONDS
        self.bar = tqdm(
            desc=f"epoch {min(epoch, epochs):g}/{epochs:g}",
            initial=images * (epoch - 1),
            total=round(images * epochs),
            unit=" images",
            unit_scale=True,
            smoothing=0,  # the rate since the epoch began
            leave=False,
            disable=True if self.silent else None,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_fmt}{postfix}, {remaining} left",
        )

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, batch_size: int, lr: float) -> None:
        """Count a batch by its mean loss []. Raises UserError, now or later, when it is not finite."""
        self.total_loss += loss * batch_size
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.seen += batch_size
        if not self.silent and time.perf_counter() > self.next_look:
            mean = check_finite(self.total_loss.item(), self.epoch) / self.seen
            self.bar.set_postfix_str(f"loss {mean:.3f}, lr {lr:.3g}", refresh=False)
            self.next_look = time.perf_counter() + LOOK_SECONDS
        self.bar.update(batch_size)

    def finish(self) -> dict[str, float]:
        """The epoch's loss and accuracy, of all processes. Raises UserError for a loss that is not finite."""
        self.bar.close()
        loss = check_finite(self.total_loss.item(), self.epoch) / self.seen
        seconds, spent = time.perf_counter() - self.start, time.process_time() - self.spent
        is_known = self.device.type == "cpu" and not self.silent and seconds > CROWDED_SECONDS
        if is_known and spent < CROWDED * seconds * torch.get_num_threads():
            warn_of_crowd()
        processes.all_reduce([self.correct])
        return {"train_loss": loss, "train_accuracy": 100 * self.correct.item() / self.seen}


@functools.cache  # a second warning would say no more
def warn_of_crowd() -> None:
    """Warn, once, that other work slows the training down."""
    count = torch.get_num_threads()
    remedy = "THREADS=1 waits less for others" if count > 1 else "its seconds are too high, its accuracy is as ever"
    cli.warn(f"other work takes the processor: this training gets less than {CROWDED:.0%} of {count} cores; {remedy}")


def check_finite(loss: float, epoch: int) -> float:
    """The loss. Raises UserError when it is NaN or infinite: such a loss makes no update."""
    if not math.isfinite(loss):
        raise UserError(
            f"the loss became {loss} in epoch {epoch}: stopped; what was saved is whole. "
            "Try a lower --learning-rate (make: LR=), with --overwrite (OVERWRITE=1)"
        )
    return loss
