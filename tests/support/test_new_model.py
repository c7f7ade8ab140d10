"""A network of one's own begins as a class and a recipe that keep every rule."""

import re
import shutil
import subprocess
import sys

from support import UserError, cli, new_model

import pytest


@pytest.fixture
def project(tmp_path):
    """model.py and recipes.py, and what they import, in a folder of their own."""
    for name in ("model.py", "recipes.py"):
        shutil.copy(cli.ROOT / name, tmp_path)
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.py")}


def test_the_new_network_is_built_counted_and_trains(project):
    before = contents(project)
    new_model.create("my-net2", project)
    for name, content in before.items():  # what was there stays, line by line
        lines = (project / name).read_bytes().splitlines()
        assert [line for line in content.splitlines() if line not in lines] == []
    code = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "import torch, data, model, recipes, verdict\n"
        "assert model.__file__.startswith(sys.argv[1]), model.__file__\n"
        "net = model.build(recipes.get_recipe('my-net2').architecture, 10)\n"
        "assert model.count_parameters(net) < 20_000\n"
        "rules = verdict.model_rules(net, data.DATASETS['mnist'])\n"
        "assert all(rule.passed for rule in rules), rules\n"
        "net.train()(torch.rand(4, 1, 28, 28)).sum().backward()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(project), str(cli.ROOT)], check=True)


def test_it_is_formatted_as_the_rest(project):
    new_model.create("mine", project)
    ruff = shutil.which("ruff", path=str(cli.Path(sys.executable).parent))
    for words in (["check"], ["format", "--check"]):
        command = [ruff, *words, "--config", str(cli.ROOT / "pyproject.toml"), *map(str, project.glob("*.py"))]
        subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("name", ["default", "erav3", "chain", "normalize", "tensor", "mnist-ops", "any"])
def test_a_name_that_is_taken_is_refused_and_nothing_changes(name, project):
    before = contents(project)
    with pytest.raises(UserError, match=re.escape(repr(name))):
        new_model.create(name, project)
    assert contents(project) == before


@pytest.mark.parametrize("name", ["base", "plain", "net", "small", "images"])
def test_an_ordinary_name_is_free_though_a_function_has_it_inside(name, project):
    new_model.create(name, project)
    assert f'name="{name}"' in (project / "recipes.py").read_text()


def test_a_second_one_of_the_same_name_is_refused(project):
    new_model.create("mine", project)
    new_model.create("another", project)
    with pytest.raises(UserError, match="choose another NAME"):
        new_model.create("mine", project)


@pytest.mark.parametrize("name", new_model.RESERVED)
def test_a_name_that_another_record_has_is_wrong_usage(capsys, name):
    with pytest.raises(SystemExit):
        new_model.main([name])
    assert f"another {name}.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Mine", "my net", "../mine", "1st", "class", "", "mine-", "über", "my_net"])
def test_a_name_unfit_for_recipe_and_python_is_wrong_usage(name, capsys):
    with pytest.raises(SystemExit) as stop:
        new_model.main([name])
    assert stop.value.code == 2
    assert "such as mine" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.py", "recipes.py"])
@pytest.mark.parametrize("fault", [b"def (:\n", b"x = 1\n"])
def test_files_that_it_does_not_understand_are_left_as_they_are(name, fault, project):
    (project / name).write_bytes(fault)
    before = contents(project)
    with pytest.raises(UserError, match=r"not valid Python|by hand"):
        new_model.create("mine", project)
    assert contents(project) == before
