"""A starting point for a network of one's own: a class in model.py, and a recipe of the same name in recipes.py.

    python -m support.new_model mine

Both files are read and written as text; what is in them stays as it is. The class is complete and trains past 99.4 %,
so that every change to it can be compared with something.
"""

import argparse
import ast
import keyword
import re
import sys
from pathlib import Path

from support import UserError, cli, files

MODEL = '''class {class_name}(nn.Module):
    """A starting point: change anything, then `make check-model RECIPE={name}` and `make train RECIPE={name}`."""

    def __init__(self, num_classes: int):
        super().__init__()
        # Each convolution is followed by BatchNorm, so that it needs no bias.
        self.convolution1 = nn.Conv2d(1, 16, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.convolution2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.convolution3 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(32)
        self.convolution4 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.norm4 = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:  # normalized, [N, 1, 28, 28]
        # The first pool comes early: most of the work is done at 13 x 13 then.
        maps = nn.functional.relu(self.norm1(nn.functional.max_pool2d(self.convolution1(images), 2)))  # [N, 16, 13, 13]
        maps = nn.functional.relu(self.norm2(self.convolution2(maps)))
        maps = nn.functional.relu(self.norm3(nn.functional.max_pool2d(self.convolution3(maps), 2)))  # [N, 32, 6, 6]
        maps = nn.functional.relu(self.norm4(self.convolution4(maps)))
        features = maps.mean((2, 3))  # global average pooling, [N, 32]
        return self.head(nn.functional.dropout(features, 0.05, self.training))  # logits, [N, num_classes]
'''

RECIPE = """\
    # Your own; fields that are left out take the defaults above. Tune it by make train RECIPE={name} HOLDOUT=10000.
    Recipe(
        name="{name}", architecture="{name}", epochs=12, batch_size=256,
        learning_rate=0.3, nesterov=True, weight_decay=1e-3, label_smoothing=0.1,
        schedule="one_cycle", pct_start=0.15, div_factor=10, final_div_factor=1, ema_decay=0.95, ema_every=5,
        precision="auto",
        degrees=10, translate=0.07, scale=0.1, shear=5,
    ),
"""

ARCHITECTURES = re.compile(r"^ARCHITECTURES = \{\n(?:.*\n)*?(?=\}\n)", re.MULTILINE)
RECIPES = re.compile(r"^RECIPES = .*\n(?:.*\n)*?(?=\)\}\n)", re.MULTILINE)


def recipe_name(text: str) -> str:
    """A name fit for a recipe, a folder and, but for its hyphens, for Python."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", text) or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be lower-case letters, digits and single hyphens, such as mine"
        )
    return text


def add(path: Path, where: re.Pattern, before: str, entry: str) -> str:
    """The text of a file with an entry at the end of the collection that `where` finds, and text before that. Raises
    UserError where it is not found."""
    text = files.read(path).decode()
    collection = where.search(text)
    if not collection:
        raise UserError(f"{path} has no {where.pattern[1:].split(' ')[0]} as it came: add the entry by hand")
    return text[: collection.start()] + before + collection[0] + entry + text[collection.end() :]


def names(path: Path) -> set[str]:
    """Every name, and every text, in a file of Python. Raises UserError for one that is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(files.read(path))))
    except SyntaxError as error:
        raise UserError(f"{path} is not valid Python (line {error.lineno}: {error.msg}): mend it first") from error
    fields = ("id", "name", "asname", "value")  # of names, definitions, imports, constants
    return {getattr(node, field) for node in nodes for field in fields if isinstance(getattr(node, field, None), str)}


def create(name: str, root: Path) -> None:
    """Add the network and the recipe of that name to model.py and recipes.py in a folder: both, or where one cannot be,
    none. Raises UserError, as for a name that is taken."""
    class_name = "".join(part.capitalize() for part in name.split("-"))
    model, recipes = root / "model.py", root / "recipes.py"
    for path, taken in ((model, names(model)), (recipes, names(recipes))):
        if taken & {name, name.replace("-", "_"), class_name}:
            raise UserError(f"{path} has something called {name!r} or {class_name!r} already: choose another NAME")
    network = MODEL.format(name=name, class_name=class_name) + "\n\n"
    with_model = add(model, ARCHITECTURES, network, f'    "{name}": {class_name},\n')
    with_recipe = add(recipes, RECIPES, "", RECIPE.format(name=name))
    files.replace_file(model, with_model.encode())
    files.replace_file(recipes, with_recipe.encode())


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("name", type=recipe_name, help="of the recipe and its network")
    name = parser.parse_args(argv).name
    create(name, cli.ROOT)
    print(f"model.py has the network, recipes.py the recipe {name!r}. What next:")
    for target, meaning in (
        ("show-model", "its layers, with shapes and parameters"),
        ("check-model", "the rules, and two steps of training"),
        ("train", "the whole training; HOLDOUT=10000 to tune it"),
    ):
        print(f"  {f'make {target} RECIPE={name}':32} {meaning}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
