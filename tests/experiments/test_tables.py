import json
import re

import pytest
from made_up import run
from PIL import Image

import data
import model
import recipes
from experiments import frontier, tables
from reporting import drawing


@pytest.mark.parametrize("name", tables.SECTIONS)
def test_readme_and_docs_show_what_the_records_hold(name):
    assert tables.renew(name) == (tables.ROOT / name).read_text(encoding="utf-8"), "make readme"


def test_a_section_is_written_between_its_markers_and_nothing_else_changes():
    text = "before\n" + tables.START.format("speed") + "\nold\n" + tables.END.format("speed") + "\nafter\n"
    assert tables.fill(text, "speed", "new") == text.replace("\nold\n", "\n\nnew\n\n")


def test_claims_stand_beside_what_was_reproduced(tmp_path):
    entry = {"total_parameters": 7824, "total_epochs": 20, "mean": 99.25, "mean_ci95": None, "runs": [run(99.25)]}
    found = {name: {**entry, "environment": run(0)["environment"]} for name in recipes.PUBLISHED}
    text = tables.render("published", found)
    row = next(line for line in text.splitlines() if "`mnist-7824`" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "`mnist-7824`",
        "7,824",
        "20",
        "99.42 [3]",
        "99.25 (99.06 to 99.40)",  # Wilson's interval on 10,000 images, by hand
        "60",
    ]
    assert "3. The best epoch, picked on the test images" in text
    assert set(re.findall(r"^\| `([\w-]+)`", text, re.MULTILINE)) == set(recipes.PUBLISHED)
    several = tables.render("published", {**found, "mnist-7824": {**found["mnist-7824"], "mean_ci95": [99.2, 99.3]}})
    assert "99.25 (99.20 to 99.30)" in several


def test_the_pictures_show_the_records_of_the_same_test_images(tmp_path):
    found = {"default": "mnist", "fast": "fashion-mnist"}
    for name, dataset in found.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"recipe": {"dataset": dataset}}))
    for name in ("bench", "published"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name}))
    own = {"default": {"recipe": {"dataset": "mnist"}}}
    assert tables.speeds(tmp_path) == ({"name": "bench"}, {"name": "published"}, own)
    claims, shown = tables.sizes(tmp_path)
    assert shown == own
    assert sum(map(len, claims.values())) == len(frontier.CLAIMS)


@pytest.mark.parametrize("name", tables.PICTURES)
def test_a_committed_picture_is_of_the_committed_records(name):
    _, content = tables.PICTURES[name]
    with Image.open(tables.RECORDS / name) as picture:
        assert picture.text["Comment"] == drawing.digest(*content()), "make readme"


def test_each_recipe_says_what_was_asked_and_what_is_reached():
    seeds = [{"final_test_accuracy": accuracy} for accuracy in (99.4, 99.5)]
    record = {"total_parameters": 4930, "total_epochs": 19, "mean": 99.45, "mean_ci95": [99.3, 99.6], "runs": seeds}
    found = {
        "under5k": record,
        "under8k": {**record, "mean": 99.44},
        "default": {**record, "mean": 99.71},
        "under1500": record,
        "fast": record,
    }
    last = {}
    for line in tables.render("goals", found).splitlines()[2:7]:
        name, *_, mark = (cell.strip(" `") for cell in line.strip("|").split("|"))
        last[name] = mark
    assert last == {
        "default": "✓",
        "under8k": "✗",
        "under5k": "least",
        "under1500": "✗",  # which has too many parameters
        "fast": "✗",  # which is to have eight seeds that reach it
    }


def test_every_own_recipe_has_a_goal_and_keeps_its_limits():
    for name in recipes.OWN:
        recipe, goal = recipes.RECIPES[name], frontier.GOALS[name]
        network = model.build(recipe.architecture, len(data.get_dataset(recipe.dataset).classes))
        if recipe.whitening:
            next(network.parameters()).requires_grad_(False)
        assert model.count_parameters(network) <= goal.parameters
        assert recipe.epochs <= goal.epochs


ENVIRONMENT = ("UV_TORCH_BACKEND", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def test_help_and_docs_name_every_target():
    makefile = (tables.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE)) - {"environment", "development"}
    assert targets == set(re.findall(r"^([a-z][a-z-]*):[^#]*## ", makefile, re.MULTILINE))  # as make help finds them
    assert targets == set(re.findall(r"`make ([a-z-]+)`", tables.render("targets", tables.content("targets"))))


@pytest.mark.parametrize(
    "path", [tables.ROOT / "README.md", *(tables.ROOT / "docs").glob("*.md")], ids=lambda p: p.name
)
def test_what_readme_and_docs_name_is_there(path):
    """Files and folders, make targets and variables, recipes, and flags of train.py."""
    text = path.read_text(encoding="utf-8")
    makefile = (tables.ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^)make ([a-z][a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for variable in re.findall(r"\b([A-Z]{2,}(?:_[A-Z]+)*)=", text):
        assert variable in makefile or variable in ENVIRONMENT, variable
    for link in re.findall(r"\]\((?!https?:|\.\./\.\./)([^)#]+)", text):
        assert (path.parent / link).exists(), link
    for name in re.findall(r"RECIPE=([a-z0-9-]+)", text):
        assert name in [*recipes.RECIPES, "mine", "published"], name


def test_every_promise_of_reliability_names_a_test_that_there_is():
    text = (tables.ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    there = "".join(path.read_text(encoding="utf-8") for path in (tables.ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 15
    assert named <= set(re.findall(r"^def (test_\w+)", there, re.MULTILINE))


def test_the_verdict_is_that_of_the_record():
    record = {"total_parameters": 20_000, "total_epochs": 12, "mean": 99.4, "runs": [{}, {}]}
    lines = tables.render("verdict", record).splitlines()[2:]
    assert [line.split("|")[-2].strip() for line in lines] == ["✗", "✓", "✓"]
    assert "99.40 %, mean of 2 seeds" in lines[2]
