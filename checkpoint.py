"""Checkpoints: saved whole or not at all, the newest five kept, the newest whole one loaded.

A checkpoint is a file `checkpoints/epoch_019.pt` in a run's folder, written at the end of an epoch; `best_model.pt`
beside it is the one that validated best. Files are replaced atomically and end with the SHA-256 sum of their content,
which torch.load ignores: a stop at any moment leaves the old files whole, and any damage is noticed.
"""

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

from support import UserError, cli, files, identity

import torch
from torch import nn

from model import Normalize, build

KEEP = 5
FORMAT = 6  # raised when the content of a checkpoint changes
BEST = "best_model.pt"
SUM_BYTES = 32
# What a checkpoint of this format has at least.
KEYS = {"recipe", "identity", "classes", "input_shape", "seed", "epoch", "normalize"}
KEYS |= {"model", "ema", "selection", "history", "logits"}


class DamagedCheckpoint(UserError):
    """A file that is not a whole checkpoint of this program."""


def checkpoint_dir(run_dir: Path | str) -> Path:
    """Where a run's checkpoints are."""
    return Path(run_dir) / "checkpoints"


def epochs(run_dir: Path | str) -> dict[int, Path]:
    """{epoch: path} of a run's checkpoints, in ascending order."""
    paths = checkpoint_dir(run_dir).glob("epoch_*.pt")
    matches = {path: re.fullmatch(r"epoch_(\d{3,})", path.stem) for path in paths}
    return dict(sorted((int(match[1]), path) for path, match in matches.items() if match))


def save(run_dir: Path | str, state: dict[str, Any], best: bool) -> None:
    """Save the state at the end of epoch `state["epoch"]`, also as best_model.pt if it is the best, and keep the newest
    five. Raises UserError and leaves the old files whole.

    The best is written first: a run that is stopped between the two writes repeats the epoch and ends with both."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    content = buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()
    if best:
        files.replace_file(checkpoint_dir(run_dir) / BEST, content)
    files.replace_file(checkpoint_dir(run_dir) / f"epoch_{state['epoch']:03}.pt", content)
    rotate(run_dir, state["epoch"])


def rotate(run_dir: Path | str, newest: int) -> None:
    """Keep the newest five whole checkpoints up to epoch `newest`. Damaged ones do not count and are removed with
    the older ones. Later ones are damaged, or the run would have resumed from them, and will be replaced."""
    kept = 0
    with files.told(run_dir, "could not be cleared"):
        for epoch, path in reversed(epochs(run_dir).items()):
            if epoch <= newest and kept == KEEP:
                path.unlink(missing_ok=True)
            elif epoch <= newest and is_whole(path):
                kept += 1


def remove(run_dir: Path | str) -> None:
    """Remove a run's checkpoints, the newest first and the best last: a stop on the way leaves an earlier state of that
    run, or none."""
    with files.told(run_dir, "could not be cleared"):
        for path in [*reversed(epochs(run_dir).values()), checkpoint_dir(run_dir) / BEST]:
            path.unlink(missing_ok=True)


def sweep(run_dir: Path | str) -> None:
    """Clear the temporary files that killed processes left in a run's folder."""
    with files.told(run_dir, "could not be cleared"):
        files.sweep(run_dir)
        files.sweep(checkpoint_dir(run_dir))


def is_whole(path: Path) -> bool:
    """Whether a checkpoint file ends with the sum of its content."""
    content = files.read(path)
    return hashlib.sha256(content[:-SUM_BYTES]).digest() == content[-SUM_BYTES:]


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint file; its code never runs. Raises DamagedCheckpoint, UserError for another format."""
    if not is_whole(path):
        raise DamagedCheckpoint(f"{path} is not a whole checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch or pickle make of a foreign file
        raise DamagedCheckpoint(f"{path} is not a checkpoint of this program ({type(error).__name__})") from error
    if not isinstance(state, dict) or "format" not in state:
        raise DamagedCheckpoint(f"{path} is not a checkpoint of this program")
    if state["format"] != FORMAT:
        raise UserError(
            f"{path} has checkpoint format {state['format']}, this program reads format {FORMAT}: "
            "train again with --overwrite (make: OVERWRITE=1)"
        )
    if KEYS - state.keys():
        raise DamagedCheckpoint(f"{path} lacks {min(KEYS - state.keys())}")
    return state


def load_newest(run_dir: Path | str) -> dict[str, Any] | None:
    """The newest whole state of a run, or None where it has no checkpoint. Warns of each damaged one; raises
    DamagedCheckpoint when all are."""
    paths = epochs(run_dir)
    for epoch, path in reversed(paths.items()):
        try:
            state = load(path)
            if state["epoch"] != epoch:
                raise DamagedCheckpoint(f"{path} holds epoch {state['epoch']}")
            return state
        except DamagedCheckpoint as error:
            cli.warn(f"{error}; using the one before")
    if paths:
        raise DamagedCheckpoint(
            f"every checkpoint in {checkpoint_dir(run_dir)} is damaged: remove them, or start over with --overwrite"
        )
    return None


def locate(path: Path) -> tuple[Path, Path | None]:
    """Split a path that a person gave (a run's folder, a file in it, or a checkpoint) into the run's folder and the
    checkpoint. None stands for the newest one."""
    file = path if path.suffix == ".pt" else None
    folder = path.parent if os.path.isfile(path) or file else path
    return (folder.parent if folder.name == checkpoint_dir("").name else folder), file


def load_model(run: Path | str, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """The deployable model of a run, in evaluation mode, with the state of its newest checkpoint, or of the checkpoint
    that `run` names. It maps pixels in 0..1, [N, 1, H, W], to logits [N, num_classes], with the EMA's weights if there
    are any.

    Raises UserError without a checkpoint, and when the architecture no longer computes what it did."""
    run_dir, path = locate(Path(run))
    if path and not os.path.exists(path):
        raise UserError(f"there is no {path}: make train (OVERWRITE=1 where it was removed)")
    state = load(path) if path else load_newest(run_dir)
    if state is None:
        raise UserError(
            f"no checkpoint in {checkpoint_dir(run_dir)}: make train, or another RUN= (make view-results lists them)"
        )
    architecture = state["recipe"]["architecture"]
    changed = f"{path or run_dir} holds another model: {architecture!r} has changed since in model.py"
    model = build(architecture, len(state["classes"]))
    try:
        model.load_state_dict(state["ema"] or state["model"])
    except RuntimeError as error:
        raise UserError(changed) from error
    deployable = nn.Sequential(Normalize(**state["normalize"]), model).eval()
    if not identity.is_close(identity.probe(deployable, state["input_shape"]), state["logits"]):
        raise UserError(f"{changed}: it computes something else from the same weights")
    return deployable.to(device, memory_format=identity.memory_format(model, state["input_shape"])), state
