import json
import re
import shutil

import pytest
from made_up import record

import recipes
import results
from reporting import records_page, standings


@pytest.fixture
def render(tmp_path, monkeypatch):
    """The page of records, {name: record}, and of the published systems."""
    shutil.copy(results.RECORDS / "published.json", tmp_path)

    def page(records, drawable=()):
        for name, content in records.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return records_page.render(set(drawable))

    monkeypatch.setattr(results, "RECORDS", tmp_path)
    return page


def text_of(page, start, end):
    """The text between two pieces of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.split(start)[1].split(end)[0]).split())


def test_each_record_says_what_it_reaches_and_how_to_train_it_again(render):
    own = record(parameters=1400, date="2026-01-02", author="A <b> & C")
    page = render({"own": own, "few": record(seeds=[0])}, drawable=["own"])
    said = text_of(page, '<li id="own">', "</li>")
    assert "Below 1,500 parameters: holds it 99.50 %" in said
    assert "99.50 % , mean of 10 seeds, interval 99.46 to 99.54" in said
    assert "1,400 parameters, 12 epochs, 64.5 s of training" in said
    assert "2026-01-02, A &lt;b&gt; &amp; C, a processor" in said
    assert f"git checkout {7 * 'a'} &amp;&amp; make records RECIPE=own SEEDS=10" in said
    assert "Draw for it" in said and 'href="index.html#own"' in page
    few = text_of(page, '<li id="few">', "</li>")
    assert "99.55 % to" not in few and "interval" not in few and "Draw for it" not in few
    assert len(re.findall(r"<title>seed \d+: 99\.\d\d %", page)) == 11
    assert "<script" not in page


def test_published_systems_stand_beside_them_with_what_they_claim_and_reach(render):
    page = render({"own": record()})
    published = results.load_record("published")
    for name, system in recipes.SYSTEMS.items():
        row = text_of(page, f'<th scope="row">{name}</th>', "</tr>")
        claim, reached = system["claim"].replace(">", "&gt;"), published[name]["mean"]
        assert f"{published[name]['total_parameters']:,} {claim} {reached:.2f} (" in row
    assert page.count("; not trained here.") == len(records_page.other_claims())


def test_marks_lie_where_their_figures_are():
    records = {"small": record(99.0, 700), "large": record(99.96, 7000), "other": record(91, dataset="fashion-mnist")}
    parameters, seconds = records_page.charts(records, {})
    assert [mark.name for mark in seconds["marks"]] == ["small", "large"]
    x, y = parameters["x"], parameters["y"]
    assert x(7000) - x(700) == pytest.approx(x(70_000) - x(7000), abs=0.2)
    assert y(99) - y(99.9) == pytest.approx(y(90) - y(99), abs=0.2)  # a tenth of the errors
    for mark in parameters["marks"]:
        heights = [y(value) for value in [mark.accuracy, *(mark.interval or [])]]
        assert records_page.TOP < min(heights) <= max(heights) < records_page.BOTTOM
        assert records_page.LEFT < x(mark.x) < records_page.RIGHT


SMALL = standings.Category("small", "mnist", 5000, entry="own")
FAST = standings.Category("fast", "mnist", 5000, entry="own", accuracy=99.4)


@pytest.mark.parametrize(
    ("category", "means", "said"),
    [
        (SMALL, {"own": 99.5}, "holds it"),
        (SMALL, {"own": 99.5, "other": 99.4}, "holds it, +0.100 (0.050 to 0.150) against other"),
        (FAST, {"own": 99.5, "other": 99.4}, "holds it, with 64 s"),
        (FAST, {"own": 99.3, "other": 99.4}, "does not stand in it, which other holds"),
        (FAST, {"own": 99.3}, "does not stand in it, which nobody holds"),
    ],
)
def test_a_card_says_how_the_record_stands(category, means, said):
    assert records_page.standing("own", category, {name: record(mean) for name, mean in means.items()}) == said


def test_a_challenger_is_compared_with_the_holder():
    records = {"own": record(99.4), "third": record(99.45), "best": record(99.5)}
    assert records_page.standing("third", SMALL, records) == "stands in it, +0.050 (0.000 to 0.100) against own"
