import json

from support import UserError

import pytest
import torch
import torch.nn.functional as functional
from made_up import entry, put, run
from torch import nn

import checkpoint
import data
import model
import results
import verdict

MNIST = data.DATASETS["mnist"]


@pytest.mark.parametrize("name", [name for name in model.ARCHITECTURES if name != "skeleton-510k"])
def test_every_model_but_the_baseline_keeps_the_rules(name):
    assert all(rule.passed for rule in verdict.model_rules(model.build(name, 10), MNIST))


@pytest.mark.parametrize(
    ("broken", "layers"),
    [
        ("BatchNorm", [nn.BatchNorm2d]),
        ("dropout", [nn.Dropout]),
        ("global average pooling", [nn.AdaptiveAvgPool2d]),
        ("shapes", [nn.Linear(10, 11)]),
    ],
)
def test_each_rule_can_break_alone(broken, layers):
    """Layers are added to a model that keeps all rules; a class takes its layers out instead."""
    sound = [nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    sound = [layer for layer in sound if type(layer) not in layers]
    if nn.AdaptiveAvgPool2d in layers:
        sound = [*sound[:-1], nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    network = nn.Sequential(*sound, *(layer for layer in layers if isinstance(layer, nn.Module)))
    assert [rule.name for rule in verdict.model_rules(network, MNIST) if not rule.passed] == [broken]


class Functional(nn.Module):
    """A model that registers layers and calls functions, as it is told."""

    def __init__(self, forward):
        super().__init__()
        self.convolution, self.batch_norm = nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10)
        self.dropout, self.pool, self.run = nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), forward

    def forward(self, images):
        return self.run(self, self.convolution(images))


def statistics(self):
    return self.batch_norm.running_mean, self.batch_norm.running_var


KEPT = [
    lambda self, x: self.pool(self.dropout(self.batch_norm(x))).flatten(1),
    lambda self, x: functional.dropout(self.batch_norm(x), 0.1, self.training).mean((2, 3)),
    lambda self, x: (
        functional.dropout(functional.batch_norm(x, *statistics(self), training=self.training), training=self.training)
        .flatten(2)
        .mean(2)
    ),
    lambda self, x: functional.avg_pool2d(functional.dropout2d(self.batch_norm(x), 0.1, self.training), 26).flatten(1),
    lambda self, x: functional.adaptive_avg_pool2d(self.dropout(self.batch_norm(x)), 1)[:, :, 0, 0],
]
BROKEN = [
    ("BatchNorm", lambda self, x: self.pool(self.dropout(x)).flatten(1)),  # registered, never called
    ("dropout", lambda self, x: self.pool(self.batch_norm(x)).flatten(1)),
    ("dropout", lambda self, x: self.pool(functional.dropout(self.batch_norm(x), 0.0, self.training)).flatten(1)),
    ("dropout", lambda self, x: self.pool(functional.dropout(self.batch_norm(x), 0.1)).flatten(1)),  # and evaluating
    ("global average pooling", lambda self, x: self.dropout(self.batch_norm(x)).amax((2, 3))),
    ("global average pooling", lambda self, x: functional.avg_pool2d(self.dropout(self.batch_norm(x)), 2)[:, :, 0, 0]),
]


@pytest.mark.parametrize("forward", KEPT)
def test_what_runs_counts_whoever_calls_it(forward):
    assert all(rule.passed for rule in verdict.model_rules(Functional(forward), MNIST))


@pytest.mark.parametrize(("broken", "forward"), BROKEN)
def test_what_is_registered_and_never_runs_does_not_count(inject, broken, forward):
    inject("model that is not what it seems")
    assert [rule.name for rule in verdict.model_rules(Functional(forward), MNIST) if not rule.passed] == [broken]


def test_the_limit_itself_breaks_the_rule():
    assert verdict.below("parameters", 19_999, verdict.PARAMETER_LIMIT).passed
    assert not verdict.below("parameters", 20_000, verdict.PARAMETER_LIMIT).passed


@pytest.fixture
def finished(train_small, tmp_path):
    """A run on small data, whose accuracy is far from what is asked; and its verdict."""
    train_small("--epochs", 2)
    return tmp_path / "run"


def judge(folder, mnist_folder=None, **bounds):
    return {rule.name: rule for rule in verdict.check(folder, mnist_folder, minimum=0, **bounds)}


def test_a_sound_run_passes_and_is_evaluated_again(finished, mnist_folder):
    rules = judge(finished, mnist_folder)
    assert list(rules) == ["parameters", "epochs", "accuracy", "rules", "results.json"]
    assert all(rule.passed for rule in rules.values()), rules
    assert rules["parameters"].measured == "19,066 < 20,000"
    assert "500 images evaluated again" in rules["accuracy"].measured
    assert "not evaluated again" in judge(finished)["accuracy"].measured
    assert verdict.format_rules(list(rules.values())).startswith("✓ parameters")


def test_bounds_are_checked_where_they_are_given(finished):
    rules = judge(finished, minimum_class=100.0, maximum_loss=1e-9)
    broken = [name.split(",")[0] for name, rule in rules.items() if not rule.passed]
    assert broken == ["worst class", "training loss"]
    asked = {rule.name: rule for rule in verdict.check(finished)}
    assert not asked["accuracy"].passed
    assert "< 99.4 %" in asked["accuracy"].measured


@pytest.mark.parametrize(("keep", "asked"), [(1, ["worst class", "training loss"]), (0.4, ["worst class"])])
def test_the_bounds_of_the_data_set_are_asked_of_all_images_where_none_are_given(train_small, tmp_path, keep, asked):
    train_small("--epochs", 2, "--keep", keep)
    names = [name.split(",")[0] for name in judge(tmp_path / "run", strict=True)]
    assert [name for name in names if name in ("worst class", "training loss")] == asked


