import re

import readme


def test_the_readme_shows_what_the_records_hold():
    text = (readme.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.renew(text) == text, "make readme"


def test_a_section_is_written_between_its_markers_and_nothing_else_changes():
    text = "before\n" + readme.START.format("speed") + "\nold\n" + readme.END.format("speed") + "\nafter\n"
    assert readme.fill(text, "speed", "new") == text.replace("\nold\n", "\n\nnew\n\n")


def test_every_promise_of_reliability_names_a_test_that_there_is():
    section = (readme.ROOT / "README.md").read_text(encoding="utf-8").split("## Reliability")[1].split("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", section))
    there = "".join(path.read_text(encoding="utf-8") for path in (readme.ROOT / "tests").glob("test_*.py"))
    assert len(named) > 15
    assert named <= set(re.findall(r"^def (test_\w+)", there, re.MULTILINE))
