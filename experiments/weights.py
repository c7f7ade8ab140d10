"""The weights of a record: the deployed network of every seed, in one file of safetensors.

    write_weights(path, record, models)    those of a record's runs
    load_weights(record_path, count)       as tensors [seeds, …], and what they are
    deployed(recipe, weights, 0)           the network of the first seed

What they are, and the sum of each seed's, stands in the file's metadata.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from support import UserError, files, identity

import safetensors.torch
import torch
from torch import Tensor, nn

import data
from model import Normalize, build
from recipes import Recipe

FACTS = "recipe", "environment", "seeds", "identity", "normalize", "sums"  # of weights
REMEDY = "restore it, or make records writes it again"


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a record: tensors [seeds, …], and what `write_weights` says of them."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def sums(tensors: dict[str, Tensor]) -> list[str]:
    """The SHA-256 sum of each seed's weights, of tensors [seeds, …]."""
    seeds = range(len(next(iter(tensors.values()))))
    parts = [b"".join(tensors[name][seed].numpy().tobytes() for name in sorted(tensors)) for seed in seeds]
    return [hashlib.sha256(part).hexdigest() for part in parts]


def write_weights(path: Path, record: dict[str, Any], models: list[tuple[nn.Module, dict[str, Any]]]) -> None:
    """Write the deployed networks of a record's runs, each with its checkpoint's state, as safetensors: every tensor of
    their state_dict as [seeds, …], and in the metadata, as JSON, what they are and the sum of each."""
    networks, states = [model[1].state_dict() for model, _ in models], [state for _, state in models]
    tensors = {name: torch.stack([each[name] for each in networks]).contiguous() for name in networks[0]}
    facts = {
        "recipe": record["recipe"],
        "environment": record["environment"],
        "seeds": [run["seed"] for run in record["runs"]],
        "identity": states[0]["identity"],
        "normalize": [state["normalize"] for state in states],
        "sums": sums(tensors),
    }
    # As one text: several would be written in another order each time.
    files.replace_file(path, safetensors.torch.save(tensors, {"record": json.dumps(facts, ensure_ascii=False)}))


def load_weights(record_path: Path, count: int) -> Weights:
    """The weights of a record of so many runs. Raises UserError for others."""
    path = record_path.with_suffix(".safetensors")
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            facts = json.loads(file.metadata()["record"])
        facts = {key: facts[key] for key in FACTS}
        lengths = {len(tensor) for tensor in tensors.values()} | {len(facts[key]) for key in FACTS[-2:]}
    except (OSError, safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path} holds no weights of a record ({error}): {REMEDY}") from error
    if lengths != {count}:
        raise UserError(f"{path} holds weights of other runs than the {count} of the record: {REMEDY}")
    return Weights(tensors, facts)


def deployed(recipe: Recipe, weights: Weights, index: int) -> nn.Module:
    """The network of a run, as `checkpoint.load_model` gives it. Raises UserError for weights of another one."""
    network = build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))
    try:
        network.load_state_dict({name: tensor[index] for name, tensor in weights.tensors.items()})
    except RuntimeError as error:
        raise UserError(f"the weights are not of {recipe.architecture!r} in model.py") from error
    layout = identity.memory_format(network, data.get_dataset(recipe.dataset).input_shape)
    return nn.Sequential(Normalize(**weights.facts["normalize"][index]), network).to(memory_format=layout)
