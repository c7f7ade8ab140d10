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

RESERVED = ("bench", "published")
MODEL = '''class {class_name}(nn.Module):
    """A starting point: change anything, then `make check-model RECIPE={name}` and `make train RECIPE={name}`."""

    def __init__(self, num_classes: int):
        super().__init__()
        # Each convolution is followed by BatchNorm, so that it needs no bias.
        self.convolution1 = nn.Conv2d(1, 16, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.convolution2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.convolution3 = nn.Conv2d(16, 32, 3, bias=False)
        self.norm3 = nn.BatchNorm2d(32)
        self.convolution4 = nn.Conv2d(32, 32, 3, bias=False)
        self.norm4 = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:  # normalized, [N, 1, 28, 28]
        # The first pool comes early: most of the work is done at 13 x 13 then.
        maps = nn.functional.relu(self.norm1(nn.functional.max_pool2d(self.convolution1(images), 2)))  # [N, 16, 13, 13]
        maps = nn.functional.relu(self.norm2(self.convolution2(maps)))
        maps = nn.functional.relu(self.norm3(nn.functional.max_pool2d(self.convolution3(maps), 2)))  # [N, 32, 5, 5]
        maps = nn.functional.relu(self.norm4(self.convolution4(maps)))  # [N, 32, 3, 3]
        features = maps.mean((2, 3))  # global average pooling, [N, 32]
        return self.head(nn.functional.dropout(features, 0.05, self.training))  # logits, [N, num_classes]
'''

RECIPE = """\
    # Your own; a field that is left out takes the default of the class Recipe. Tune it by
    # make train RECIPE={name} HOLDOUT=10000, without the test images.
    Recipe(
        name="{name}", architecture="{name}", epochs=16, batch_size=256,
        learning_rate=0.2, nesterov=True, weight_decay=1e-3, label_smoothing=0.1,
        schedule="one_cycle", pct_start=0.2, div_factor=10, final_div_factor=20,  # down to 1/200 of the peak
        precision="auto",
        degrees=8, translate=0.06, scale=0.08, shear=4,  # augmentation
    ),
"""

ARCHITECTURES = re.compile(r"^ARCHITECTURES = \{\n(?:.*\n)*?(?=\}\n)", re.MULTILINE)
RECIPES = re.compile(r"^RECIPES = .*\n(?:.*\n)*?(?=\)\}\n)", re.MULTILINE)


def recipe_name(text: str) -> str:
    """A name fit for a recipe, a folder and, but for its hyphens, for Python."""
    if text in RESERVED:
        raise argparse.ArgumentTypeError(f"results/records has another {text}.json: choose another name")
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
    """What a file of Python defines or imports for all of it, and the texts in its collections, such as the names of
    recipes. Raises UserError for one that is no Python."""
    try:
        statements = ast.parse(files.read(path)).body
    except SyntaxError as error:
        raise UserError(f"{path} is not valid Python (line {error.lineno}: {error.msg}): mend it first") from error
    found = set()
    for statement in statements:
        inner = (
            ast.walk(statement) if isinstance(statement, ast.Assign) else [statement, *getattr(statement, "names", [])]
        )
        for node in inner:  # names, definitions, imports, texts
            found |= {getattr(node, field, None) for field in ("id", "name", "asname", "value")}
    return {each for each in found if isinstance(each, str)}


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
