import dataclasses
import html.parser
import json
import re

import pytest
import torch

import data
import evaluate
import recipes
import report
import results


@pytest.fixture
def written(train_small, small_mnist, tmp_path):
    """The report of a small run, as text."""
    train_small("--epochs", 2, "--recipe", "mnist-ops", "--finder-steps", 30)
    assert report.main([str(tmp_path / "run"), "--device", "cpu"]) == 0
    return (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_report_holds_the_result_the_settings_the_machine_and_every_picture_for_light_and_dark(written, tmp_path):
    found = results.read(tmp_path / "run")
    assert f"<b>{found['final_test_accuracy']:.2f} %</b>" in written
    low, high = found["final_test_accuracy_ci95"]
    assert f"{low:.2f} to {high:.2f}" in written
    assert all(f"<td>{field}</td><td>{value}</td>" in written for field, value in found["recipe"].items())
    assert f"<td>commit</td><td>{found['environment']['commit']}</td>" in written
    assert "Conv2d 1→10" in written
    range_test = written.split("<h2>Range test</h2>")[1]
    assert f"<td>trained at, in place of learning_rate</td><td>{found['lr_finder']['rate']}</td>" in range_test
    assert f"<td>valley</td><td>{found['lr_finder']['suggestions']['valley']}</td>" in range_test
    assert "Weights of epoch 2, one view" in written
    assert re.search(r"calibration error; \d+\.\d % sure on average", written)
    assert written.count("<img ") == written.count('media="(prefers-color-scheme: dark)"') == 8
    captions = re.findall("<figcaption>(.*?)</figcaption>", written)
    assert len(captions) == 8
    assert re.search(r"\d+ misclassified images, the most confident first", " ".join(captions))


def test_a_report_needs_no_network_and_is_well_formed(written):
    sources = re.findall(r'(?:src|srcset|href)="([^"]*)"', written)
    assert len(sources) == 17
    assert all(source.startswith("data:") for source in sources)
    assert "@import" not in written
    assert "url(" not in written
    open_tags = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, _):
            if tag not in ("meta", "link", "img", "source"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Parser().feed(written)
    assert not open_tags


def test_a_run_without_results_or_checkpoints_is_refused(train_small, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        report.main([str(tmp_path), "--device", "cpu"])
    train_small("--epochs", 1)
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no results\.json"):
        report.main([str(tmp_path / "run"), "--device", "cpu"])


def test_results_of_a_recipe_with_other_fields_are_refused_by_name(train_small, tmp_path):
    train_small("--epochs", 1)
    path = tmp_path / "run" / "results.json"
    found = json.loads(path.read_bytes())
    found["recipe"]["dropped"] = 1
    results.write(path, found)
    with pytest.raises(ValueError, match="a recipe has no field 'dropped'"):
        report.main([str(tmp_path / "run"), "--device", "cpu"])


def test_of_very_many_mistakes_the_first_are_shown_and_the_caption_says_so(train_small, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "SHOWN", 3)
    train_small("--epochs", 1, "--learning-rate", 0)
    report.main([str(tmp_path / "run"), "--device", "cpu"])
    assert "the most confident first (here 3)" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_rate_curve_is_the_schedules_own(train_small, tmp_path):
    train_small("--epochs", 3)
    found = results.read(tmp_path / "run")
    recipe = recipes.recipe("default", epochs=3, batch_size=100)
    assert dataclasses.asdict(recipe) == found["recipe"]
    rates, steps = report.rate_curve(found, recipe, 1050)
    assert steps == 10
    assert len(rates) == 30
    assert rates[::10] == pytest.approx([entry["lr"] for entry in found["history"]])
    plateau = dataclasses.replace(recipe, schedule="plateau")
    assert report.rate_curve(found, plateau, 1050) == ([entry["lr"] for entry in found["history"]], 1)
    del found["history"][2]  # as at the end of epoch 2
    assert len(report.rate_curve(found, recipe, 1050)[0]) == 20


def test_wrong_predictions_among_the_random_ones_are_marked():
    labels = torch.arange(100) % 10
    wrong = torch.nn.functional.one_hot((labels + 1) % 10, 10).float()
    images = data.Images(torch.zeros(100, 1, 28, 28, dtype=torch.uint8), labels)
    shown, captions = report.random_predictions(evaluate.Evaluation(wrong, labels), images)
    assert len(shown) == len(captions) == report.RANDOM
    assert all(caption.endswith("!") and "→" in caption for caption in captions)