FORGED = [
    {"total_parameters": 400_000},
    {"total_parameters": 9},
    {"total_epochs": 40},
    {"final_test_accuracy": 99.99},
    {"final_test_accuracy_ci95": [99.9, 100.0]},
    {"final_test_loss": 0.001},
    {"training_time": 0.1},
    {"best_validation_accuracy": 100.0},
    {"seed": 7},
    {"classes": list("abcdefghij")},
    {"per_class_accuracy": dict.fromkeys("0123456789", 100.0)},
    {"misclassified": {}},
    {"history": [entry(1, 99.9), entry(2, 99.9)]},
    {"environment": run(0)["environment"]},
    {"identity": run(0)["identity"]},
    {"final_validation_accuracy": 99.9},
]


@pytest.mark.parametrize("changes", FORGED, ids=lambda changes: next(iter(changes)))
def test_a_forged_field_is_refused_by_name(finished, mnist_folder, inject, changes):
    path = results.path(finished)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))
    inject("forged results.json")
    rule = judge(finished, mnist_folder)["results.json"]
    assert not rule.passed
    assert next(iter(changes)) in rule.measured


def test_a_forged_recipe_is_refused_by_name(finished, inject):
    result = json.loads(results.path(finished).read_bytes())
    result["recipe"]["learning_rate"] = 0.123
    results.path(finished).write_text(json.dumps(result))
    inject("forged results.json")
    assert "recipe is" in judge(finished)["results.json"].measured


def test_weights_of_another_run_are_refused(finished, train_small, mnist_folder, tmp_path, inject):
    train_small("--epochs", 2, "--seed", 1, out="other")
    for path in checkpoint.epochs(tmp_path / "other").values():
        path.replace(checkpoint.checkpoint_dir(finished) / path.name)
    inject("weights of another run")
    assert "seed is 0, by the checkpoint 1" in judge(finished, mnist_folder)["results.json"].measured


def test_a_history_that_the_weights_do_not_reach_is_refused(finished, mnist_folder, inject):
    state = checkpoint.load_newest(finished)
    state["history"][-1]["test_accuracy"] = 99.9
    checkpoint.save(finished, {key: value for key, value in state.items() if key != "format"}, best=False)
    inject("forged checkpoint")
    assert "which the weights reach" in judge(finished, mnist_folder)["results.json"].measured


def test_without_weights_there_is_no_proof(finished, inject):
    checkpoint.remove(finished)
    inject("missing weights")
    assert [(rule.name, rule.passed) for rule in verdict.check(finished)] == [("weights", False)]
    with pytest.raises(UserError, match="holds no run: make train"):
        verdict.check(finished / "nowhere")


def test_an_unfinished_run_proves_nothing(finished, inject):
    checkpoint.epochs(finished)[2].unlink()
    inject("missing weights")
    rules = judge(finished)
    assert rules["epochs"] == verdict.Rule("epochs", "1 of 2", False)
    assert not rules["results.json"].passed


def test_the_training_loss_counts_from_the_lowest_that_label_smoothing_allows():
    targets = torch.full((10,), 0.01)
    targets[3] = 0.91
    perfect = functional.cross_entropy(targets.log(), torch.tensor(3), label_smoothing=0.1).item()
    assert verdict.min_smoothed_loss(0.1, 10) == pytest.approx(perfect)
    assert verdict.min_smoothed_loss(0.0, 10) == 0
    smoothed = {"name": "default", "label_smoothing": 0.1}
    for loss, passed in ((perfect + 0.05, True), (perfect + 0.15, False)):
        result = run(99.5, recipe=smoothed, history=[{**entry(1, 99.5), "train_loss": loss}])
        assert verdict.loss_rule(result, 0.1).passed == passed


def held_out():
    result = {key: value for key, value in run(99.9).items() if not key.startswith("final")}
    result["recipe"] = {"name": "default", "holdout": True, "validation_images": 10_000}
    figures = {"accuracy": 99.9, "accuracy_ci95": [99.8, 99.95], "loss": 0.01}
    return result | {f"final_validation_{name}": value for name, value in figures.items()}


def test_a_hold_out_run_proves_nothing():
    (rule,) = verdict.accuracy_rules(held_out(), None, MNIST, None)
    assert not rule.passed
    assert "no test accuracy" in rule.measured


def test_of_a_data_set_without_a_bound_nothing_is_asked():
    (rule,) = verdict.accuracy_rules(run(88.0), None, data.DATASETS["fashion-mnist"], None)
    assert rule.passed
    assert "nothing is asked" in rule.measured


def test_runs_are_shown_best_first_with_their_verdict_and_what_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    unfinished = {key: value for key, value in run(0).items() if not key.startswith("final")} | {"finished": False}
    put(
        tmp_path / "results", {"a-seed0": run(99.4), "b-seed0": unfinished, "c-seed0": run(99.6), "d-seed0": held_out()}
    )
    recipe = {"name": "mine", "architecture": "fast", "learning_rate": 0.05}
    put(tmp_path / "results", {"e-seed0": run(99.5, recipe=recipe)})
    assert verdict.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["c-seed0", "e-seed0", "a-seed0", "d-seed0", "b-seed0"]
    assert "✗ weights" in lines[2]
    assert "99.60" in lines[2]
    assert "learning_rate 0.05" in lines[3]
    assert "hold-out 10,000" in lines[5]
    assert "epoch 15" in lines[6]
    assert len({len(line) for line in lines}) == 1
