"""The benchmark: an epoch of this project beside an epoch as published, in one run.

    python benchmark.py [--data data]

As published means the erav3 system's own way: its network at 28 x 28, PIL transforms image by image in a DataLoader
with two workers, torch's defaults. That path lives here alone. The two take turns (default, published, default), on the
same images, threads and processor; the published epoch leaves out the validation and the test images.
"""

import sys
import time

import torch
from torch.utils.data import DataLoader, Subset

import cli
import data
import model
import recipes
import train

WORKERS = 2


def published_loader(folder):
    """The erav3 system's batches of the 59,950 training images."""
    from torchvision import datasets, transforms  # imported here alone: seconds that no training should wait for

    steps = transforms.Compose(
        [
            transforms.RandomRotation(15),
            transforms.RandomAffine(0, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=5),
            transforms.ColorJitter(brightness=0.2, contrast=0.2),
            transforms.ToTensor(),
            transforms.Normalize((0.1307,), (0.3081,)),
            transforms.RandomErasing(p=0.2),
        ]
    )
    images = datasets.MNIST(folder, transform=steps)
    training = Subset(images, range(len(images) - data.VALIDATION_IMAGES))
    return DataLoader(training, recipes.recipe("erav3").batch_size, shuffle=True, num_workers=WORKERS)


def published_epoch(loader):
    """Seconds of one epoch as published."""
    network = model.build("erav3")
    optimizer = train.make_optimizer(recipes.recipe("erav3"), network)
    start = time.perf_counter()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.nll_loss(torch.log_softmax(network(images), 1), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # its progress bar shows the loss of every step
    return time.perf_counter() - start


def own_epoch(run):
    """Seconds of one epoch of this project, augmentation included."""
    start = time.perf_counter()
    run.train_epoch(1)
    return time.perf_counter() - start


def main(argv=None):
    parser = cli.Parser(description="Time an epoch of the default recipe beside an epoch of erav3 as published.")
    parser.add_argument("--data", default="data", help="the folder of MNIST (default: data)")
    folder = parser.parse_args(argv).data
    images, test = data.load(folder)
    run = train.Run(recipes.recipe("default"), 0, torch.device("cpu"), *data.split(images, 0), test)
    first, published, second = own_epoch(run), published_epoch(published_loader(folder)), own_epoch(run)
    own = (first + second) / 2
    print(f"{torch.get_num_threads()} threads, {len(run.training):,} images, one epoch:")
    print(f"  erav3 as published, PIL and DataLoader with {WORKERS} workers: {published:.1f} s")
    print(f"  default, {run.precision}: {own:.1f} s (before {first:.1f}, after {second:.1f})")
    print(f"  ratio {published / own:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
