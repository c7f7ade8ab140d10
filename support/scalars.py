"""A history as TensorBoard's scalars, where a person wants them: make train LOG=tensorboard."""

from pathlib import Path

from support import UserError, files


def write_scalars(history: list[dict[str, float]], folder: Path) -> None:
    """Write a whole history in the place of what the folder held: `train_loss` as train/loss, at its epoch. Raises
    UserError where the package tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # an optional requirement, and a second of imports
    except ImportError as error:
        raise UserError("--log tensorboard needs its package: make train LOG=tensorboard installs it") from error
    with files.told(folder, "could not be written"):
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        with SummaryWriter(folder, purge_step=0) as writer:  # a page that is open forgets the earlier ones, too
            for entry in history:
                for name, value in entry.items():
                    writer.add_scalar(name.replace("_", "/"), value, entry["epoch"])
