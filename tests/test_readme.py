import readme


def test_the_readme_shows_what_the_records_hold():
    text = (readme.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.renew(text) == text, "make readme"


def test_a_section_is_written_between_its_markers_and_nothing_else_changes():
    text = "before\n" + readme.START.format("speed") + "\nold\n" + readme.END.format("speed") + "\nafter\n"
    assert readme.fill(text, "speed", "new") == text.replace("\nold\n", "\n\nnew\n\n")
