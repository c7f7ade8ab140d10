"""The report as its reader meets it."""

import dataclasses
import datetime
import html.parser
import math
import re
import shutil

from support import intervals
from support.settings import format_value

import made_up
import pytest
import torch

import data
import evaluate
import model
import recipes
import results
import verdict
from reporting import plots, report
from reporting.model_summary import layer_table

CLASSES = ("T-shirt", "Trouser", '"<b>', "Dress", "&amp;", "Sandal", "<script>", "Sneaker", "{{ 7 }}", "Ankle boot")
CHROMIUM = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
LIMIT = 300_000  # bytes of a report


class Page(html.parser.HTMLParser):
    """The elements of a page, as (tag, attributes), and its text; fails where an element is not closed, or closed
    twice, where an id is another's too, where the page needs more than itself, and where it is large."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        assert not self.open
        assert not re.search(r"@import|url\((?!#)|https?:", text)
        assert len(text.encode()) < LIMIT
        ids = [each["id"] for _, each in self.elements if "id" in each]
        assert len(set(ids)) == len(ids)
        references = [each[key] for _, each in self.elements for key in ("src", "href", "srcset") if key in each]
        assert all(each.startswith("data:") or each.removeprefix("#") in ids for each in references)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text

    def all(self, tag, **attributes):
        """The attributes of the elements of a tag that have these attributes."""
        return [each for name, each in self.elements if name == tag and attributes.items() <= each.items()]


def made_up_evaluation(wrong, count=2000, names=CLASSES):
    """An evaluation of `count` images, of which the first `wrong` ones are taken for the next class, or for the one
    after that, each less confidently than the one before."""
    labels, mistakes = torch.arange(count) % len(names), torch.arange(wrong)
    logits = torch.nn.functional.one_hot(labels, len(names)).float()
    logits[mistakes, (mistakes + 1 + (mistakes >= wrong // 2)) % len(names)] = 3 - mistakes / max(1, wrong)
    return evaluate.Evaluation(logits, labels, tuple(names))


def render(evaluation, times_shown=3, **recipe):
    """The report of a run with this evaluation and a range test, whose images are noise, the worst that a PNG can be
    asked for; the third training image is the hardest, then the fourth, then the first."""
    count, draws = len(evaluation.labels), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=draws)
    parts = [data.Images(images, evaluation.labels)] * 2
    changes = {"classes": list(evaluation.classes), "recipe": {"name": "default", "epochs": 15, **recipe}}
    losses = torch.tensor([0.5, math.inf, 2.0, 1.0, math.nan]).repeat(count // 5 + 1)[:count]  # infinite: never shown
    losses[5:] = 0
    state = {"epoch": 3, "selection": {"losses": losses, "shown": torch.zeros(count).int() + times_shown}}
    facts = {
        "trained": datetime.datetime(2026, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "rules": [verdict.Rule("accuracy", "55.00 % < 99.4 %", False)],
        "layer_table": layer_table(model.build("default", len(evaluation.classes)), (1, 28, 28)),
    }
    finder = {"lr": 0.123456789, "suggestions": {"steepest": 0.1, "valley": 0.02}, "steps": 60, "seconds": 1.5}
    return report.report(made_up.run(99.0, **changes, lr_finder=finder), state, evaluation, *parts, **facts)


@pytest.fixture(scope="module")
def many():
    """The report of 900 mistakes, with classes of long names that HTML could take for its own."""
    return render(made_up_evaluation(900), label_smoothing=0.1)


def test_a_report_says_what_the_run_is_from_verdict_to_machine(whole, small_mnist, mnist_folder, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    report.main([str(folder), "--data", str(mnist_folder), "--device", "cpu"])
    text, result = (folder / "report.html").read_text(encoding="utf-8"), results.load(folder)
    page, recipe = Page(text), recipes.from_stored(result["recipe"])
    when = datetime.datetime.fromtimestamp((folder / "results.json").stat().st_mtime, datetime.UTC)
    low, high = result["final_test_accuracy_ci95"]
    lines = iter(page.text.splitlines())
    for said in (  # in this order
        "default, seed 0",
        f"eights of epoch {len(result['history'])}, one view of each of the 500 test images",
        "says what the checkpoint says",
        f"Trained on {when:%Y-%m-%d at %H:%M} UTC, by the file time of results.json. To train it again:",
        report.train_command(recipe, 0),
        f"{result['final_test_accuracy']:.2f} %of the test images; 95 % interval {low:.2f} to {high:.2f}",
        f"{result['total_parameters']:,}parameters",
        "%calibration error; mean confidence",
        "Conv2d",
        f"commit{result['environment']['commit']}",
    ):
        assert any(said in line for line in lines), said
    assert len(page.all("main")) == 1
    assert len(page.all("svg", role="img")) == 7  # accuracy, loss, learning rate, classes
    assert len(page.all("img")) == 1  # the augmentation
    tiles = min(len(result["misclassified"]), plots.LISTED) + report.RANDOM + report.HARDEST
    assert len(page.all("svg", **{"class": "tile"})) == tiles
    shown, folded = text.split("<h2>Settings</h2>")[1].split("</details>")[0].split("<details>")
    for field in recipes.FIELDS:
        value = getattr(recipe, field.name)
        first = value != field.default or field.name == "architecture"
        row = f"<td>{field.name}</td><td>{format_value(value)}</td>"
        assert (row in shown, row in folded) == (first, not first)
    assert f"{folded.count('<tr>')} more, at their defaults" in folded
    assert "Range test" not in page.text


def test_900_mistakes_of_classes_whose_names_look_like_html_stay_a_small_page_that_shows_the_first(many):
    page, evaluation = Page(many), made_up_evaluation(900)
    assert "900 misclassified images, of which the 150 most confident are shown." in page.text
    assert len(page.all("svg", **{"class": "tile"})) == plots.LISTED + report.RANDOM + report.HARDEST
    assert len(page.all("script")) == 1  # its own
    items = re.findall(r'<li data-true="(\d)" data-predicted="(\d)">.*?<p>(.*?)</p></li>', many)
    for (true, predicted, text), index in zip(items, evaluation.misclassified[: plots.LISTED], strict=True):
        label, guess = evaluation.labels[index], evaluation.predictions[index]
        shares = evaluation.logits[index].softmax(0)
        assert (int(true), int(predicted)) == (label, guess)
        said = f"{CLASSES[label]}→{CLASSES[guess]} {100 * shares[guess]:.0f}\xa0%"
        assert Page(text).text == f"{said}then {CLASSES[label]} ({100 * shares[label]:.0f}\xa0%)image {index}"
    assert "label smoothing, 0.5003 at the least: it has an axis of its own" in page.text
    range_test = "trained at, instead of learning_rate0.123457 steepest0.1 valley0.02 steps60 seconds1.5"
    assert range_test in " ".join(page.text.split("Range test")[1].split())


def test_a_recipe_without_a_name_here_a_part_of_an_epoch_and_why_training_accuracy_is_the_lower_one_are_told():
    text = Page(render(made_up_evaluation(1), name="gentle", epochs=2.1, degrees=5, keep=0.5)).text
    assert "To train it again, under another name:" in text
    assert "2.1epochs; epoch 3 is a part of one" in text
    assert "still learns, on images as training shows them, from the second epoch on mostly hard ones." in text


def test_the_class_that_came_next_is_another_even_where_both_are_as_likely():
    evaluation = evaluate.Evaluation(torch.tensor([[3.0, 3.0, 1.0]]), torch.tensor([2]), ("a", "b", "c"))
    (mistake,) = report.mistakes(evaluation)
    assert {mistake["predicted"], mistake["runner_up"]} == {"a", "b"}


def test_the_confusion_matrix_stands_for_the_mistakes_and_has_each_classes_images_and_interval(many):
    counts, buttons, page = made_up_evaluation(900).confusion, {}, Page(many)
    for button in page.all("button", disabled=None):
        count = int(re.search(r": (\d+) images?$", button["aria-label"])[1])
        buttons[button.get("data-true"), button.get("data-predicted")] = count
    wrong = counts - counts.diag().diag()
    expected = {(str(row), str(column)): wrong[row, column].item() for row, column in wrong.nonzero().tolist()}
    expected |= {(str(row), None): count for row, count in enumerate(wrong.sum(1).tolist())}
    assert buttons == expected | {(None, str(column)): count for column, count in enumerate(wrong.sum(0).tolist())}
    for right, images in zip(counts.diag().tolist(), counts.sum(1).tolist(), strict=True):
        low, high = intervals.wilson_interval(100 * right / images, images)
        assert f"\n{images}{right}{100 * right / images:.2f}{low:.2f} to {high:.2f}\n" in page.text


def test_where_nothing_is_wrong_there_is_nothing_to_choose_among_and_every_wrong_sample_is_marked():
    right, wrong = (render(made_up_evaluation(*counts, "0123456789")) for counts in ((0, 9), (100, 100)))
    assert "Every image is read right." in right
    assert right.count('<td class="figure">0</td><td class="figure"></td>') == 1  # a class without images
    assert "<button" not in right
    assert "<script" not in right
    assert [len(Page(text).all("b", **{"class": "failed"})) for text in (right, wrong)] == [0, report.RANDOM]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([12] * 50, "Every image was shown 12 times."),
        ([1] * 50, "Every image was shown 1 time."),
        ([2] * 98 + [9] * 4, "shown 2 times or less, at the least 2; one in a hundred 9 times or more, at the most 9."),
    ],
)
def test_the_hardest_images_come_first_and_how_often_images_were_shown_is_said(times, said):
    text = render(made_up_evaluation(0, len(times), "0123456789"), torch.tensor(times).int())
    assert said in Page(text).text
    assert re.findall(r"<b>(\d)</b> (\d+)×", text)[:3] == [(label, str(times[0])) for label in "230"]


@pytest.mark.process
def test_the_page_in_a_browser(many, tmp_path):
    """A cell chooses its mistakes, by mouse and by keyboard; nothing overflows on a phone; nothing goes wrong."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium")
    (tmp_path / "report.html").write_text(many, encoding="utf-8")
    listed = [(mistake["true"], mistake["predicted"]) for mistake in report.mistakes(made_up_evaluation(900))]
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM[0], args=["--no-sandbox", "--disable-gpu"])
        page, said = browser.new_page(viewport={"width": 360, "height": 800}), []
        for event in ("console", "pageerror", "request"):
            page.on(event, lambda about: said.append(getattr(about, "url", str(about))))
        page.goto((tmp_path / "report.html").as_uri())

        def chosen():
            return page.locator(".mistakes li:visible").count(), page.locator(".chosen").inner_text()

        everything = chosen()
        assert everything[0] == plots.LISTED
        cell, row = page.locator('td [data-true="4"][data-predicted="5"]'), page.locator('th [data-true="4"]')
        cell.click()
        count = listed.count((CLASSES[4], CLASSES[5]))
        assert chosen() == (count, f"&amp; taken for Sandal: 45 images, {count} of them shown.")
        assert page.locator('[aria-pressed="true"]').count() == 1
        cell.press("Enter")
        assert chosen() == everything
        row.press("Space")
        assert chosen()[0] == sum(true == CLASSES[4] for true, _ in listed)
        page.locator(".all").click()
        assert chosen() == everything
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert all(each.startswith(("file:", "data:")) for each in said)  # no error, nothing loaded
        browser.close()


def test_the_learning_rate_curve_is_the_schedules_own(whole):
    result = results.load(whole[0])
    recipe = recipes.from_stored(result["recipe"])
    epochs = len(result["history"])
    lrs, steps = report.learning_rates(result, recipe, 1000)
    assert (steps, len(lrs)) == (10, 10 * epochs)
    assert lrs[9::10] == pytest.approx([entry["lr"] for entry in result["history"]])
    plateau = dataclasses.replace(recipe, schedule="plateau")
    assert report.learning_rates(result, plateau, 1000) == ([entry["lr"] for entry in result["history"]], 1)
    result["history"] = result["history"][:2]  # as at the end of epoch 2
    assert report.learning_rates(result, recipe, 1000)[0] == lrs[:20]
