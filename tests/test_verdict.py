import io
import sys

from support import UserError, cli
from support.rule import Rule, format_rules

import pytest
import torch
import torch.nn.functional as functional
from made_up import entry, held_out, put, run
from torch import nn

import checkpoint
import data
import model
import results
import verdict

MNIST, BASELINES = data.DATASETS["mnist"], ("skeleton-510k", "pytorch/examples")


@pytest.mark.parametrize("name", sorted({"default", *model.PUBLISHED} - {*BASELINES}))
def test_the_default_and_every_published_model_but_the_two_baselines_keep_the_rules(name):
    assert all(rule.passed for rule in verdict.model_rules(model.build(name, 10), MNIST))


class Functional(nn.Module):
    """A model that registers layers and calls functions, as it is told."""

    def __init__(self, forward):
        super().__init__()
        self.convolution, self.batch_norm = nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10)
        self.dropout, self.pool, self.run = nn.Dropout(0.1), nn.AdaptiveAvgPool2d(1), forward

    def forward(self, images):
        return self.run(self, self.convolution(images))


KEPT = [
    lambda self, x: self.pool(self.dropout(self.batch_norm(x))).flatten(1),
    lambda self, x: functional.dropout(self.batch_norm(x), 0.1, self.training).mean((2, 3)),
    lambda self, x: functional.dropout(self.batch_norm(x), training=self.training).flatten(2).mean(2),
    lambda self, x: functional.avg_pool2d(functional.dropout2d(self.batch_norm(x), 0.1, self.training), 26).flatten(1),
    lambda self, x: functional.adaptive_avg_pool2d(self.dropout(self.batch_norm(x)), 1)[:, :, 0, 0],
]
BROKEN = [
    ("BatchNorm", lambda self, x: self.pool(self.dropout(x)).flatten(1)),  # registered, never called
    ("dropout", lambda self, x: self.pool(self.batch_norm(x)).flatten(1)),
    ("dropout", lambda self, x: self.pool(functional.dropout(self.batch_norm(x), 0.0, self.training)).flatten(1)),
    ("shapes", lambda self, x: self.pool(self.dropout(self.batch_norm(x)))[:, :9].flatten(1)),
    ("global average pooling", lambda self, x: self.dropout(self.batch_norm(x)).amax((2, 3))),
    ("global average pooling", lambda self, x: functional.avg_pool2d(self.dropout(self.batch_norm(x)), 2)[:, :, 0, 0]),
]


@pytest.mark.parametrize("forward", KEPT)
def test_what_runs_counts_whoever_calls_it(forward):
    assert all(rule.passed for rule in verdict.model_rules(Functional(forward), MNIST))


def test_a_mean_of_one_pixel_is_told_as_what_it_is():
    network = Functional(lambda self, x: functional.max_pool2d(self.dropout(self.batch_norm(x)), 26).mean((2, 3)))
    (rule,) = [rule for rule in verdict.model_rules(network, MNIST) if not rule.passed]
    assert rule == Rule("global average pooling", "never runs; maps have one pixel before it: leave them larger", False)


@pytest.mark.parametrize(("broken", "forward"), BROKEN)
def test_what_is_registered_and_never_runs_does_not_count(inject, broken, forward):
    inject("model that is not what it seems")
    assert [rule.name for rule in verdict.model_rules(Functional(forward), MNIST) if not rule.passed] == [broken]


def judge(folder, mnist_folder=None, **bounds):
    return {
        rule.name: rule
        for rule in verdict.judge(folder, mnist_folder, **{"minimum_accuracy": 0, "minimum_class": 0} | bounds)
    }


def test_a_sound_run_passes_and_is_evaluated_again(finished, mnist_folder):
    rules = judge(finished, mnist_folder)
    names = [name.split(",")[0] for name in rules]
    assert names == ["parameters", "epochs", "accuracy", "rules", "worst class", "results.json"]
    assert all(rule.passed for rule in rules.values()), rules
    assert rules["parameters"].measured == "19,066 < 20,000"
    assert "500 images evaluated again" in rules["accuracy"].measured
    assert "not evaluated again" in judge(finished)["accuracy"].measured


