import dataclasses
import json
import math

from support import cli

import pytest

import recipes
import results

WRONG_VALUES = {
    "epochs": (0, -1, -1.5, True),
    "batch_size": (0, 10**400),
    "learning_rate": (-0.1, 10**400, math.nan, math.inf),
    "momentum": (1.5,),
    "schedule": ("cosine",),
    "optimizer": ("adam",),
    "padding_mode": (3,),
    "nesterov": (1,),
    "degrees": (181,),
    "fill": (256,),
    "keep": (0, 1.1),
    "precision": ("auto",),
    "batch_norm_images": (1,),
    "name": ("../up",),
}


@pytest.mark.parametrize("field", WRONG_VALUES)
def test_a_value_out_of_range_is_refused_by_name(field):
    for value in WRONG_VALUES[field]:
        with pytest.raises(ValueError, match=f"^{field} must be"):
            recipes.change(recipes.Recipe(), {field: value})


def test_unknown_names_and_nesterov_without_momentum_are_refused():
    with pytest.raises(ValueError, match="unknown recipe 'not there'; there are: default, "):
        recipes.get_recipe("not there")
    with pytest.raises(ValueError, match="no field 'lr'"):
        recipes.get_recipe("default", lr=0.1)
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        recipes.get_recipe("default", momentum=0.0)


def ask(*flags):
    """(recipe, seed, name of the run) that flags of train.py ask for."""
    _, recipe, seed, folder = results.parse_run(cli.Parser(prog="script"), [str(flag) for flag in flags])
    return recipe, seed, folder.name


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_config_file_changes_a_recipe_and_flags_come_before_it(tmp_path, suffix):
    changes = {"find_lr": False, "learning_rate": 0.2, "best_threshold": 98.5, "optimizer": "adagrad"}
    config, path = {"recipe": "mnist-ops", "seed": 7, **changes}, tmp_path / f"Tuned.{suffix}"
    lines = [f"{key} = {json.dumps(value)}" for key, value in config.items()]
    path.write_text(json.dumps(config) if suffix == "json" else "\n".join(lines))
    expected = recipes.get_recipe("mnist-ops", name="Tuned", **changes)
    assert ask("--config", path) == (expected, 7, "Tuned-seed7")
    changed = dataclasses.replace(expected, epochs=2)
    assert ask("--config", path, "--seed", 8, "--epochs", 2) == (changed, 8, "Tuned-epochs2-seed8")
    assert ask("--config", path, "--recipe", "erav3")[0].architecture == "erav3"


@pytest.mark.parametrize(("name", "content"), [("a.json", '{"epochs": 3}'), ("a.toml", "epochs = 3\n")])
def test_a_byte_order_mark_at_the_head_of_a_config_is_passed_over(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    assert ask("--config", tmp_path / name)[0].epochs == 3


def test_the_results_of_a_run_are_a_config_of_its_recipe_and_seed(tmp_path):
    recipe, path = recipes.get_recipe("default", epochs=2, learning_rate=0.1), tmp_path / "results.json"
    path.write_text(json.dumps({"schema": 3, "recipe": dataclasses.asdict(recipe), "seed": 7, "history": []}))
    assert ask("--config", path) == (recipe, 7, "default-epochs2-lr0.1-seed7")
    assert ask("--config", path, "--seed", 1)[:2] == (recipe, 1)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.json", '{"lr": 0.1}', "a recipe has no field 'lr': is it learning_rate?"),
        ("a.json", '{"batchsize": 64}', "a recipe has no field 'batchsize': is it batch_size?"),
        ("a.toml", "epochs = 0", "epochs must be between 0.001 and 100,000, got 0"),
        ("a.toml", 'epochs = "3"', "epochs must be of type float, got '3'"),
        ("a.json", '{"batch_size": 3.0}', "batch_size must be of type int, got 3.0"),
        ("a.json", '{"learning_rate": NaN}', "learning_rate must be"),
        ("a.json", '{"nesterov": "yes"}', "nesterov must be of type bool, got 'yes'"),
        ("a.json", '{"recipe": "not there"}', "unknown recipe 'not there'"),
        ("a.json", '{"seed": -1}', "seed must be an integer"),
        ("a.json", '{"name": "../up"}', "name must be fit for a folder"),
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


def test_a_recipe_of_an_earlier_version_can_be_read_and_an_unknown_field_is_refused():
    stored = dataclasses.asdict(recipes.get_recipe("erav3")) | recipes.RETIRED | {"precision": "auto"}
    assert recipes.from_stored(stored) == recipes.get_recipe("erav3")
    with pytest.raises(ValueError, match="no field 'keep_hardest'"):
        recipes.from_stored(stored | {"keep_hardest": 0.4})


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ((), "default-seed0"),
        (("--seed", 3, "--recipe", "erav3"), "erav3-seed3"),
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
        name = results.run_name(recipes.change(recipes.RECIPES["erav3"], changes), 0)
        assert name.startswith("erav3-architecturedefault-epochs15")
        assert len(name) < 160
        names.add(name)
    assert len(names) == 3


def test_what_differs_is_told_from_the_nearest_recipe_where_the_name_is_none():
    recipe = recipes.get_recipe("mnist-ops", name="a name of no recipe", learning_rate=0.2)
    assert recipes.differences(recipe) == {"find_lr": False, "learning_rate": 0.2}
    assert recipes.differences(recipes.get_recipe("erav3")) == {}
