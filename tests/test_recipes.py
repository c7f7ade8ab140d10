import dataclasses
import math

import pytest

import recipes


def test_recipes_are_named_as_they_are_listed():
    assert all(recipe.name == name for name, recipe in recipes.RECIPES.items())
    assert {"default", "erav3", "mnist-ops", "mnist-7824", "skeleton-510k", "mnist-experiment"} < set(recipes.RECIPES)


def test_erav3_is_as_published():
    recipe = recipes.recipe("erav3")
    assert (recipe.optimizer, recipe.nesterov, recipe.momentum, recipe.weight_decay) == ("sgd", True, 0.9, 5e-4)
    assert (recipe.schedule, recipe.warmup, recipe.start_divisor, recipe.final_divisor) == ("one_cycle", 0.3, 25, 1e4)
    assert (recipe.learning_rate, recipe.epochs, recipe.batch_size) == (0.1, 20, 128)
    assert (recipe.rotation, recipe.translation, recipe.zoom, recipe.shear, recipe.erasing) == (15, 0.1, 0.1, 5, 0.2)


def test_the_default_keeps_to_what_the_project_promises():
    recipe = recipes.recipe("default")
    assert (recipe.optimizer, recipe.nesterov, recipe.schedule) == ("sgd", True, "one_cycle")
    assert recipe.epochs < 20
    assert recipe.average_decay > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch_size", 0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", -0.1),
        ("momentum", 1.5),
        ("schedule", "cosine"),
        ("optimizer", "adam"),
        ("edge", 3),
        ("nesterov", 1),
        ("rotation", 181),
        ("fill", 256),
        ("erasing", 1.1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be"):
        recipes.recipe("default", **{field: value})


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown recipe 'quick'; there are: default, fast, erav3"):
        recipes.recipe("quick")
    with pytest.raises(ValueError, match="no field 'lr'"):
        recipes.recipe("default", lr=0.1)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.recipe("default").epochs = 3
