"""The data sets: where they come from, and which images come next.

    python data.py [--dataset mnist] [--data data]      fetch what is missing or damaged, and print each file's state

A data set is an entry in datasets.toml, from which training, evaluation and reports take its files, classes and image
size. Files count by their SHA-256 sums alone, wherever they came from. There are no loader processes and no image
objects: the images are one tensor on the device, and a batch is an index into it.
"""

import dataclasses
import functools
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from support import UserError, archives, cli, download, files

import torch
from torch import Tensor

FILES = {  # of a data set in the IDX format: images and labels
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NAMES = [*FILES["train"], *FILES["test"]]
CHUNK_IMAGES = 1024  # augmented at once: large enough to hide Python, small enough for a processor's cache


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled grey images in four IDX files."""

    folder: str  # in the data folder, as torchvision names it
    sha256: dict[str, str]  # of each file
    sources: dict[str, download.Source]  # by name, in the order in which they are tried
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int] = (1, 28, 28)
    training_images: int = 60_000
    minimum_accuracy: float | None = None  # percent of the test images that a run is asked for,
    minimum_class: float | None = None  # and of those of any class,
    maximum_loss: float | None = None  # and its training loss, where all images are shown in the last epoch

    def raw_dir(self, data_dir: Path | str) -> Path:
        """Where the files are."""
        return Path(data_dir) / self.folder / "raw"


def read_dataset(sources: list[list[str]], classes: list[str], **facts: Any) -> Dataset:
    """A data set as datasets.toml describes it."""
    found = {}
    for kind, *arguments in sources:
        found |= getattr(download, kind)(*arguments, *[NAMES] * (kind == "mirror"))
    return Dataset(sources=found, classes=tuple(classes), **facts)


ENTRIES = tomllib.loads(Path(__file__).with_name("datasets.toml").read_text(encoding="utf-8"))
DATASETS = {name: read_dataset(**entry) for name, entry in ENTRIES.items()}


def get_dataset(name: str) -> Dataset:
    """The data set of that name. Raises UserError for an unknown one."""
    if name not in DATASETS:
        raise UserError(f"unknown dataset {name!r}; there are: {', '.join(DATASETS)}")
    return DATASETS[name]


def state(dataset: Dataset, data_dir: Path | str, names: Iterable[str] = NAMES) -> dict[str, str]:
    """{file name: "verified", "missing" or "damaged"}. Raises UserError where a file cannot be read."""
    with files.told(data_dir, "could not be read"):
        return download.state(dataset.raw_dir(data_dir), {name: dataset.sha256[name] for name in names})


def fetch(dataset: Dataset, data_dir: Path | str, names: Iterable[str] = NAMES) -> None:
    """Put these files in place, verified: from another form of them in the data folder, else from the data set's
    sources (see `download.fetch`). Of several processes only one does it. Raises UserError."""
    if set(state(dataset, data_dir, names).values()) != {"verified"}:
        sources = {f"what is in {data_dir}": lambda _: Path(data_dir)} | dataset.sources
        unpack = functools.partial(archives.idx_contents, input_shape=dataset.input_shape)
        with files.lock(Path(data_dir), wait=True):
            download.fetch(dataset.raw_dir(data_dir), dataset.sha256, sources, unpack)


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled images on one device: pixels uint8, [N, 1, H, W]; labels int64, [N]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Self:
        return Images(self.pixels[part], self.labels[part])

    def index_select(self, index: Tensor) -> Self:
        """The images at `index` (int64, [M]); index_select is many times faster on a processor than indexing."""
        return Images(self.pixels.index_select(0, index), self.labels.index_select(0, index))

    def to_float(self) -> Tensor:
        """The pixels as floats in 0..1."""
        return self.pixels / 255


class Batch(NamedTuple):
    """What one process sees of a batch: images [B, 1, H, W], augmented and normalized; labels [B]; their indices among
    the training images [B]; and the size of the whole batch."""

    images: Tensor
    labels: Tensor
    index: Tensor
    size: int


def load(name: str, data_dir: Path | str, part: str, device: torch.device | str = "cpu") -> Images:
    """The "train" or "test" images of a data set, fetched where missing. Raises UserError."""
    dataset = get_dataset(name)
    fetch(dataset, data_dir, FILES[part])
    with files.told(data_dir, "could not be read"):
        pixels, labels = (torch.from_numpy(archives.read_idx(dataset.raw_dir(data_dir) / name)) for name in FILES[part])
    return Images(pixels.unsqueeze(1).to(device), labels.to(device).long())


def split(images: Images, validation_images: int, seed: int) -> tuple[Images, Images]:
    """(training, validation): the last images of a permutation drawn from the seed are held out. Raises UserError if
    none is left to train on."""
    if validation_images >= len(images):
        raise UserError(f"validation_images must be less than {len(images):,}, all images, got {validation_images:,}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.labels.device)
    return images.index_select(order[:-validation_images]), images.index_select(order[-validation_images:])


def normalization(images: Images) -> tuple[float, float]:
    """(mean, standard deviation) of pixels in 0..1, in chunks: a float copy of all would take four times the memory."""
    total = squares = 0.0
    for start in range(0, len(images), CHUNK_IMAGES):
        values = images[start : start + CHUNK_IMAGES].pixels.flatten().float()
        total, squares = total + values.sum().item(), squares + values.dot(values).item()
    mean = total / images.pixels.numel()
    return mean / 255, math.sqrt(squares / images.pixels.numel() - mean**2) / 255


def batches(
    images: Images,
    batch_size: int,
    prepare: Callable[[Tensor], Tensor],
    rounds: Iterable[Tensor],
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """The batches of the images at the indices [M] of each round, of which each of `world_size` processes gets its own
    part. The last batch of a round holds what is left.

    `prepare` augments and normalizes many batches at once."""
    at_once = world_size * CHUNK_IMAGES if images.labels.device.type == "cpu" else len(images)
    share = batch_size // world_size
    for chunk in (chunk for order in rounds for chunk in order.split(batch_size * max(1, at_once // batch_size))):
        index = chunk[rank::world_size]
        chosen = images.index_select(index)
        sizes = map(len, chunk.split(batch_size))
        parts = (part.split(share) for part in (prepare(chosen.to_float()), chosen.labels, index))
        yield from map(Batch, *parts, sizes)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description="Fetch and verify a data set.")
    parser.add_argument("--dataset", default="mnist", choices=DATASETS, help="(default: mnist)")
    parser.add_data()
    arguments = parser.parse_args(argv)
    dataset = DATASETS[arguments.dataset]
    fetch(dataset, arguments.data)
    for name, is_ in state(dataset, arguments.data).items():
        print(f"{is_}  {dataset.raw_dir(arguments.data) / name}")


if __name__ == "__main__":
    cli.run(main)
