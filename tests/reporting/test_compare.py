import dataclasses
import json
import re

from support import UserError, intervals

import pytest
from made_up import held_out, put, run
from scipy import stats

import checkpoint
import evaluate
import recipes
import results
from reporting import compare, summary

NAMES = ["a", "b"]


def wrong(*indices):
    return {str(index): "1" for index in indices}


def test_images_are_compared_one_by_one():
    one, two = run(99.5, misclassified=wrong(1, 2, 3, 4, 5)), run(99.7, 1, misclassified=wrong(4, 5, 6))
    compared = compare.comparison(NAMES, one, two)
    assert [compared[key] for key in ("images", "both_wrong", "settings")] == [10_000, 2, [["seed", "0", "1"]]]
    assert [list(compared[f"only_{each}_right"]) for each in ("first", "second")] == [["6"], ["1", "2", "3"]]
    assert compared["difference"] == pytest.approx(0.02)
    low, high = compared["difference_ci95"]
    assert low < 0.02 < high
    assert compared["mcnemar_p"] == pytest.approx(stats.binomtest(1, 4, 0.5).pvalue)
    assert compared["verdict"].endswith("no difference that these images could show")
    better = compare.comparison(NAMES, run(99.0), run(99.5))
    assert better["verdict"].startswith("+0.50 points (95 % interval +0.")
    assert better["verdict"].endswith(": b reads more right")


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (3, 3), (2, 9), (41, 36), (0, 30), (700, 900)])
def test_mcnemar_is_the_exact_binomial_test(first, second):
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert intervals.mcnemar(first, second) == pytest.approx(expected)


def test_a_paired_interval_holds_the_truth_about_as_often_as_it_says():
    """Drawn many times from models of known accuracy, the interval covers the true difference."""
    draws = stats.multinomial(10_000, [0.003, 0.001, 0.996]).rvs(2000, random_state=0)
    bounds = [intervals.paired_interval(int(first), int(second), 10_000) for first, second, _ in draws]
    covered = sum(low <= 100 * (0.001 - 0.003) <= high for low, high in bounds) / len(bounds)
    assert 0.935 < covered < 0.975


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        (run(99.0), run(99.0, recipe={"name": "default", "dataset": "fashion-mnist"}), "dataset mnist and fashion"),
        (run(99.0), held_out(99.0), "images"),
        (run(99.0), run(99.0, evaluated_images=500), "images"),
        (run(99.0), run(99.0, classes=list("abcdefghij")), "classes"),
        (held_out(99.0), held_out(99.0, 1), "seed 0 and 1"),  # which holds out other images
    ],
)
def test_runs_of_other_images_are_refused_by_name(inject, one, other, named):
    inject("runs that cannot be compared")
    with pytest.raises(UserError, match=f"tested on other images \\({named}"):
        compare.comparison(NAMES, one, other)
    assert compare.comparison(NAMES, other, other)["difference"] == 0


def test_the_script_writes_text_json_and_a_page_small_however_many_images_differ(mnist_folder, tmp_path, capsys):
    recipe = dataclasses.asdict(recipes.Recipe())
    mistakes = [{str(index): "Ankle boot" for index in range(first, first + 900)} for first in (0, 1000)]
    runs = [run(90.0, recipe=recipe, misclassified=mistakes[0]), run(90.0, 1, recipe=recipe, misclassified=mistakes[1])]
    put(tmp_path, dict(zip(NAMES, runs, strict=True)))
    flags = ["--data", str(mnist_folder), "--out", str(tmp_path / "out")]
    compare.main([str(tmp_path / "a"), str(tmp_path / "b"), *flags])
    output, page = capsys.readouterr().out, (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "compare.json").read_bytes()) == compare.comparison(NAMES, *runs)
    assert "McNemar p = 1" in output
    assert re.search(r"\n\| seed +\| +0 \| +1 \|", output)
    assert re.search(r"900 images that only a reads right: 1000 \(\d→Ankle boot\), .*, and 888 more", output)
    assert "<h1>a and b</h1>" in page
    assert page.count('role="img"') == 2  # accuracy and loss
    assert page.count(f"900 images that only a reads right, of which {compare.LISTED} are shown") == 1
    assert page.count('class="tile"') == 2 * compare.LISTED
    assert re.search(r"<b>\d→<wbr>Ankle boot</b><br>image 1000<", page)
    assert not re.search(r"http|url\((?!#)", page)
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
    with pytest.raises(UserError, match="b is not finished: make train resumes it"):
        compare.main([str(tmp_path / "a"), str(tmp_path / "b")])


def test_a_summary_is_markdown_with_verdict_history_and_what_changed(whole, tmp_path, capsys):
    this, result = str(whole[0]), results.load(whole[0])
    put(tmp_path, {"base": {**result, "misclassified": {}}})
    summary.main([this, "--base", f"{tmp_path}/base/results.json", "--data", str(tmp_path)])
    output = capsys.readouterr().out
    assert re.search(r"\n\| ✗ +\| +accuracy \|", output)
    lost = 100 * len(result["misclassified"]) / result["evaluated_images"]
    assert f"\n\nSince {tmp_path}/base: -{lost:.2f} points (" in output
    table = output.split("```")[-2].splitlines()
    assert [line.split()[0] for line in table[4:]] == [f"{epoch}/6" for epoch in range(1, 7)]
    summary.main([this, "--base", f"{tmp_path}/nowhere", "--data", str(tmp_path)])
    assert f"No difference to {tmp_path}/nowhere can be told: " in capsys.readouterr().out


def test_a_summary_draws_the_accuracies_and_the_most_confident_mistakes(two_epochs, mnist, mnist_folder, capsys):
    summary.main([str(two_epochs), "--data", str(mnist_folder)])
    chart, drawn = re.findall(r"```(?:mermaid)?\n(.*?)\n```", capsys.readouterr().out, re.DOTALL)[:2]
    accuracies = [round(epoch["test_accuracy"], 2) for epoch in results.load(two_epochs)["history"]]
    assert "\n  x-axis epoch 1 --> 2\n" in chart
    assert chart.endswith(f"\n  line {accuracies}")
    model, state = checkpoint.load_model(two_epochs)
    evaluation = evaluate.evaluate_run(model, state, mnist[1])
    worst = evaluation.misclassified[:5]
    captions = "".join(evaluate.format_mistake(evaluation.mistake(index)) for index in worst)
    assert "".join(drawn.splitlines()[0].split()) == "".join(captions.split())
    assert 2 * drawn.count("█") + drawn.count("▀") + drawn.count("▄") == (mnist[1].pixels[worst] >= 96).sum()
