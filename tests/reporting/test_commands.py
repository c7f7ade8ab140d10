"""The commands that train a run again, read back as make and train.py read them."""

import dataclasses
import os
import shlex
import subprocess

from support import cli

import pytest

import recipes
import results
from recipes import Recipe
from reporting.report import train_command

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True, params=["plain", "searching"])
def base(request, monkeypatch):
    """A named recipe, without and with a range test."""
    for name in ("plain", "searching"):
        monkeypatch.setitem(recipes.RECIPES, name, Recipe(name, find_lr=name == "searching"))
    return recipes.RECIPES[request.param]


def read_back(command):
    """(recipe, seed) that a command trains."""
    words = shlex.split(command)
    if words[0] == "make":
        alone = {"PATH": os.environ["PATH"]}
        done = subprocess.run(["make", "-n", *words[1:]], cwd=cli.ROOT, capture_output=True, text=True, env=alone)
        assert done.returncode == 0, done.stderr
        words = shlex.split(next(line for line in done.stdout.replace("\\\n", " ").splitlines() if "train.py" in line))
    parser = cli.Parser()
    parser.add_device()
    _, *named, _ = results.parse_run(parser, words[words.index("train.py") + 1 :])
    return tuple(named)


def other(field, value):
    """Another value that a field of Recipe may have."""
    if field.metadata["choices"]:
        return next(choice for choice in field.metadata["choices"] if choice != value)
    if field.type is str:
        return {"architecture": "other", "dataset": "fashion-mnist"}[field.name]
    if field.type is float:
        return 2.5 if field.metadata["low"] == 1 else 0.1 * 3  # whose digits must all be told
    return not value if field.type is bool else value + 11


@pytest.mark.parametrize("field", recipes.FIELDS, ids=lambda field: field.name)
def test_a_recipe_with_any_field_changed_is_trained_again_as_it_was(base, field):
    recipe = dataclasses.replace(base, **{field.name: other(field, getattr(base, field.name))})
    assert read_back(train_command(recipe, 7)) == (recipe, 7)


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "make train RECIPE={} SEED=3"),
        ({"epochs": 2, "dataset": "fashion-mnist"}, "make train RECIPE={} SEED=3 DATASET=fashion-mnist EPOCHS=2"),
        ({"epochs": 2, "gamma": 0.5}, "python train.py --recipe {} --seed 3 --epochs 2 --gamma 0.5"),
        ({"nesterov": True}, "python train.py --recipe {} --seed 3 --nesterov true"),
    ],
)
def test_a_command_is_makes_where_its_variables_say_it_all_in_as_many_processes(base, changes, command):
    recipe, command = dataclasses.replace(base, **changes), command.format(base.name)
    assert train_command(recipe, 3) == command
    assert read_back(command) == (recipe, 3)
    several = command.replace("python", "python -m support.launch 2") + " NPROC=2" * command.startswith("make")
    assert train_command(recipe, 3, 2) == several
    if changes:  # of a config file: told by the nearest named one
        assert train_command(dataclasses.replace(recipe, name="gentle"), 3) == command
