import json
import math

import pytest
import torch
import torch.nn.functional as functional
from made_up import put, run

import results


def test_wilson_interval_is_the_textbook_one():
    low, high = results.wilson_interval(90.0, 100)
    assert (round(low, 2), round(high, 2)) == (82.56, 94.48)  # Wilson 1927 for 90 of 100
    assert results.wilson_interval(100.0, 100)[1] == 100.0


def test_runs_are_shown_best_first_and_unfinished_last(tmp_path):
    unfinished = {key: value for key, value in run(0).items() if not key.startswith("final")} | {"finished": False}
    put(tmp_path, {"a-seed0": run(99.4), "b-seed0": unfinished, "c-seed0": run(99.6)})
    lines = results.view(results.runs(tmp_path)).splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["c-seed0", "a-seed0", "b-seed0"]
    assert "19,000" in lines[2]
    assert "99.60" in lines[2]
    low, high = results.wilson_interval(99.6, 10_000)
    assert f"{low:.2f} to {high:.2f}" in lines[2]
    assert "unfinished" in lines[4]
    assert len({len(line) for line in lines}) == 1


def test_results_are_strict_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        results.write(tmp_path / "results.json", {"loss": float("nan")})
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


@pytest.mark.parametrize("content", ['{"schema": 1}', EMPTY, '{"schema": 1, "finished": true}', "[" * 200_000, "3"])
def test_results_of_another_make_are_refused_and_do_not_hide_the_others(tmp_path, capsys, inject, content):
    put(tmp_path, {"a-seed0": run(99.4)})
    (tmp_path / "b-seed0").mkdir()
    (tmp_path / "b-seed0" / "results.json").write_text(content)
    (tmp_path / "c-seed0" / "results.json").mkdir(parents=True)
    inject("damaged results.json")
    inject("folder in the place of a file")
    with pytest.raises(ValueError, match="remove it, or train again"):
        results.read(tmp_path / "b-seed0")
    assert [name for name, _ in results.runs(tmp_path)] == ["a-seed0"]
    assert capsys.readouterr().err.count("warning: ") == 2


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, None),
        ({"final_test_accuracy": 99.3}, "test accuracy 99.30 % < 99.4 %"),
        ({"per_class_accuracy": {"0": 99.0, "1": 97.9}}, "lowest accuracy of a digit, 1: 97.90 % < 98 %"),
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
    assert results.smoothing_floor(0.1) == pytest.approx(perfect)
    assert results.smoothing_floor(0.0) == 0
    for loss, status in ((perfect + 0.05, 0), (perfect + 0.15, 1)):
        history = [{"epoch": 1, "train_loss": loss}]
        put(tmp_path, {"run": run(99.5, **FINE | {"recipe": smoothed, "history": history})})
        assert results.check(tmp_path / "run", 99.4, 98, 0.1)[1] == status


def test_check_fails_without_a_finished_run(tmp_path, capsys):
    put(tmp_path, {"run": run(99.9, finished=False)})
    assert results.check(tmp_path / "run", 0, 0, 9)[1] == 1
    assert results.main(["check", str(tmp_path / "none")]) == 1
    assert "holds no finished run" in capsys.readouterr().out
