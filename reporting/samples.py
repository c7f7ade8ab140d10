"""Samples: training images as they are, and as a recipe's augmentation shows them to the model.

    python -m reporting.samples --recipe default [--seed 0] [--data data] [--out DIR]

and every field of a recipe as a flag; writes augmentation.png.
"""

from support import cli, files

import numpy as np
import torch

import augmentation
import data
import results
from recipes import Recipe
from reporting import plots

DRAWS = 7  # of each class's image


def augmented(images: data.Images, recipe: Recipe, seed: int) -> tuple[np.ndarray, list[str], int]:
    """(images [N, H, W] in 0..1, captions, images per row): an image of each class, and draws of its augmentation."""
    _, first = np.unique(images.labels.cpu(), return_index=True)
    originals = images.index_select(torch.from_numpy(first).to(images.labels.device)).to_float().cpu()
    generator, mean = torch.Generator().manual_seed(seed), data.normalization(images)[0]
    drawn = augmentation.augment(originals.repeat_interleave(DRAWS, 0), recipe, mean, generator)
    shown = torch.cat([originals, drawn.view(len(first), DRAWS, *drawn.shape[2:])], 1).flatten(0, 1)
    return shown.numpy(), ["original"] + [""] * (len(shown) - 1), 1 + DRAWS


def main(argv: list[str] | None = None) -> None:
    arguments, recipe, seed, run_dir = results.parse_run(cli.Parser(description=__doc__), argv)
    images = data.load(recipe.dataset, arguments.data, "train")
    path = run_dir / "augmentation.png"
    files.replace_file(path, plots.png(plots.image_grid, *augmented(images, recipe, seed)))
    print(path)


if __name__ == "__main__":
    cli.run(main)
