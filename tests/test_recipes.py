import dataclasses
import math

from support import cli

import pytest

import recipes


def test_recipes_are_named_as_they_are_listed():
    assert all(recipe.name == name for name, recipe in recipes.RECIPES.items())
    assert {"default", "erav3", "mnist-ops", "mnist-7824", "skeleton-510k", "mnist-experiment"} < set(recipes.RECIPES)


def test_erav3_is_as_published():
    recipe = recipes.get_recipe("erav3")
    assert (recipe.optimizer, recipe.nesterov, recipe.momentum, recipe.weight_decay) == ("sgd", True, 0.9, 5e-4)
    assert (recipe.schedule, recipe.pct_start, recipe.div_factor, recipe.final_div_factor) == (
        "one_cycle",
        0.3,
        25,
        1e4,
    )
    assert (recipe.learning_rate, recipe.epochs, recipe.batch_size) == (0.1, 20, 128)
    assert (recipe.degrees, recipe.translate, recipe.scale, recipe.shear, recipe.random_erasing) == (
        15,
        0.1,
        0.1,
        5,
        0.2,
    )


def test_the_default_keeps_to_what_the_project_promises():
    recipe = recipes.get_recipe("default")
    assert (recipe.optimizer, recipe.nesterov, recipe.schedule) == ("sgd", True, "one_cycle")
    assert recipe.epochs < 20
    assert recipe.ema_decay > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("epochs", -1.5),
        ("epochs", True),
        ("batch_size", 0),
        ("batch_size", 10**400),
        ("learning_rate", 10**400),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", -0.1),
        ("momentum", 1.5),
        ("schedule", "cosine"),
        ("optimizer", "adam"),
        ("padding_mode", 3),
        ("nesterov", 1),
        ("degrees", 181),
        ("fill", 256),
        ("random_erasing", 1.1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be"):
        recipes.get_recipe("default", **{field: value})


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        recipes.get_recipe("default", momentum=0.0)
    assert not recipes.get_recipe("default", momentum=0.0, nesterov=False).nesterov


def test_statistics_of_one_image_are_refused():
    with pytest.raises(ValueError, match="batch_norm_images must be 0 or at least 2, got 1"):
        recipes.get_recipe("default", batch_norm_images=1)
    assert recipes.get_recipe("default", batch_norm_images=2).batch_norm_images == 2


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown recipe 'quick'; there are: default, fast, under8k"):
        recipes.get_recipe("quick")
    with pytest.raises(ValueError, match="no field 'lr'"):
        recipes.get_recipe("default", lr=0.1)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.get_recipe("default").epochs = 3


def ask(*flags):
    parser = cli.Parser(prog="script")
    recipes.add_flags(parser)
    return recipes.from_flags(parser, parser.parse_args([str(flag) for flag in flags]))


CONFIGS = {
    "mine.json": '{"recipe": "mnist-ops", "seed": 7, "find_lr": false, "learning_rate": 0.2, "best_threshold": 98.5, '
    '"optimizer": "adagrad", "schedule": "plateau", "plateau_patience": 1}',
    "mine.toml": 'recipe = "mnist-ops"\nseed = 7\nfind_lr = false\nlearning_rate = 0.2\nbest_threshold = 98.5\n'
    'optimizer = "adagrad"\nschedule = "plateau"\nplateau_patience = 1\n',
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_file_changes_a_recipe_and_flags_come_before_it(tmp_path, name):
    path = tmp_path / name
    path.write_text(CONFIGS[name])
    changes = {"learning_rate": 0.2, "best_threshold": 98.5, "optimizer": "adagrad"}
    changes |= {"schedule": "plateau", "plateau_patience": 1}
    expected = recipes.get_recipe("mnist-ops", name="mine", find_lr=False, **changes)
    assert ask("--config", path) == (expected, 7, "mine-seed7")
    found, seed, run = ask("--config", path, "--seed", 8, "--epochs", 2)
    assert found == dataclasses.replace(expected, epochs=2)
    assert (seed, run) == (8, "mine-epochs2-seed8")
    assert ask("--config", path, "--recipe", "erav3")[0].architecture == "erav3"


def test_without_flags_it_is_the_default_and_seed_0():
    assert ask() == (recipes.get_recipe("default"), 0, "default-seed0")


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.json", '{"lr": 0.1}', "a recipe has no field 'lr'"),
        ("a.toml", "lr = 0.1", "a recipe has no field 'lr'"),
        ("a.toml", "epochs = 0", "epochs must be between 0.001 and 100,000, got 0"),
        ("a.toml", 'epochs = "3"', "epochs must be of type float, got '3'"),
        ("a.json", '{"batch_size": 3.0}', "batch_size must be of type int, got 3.0"),
        ("a.json", '{"epochs": true}', "epochs must be of type float, got True"),
        ("a.json", '{"epochs": null}', "epochs must be of type float, got None"),
        ("a.json", '{"epochs": [3]}', "epochs must be of type float"),
        ("a.json", '{"learning_rate": NaN}', "learning_rate must be"),
        ("a.json", '{"nesterov": "yes"}', "nesterov must be of type bool, got 'yes'"),
        ("a.json", '{"schedule": "cosine"}', "schedule must be one of"),
        ("a.json", '{"recipe": "quick"}', "unknown recipe 'quick'"),
        ("a.json", '{"recipe": ["fast"]}', "unknown recipe"),
        ("a.json", '{"seed": -1}', "seed must be an integer"),
        ("a.json", '{"seed": "1"}', "seed must be an integer"),
        ("a.json", '{"name": "../up"}', "name must be fit for a folder"),
        ("a.json", '{"name": 3}', "name must be of type str"),
        ("a.json", "[1]", "must hold keys and values"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", "[" * 100_000, "is not valid JSON"),
        ("a.json", '{"learning_rate": 1' + "0" * 400 + "}", "learning_rate must be at least 0 and finite"),
        ("a.toml", "a b", "is not valid TOML"),
        ("a.toml", "\ud800", "is not valid TOML"),
        ("a.yaml", "", "must end in .json or .toml"),
    ],
)
def test_a_wrong_config_file_is_refused_by_name(tmp_path, capsys, inject, name, content, named):
    path = tmp_path / name
    path.write_bytes(content.encode(errors="surrogatepass"))
    inject("wrong config file")
    with pytest.raises(SystemExit) as stop:
        ask("--config", path)
    errors = capsys.readouterr().err
    assert stop.value.code == 2
    assert named in errors
    assert str(path) in errors
    assert errors.count("\n") == 1


def test_a_config_file_that_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        ask("--config", tmp_path / "none.toml")
    assert str(tmp_path / "none.toml") in capsys.readouterr().err


def test_the_recipes_are_split_into_own_and_published_ones():
    assert {*recipes.OWN, *recipes.PUBLISHED} <= set(recipes.RECIPES)
    assert not set(recipes.OWN) & set(recipes.PUBLISHED)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ((), "default-seed0"),
        (("--seed", 3, "--recipe", "fast"), "fast-seed3"),
        (("--learning-rate", 0.1), "default-lr0.1-seed0"),
        (("--learning-rate", 0.3), "default-seed0"),  # its own
        (("--epochs", 1, "--learning-rate", 0.12345), "default-epochs1-lr0.12345-seed0"),
        (("--find-lr", "true"), "default-lrauto-seed0"),
        (("--holdout", "true", "--validation-images", 10_000), "default-holdout10000-seed0"),
        (("--dataset", "fashion-mnist"), "default-fashion-mnist-seed0"),
        (("--nesterov", "false", "--schedule", "constant"), "default-nesterovfalse-scheduleconstant-seed0"),
        (("--architecture", "a/b"), "default-architecturea_b-seed0"),
    ],
)
def test_a_run_is_named_by_what_differs_from_its_recipe(flags, name):
    assert ask(*flags)[2] == name


def test_a_name_stays_short_and_its_own_however_much_differs():
    names = set()
    for degrees in range(3):
        changes = {field.name: field.default for field in recipes.FIELDS} | {"degrees": float(degrees)}
        name = recipes.run_name(recipes.change(recipes.RECIPES["erav3"], changes), 0)
        assert name.startswith("erav3-architecturedefault-epochs15")
        assert len(name) < 160
        names.add(name)
    assert len(names) == 3


def test_what_differs_is_told_from_the_nearest_recipe_where_the_name_is_none():
    recipe = recipes.get_recipe("mnist-ops", name="mine", learning_rate=0.2)
    assert recipes.differences(recipe) == {"find_lr": False, "learning_rate": 0.2}
    assert recipes.differences(recipes.get_recipe("fast")) == {}
