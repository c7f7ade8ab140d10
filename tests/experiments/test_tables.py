import re
import shutil

import pytest
from made_up import run
from PIL import Image

import recipes
from experiments import tables
from reporting import plots


def record(mean=99.45, parameters=4930, epochs=19, **changes):
    """A record of two seeds."""
    runs = [run(99.4, seed=0), run(99.5, seed=1)]
    figures = {"total_parameters": parameters, "total_epochs": epochs, "mean": mean, "mean_ci95": [99.3, 99.6]}
    return figures | {"runs": runs, "deviation": 0.07, "environment": runs[0]["environment"]} | changes


def cells(text):
    """The cells of the rows of the tables in a text."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


@pytest.mark.parametrize(("name", "sections"), [*zip(tables.PAGES, (3, 1, 3, 1, 1, 2, 1), strict=True)])
def test_readme_and_docs_show_what_the_records_hold(name, sections, tmp_path, monkeypatch):
    shutil.copy(tables.ROOT / "Makefile", tmp_path)
    text = (tables.ROOT / name).read_text(encoding="utf-8")
    old, count = re.subn(r"(written by make readme -->).*?(<!-- end)", r"\1 old \2", text, flags=re.DOTALL)
    assert count == sections
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(old, encoding="utf-8")
    assert tables.renew(name) == text, "make readme"


@pytest.mark.parametrize("name", ["bench.png", "frontier.png", "robustness.png"])
def test_a_committed_picture_is_of_the_committed_records(name):
    with Image.open(tables.RECORDS / name) as picture:
        assert picture.text["Comment"].encode() in plots.png(*tables.drawn(tables.contents())[name]), "make readme"


def test_claims_stand_beside_what_was_reproduced():
    name = recipes.PUBLISHED[0]
    one = record(99.25, 7824, 20, mean_ci95=None, runs=[run(99.25)])
    row = cells(tables.render("published", {"published": {name: one}}))[-1]
    assert row[:3] == [f"`{name}`", "7,824", "20"]
    assert row[3].endswith("[1]")
    assert row[4:] == ["99.25 (99.06 to 99.40)", "60"]  # Wilson's interval on 10,000 images, by hand


GOAL = {"parameters": 5000, "epochs": 19, "accuracy": 99.5, "least": 99.45, "seeds": 0}


@pytest.mark.parametrize(
    ("changes", "goal", "mark", "miss"),
    [
        ({"mean": 99.5}, {}, "✓", ""),
        ({}, {}, "least", ""),
        ({}, {"seeds": 1}, "least", ""),
        ({}, {"seeds": 2}, "✗", "1 of 2 seeds reach 99.45 %, and 2 should."),
        ({"mean": 99.44}, {}, "✗", "at least 99.45 % with 5,000 parameters in 19 epochs."),
        ({"parameters": 5001, "mean": 99.6}, {}, "✗", "at least 99.45 % with 5,000"),
        ({"epochs": 20, "mean": 99.6}, {}, "✗", "at least 99.45 % with 5,000"),
    ],
)
def test_each_recipe_says_what_was_asked_and_what_is_reached(changes, goal, mark, miss):
    mine = record(**changes) | {"recipe": {"dataset": "mnist"}}
    shown = {"goals": {"mine": GOAL | goal, "not measured": GOAL}, "records": {"mine": mine}}
    ((name, *_, last),) = cells(tables.render("goals", shown))[2:]
    assert (name, last) == ("`mine`", mark)
    told = re.search(r"`mine` misses \[.*\]\(docs/records.md\): (.*)", tables.render("results", shown))
    assert told[1].startswith(miss) if miss else not told


def test_records_say_on_what_machine_and_whether_of_committed_code():
    place = run(0)["environment"]
    dirty = place | {"capability": "AVX2", "commit": "0123-dirty"}
    mine = record() | {"recipe": {"dataset": "mnist"}}
    text = tables.render("results", {"goals": {}, "records": {"a": mine, "b": mine | {"environment": dirty}}})
    how = "cpu, 1 × 2 threads, float32, torch 2.10."
    assert f"- `a`: a processor, {how}\n" in text
    assert f"- `b`: a processor, AVX2, {how} Measured with uncommitted changes" in text


def test_the_verdict_is_that_of_the_record():
    rows = cells(tables.render("verdict", {"records": {"default": record(99.4, 20_000, 12)}}))[2:]
    assert [row[-1] for row in rows] == ["✗", "✓", "✓", ""]
    assert [row[2] for row in rows[2:]] == ["99.40 %, mean of 2 seeds", "60 s, their median"]


RECORDS = {
    name: {"mean": mean, "deviation": deviation, "total_epochs": 10, "total_parameters": size}
    for name, mean, deviation, size in (
        *(("a", 99.0, None, 900), ("b", 99.02, None, 950), ("c", 98.0, None, 8000)),
        ("own", 99.5, 0.1, 19_000),
    )
}
BENCH = {
    "speeds": {
        **{"a": {"elsewhere": [100.0, 90.0, 110.0], "here": [50.0]}, "b": {"elsewhere": [102.0]}},
        **{"c": {"elsewhere": [7.0]}, "shop/window": {"elsewhere": [60.0]}, "own": {"here": [4.0]}},
        "without record": {"here": [1.0]},
    },
    "epochs": {"shop/window": 5},
}


def test_systems_stand_at_their_seconds_and_accuracy_and_their_names_cover_nothing():
    figure = tables.speeds(BENCH, {name: RECORDS[name] for name in "abc"}, {"own": RECORDS["own"]})
    (axes,) = figure.axes
    points = [(line.get_fillstyle(), *line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert points == [  # own ones are filled
        ("full", 40, pytest.approx(0.5)),
        *(("none", 1000, pytest.approx(1.0)), ("none", 1020, pytest.approx(0.98)), ("none", 70, pytest.approx(2.0))),
    ]
    (bar,) = [container for container in axes.containers if container.has_yerr]
    assert bar[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.4, 0.6])
    assert [line.get_xdata() for line in axes.lines if line.get_linestyle() == ":"] == [[300, 300]]
    assert sorted(text.get_text() for text in axes.texts) == ["a", "b", "c", "own", "shop/window"]
    boxes = [text.get_window_extent() for text in axes.texts]
    marks = [line.get_window_extent() for line in axes.lines]
    assert [box.count_overlaps([*boxes, *marks]) for box in boxes] == [1] * len(boxes)  # each itself


def test_the_frontier_has_a_mark_for_every_claim_and_record_and_names_its_own():
    claims = [("x", 700, 99.0, "best"), ("y", 20_000, 99.6, "best"), ("z", 1_500, 99.2, "epoch")]
    figure = tables.frontier(claims, {name: RECORDS[name] for name in ("a", "own")})
    (axes,) = figure.axes
    points = {(line.get_xdata()[0], round(float(line.get_ydata()[0]), 6)) for line in axes.lines}
    assert {(700, 1.0), (20_000, 0.4), (1_500, 0.8), (900, 1.0), (19_000, 0.5)} <= points
    assert {text.get_text() for text in axes.texts} == {"a", "own"}
    assert len(figure.legends[0].get_texts()) == 3


ENVIRONMENT = ("UV_TORCH_BACKEND", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    "path",
    [*tables.ROOT.glob("*.md"), *(tables.ROOT / "docs").glob("*.md"), *tables.RECORDS.glob("*.md")],
    ids=lambda path: path.relative_to(tables.ROOT).as_posix(),
)
def test_what_readme_and_docs_name_is_there(path):
    """Files and folders, make targets and variables, recipes."""
    text = path.read_text(encoding="utf-8")
    makefiles = tables.ROOT / "Makefile", tables.ROOT / "deployment" / "firmware" / "Makefile"
    makefile = "\n".join(path.read_text(encoding="utf-8") for path in makefiles)
    for target in re.findall(r"(?:`|^ *)make ([a-z][a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for variable in re.findall(r"\b([A-Z]{2,}(?:_[A-Z]+)*)=", text):
        assert variable in makefile or variable in ENVIRONMENT, variable
    for link in re.findall(r"\]\((?!https?:|\.\./\.\./)([^)#]+)", text):
        assert (path.parent / link).exists(), link


def test_every_promise_of_reliability_names_a_test_that_there_is():
    text = (tables.ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    there = "".join(path.read_text(encoding="utf-8") for path in (tables.ROOT / "tests").rglob("test_*.py"))
    for promise, proof in cells(text)[2:]:
        named = re.findall(r"`(test_\w+)`", proof)
        assert named, promise
        for name in named:
            assert re.search(rf"^def {name}\(", there, re.MULTILINE), name
