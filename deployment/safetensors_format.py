"""The network's weights as safetensors, with a model card: a folder that Hugging Face's hub takes as it is.

`write` makes model.safetensors, config.json (what to build and how to normalize) and README.md (the card) from a run's
checkpoint and its results.json. `load` makes the deployable model of them again.
"""

from pathlib import Path
from typing import Any

from support import files

import jinja2
import safetensors.torch
from torch import nn

from model import Normalize, build
from recipes import Recipe, differences, from_stored
from results import Result, final_figures


def write(folder: Path, model: nn.Module, state: dict[str, Any], result: Result) -> None:
    """Write the three files of a deployable model, its checkpoint's state and its finished run's results."""
    normalize, network = model
    recipe = from_stored(result["recipe"])
    config = {
        "architecture": recipe.architecture,
        "classes": state["classes"],
        "input_shape": list(state["input_shape"]),
        "normalize": {"mean": normalize.mean, "std": normalize.std},
        "recipe": state["recipe"],
        "seed": state["seed"],
    }
    figures = dict(zip(("part", "accuracy", "interval", "loss"), final_figures(result), strict=True))
    settings = differences(recipe, Recipe(name=recipe.name))
    text = Path(__file__).with_name("model_card.md.jinja").read_text(encoding="utf-8")
    card = jinja2.Template(text, trim_blocks=True, keep_trailing_newline=True)
    card = card.render(result=result, config=config, settings=settings, **figures)
    files.write_json(folder / "config.json", config)
    files.replace_file(folder / "model.safetensors", safetensors.torch.save(network.state_dict(), {"format": "pt"}))
    files.replace_file(folder / "README.md", card.encode())


def load(folder: Path) -> nn.Module:
    """The deployable model in a folder, in evaluation mode: pixels in 0..1, [N, 1, H, W], to logits."""
    config = files.read_json(folder / "config.json", "make export writes it again")
    network = build(config["architecture"], len(config["classes"]))
    network.load_state_dict(safetensors.torch.load(files.read(folder / "model.safetensors")))
    return nn.Sequential(Normalize(**config["normalize"]), network).eval()
