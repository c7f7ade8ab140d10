import json
import math
import re

from support import UserError, intervals

import pytest
import torch
from made_up import put, run
from scipy import stats

import data
import results
from reporting import compare, paired, plots, summary


def wrong(*indices):
    return {str(index): "1" for index in indices}


def test_images_are_compared_one_by_one():
    one, two = run(99.5, misclassified=wrong(1, 2, 3, 4, 5)), run(99.7, 1, misclassified=wrong(4, 5, 6))
    compared = paired.compare(one, two)
    assert (compared["images"], compared["both_wrong"]) == (10_000, 2)
    assert list(compared["only_first_right"]) == ["6"]
    assert list(compared["only_second_right"]) == ["1", "2", "3"]
    assert compared["difference"] == pytest.approx(0.02)
    low, high = compared["difference_ci95"]
    assert low < 0.02 < high
    assert compared["mcnemar_p"] == pytest.approx(stats.binomtest(1, 4, 0.5).pvalue)
    assert compared["settings"] == [["seed", "0", "1"]]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (3, 3), (2, 9), (41, 36), (0, 30), (700, 900)])
def test_mcnemar_is_the_exact_binomial_test(first, second):
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert intervals.mcnemar(first, second) == pytest.approx(expected)


def test_a_paired_interval_holds_the_truth_about_as_often_as_it_says():
    """Drawn many times from models of known accuracy, the interval covers the true difference."""
    draws = stats.multinomial([10_000, [0.003, 0.001, 0.996]][0], [0.003, 0.001, 0.996]).rvs(2000, random_state=0)
    bounds = [intervals.paired_interval(int(first), int(second), 10_000) for first, second, _ in draws]
    covered = sum(low <= 100 * (0.001 - 0.003) <= high for low, high in bounds) / len(bounds)
    assert 0.935 < covered < 0.975


def test_of_many_images_the_paired_interval_is_walds():
    low, high = intervals.paired_interval(4000, 3000, 1_000_000)
    half = 1.959964 * math.sqrt((0.007 - 0.001**2) / 1_000_000)
    assert (low, high) == pytest.approx((100 * (-0.001 - half), 100 * (-0.001 + half)), abs=1e-4)


def held_out(seed, images):
    result = {key: value for key, value in run(99.0, seed).items() if not key.startswith("final")}
    result |= {"recipe": {"name": "default", "holdout": True, "validation_images": images}, "evaluated_images": images}
    return result | {
        f"final_validation_{name}": value
        for name, value in (("accuracy", 99.0), ("accuracy_ci95", [98.9, 99.1]), ("loss", 0.1))
    }


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (run(99.0, recipe={"name": "default", "dataset": "fashion-mnist"}), "dataset"),
        (held_out(0, 10_000), "images"),
        (run(99.0, evaluated_images=500), "images"),
        (run(99.0, classes=list("abcdefghij")), "classes"),
    ],
)
def test_runs_of_other_images_are_refused_by_name(inject, other, named):
    inject("runs that cannot be compared")
    base = run(99.0, recipe={"name": "default", "dataset": "mnist"})
    with pytest.raises(UserError, match=f"tested on other images \\({named}"):
        paired.compare(base, other)


def test_hold_out_runs_of_another_seed_held_out_other_images(inject):
    inject("runs that cannot be compared")
    assert paired.compare(held_out(0, 10_000), held_out(0, 10_000))["difference"] == 0
    with pytest.raises(UserError, match=r"\(seed 0 and 1\)"):
        paired.compare(held_out(0, 10_000), held_out(1, 10_000))


@pytest.fixture
def two_runs(train_small, tmp_path):
    train_small("--epochs", 2, out="a")
    train_small("--epochs", 1, "--recipe", "fast", out="b")
    return tmp_path / "a", tmp_path / "b"


def test_the_script_writes_text_json_and_a_page(two_runs, mnist_folder, tmp_path, capsys):
    out = tmp_path / "compared"
    assert compare.main([*map(str, two_runs), "--data", str(mnist_folder), "--out", str(out)]) == 0
    output = capsys.readouterr().out
    found = json.loads((out / "compare.json").read_bytes())
    assert found["runs"] == ["a", "b"]
    assert found["accuracy"] == [results.read(run)["final_test_accuracy"] for run in two_runs]
    assert found["difference"] == pytest.approx(found["accuracy"][1] - found["accuracy"][0])
    assert "McNemar p = " in output
    assert "| epochs" in output
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert "<h1>a and b</h1>" in page
    assert page.count('role="img"') == 2  # accuracy and loss
    shown = [min(len(found[f"only_{which}_right"]), plots.SHOWN // 2) for which in ("first", "second")]
    assert page.count('class="tile"') == sum(shown)
    assert "http" not in page
    assert "url(" not in page


def test_a_page_of_very_many_images_shows_some_says_so_and_stays_small():
    one, two = (
        run(90.0, seed, misclassified={str(index): "Ankle boot" for index in range(first, first + 900)})
        for seed, first in enumerate((0, 1000))
    )
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2000, 1, 28, 28), dtype=torch.uint8, generator=draws)  # noise: no PNG is larger
    images = data.Images(pixels, torch.zeros(2000, dtype=torch.long))
    page = compare.as_page(paired.compare(one, two), [one, two], ["a", "b"], images, ["T-shirt/top"] * 2000)
    assert page.count(f"900 images that only a reads right, of which {plots.SHOWN // 2} are shown") == 1
    assert page.count('class="tile"') == plots.SHOWN
    assert "<b>T-shirt/top→<wbr>Ankle boot</b><br>image 1000<" in page
    assert len(page.encode()) < 300_000


@pytest.mark.parametrize("count", [0, 1, 3])
def test_other_than_two_runs_are_wrong_usage(tmp_path, capsys, inject, count):
    inject("wrong usage")
    with pytest.raises(SystemExit) as stop:
        compare.main([str(tmp_path)] * count)
    assert stop.value.code == 2
    assert f"two runs are compared, got {count}" in capsys.readouterr().err


def test_a_run_that_is_not_finished_cannot_be_compared(tmp_path, inject):
    put(tmp_path, {"a": run(99.0), "b": run(99.0, finished=False)})
    inject("unfinished run")
    with pytest.raises(UserError, match="b holds no finished run: make train"):
        compare.main([str(tmp_path / "a"), str(tmp_path / "b")])


def test_a_summary_is_markdown_with_verdict_history_and_what_changed(two_runs, mnist_folder, capsys):
    first, second = map(str, two_runs)
    assert summary.main([first, "--base", f"{second}/results.json", "--data", str(mnist_folder)]) == 0
    output = capsys.readouterr().out
    assert re.search(r"✗ +\| +accuracy", output)
    assert f"Since {second}: " in output
    assert output.count("\n| ") >= 9
    assert summary.main([first, "--base", f"{first}/nowhere", "--data", str(mnist_folder)]) == 0
    assert "No difference to" in capsys.readouterr().out