def test_bounds_are_the_data_sets_where_none_are_given(two_epochs, train_small, tmp_path):
    rules = judge(two_epochs, minimum_class=100.0, maximum_loss=1e-9)
    broken = [name.split(",")[0] for name, rule in rules.items() if not rule.passed]
    assert broken == ["worst class", "training loss"]
    asked = {rule.name: rule for rule in verdict.judge(two_epochs)}
    assert "< 99.4 %" in asked["accuracy"].measured
    train_small("--epochs", 1, "--keep", 1)  # the default keeps 0.4, whose training loss is of what is hard
    for folder, names in ((two_epochs, ["worst class"]), (tmp_path / "run", ["worst class", "training loss"])):
        asked = [rule.name.split(",")[0] for rule in verdict.judge(folder)]
        assert [name for name in asked if name in ("worst class", "training loss")] == names


FORGED = [
    {"total_parameters": 400_000},
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
    {"recipe": {"name": "default", "epochs": 2}},
    {"final_validation_accuracy": 99.9},
]


@pytest.mark.parametrize("changes", FORGED, ids=lambda changes: next(iter(changes)))
def test_a_forged_field_is_refused_by_name(finished, mnist_folder, inject, changes):
    results.save(finished, results.load(finished) | changes)
    inject("forged results.json")
    rule = judge(finished, mnist_folder)["results.json"]
    assert not rule.passed
    assert f"{next(iter(changes))} is " in rule.measured


def test_a_history_that_the_weights_do_not_reach_is_refused(finished, mnist_folder, inject):
    state = checkpoint.load_newest(finished)
    state["history"][-1]["test_accuracy"] = 99.9
    checkpoint.save(finished, {key: value for key, value in state.items() if key != "format"}, best=False)
    inject("forged checkpoint")
    assert "which the weights reach" in judge(finished, mnist_folder)["results.json"].measured


def test_without_the_last_weights_there_is_no_proof(finished, inject):
    checkpoint.epochs(finished)[2].unlink()
    inject("missing weights", 2)
    rules = judge(finished)
    assert rules["epochs"] == Rule("epochs", "1 of 2", False)
    assert not rules["results.json"].passed
    checkpoint.remove(finished)
    assert [(rule.name, rule.passed) for rule in verdict.judge(finished)] == [("weights", False)]
    with pytest.raises(UserError, match="holds no run: make train"):
        verdict.judge(finished / "nowhere")


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


@pytest.mark.parametrize(
    ("result", "name", "passed", "said"),
    [(held_out(99.0), "mnist", False, "no test accuracy"), (run(88.0), "fashion-mnist", True, "nothing is asked")],
)
def test_a_hold_out_run_proves_nothing_and_of_a_data_set_without_a_bound_nothing_is_asked(result, name, passed, said):
    (rule,) = verdict.accuracy_rules(result, None, data.DATASETS[name].minimum_accuracy)
    assert rule.passed == passed
    assert said in rule.measured


def test_marks_are_words_where_the_output_cannot_encode_them(monkeypatch):
    rules = [Rule("size", "7 < 9", True), Rule("accuracy", "98 %", False)]
    assert format_rules(rules) == "✓ size      7 < 9\n✗ accuracy  98 %"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert format_rules(rules) == "ok   size      7 < 9\nFAIL accuracy  98 %"


def test_runs_are_shown_best_first_with_their_verdict_and_what_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    unfinished = {key: value for key, value in run(0).items() if not key.startswith("final")} | {"finished": False}
    recipe = {"name": "not there", "architecture": "erav3", "learning_rate": 0.05}
    runs = [run(99.4), unfinished, run(99.6), held_out(99.0), run(99.5, recipe=recipe)]
    put(tmp_path / "results", {f"{name}-seed0": result for name, result in zip("abcde", runs, strict=True)})
    assert verdict.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["c-seed0", "e-seed0", "a-seed0", "d-seed0", "b-seed0"]
    assert "✗ weights" in lines[2]
    assert "99.60" in lines[2]
    assert "learning_rate 0.05" in lines[3]
    assert "hold-out 10,000" in lines[5]
    assert "epoch 15" in lines[6]
    assert len({len(line) for line in lines}) == 1
    monkeypatch.setattr(cli, "columns", lambda: 80)
    assert max(map(len, verdict.format_runs(results.all_runs()).splitlines())) <= 80
