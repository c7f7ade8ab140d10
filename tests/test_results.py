import csv
import json

from support import UserError, cli, files
from support.table import terminal_table

import pytest
import torch
from made_up import entry, put, run

import data
import evaluate
import recipes
import results
from reporting import rules


def test_results_are_strict_json_and_the_history_lies_beside_them_as_a_table(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        results.save(tmp_path, {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
    results.save(tmp_path, run(99.4))
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == run(99.4)["history"]
    results.remove(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("accuracies", "losses", "threshold", "best", "is_kept"),
    [
        ([98], [0.1], 0, 1, True),
        ([96, 98, 100], [0.1, 0.05, 0.2], 0, 3, True),
        ([98, 98], [0.1, 0.05], 0, 2, True),
        ([98, 98], [0.1, 0.1], 0, 2, True),
        ([100, 98], [0.1, 0.05], 0, 1, False),
        ([98, 98], [0.1, 0.2], 0, 1, False),
        ([96], [0.1], 98, 1, False),
        ([98], [0.1], 98, 1, True),
    ],
)
def test_the_best_is_by_validation_then_loss_then_the_later(accuracies, losses, threshold, best, is_kept):
    pairs = enumerate(zip(accuracies, losses, strict=True), 1)
    history = [{"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss} for epoch, (accuracy, loss) in pairs]
    assert results.best_epoch(history)["epoch"] == best
    assert results.is_best(history, threshold) == is_kept


def without(key):
    return {name: value for name, value in run(99.0).items() if name != key}


WRONG = [
    ("{", "is not valid JSON"),
    ("[" * 200_000, "is not valid JSON"),
    (b"\xff\xfe", "is not valid JSON"),
    ("3", "has schema None"),
    (f'{{"schema": {results.SCHEMA}}}', "missing required field `finished`"),
    (run(99.0, training_time="7 s"), "training_time: expected `float`, got `str`"),
    (run(99.0, final_test_accuracy_ci95=[99.0]), "final_test_accuracy_ci95: expected `array` of length >= 2"),
    (run(99.0, final_test_loss=None), "final_test_loss: expected `float`, got `null`"),
    (run(99.0, final_test_accuracy=101), "final_test_accuracy: expected `float` <= 100"),
    (run(99.0, history=[]), "history: expected `array` of length >= 1"),
    (run(99.0, history=[{**entry(1, 99.0), "train_loss": "low"}]), "history[0].train_loss: expected `float`, got"),
    (run(99.0, per_class_accuracy={"0": None}), "per_class_accuracy"),
    (run(99.0, environment={}), "environment: object missing required field"),
    (run(99.0, recipe={"name": "default", "epochs": "many"}), "recipe: epochs must be of type float, got 'many'"),
    (run(99.0, recipe={"name": "default", "colour": 1}), "recipe: a recipe has no field 'colour'"),
    (run(99.0, misclassified=["5"]), "misclassified: expected `object`, got `array`"),
    (without("final_test_loss"), "is finished but lacks final_test_loss"),
]


@pytest.mark.parametrize(("content", "named"), WRONG)
def test_one_bad_file_is_named_with_its_field_and_does_not_hide_the_others(tmp_path, capsys, inject, content, named):
    put(tmp_path, {"a-seed0": run(99.4)})
    path = tmp_path / "b-seed0" / "results.json"
    path.parent.mkdir()
    content = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    inject("results.json of wrong form or values")
    with pytest.raises(UserError) as error:
        results.load(path.parent)
    assert str(error.value).startswith(str(path))
    assert named in str(error.value)
    assert "remove it, or train again" in str(error.value)
    assert "\n" not in str(error.value)
    assert [name for name, _ in results.all_runs(tmp_path)] == ["a-seed0"]
    errors = capsys.readouterr().err
    assert errors.startswith("warning: ")
    assert errors.count("\n") == 1


def test_a_folder_in_its_place_does_not_hide_the_others(tmp_path, capsys, inject):
    put(tmp_path, {"a-seed0": run(99.4)})
    (tmp_path / "c-seed0" / "results.json").mkdir(parents=True)
    inject("folder in the place of a file")
    assert [name for name, _ in results.all_runs(tmp_path)] == ["a-seed0"]
    assert "c-seed0/results.json could not be read" in capsys.readouterr().err


def test_a_run_is_found_by_its_path_and_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "results", {"default-seed0": run(99.4)})
    assert results.find_run("default-seed0").samefile("results/default-seed0")
    assert results.find_run("results/default-seed0/").samefile("results/default-seed0")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert results.find_run("~/results/default-seed0").samefile("results/default-seed0")


def test_an_epochs_row_stands_under_its_head_claims_no_more_digits_than_its_images_allow_and_fits_80_columns():
    figures = {"epoch": 2, "lr": 0.1, "train_loss": 0.5, "train_accuracy": 98.5, "seconds": 9.0}
    figures |= {"val_loss": 0.1, "val_accuracy": 98.0, "test_loss": 0.05, "test_accuracy": 99.5}
    *legend, head = results.epoch_head(recipes.Recipe()).splitlines()
    assert "50 training images held out; * best so far" in legend[-1]
    row = results.epoch_row([figures], 12, 0.0)
    assert [results.epoch_row([figures], epochs, 0.0).split()[0] for epochs in (2.1, 1.5)] == ["2/2.1", "1.5/1.5"]
    assert row.split() == ["2/12", "0.1", "0.5000", "98.50", "0.1000", "98", "0.0500", "99.50", "9.0", "*"]
    for name, value in (("epoch", "2/12"), ("lr", "0.1"), ("train loss", "0.5000"), (" s", "9.0")):
        assert head.index(name) + len(name) == row.index(f" {value} ") + len(value) + 1
    held_out = {key: value for key, value in figures.items() if not key.startswith("test")} | {"val_accuracy": 99.37}
    assert results.epoch_row([held_out], 12, 99.5).endswith("  0.1000  99.37    9.0")
    longest = figures | {"epoch": 999, "lr": 1.234e-5, "seconds": 4321.0, "train_loss": 2.3025}
    assert max(map(len, (*legend, head, results.epoch_row([longest], 999, 0.0)))) <= 80


@pytest.mark.parametrize(
    ("wide", "least", "lines"),
    [
        (19, ("note",), ["| run | note |", "|-----|-----:|", "| a-b |  1 2 |"]),
        (8, ("note",), ["run", "---", "a-b", "no room for: note"]),
        (8, (), ["run  not", "       e", "---  ---", "a-b  1 2"]),
    ],
)
def test_a_table_fits_its_terminal(monkeypatch, wide, least, lines):
    monkeypatch.setattr(cli, "columns", lambda: wide)
    assert terminal_table(["run", "note"], [["a-b", "1 2"]], least).splitlines() == lines


def test_the_widest_tables_fit_80_columns(monkeypatch, capsys):
    monkeypatch.setattr(cli, "columns", lambda: 80)
    rules.main(["default"])
    garments = evaluate.Evaluation(torch.eye(10), torch.arange(10), data.DATASETS["fashion-mnist"].classes)
    print(*evaluate.format_evaluation(garments).splitlines()[1:-2], sep="\n")
    lines = capsys.readouterr().out.splitlines()
    assert "no room for: input, padding" in lines
    assert max(map(len, lines)) <= 80


def test_the_best_finished_run_is_a_tested_one(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RUNS", tmp_path)
    with pytest.raises(UserError, match=r"no finished run with checkpoints in .*: make train"):
        results.best_run()
    put(tmp_path, {"a": run(99.2), "b": run(99.5), "c": run(99.9, finished=False), "d": run(99.8)})
    for name in "abc":
        files.replace_file(tmp_path / name / "checkpoints" / "epoch_015.pt", b"weights")
    assert results.best_run() == tmp_path / "b"
