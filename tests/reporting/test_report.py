import dataclasses
import datetime
import html.parser
import json
import re
import shutil

from support import UserError, intervals

import made_up
import pytest
import spawned
import torch

import data
import evaluate
import model
import recipes
import results
import verdict
from reporting import hardest, mistakes, plots, report

FASHION = data.DATASETS["fashion-mnist"].classes
CHROMIUM = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
LIMIT = 300_000  # bytes of a report


class Page(html.parser.HTMLParser):
    """The elements of a page, as (tag, attributes), in order; fails where one is not closed, or closed twice."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag, **attributes):
        """The attributes of the elements of a tag that have these attributes."""
        found = [each for name, each in self.elements if name == tag]
        return [each for each in found if attributes.items() <= each.items()]


def made_up_evaluation(wrong, names, count=2000):
    """An evaluation of `count` images, of which the first `wrong` ones are taken for the next class, or for the one
    after that, each less confidently than the one before."""
    labels = torch.arange(count) % len(names)
    logits = torch.nn.functional.one_hot(labels, len(names)).float()
    for index in range(wrong):
        logits[index, (labels[index] + 1 + (index >= wrong // 2)) % len(names)] = 3 - index / wrong
    return evaluate.Evaluation(logits, labels, tuple(names))


def render(evaluation, **recipe):
    """The report of a run with this evaluation whose images are noise, the worst that a PNG can be asked for."""
    draws = torch.Generator().manual_seed(0)
    count = len(evaluation.labels)
    pixels = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=draws)
    images = data.Images(pixels, evaluation.labels)
    result = made_up.run(99.0, classes=list(evaluation.classes), recipe={"name": "fast", "epochs": 15, **recipe})
    trained = datetime.datetime(2026, 2, 3, 4, 5, tzinfo=datetime.UTC)
    rules = [verdict.Rule("accuracy", "55.00 % < 99.4 %", False)]
    network = model.build("fast", len(evaluation.classes))
    selection = {"losses": torch.rand(count, generator=draws), "shown": torch.full((count,), 3, dtype=torch.int32)}
    return report.render(result, trained, rules, network, 3, evaluation, images, images, selection)


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


@pytest.fixture(scope="module")
def many():
    """The report of 900 mistakes, with classes of long names."""
    return render(made_up_evaluation(900, FASHION), label_smoothing=0.1)


def test_a_report_holds_the_result_the_settings_the_machine_and_every_picture(written, run_dir):
    found = results.read(run_dir)
    assert f"<b>{found['final_test_accuracy']:.2f} %</b>" in written
    low, high = found["final_test_accuracy_ci95"]
    assert f"{low:.2f} to {high:.2f}" in written
    assert f"<td>commit</td><td>{found['environment']['commit']}</td>" in written
    assert "Conv2d 1→10" in written
    range_test = written.split("<h2>Range test</h2>")[1]
    picked = found["lr_finder"]
    assert f"<td>trained at, instead of learning_rate</td><td>{picked['lr']:.6g}</td>" in range_test
    assert f"<td>valley</td><td>{picked['suggestions']['valley']:.6g}</td>" in range_test
    assert "Weights of epoch 2, one view" in written
    assert re.search(r"calibration error; mean confidence \d+\.\d\s%", written)
    page = Page(written)
    assert len(page.all("svg", role="img")) == 4  # accuracy, loss, learning rate, classes
    assert len(page.all("svg", **{"class": "tile"})) == (
        min(len(found["misclassified"]), plots.SHOWN) + report.RANDOM + hardest.LISTED
    )
    assert len(page.all("img")) == 1  # the augmentation
    assert len(written.encode()) < LIMIT


def test_settings_that_differ_from_the_defaults_come_first_and_the_others_are_folded(written, run_dir):
    recipe = recipes.change(recipes.Recipe(), results.read(run_dir)["recipe"])
    shown, folded = written.split("<h2>Settings</h2>")[1].split("<details>")
    folded = folded.split("</details>")[0]
    for field in recipes.FIELDS:
        value = getattr(recipe, field.name)
        first = value != field.default or field.name == "architecture"
        row = f"<td>{field.name}</td><td>{recipes.shown(value)}</td>"
        assert (row in shown, row in folded) == (first, not first)


def test_verdict_date_and_command_stand_on_top(written, run_dir):
    top = written.split("<h2>")[0]
    when = datetime.datetime.fromtimestamp((run_dir / "results.json").stat().st_mtime, datetime.UTC)
    assert f"Trained on {when:%Y-%m-%d at %H:%M} UTC, by the file time of results.json" in top
    flags = "--epochs 2 --batch-size 100 --finder-num-iter 30"
    assert f"<code>python train.py --recipe mnist-ops --seed 0 {flags}</code>" in top
    assert top.index("says what the checkpoint says") < top.index("Trained on") < top.index("<code>")


def test_a_recipe_that_has_no_name_here_is_trained_again_under_another(many):
    assert "To train it again:<" in many
    gentle = render(made_up_evaluation(1, "0123456789"), name="gentle")
    assert "To train it again, under another name:<" in gentle


@pytest.mark.parametrize("source", ["written", "many"])
def test_a_report_needs_no_network_and_is_well_formed(source, request):
    text = request.getfixturevalue(source)
    page = Page(text)
    references = [each[key] for _, each in page.elements for key in ("src", "href", "srcset") if key in each]
    ids = [each["id"] for _, each in page.elements if "id" in each]
    assert len(set(ids)) == len(ids)
    assert all(reference.startswith("data:") or reference.removeprefix("#") in ids for reference in references)
    assert not re.search(r"@import|url\(|https?:", text)


def test_a_report_of_900_mistakes_of_classes_with_names_shows_200_says_so_and_stays_small(many):
    assert "900 misclassified images, of which the 200 most confident are shown." in many
    assert len(Page(many).all("svg", **{"class": "tile"})) == plots.SHOWN + report.RANDOM + hardest.LISTED
    assert len(many.encode()) < LIMIT


def test_without_mistakes_there_is_nothing_to_choose_among():
    page = render(made_up_evaluation(0, "0123456789"))
    assert "Every image is read right." in page
    assert "<button" not in page
    assert "<script" not in page


def test_each_mistake_has_its_index_its_confidence_and_the_class_that_came_next():
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, 1.0, 3.0], [3.0, 3.0, 1.0]])
    evaluation = evaluate.Evaluation(logits, torch.tensor([0, 2, 2]), ("a", "b", "c"))
    probabilities = logits.softmax(1)
    first, second = mistakes.listed(evaluation)
    assert (first["index"], first["true"], first["predicted"], first["runner_up"]) == (0, "a", "b", "c")
    assert first["confidence"] == pytest.approx(probabilities[0, 1].item())
    assert first["runner_up_confidence"] == pytest.approx(probabilities[0, 2].item())
    assert (second["index"], {second["predicted"], second["runner_up"]}) == (2, {"a", "b"})  # as likely as each other


def test_a_listed_mistake_says_all_that_is_known_of_it(many):
    listed = mistakes.listed(made_up_evaluation(900, FASHION))
    items = re.findall(r'<li data-true="(\d)" data-predicted="(\d)">.*?<p>(.*?)</p></li>', many)
    assert len(items) == len(listed) == plots.SHOWN
    for (true, predicted, text), mistake in zip(items, listed, strict=True):
        assert (FASHION[int(true)], FASHION[int(predicted)]) == (mistake["true"], mistake["predicted"])
        said = re.sub("<[^>]*>", " ", text).replace("&nbsp;", " ").split()
        expected = (
            f"{mistake['true']}→ {mistake['predicted']} {100 * mistake['confidence']:.0f} % "
            f"then {mistake['runner_up']} ({100 * mistake['runner_up_confidence']:.0f} %) image {mistake['index']}"
        )
        assert said == expected.split()


def test_the_cells_and_heads_of_the_confusion_matrix_stand_for_the_mistakes_in_them(many):
    evaluation = made_up_evaluation(900, FASHION)
    buttons = {}
    for button in Page(many).all("button"):
        count = re.search(r": (\d+) images?$", button.get("aria-label", ""))
        buttons[button.get("data-true"), button.get("data-predicted")] = int(count[1]) if count else None
    cells = {(true, predicted): count for (true, predicted), count in buttons.items() if true and predicted}
    counts = evaluation.confusion.tolist()
    assert cells == {
        (str(true), str(predicted)): count
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if count and true != predicted
    }
    assert sum(cells.values()) == 900
    for each in map(str, range(10)):
        assert buttons[each, None] == sum(count for (true, _), count in cells.items() if true == each)
        assert buttons[None, each] == sum(count for (_, predicted), count in cells.items() if predicted == each)
    assert buttons.keys() - cells.keys() == {
        (None, None),
        *((str(at), None) for at in range(10)),
        *((None, str(at)) for at in range(10)),
    }


def test_each_class_has_its_images_and_its_interval(many):
    counts = made_up_evaluation(900, FASHION).confusion.tolist()
    figures = re.findall(r'<td class="figure">([^<]+)</td>' * 4, many)
    assert len(figures) == 10
    for name, row, found in zip(range(10), counts, figures, strict=True):
        accuracy = 100 * row[name] / sum(row)
        low, high = intervals.wilson_interval(accuracy, sum(row))
        assert found == (f"{sum(row)}", f"{row[name]}", f"{accuracy:.2f}", f"{low:.2f} to {high:.2f}")


def test_a_class_without_images_has_no_accuracy():
    evaluation = made_up_evaluation(3, "0123456789", count=9)
    page = render(evaluation)
    assert page.count('<td class="figure">0</td><td class="figure"></td>') == 1


def test_a_loss_with_label_smoothing_is_told_apart(many, written):
    assert "label smoothing, 0.5003 at the least: it has an axis of its own" in many
    assert "label smoothing" not in written


def test_the_page_in_a_browser(many, tmp_path):
    """A cell chooses its mistakes, by mouse and by keyboard; nothing overflows on a phone; nothing goes wrong."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium")
    (tmp_path / "report.html").write_text(many, encoding="utf-8")
    counts = made_up_evaluation(900, FASHION)
    listed = [mistake["classes"] for mistake in mistakes.listed(counts)]
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM[0], args=["--no-sandbox", "--disable-gpu"])
        page, said = browser.new_page(viewport={"width": 360, "height": 800}), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto((tmp_path / "report.html").as_uri())

        def chosen():
            return page.locator(".mistakes li:visible").count(), page.locator(".chosen").inner_text()

        everything = chosen()
        assert everything[0] == plots.SHOWN
        cell = page.locator('button[data-true="4"][data-predicted="5"]')
        cell.click()
        count = listed.count((4, 5))
        assert chosen() == (count, f"Coat taken for Sandal: 45 images, {count} of them shown.")
        assert page.locator('[aria-pressed="true"]').count() == 1
        cell.press("Enter")
        assert chosen() == everything
        page.locator('button[data-true="4"]:not([data-predicted])').press("Space")
        assert chosen()[0] == sum(true == 4 for true, _ in listed)
        page.locator(".all").click()
        assert chosen() == everything
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert not said
        browser.close()


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
    right, wrong = (
        re.findall('<b class="failed">', render(made_up_evaluation(count, "0123456789", 100))) for count in (0, 100)
    )
    assert (len(right), len(wrong)) == (0, report.RANDOM)
