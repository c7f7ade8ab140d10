"""The architectures, their layers, and whether a recipe's model keeps the rules and trains.

python model.py                                every architecture and its number of trainable parameters
python model.py NAME                           the layers of an architecture, or of a recipe's
python model.py NAME --check parameters|all    the rules; exit status 1 when one is broken
"""

import contextlib
import io
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from support import UserError, cli, devices

import torch
from torch import Tensor, nn

import checkpoint
import data
import recipes
from evaluate import evaluate
from model import ARCHITECTURES, build, count_parameters
from recipes import Recipe
from reporting.model_summary import layer_table
from train import train
from trainer import Trainer
from verdict import PARAMETER_LIMIT, Rule, below, format_rules, model_rules

REMEDIES = {  # of what torch says
    "view size is not compatible": "use reshape or flatten: images are channels_last in training",
    "more than 1 value per channel": "BatchNorm needs more than one value: use another batch_size",
    "mat1 and mat2 shapes cannot be multiplied": "give nn.Linear as many inputs as the layers before it have outputs",
    "Given groups=": "give the convolution as many in_channels as the layer before it has out_channels",
    "Expected all tensors to be on the same device": "register tensors of the model with register_buffer",
    "Only Tensors created explicitly by the user": "keep no tensor of a forward pass in the model: it cannot be copied",
    "does not require grad": "leave out detach() and no_grad() between the parameters and the logits",
    "modified by an inplace operation": "leave out inplace=True where the value is still needed",
}


class Trial(Trainer):
    """A trainer that stops after an epoch."""

    class Done(Exception):
        """The epoch is over."""

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
        if epoch > 1:
            raise self.Done
        return super().batches(epoch)


def trial(recipe: Recipe) -> tuple[Rule, bool]:
    """Whether the recipe's model trains, tried on images of noise by the training itself: a whole batch and the last
    one of an epoch, which is smaller; evaluation, a checkpoint, and the model loaded from it. With it, whether its
    outputs are logits."""
    dataset, device = data.get_dataset(recipe.dataset), devices.resolve_device("auto")
    last = (dataset.training_images - recipe.validation_images - 1) % recipe.batch_size + 1
    count = recipe.validation_images + recipe.batch_size + last
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *dataset.input_shape), dtype=torch.uint8, generator=draws)
    labels = torch.randint(0, len(dataset.classes), (count,), generator=draws)
    images = data.Images(pixels.to(device), labels.to(device))
    silence = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(silence):
        trainer = Trial(recipe, 0, device, images)
        with contextlib.suppress(Trial.Done), contextlib.redirect_stderr(silence):
            train(trainer, trainer.validation_images, Path(folder), lambda: None)
        model, _ = checkpoint.load_model(folder, device)
        logits = evaluate(model, images[: recipe.batch_size], dataset.classes).logits
    steps = f"a batch of {recipe.batch_size} and the last one, of {last}"
    return Rule("training", f"{steps}; evaluation; a checkpoint", True), bool((logits < 0).any())


def training_rule(recipe: Recipe) -> Rule:
    """The rule that the recipe's model trains: what stands in its way in one line, with the place and the remedy."""
    try:
        rule, has_negative = trial(recipe)
    except UserError as error:
        return Rule("training", str(error), False)
    except Exception as error:  # of a model that is being written: whatever it leads to
        lines = str(error).strip().splitlines()
        remedy = next((f": {remedy}" for words, remedy in REMEDIES.items() if words in str(error)), "")
        return Rule(
            "training", f"{type(error).__name__}: {lines[0] if lines else ''}, at {place(error)}{remedy}", False
        )
    if not has_negative:
        cli.warn("no output is negative, as after a last Softmax, Sigmoid or ReLU: the loss takes logits, leave it out")
    return rule


def place(error: Exception) -> str:
    """The line of the project's model, or else of its code, where an error came from."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(cli.ROOT)
    ]
    frames = [frame for frame in frames if ".venv" not in frame.filename] or traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name == "model.py"] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def find(name: str) -> Recipe:
    """A recipe, or one that trains an architecture. Raises UserError for a name that is neither."""
    known = {name: Recipe(architecture=name) for name in ARCHITECTURES} | recipes.RECIPES
    if name not in known:
        raise UserError(f"unknown architecture or recipe {name!r}; there are: {', '.join(known)}")
    return known[name]


def check(recipe: Recipe) -> list[Rule]:
    """Every rule: size, BatchNorm, dropout, global average pooling, shapes, and that the model trains."""
    training = training_rule(recipe)
    ran = model_rules(build_model(recipe), data.get_dataset(recipe.dataset)) if training.passed else []
    return [parameter_rule(recipe), *ran, training]


def build_model(recipe: Recipe) -> nn.Module:
    """The recipe's model, with fresh weights."""
    return build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))


def parameter_rule(recipe: Recipe) -> Rule:
    """The rule this project is named after: fewer than 20,000 trainable parameters."""
    return below("trainable parameters", count_parameters(build_model(recipe)), PARAMETER_LIMIT)


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("name", nargs="?", help="an architecture or a recipe; without it all architectures are listed")
    parser.add_argument("--check", choices=("parameters", "all"), help="check the rules instead of printing the layers")
    arguments = parser.parse_args(argv)
    if arguments.name is None:
        for name in ARCHITECTURES:
            print(f"{name:18}{count_parameters(build_model(find(name))):>10,} parameters")
        return 0
    try:
        recipe = find(arguments.name)
    except UserError as error:
        parser.error(str(error))
    if not arguments.check:
        print(layer_table(build_model(recipe), data.get_dataset(recipe.dataset).input_shape))
        return 0
    devices.prepare()
    rules = check(recipe) if arguments.check == "all" else [parameter_rule(recipe)]
    print(format_rules(rules))
    return 0 if all(rule.passed for rule in rules) else 1


if __name__ == "__main__":
    sys.exit(cli.run(main))
