import pytest
import torch

import layers
import model
import recipes

PUBLISHED = {
    "erav3": 19_098,
    "mnist-ops": 7_758,
    "mnist-7824": 7_824,
    "skeleton-510k": 509_946,
    "mnist-experiment": 18_592,
}


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_published_networks_have_exactly_their_parameters(name, count):
    assert layers.parameter_count(model.build(name)) == count


@pytest.mark.parametrize("name", model.ARCHITECTURES)
def test_every_network_turns_images_into_finite_logits_and_gradients(name, generator):
    network = model.build(name)
    logits = network(torch.rand(4, *layers.IMAGE, generator=generator))
    assert logits.shape == (4, 10)
    logits.square().mean().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


def test_whitening_sets_the_first_layer_to_orthonormal_patterns_of_both_signs_and_freezes_it(mnist):
    network = model.build("fast")
    model.whiten(network, mnist[0][:100].floats())
    first = next(network.parameters())
    patterns, negatives = first.flatten(1).chunk(2)
    torch.testing.assert_close(patterns @ patterns.T, torch.eye(4), atol=1e-5, rtol=0)
    assert negatives.equal(-patterns)
    assert (patterns[0] > 0).all() or (patterns[0] < 0).all()  # the strongest pattern of strokes is a patch of ink
    assert [weight.requires_grad for weight in network.parameters()].count(False) == 1


@pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_recipe_names_a_network(recipe):
    assert recipe.architecture in model.ARCHITECTURES


def test_check_params_passes_the_default_and_fails_the_baseline(capsys):
    assert model.main(["default", "--check", "parameters"]) == 0
    assert "< 20,000" in capsys.readouterr().out
    assert model.main(["skeleton-510k", "--check", "parameters"]) == 1
    assert "509,946 ≥ 20,000" in capsys.readouterr().out


def test_a_recipe_is_checked_by_its_network(capsys):
    assert model.main(["mnist-experiment-aug", "--check", "all"]) == 0
    assert "18,592 < 20,000" in capsys.readouterr().out


def test_without_a_name_all_networks_are_listed(capsys):
    assert model.main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"{count:,} parameters" in listed for count in PUBLISHED.values())


def test_an_unknown_name_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        model.main(["resnet"])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "'resnet'" in errors
