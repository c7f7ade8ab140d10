import dataclasses
import html.parser
import json
import re

from support import UserError

import pytest
import spawned
import torch

import data
import evaluate
import recipes
import results
from reporting import plots, report


@pytest.fixture(scope="module")
def run_dir(server, small_folder, tmp_path_factory):
    """A small run with a range test, and its report."""
    folder = tmp_path_factory.mktemp("report")
    flags = ["--recipe", "mnist-ops", "--epochs", "2", "--finder-num-iter", "30", "--batch-size", "100"]
    for module, words in (("train", [*flags, "--out", folder / "run"]), ("reporting.report", [folder / "run"])):
        log = folder / module
        ended = spawned.Script(module, [*words, "--device", "cpu"], small_folder, log).end()
        assert ended[0] == 0, ended
    return folder / "run"


@pytest.fixture(scope="module")
def written(run_dir):
    """The report, as text."""
    return (run_dir / "report.html").read_text(encoding="utf-8")


def test_a_report_holds_the_result_the_settings_the_machine_and_every_picture_for_light_and_dark(written, run_dir):
    found = results.read(run_dir)
    assert f"<b>{found['final_test_accuracy']:.2f} %</b>" in written
    low, high = found["final_test_accuracy_ci95"]
    assert f"{low:.2f} to {high:.2f}" in written
    assert all(f"<td>{field}</td><td>{value}</td>" in written for field, value in found["recipe"].items())
    assert f"<td>commit</td><td>{found['environment']['commit']}</td>" in written
    assert "Conv2d 1→10" in written
    range_test = written.split("<h2>Range test</h2>")[1]
    assert f"<td>trained at, instead of learning_rate</td><td>{found['lr_finder']['lr']}</td>" in range_test
    assert f"<td>valley</td><td>{found['lr_finder']['suggestions']['valley']}</td>" in range_test
    assert "Weights of epoch 2, one view" in written
    assert re.search(r"calibration error; mean confidence \d+\.\d %", written)
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
    with pytest.raises(UserError, match="no checkpoint"):
        report.main([str(tmp_path), "--device", "cpu"])
    train_small("--epochs", 1)
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(UserError, match=r"no results\.json"):
        report.main([str(tmp_path / "run"), "--device", "cpu"])


def test_results_of_a_recipe_with_other_fields_are_refused_by_name(train_small, tmp_path):
    train_small("--epochs", 1)
    path = tmp_path / "run" / "results.json"
    found = json.loads(path.read_bytes())
    found["recipe"]["dropped"] = 1
    results.write(tmp_path / "run", found)
    with pytest.raises(ValueError, match="a recipe has no field 'dropped'"):
        report.main([str(tmp_path / "run"), "--device", "cpu"])


def test_of_very_many_mistakes_the_first_are_shown_and_the_caption_says_so(train_small, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "SHOWN", 3)
    train_small("--epochs", 1, "--learning-rate", 0)
    report.main([str(tmp_path / "run"), "--device", "cpu"])
    assert "the most confident first (here 3)" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_learning_rate_curve_is_the_schedules_own(train_small, tmp_path):
    train_small("--epochs", 3)
    found = results.read(tmp_path / "run")
    recipe = recipes.get_recipe("default", epochs=3, batch_size=100)
    assert dataclasses.asdict(recipe) == found["recipe"]
    rates, steps = report.lr_so_far(found, recipe, 1000)
    assert steps == 10
    assert len(rates) == 30
    assert rates[9::10] == pytest.approx([entry["lr"] for entry in found["history"]])
    plateau = dataclasses.replace(recipe, schedule="plateau")
    assert report.lr_so_far(found, plateau, 1000) == ([entry["lr"] for entry in found["history"]], 1)
    del found["history"][2]  # as at the end of epoch 2
    assert len(report.lr_so_far(found, recipe, 1000)[0]) == 20


def test_wrong_predictions_among_the_random_ones_are_marked():
    labels = torch.arange(100) % 10
    wrong = torch.nn.functional.one_hot((labels + 1) % 10, 10).float()
    images = data.Images(torch.zeros(100, 1, 28, 28, dtype=torch.uint8), labels)
    evaluation = evaluate.Evaluation(wrong, labels, tuple("0123456789"))
    shown, captions, _ = report.random_predictions(evaluation, images)
    assert len(shown) == len(captions) == report.RANDOM
    assert all(caption.endswith("!") and "→" in caption for caption in captions)
