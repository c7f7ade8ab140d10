"""Processes that train one network together, on one machine or several: each takes its part of every batch, and their
gradients are added up.

    python parallel.py 2 train.py --recipe fast      two processes on this machine, through torchrun
    torchrun --nnodes 2 ... train.py --recipe fast   the same over machines, with torchrun's own rendezvous

Without torchrun there is one process, and nothing here costs anything.
"""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time

import torch
from torch import distributed

import cli

PATIENCE = 3  # seconds


def cores_of_one(processes):
    """The cores of this machine for each of so many processes."""
    return max(1, (os.cpu_count() or 1) // processes)


@contextlib.contextmanager
def together(kind):
    """Within this context the processes that torchrun started are joined, where it did. Gives the device of this one:
    its own GPU, or the processor with its share of the cores."""
    if not distributed.is_torchelastic_launched():
        yield torch.device(kind)
        return
    threading.Thread(target=end_with_parent, daemon=True).start()
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    if kind == "cuda" and local > torch.cuda.device_count():
        raise ValueError(f"{local} processes need as many GPUs, there are {torch.cuda.device_count()}: lower NPROC")
    if kind == "cpu":
        torch.set_num_threads(cores_of_one(local))
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)
    except (ValueError, OSError, ArithmeticError):
        if rank() > 0:  # most likely process 0 has found the same, and is to tell of it
            time.sleep(PATIENCE)
        raise
    finally:
        distributed.destroy_process_group()


def end_with_parent():
    """End this process when the launcher has ended without ending it, as after SIGKILL."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def count():
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank():
    """The number of this process; 0 is the one that evaluates, writes and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def check_batches(images, batch_size):
    """Raises ValueError when the processes cannot share every batch of an epoch: each needs a part of each."""
    if batch_size % count():
        raise ValueError(f"batch_size {batch_size} cannot be shared by {count()} processes: take a multiple of them")
    if 0 < images % batch_size < count():
        raise ValueError(
            f"the last batch, of {images % batch_size} images, cannot be shared by {count()} processes: "
            "take another batch_size"
        )


def add_up(tensors):
    """Replace each tensor, in place, by its sum over the processes: one message for all of them."""
    if count() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    talk(distributed.all_reduce, flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def share(value):
    """The value (plain values and tensors) that process 0 has, in every process."""
    if count() == 1:
        return value
    box = [value]
    talk(distributed.broadcast_object_list, box)
    return box[0]


def copy_first(model):
    """Give every process the weights of process 0."""
    if count() > 1:
        model.load_state_dict(share(model.state_dict()))


def talk(exchange, *message):
    """Exchange a message with the other processes. Raises ConnectionError when one of them is gone."""
    try:
        exchange(*message)
    except RuntimeError as error:
        reason = str(error).split("] ")[-1].split(". ")[0]  # without gloo's source file and its advice
        raise ConnectionError(f"another process of this run is gone ({reason}): stopped; {cli.GO_ON}") from error


def main(argv=None):
    parser = cli.Parser(description="Run a script in several processes of this machine that train together.")
    parser.add_argument("count", type=int, help="number of processes")
    parser.add_argument("script")
    parser.add_argument("flags", nargs="...", help="the script's own")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.count <= (os.cpu_count() or 1):
        parser.error(f"the number of processes must be from 1 to the cores, {os.cpu_count()}, got {arguments.count}")

    from torch.distributed import run as torchrun  # a second of imports that the processes themselves do without
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)  # the line below says it shorter
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_of_one(arguments.count)))
    options = ["--standalone", f"--nproc-per-node={arguments.count}", "--local-ranks-filter=0"]
    try:
        with tempfile.TemporaryDirectory() as logs:
            torchrun.main([*options, f"--log-dir={logs}", arguments.script, *arguments.flags])
    except SignalException as error:  # passed on to the processes; process 0 says so
        return 128 + error.sigval
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        # SIGTERM is what torchrun itself sends to the others.
        killed = [rank for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM]
        if not killed and codes.get(0, 0) > 0:  # process 0 has said why
            return codes[0]
        rank = killed[0] if killed else error.get_first_failure()[0]
        how = f"by {signal.Signals(-codes[rank]).name}" if codes[rank] < 0 else f"with status {codes[rank]}"
        print(
            f"{arguments.script}: process {rank} of {arguments.count} was ended {how}: stopped; {cli.GO_ON}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
