"""A recipe trained as one writes it with PyTorch Lightning, for the benchmark alone: torchvision's transforms image by
image, a DataLoader with two workers, torch's optimizer. Logger, progress bar and checkpoints are off;
the moving average of the weights, selection and bfloat16 are left out.
"""

import logging
import math
import warnings

import lightning.pytorch as lightning
import torch
import torch.nn.functional as functional
from torch import Tensor
from torchvision import transforms

import data
import recipes
from experiments import published
from experiments.stopwatch import Stopwatch
from model import build
from recipes import Recipe
from trainer import build_scheduler

OFF = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)


class Module(lightning.LightningModule):
    """A recipe as a LightningModule, for epochs of so many images."""

    def __init__(self, recipe: Recipe, images: int):
        super().__init__()
        self.recipe, self.images = recipe, images
        self.model = build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        return functional.cross_entropy(self.model(images), labels, label_smoothing=self.recipe.label_smoothing)

    def configure_optimizers(self) -> dict:
        recipe = self.recipe
        settings = {"weight_decay": recipe.weight_decay, "nesterov": recipe.nesterov}
        optimizer = torch.optim.SGD(self.parameters(), recipe.learning_rate, recipe.momentum, **settings)
        scheduler = build_scheduler(recipe, optimizer, self.images)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Timing(lightning.Callback):
    """Stops a training when its slice is over."""

    def __init__(self, stopwatch: Stopwatch):
        self.stopwatch = stopwatch

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Module, outputs, batch, batch_idx: int) -> None:
        trainer.should_stop = self.stopwatch.add(len(batch[1]))


def augmentation(recipe: Recipe) -> list:
    """A recipe's augmentation by torchvision."""
    scale = 1 - recipe.scale, 1 + recipe.scale
    return [transforms.RandomAffine(recipe.degrees, (recipe.translate,) * 2, scale, recipe.shear)]


def train(name: str, data_dir: str, stopwatch: Stopwatch) -> None:
    """Train a recipe until the slice is over."""
    recipe = recipes.get_recipe(name)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what devices there are, and tips
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advises more workers
        settings = {"accelerator": "cpu", "max_epochs": math.ceil(recipe.epochs), **OFF}
        loader = published.loader(recipe, augmentation(recipe), data_dir)
        trainer = lightning.Trainer(callbacks=[Timing(stopwatch)], **settings)
        trainer.fit(Module(recipe, len(loader.dataset)), loader)
