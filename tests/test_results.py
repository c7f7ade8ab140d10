import pytest
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


@pytest.mark.parametrize(("minimum", "status"), [(99.4, 0), (99.5, 0), (99.6, 1)])
def test_check_compares_with_the_minimum(tmp_path, minimum, status):
    put(tmp_path, {"run": run(99.5)})
    assert results.check(tmp_path / "run", minimum)[1] == status


def test_check_fails_without_a_finished_run(tmp_path):
    put(tmp_path, {"run": run(99.9, finished=False)})
    assert results.check(tmp_path / "run", 0)[1] == 1
    assert results.check(tmp_path / "none", 0)[1] == 1
