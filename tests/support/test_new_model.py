"""A network of one's own begins as a class and a recipe that keep every rule."""

import shutil
import subprocess
import sys

from support import UserError, cli, new_model

import pytest

TRIAL = """
import sys; sys.path[:0] = sys.argv[1:]
import torch, data, model, recipes, verdict
assert model.__file__.startswith(sys.argv[1]), model.__file__
network = model.build(recipes.get_recipe("a-trial2").architecture, 10)
rules = verdict.model_rules(network, data.DATASETS["mnist"])
assert model.count_parameters(network) < 20_000 and all(rule.passed for rule in rules), rules
network.train()(torch.rand(4, 1, 28, 28)).sum().backward()
"""


@pytest.fixture
def project(tmp_path):
    """A folder with copies of what networks and recipes are in."""
    for name in ("model.py", "recipes.py", "published.toml"):
        shutil.copy(cli.ROOT / name, tmp_path)
    return tmp_path


def contents(folder):
    return {path.name: path.read_text() for path in folder.glob("*.py")}


@pytest.mark.process
def test_the_new_network_is_formatted_keeps_the_rules_and_trains(project):
    before = contents(project)
    for name in ("a-trial2", "patterns"):  # which functions use inside
        new_model.create(name, project)
    assert all(text.startswith(before[name]) for name, text in contents(project).items())
    ruff = shutil.which("ruff", path=str(cli.Path(sys.executable).parent))
    for words in (["check"], ["format", "--check"]):
        subprocess.run([ruff, *words, "--config", cli.ROOT / "pyproject.toml", project], check=True)
    subprocess.run([sys.executable, "-c", TRIAL, project, cli.ROOT], check=True)


@pytest.mark.parametrize("name", ["default", "mnist-ops", "tensor", "bench", "published", "robustness", "is-taken"])
def test_a_name_that_is_taken_is_refused_and_nothing_changes(project, name):
    new_model.create("is-taken", project)
    before = contents(project)
    with pytest.raises(UserError, match=f"{name!r}.*choose another NAME"):
        new_model.create(name, project)
    assert contents(project) == before


def test_a_file_that_is_not_valid_python_is_named_and_nothing_changes(project):
    (project / "recipes.py").write_text("RECIPES = {}\nRECIPES[\n")
    before = contents(project)
    with pytest.raises(UserError, match=r"recipes\.py, line 2, is not valid Python"):
        new_model.create("a-trial", project)
    assert contents(project) == before
