"""The published systems' own way to train, for the benchmark alone: PIL transforms image by image, a DataLoader with
two workers, torch's defaults, and the loss looked at in every step, as their progress bars do.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

import data
import recipes
from model import build
from recipes import Recipe

WORKERS = 2
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


def loader(recipe: Recipe, data_dir: str) -> DataLoader:
    """The DataLoader of a recipe's training images."""
    steps = [*TRANSFORMS[recipe.name], transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    if recipe.random_erasing:
        steps.append(transforms.RandomErasing(recipe.random_erasing))
    images = datasets.MNIST(data_dir, transform=transforms.Compose(steps))
    training = Subset(images, range(len(images) - recipe.validation_images))
    return DataLoader(training, recipe.batch_size, shuffle=True, num_workers=WORKERS)


def train(name: str, data_dir: str) -> Iterator[int]:
    """Train a recipe as published, without end; yields the number of images of each step."""
    recipe = recipes.get_recipe(name)
    model = build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))
    if recipe.optimizer == "adagrad":
        optimizer = torch.optim.Adagrad(model.parameters(), recipe.learning_rate)
    else:
        settings = {"weight_decay": recipe.weight_decay, "nesterov": recipe.nesterov}
        optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, recipe.momentum, **settings)
    while True:
        for images, labels in loader(recipe, data_dir):
            optimizer.zero_grad()
            loss = functional.nll_loss(torch.log_softmax(model(images), 1), labels)
            loss.backward()
            optimizer.step()
            loss.item()
            yield len(labels)
