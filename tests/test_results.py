import json
import math

from support import intervals

import pytest
import torch
import torch.nn.functional as functional
from made_up import put, run

import recipes
import results


def test_runs_are_shown_best_first_and_unfinished_last(tmp_path):
    unfinished = {key: value for key, value in run(0).items() if not key.startswith("final")} | {"finished": False}
    put(tmp_path, {"a-seed0": run(99.4), "b-seed0": unfinished, "c-seed0": run(99.6)})
    lines = results.format_runs(results.all_runs(tmp_path)).splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["c-seed0", "a-seed0", "b-seed0"]
    assert "19,000" in lines[2]
    assert "99.60" in lines[2]
    low, high = intervals.wilson_interval(99.6, 10_000)
    assert f"{low:.2f} to {high:.2f}" in lines[2]
    assert "unfinished" in lines[4]
    assert len({len(line) for line in lines}) == 1


def test_results_are_strict_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        results.write(tmp_path, {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_broken_results_file_is_named(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"results\.json is not valid JSON"):
        results.read(tmp_path)


FINE = {
    "recipe": {"name": "default", "label_smoothing": 0.0},
    "per_class_accuracy": {"0": 99.0, "1": 98.5},
    "history": [{"epoch": 1, "train_loss": 0.2}, {"epoch": 2, "train_loss": 0.05}],
}


EMPTY = json.dumps(run(99.0, history=[]))


@pytest.mark.parametrize(
    "content", ['{"schema": 2}', EMPTY, '{"schema": 2, "finished": true}', '{"schema": 1}', "[" * 200_000, "3"]
)
def test_results_of_another_make_are_refused_and_do_not_hide_the_others(tmp_path, capsys, inject, content):
    put(tmp_path, {"a-seed0": run(99.4)})
    (tmp_path / "b-seed0").mkdir()
    (tmp_path / "b-seed0" / "results.json").write_text(content)
    (tmp_path / "c-seed0" / "results.json").mkdir(parents=True)
    inject("damaged results.json")
    inject("folder in the place of a file")
    with pytest.raises(ValueError, match="remove it, or train again"):
        results.read(tmp_path / "b-seed0")
    assert [name for name, _ in results.all_runs(tmp_path)] == ["a-seed0"]
    assert capsys.readouterr().err.count("warning: ") == 2


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, None),
        ({"final_test_accuracy": 99.3}, "test accuracy 99.30 % < 99.4 %"),
        ({"per_class_accuracy": {"0": 99.0, "1": 97.9}}, "lowest accuracy of a class, 1: 97.90 % < 98 %"),
        ({"history": [{"epoch": 1, "train_loss": 0.11}]}, "final training loss 0.1100 ≥ 0.1"),
        ({"history": [{"epoch": 1, "train_loss": math.nan}]}, "final training loss nan ≥ 0.1"),
        ({"history": [{"val_loss": math.inf, "train_loss": 0.01}]}, "history of 2 numbers, not all finite"),
    ],
)
def test_check_names_what_is_not_good_enough(monkeypatch, changes, failing):
    monkeypatch.setattr(results, "read", lambda _: run(99.5, **FINE | changes))
    lines, status = results.check("a-run", 99.4, 98, 0.1)
    assert status == (0 if failing is None else 1)
    assert failing is None or f"FAIL  a-run: {failing}" in lines
    assert len(lines) == 4


def test_the_training_loss_counts_from_the_lowest_that_label_smoothing_allows(tmp_path):
    smoothed = {"name": "default", "label_smoothing": 0.1}
    targets = torch.full((10,), 0.01)
    targets[3] = 0.91
    perfect = functional.cross_entropy(targets.log(), torch.tensor(3), label_smoothing=0.1).item()
    assert results.min_smoothed_loss(0.1, 10) == pytest.approx(perfect)
    assert results.min_smoothed_loss(0.0, 10) == 0
    for loss, status in ((perfect + 0.05, 0), (perfect + 0.15, 1)):
        history = [{"epoch": 1, "train_loss": loss}]
        put(tmp_path, {"run": run(99.5, **FINE | {"recipe": smoothed, "history": history})})
        assert results.check(tmp_path / "run", 99.4, 98, 0.1)[1] == status


def test_check_fails_without_a_finished_run(tmp_path, capsys):
    put(tmp_path, {"run": run(99.9, finished=False)})
    assert results.check(tmp_path / "run", 0, 0, 9)[1] == 1
    assert results.main(["check", str(tmp_path / "none")]) == 1
    assert "holds no finished run" in capsys.readouterr().out


def test_a_hold_out_run_is_marked_sorted_behind_the_tested_ones_and_proves_nothing(tmp_path):
    held_out = {key: value for key, value in run(99.9).items() if not key.startswith("final")} | FINE
    held_out["recipe"] = {"name": "default", "label_smoothing": 0.0, "holdout": True, "validation_images": 10_000}
    figures = {"accuracy": 99.9, "accuracy_ci95": [99.8, 99.95], "loss": 0.01}
    held_out |= {f"final_validation_{name}": value for name, value in figures.items()}
    put(tmp_path, {"a-seed0": run(99.4), "a-holdout10000-seed0": held_out})
    lines = results.format_runs(results.all_runs(tmp_path)).splitlines()
    assert "a-seed0" in lines[2]
    assert "hold-out, 10,000" in lines[3]
    lines, status = results.check(tmp_path / "a-holdout10000-seed0", 99.4, 98, 0.1)
    assert status == 1
    assert "a hold-out run has no test accuracy" in lines[0]


def test_a_run_is_named_by_what_is_not_its_recipes_own():
    recipe = recipes.get_recipe("fast")
    assert results.run_dir(recipe, 3).name == "fast-seed3"
    assert results.run_dir(recipes.change(recipe, {"dataset": "fashion-mnist"}), 0).name == "fast-fashion-mnist-seed0"
    held_out = recipes.change(recipe, {"holdout": True, "validation_images": 10_000})
    assert results.run_dir(held_out, 0).name == "fast-holdout10000-seed0"
    assert results.run_dir(recipes.Recipe(name="mine"), 0).name == "mine-seed0"


def test_an_epochs_line_claims_no_more_digits_than_its_images_allow():
    entry = {"epoch": 2, "lr": 0.1, "train_loss": 0.5, "train_accuracy": 98.5, "seconds": 9.0}
    entry |= {"val_loss": 0.1, "val_accuracy": 98.0, "test_loss": 0.05, "test_accuracy": 99.5}
    line = results.epoch_line([entry], 12, 0.0)
    assert line.startswith(
        "epoch  2/12  lr 0.1000  train loss 0.5000 98.50 %  validation 0.1000 98 %  test 0.0500 99.50 %"
    )
    held_out = {key: value for key, value in entry.items() if not key.startswith("test")} | {"val_accuracy": 99.37}
    assert "validation 0.1000 99.37 %  9.0 s  new best: the first" in results.epoch_line([held_out], 12, 0.0)
