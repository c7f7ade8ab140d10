"""The published systems' own way to train, for the benchmark alone: PIL transforms image by image, a DataLoader with
two workers, torch's defaults, and the loss looked at in every step, as their progress bars do.
"""

import math

import torch
import torch.nn.functional as functional
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

import data
import model as networks
import recipes

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
    "mnist-experiment-aug": [  # new pixels are black here: filling from the nearest edge is not in torchvision
        transforms.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=math.degrees(0.1))
    ],
}


def loader(recipe, folder):
    """The DataLoader of a recipe's 59,950 training images."""
    steps = [*TRANSFORMS[recipe.name], transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    if recipe.erasing:
        steps.append(transforms.RandomErasing(recipe.erasing))
    images = datasets.MNIST(folder, transform=transforms.Compose(steps))
    training = Subset(images, range(len(images) - data.VALIDATION_IMAGES))
    return DataLoader(training, recipe.batch_size, shuffle=True, num_workers=WORKERS)


def train(name, folder):
    """Train a recipe as published, without end; yields the number of images of each step."""
    recipe = recipes.recipe(name)
    network = networks.build(recipe.architecture)
    if recipe.optimizer == "adagrad":
        optimizer = torch.optim.Adagrad(network.parameters(), recipe.learning_rate)
    else:
        optimizer = torch.optim.SGD(
            network.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
    while True:
        for images, labels in loader(recipe, folder):
            optimizer.zero_grad()
            loss = functional.nll_loss(torch.log_softmax(network(images), 1), labels)
            loss.backward()
            optimizer.step()
            loss.item()
            yield len(labels)
