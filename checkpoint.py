"""Checkpoints: saved whole or not at all, the newest five kept, the newest whole one loaded.

A checkpoint is a file `checkpoints/epoch_019.pt` of a run's folder, written at the end of an epoch; `best_model.pt`
beside it is the one that validated best. A file is replaced atomically and ends with the SHA-256 sum of all before it
(torch.load takes no notice), so a stop at any moment leaves the old files whole, and damage of any kind is seen.
"""

import hashlib
import io
import re
from pathlib import Path

import torch

import atomic
import cli

KEEP = 5
FORMAT = 3  # raised when what a checkpoint holds changes
BEST = "best_model.pt"
REPLACED = ".replaced"  # the checkpoints of a run that another takes the place of
SUM_BYTES = 32


class DamagedCheckpoint(ValueError):
    """A file that is not a whole checkpoint of this program."""


def checkpoint_folder(run):
    return Path(run) / "checkpoints"


def epochs(run):
    """{epoch: path} of the checkpoints in a run's folder, by rising epoch number."""
    return numbered(checkpoint_folder(run))


def numbered(folder):
    """{epoch: path} of the checkpoints in a folder, by rising epoch number."""
    found = {}
    for path in folder.glob("epoch_*.pt"):
        number = re.fullmatch(r"epoch_(\d{3,})", path.stem)
        if number:
            found[int(number[1])] = path
    return dict(sorted(found.items()))


def save(run, state, best):
    """Save the state at the end of epoch `state["epoch"]`, as best_model.pt too where it is the best, and keep the
    newest five.

    The best is written first: a stop between the two repeats the epoch, and ends with both."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    content = buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()
    if best:
        atomic.replace_file(checkpoint_folder(run) / BEST, content)
    atomic.replace_file(checkpoint_folder(run) / f"epoch_{state['epoch']:03}.pt", content)
    rotate(run, state["epoch"])


def rotate(run, newest):
    """Keep the newest five whole checkpoints up to epoch `newest`; a damaged one does not count, and goes with those
    before the five. Later ones are damaged, or the run would have gone on from them, and about to be replaced."""
    kept = 0
    for epoch, path in reversed(epochs(run).items()):
        if epoch <= newest and kept == KEEP:
            path.unlink(missing_ok=True)
        elif epoch <= newest and is_whole(path):
            kept += 1


def remove(run):
    """Remove a run's checkpoints: their folder is renamed first, so that a stop on the way leaves none in place."""
    sweep(run)
    if checkpoint_folder(run).exists():
        checkpoint_folder(run).replace(Path(run) / REPLACED)
        sweep(run)


def sweep(run):
    """Clear away what a process that was killed left in a run's folder: temporary files, and checkpoints that it was
    about to remove. Files of others are put back."""
    replaced, folder = Path(run) / REPLACED, checkpoint_folder(run)
    if replaced.exists():
        for path in [*numbered(replaced).values(), replaced / BEST]:
            path.unlink(missing_ok=True)
        atomic.sweep(replaced)
        for path in replaced.iterdir():
            folder.mkdir(exist_ok=True)
            path.replace(folder / path.name)
        replaced.rmdir()
    atomic.sweep(Path(run))
    atomic.sweep(folder)


def is_whole(path):
    """Whether a checkpoint file ends with the sum of its content."""
    content = path.read_bytes()
    return hashlib.sha256(content[:-SUM_BYTES]).digest() == content[-SUM_BYTES:]


def load(path):
    """The state in a checkpoint file. Raises DamagedCheckpoint, or ValueError for one of another format; never runs
    code from the file."""
    if not is_whole(path):
        raise DamagedCheckpoint(f"{path} is not a whole checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch or pickle make of a foreign file
        raise DamagedCheckpoint(f"{path} is not a checkpoint of this program ({type(error).__name__})") from error
    if not isinstance(state, dict) or "format" not in state:
        raise DamagedCheckpoint(f"{path} is not a checkpoint of this program")
    if state["format"] != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {state['format']}, this program reads format {FORMAT}: "
            "use --overwrite to start afresh"
        )
    return state


def load_newest(run):
    """The newest whole state of a run, or None where it has no checkpoint. Warns of each damaged one; raises
    DamagedCheckpoint when all are."""
    found = epochs(run)
    for epoch, path in reversed(found.items()):
        try:
            state = load(path)
            if state["epoch"] != epoch:
                raise DamagedCheckpoint(f"{path} holds epoch {state['epoch']}")
            return state
        except DamagedCheckpoint as error:
            cli.warn(f"{error}; using the one before")
    if found:
        raise DamagedCheckpoint(
            f"every checkpoint in {checkpoint_folder(run)} is damaged: remove them, or use --overwrite to start afresh"
        )
    return None


def deployed_weights(state):
    """The model's weights as they are used: the averaged ones where the run averages."""
    return state["averaged"] or state["model"]
