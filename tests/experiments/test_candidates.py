from support import UserError

import pytest

from experiments import candidates


@pytest.fixture
def read(tmp_path):
    """Reads a text as a sweep file called mine.toml."""

    def read(text, recipe=None):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return candidates.read(path, recipe)

    return read


def test_a_grid_is_every_combination(read):
    sweep = read('recipe = "fast"\n[grid]\nlearning_rate = [0.1, 0.2]\noptimizer = ["sgd", "adagrad"]\n')
    assert sweep.candidates == (
        {"learning_rate": 0.1, "optimizer": "sgd"},
        {"learning_rate": 0.1, "optimizer": "adagrad"},
        {"learning_rate": 0.2, "optimizer": "sgd"},
        {"learning_rate": 0.2, "optimizer": "adagrad"},
    )
    assert (sweep.name, sweep.seeds, sweep.trials) == ("mine", (0, 1, 2), 4)
    assert sweep.recipe.name == "fast"
    assert sweep.recipe.holdout
    assert sweep.recipe.validation_images == 10_000
    assert sweep.values("optimizer") == ["sgd", "adagrad"]


def test_a_list_has_a_table_per_candidate_and_an_empty_one_is_the_recipe(read):
    sweep = read("seeds = [7, 3]\nholdout = 500\n[[list]]\n[[list]]\nwhitening = true\nepochs = 3\n")
    assert sweep.candidates == ({}, {"whitening": True, "epochs": 3})
    assert sweep.seeds == (7, 3)
    assert list(map(candidates.describe, sweep.candidates)) == [candidates.AS_IT_IS, "whitening=true, epochs=3"]
    assert [recipe.epochs for recipe in sweep.recipes()] == [12, 3]
    assert sweep.recipe.validation_images == 500


def test_ranges_are_looked_for_so_often(read):
    sweep = read("trials = 20\n[ranges]\nlearning_rate = {low = 0.01, high = 1, log = true}\n")
    assert (sweep.candidates, sweep.trials) == ((), 20)
    assert sweep.ranges["learning_rate"] == candidates.Range(0.01, 1, True)


def test_another_recipe_takes_the_place_of_the_files(read):
    assert read('recipe = "fast"\n[[list]]\n', "erav3").recipe.name == "erav3"
    assert read("[[list]]\n").recipe.name == "default"


FAULTS = {
    "": "one of [grid], [[list]], [ranges] is needed, got none",
    "[grid]\nepochs = [1]\n[[list]]\n": "needed, got [grid] and [[list]]",
    "[grid]\nepoch = [1]": "epoch=1: a recipe has no field 'epoch'",
    "[grid]\nepochs = [1, 0]": "epochs=0: epochs must be between 0.001 and 100,000, got 0",
    "[grid]\nbatch_size = [1.5]": "batch_size must be of type int, got 1.5",
    "[grid]\nepochs = [2, 2]": "epochs=2 is there twice",
    "[grid]\nepochs = []": "grid",
    "[grid]\nepochs = 3": "expected `array`, got `int`",
    "[grid]\nlearning_rate = [nan]": "learning_rate must be at least 0 and finite, got nan",
    "[grid]\nholdout = [false]": "holdout must be the same for all candidates",
    "[grid]\nvalidation_images = [50]": "validation_images must be the same",
    '[grid]\ndataset = ["mnist"]': "dataset must be the same",
    "[[list]]\nmomentum = 0": "momentum=0: nesterov needs a momentum above 0",
    "[ranges]\nlearning_rate = {low = 0.1, high = 1}": "[ranges] need trials",
    "trials = 3\n[[list]]": "[grid] and [[list]] have theirs",
    "trials = 0\n[ranges]\nlearning_rate = {low = 0.1, high = 1}": "trials: expected `int` >= 1",
    "trials = 3\n[ranges]\nlearning_rate = {low = 1, high = 0.1}": "low must be below high, 0.1, got 1",
    "trials = 3\n[ranges]\nlearning_rate = {low = 0, high = 1, log = true}": "log = true needs a low above 0",
    "trials = 3\n[ranges]\nlearning_rate = {low = -1, high = 1}": "learning_rate=-1: learning_rate must be at least 0",
    "trials = 3\n[ranges]\nwhitening = {low = 0, high = 1}": "whitening must be of type bool, got 0",
    "trials = 3\n[ranges]\nlearning_rate = {low = 0.1}": "missing required field `high`",
    'recipe = "fat"\n[[list]]': "unknown recipe 'fat'; there are: default",
    "seeds = 0\n[[list]]": "seeds",
    "seeds = []\n[[list]]": "seeds",
    "seeds = [1, 1]\n[[list]]": "seeds must differ, got [1, 1]",
    "seeds = [-1]\n[[list]]": "seed must be an integer from 0",
    "holdout = 0\n[[list]]": "validation_images must be between 1",
    "seed = 3\n[[list]]": "unknown field `seed`",
    'name = "a/b"\n[[list]]': "name must be fit for a folder",
    "[grid\n": "is not valid TOML",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_of_the_file_is_named_before_anything_is_trained(read, inject, text):
    inject("faulty sweep file")
    with pytest.raises(UserError) as error:
        read(text)
    assert FAULTS[text] in str(error.value)
    assert "mine.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_example_is_a_sweep():
    path = candidates.Path(candidates.__file__).parent / "sweeps" / "example.toml"
    assert candidates.read(path).trials == 6
