import pytest
import torch
from torch import nn

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
    assert model.parameter_count(model.build(name)) == count


def test_the_count_is_the_one_made_by_hand():
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10, bias=False))
    assert model.parameter_count(layers) == (4 * 9 + 4) + 2 * 4 + 4 * 10
    layers[0].weight.requires_grad_(False)
    assert model.parameter_count(layers) == 4 + 2 * 4 + 4 * 10


@pytest.mark.parametrize("name", model.ARCHITECTURES)
def test_every_network_turns_images_into_finite_logits_and_gradients(name, generator):
    network = model.build(name)
    logits = network(torch.rand(4, *model.IMAGE, generator=generator))
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


@pytest.mark.parametrize("name", [name for name in model.ARCHITECTURES if name != "skeleton-510k"])
def test_every_network_but_the_baseline_keeps_all_rules(name):
    assert all(rule.kept for rule in model.rules(model.build(name)))


@pytest.mark.parametrize(
    ("broken", "layers"),
    [
        ("trainable parameters", [nn.Linear(10, 2000), nn.Linear(2000, 10)]),
        ("BatchNorm", [nn.BatchNorm2d]),
        ("dropout", [nn.Dropout]),
        ("global average pooling", [nn.AdaptiveAvgPool2d]),
        ("input 1×28×28 to output 10", [nn.Linear(10, 11)]),
    ],
)
def test_each_rule_can_break_alone(broken, layers):
    """Layers are added to a network that keeps all rules; a class takes its layers out instead."""
    sound = [nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    sound = [layer for layer in sound if type(layer) not in layers]
    if nn.AdaptiveAvgPool2d in layers:
        sound = [*sound[:-1], nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    network = nn.Sequential(*sound, *(layer for layer in layers if isinstance(layer, nn.Module)))
    assert [rule.name for rule in model.rules(network) if not rule.kept] == [broken]


def test_a_network_that_cannot_take_an_image_breaks_a_rule_without_a_traceback():
    assert not all(rule.kept for rule in model.rules(nn.Sequential(nn.Conv2d(3, 10, 3))))


def test_the_limit_itself_breaks_the_rule():
    assert model.parameter_rule(nn.Linear(19_999, 1, bias=False)).kept
    assert not model.parameter_rule(nn.Linear(20_000, 1, bias=False)).kept


def test_receptive_fields_of_the_baseline_are_the_published_ones():
    fields = [row.receptive_field for row in model.layers(model.build("skeleton-510k")) if row.kernel]
    assert fields == [3, 5, 7, 8, 8, 12, 16, 20, 24, 28]


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_receptive_field_is_what_the_gradient_reaches(kernel, dilation):
    network = nn.Sequential(
        nn.Conv2d(1, 1, kernel, dilation=dilation), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 2)
    )
    image = torch.zeros(1, *model.IMAGE, requires_grad=True)
    network(image)[0, 0, 0, 0].backward()
    reached = image.grad[0, 0].abs().sum(0).nonzero()
    assert model.layers(network)[-1].receptive_field == (reached.max() - reached.min() + 1).item()


def test_the_layer_table_names_shapes_and_adds_up():
    rows = model.layers(model.build("erav3"))
    assert rows[0].input == (1, 28, 28)
    assert rows[-1].output == (10,)
    assert sum(row.parameters for row in rows) == PUBLISHED["erav3"]
    assert "19,098" in model.table(model.build("erav3")).splitlines()[-1]


def test_the_table_leaves_the_network_as_it_was():
    network = model.build("erav3")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model.layers(network)
    assert network.training
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


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
