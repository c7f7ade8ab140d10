import dataclasses
import json
import statistics

import pytest

import recipes
import results


def run(accuracy, seed=0, **changes):
    return {
        "finished": True,
        "recipe": {"name": "default"},
        "network": "Sequential()",
        "seed": seed,
        "total_parameters": 19_000,
        "total_epochs": 15,
        "training_time": 60.0 + seed,
        "final_test_accuracy": accuracy,
        "final_test_accuracy_ci95": results.wilson_interval(accuracy, 10_000),
        "final_test_loss": 0.02,
        "history": [{}] * 15,
        "environment": {"cpu": "a processor", "device": "cpu", "threads": 2, "precision": "float32", "torch": "2.10"},
        **changes,
    }


def put(folder, runs):
    for name, content in runs.items():
        results.write(folder / name / "results.json", content)


def test_wilson_interval_is_the_textbook_one():
    low, high = results.wilson_interval(90.0, 100)
    assert (round(low, 2), round(high, 2)) == (82.56, 94.48)  # Wilson 1927 for 90 of 100
    assert results.wilson_interval(100.0, 100)[1] == 100.0


def test_the_interval_of_a_mean_uses_students_t():
    low, high = results.mean_interval([99.0, 100.0, 101.0])
    assert round(high - 100, 3) == round(4.303 / 3**0.5, 3)
    assert round(100 - low, 3) == round(4.303 / 3**0.5, 3)
    assert results.mean_interval([99.0]) is None
    low, high = results.mean_interval([0.0, 2.0] * 13)
    assert round((high - low) / 2 / (statistics.stdev([0.0, 2.0] * 13) / 26**0.5), 2) == 2.06  # 25 degrees of freedom


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


def test_a_record_sums_up_the_seeds_of_a_recipe(tmp_path):
    accuracies = [99.5, 99.6, 99.55]
    put(tmp_path, {f"default-seed{seed}": run(value, seed) for seed, value in enumerate(accuracies)})
    put(tmp_path, {"erav3-seed0": run(99.0), "default-seed7": run(0, 7, finished=False), "default-mine": run(1.0)})
    record = results.record("default", tmp_path)
    assert [entry["seed"] for entry in record["runs"]] == [0, 1, 2]
    assert record["mean"] == pytest.approx(99.55)
    assert record["deviation"] == pytest.approx(statistics.stdev(accuracies))
    assert record["mean_ci95"][0] < 99.55 < record["mean_ci95"][1]


def test_runs_of_different_recipes_are_not_summed_up(tmp_path):
    put(tmp_path, {"default-seed0": run(99.5), "default-seed1": run(99.5, 1, recipe={"name": "default", "epochs": 3})})
    with pytest.raises(ValueError, match="differ in recipe"):
        results.record("default", tmp_path)
    put(tmp_path, {"default-seed1": run(99.5, 1, network="another")})
    with pytest.raises(ValueError, match="differ in network"):
        results.record("default", tmp_path)
    with pytest.raises(ValueError, match="no finished run of recipe 'fast'"):
        results.record("fast", tmp_path)


@pytest.mark.parametrize(("minimum", "status"), [(99.4, 0), (99.5, 0), (99.6, 1)])
def test_check_compares_with_the_minimum(tmp_path, minimum, status):
    put(tmp_path, {"run": run(99.5)})
    assert results.check(tmp_path / "run", minimum)[1] == status


def test_check_fails_without_a_finished_run(tmp_path):
    put(tmp_path, {"run": run(99.9, finished=False)})
    assert results.check(tmp_path / "run", 0)[1] == 1
    assert results.check(tmp_path / "none", 0)[1] == 1


def test_the_readme_shows_what_the_records_hold():
    text = (results.ROOT / "README.md").read_text(encoding="utf-8")
    records = results.read_records(results.ROOT / results.RECORDS)
    assert records
    assert results.readme(text, records) == text, "make readme"


def test_committed_records_add_up():
    for record in results.read_records(results.ROOT / results.RECORDS):
        accuracies = [entry["final_test_accuracy"] for entry in record["runs"]]
        assert record["mean"] == pytest.approx(statistics.mean(accuracies))
        assert json.dumps(record, allow_nan=False)


def test_committed_records_are_of_the_recipes_as_they_are_now():
    for record in results.read_records(results.ROOT / results.RECORDS):
        assert record["recipe"] == dataclasses.asdict(recipes.recipe(record["recipe"]["name"]))
