"""A starting point for a network of one's own: a class at the end of model.py, and a recipe at that of recipes.py.

    python -m support.new_model mine

The class, in new_model.txt, is complete and trains past 99.4 %, so that every change to it can be compared with
something. What is in both files stays as it is.
"""

import ast
import builtins
import keyword
import re
from pathlib import Path

from support import UserError, cli, files

OTHER_RECORDS = "bench", "published", "robustness", "detector"  # files of results/records that are of no recipe


def create(name: str, root: Path) -> None:
    """Add the network and the recipe of that name to the ends of model.py and recipes.py in a folder. Raises UserError
    for a name that is taken, and for a file that would not be valid Python, and changes nothing then."""
    class_name = name.title().replace("-", "")
    template = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    texts = {path: files.read(path).decode() for path in (root / "model.py", root / "recipes.py")}
    known = "".join(texts.values()) + files.read(root / "published.toml").decode()
    is_taken = re.search(rf'[".]{name}["\]]|^(class|from|import) .*\b{class_name}\b', known, re.MULTILINE)
    if is_taken or name in OTHER_RECORDS:
        raise UserError(f"something is called {name!r} or {class_name!r} already: choose another NAME")
    for path, addition in zip(texts, template.split("----\n"), strict=True):
        texts[path] += addition.format(name=name, class_name=class_name)
        try:
            ast.parse(texts[path])
        except SyntaxError as error:
            raise UserError(f"{path.name}, line {error.lineno}, is not valid Python ({error.msg}): mend it") from error
    for path, text in texts.items():
        files.replace_file(path, text.encode())


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("name", help="of the recipe and its network")
    name = parser.parse_args(argv).name
    reserved = {*keyword.kwlist, *dir(builtins)}
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or {name, name.title()} & reserved:
        parser.error(f"{name!r} must be lower-case letters, digits and single hyphens, and no word of Python's own")
    create(name, cli.ROOT)
    print(f"model.py has the network, recipes.py the recipe {name!r}. What next:")
    print(f"  make show-model RECIPE={name}     its layers, with shapes and parameters")
    print(f"  make check-model RECIPE={name}    the rules, and two steps of training")
    print(f"  make train RECIPE={name}          the whole training; HOLDOUT=10000 to tune it")


if __name__ == "__main__":
    cli.run(main)
