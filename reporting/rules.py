"""The architectures, their layers, and whether a recipe's model keeps the rules and trains.

python -m reporting.rules                                every architecture and its number of trainable parameters
python -m reporting.rules NAME                           the layers of an architecture, or of a recipe's
python -m reporting.rules NAME --check parameters|all    the rules; exit status 1 when one is broken
"""

import contextlib
import functools
import io
import tempfile

from support import UserError, cli, devices, sanity
from support.rule import Rule, below, format_rules
from support.table import terminal_table

import torch
from torch import Tensor

import checkpoint
import data
from evaluate import evaluate
from model import ARCHITECTURES, count_parameters
from recipes import RECIPES, Recipe
from reporting.model_summary import layer_table
from train import train
from trainer import Trainer
from verdict import PARAMETER_LIMIT, build_model, model_rules


def trained_logits(recipe: Recipe) -> Tensor:
    """Logits of the recipe's model, trained by the training itself on images of noise: a whole batch and the last one
    of an epoch, which is smaller; then evaluated, saved, and loaded from its checkpoint."""
    dataset, device = data.get_dataset(recipe.dataset), devices.resolve_device("auto")
    last = (dataset.training_images - recipe.validation_images - 1) % recipe.batch_size + 1
    count = recipe.validation_images + recipe.batch_size + last
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *dataset.input_shape), dtype=torch.uint8, generator=draws)
    labels = torch.randint(0, len(dataset.classes), (count,), generator=draws)
    images = data.Images(pixels.to(device), labels.to(device))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):  # the progress bar
        trainer = Trainer(recipe, 0, device, images)
        train(trainer, None, lambda _: checkpoint.save(folder, trainer.state_dict(), best=True), max_steps=2)
        model, _ = checkpoint.load_model(folder, device)
        return evaluate(model, images[: recipe.batch_size], dataset.classes).logits


def training_rule(recipe: Recipe) -> Rule:
    """The rule that the recipe's model trains: what stands in its way in one line, with the place and the remedy."""
    try:
        with sanity.told(f"{recipe.architecture!r} in model.py"):
            logits = trained_logits(recipe)
    except UserError as error:
        return Rule("training", str(error), False)
    if (logits >= 0).all():
        cli.warn("no output is negative, as after a last Softmax, Sigmoid or ReLU: the loss takes logits, leave it out")
    return Rule("training", "a whole batch and a smaller one; evaluation; a checkpoint", True)


def all_rules(recipe: Recipe) -> list[Rule]:
    """Every rule: size, BatchNorm, dropout, global average pooling, shapes, and that the model trains."""
    training = training_rule(recipe)
    ran = model_rules(build_model(recipe), data.get_dataset(recipe.dataset)) if training.passed else []
    return [parameter_rule(recipe), *ran, training]


def parameter_rule(recipe: Recipe) -> Rule:
    """The rule this project is named after: fewer than 20,000 trainable parameters."""
    return below("trainable parameters", count_parameters(build_model(recipe)), PARAMETER_LIMIT)


def main(argv: list[str] | None = None) -> int:
    named = {name: Recipe(architecture=name) for name in ARCHITECTURES} | RECIPES
    parser = cli.Parser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=named, metavar="NAME", help="an architecture or a recipe")
    parser.add_argument("--check", choices=("parameters", "all"), help="check the rules instead of printing the layers")
    arguments = parser.parse_args(argv)
    if arguments.name is None:
        for name in ARCHITECTURES:
            print(f"{name:18}{count_parameters(build_model(named[name])):>10,} parameters")
        return 0
    recipe = named[arguments.name]
    if not arguments.check:
        table = functools.partial(terminal_table, least=("input", "padding", "stride"))
        print(layer_table(build_model(recipe), data.get_dataset(recipe.dataset).input_shape, table))
        return 0
    devices.prepare()
    rules = all_rules(recipe) if arguments.check == "all" else [parameter_rule(recipe)]
    print(format_rules(rules))
    return 0 if all(rule.passed for rule in rules) else 1


if __name__ == "__main__":
    cli.run(main)
