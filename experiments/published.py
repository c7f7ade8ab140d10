"""The published systems' own way to train, for the benchmark alone: PIL transforms image by image, a DataLoader, and
torch's defaults. Those that are recipes here have two workers and look at the loss in every step, as their progress
bars do. pytorch/examples' mnist has none, and prints every tenth loss.

A slice of a training, within an epoch, is all that is timed: schedules, which the speed does not depend on, are left
out.
"""

import itertools
import math

import torch
import torch.nn.functional as functional
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

import data
import recipes
from experiments.stopwatch import Stopwatch
from model import build
from recipes import Recipe

WORKERS = 2
EXAMPLES, EXAMPLES_EPOCHS = "pytorch/examples", 14
TO_TENSOR = transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))
TRANSFORMS = {
    "erav3": [
        transforms.RandomRotation(15),
        transforms.RandomAffine(0, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=5),
        transforms.ColorJitter(brightness=0.2, contrast=0.2),
    ],
    "mnist-ops": [transforms.RandomRotation(18), transforms.RandomAffine(0, scale=(0.8, 1.2))],
    "mnist-7824": [],
    "skeleton-510k": [],
    "mnist-experiment": [transforms.RandomRotation(7, fill=1)],
    "mnist-experiment-aug": [  # new pixels are black here: filling from the nearest border is not in torchvision
        transforms.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=math.degrees(0.1))
    ],
}


def loader(recipe: Recipe, augmentation: list, data_dir: str) -> DataLoader:
    """The DataLoader of a recipe's training images, each augmented by these transforms of torchvision."""
    steps = [*augmentation, *TO_TENSOR]
    if recipe.random_erasing:
        steps.append(transforms.RandomErasing(recipe.random_erasing))
    images = datasets.MNIST(data_dir, transform=transforms.Compose(steps))
    training = Subset(images, range(len(images) - recipe.validation_images))
    return DataLoader(training, recipe.batch_size, shuffle=True, num_workers=WORKERS)


def train(name: str, data_dir: str, stopwatch: Stopwatch) -> None:
    """Train a recipe as published until the slice is over."""
    recipe = recipes.get_recipe(name)
    model = build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))
    if recipe.optimizer == "adagrad":
        optimizer = torch.optim.Adagrad(model.parameters(), recipe.learning_rate)
    else:
        settings = {"weight_decay": recipe.weight_decay, "nesterov": recipe.nesterov}
        optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, recipe.momentum, **settings)
    step_through(loader(recipe, TRANSFORMS[name], data_dir), model, optimizer, 1, stopwatch)


def examples_model() -> nn.Module:
    """The network of pytorch/examples' mnist, 1,199,882 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )


def train_examples(data_dir: str, stopwatch: Stopwatch) -> None:
    """Train pytorch/examples' mnist with its own settings on a processor, where it does not shuffle, until the slice is
    over."""
    model = examples_model()
    images = datasets.MNIST(data_dir, transform=transforms.Compose(TO_TENSOR))
    step_through(DataLoader(images, 64), model, torch.optim.Adadelta(model.parameters(), 1.0), 10, stopwatch)


def step_through(
    batches: DataLoader, model: nn.Module, optimizer: torch.optim.Optimizer, look_every: int, stopwatch: Stopwatch
) -> None:
    """Train until the slice is over, and look at the loss of every so many steps."""
    for step, (images, labels) in enumerate(itertools.chain.from_iterable(itertools.repeat(batches))):
        optimizer.zero_grad()
        loss = functional.nll_loss(torch.log_softmax(model(images), 1), labels)
        loss.backward()
        optimizer.step()
        if step % look_every == 0:
            loss.item()
        if stopwatch.add(len(labels)):
            return
