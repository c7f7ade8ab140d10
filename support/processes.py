"""Several processes that train one model, on one machine or several: each takes its part of every batch, and their
gradients are added up.

make train NPROC=2 starts them through torchrun. Without torchrun there is one process, and nothing here costs anything.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from support import UserError, cli

import torch
from torch import Tensor, distributed, nn

PATIENCE = 3  # seconds


@contextlib.contextmanager
def process_group(device_type: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did. Yields this process's device: its own GPU, or the processor.
    Raises UserError for more processes than GPUs."""
    device, is_launched = torch.device(device_type), distributed.is_torchelastic_launched()
    if is_launched or "END_WITH_PARENT" in os.environ:
        threading.Thread(target=end_with_parent, daemon=True).start()
    if not is_launched:
        yield device
        return
    if device_type == "cuda":
        count, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if count > gpus:
            raise UserError(f"{count} processes need as many GPUs, not {gpus}: lower NPROC")
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield device
    except UserError:
        if rank() > 0:  # most likely process 0 has met the same, and is to tell of it
            time.sleep(PATIENCE)
        raise
    finally:
        distributed.destroy_process_group()


def end_with_parent() -> None:
    """End this process when what started it has ended without ending it, as after SIGKILL: its launcher, or the process
    that END_WITH_PARENT names, which may have ended before this one came so far."""
    is_direct_child = not distributed.is_torchelastic_launched() and os.name != "nt"  # Windows' venv has one between
    parent = int(os.environ["END_WITH_PARENT"]) if is_direct_child else os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process; 0 is the one that writes and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def check_batches(images: int, batch_size: int) -> None:
    """Raise UserError when the processes cannot share every batch of an epoch: each needs a part of each."""
    remedy = f"cannot be shared by {world_size()} processes: use another batch_size"
    if batch_size % world_size():
        raise UserError(f"batch_size {batch_size} {remedy}, a multiple of them")
    if 0 < images % batch_size < world_size():
        raise UserError(f"the last batch, of {images % batch_size} images, {remedy}")


def all_reduce(tensors: list[Tensor]) -> None:
    """Replace each tensor, in place, by its sum over the processes: one message for all of them."""
    if world_size() > 1:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        communicate(distributed.all_reduce, flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))


def all_reduce_gradients(model: nn.Module, loss: Tensor) -> Tensor:
    """Add up the gradients that the processes have of their parts of a batch; returns the sum of their losses, []."""
    loss = loss.detach().float()
    all_reduce([loss, *(weight.grad for weight in model.parameters() if weight.grad is not None)])
    return loss


@torch.no_grad()
def average(tensors: list[Tensor]) -> None:
    """Replace each tensor, in place, by its mean over the processes."""
    torch._foreach_div_(tensors, world_size())
    all_reduce(tensors)


def broadcast(value: Any) -> Any:
    """The value (plain values and tensors) that process 0 has, in every process."""
    box = [value]
    if world_size() > 1:
        communicate(distributed.broadcast_object_list, box)
    return box[0]


def communicate(exchange: Callable, *message: Any) -> None:
    """Exchange a message with the other processes. Raises UserError when one of them is gone."""
    try:
        exchange(*message)
    except RuntimeError as error:
        reason = str(error).split("] ")[-1].split(". ")[0]  # without gloo's source file and its advice
        raise UserError(f"another process of this run is gone ({reason}): stopped; {cli.RESUME}") from error
