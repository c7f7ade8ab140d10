"""Checkpoints: saved whole or not at all, the newest five kept, the newest whole one loaded.

A checkpoint is a file `checkpoints/epoch_019.pt` of a run's folder, written at the end of an epoch; `best_model.pt`
beside it is the one that validated best. A file is replaced atomically and carries checksums, so a stop at any moment
leaves the old files whole, and damage of any kind is seen.
"""

import io
import re
import sys
import zipfile
from pathlib import Path

import torch

import atomic

KEEP = 5
FORMAT = 3  # raised when what a checkpoint holds changes
BEST = "best_model.pt"


class DamagedCheckpoint(ValueError):
    """A file that is not a whole checkpoint of this program."""


def checkpoint_folder(run):
    return Path(run) / "checkpoints"


def epochs(run):
    """{epoch: path} of the checkpoints in a run's folder, by rising epoch number."""
    found = {}
    for path in checkpoint_folder(run).glob("epoch_*.pt"):
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
    if best:
        atomic.replace_file(checkpoint_folder(run) / BEST, buffer.getvalue())
    atomic.replace_file(checkpoint_folder(run) / f"epoch_{state['epoch']:03}.pt", buffer.getvalue())
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
    """Remove a run's checkpoints, the oldest first: a stop on the way leaves a run that can go on."""
    for path in [*epochs(run).values(), checkpoint_folder(run) / BEST]:
        path.unlink(missing_ok=True)


def is_whole(path):
    """Whether the contents of a checkpoint file have the checksums they were written with: torch stores them (its files
    are zip archives) but does not look at them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # whatever zipfile makes of a broken file
        return False


def load(path):
    """The state in a checkpoint file. Raises DamagedCheckpoint, or ValueError for one of another format; never runs
    code from the file."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
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
            print(f"warning: {error}; using the one before", file=sys.stderr)
    if found:
        raise DamagedCheckpoint(
            f"every checkpoint in {checkpoint_folder(run)} is damaged: remove them, or use --overwrite to start afresh"
        )
    return None


def deployed_weights(state):
    """The model's weights as they are used: the averaged ones where the run averages."""
    return state["averaged"] or state["model"]
