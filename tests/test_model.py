import re

import torch
from torch import nn

import model
from reporting import rules

PUBLISHED = 19_098, 7_758, 7_824, 509_946, 18_592, 1_199_882  # parameters of the published networks


def test_a_network_that_is_described_by_its_parameters_has_as_many():
    described = {name: network["about"] for name, network in model.PUBLISHED.items()}
    described["default"] = model.ARCHITECTURES["default"].__doc__
    counts = {name: re.match(r"([\d,]+) parameters", text) for name, text in described.items()}
    assert counts["default"]
    for name, count in counts.items():
        assert count is None or count[1] == f"{model.count_parameters(model.build(name, 10)):,}", name


def test_whitening_sets_the_first_layer_to_patterns_of_both_signs_that_answer_alike_and_freezes_it(mnist):
    network, images = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)), mnist[0][:100].to_float()
    model.whiten(network, images)
    first = next(network.parameters())
    patterns, negatives = first.flatten(1).chunk(2)
    patches = nn.functional.unfold(images, 3).transpose(1, 2).flatten(0, 1)
    answers = patches[patches.amax(1) > patches.amin(1)] @ patterns.T
    torch.testing.assert_close(answers.T @ answers / len(answers), torch.eye(4), atol=0.02, rtol=0)
    assert negatives.equal(-patterns)
    assert (patterns[0] > 0).all() or (patterns[0] < 0).all()  # the strongest pattern of strokes is a patch of ink
    assert [weight.requires_grad for weight in network.parameters()] == [False, True, True, True]


def test_the_script_lists_networks_and_checks_those_of_recipes(capsys):
    assert rules.main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"{count:,} parameters" in listed for count in PUBLISHED)
    for arguments, status, said in (
        (["default", "--check", "parameters"], 0, "< 20,000"),
        (["skeleton-510k", "--check", "parameters"], 1, "509,946 ≥ 20,000"),
        (["mnist-experiment-aug", "--check", "all"], 0, "18,592 < 20,000"),
    ):
        assert rules.main(arguments) == status
        assert said in capsys.readouterr().out
