"""A history as TensorBoard's scalars, where a person wants them: make train LOG=tensorboard."""

from pathlib import Path

from support import UserError, files


class ScalarLog:
    """The scalars of a run in a folder, each once, whatever an earlier start left there. Raises UserError where the
    package tensorboard is not installed."""

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter  # an optional requirement, and a second of imports
        except ImportError as error:
            raise UserError("--log tensorboard needs its package: make train LOG=tensorboard installs it") from error
        with files.told(folder, "could not be written"):
            for path in folder.glob("events.out.tfevents.*"):
                path.unlink()
            self.writer, self.written = SummaryWriter(folder), 0

    def write(self, history: list[dict[str, float]]) -> None:
        """Add the entries of a history that have been added since: `train_loss` as train/loss, at its epoch."""
        for entry in history[self.written :]:
            for name, value in entry.items():
                self.writer.add_scalar(name.replace("_", "/"), value, entry["epoch"])
        self.written = len(history)
        self.writer.flush()
