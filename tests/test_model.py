import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import checkpoint
import environment
import model
import recipes
from reporting import rules

PUBLISHED = {
    "erav3": 19_098,
    "mnist-ops": 7_758,
    "mnist-7824": 7_824,
    "skeleton-510k": 509_946,
    "mnist-experiment": 18_592,
}


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_published_networks_have_exactly_their_parameters(name, count):
    assert model.count_parameters(model.build(name, 10)) == count


@pytest.mark.parametrize("name", recipes.OWN)
def test_this_projects_networks_are_described_by_their_parameters(name):
    network = recipes.RECIPES[name].architecture
    count = model.count_parameters(model.build(network, 10))
    assert model.ARCHITECTURES[network].__doc__.startswith(f"{count:,} parameters")


def test_a_pool_that_blurs_depends_less_on_where_its_grid_lies(mnist):
    pixels = mnist[0][:100].to_float()

    def change(blur: bool) -> float:
        _, *pooling, norm, _ = model.pooled_block(1, 1, pool=2, blur=blur)
        pool = nn.Sequential(*pooling, norm)
        return nn.functional.mse_loss(pool(pixels), pool(pixels.roll(1, dims=3))).item()

    assert change(blur=True) < 0.8 * change(blur=False)


@pytest.mark.parametrize("name", model.ARCHITECTURES)
def test_every_network_turns_images_into_finite_logits_and_gradients(name, generator):
    network = model.build(name, 10)
    logits = network(torch.rand(4, 1, 28, 28, generator=generator))
    assert logits.shape == (4, 10)
    logits.square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


def test_whitening_sets_the_first_layer_to_patterns_of_both_signs_that_answer_alike_and_freezes_it(mnist):
    network, images = model.build("fast", 10), mnist[0][:100].to_float()
    model.whiten(network, images)
    first = next(network.parameters())
    patterns, negatives = first.flatten(1).chunk(2)
    patches = nn.functional.unfold(images, 3).transpose(1, 2).flatten(0, 1)
    answers = patches[patches.amax(1) > patches.amin(1)] @ patterns.T
    torch.testing.assert_close(answers.T @ answers / len(answers), torch.eye(4), atol=0.02, rtol=0)
    assert negatives.equal(-patterns)
    assert (patterns[0] > 0).all() or (patterns[0] < 0).all()  # the strongest pattern of strokes is a patch of ink
    assert [weight.requires_grad for weight in network.parameters()].count(False) == 1


@pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_recipe_names_a_network(recipe):
    assert recipe.architecture in model.ARCHITECTURES


def test_check_params_passes_the_default_and_fails_the_baseline(capsys):
    assert rules.main(["default", "--check", "parameters"]) == 0
    assert "< 20,000" in capsys.readouterr().out
    assert rules.main(["skeleton-510k", "--check", "parameters"]) == 1
    assert "509,946 ≥ 20,000" in capsys.readouterr().out


def test_a_recipe_is_checked_by_its_network(capsys):
    assert rules.main(["mnist-experiment-aug", "--check", "all"]) == 0
    assert "18,592 < 20,000" in capsys.readouterr().out


def test_without_a_name_all_networks_are_listed(capsys):
    assert rules.main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"{count:,} parameters" in listed for count in PUBLISHED.values())


def test_an_unknown_name_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        rules.main(["resnet"])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "'resnet'" in errors


def test_the_script_lists_and_checks_like_reporting_rules():
    """python model.py is what people type; the tables are made a storey above."""
    command = [sys.executable, "model.py", "skeleton-510k", "--check", "parameters"]
    place = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run(command, cwd=environment.ROOT, capture_output=True, encoding="utf-8", env=place)
    assert (done.returncode, done.stderr) == (1, "")
    assert "509,946 ≥ 20,000" in done.stdout


class Functional(torch.nn.Module):
    """A model as a class, with layers that are functions."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.linear = torch.nn.Conv2d(1, 4, 3), torch.nn.Linear(4, num_classes)

    def forward(self, images):
        return self.linear(torch.nn.functional.relu(self.conv(images)).amax((2, 3)))


def test_a_class_with_functional_layers_is_as_welcome_as_a_layer_list(train_small, monkeypatch, tmp_path):
    monkeypatch.setitem(model.ARCHITECTURES, "mine", Functional)
    assert train_small("--architecture", "mine", "--epochs", 1)[0] == 0
    assert checkpoint.load_model(tmp_path / "run", "cpu", which="best")[0](torch.zeros(2, 1, 28, 28)).shape == (2, 10)
