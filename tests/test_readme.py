import re

from made_up import run

import readme
import recipes


def test_the_readme_shows_what_the_records_hold():
    text = (readme.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.renew(text) == text, "make readme"


def test_a_section_is_written_between_its_markers_and_nothing_else_changes():
    text = "before\n" + readme.START.format("speed") + "\nold\n" + readme.END.format("speed") + "\nafter\n"
    assert readme.fill(text, "speed", "new") == text.replace("\nold\n", "\n\nnew\n\n")


def test_claims_stand_beside_what_was_reproduced(tmp_path):
    entry = {"total_parameters": 7824, "total_epochs": 20, "mean": 99.25, "mean_ci95": None, "runs": [run(99.25)]}
    found = {name: {**entry, "environment": run(0)["environment"]} for name in recipes.PUBLISHED}
    text = readme.published_table(found)
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
    assert readme.CLAIMS.keys() == set(recipes.PUBLISHED)
    several = readme.published_table({**found, "mnist-7824": {**found["mnist-7824"], "mean_ci95": [99.2, 99.3]}})
    assert "99.25 (99.20 to 99.30)" in several


def test_the_readme_and_the_help_name_every_target():
    makefile = (readme.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"^([a-z][a-z-]*):[^#]*## ", makefile, re.MULTILINE))  # as make help finds them
    section = (readme.ROOT / "README.md").read_text(encoding="utf-8").split("## Targets")[1].split("\n## ")[0]
    named = set(re.findall(r"`(?:make )?([a-z-]+)[^`]*`", "".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE))))
    assert named == targets - {"help"}


def test_every_promise_of_reliability_names_a_test_that_there_is():
    section = (readme.ROOT / "README.md").read_text(encoding="utf-8").split("## Reliability")[1].split("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", section))
    there = "".join(path.read_text(encoding="utf-8") for path in (readme.ROOT / "tests").glob("test_*.py"))
    assert len(named) > 15
    assert named <= set(re.findall(r"^def (test_\w+)", there, re.MULTILINE))
