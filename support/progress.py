"""The progress of an epoch: loss and accuracy, summed on the device, and a bar that shows them."""

import math
import time

import torch
from torch import Tensor
from tqdm import tqdm

from support import processes

LOOK_SECONDS = 0.5  # between two looks at the loss: a look waits for the device


class Meter:
    """Sums of loss and correct predictions over the batches of an epoch. A bar shows them where a person watches."""

    def __init__(self, epoch: int, epochs: int, images: int, device: torch.device):
        self.epoch, self.images, self.seen = epoch, images, 0
        self.total_loss, self.correct = torch.zeros((), device=device), torch.zeros((), device=device)
        self.silent, self.next_look = processes.rank() > 0, time.monotonic() + LOOK_SECONDS
        self.bar = tqdm(
            total=images,
            desc=f"epoch {epoch}/{epochs}",
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=True if self.silent else None,
        )

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, batch_size: int, lr: float) -> None:
        """Count a batch by its mean loss []. Raises FloatingPointError, now or later, when it is not finite."""
        self.total_loss += loss * batch_size
        self.correct += (logits.detach().argmax(1) == labels).sum()
        self.seen += batch_size
        self.bar.update(batch_size)
        if not self.silent and time.monotonic() > self.next_look:
            mean = check_finite(self.total_loss.item(), self.epoch) / self.seen
            self.bar.set_postfix(loss=f"{mean:.3f}", lr=f"{lr:.4f}", refresh=False)
            self.next_look = time.monotonic() + LOOK_SECONDS

    def finish(self) -> dict[str, float]:
        """The epoch's loss and accuracy, of all processes. Raises FloatingPointError for a loss that is not finite."""
        self.bar.close()
        loss = check_finite(self.total_loss.item(), self.epoch) / self.images
        processes.all_reduce([self.correct])
        return {"train_loss": loss, "train_accuracy": 100 * self.correct.item() / self.images}


def check_finite(loss: float, epoch: int) -> float:
    """The loss. Raises FloatingPointError when it is NaN or infinite: such a loss makes no update."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss} in epoch {epoch}: stopped; what was saved is whole. "
            "Try a lower --learning-rate, with --overwrite"
        )
    return loss
