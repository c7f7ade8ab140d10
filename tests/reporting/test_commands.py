"""The commands that train a run again, read back as make and train.py read them."""

import dataclasses
import os
import shlex
import subprocess

from support import cli

import pytest

import recipes
from reporting import commands


def read_back(command):
    """(recipe, seed) that a command trains."""
    words = shlex.split(command)
    if words[0] == "make":
        alone = {"PATH": os.environ["PATH"]}
        done = subprocess.run(["make", "-n", *words[1:]], cwd=cli.ROOT, capture_output=True, text=True, env=alone)
        assert done.returncode == 0, done.stderr
        words = shlex.split(next(line for line in done.stdout.replace("\\\n", " ").splitlines() if "train.py" in line))
    parser = cli.Parser()
    parser.add_data()
    parser.add_device()
    recipes.add_flags(parser)
    return recipes.from_flags(parser, parser.parse_args(words[words.index("train.py") + 1 :]))[:2]


def other(field, value):
    """Another value that a field of Recipe may have."""
    if field.metadata["choices"]:
        return next(choice for choice in field.metadata["choices"] if choice != value)
    if field.type is str:
        return {"architecture": "mnist-ops", "dataset": "fashion-mnist"}[field.name]
    if field.type is float:
        return 0.1 * 3 if value != 0.1 * 3 else 0.7  # whose digits must all be told
    return not value if field.type is bool else value + 11


@pytest.mark.parametrize("field", recipes.FIELDS, ids=lambda field: field.name)
@pytest.mark.parametrize("name", ["default", "mnist-ops"])  # without and with a range test
def test_a_recipe_with_any_field_changed_is_trained_again_as_it_was(name, field):
    base = recipes.get_recipe(name)
    value = 2.5 if field.name in ("div_factor", "final_div_factor") else other(field, getattr(base, field.name))
    recipe = dataclasses.replace(base, **{field.name: value})
    assert read_back(commands.train(recipe, 7)) == (recipe, 7)


@pytest.mark.parametrize(
    ("name", "changes", "command"),
    [
        ("fast", {}, "make train RECIPE=fast SEED=0"),
        (
            "default",
            {"epochs": 2, "dataset": "fashion-mnist"},
            "make train RECIPE=default SEED=0 DATASET=fashion-mnist EPOCHS=2",
        ),
        ("fast", {"learning_rate": 1e-05}, "make train RECIPE=fast SEED=0 LR=1e-05"),
        ("fast", {"find_lr": True}, "make train RECIPE=fast SEED=0 LR=auto"),
        ("mnist-ops", {"find_lr": False}, "make train RECIPE=mnist-ops SEED=0 LR=0.01"),
        ("fast", {"holdout": True, "validation_images": 10_000}, "make train RECIPE=fast SEED=0 HOLDOUT=10000"),
        ("fast", {"holdout": True}, "make train RECIPE=fast SEED=0 HOLDOUT=50"),
        ("fast", {"validation_images": 60}, "python train.py --recipe fast --seed 0 --validation-images 60"),
        ("fast", {"momentum": 0.8, "epochs": 2}, "python train.py --recipe fast --seed 0 --epochs 2 --momentum 0.8"),
        (
            "fast",
            {"learning_rate": 0.2, "find_lr": True},
            "python train.py --recipe fast --seed 0 --learning-rate 0.2 --find-lr true",
        ),
        ("fast", {"nesterov": False}, "python train.py --recipe fast --seed 0 --nesterov false"),
    ],
)
def test_a_command_is_makes_where_its_variables_say_it_all(name, changes, command):
    recipe = dataclasses.replace(recipes.get_recipe(name), **changes)
    assert commands.train(recipe, 0) == command
    assert read_back(command) == (recipe, 0)


def test_a_recipe_of_a_config_file_is_told_by_its_nearest_one():
    recipe = recipes.get_recipe("mnist-ops", name="gentle", gamma=0.5)
    command = commands.train(recipe, 3)
    assert command == "python train.py --recipe mnist-ops --seed 3 --gamma 0.5"
    assert read_back(command) == (dataclasses.replace(recipe, name="mnist-ops"), 3)


def test_several_processes_are_started_again():
    recipe = recipes.get_recipe("fast")
    assert commands.train(recipe, 0, 2) == "make train RECIPE=fast SEED=0 NPROC=2"
    changed = dataclasses.replace(recipe, gamma=0.5)
    assert commands.train(changed, 0, 2).startswith("python -m support.launch 2 train.py --recipe fast")
